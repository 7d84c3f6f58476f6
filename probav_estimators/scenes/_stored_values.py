"""Frames of stored values of any kind and range, converted window by window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from ._frames import WHOLE, Frames, open_ends

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._frames import Index, PixelsAndClear, PositionPrior, Window
    from ._scene import Scene

__all__ = ["COUNTS", "ArrayStack", "MaskStack", "Stack", "ValueFrames", "Values", "is_dask"]

#: Range of 16-bit counts.
COUNTS = (0.0, 65535.0)

# Offset in pixels from which a range is far from the value 0.
_FAR = 4.0

# Greatest pixel; float32 ends at 3.4e38.
_GREATEST = 3e38

# Side of the windows that frames are searched in for anything but 0, in LR pixels.
_WINDOW = 512


class Stack(Protocol):
    """Stored images of one size."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(t, h, w)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""

    def read(self, index: Sequence[int], window: Window) -> NDArray[Any]:
        """Stored values of some images: (t, h', w')."""

    def where(self, number: int) -> str:
        """Name of an image in messages."""


class ArrayStack:
    """Images in one array: of numpy, a memory map, of dask or of zarr.

    Parameters
    ----------
    values : array of shape (t, h, w)
        Not copied; windows are read on demand.
    name : str
        Its name in messages.
    """

    def __init__(self, values: Any, name: str) -> None:
        self.values = values
        self.name = name

    @property
    def shape(self) -> tuple[int, int, int]:
        """(t, h, w)."""
        return self.values.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.values.dtype

    def read(self, index: Sequence[int], window: Window) -> NDArray[Any]:
        """Stored values of some images: (t, h', w')."""
        if is_dask(self.values):
            return self.values[list(index)][:, *window].compute()
        if not len(index):
            return np.empty((0, 0, 0), self.dtype)
        return np.stack([np.asarray(self.values[number, *window]) for number in index])

    def take(self, numbers: Sequence[int]) -> ArrayStack:
        """Some of the images, in this order."""
        if list(numbers) == list(range(len(self.values))):
            return self
        return ArrayStack(self.values[list(numbers)], self.name)

    def where(self, number: int) -> str:
        """Name of an image in messages."""
        return f"{self.name}[{number}]"


def is_dask(values: object) -> bool:
    """Whether this is a dask array."""
    return hasattr(values, "__dask_graph__") and hasattr(values, "chunks")


@dataclass(frozen=True)
class Values:
    """Meaning of stored values: physical value = stored * scale + offset.

    Attributes
    ----------
    value_range : tuple of two floats
        Physical values of pixels of 0 and 1.
    scale, offset : float or array of shape (t,)
        One for all frames, or one for each.
    nodata : float, default=None
        Stored value for no data, besides NaN.
    """

    value_range: tuple[float, float] = (0.0, 1.0)
    scale: float | NDArray[np.floating] = 1.0
    offset: float | NDArray[np.floating] = 0.0
    nodata: float | None = None

    @classmethod
    def of(cls, scene: Scene) -> Self:
        """Physical values of a scene: those of its `value_range`, else 16-bit counts."""
        return cls(scene.value_range or COUNTS)

    @property
    def span(self) -> float:
        """Physical difference of a pixel difference of 1."""
        low, high = self.value_range
        return high - low

    @property
    def unit(self) -> str:
        """Name of the physical unit in labels."""
        low, high = self.value_range
        return "16-bit counts" if (low, high) == COUNTS else f"values, range {low:g} to {high:g}"

    def to_physical(self, pixels: Any) -> Any:
        """Physical values of pixels."""
        return self.value_range[0] + self.span * np.asarray(pixels)

    def to_pixels(self, stored: NDArray[Any], index: Sequence[int]) -> NDArray[np.float32]:
        """Pixels of the stored values of frames `index`, (t, h, w) float32."""
        scale, offset = (_of_frames(value, index) for value in (self.scale, self.offset))
        gains, offsets = scale / self.span, (offset - self.value_range[0]) / self.span
        # In double precision where single precision would round the values, or cancel them.
        wide = stored.dtype.itemsize > 2 and stored.dtype != np.float32
        kind = np.float64 if wide or np.abs(offsets).max() > _FAR else np.float32
        with np.errstate(over="ignore", invalid="ignore"):
            pixels = stored * gains.astype(kind) + offsets.astype(kind)
            return pixels.astype(np.float32, copy=False)

    def to_stored(self, pixels: NDArray[np.float32]) -> NDArray[np.float64]:
        """Stored values of pixels, not rounded, with the scale and offset of the first frame."""
        scale, offset = self.factors
        return (self.to_physical(pixels.astype(np.float64)) - offset) / scale

    @property
    def step(self) -> float:
        """Stored difference of a pixel difference of 1."""
        return self.span / abs(self.factors[0])

    @property
    def factors(self) -> tuple[float, float]:
        """Scale and offset of the first frame, which an image of the frames has."""
        return float(np.ravel(self.scale)[0]), float(np.ravel(self.offset)[0])

    def is_valid(self, stored: NDArray[Any]) -> NDArray[np.bool_]:
        """Where stored values are data: neither NaN nor too large for pixels of float32."""
        valid = np.ones(stored.shape, bool)
        if stored.dtype.kind == "f":
            limit = _GREATEST * self.span / float(np.abs(self.scale).max())
            valid = np.abs(stored) <= min(limit, float(np.finfo(stored.dtype).max))
        if self.nodata is not None and not np.isnan(self.nodata):
            valid &= stored != self.nodata
        return valid


def _of_frames(value, index):
    values = np.asarray(value, np.float64)
    return values if values.ndim == 0 else values[list(index)][:, None, None]


@dataclass(frozen=True)
class MaskStack:
    """Quality maps converted from stored values.

    Attributes
    ----------
    stack : Stack
        Stored masks or classes.
    convert : callable
        ``convert(values, name)`` gives a bool array, True = clear.
    repeat : int, default=1
        LR pixels for each value along each axis.
    origin : tuple of two ints, default=(0, 0)
        Row and column, in LR pixels of the stored masks, where the frames start.
    other : MaskStack, default=None
        Other masks, where pixels have to be clear as well.
    """

    stack: Stack
    convert: Callable[[NDArray[Any], str], NDArray[np.bool_]]
    repeat: int = 1
    origin: tuple[int, int] = (0, 0)
    other: MaskStack | None = None

    def also(self, other: MaskStack | None) -> MaskStack:
        """These masks and others, where pixels have to be clear as well."""
        return replace(self, other=other if self.other is None else self.other.also(other))

    def stored_window(self, window: Window) -> Window:
        """Rows and columns of the stored masks that hold a window of the frames."""
        rows, columns = (
            slice((part.start + start) // self.repeat, -(-(part.stop + start) // self.repeat))
            for part, start in zip(window, self.origin, strict=True)
        )
        return rows, columns

    def read(self, index: Sequence[int], window: Window) -> NDArray[np.bool_]:
        """Quality maps of some frames, (t, h', w') bool."""
        wanted = self.stored_window(window)
        stored = self.stack.read(index, wanted)
        clear = np.stack(
            [
                self.convert(image, self.stack.where(i))
                for i, image in zip(index, stored, strict=True)
            ]
        )
        if self.repeat > 1:
            clear = clear.repeat(self.repeat, axis=1).repeat(self.repeat, axis=2)
        inside = [
            slice(part.start + start - first, part.stop + start - first)
            for part, start, first in zip(
                window, self.origin, [part.start * self.repeat for part in wanted], strict=True
            )
        ]
        clear = clear[:, *inside]
        return clear if self.other is None else clear & self.other.read(index, window)


class ValueFrames(Frames):
    """Frames of stored values, of which windows are read and converted on demand.

    Parameters
    ----------
    stack : Stack
        Stored values.
    values : Values
        Their meaning.
    masks : MaskStack, default=None
        Quality maps. None: all valid pixels are clear.
    position_prior : PositionPrior, default=None
        Of the frames' shifts, by their georeferencing. None: there is none.

    Notes
    -----
    Pixels without data are 0 and never clear, nor is any pixel of a frame that is 0 throughout.
    """

    def __init__(
        self,
        stack: Stack,
        values: Values,
        masks: MaskStack | None = None,
        position_prior: PositionPrior | None = None,
    ) -> None:
        self.stack = stack
        self.values = values
        self.masks = masks
        self._position_prior = position_prior
        self._empty: list[int] | None = None

    def __len__(self) -> int:
        return self.stack.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        return self.stack.shape[1:]

    @property
    def position_prior(self) -> PositionPrior | None:
        return self._position_prior

    @property
    def shows_all(self) -> bool:
        """Whether all stored values are data."""
        return self.values.nodata is None and self.stack.dtype.kind != "f"

    @property
    def empty(self) -> list[int]:
        """Numbers of the frames that are 0 throughout, and hold no data."""
        if self._empty is None:
            self._empty = [
                number
                for number in range(len(self))
                if not any(self.stack.read([number], window).any() for window in self._windows())
            ]
        return self._empty

    def read(self, index: Index | None = None, window: Window = WHOLE) -> PixelsAndClear:
        numbers, part = self._resolve(index, window)
        pixels, valid = self._read_valid(numbers, part)
        return pixels, self._hide(valid, numbers, part)

    def read_pixels(
        self, index: Index | None = None, window: Window = WHOLE
    ) -> NDArray[np.float32]:
        return self._read_valid(*self._resolve(index, window))[0]

    def read_clear(self, index: Index | None = None, window: Window = WHOLE) -> NDArray[np.bool_]:
        numbers, part = self._resolve(index, window)
        if self.shows_all:
            # Known without reading pixels.
            valid = np.ones((len(numbers), *(along.stop - along.start for along in part)), bool)
        else:
            valid = self.values.is_valid(self.stack.read(numbers, part))
        return self._hide(self._without_empty(valid, numbers), numbers, part)

    def _windows(self):
        """Windows that cover the frames, from the middle, which is most likely to hold data."""
        parts = []
        for length in self.shape:
            starts = range(0, length, _WINDOW)
            order = sorted(starts, key=lambda start: abs(start + _WINDOW // 2 - length // 2))
            parts.append([slice(start, min(start + _WINDOW, length)) for start in order])
        return [(rows, columns) for rows in parts[0] for columns in parts[1]]

    def _resolve(self, index, window):
        numbers = list(range(len(self))) if index is None else [int(number) for number in index]
        return numbers, open_ends(window, self.shape)

    def _read_valid(self, index, window):
        """Pixels and where they are data."""
        stored = self.stack.read(index, window)
        valid = self._without_empty(self.values.is_valid(stored), index)
        return np.where(valid, self.values.to_pixels(stored, index), np.float32(0)), valid

    def _without_empty(self, valid, index):
        valid[np.isin(index, self.empty)] = False
        return valid

    def _hide(self, valid, index, window):
        if self.masks is not None and len(index):
            valid &= self.masks.read(index, window)
        return valid
