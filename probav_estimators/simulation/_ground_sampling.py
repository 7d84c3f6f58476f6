"""Forward model of "static" frames and HR images: blur, sampling, radiometry and noise."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.special import ndtr

#: Greatest value of the sensor's 14-bit scale.
MAX_VALUE = 2**14 - 1


def sample_ground(ground, shape, *, pixel, sigma, shift=(0.0, 0.0), margin=0.0):
    """Sample the ground with a Gaussian point spread function and square pixels; float32.

    `pixel` is the side of a pixel and `sigma` the standard deviation, in cells of the ground. The
    content is shifted (down, right) by pixels; `margin` cells of ground are above and left of the
    unshifted image.
    """
    rows, columns = (
        _response(n, length, pixel, sigma, margin - offset * pixel)
        for n, length, offset in zip(shape, ground.shape, shift, strict=True)
    )
    strips = np.ascontiguousarray((rows @ ground).T)
    return np.ascontiguousarray((columns @ strips).T)


def _response(n_pixels, n_cells, pixel, sigma, start):
    """Weights of cells in pixels: sparse float32 (n_pixels, n_cells), rows sum to 1."""
    first_edges = start + pixel * np.arange(n_pixels)
    reach = int(np.ceil(4 * sigma))
    first_cells = np.floor(first_edges).astype(int) - reach
    cells = first_cells[:, None] + np.arange(int(np.ceil(pixel)) + 2 * reach + 1)
    centres = cells + 0.5 - first_edges[:, None]
    # The box of a pixel convolved with the Gaussian, at the middle of each cell.
    weights = ndtr(centres / sigma) - ndtr((centres - pixel) / sigma)
    weights /= weights.sum(1, keepdims=True)
    # Edges are repeated.
    cells = np.clip(cells, 0, n_cells - 1)
    indptr = np.arange(0, cells.size + 1, cells.shape[1])
    matrix = sparse.csr_array(
        (weights.astype(np.float32).ravel(), cells.ravel(), indptr), shape=(n_pixels, n_cells)
    )
    matrix.sum_duplicates()
    return matrix


def digitize(rng, radiance, noise, *, gain=1.0, offset=0.0):
    """Convert radiance to 14-bit uint16: gain, offset, white noise, rounding, clipping."""
    signal = radiance * np.float32(gain) + np.float32(offset)
    signal += np.float32(noise) * rng.standard_normal(signal.shape, dtype=np.float32)
    return np.clip(np.rint(signal), 0, MAX_VALUE).astype(np.uint16)
