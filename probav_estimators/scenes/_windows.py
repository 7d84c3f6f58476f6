"""Which frames and which of their pixels to read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Numbers of frames, in the order in which they are wanted.
Index = Sequence[int] | NDArray[np.integer]

#: Rows and columns, in LR pixels.
Window = tuple[slice, slice]

#: The window of a whole image.
WHOLE: Window = (slice(None), slice(None))

#: Pixels (t, h, w) float32 and quality maps (t, h, w) bool, True = clear.
PixelsAndClear = tuple[NDArray[np.float32], NDArray[np.bool_]]


def open_ends(window: Window, shape: tuple[int, int]) -> Window:
    """Replace ends that are left out or negative by row and column numbers."""
    rows, columns = (
        slice(*part.indices(length)[:2]) for part, length in zip(window, shape, strict=True)
    )
    return rows, columns


def within(window: Window, outer: Window) -> Window:
    """Express a window relative to the first row and column of an outer one."""
    rows, columns = (
        slice(part.start - wide.start, part.stop - wide.start)
        for part, wide in zip(window, outer, strict=True)
    )
    return rows, columns
