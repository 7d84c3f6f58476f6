"""Scorers for scikit-learn: called as scorer(estimator, scenes), greater is better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .imaging import MAX_CPSNR, error_map, finite_cpsnr
from .prediction import predict_in_turn
from .scenes import check_scenes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .prediction import Predictor
    from .scenes import Scene

__all__ = [
    "cpsnr_scorer",
    "mean_cpsnr",
    "probav_scorer",
    "scene_cpsnr",
    "scene_score",
    "standardized_errors",
]


def cpsnr_scorer(estimator: Predictor, scenes: Sequence[Scene], y: object = None) -> float:
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
        Always finite: a scene counts at most 107.1 dB, the error of 16-bit rounding, so that one
        exact image does not hide all others.

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


def probav_scorer(estimator: Predictor, scenes: Sequence[Scene], y: object = None) -> float:
    """Challenge score of a fitted estimator on scenes, negated: -mean(N / cPSNR).

    Parameters
    ----------
    estimator : fitted estimator
        Whose `predict` makes one image of each scene.
    scenes : list of Scene
        Scenes with HR images.
    y : None
        Not used: a scene carries its truth.

    Returns
    -------
    float
        About -1.0 for the baseline; greater is better, and always finite.

    Raises
    ------
    ValueError
        If a scene has no HR image.

    Notes
    -----
    N and cPSNR count at most 107.1 dB, the error of 16-bit rounding. So a scene whose baseline is
    exact, such as a flat one, scores 1.0 where the image is exact too, and 107.1 / cPSNR where it
    is not.

    Examples
    --------
    >>> from probav_estimators import BicubicBaseline, make_scenes, probav_scorer
    >>> scenes = make_scenes(2, size=32, random_state=0)
    >>> round(probav_scorer(BicubicBaseline().fit(scenes), scenes), 4)
    -1.0
    """
    pairs = _predicted_pairs(estimator, scenes)
    return -float(np.mean([scene_score(image, scene) for image, scene in pairs]))


def mean_cpsnr(estimator: Predictor, scenes: Sequence[Scene]) -> float:
    """What :func:`cpsnr_scorer` and the estimators' ``score`` return."""
    pairs = _predicted_pairs(estimator, scenes)
    return float(np.mean([scene_cpsnr(image, scene) for image, scene in pairs]))


def scene_cpsnr(image: NDArray[Any], scene: Scene) -> float:
    """The cPSNR of an image of a scene in dB, at most 107.1: the error of 16-bit rounding."""
    return finite_cpsnr(image, scene.hr, scene.sm, data_range=scene.data_range)  # type: ignore[arg-type]


def scene_score(image: NDArray[Any], scene: Scene) -> float:
    """Challenge score N / cPSNR of an image of a scene, both at most 107.1 dB; always finite."""
    return min(scene.norm, MAX_CPSNR) / scene_cpsnr(image, scene)  # type: ignore[operator, type-var]


def standardized_errors(
    image: NDArray[Any], deviation: NDArray[Any], scene: Scene, *, border: int = 3
) -> NDArray[np.floating]:
    """Errors of an image of a scene in standard deviations.

    Parameters
    ----------
    image, deviation : arrays of shape (H, W)
        Image and standard deviations, in [0, 1].
    scene : Scene
        With HR image.
    border : int, default=3
        Greatest shift that is forgiven, in HR pixels.

    Returns
    -------
    array of shape (n,)
        Of the clear pixels, at the best shift and without their mean error.
    """
    truth: Any = scene.hr, scene.sm
    error = error_map(image, *truth, border=border, data_range=scene.data_range)
    inside = slice(border, -border or None)
    error = error / deviation[inside, inside]
    return error[np.isfinite(error)]


def _predicted_pairs(estimator, scenes):
    scenes = check_scenes(scenes, "scoring", truth=True)
    yield from zip(predict_in_turn(estimator, scenes), scenes, strict=True)
