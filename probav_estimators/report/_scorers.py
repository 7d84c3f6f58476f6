"""Figures of quality as scorers of scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..prediction import Predictor
from ..scenes import LEAST_TO_HALVE, Scene, check_scenes, halve_frames
from ._figures import FIGURES
from ._measuring import Measurement, finite_mean, mutual_resolution, predict_image


def consistency_scorer(estimator: Predictor, scenes: Sequence[Scene], y: object = None) -> float:
    """Consistency of predictions with their frames, negated; needs no truth.

    Parameters
    ----------
    estimator : fitted estimator
    scenes : list of Scene
    y : None
        Not used.

    Returns
    -------
    float
        At most -1, the consistency of an image up to noise: values below 1, of images that
        reproduce the noise of their frames, count as 1.

    Raises
    ------
    ValueError
        If a scene is clouded everywhere.

    See Also
    --------
    probav_estimators.metrics.consistency : Its limits.
    """
    scenes = check_scenes(scenes, "scoring")
    return -finite_mean(max(_figure_of("consistency", estimator, s), 1.0) for s in scenes)


def cssim_scorer(estimator: Predictor, scenes: Sequence[Scene], y: object = None) -> float:
    """Mean cSSIM of a fitted estimator on scenes; greater is better.

    Parameters
    ----------
    estimator : fitted estimator
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

    See Also
    --------
    probav_estimators.metrics.cssim : Why small differences matter.
    """
    scenes = check_scenes(scenes, "scoring", truth=True)
    return finite_mean(_figure_of("cssim", estimator, scene) for scene in scenes)


def resolution_scorer(estimator: Predictor, scenes: Sequence[Scene], y: object = None) -> float:
    """Resolution by two halves of the frames, negated; needs no truth.

    Parameters
    ----------
    estimator : fitted estimator
    scenes : list of Scene
        Of four frames or more, before any InputComposer.
    y : None
        Not used.

    Returns
    -------
    float
        Minus the mean period in HR pixels, -2 at best; greater is better. Don't select by it alone:
        an estimator that adds the same texture to all images reproduces it.

    Raises
    ------
    ValueError
        If a scene has fewer than four frames, or is composed.

    See Also
    --------
    probav_estimators.metrics.resolution : Its limits.
    """
    values = []
    for scene in check_scenes(scenes, "scoring"):
        if scene.inputs is not None or np.count_nonzero(~scene.frames.repeats) < LEAST_TO_HALVE:
            raise ValueError(
                f"{scene.label} cannot be halved: resolution takes {LEAST_TO_HALVE} frames or "
                "more, and scenes before any InputComposer"
            )
        halves = halve_frames(scene)
        values.append(mutual_resolution(*(predict_image(estimator, half) for half in halves)))
    return -finite_mean(values)


def _figure_of(key, estimator, scene):
    return FIGURES[key].of(Measurement(predict_image(estimator, scene), None, scene))
