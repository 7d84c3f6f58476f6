"""Forward model of the sensor in NumPy: blur, square pixels, sub-pixel shifts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..imaging import LEAST_SIGMA, USUAL_SIGMA, cumulative_response

# Half-width of the kernel in standard deviations of the point spread function.
_REACH = 5.0


def response(
    n_pixels: int, scale: int, shift: float = 0.0, sigma: float = USUAL_SIGMA
) -> sparse.csr_array:
    """Weights of the HR pixels in each LR pixel along one axis, (n_pixels, scale * n_pixels).

    Each row sums to the fraction of the pixel's response inside the image. `shift` and `sigma` are
    those of :func:`see_frame` along the axis; `sigma` is at least 0.05.
    """
    sigma = max(float(sigma), LEAST_SIGMA)
    n_cells = scale * n_pixels
    # A content shift of +s moves the centre of the response by -s.
    middles = np.arange(n_pixels) + 0.5 - shift
    reach = 0.5 + _REACH * sigma
    first = np.floor(scale * (middles - reach)).astype(int)
    cells = first[:, None] + np.arange(int(np.ceil(2 * scale * reach)) + 1)
    edges = np.concatenate([cells, cells[:, -1:] + 1], axis=1) / scale - middles[:, None]
    weights = np.diff(cumulative_response(edges, sigma), axis=1)
    weights *= (cells >= 0) & (cells < n_cells)
    indptr = np.arange(0, cells.size + 1, cells.shape[1])
    cells = np.clip(cells, 0, n_cells - 1)
    matrix = sparse.csr_array(
        (weights.ravel(), cells.ravel(), indptr), shape=(n_pixels, n_cells), dtype=np.float64
    )
    matrix.sum_duplicates()
    return matrix


def see_frame(
    image: NDArray[Any],
    scale: int,
    shift: Any = (0.0, 0.0),
    sigma: Any = USUAL_SIGMA,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Degrade an image to a frame, without noise.

    Parameters
    ----------
    image : array of shape (scale * h, scale * w)
        Constant within each HR pixel.
    scale : int
        HR pixels for each LR pixel.
    shift : pair of float, default=(0.0, 0.0)
        Shift of the frame's content against the image's, (down, right) in LR pixels.
    sigma : float or pair of float, default=0.4
        Standard deviation of the Gaussian point spread function, in LR pixels, along both axes or
        each.

    Returns
    -------
    frame : float64 array of shape (h, w)
        In the unit of `image`.
    inside : bool array of shape (h, w)
        False where the response of a pixel extends beyond the image; its value is then the
        normalised response inside, or 0.
    """
    lengths = (length // scale for length in image.shape)
    sigmas = np.broadcast_to(sigma, 2)
    rows, columns = (
        response(n, scale, float(s), float(width))
        for n, s, width in zip(lengths, shift, sigmas, strict=True)
    )
    covered = [np.asarray(matrix.sum(axis=1)).ravel() for matrix in (rows, columns)]
    seen = (columns @ (rows @ np.asarray(image, np.float64)).T).T
    part = np.multiply.outer(*covered)
    return np.divide(seen, part, out=np.zeros_like(seen), where=part > 0), part > 0.999
