"""FusionNet on scenes that it was not trained for: other sensors, land that changes, poor masks.

Every row has 16 scenes of its own, the same land seen by another sensor. Beside FusionNet with the
weights that ship stand the mean of the nine clearest frames, upscaled, and an SRCNN that is trained
on the spot on the default scenes. Where PROBAV_SAMPLES names the folder of sample data, its scenes
are measured too.
"""

import os
from pathlib import Path

import numpy as np
from sklearn.pipeline import make_pipeline

from probav_estimators import (
    SRCNN,
    BicubicUpscaler,
    ClearanceSelector,
    FusionNet,
    InputComposer,
    Sensor,
    load_scenes,
    make_scenes,
)
from probav_estimators.imaging import error_map
from probav_estimators.scoring import scene_score

from ._measure import Figure

_WEIGHTS = "simulated-x3"
_BORDER = 3
_SEED = 14

_RESAMPLED = {"resampling": "bicubic", "raw_pixel": (0.6, 1.15), "raw_rotation": (-10, 10)}

# What differs from the default sensor, and the score that is the goal, if there is one.
_SENSORS = {
    "PSF of 0.3 HR pixels": ({"psf_sigma": 0.3}, 0.855),
    "PSF of 0.5": ({"psf_sigma": 0.5}, 0.855),
    "PSF of 0.8": ({"psf_sigma": 0.8}, 0.855),
    "PSF of 1.2": ({"psf_sigma": 1.2}, 0.855),
    "PSF of 0.5, resampled by bicubic": ({"psf_sigma": 0.5, **_RESAMPLED}, 0.885),
    "PSF of 0.8, half of the fields change by 15 %": (
        {"psf_sigma": 0.8, "change": 0.15, "changing_fields": 0.5},
        0.925,
    ),
    "PSF of 0.8, a third of the cloudy maps miss clouds": (
        {"psf_sigma": 0.8, "missed_clouds": 0.33},
        None,
    ),
    "PSF of 0.8, distortion of 0.3 LR pixels": ({"psf_sigma": 0.8, "distortion": 0.3}, None),
    "PSF of 0.8, stripes": ({"psf_sigma": 0.8, "stripes": 0.004}, None),
}
_PRESETS = ("proba-v", "sentinel-2", "landsat-8", "any")

_SAMPLES = {"real_texture": 0.890, "real_series": 0.940}


def benchmark(n_scenes=16, size=128, n_epochs=40):
    """Scores and coverage of standard deviations, a row for each kind of scenes.

    Parameters
    ----------
    n_scenes : int, default=16
        Of each row.
    size : int, default=128
        Of the frames, in LR pixels.
    n_epochs : int, default=40
        Of SRCNN's training.

    Yields
    ------
    Figure
    """
    net = FusionNet.from_pretrained(_WEIGHTS, verbose=0)
    srcnn = _fit_srcnn(size, n_epochs)
    for name, (fields, goal) in _SENSORS.items():
        scenes = _scenes_of(Sensor.preset("plain", **fields), n_scenes, size)
        yield _row(name, scenes, net, srcnn, goal)
    for name in _PRESETS:
        yield _row(f"preset {name!r}", _scenes_of(name, n_scenes, size), net, srcnn, None)
    folder = os.environ.get("PROBAV_SAMPLES")
    for name, goal in _SAMPLES.items() if folder else ():
        yield _row(name, load_scenes(Path(folder, name)), net, srcnn, goal)


def _scenes_of(sensor, n_scenes, size):
    return make_scenes(n_scenes, size=size, sensor=sensor, random_state=_SEED, n_jobs=-1)


def _fit_srcnn(size, n_epochs):
    return make_pipeline(
        ClearanceSelector(k=9),
        InputComposer(mode="concat"),
        BicubicUpscaler(scale=3),
        SRCNN(
            max_epochs=n_epochs,
            patch_size=min(32, size),
            batch_size=16,
            augment=True,
            residual=True,
            random_state=0,
            verbose=0,
        ),
    ).fit(make_scenes(40, size=size, random_state=0, n_jobs=-1))


def _row(name, scenes, net, srcnn, goal):
    score, within = _fusion(net, scenes)
    nine = InputComposer().transform(ClearanceSelector(k=9).transform(scenes))
    means = [np.clip(scene.read_mean(0, scene.scale), 0, 1) for scene in nine]
    learned = srcnn.predict(scenes)
    return Figure(
        f"{name}, {len(scenes)} scenes: N / cPSNR; errors within one and two standard deviations",
        f"the mean of nine frames {_mean_score(means, scenes):.4f}, "
        f"SRCNN {_mean_score(learned, scenes):.4f}",
        "-" if goal is None else f"{goal:.3f}; 60 to 76 %, 90 to 98 %",
        f"{score:.4f}; {100 * within[0]:.1f} %, {100 * within[1]:.1f} %",
        goal is None or (score <= goal and 0.60 <= within[0] <= 0.76 and 0.90 <= within[1] <= 0.98),
    )


def _mean_score(images, scenes):
    return float(np.mean([scene_score(*pair) for pair in zip(images, scenes, strict=True)]))


def _fusion(net, scenes):
    """Mean score, and which part of the errors lies within one and two standard deviations."""
    scores, errors = [], []
    for scene in scenes:
        (image,), (deviation,) = net.predict([scene], return_std=True)
        scores.append(scene_score(image, scene))
        inside = np.s_[_BORDER:-_BORDER, _BORDER:-_BORDER]
        error = error_map(image, scene.hr, scene.sm, border=_BORDER) / deviation[inside]
        errors.append(np.abs(error[np.isfinite(error)]))
    every = np.concatenate(errors)
    return float(np.mean(scores)), [float(np.mean(every < limit)) for limit in (1, 2)]
