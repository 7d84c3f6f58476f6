"""FusionNet at scales 2 and 4: beside nets trained for minutes at that scale, and by sensor."""

import numpy as np
from sklearn.pipeline import make_pipeline

from probav_estimators import (
    SRCNN,
    BicubicUpscaler,
    ClearanceSelector,
    FusionNet,
    InputComposer,
    SRResNet,
    make_scenes,
    probav_scorer,
)

from ._measure import Figure
from ._scores import coverage, mean_score

_SCALES = (2, 4)
_SENSORS = ("plain", "proba-v", "sentinel-2", "landsat-8", "any")


def benchmark(minutes=10, n_scenes=16, n_training=80, size=128):
    """Challenge scores at each scale: of the default sensor beside other nets, of other sensors.

    Parameters
    ----------
    minutes : float, default=10
        Of training of each net that FusionNet is compared with.
    n_scenes, n_training : int, default=16, 80
        Scenes that are scored, and those that the other nets are trained on.
    size : int, default=128
        Of the frames, in LR pixels.

    Yields
    ------
    Figure
    """
    for scale in _SCALES:
        options = {"size": size, "scale": scale, "n_jobs": -1}
        training = make_scenes(n_training, random_state=0, **options)
        scenes = make_scenes(n_scenes, random_state=14, **options)
        net = FusionNet.from_pretrained(scale=scale)
        ours = -probav_scorer(net, scenes)
        theirs = {
            name: -probav_scorer(pipeline.fit(training), scenes)
            for name, pipeline in _pipelines(scale, minutes, size).items()
        }
        others = ", ".join(f"{name} {score:.4f}" for name, score in theirs.items())
        yield Figure(
            f"scale {scale}, N / cPSNR of {n_scenes} simulated scenes",
            f"baseline 1.0; trained for {minutes:g} minutes: {others}",
            "less",
            f"{ours:.4f}",
            bool(ours < min(1.0, np.min(list(theirs.values())))),
        )
        for sensor in _SENSORS:
            yield _of_sensor(
                net, sensor, make_scenes(n_scenes, sensor=sensor, random_state=14, **options)
            )


def _of_sensor(net, sensor, scenes):
    images, deviations = net.predict(scenes, return_std=True)
    score, (one, two) = mean_score(images, scenes), coverage(images, deviations, scenes)
    return Figure(
        f"scale {net.scale_}, preset `{sensor}`, {len(scenes)} scenes: N / cPSNR; errors within "
        "one and two standard deviations",
        "baseline 1.0",
        "less; 60 to 76 %, 90 to 98 %",
        f"{score:.4f}; {100 * one:.1f} %, {100 * two:.1f} %",
        score < 1 and 0.60 <= one <= 0.76 and 0.90 <= two <= 0.98,
    )


def _pipelines(scale, minutes, size):
    training = {
        "max_epochs": 10_000,
        "max_time": minutes,
        "patch_size": min(32, size),
        "batch_size": 16,
        "augment": True,
        "residual": True,
        "random_state": 0,
        "verbose": 0,
    }
    compose = ClearanceSelector(k=9), InputComposer(mode="concat")
    return {
        "SRCNN": make_pipeline(*compose, BicubicUpscaler(scale=scale), SRCNN(**training)),
        "SRResNet": make_pipeline(*compose, SRResNet(**training)),
    }
