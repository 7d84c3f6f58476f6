"""Response of the pixels of a sensor: a square pixel blurred by a Gaussian."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import ndtr

__all__ = ["LEAST_SIGMA", "USUAL_SIGMA", "cumulative_response"]

#: Standard deviations of the PSF of an unknown sensor, and of the sharpest PSF, in LR pixels.
USUAL_SIGMA, LEAST_SIGMA = 0.4, 0.05


def cumulative_response(
    x: Any,
    sigma: Any,
    pixel: Any = 1.0,
    *,
    cdf: Callable[[Any], Any] = ndtr,
    exp: Callable[[Any], Any] = np.exp,
) -> Any:
    """Response of a pixel along one axis, integrated from the left up to `x`.

    Parameters
    ----------
    x : array or tensor
        Positions relative to the centre of the pixel, in LR pixels.
    sigma : float, array or tensor
        Standard deviation of the Gaussian point spread function, in LR pixels.
    pixel : float or tensor, default=1.0
        Side of the sensitive area of the pixel, in LR pixels. 0: a point.
    cdf : callable, default=scipy.special.ndtr
        Cumulative distribution function of the standard normal distribution.
    exp : callable, default=numpy.exp
        With `cdf`, of the library of `x`.

    Returns
    -------
    array or tensor
        From 0 to 1.
    """
    if isinstance(pixel, int | float) and pixel == 0:
        return cdf(x / sigma)

    def ramp(u):
        z = u / sigma
        return sigma * (z * cdf(z) + exp(-0.5 * z * z) / math.sqrt(2 * math.pi))

    return (ramp(x + pixel / 2) - ramp(x - pixel / 2)) / pixel
