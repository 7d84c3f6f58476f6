"""Frames of arrays that a user gives."""

from __future__ import annotations

import mmap
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from ..imaging import as_mask, as_value_range, check_pixels, hide_masked
from ._images import ArrayImage, ClearMask, StoredFrames
from ._stored_values import ArrayStack, MaskStack, ValueFrames, Values, is_dask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._frames import Frames


def frames_of_arrays(
    lr: Any, qm: Any, value_range: tuple[float, float] | None, label: str
) -> Frames:
    """Frames of arrays (t, h, w), read as needed if they are dask arrays or of any range.

    Parameters
    ----------
    lr, qm, value_range : arrays and tuple of two floats
        As for `Scene`.
    label : str
        Of the scene, for errors.

    Warns
    -----
    UserWarning
        Without quality maps.
    """
    lr, qm = hide_masked(lr, qm)
    if value_range is not None or is_dask(lr):
        frames = _value_frames(lr, qm, value_range, label)
    else:
        frames = _stored_frames(lr, qm, label)
    if qm is None:
        warnings.warn(
            f"{label} has no quality maps: every pixel is taken as clear; pass qm to say which are",
            stacklevel=3,
        )
    return frames


def _stored_frames(lr, qm, label):
    lr, clear = _as_stack(lr, f"{label}: lr"), None
    if qm is not None:
        qm = _as_stack(qm, f"{label}: qm")
        _check_same_shape(qm, lr, label)
        qm = keep_mask(qm, f"{label}: qm")
        clear = qm if qm.dtype == bool else None
    lr = keep_pixels(lr, f"{label}: lr", clear)
    images = [ArrayImage(frame, f"{label}: lr[{i}]") for i, frame in enumerate(lr)]
    if qm is not None:
        maps = [ArrayImage(mask, f"{label}: qm[{i}]") for i, mask in enumerate(qm)]
        return StoredFrames(images, maps)
    return StoredFrames(images, [ClearMask(image) for image in images])


def _value_frames(lr, qm, value_range, label):
    lr = _as_array(lr)
    _check_stack(lr, f"{label}: lr")
    if lr.dtype.kind not in "uif":
        raise ValueError(
            f"{label}: lr has values of type {lr.dtype}: give integers or floats, of one band"
        )
    if value_range is None:
        if lr.dtype.kind == "i":
            check_pixels(np.empty(0, lr.dtype), f"{label}: lr")
        value_range = (0, np.iinfo(lr.dtype).max) if lr.dtype.kind == "u" else (0, 1)
    limits = keep_value_range(value_range, label)
    masks = None
    if qm is not None:
        qm = _as_array(qm)
        _check_stack(qm, f"{label}: qm")
        _check_same_shape(qm, lr, label)
        masks = MaskStack(ArrayStack(qm, f"{label}: qm"), as_mask)
    return ValueFrames(ArrayStack(lr, f"{label}: lr"), Values(limits), masks)


def keep_value_range(value_range: Any, label: str) -> tuple[float, float]:
    """Return two floats of a tuple, an array or a Series; a ValueError for anything else."""
    limits = as_value_range(value_range)
    if limits is None:
        raise ValueError(
            f"{label}: value_range must be two finite numbers, the lower first, got {value_range!r}"
        )
    return limits


def _as_array(values):
    # Arrays of dask or zarr stay what they are.
    return values if hasattr(values, "shape") and hasattr(values, "dtype") else np.asarray(values)


def _as_stack(values, name):
    try:
        stack = np.asarray(values)
    except ValueError:
        raise ValueError(f"{name} has images of different sizes: all must be (h, w)") from None
    _check_stack(stack, name)
    return stack


def _check_stack(stack, name):
    if len(stack.shape) != 3 or 0 in stack.shape:
        raise ValueError(f"{name} has shape {stack.shape}: it must be (t, h, w), none of them 0")


def _check_same_shape(qm, lr, label):
    if qm.shape != lr.shape:
        raise ValueError(
            f"{label}: qm has shape {qm.shape} and lr has {lr.shape}: give one quality map for "
            "each frame, of its size"
        )


def keep_pixels(
    values: NDArray[Any], name: str, clear: NDArray[np.bool_] | None = None
) -> NDArray[Any]:
    """Return a read-only copy of pixels, floats as float32; of a memory map, a view."""
    check_pixels(values, name, clear)
    if _is_memory_map(values):
        return _freeze(values.view())
    return _freeze(np.array(values, np.float32 if values.dtype.kind == "f" else values.dtype))


def keep_mask(values: NDArray[Any], name: str) -> NDArray[Any]:
    """Return a read-only copy of masks as bool; of a memory map, a view in its type."""
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
