"""Arrays that a scene keeps: copies that nobody else can change, or memory maps."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

import numpy as np

from ..imaging import as_mask, check_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["keep_mask", "keep_pixels"]


def keep_pixels(
    values: NDArray[Any], name: str, clear: NDArray[np.bool_] | None = None
) -> NDArray[Any]:
    """Return a read-only copy of pixels: integers in their type, floats as float32.

    Parameters
    ----------
    values : array
        A memory map is not copied; a read-only view of it comes back.
    name : str
        What the values are, for the error.
    clear : bool array, default=None
        Mask that goes with them, for the error.

    Raises
    ------
    ValueError
        If the values are no pixels.
    """
    check_pixels(values, name, clear)
    if _is_memory_map(values):
        return _freeze(values.view())
    return _freeze(np.array(values, np.float32 if values.dtype.kind == "f" else values.dtype))


def keep_mask(values: NDArray[Any], name: str) -> NDArray[Any]:
    """Return a read-only copy of masks as bool; a memory map stays one, in its type.

    Raises
    ------
    ValueError
        If the values are no mask.
    """
    if _is_memory_map(values):
        for number, image in enumerate(values if values.ndim == 3 else [values]):
            as_mask(image, f"{name}[{number}]" if values.ndim == 3 else name)
        return _freeze(values.view())
    return _freeze(np.array(as_mask(values, name)))


def _is_memory_map(values):
    while values is not None:
        if isinstance(values, (np.memmap, mmap.mmap)):
            return True
        values = getattr(values, "base", None)
    return False


def _freeze(values):
    values.flags.writeable = False
    return values
