"""FusionNet at scales 2 and 4: against nets trained for minutes, by sensor; displacements."""

import numpy as np
from sklearn.pipeline import make_pipeline

from probav_estimators import (
    SRCNN,
    BicubicUpscaler,
    ClearanceSelector,
    FusionNet,
    InputComposer,
    SRResNet,
    TimeLimit,
    make_scenes,
    probav_scorer,
)
from probav_estimators.training import shipped_weights

from ._measure import Figure
from ._scores import (
    COVERAGE,
    MAX_DISPLACEMENT,
    as_text,
    describe_coverage,
    describe_displacement,
    displacement_of_layers,
    mean_score,
)

_SCALES = (2, 4)
_SENSORS = ("plain", "proba-v", "sentinel-2", "landsat-8", "any")

# Sensors of the training of the weights.
_TRAINED_SENSORS = ("static", "plain", "any")


def benchmark(minutes=10, n_scenes=16, n_training=80, size=128):
    """Challenge scores at each scale: default sensor with other nets, then other sensors.

    The nets that FusionNet is compared with are trained on `n_training` scenes for `minutes` each.
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


def benchmark_displacement(n_scenes=32, size=96):
    """Displacement of images from the mean of their frames, for all weights that ship."""
    for name in shipped_weights():
        net = FusionNet.from_pretrained(name, verbose=0)
        scenes = [
            scene
            for sensor in _TRAINED_SENSORS
            for scene in make_scenes(
                n_scenes, size=size, scale=net.scale_, sensor=sensor, random_state=25, n_jobs=-1
            )
        ]
        found, is_small = describe_displacement(net.predict(scenes), scenes)
        stated, net.displacement_ = net.displacement_, (0.0, 0.0)
        own = as_text(displacement_of_layers(net, scenes))
        yield Figure(
            f"`{name}`, {len(scenes)} scenes: displacement (down, right), HR pixels",
            f"layers alone, along their own axes: {own}; corrected by {stated}",
            f"under {MAX_DISPLACEMENT}",
            found,
            is_small,
        )


def _of_sensor(net, sensor, scenes):
    images, deviations = net.predict(scenes, return_std=True)
    score = mean_score(images, scenes)
    covered, is_calibrated = describe_coverage(images, deviations, scenes)
    where, in_place = describe_displacement(images, scenes)
    return Figure(
        f"scale {net.scale_}, preset `{sensor}`, {len(scenes)} scenes: N / cPSNR; errors within "
        "one and two standard deviations; displacement",
        "baseline 1.0",
        f"less; {COVERAGE}; under {MAX_DISPLACEMENT}",
        f"{score:.4f}; {covered}; {where}",
        score < 1 and is_calibrated and in_place,
    )


def _pipelines(scale, minutes, size):
    training = {
        "max_epochs": 10_000,
        "callbacks": [TimeLimit(minutes)],
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
