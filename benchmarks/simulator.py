"""Simulator: speed, the baseline's cPSNR of its scenes, and the clearance of their frames.

Clearance is compared with the PROBA-V challenge's data set. Published are its rules (M. Märtens et
al., "Super-resolution of PROBA-V images using convolutional neural networks", Astrodynamics 3,
2019), and the clearances in the notebook of HighRes-net (github.com/ServiceNow/HighRes-net,
notebooks/test_model.ipynb, commit 40e440c): mean and standard deviation over the frames of each of
the 1,450 scenes, and the five clearest frames of 60 training scenes: of 116 drawn by chance, the 30
with the best score and the 30 with the worst. That a scene has at most 35 frames is an assumption.
"""

from time import perf_counter

import numpy as np
from threadpoolctl import threadpool_limits

from probav_estimators import make_scenes

from ._measure import Figure

# Tolerance of the percentiles, 40 and 53 dB.
_NEAR = 1.5

_SEED = 25
_QUARTILES = (0.25, 0.5, 0.75)

# Published quartiles over scenes, in percent of the pixels, and shares of scenes in percent.
_MEANS = (91.3, 93.7, 96.0)
_SPREADS = (7.3, 9.2, 10.9)
_CLEAREST_OF_OTHERS = (98.67, 99.38, 99.63)
_FULLY_CLEAR = (100 * 37 / 60,)
_TIED = (100 * 26 / 60, 100 * 4 / 60, 100 * 3 / 60, 100 * 4 / 60, 100 * 23 / 60)


def benchmark(n_scenes=100, size=128):
    with threadpool_limits(1):
        make_scenes(1, size=size, random_state=1)
        start = perf_counter()
        scenes = make_scenes(n_scenes, size=size, random_state=0)
        seconds = (perf_counter() - start) / n_scenes
    yield Figure(
        f"`make_scenes`, one scene of size {size}, one core",
        "-",
        "under 0.5 s",
        f"{seconds:.2f} s (mean of {n_scenes})",
        seconds < 0.5,
    )
    yield _calibration(np.array([scene.norm for scene in scenes]))


def _calibration(norms):
    mean, spread = norms.mean(), norms.std()
    low, high = np.quantile(norms, [0.05, 0.95])
    return Figure(
        f"baseline's cPSNR of {len(norms)} simulated scenes",
        "norm.csv of the real ones",
        "mean 45 to 48 dB, standard deviation 3 to 5, 5 % and 95 % near 40 and 53 "
        f"(within {_NEAR})",
        f"mean {mean:.1f}, standard deviation {spread:.1f}, 5 % {low:.1f}, 95 % {high:.1f}",
        45 <= mean <= 48 and 3 <= spread <= 5 and max(abs(low - 40), abs(high - 53)) <= _NEAR,
    )


def benchmark_clearance(n_scenes=200, size=128):
    """Statistics of the preset "probav-challenge", and of the default scenes for comparison."""
    for sensor in ("probav-challenge", "static"):
        scenes = make_scenes(n_scenes, size=size, sensor=sensor, random_state=_SEED, n_jobs=-1)
        parts = [100 * np.sort(scene.qm.mean((1, 2)))[::-1] for scene in scenes]
        goal = sensor != "static"
        for what, (measured, published, tolerance) in _statistics(parts).items():
            unit = "" if what.startswith("frames") else " %"
            apart = np.abs(np.subtract(measured, published)).max()
            yield Figure(
                f"{sensor}, {n_scenes} scenes: {what}",
                f"{_listed(published)}{unit}",
                f"within {tolerance}" if goal else "none",
                f"{_listed(measured)}{unit}",
                bool(apart <= tolerance) or not goal,
            )


def _statistics(parts):
    """Measured and published numbers, and their tolerance, by name.

    `parts` are the clear percentages of the frames of each scene, the clearest first.
    """
    counts = [len(part) for part in parts]
    clearest = np.array([part[0] for part in parts])
    tied = np.array([min(5, np.count_nonzero(part == part[0])) for part in parts])
    others = clearest[clearest < 100] if (clearest < 100).any() else np.array([100.0])
    means, spreads, others = (
        np.quantile(values, _QUARTILES)
        for values in ([part.mean() for part in parts], [part.std() for part in parts], others)
    )
    clear = "clear fraction of"
    fully_clear = [100 * np.mean(clearest == 100)]
    n_tied = [100 * np.mean(tied == number) for number in range(1, 6)]
    return {
        "frames per scene: mean": ([np.mean(counts)], (19,), 1),
        "frames per scene: least, most": ([min(counts), max(counts)], (9, 35), 5),
        f"{clear} a frame: least": ([min(part[-1] for part in parts)], (60,), 0.5),
        f"mean {clear} a scene's frames: quartiles": (means, _MEANS, 1),
        "standard deviation of a scene's clear fractions: quartiles": (spreads, _SPREADS, 1),
        "scenes with a fully clear frame": (fully_clear, _FULLY_CLEAR, 10),
        f"{clear} the clearest frame in the other scenes: quartiles": (
            others,
            _CLEAREST_OF_OTHERS,
            0.5,
        ),
        "scenes with 1, 2, 3, 4, 5 or more frames tied as the clearest": (n_tied, _TIED, 10),
    }


def _listed(values):
    return ", ".join(f"{value:.4g}" for value in values)
