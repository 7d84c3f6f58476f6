"""Images of a scene, in memory and in files, and frames of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..imaging import as_finite_pixels, as_mask, as_pixels
from ._fingerprint import digest
from ._frames import WHOLE, Frames
from ._png import damaged, file_digest, missing, read_header, read_png

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._frames import Index, PixelsAndClear, Window


class ArrayImage:
    """One image that is held in memory."""

    __slots__ = ("_values", "where")

    def __init__(self, values: NDArray[Any], where: str) -> None:
        self._values = values
        self.where = where

    @property
    def shape(self) -> tuple[int, int]:
        return self._values.shape

    @property
    def bits(self) -> int:
        return 8 * self._values.itemsize

    def read(self) -> NDArray[Any]:
        return self._values

    def fingerprint(self) -> str:
        """Hash of the values."""
        return digest(self._values)


class _FileImage:
    """One image on disk.

    Parameters
    ----------
    where : str
        The file's path.
    """

    __slots__ = ("where",)

    def __init__(self, where: str) -> None:
        self.where = where

    def fingerprint(self) -> str:
        """Hash of the file's bytes, which are not decoded."""
        return file_digest(self.where)


class PngImage(_FileImage):
    """One image in a PNG file, decoded when its values are read."""

    __slots__ = ()

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w), from the file's header."""
        return read_header(self.where).shape

    @property
    def bits(self) -> int:
        """Bits of each value, from the file's header."""
        return read_header(self.where).bits

    def read(self) -> NDArray[Any]:
        """Values of the file: a read-only (h, w) array of uint8, uint16 or bool."""
        return read_png(self.where)


class NpyImage(_FileImage):
    """One image of float32 pixels of any range on disk, mapped when its values are read."""

    __slots__ = ()

    bits = 32

    @property
    def shape(self) -> tuple[int, int]:
        return self.read().shape

    def read(self) -> NDArray[np.float32]:
        """Values of the file: a read-only (h, w) array."""
        try:
            values = np.load(self.where, mmap_mode="r", allow_pickle=False)
        except (FileNotFoundError, NotADirectoryError):
            raise missing(self.where) from None
        except Exception as error:  # headers are parsed as Python
            raise damaged(self.where, error) from error
        if getattr(values, "dtype", None) != np.float32 or values.ndim != 2:
            raise damaged(self.where, "it is no float32 array of shape (h, w)")
        return values


class ClearMask:
    """Mask of an image that came without one: everything is clear."""

    __slots__ = ("_image",)

    def __init__(self, image: ArrayImage | PngImage | NpyImage) -> None:
        self._image = image

    @property
    def where(self) -> str:
        return self._image.where

    @property
    def shape(self) -> tuple[int, int]:
        return self._image.shape

    def read(self) -> NDArray[np.bool_]:
        return np.broadcast_to(True, self.shape)

    def fingerprint(self) -> str:
        return "clear"


class StoredFrames(Frames):
    """Frames as they were given: in memory or on disk.

    Parameters
    ----------
    lr, qm : sequences of images
        As many quality maps as frames: objects with `where`, `shape`, `bits`, `read()` and
        `fingerprint()`. Frames have one number of bits for each value.
    true_shifts : float32 array of shape (t, 2), default=None
    bounded : bool, default=True
        Whether pixels are in [0, 1], else finite float32 values.
    """

    def __init__(
        self,
        lr: Sequence[Any],
        qm: Sequence[Any],
        true_shifts: NDArray[np.float32] | None = None,
        *,
        bounded: bool = True,
    ) -> None:
        self._lr = lr
        self._qm = qm
        self._true_shifts = true_shifts
        self._bounded = bounded
        self._shape: tuple[int, int] | None = None
        self._bits: int | None = None

    def __len__(self) -> int:
        return len(self._lr)

    @property
    def shape(self) -> tuple[int, int]:
        if self._shape is None:
            self._shape = self._lr[0].shape
        return self._shape

    @property
    def true_shifts(self) -> NDArray[np.float32] | None:
        return self._true_shifts

    def with_true_shifts(self, true_shifts: NDArray[np.float32]) -> StoredFrames:
        """The same frames, with the shifts that they were simulated with."""
        shifts = np.array(true_shifts, np.float32)
        return StoredFrames(self._lr, self._qm, shifts, bounded=self._bounded)

    def fingerprint(self) -> str:
        """Hash of the values of arrays and the bytes of files."""
        lr, qm = ([image.fingerprint() for image in images] for images in (self._lr, self._qm))
        return digest(lr, qm, self._true_shifts)

    def read(self, index: Index | None = None, window: Window = WHOLE) -> PixelsAndClear:
        return self.read_pixels(index, window), self.read_clear(index, window)

    def read_pixels(
        self, index: Index | None = None, window: Window = WHOLE
    ) -> NDArray[np.float32]:
        if self._bits is None:
            # Less than 8 bits are decoded as 8.
            self._bits = max(8, self._lr[0].bits)
        convert = as_pixels if self._bounded else as_finite_pixels
        return self._read(self._lr, index, window, convert, np.float32, self._bits)

    def read_clear(self, index: Index | None = None, window: Window = WHOLE) -> NDArray[np.bool_]:
        return self._read(self._qm, index, window, as_mask, bool)

    def _read(self, images, index, window, convert, dtype, bits=None):
        index = range(len(images)) if index is None else index
        stack = None
        for position, number in enumerate(index):
            values = images[number].read()
            if values.shape != self.shape:
                raise ValueError(
                    f"{images[number].where} has shape {values.shape} and {self._lr[0].where} has "
                    f"{self.shape}: the frames and quality maps of a scene have one size, restore "
                    "them or remove the scene"
                )
            if bits not in (None, 8 * values.itemsize):
                raise ValueError(
                    f"{images[number].where} has {8 * values.itemsize} bits for each value and "
                    f"{images[0].where} has {bits}: frames of a scene have one scale, save them "
                    "alike"
                )
            part = values[window]
            if stack is None:
                stack = np.empty((len(index), *part.shape), dtype)
            stack[position] = convert(part, images[number].where)
        return stack
