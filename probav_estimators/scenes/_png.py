"""PNG files in and out, and the images of a scene, on disk or in memory."""

from __future__ import annotations

import os
from io import BytesIO
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from cachetools import LRUCache, cached
from PIL import Image

from ..files import replace_file
from ._fingerprint import digest
from ._png_checks import (
    MAX_PIXELS,
    START_BYTES,
    check_rows,
    damaged,
    list_checksums,
    missing,
    open_png,
    parse_start,
    read_checked,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Decoded files that this process keeps: small data sets are decoded once, large ones stay on disk.
_CACHE_BYTES = 96 * 2**20


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


class PngImage:
    """One image that stays on disk until its values are asked for.

    Parameters
    ----------
    where : str
        The file's path.
    """

    __slots__ = ("where",)

    def __init__(self, where: str) -> None:
        self.where = where

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w), from the file's header."""
        return self._read_start().shape

    @property
    def bits(self) -> int:
        """Bits of each value, from the file's header."""
        return self._read_start().bits

    def _read_start(self):
        with open_png(self.where) as stream:
            return parse_start(stream.read(START_BYTES), self.where)

    def read(self) -> NDArray[Any]:
        """Values of the file: a read-only (h, w) array of uint8, uint16 or bool."""
        path = self.where
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            raise missing(path) from None
        return _decode(path, status.st_ino, status.st_mtime_ns, status.st_size)

    def fingerprint(self) -> str:
        """Hash of the file's size and the checksums of its chunks; no pixel is decoded."""
        return digest(*list_checksums(self.where))


class ClearMask:
    """Quality or status map of an image that came without one: everything is clear."""

    __slots__ = ("_image",)

    def __init__(self, image: ArrayImage | PngImage) -> None:
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


def write_png(path: str | os.PathLike[str], values: NDArray[Any]) -> None:
    """Write a (h, w) array as a PNG: uint16 as 16 bits, bool as 8 bits (0 or 255).

    The file appears under its name only once it is whole.

    Raises
    ------
    ValueError
        If it would be too large to be read again.
    """
    if values.size > MAX_PIXELS:
        raise ValueError(
            f"{path} would have {values.size:,} pixels, and files of at most {MAX_PIXELS:,} are "
            "read: save parts of the scene"
        )
    if values.dtype == bool:
        values = values.astype(np.uint8) * np.uint8(255)
    with replace_file(path) as partial:
        Image.fromarray(values).save(partial, format="PNG")


@cached(LRUCache(_CACHE_BYTES, getsizeof=lambda values: values.nbytes), lock=Lock())
def _decode(path, number, modified, size):
    # What tells two files of one path apart belongs to the key: a file written anew is read anew.
    del number, modified
    content, start = read_checked(path, size)
    try:
        with Image.open(BytesIO(content), formats=["PNG"]) as image:
            values = np.asarray(image)
    except MemoryError:
        raise
    except Exception as error:  # a decoder may raise anything on what it was not made for
        raise damaged(path, error) from error
    if values.shape != start.shape or values.dtype not in (bool, np.uint8, np.uint16):
        raise damaged(
            path, f"{start.shape} of {start.bits} bits came out as {values.dtype} {values.shape}"
        )
    if start.interlaced or not values[-1].any():
        check_rows(content, start, path)
    values.flags.writeable = False
    return values
