"""Blocks of tiled prediction, with their halos."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

from ._interpolation import pad_window

__all__ = ["Block", "block_of", "plan_blocks"]

# Blocks begin at multiples of this, as layers that work on squares of pixels require.
_GRID = 8

# LR pixels around a block that it is computed with. Pixels further away change its values by less
# than float32 resolves, so that blocks fit together without a seam, however an image is divided.
_HALO = 64


class Block(NamedTuple):
    """Block of an image, in LR pixels.

    Attributes
    ----------
    number : int
        Position in the plan.
    rows, columns : slice
        Rows and columns of the block.
    window : tuple of two slices
        Rows and columns that it is computed from: the block and its halo, clipped to the image.
    """

    number: int
    rows: slice
    columns: slice
    window: tuple[slice, slice]

    def inside(self, scale: int) -> tuple[slice, slice]:
        """Rows and columns of the block within an image of the window, in HR pixels."""
        parts = (self.rows, self.columns)
        rows, columns = (
            slice(scale * (part.start - wide.start), scale * (part.stop - wide.start))
            for part, wide in zip(parts, self.window, strict=True)
        )
        return rows, columns

    def place(self, scale: int) -> tuple[slice, slice]:
        """Rows and columns of the block within the whole image, in HR pixels."""
        return (
            slice(scale * self.rows.start, scale * self.rows.stop),
            slice(scale * self.columns.start, scale * self.columns.stop),
        )


def plan_blocks(shape: tuple[int, int], block_size: int | None) -> list[Block]:
    """Divide an image into blocks; the plan depends on these two arguments alone.

    Parameters
    ----------
    shape : (int, int)
        Of the image, in LR pixels.
    block_size : int
        LR pixels of a block along each axis at most, rounded up to a multiple of 8. Those at the
        lower and right border may be smaller, all others have one size. None: one block is the
        whole.

    Returns
    -------
    list of Block
        Row by row.
    """
    rows, columns = (_divide(length, block_size) for length in shape)
    return [
        block_of((down, right), shape, number)
        for number, (down, right) in enumerate(product(rows, columns))
    ]


def block_of(part: tuple[slice, slice], shape: tuple[int, int], number: int = 0) -> Block:
    """Return the block of these rows and columns of an image, with its halo."""
    rows, columns = (
        # On the grid of layers that begins at the other end, for windows that are flipped.
        slice(wide.start, wide.stop + (length - wide.stop) % _GRID)
        for wide, length in zip(pad_window(part, shape, _HALO), shape, strict=True)
    )
    return Block(number, *part, (rows, columns))


def _divide(length, block_size):
    n_blocks = 1 if block_size is None else -(-length // (_GRID * -(-block_size // _GRID)))
    step = _GRID * -(-length // (_GRID * n_blocks))
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]
