"""Scorers for scikit-learn: called as scorer(estimator, scenes), greater is better."""

import numpy as np

from ._validation import check_scenes
from .metrics import cpsnr

__all__ = ["cpsnr_scorer", "probav_scorer"]

# Scenes that an estimator predicts at a time, so that scoring many holds few images.
_CHUNK = 16


def cpsnr_scorer(estimator, scenes, y=None):
    """Mean cPSNR in dB of a fitted estimator on scenes.

    Parameters
    ----------
    estimator : object with ``predict``
    scenes : list of Scene
        With HR images.
    y : None
        Not used: a scene carries its truth.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If a scene has no HR image.

    Examples
    --------
    >>> from sklearn.model_selection import cross_val_score
    >>> from probav_estimators import BicubicBaseline, cpsnr_scorer, make_scenes
    >>> scenes = make_scenes(4, size=32, random_state=0)
    >>> cross_val_score(BicubicBaseline(), scenes, cv=2, scoring=cpsnr_scorer).shape
    (2,)
    """
    return mean_cpsnr(estimator, scenes)


def probav_scorer(estimator, scenes, y=None):
    """Challenge score of a fitted estimator on scenes, negated: -mean(N / cPSNR).

    Parameters and errors are those of :func:`cpsnr_scorer`. The baseline has about -1.0.

    Returns
    -------
    float

    Examples
    --------
    >>> from probav_estimators import BicubicBaseline, make_scenes, probav_scorer
    >>> scenes = make_scenes(2, size=32, random_state=0)
    >>> round(probav_scorer(BicubicBaseline().fit(scenes), scenes), 4)
    -1.0
    """
    pairs = predicted_pairs(estimator, scenes, "scoring")
    return -float(np.mean([scene_score(image, scene) for image, scene in pairs]))


def mean_cpsnr(estimator, scenes):
    """What :func:`cpsnr_scorer` and the estimators' ``score`` return."""
    pairs = predicted_pairs(estimator, scenes, "scoring")
    return float(np.mean([scene_cpsnr(image, scene) for image, scene in pairs]))


def scene_cpsnr(image, scene):
    """cPSNR in dB of an image of a scene."""
    return cpsnr(image, scene.hr, scene.sm)


def scene_score(image, scene):
    """Challenge score N / cPSNR of an image of a scene."""
    return scene.norm / scene_cpsnr(image, scene)


def predicted_pairs(estimator, scenes, caller):
    """Yield the prediction of each scene with the scene, a few predicted at a time."""
    scenes = check_scenes(scenes, caller, truth=True)
    for start in range(0, len(scenes), _CHUNK):
        chunk = scenes[start : start + _CHUNK]
        yield from zip(estimator.predict(chunk), chunk, strict=True)


def stack_images(images):
    """Array of images, (n, H, W), or a list of them if their sizes differ."""
    return np.stack(images) if len({image.shape for image in images}) == 1 else list(images)
