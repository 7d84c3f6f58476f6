"""The window of an image that has most detail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import uniform_filter

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["find_detail"]

# The window is this part of the image along each axis, and has at least this many HR pixels.
_DETAIL_PART = 1 / 4
_LEAST_DETAIL = 16


def find_detail(image: NDArray[Any], clear: NDArray[np.bool_] | None = None) -> tuple[slice, slice]:
    """Find the window with the steepest clear pixels: rows and columns.

    It is a quarter of the image along each axis, and at least 16 pixels.
    """
    part = min(max(_DETAIL_PART, _LEAST_DETAIL / min(image.shape)), 1)
    height, width = (round(part * length) for length in image.shape)
    clear = np.ones(image.shape, bool) if clear is None else clear
    down, right = np.gradient(np.where(clear, image, 0).astype(np.float64))
    # At the border of a cloud, the slope is that of the cloud.
    known = uniform_filter(clear.astype(np.float64), 3) > 1 - 1e-9
    slopes = np.where(known, down**2 + right**2, 0)
    total = np.pad(slopes.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    below, above = total[height:], total[:-height]
    sums = below[:, width:] - below[:, :-width] - above[:, width:] + above[:, :-width]
    row, column = (int(start) for start in np.unravel_index(sums.argmax(), sums.shape))
    return slice(row, row + height), slice(column, column + width)
