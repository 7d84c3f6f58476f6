"""Images of a scene, in memory and in files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._fingerprint import digest
from ._png import damaged, file_digest, missing, read_header, read_png

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
