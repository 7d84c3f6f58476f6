"""Value ranges of satellite images, and values in them that look like fill."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..imaging import as_value_range
from ..scenes import COUNTS

if TYPE_CHECKING:
    from ..scenes import MaskStack, Stack, Values

__all__ = ["LearnedRange", "check_value_range", "value_range_of", "warn_of_fill"]

# Stored values of pixels of 0 and 1 for types of 8 and 16 bits.
_RANGES = {"uint8": (0, 255), "uint16": (0, 65535), "int16": (0, 32767)}

# Sample of a stack: frames, and pixels along each side of a window.
_FRAMES, _SIDE = 8, 256

# Usual fill values; also anything at or below _LEAST.
_USUAL_FILL = (-9999.0, -32768.0, -32767.0, 1e20, 9.96921e36)
_LEAST = -1e30

# Pixels between which almost all are that have the unit of a learned range, and the least part of
# the range that they reach.
_LIMITS = (-1.0, 2.0)
_LEAST_PART = 1e-3

# Least contrast of reflectances, as a part of the greatest: float32 pixels would round less.
_LEAST_CONTRAST = 1e-3

# Part of the pixels above which such a value is fill rather than data.
_OFTEN = 1e-3


class LearnedRange(NamedTuple):
    """Value range of the scenes that an estimator learned from.

    Attributes
    ----------
    limits : tuple of two floats or None
        None: scenes without one, of 16-bit counts, bytes or floats in [0, 1].
    owner : str
        Name of the estimator.
    """

    limits: tuple[float, float] | None
    owner: str


def check_value_range(value_range: Any, bands: Mapping[str, Any]) -> None:
    """Raise a ValueError if an argument is neither a value range nor a dict of these by band."""
    by_band = isinstance(value_range, Mapping)
    if by_band and (unknown := [str(name) for name in value_range if str(name) not in bands]):
        raise ValueError(
            f"value_range names the bands {', '.join(unknown)}, which are none of those that are "
            f"read: {', '.join(bands)}"
        )
    for one in value_range.values() if by_band else [value_range]:
        if one is not None and as_value_range(one) is None:
            raise ValueError(
                f"value_range is {one!r}: give the values of pixels of 0 and 1, two finite "
                "numbers, the lower first"
            )


def value_range_of(
    stack: Stack,
    values: Values,
    masks: MaskStack | None,
    learned: LearnedRange | None = None,
    name: str = "cube",
) -> tuple[float, float]:
    """Return the physical values of pixels of 0 and 1.

    Parameters
    ----------
    stack : Stack
    values : Values
        Scale, offset and nodata of the stored values; its own range is not used.
    masks : MaskStack or None
        Where frames are clear.
    learned : LearnedRange, default=None
        Of the estimator. None: its predictions do not depend on the unit.
    name : str, default="cube"
        Name of the images in the error.

    Returns
    -------
    tuple of two floats
        The lower first.

    Raises
    ------
    ValueError
        If the values cannot have the unit of a learned range.

    Notes
    -----
    It is the learned range, so that equal values are equal pixels in training and prediction, and
    that of 16-bit counts where scenes without a range were learned from. Otherwise, for uint8,
    uint16 and int16 these are the physical values, in the first frame, of the least and greatest
    stored ones that are not negative. Of other types, windows of at most 8 frames are sampled:
    (0, 1) for reflectances that differ by 0.1 % or more, else the span of 99 % of the
    clear pixels and 5 % of it on either side.
    """
    if learned is not None and learned.limits is not None:
        _check_unit(_span_of(stack, values, masks), learned.limits, learned.owner, name)
        return learned.limits
    counts = learned is not None
    limits = COUNTS if counts and stack.dtype == np.int16 else _RANGES.get(stack.dtype.name)
    if limits is not None:
        scale, offset = (float(np.ravel(value)[0]) for value in (values.scale, values.offset))
        low, high = sorted(number * scale + offset for number in limits)
        return low, high
    low, high = _span_of(stack, values, masks) or (0.0, 1.0)
    if low >= -0.5 and 0.01 < high <= 2 and high - low > _LEAST_CONTRAST * high:
        return 0.0, 1.0
    if counts and low >= COUNTS[0] and high <= COUNTS[1]:
        return COUNTS
    # Of a constant, so much that the ends differ in double precision.
    margin = 0.05 * (high - low) or max(0.5, 1e-6 * abs(low))
    return low - margin, high + margin


def _span_of(stack, values, masks):
    """Span of 99 % of the clear values or, if there are none, of all; None if there is no data."""
    clear = _physical_values(stack, values, masks)
    if not clear.size:
        return None if masks is None else _span_of(stack, values, None)
    low, high = np.percentile(clear, [0.5, 99.5]).tolist()
    return low, high


def _check_unit(span, limits, owner, name):
    """Raise a ValueError if values of this span cannot have the unit of a value range."""
    low, high = ((value - limits[0]) / (limits[1] - limits[0]) for value in span or limits)
    if low > _LIMITS[1] or high < _LIMITS[0] or max(abs(low), abs(high)) < _LEAST_PART:
        raise ValueError(
            f"{name} has values from {span[0]:.6g} to {span[1]:.6g}, and {owner} learned from "
            f"scenes of value_range=({limits[0]:g}, {limits[1]:g}): convert them to that unit by "
            "scale_factor and add_offset"
        )


def warn_of_fill(stack: Stack, values: Values, masks: MaskStack | None, name: str) -> None:
    """Warn if clear pixels hold a value that usually is fill, and nodata is not known.

    Parameters
    ----------
    stack : Stack
    values : Values
    masks : MaskStack or None
    name : str
        Name of the images in the warning.

    Notes
    -----
    Usual are -9999, 1e20 and others, and 0 in unsigned integers of 16 bits or more, as beyond a
    swath. The value must fill more than 0.1 % of the pixels that are sampled.
    """
    if values.nodata is not None or stack.dtype == np.uint8:
        return
    counts: Counter[float] = Counter()
    total = 0
    for window in _windows(stack.shape):
        for number in _numbers(stack.shape):
            (stored,) = stack.read([number], window)
            if not stored.any():
                continue  # an empty frame, which is never used
            if masks is not None:
                stored = stored[masks.read([number], window)[0]]
            counts.update(stored[_is_usual_fill(stored)].tolist())
            total += stored.size
    ((value, count),) = counts.most_common(1) or [(0, 0)]
    if count > _OFTEN * total:
        warnings.warn(
            f"{name} has the value {value:.9g} in {count / total:.1%} of the pixels that were "
            f"sampled, which looks like fill and is used as data: pass nodata={value:.9g} if it "
            "stands for no data",
            stacklevel=2,
        )


def _is_usual_fill(stored):
    if stored.dtype.kind == "u":
        return stored == 0
    stored = stored.astype(np.float64)  # which holds all of them
    with np.errstate(invalid="ignore"):
        usual = [np.isclose(stored, value, rtol=1e-6, atol=0) for value in _USUAL_FILL]
        return np.logical_or.reduce([*usual, np.isfinite(stored) & (stored <= _LEAST)])


def _physical_values(stack, values, masks):
    """Clear values in the middle of the frames or, where nothing is clear, in the corners."""
    scales, offsets = (
        np.broadcast_to(np.asarray(value, np.float64), stack.shape[:1])
        for value in (values.scale, values.offset)
    )
    clear_values = np.empty(0)
    for window in _windows(stack.shape):
        parts = []
        for number in _numbers(stack.shape):
            stored = stack.read([number], window)
            clear = values.is_valid(stored)
            if masks is not None:
                clear &= masks.read([number], window)
            parts.append(stored[clear] * scales[number] + offsets[number])
        clear_values = np.concatenate(parts)
        if clear_values.size:
            break
    return clear_values


def _numbers(shape):
    """Numbers of frames that are spread over all."""
    return np.unique(np.linspace(0, shape[0] - 1, _FRAMES).round().astype(int)).tolist()


def _windows(shape):
    """The middle of a frame and its corners, where swaths end; each once, if frames are small."""
    ends = [(length - min(length, _SIDE), min(length, _SIDE)) for length in shape[1:]]
    places = [(1, 1), (0, 0), (0, 2), (2, 0), (2, 2)]
    starts = [
        tuple(place * end[0] // 2 for place, end in zip(at, ends, strict=True)) for at in places
    ]
    return [
        tuple(slice(start, start + end[1]) for start, end in zip(at, ends, strict=True))
        for at in dict.fromkeys(starts)
    ]
