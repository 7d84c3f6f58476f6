"""Images in the type and the units of the frames that they were made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..architectures import FusedBlock
    from ..scenes import Values

__all__ = ["ImageBlock", "ImageType"]


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
    """

    image: NDArray[Any]
    std: NDArray[np.float32]
    n_clear: NDArray[np.uint16]


@dataclass(frozen=True)
class ImageType:
    """Type and meaning of the stored values of an image.

    Attributes
    ----------
    values : Values
        What stored values mean.
    dtype : numpy dtype
    nodata : float
        Stored where no frame is clear; NaN for floats.
    """

    values: Values
    dtype: np.dtype[Any]
    nodata: float

    @classmethod
    def like(
        cls, values: Values, stored: np.dtype[Any], dtype: Any = None, nodata: float | None = None
    ) -> ImageType:
        """That of frames of a type, or another that is asked for.

        Parameters
        ----------
        values : Values
            What the frames' values mean.
        stored : numpy dtype
            Of the frames.
        dtype : dtype, default=None
            Of the image. None: that of the frames.
        nodata : float, default=None
            Stored where no frame is clear. None: NaN for floats, else what the frames have, else
            0 of an unsigned type and the least value of a signed one.

        Raises
        ------
        ValueError
            If the type is none of an image, or does not hold `nodata`.
        """
        kind = np.dtype(stored if dtype is None else dtype)
        if kind.kind not in "iuf":
            raise ValueError(f"dtype is {kind}: give a type of integers or floats")
        if nodata is not None and kind.kind != "f" and not _holds(kind, nodata):
            raise ValueError(
                f"nodata is {nodata:g}, which {kind} does not hold: give another, or another dtype"
            )
        if nodata is None:
            nodata = values.nodata if kind.kind != "f" else np.nan
        if nodata is None or (kind.kind != "f" and not _holds(kind, nodata)):
            nodata = float(np.iinfo(kind).min)
        return cls(values, kind, float(nodata))

    def encode(self, fused: FusedBlock, scale: int) -> ImageBlock:
        """A block in these values: rounded and clipped if the type makes it so, never else."""
        n_clear = fused.n_clear.repeat(scale, axis=0).repeat(scale, axis=1)
        image = self.values.to_stored(fused.image)
        if self.dtype.kind != "f":
            limits = np.iinfo(self.dtype)
            image = np.rint(image).clip(limits.min, limits.max)
            # What is data must not be read as none.
            inside = self.nodata + (1 if self.nodata < limits.max else -1)
            image = np.where(image == self.nodata, inside, image)
        image = np.where(n_clear > 0, image, self.nodata).astype(self.dtype)
        std = np.where(n_clear > 0, fused.deviation * self.values.step, np.nan)
        return ImageBlock(image, std.astype(np.float32), n_clear)


def _holds(kind, value):
    limits = np.iinfo(kind)
    return limits.min <= value <= limits.max and float(value).is_integer()
