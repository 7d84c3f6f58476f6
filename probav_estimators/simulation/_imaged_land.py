"""Land of real images on the HR grid, in place of a drawn landscape."""

from __future__ import annotations

import numpy as np

from ._landscape import CELLS, Land, texture_land

# Differences to neighbours at a distance of one and of two pixels, for halves of pixels.
_FIRST, _SECOND = np.float32(22 / 128), np.float32(-3 / 128)


def imaged_land(rng, images, cells, texture=0.0):
    """Land of real images of one or several dates.

    `images` are radiances of HR pixels on the 14-bit scale, (h, w) or (t, h, w). Their middle fills
    `cells`, numbers of fine cells along each axis; smaller images are mirrored. `texture` as of
    `texture_land`.
    """
    images = np.asarray(images, np.float32)
    images = images[None] if images.ndim == 2 else images
    shape = tuple(n // CELLS for n in cells)
    halves = _split_pixels(_split_pixels(_middle(images, shape), axis=1), axis=2)
    land = Land(np.maximum(halves, 0))
    texture_land(rng, land, texture)
    return land


def _split_pixels(image, axis):
    """Split pixels into two halves along an axis; the mean of both is that of the pixel.

    Polynomials up to the fourth degree are exact: A. Harten, "Multiresolution algorithms for the
    numerical solution of hyperbolic conservation laws", 1995. Edges are repeated.
    """
    lines = np.moveaxis(image, axis, 0)
    padded = np.concatenate([lines[:1], lines[:1], lines, lines[-1:], lines[-1:]])
    slope = _FIRST * (padded[3:-1] - padded[1:-3]) + _SECOND * (padded[4:] - padded[:-4])
    halves = np.stack([lines - slope, lines + slope], axis=1)
    return np.moveaxis(halves.reshape(-1, *lines.shape[1:]), 0, axis)


def _middle(images, shape):
    """The middle of `shape` pixels, mirrored at the edges where images are smaller."""
    for axis, n in enumerate(shape, start=1):
        excess = images.shape[axis] - n
        first = excess // 2
        if excess >= 0:
            images = images.take(range(first, first + n), axis)
        else:
            pads = [(0, 0)] * images.ndim
            pads[axis] = (-first, first - excess)
            images = np.pad(images, pads, mode="reflect")
    return images
