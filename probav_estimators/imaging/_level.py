"""Level of images: loss and score forgive a constant, files and pictures do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["offset_to_level", "shift_to_level"]


def offset_to_level(image: NDArray[Any], level: float, weights: ArrayLike | None = None) -> float:
    """Return the constant that moves an image to a level.

    Parameters
    ----------
    image : array of shape (H, W)
    level : float
        Wanted mean, in the unit of the image.
    weights : array of shape (H, W), default=None
        Weights of the pixels in the image's mean, such as a mask. None: all alike.

    Returns
    -------
    float
        `level` less the image's mean.

    Raises
    ------
    ValueError
        If all weights are 0 or `weights` has another shape.
    """
    weights = None if weights is None else np.asarray(weights, np.float64)
    if weights is not None and not weights.any():
        raise ValueError("weights are 0 everywhere: give a mask with at least one clear pixel")
    return level - float(np.average(image.astype(np.float64), weights=weights))


def shift_to_level(
    image: NDArray[np.floating], level: float, weights: ArrayLike | None = None
) -> NDArray[np.floating]:
    """Move an image by a constant, so that its mean is a level.

    Parameters
    ----------
    image, level, weights : arrays and float
        As for :func:`offset_to_level`.

    Returns
    -------
    array of shape (H, W)
        Of the image's type, not clipped. Its cPSNR is that of the image.

    Raises
    ------
    ValueError
        For the reasons that :func:`offset_to_level` has.
    """
    return image + image.dtype.type(offset_to_level(image, level, weights))
