"""Encodings of stored values, and blocks of images in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..architectures import ImageParts
from ..scenes import Scene, ValueFrames, Values
from ._frame_metadata import in_order_of_frames
from ._value_ranges import LearnedRange, value_range_of, warn_of_fill

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from ..architectures import FusedBlock
    from ..scenes import MaskStack, PositionPrior, Stack

__all__ = [
    "PART_DTYPES",
    "POSITION_STD",
    "Encoding",
    "ImageBlock",
    "Layer",
    "check_options",
    "check_position_std",
    "encoding_of",
    "holds",
    "layers_of",
    "read_encoding",
    "scene_of_stack",
]


#: Standard deviation of the georeferencing of frames, in their pixels.
POSITION_STD = 1.0

#: Types of the arrays of a block besides the image.
PART_DTYPES: dict[str, np.dtype[Any]] = {
    "std": np.dtype(np.float32),
    "n_clear": np.dtype(np.uint16),
    "parts": np.dtype(np.float32),
}


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
        """Return the encoding of an image of frames that have this one.

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

        Raises
        ------
        ValueError
            If the type is none of an image, or does not hold `nodata`.
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
    """Return the layers of an output of several bands: "image", "std", "n_clear" or "parts"."""
    return [
        layer
        for band, encoding in enumerate(encodings)
        for layer in _layers_of_band(part, band, *encoding.factors)
    ]


def _layers_of_band(part: str, band: int, scale: float, offset: float) -> list[Layer]:
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


def scene_of_stack(
    stack: Stack,
    encoding: Encoding,
    masks: MaskStack | None,
    label: str,
    *,
    name: str | None,
    band: str | None,
    value_range: tuple[float, float] | LearnedRange | None = None,
    prior: PositionPrior,
) -> Scene:
    """Return the lazy scene of a band, whose frames have a value range; warn of likely fill.

    `prior` is that of the frames' shifts by their georeferencing.
    """
    warn_of_fill(stack, encoding, masks, label)
    if value_range is None or isinstance(value_range, LearnedRange):
        value_range = value_range_of(stack, encoding, masks, value_range, label)
    low, high = value_range
    value_range = (float(low), float(high))
    frames = ValueFrames(stack, replace(encoding, value_range=value_range), masks, prior)
    return Scene.from_frames(frames, name=name, band=band, value_range=value_range)


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


def encoding_of(scene: Scene) -> Encoding:
    """Return the encoding of the frames of a scene of stored values."""
    frames: Any = scene.frames
    return frames.values


def holds(kind: np.dtype[Any], value: float) -> bool:
    """Whether a type of integers has a value."""
    limits = np.iinfo(kind)
    return bool(limits.min <= value <= limits.max and float(value).is_integer())
