"""Level of images: their mean over clear pixels, which loss and score ignore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["mean_level", "shift_to_level"]


def mean_level(image: NDArray[Any], weights: ArrayLike | None = None) -> float:
    """Compute the mean of an image over its clear pixels.

    Parameters
    ----------
    image : array of shape (H, W)
        NaN and infinite values are ignored.
    weights : array of shape (H, W), default=None
        Mask (True = clear) or weights of the pixels. None: all pixels are clear.

    Returns
    -------
    float
        NaN if no pixel is clear.
    """
    used = np.isfinite(image)
    if weights is None:
        weights = used
    weights = np.where(used, np.asarray(weights, np.float64), 0)
    if not weights.any():
        return float("nan")
    return float(np.average(np.where(used, image, 0).astype(np.float64), weights=weights))


def shift_to_level(
    image: NDArray[Any], level: float, weights: ArrayLike | None = None
) -> NDArray[np.floating]:
    """Add a constant to an image, so that its mean over clear pixels is `level`.

    Contrast does not change, and neither does the cPSNR, which ignores a constant difference.

    Parameters
    ----------
    image : array of shape (H, W)
        In any unit.
    level : float
        In the unit of the image.
    weights : array of shape (H, W), default=None
        Mask (True = clear) or weights of the pixels. None: all pixels are clear.

    Returns
    -------
    float array of shape (H, W)
        Not clipped: values may leave the range of the image's type. An image without a clear pixel
        keeps its values.
    """
    image = image if image.dtype.kind == "f" else image.astype(np.float64)
    offset = level - mean_level(image, weights)
    return image + image.dtype.type(offset if np.isfinite(offset) else 0)
