"""Scorers for scikit-learn: called as scorer(estimator, scenes), greater is better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .imaging import MAX_CPSNR, challenge_score, error_map, finite_cpsnr
from .prediction import Predictor, predict_in_turn
from .scenes import Scene, check_scenes, name_in_errors

__all__ = [
    "ScoreMixin",
    "calibration_factor",
    "cpsnr_scorer",
    "probav_scorer",
    "scene_cpsnr",
    "scene_score",
    "standardized_errors",
]

# Probability of a normal deviate within one standard deviation.
_ONE_SIGMA = 0.6827

# Standard deviation of 16-bit rounding.
_ROUNDING = 10 ** (-MAX_CPSNR / 20)


def cpsnr_scorer(
    estimator: Predictor,
    scenes: Sequence[Scene],
    y: object = None,
    *,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Mean cPSNR in dB of a fitted estimator on scenes.

    Parameters
    ----------
    estimator : object with ``predict``
    scenes : list of Scene
        With HR images.
    y : None
        Not used: a scene carries its truth.
    sample_weight : array of shape (n,), default=None
        Non-negative weights of the scenes in the mean. None: equal weights.

    Returns
    -------
    float
        Always finite: a scene counts at most 107.1 dB, the error of 16-bit rounding.

    Raises
    ------
    ValueError
        If a scene has no HR image or `sample_weight` is invalid.

    Examples
    --------
    >>> from sklearn.model_selection import cross_val_score
    >>> from probav_estimators import BicubicBaseline, cpsnr_scorer, make_scenes
    >>> scenes = make_scenes(4, size=32, random_state=0)
    >>> cross_val_score(BicubicBaseline(), scenes, cv=2, scoring=cpsnr_scorer).shape
    (2,)
    """
    return _mean_score(scene_cpsnr, estimator, scenes, sample_weight)


def probav_scorer(
    estimator: Predictor,
    scenes: Sequence[Scene],
    y: object = None,
    *,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Challenge score of a fitted estimator on scenes, negated: -mean(N / cPSNR).

    Parameters
    ----------
    estimator : fitted estimator
        Its `predict` returns one image per scene.
    scenes : list of Scene
        Scenes with HR images.
    y : None
        Not used: a scene carries its truth.
    sample_weight : array of shape (n,), default=None
        Non-negative weights of the scenes in the mean. None: equal weights.

    Returns
    -------
    float
        About -1.0 for the baseline; greater is better, and always finite.

    Raises
    ------
    ValueError
        If a scene has no HR image or `sample_weight` is invalid.

    Notes
    -----
    N and cPSNR count at most 107.1 dB, the error of 16-bit rounding. A scene with an exact
    baseline, such as a flat one, scores 107.1 / cPSNR, and 1.0 if the image is exact too. Below
    10 dB, which scenes with a `value_range` may have, the tangent replaces N / cPSNR, as in
    :class:`CPSNRLoss`, so that a worse image always has a worse score.

    Examples
    --------
    >>> from probav_estimators import BicubicBaseline, make_scenes, probav_scorer
    >>> scenes = make_scenes(2, size=32, random_state=0)
    >>> round(probav_scorer(BicubicBaseline().fit(scenes), scenes), 4)
    -1.0
    """
    return -_mean_score(scene_score, estimator, scenes, sample_weight)


class ScoreMixin:
    """Mixin of estimators that predict an image of each scene."""

    def score(
        self, X: Sequence[Scene], y: object = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Mean cPSNR in dB on scenes with HR images; greater is better.

        Parameters
        ----------
        X : list of Scene
        y : None
            Not used: a scene carries its truth.
        sample_weight : array of shape (n,), default=None
            Non-negative weights of the scenes in the mean. None: equal weights.

        Returns
        -------
        float
            As of :func:`cpsnr_scorer`.

        Raises
        ------
        ValueError
            If a scene has no HR image, `sample_weight` is invalid, or `predict` raises one.
        """
        return cpsnr_scorer(self, X, sample_weight=sample_weight)  # type: ignore[arg-type]


def scene_cpsnr(image: NDArray[Any], scene: Scene) -> float:
    """Clipped cPSNR of an image of a scene in dB: at most 107.1, the error of 16-bit rounding."""
    truth: Any = scene.hr, scene.sm
    with name_in_errors(scene):
        return finite_cpsnr(image, *truth, data_range=scene.data_range)


def scene_score(image: NDArray[Any], scene: Scene) -> float:
    """Challenge score N / cPSNR of an image of a scene, both at most 107.1 dB; always finite."""
    norm = min(scene.norm, MAX_CPSNR)  # type: ignore[type-var]
    return float(challenge_score(norm, scene_cpsnr(image, scene)))


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
        Greatest shift in HR pixels that is compensated.

    Returns
    -------
    array of shape (n,)
        Of the clear pixels, after correction of shift and bias.

    Notes
    -----
    Standard deviations count as at least the rounding error of the truth, that of 16 bits or, with
    a `value_range`, of float32. Those of frames without contrast are far less, and their quotients
    would outweigh all others.
    """
    truth: Any = scene.hr, scene.sm
    with name_in_errors(scene):
        error = error_map(image, *truth, border=border, data_range=scene.data_range)
    inside = slice(border, -border or None)
    error = error / np.maximum(deviation[inside, inside], _rounding_error(scene))
    return error[np.isfinite(error)]


def _rounding_error(scene):
    if scene.value_range is None:
        return _ROUNDING
    hr: Any = scene.hr
    return np.finfo(np.float32).eps * np.abs(hr[scene.sm]).max(initial=0)


def calibration_factor(errors: Sequence[NDArray[np.floating]]) -> float:
    """Factor on standard deviations by which one covers 68.27 % of the pixels of a new scene.

    Parameters
    ----------
    errors : list of float arrays
        Errors of each scene in standard deviations, see :func:`standardized_errors`. All scenes
        have the same weight.

    Returns
    -------
    float
        The conformal quantile.
    """
    levels = np.linspace(0, 1, 1001)
    quantiles = [np.quantile(np.abs(error), levels) for error in errors]
    level = min(1, _ONE_SIGMA * (1 + 1 / len(errors)))
    return float(np.quantile(np.concatenate(quantiles), level))


def _mean_score(score, estimator, scenes, sample_weight):
    scenes = check_scenes(scenes, "scoring", truth=True)
    weights = _check_weights(sample_weight, scenes)
    pairs = zip(predict_in_turn(estimator, scenes), scenes, strict=True)
    return float(np.average([score(image, scene) for image, scene in pairs], weights=weights))


def _check_weights(sample_weight, scenes):
    if sample_weight is None:
        return None
    weights = np.asarray(sample_weight)
    if weights.shape != (len(scenes),) or weights.dtype.kind not in "buif":
        raise ValueError(
            f"sample_weight has shape {weights.shape} and type {weights.dtype} for {len(scenes)} "
            "scenes: give one number for each scene"
        )
    weights = weights.astype(np.float64)
    if not np.isfinite(weights).all() or weights.min() < 0 or not weights.any():
        raise ValueError(
            f"sample_weight has values from {weights.min()} to {weights.max()}: give finite "
            "numbers that are not negative, at least one of them positive"
        )
    return weights
