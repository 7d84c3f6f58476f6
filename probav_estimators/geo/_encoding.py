"""Encodings and value ranges of stored values, and blocks of images in them."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..architectures import ImageParts
from ..imaging import as_value_range
from ..scenes import COUNTS, Values
from ._frame_metadata import in_order_of_frames

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from ..architectures import FusedBlock
    from ..scenes import MaskStack, Stack

__all__ = [
    "PART_DTYPES",
    "POSITION_STD",
    "Encoding",
    "ImageBlock",
    "LearnedRange",
    "check_options",
    "check_position_std",
    "check_value_range",
    "holds",
    "layers_of",
    "read_encoding",
    "sample_numbers",
    "sample_windows",
    "value_range_of",
    "warn_of_fill",
]

#: Standard deviation of the georeferencing of frames, in their pixels.
POSITION_STD = 1.0

#: Types of the arrays of a block besides the image.
PART_DTYPES: dict[str, np.dtype[Any]] = {
    "std": np.dtype(np.float32),
    "n_clear": np.dtype(np.uint16),
    "parts": np.dtype(np.float32),
}

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


class ImageBlock(NamedTuple):
    """Part of an image, as it is written.

    Attributes
    ----------
    image : array of shape (H, W)
        Stored values.
    std : float32 array of shape (H, W)
        Standard deviation of the error of each, in the same units.
    n_clear : uint16 array of shape (H, W)
        Clear frames at each pixel.
    parts : float32 array of shape (3, H, W) or None
        The images of :class:`~probav_estimators.architectures.ImageParts`, details in stored
        values.
    """

    image: NDArray[Any]
    std: NDArray[np.float32]
    n_clear: NDArray[np.uint16]
    parts: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Encoding(Values):
    """Type and meaning of the stored values of a band: value = stored * scale + offset.

    Parameters
    ----------
    value_range : tuple of two floats, default=(0, 1)
        Values of pixels of 0 and 1.
    scale, offset : float or float64 array of shape (t,)
        One for all frames, or one for each.
    nodata : float, default=None
        Stored value that stands for no data, besides NaN.
    dtype : numpy dtype, default=float32
        Of the stored values.
    """

    dtype: np.dtype[Any] = np.dtype(np.float32)  # noqa: RUF009 - dtypes are immutable

    def of_image(self, dtype: Any = None, nodata: float | None = None) -> Encoding:
        """Return the encoding of an image of frames that have this one, of a type and nodata value.

        Parameters
        ----------
        dtype : dtype, default=None
            None: that of the frames.
        nodata : float, default=None
            Stored where no frame is clear. None: NaN for floats, else that of the frames, else 0
            of an unsigned type and the least value of a signed one.

        Returns
        -------
        Encoding
        """
        kind = np.dtype(self.dtype if dtype is None else dtype)
        if kind.kind not in "iuf":
            raise ValueError(f"dtype is {kind}: give a type of integers or floats")
        if kind.kind == "f":
            return replace(self, dtype=kind, nodata=float(np.nan if nodata is None else nodata))
        if nodata is not None and not holds(kind, nodata):
            raise ValueError(
                f"nodata is {nodata:g}, which {kind} does not hold: give another, or another dtype"
            )
        nodata = self.nodata if nodata is None else nodata
        if nodata is None or not holds(kind, nodata):
            nodata = np.iinfo(kind).min
        # Floats do not hold all integers of 64 bits.
        return replace(self, dtype=kind, nodata=int(nodata))

    def arrays_of(
        self, shape: tuple[int, ...], *, parts: bool
    ) -> list[tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shapes and types of the arrays of an :class:`ImageBlock` of (H, W) pixels."""
        kinds = {"image": self.dtype, **PART_DTYPES}
        arrays = [(shape, kinds[name]) for name in ("image", "std", "n_clear")]
        return arrays + [((len(ImageParts._fields), *shape), kinds["parts"])] * parts

    def encode(self, fused: FusedBlock, scale: int) -> ImageBlock:
        """Return a block in stored values, rounded and clipped for integers."""
        n_clear = fused.n_clear.repeat(scale, axis=0).repeat(scale, axis=1)
        image = self.to_stored(fused.image)
        nodata = np.nan if self.nodata is None else self.nodata
        if self.dtype.kind != "f":
            limits = np.iinfo(self.dtype)
            image = np.rint(image).clip(limits.min, limits.max)
            # Data must not be read as no data.
            next_value = nodata + (1 if nodata < limits.max else -1)
            image = np.where(image == nodata, next_value, image)
        image = image.astype(self.dtype)
        image[n_clear == 0] = nodata
        std = np.where(n_clear > 0, fused.deviation * self.step, np.nan)
        parts = fused.parts
        if parts is not None:
            # Details have a sign, which a negative scale turns round.
            steps = np.array([1, *[self.span / self.factors[0]] * 2])[:, None, None]
            parts = np.where(n_clear > 0, steps * parts, np.nan).astype(np.float32)
        return ImageBlock(image, std.astype(np.float32), n_clear, parts)


class Layer(NamedTuple):
    """One array of an output: the image of a band, or what comes with it.

    Attributes
    ----------
    band : int
        Number of the band.
    suffix : str
        After the name of the band; empty for the image.
    scale, offset : float
        Physical value = stored * scale + offset.
    number : int or None
        Which of several arrays of a band; None: it has one.
    """

    band: int
    suffix: str
    scale: float = 1.0
    offset: float = 0.0
    number: int | None = None


def layers_of(part: str, encodings: Iterable[Encoding]) -> list[Layer]:
    """Return the layers of an image of several bands: "image", "std", "n_clear" or "parts"."""
    return [
        layer
        for band, encoding in enumerate(encodings)
        for layer in _layers_of_band(part, band, *encoding.factors)
    ]


def _layers_of_band(part, band, scale, offset):
    if part == "image":
        return [Layer(band, "", scale, offset)]
    if part == "std":
        # In the same units, and without an offset.
        return [Layer(band, "_std", abs(scale))]
    if part == "n_clear":
        return [Layer(band, "_n_clear")]
    scales = [1.0, scale, scale]
    return [
        Layer(band, f"_{name}", scales[number], number=number)
        for number, name in enumerate(ImageParts._fields)
    ]


def read_encoding(
    tags: Mapping[str, Any],
    given: Mapping[str, Any],
    band: str,
    n_frames: int,
    dtype: np.dtype[Any],
    labels: NDArray[Any] | None = None,
) -> Encoding:
    """Return the encoding of the frames of a band.

    `tags` and the arguments `given`, which come first, have a `scale_factor` and an `add_offset`,
    each for all frames or one for each, and a `nodata`; those given may be dicts by band. Series
    and DataArrays are put in the order of the frames by `labels`, the frames' dates or numbers. A
    ValueError is raised for factors that are not finite, or not as many as frames.
    """
    values = {}
    for option, tag in {"scale_factor": 1.0, "add_offset": 0.0, "nodata": None, **tags}.items():
        value = given.get(option)
        if isinstance(value, Mapping):
            value = {str(key): one for key, one in value.items()}.get(band)
        value = in_order_of_frames(value, labels, n_frames, option)
        values[option] = tag if value is None else value
    return Encoding(
        scale=_factor(values["scale_factor"], n_frames, "scale_factor"),
        offset=_factor(values["add_offset"], n_frames, "add_offset"),
        nodata=_one_value(values["nodata"]),
        dtype=dtype,
    )


def check_position_std(position_std: float) -> None:
    """Raise a ValueError for a standard deviation that is no positive number."""
    if not (isinstance(position_std, Real) and np.isfinite(position_std) and position_std > 0):
        raise ValueError(
            f"position_std is {position_std!r}: give the accuracy of the georeferencing in pixels "
            "of the frames, such as 0.5"
        )


def check_options(given: Mapping[str, Any], bands: Iterable[str]) -> None:
    """Raise a ValueError if an argument names a band that is not read."""
    bands = list(bands)
    for option, value in given.items():
        names = map(str, value) if isinstance(value, Mapping) else ()
        if unknown := [name for name in names if name not in bands]:
            raise ValueError(
                f"{option} names the bands {', '.join(unknown)}, which are none of those that are "
                f"read: {', '.join(bands)}"
            )


def _factor(value, n_frames, name):
    """A number, or one for each frame where they differ."""
    factor = _as_numbers(value, name)
    if factor.size != 1 and factor.shape != (n_frames,):
        raise ValueError(
            f"{name} is {value}, of the shape {factor.shape}: give one number, or one for each of "
            f"the {n_frames} frames"
        )
    if not np.isfinite(factor).all() or (name == "scale_factor" and not factor.all()):
        raise ValueError(f"{name} is {value}: give finite numbers, and for a scale none that is 0")
    return factor if np.unique(factor).size > 1 else float(factor.flat[0])


def _as_numbers(value, name):
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} is {value!r}, by an argument or by the attributes of the images: give a number"
        ) from None


def _one_value(nodata):
    """The value of no data, or None, as NaN always is."""
    stored = np.asarray(nodata)
    if stored.dtype.kind in "iu" and stored.size == 1:
        # Floats do not hold all integers of 64 bits.
        return int(stored.item())
    value = _as_numbers(np.nan if nodata is None else nodata, "nodata")
    if value.size != 1:
        raise ValueError(f"nodata is {nodata}: give one number, or one for each band by its name")
    return None if np.isnan(value).all() else value.item()


def holds(kind: np.dtype[Any], value: float) -> bool:
    """Whether a type of integers has a value."""
    limits = np.iinfo(kind)
    return bool(limits.min <= value <= limits.max and float(value).is_integer())


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


def check_value_range(value_range: Any, bands: Iterable[str]) -> None:
    """Raise a ValueError if an argument is neither a value range nor a dict of these by band."""
    check_options({"value_range": value_range}, bands)
    for one in value_range.values() if isinstance(value_range, Mapping) else [value_range]:
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
    """Return the physical values of pixels of 0 and 1 of the images `name`.

    It is the learned range, so that equal values are equal pixels in training and prediction, and
    that of 16-bit counts where scenes without a range were learned from. Otherwise, for uint8,
    uint16 and int16 these are the physical values, in the first frame, of the least and greatest
    stored ones that are not negative. Of other types, windows of at most 8 frames are sampled:
    (0, 1) for reflectances that differ by 0.1 % or more, else the span of 99 % of the clear pixels
    and 5 % of it on either side. A ValueError is raised if values cannot have the unit of a learned
    range. `values` are the scale, offset and nodata.
    """
    if learned is not None and learned.limits is not None:
        _check_unit(_span_of(stack, values, masks), learned.limits, learned.owner, name)
        return learned.limits
    counts = learned is not None
    limits = COUNTS if counts and stack.dtype == np.int16 else _RANGES.get(stack.dtype.name)
    if limits is not None:
        scale, offset = values.factors
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

    Usual are -9999, 1e20 and others, and 0 in unsigned integers of 16 bits or more, as beyond a
    swath. The value must fill more than 0.1 % of the pixels that are sampled.
    """
    if values.nodata is not None or stack.dtype == np.uint8:
        return
    counts: Counter[float] = Counter()
    total = 0
    for window in sample_windows(stack.shape):
        for number in sample_numbers(stack.shape):
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
    for window in sample_windows(stack.shape):
        parts = []
        for number in sample_numbers(stack.shape):
            stored = stack.read([number], window)
            clear = values.is_valid(stored)
            if masks is not None:
                clear &= masks.read([number], window)
            parts.append(stored[clear] * scales[number] + offsets[number])
        clear_values = np.concatenate(parts)
        if clear_values.size:
            break
    return clear_values


def sample_numbers(shape: tuple[int, int, int]) -> list[int]:
    """Numbers of frames that are spread over all."""
    return np.unique(np.linspace(0, shape[0] - 1, _FRAMES).round().astype(int)).tolist()


def sample_windows(shape: tuple[int, int, int]) -> list[tuple[slice, slice]]:
    """The middle of a frame and its corners, where swaths end; each once, if frames are small."""
    ends = [(length - min(length, _SIDE), min(length, _SIDE)) for length in shape[1:]]
    places = [(1, 1), (0, 0), (0, 2), (2, 0), (2, 2)]
    starts = [
        tuple(place * end[0] // 2 for place, end in zip(at, ends, strict=True)) for at in places
    ]
    (_, height), (_, width) = ends
    return [
        (slice(top, top + height), slice(left, left + width)) for top, left in dict.fromkeys(starts)
    ]
