"""Conversion of stored values to pixels and masks, with the checks that belong to it."""

import numpy as np

_FULL_SCALE = {np.dtype(np.uint8): np.float32(255), np.dtype(np.uint16): np.float32(65535)}


def as_pixels(values, name):
    """Return `values` as float32 pixels in [0, 1]; float32 values are not copied.

    Parameters
    ----------
    values : array of uint8, uint16 or float
        Integers are divided by the largest value of their type, floats must lie in [0, 1].
    name : str
        What the values are, for the error.

    Raises
    ------
    ValueError
        For another type, NaN, infinity, or floats outside [0, 1].
    """
    values = np.asarray(values)
    if values.dtype in _FULL_SCALE:
        return np.divide(values, _FULL_SCALE[values.dtype], dtype=np.float32)
    if values.dtype.kind != "f":
        raise ValueError(
            f"{name} has values of type {values.dtype}: give uint16, uint8, or floats in [0, 1]"
        )
    low, high = values.min(initial=0), values.max(initial=0)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"{name} has NaN or infinite values: fill or mask them first")
    if low < 0 or high > 1:
        raise ValueError(
            f"{name} has values from {low:g} to {high:g}: floats must lie in [0, 1]; "
            "divide 16-bit values by 65535, or pass them as uint16"
        )
    return values.astype(np.float32, copy=False)


def as_mask(values, name):
    """Return `values` as a bool mask, True where they are not zero; masks are not copied.

    Raises
    ------
    ValueError
        For NaN or values that are not numbers.
    """
    values = np.asarray(values)
    if values.dtype == bool:
        return values
    if values.dtype.kind not in "buif":
        raise ValueError(f"{name} has values of type {values.dtype}: give a mask, True = clear")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError(f"{name} has NaN or infinite values: give 0 where it is not clear")
    return values != 0


def to_uint16(pixels):
    """Return pixels in [0, 1] as the 16-bit values that stand for them."""
    return np.rint(np.asarray(pixels, np.float64) * 65535).astype(np.uint16)
