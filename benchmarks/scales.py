"""FusionNet at scales 2 and 4, against nets that are trained for some minutes at that scale."""

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

_SCALES = (2, 4)


def benchmark(minutes=10, n_scenes=16, n_training=80, size=128):
    """Challenge scores, a row for each scale.

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
        ours = -probav_scorer(FusionNet.from_pretrained(scale=scale), scenes)
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
