"""Sums over windows and blocks of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = ["block_sums", "window_sums"]


def window_sums(
    images: NDArray[Any], size: tuple[int, int], dtype: DTypeLike = np.float64
) -> NDArray[Any]:
    """Sum all windows of one size, by cumulative sums.

    Parameters
    ----------
    images : array of shape (..., H, W)
    size : (int, int)
        Rows and columns of a window, at least 1 and at most H and W.
    dtype : dtype, default=float64
        Of the sums, the one of each whole image included.

    Returns
    -------
    array of shape (..., H - h + 1, W - w + 1)
        By the first row and column of a window.
    """
    *others, height, width = images.shape
    sums = np.zeros((*others, height + 1, width + 1), dtype)
    inner = sums[..., 1:, 1:]
    np.cumsum(images, axis=-2, out=inner)
    np.cumsum(inner, axis=-1, out=inner)
    h, w = size
    below, above = sums[..., h:, :], sums[..., :-h, :]
    return below[..., w:] - below[..., :-w] - above[..., w:] + above[..., :-w]


def block_sums(images: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Sum blocks of side x side pixels, by products of matrices, which are faster than `reduceat`.

    Parameters
    ----------
    images : float32 array of shape (..., H, W)
    side : int

    Returns
    -------
    float32 array of shape (..., ceil(H / side), ceil(W / side))
        Blocks at the ends may be smaller.
    """
    rows, columns = (
        (np.arange(length) // side == np.arange(-(-length // side))[:, None]).astype(np.float32)
        for length in images.shape[-2:]
    )
    return rows @ images @ columns.T
