"""Checked conversion of stored values to pixels and masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FULL_SCALE = {np.dtype(np.uint8): np.float32(255), np.dtype(np.uint16): np.float32(65535)}

# Values of a clear pixel in a mask: True, white of an 8-bit file, white of a 16-bit file.
_CLEAR_VALUES = (1, 255, 65535)

# Plausible range of reflectances: bright ground exceeds 1, values far below 0 are no data.
_LARGEST_REFLECTANCE = 1.25
_LEAST_REFLECTANCE = -0.25

_FILL = "fill them, and hide them by the mask if they have one"

# Axes of a stack and of an image.
_AXES = {3: ("frame", "row", "column"), 2: ("row", "column")}


def as_pixels(
    values: NDArray[Any], name: str, clear: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Return values as float32 pixels in [0, 1]; float32 values are not copied.

    Parameters
    ----------
    values : array of uint8, uint16 or float
        Integers are divided by the largest value of their type, floats must be in [0, 1].
    name : str
        Name of the values in errors.
    clear : bool array of the same shape, default=None
        Their mask, for errors.

    Returns
    -------
    float32 array of the same shape

    Raises
    ------
    ValueError
        For another type, NaN, infinity, or floats outside [0, 1].
    """
    values = np.asarray(values)
    check_pixels(values, name, clear)
    if values.dtype.kind == "u":
        full_scale = _FULL_SCALE[values.dtype.newbyteorder("=")]
        return np.divide(values, full_scale, dtype=np.float32)
    return values.astype(np.float32, copy=False)


def check_pixels(values: NDArray[Any], name: str, clear: NDArray[np.bool_] | None = None) -> None:
    """Raise the errors of :func:`as_pixels`; nothing is converted."""
    if values.dtype.newbyteorder("=") in _FULL_SCALE:
        return
    if values.dtype.kind != "f":
        raise ValueError(
            f"{name} has values of type {values.dtype}: give uint16, uint8, or floats in [0, 1]; "
            "or say what they mean, Scene(..., value_range=(0, 10000))"
        )
    low, high = values.min(initial=0), values.max(initial=0)
    if low >= 0 and high <= 1:
        return
    finite = np.isfinite(values)
    if not finite.all():
        bad, what, remedy = ~finite, "NaN or infinite values", _FILL
    else:
        bad, low = (values < 0) | (values > 1), values.min()
        what, remedy = f"values from {low!s} to {high!s}", "clip them, np.clip(..., 0, 1)"
        if high > _LARGEST_REFLECTANCE:
            remedy = f"divide 16-bit values by 65535, or pass them as uint16; or {remedy}"
        elif low < _LEAST_REFLECTANCE:
            remedy = _FILL
    if clear is not None and not (bad & clear).any():
        remedy = "the mask hides all of them, fill them, np.where(mask, ..., 0)"
    if high > _LARGEST_REFLECTANCE and finite.all():
        remedy = f"{remedy}; or pass Scene(..., value_range=(low, high))"
    raise ValueError(
        f"{name} has {what}: {_count_and_place(bad)}; floats must be in [0, 1]: {remedy}"
    )


def as_finite_pixels(values: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Return float32 pixels of any range; a ValueError for NaN and infinity."""
    finite = np.isfinite(values)
    if not finite.all():
        raise ValueError(f"{name} has NaN or infinite values: {_count_and_place(~finite)}: {_FILL}")
    return values.astype(np.float32, copy=False)


def as_value_range(value_range: Any) -> tuple[float, float] | None:
    """Return a value range as floats; None unless it is two finite numbers, the lower first."""
    try:
        limits = np.asarray(value_range)
    except ValueError:  # nested lists of different lengths
        return None
    if limits.shape != (2,) or limits.dtype.kind not in "iufb" or not np.isfinite(limits).all():
        return None
    low, high = map(float, limits)
    return (low, high) if low < high else None


def _count_and_place(bad):
    first = np.unravel_index(bad.argmax(), bad.shape)
    axes = _AXES.get(bad.ndim, [f"axis {number}" for number in range(bad.ndim)])
    place = ", ".join(f"{axis} {number}" for axis, number in zip(axes, first, strict=True))
    count = np.count_nonzero(bad)
    return f"{count:,} of {bad.size:,} pixels, the first in {place}"


def as_mask(values: NDArray[Any], name: str) -> NDArray[np.bool_]:
    """Return `values` as a bool mask, True = clear; masks are not copied.

    Parameters
    ----------
    values : array
        Mask, or numbers: 0 where it is not clear, and one of 1, 255 and 65535 where it is.
    name : str
        Name of the values in errors.

    Returns
    -------
    bool array of the same shape

    Raises
    ------
    ValueError
        For other numbers, such as the classes of a scene classification or probabilities, and for
        values that are not numbers.
    """
    values = np.asarray(values)
    if values.dtype == bool:
        return values
    if values.dtype.kind not in "uif":
        raise ValueError(f"{name} has values of type {values.dtype}: give a mask, True = clear")
    clear = values != 0
    high = values.max(initial=0)
    if not clear.any() or (high in _CLEAR_VALUES and np.array_equal(clear, values == high)):
        return clear
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has NaN or infinite values: give 0 where it is not clear")
    found = np.unique(values)
    shown = ", ".join(f"{value}" for value in found[:8]) + (", ..." if len(found) > 8 else "")
    raise ValueError(
        f"{name} has the values {shown}, which are no mask: give True or 1 where it is clear and "
        "False or 0 elsewhere; np.isin(scl, [4, 5, 6, 7]) makes a mask of Sentinel-2's scene "
        "classification, and probability < 0.5 one of cloud probabilities"
    )


def hide_masked(values: Any, clear: Any) -> tuple[Any, Any]:
    """Return pixels and their mask as plain arrays: what `numpy.ma` masks in either is not clear.

    Parameters
    ----------
    values : array, masked array, or sequence of these
        Masked pixels become the mean of the others.
    clear : array, masked array, or sequence of these, or None
        Their mask.

    Returns
    -------
    values : array
    clear : array or None
        Arguments that are not masked are returned as they are.
    """
    values, clear = _join_masked(values), _join_masked(clear)
    if np.ma.isMaskedArray(clear):
        clear = clear.filled(0)
    if not np.ma.isMaskedArray(values):
        return values, clear
    hidden, seen = np.ma.getmaskarray(values), values.compressed()
    if clear is None:
        clear = ~hidden
    elif np.shape(clear) == values.shape:
        clear = np.where(hidden, np.zeros_like(clear), clear)
    return values.filled(values.dtype.type(seen.mean() if seen.size else 0)), clear


def _join_masked(values):
    if isinstance(values, list | tuple) and any(map(np.ma.isMaskedArray, values)):
        return np.ma.stack(values)
    return values


def is_plain(pixels: NDArray[Any]) -> bool:
    """Whether all pixels are in [0, 1]; NaN is not."""
    return bool(pixels.min(initial=0) >= 0 and pixels.max(initial=0) <= 1)


def fill_hidden(pixels: NDArray[Any], clear: NDArray[np.bool_]) -> NDArray[Any]:
    """Clip pixels to [0, 1] where they are not clear, and replace NaN there by 0.

    Parameters
    ----------
    pixels : float array
    clear : bool array of the same shape
        Their mask.

    Returns
    -------
    float array of the same shape
        `pixels` itself if all are in [0, 1].
    """
    if is_plain(pixels):
        return pixels
    return np.where(clear, pixels, np.clip(np.nan_to_num(pixels), 0, 1))


def to_uint16(pixels: NDArray[Any], name: str) -> NDArray[np.uint16]:
    """Return pixels as 16-bit values; a ValueError with the name if some are not in [0, 1]."""
    check_pixels(pixels, name)
    return np.rint(pixels.astype(np.float64) * 65535).astype(np.uint16)
