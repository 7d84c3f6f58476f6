"""Forward model of "static" frames and of all HR images: blur, sampling, radiometry and noise."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.special import ndtr

from ._clouds import observed_sky
from ._landscape import CELLS
from ._season import DAYS
from ._sensors import MAX_VALUE, draw

#: Point spread functions of the HR images of "static" scenes, in HR pixels.
STATIC_HR_PSF = (0.4, 0.6)

# Least clear fraction of an HR image.
_MIN_CLEAR = 0.75


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


def see_truth(rng, ground_on, shape, *, scale, margin, drift, noise, psf_sigma=STATIC_HR_PSF):
    """Simulate the HR image, by a sharper and less noisy sensor on a random day.

    `ground_on` gives the ground of a day in fine cells, with `margin` cells around the image. Noise
    is in counts of 14 bits, `psf_sigma` in HR pixels, a number or a range. Returns image (uint16)
    and status map.
    """
    sigma, day = CELLS * draw(rng, psf_sigma), rng.uniform(0, DAYS)
    radiance = sample_ground(ground_on(day), shape, pixel=CELLS, sigma=sigma, margin=margin)
    radiance *= drift.at(day, shape)
    sky, clear = None, np.ones(shape, bool)
    if rng.uniform() < 0.1:
        # The status map misses less than quality maps.
        sky, clear = observed_sky(rng, shape, _MIN_CLEAR, pixel=1 / scale, tolerance=0.03)
    return digitize(rng, radiance if sky is None else sky.cover(radiance), noise), clear
