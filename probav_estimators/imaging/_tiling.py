"""Blending of overlapping tiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["blend_tiles"]

# Tiles begin at multiples of this, because layers that work in blocks do.
_GRID = 8

# LR pixels over which one tile fades into the next.
_RAMP = 16

# LR pixels that a tile sees beyond what it gives: what lies further off hardly matters.
_HALO = 48


def blend_tiles(
    predict: Callable[[tuple[slice, slice]], NDArray[np.float32]],
    shape: tuple[int, int],
    scale: int,
    tile_size: int,
    out: NDArray[np.floating],
) -> None:
    """Make an image of tiles that overlap and fade into each other.

    Parameters
    ----------
    predict : callable
        Given a window (two slices, LR pixels), returns its images, (c, scale * h', scale * w').
    shape : (int, int)
        Of the whole, in LR pixels.
    scale : int
    tile_size : int
        LR pixels along each axis that a tile contributes, about. An axis that is no longer than
        this is not divided.
    out : array of shape (c, scale * h, scale * w)
        Is filled; a memory map serves for images that are larger than memory.
    """
    rows, columns = (_plan_axis(length, scale, tile_size) for length in shape)
    for down in rows:
        strip = np.zeros((len(out), down.stop - down.start, scale * shape[1]), np.float32)
        for right in columns:
            tile = predict((down.window, right.window))
            part = tile[:, down.inside, right.inside] * (down.weight[:, None] * right.weight)
            strip[:, :, right.start : right.stop] += part
        fresh = down.fresh
        out[:, down.start : fresh] += strip[:, : fresh - down.start]
        out[:, fresh : down.stop] = strip[:, fresh - down.start :]


class _Section:
    """One tile along one axis."""

    def __init__(self, begin, end, length, scale):
        first, last = max(begin - _RAMP // 2, 0), min(end + _RAMP // 2, length)
        self.window = slice(max(first - _HALO, 0), min(last + _HALO, length))
        self.start, self.stop = scale * first, scale * last
        self.inside = slice(scale * (first - self.window.start), scale * (last - self.window.start))
        # Where this tile is the first that contributes.
        self.fresh = scale * min(begin + _RAMP // 2, length) if begin else 0
        place = np.arange(self.start, self.stop) + 0.5
        self.weight = np.ones(len(place), np.float32)
        if begin:
            self.weight *= np.clip((place - self.start) / (scale * _RAMP), 0, 1)
        if end < length:
            self.weight *= np.clip((self.stop - place) / (scale * _RAMP), 0, 1)


def _plan_axis(length, scale, tile_size):
    n_tiles = 1 if tile_size is None else max(1, round(length / tile_size + 0.49))
    bounds = [_GRID * round(length * number / n_tiles / _GRID) for number in range(n_tiles)]
    return [
        _Section(begin, end, length, scale)
        for begin, end in zip(bounds, [*bounds[1:], length], strict=True)
    ]
