"""Mean levels of images, and images moved to a level."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["mean_level", "shift_to_level"]


def mean_level(image: NDArray[Any], clear: NDArray[np.bool_] | None = None) -> float:
    """Compute the mean of an image over its clear pixels.

    Parameters
    ----------
    image : array of shape (H, W)
        NaN and infinite values do not count.
    clear : bool array of shape (H, W), default=None
        Mask, True = clear. None: all pixels are clear.

    Returns
    -------
    float
        NaN if no pixel is clear.
    """
    used = np.isfinite(image) if clear is None else np.isfinite(image) & clear
    return float(np.mean(image[used], dtype=np.float64)) if used.any() else float("nan")


def shift_to_level(
    image: NDArray[Any], level: float, clear: NDArray[np.bool_] | None = None
) -> NDArray[np.floating]:
    """Add a constant to an image, so that its mean over clear pixels is `level`.

    Contrast does not change, and neither does the cPSNR, which ignores a constant difference.

    Parameters
    ----------
    image : array of shape (H, W)
        In any unit.
    level : float
        In the unit of the image.
    clear : bool array of shape (H, W), default=None
        Mask, True = clear. None: all pixels are clear.

    Returns
    -------
    float array of shape (H, W)
        Not clipped: values may leave the range of the image's type. An image without a clear pixel
        keeps its values.
    """
    offset = level - mean_level(image, clear)
    return image + offset if np.isfinite(offset) else image + 0.0
