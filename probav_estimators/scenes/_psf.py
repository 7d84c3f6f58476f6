"""Estimate the point spread function of the sensor that took scenes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..imaging import MIN_FRAMES
from ._alignment import NothingClearError, align_scene

if TYPE_CHECKING:
    from ._scene import Scene

__all__ = ["estimate_psf_sigma"]

_MAX_SCENES = 32
_MIN_SIGMA = 0.1


def estimate_psf_sigma(scenes: Sequence[Scene]) -> float:
    """Estimate the standard deviation of a sensor's Gaussian point spread function.

    See :func:`probav_estimators.imaging.estimate_psf` for the method.

    Parameters
    ----------
    scenes : list of Scene
        Of one sensor; the more, the better. At most 32 of them are read.

    Returns
    -------
    float
        In LR pixels, at least 0.1: the median over the scenes.

    Raises
    ------
    ValueError
        If no scene has three frames that are clear and can be registered.

    Examples
    --------
    >>> from probav_estimators import make_scenes
    >>> from probav_estimators.scenes import estimate_psf_sigma
    >>> 0.25 < estimate_psf_sigma(make_scenes(8, random_state=0)) < 0.55
    True
    """
    chosen = scenes[:: -(-len(scenes) // _MAX_SCENES)]
    variances = [v for v in map(_variance_of_scene, chosen) if v is not None]
    if not variances:
        raise ValueError(
            "the point spread function cannot be estimated, because no scene has "
            f"{MIN_FRAMES} clear frames that can be registered: give psf_sigma"
        )
    return float(np.sqrt(max(np.median(variances), _MIN_SIGMA**2)))


def _variance_of_scene(scene):
    try:
        return align_scene(scene).psf.variance
    except NothingClearError:
        return None
