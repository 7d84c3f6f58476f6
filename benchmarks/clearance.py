"""Clearance of simulated frames, compared with the PROBA-V challenge's data set.

Published are the rules of the data set (M. Märtens et al., "Super-resolution of PROBA-V images
using convolutional neural networks", Astrodynamics 3, 2019), and the clearances in the notebook of
HighRes-net (github.com/ServiceNow/HighRes-net, notebooks/test_model.ipynb, commit 40e440c). The
notebook has the mean and the standard deviation over the frames of each of the 1,450 scenes, and
the five clearest frames of 60 training scenes: of 116 drawn by chance, the 30 with the best score
and the 30 with the worst. That a scene has at most 35 frames is an assumption.
"""

import numpy as np

from probav_estimators import make_scenes

from ._measure import Figure

_SEED = 25
_QUARTILES = (0.25, 0.5, 0.75)

# Published quartiles over scenes, in percent of the pixels, and shares of scenes in percent.
_MEANS = (91.3, 93.7, 96.0)
_SPREADS = (7.3, 9.2, 10.9)
_CLEAREST_OF_OTHERS = (98.67, 99.38, 99.63)
_FULLY_CLEAR = (100 * 37 / 60,)
_TIED = (100 * 26 / 60, 100 * 4 / 60, 100 * 3 / 60, 100 * 4 / 60, 100 * 23 / 60)


def benchmark(n_scenes=200, size=128):
    """Statistics of the preset "probav-challenge", and of the default scenes for comparison.

    Parameters
    ----------
    n_scenes : int, default=200
        Of each preset.
    size : int, default=128
        Of the frames, in LR pixels.

    Yields
    ------
    Figure
    """
    for sensor in ("probav-challenge", "static"):
        scenes = make_scenes(n_scenes, size=size, sensor=sensor, random_state=_SEED, n_jobs=-1)
        parts = [100 * np.sort(scene.qm.mean((1, 2)))[::-1] for scene in scenes]
        for row in _rows(parts):
            yield _figure(f"{sensor}, {n_scenes} scenes", *row, goal=sensor != "static")


def _rows(parts):
    """Rows of (name, published numbers, their tolerance and unit, measured numbers).

    Parameters
    ----------
    parts : list of ndarray of shape (t,)
        Clear percentage of the frames of each scene, the clearest first.
    """
    counts = [len(part) for part in parts]
    clearest = np.array([part[0] for part in parts])
    tied = np.array([min(5, np.count_nonzero(part == part[0])) for part in parts])
    others = clearest[clearest < 100] if (clearest < 100).any() else np.array([100.0])
    yield "frames per scene: mean", (19,), 1, "", [np.mean(counts)]
    yield "frames per scene: least, most", (9, 35), 5, "", [min(counts), max(counts)]
    yield (
        "clear fraction of a frame: least",
        (60,),
        0.5,
        " %",
        [min(part[-1] for part in parts)],
    )
    yield (
        "mean clear fraction of a scene's frames: quartiles",
        _MEANS,
        1,
        " %",
        np.quantile([part.mean() for part in parts], _QUARTILES),
    )
    yield (
        "standard deviation of a scene's clear fractions: quartiles",
        _SPREADS,
        1,
        " %",
        np.quantile([part.std() for part in parts], _QUARTILES),
    )
    yield (
        "scenes with a fully clear frame",
        _FULLY_CLEAR,
        10,
        " %",
        [100 * np.mean(clearest == 100)],
    )
    yield (
        "clear fraction of the clearest frame in the other scenes: quartiles",
        _CLEAREST_OF_OTHERS,
        0.5,
        " %",
        np.quantile(others, _QUARTILES),
    )
    yield (
        "scenes with 1, 2, 3, 4, 5 or more frames tied as the clearest",
        _TIED,
        10,
        " %",
        [100 * np.mean(tied == number) for number in range(1, 6)],
    )


def _figure(scenes, what, published, tolerance, unit, measured, *, goal):
    apart = np.abs(np.subtract(measured, published)).max()
    return Figure(
        f"{scenes}: {what}",
        f"{_listed(published)}{unit}",
        f"within {tolerance}" if goal else "none",
        f"{_listed(measured)}{unit}",
        bool(apart <= tolerance) or not goal,
    )


def _listed(values):
    return ", ".join(f"{value:.4g}" for value in values)
