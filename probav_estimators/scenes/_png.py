"""PNG files in and out, and the images of a scene, on disk or in memory."""

import os
from threading import Lock

import numpy as np
from cachetools import LRUCache, cached
from PIL import Image

from ..files import replace_file
from ._fingerprint import digest

# Decoded files that this process keeps: small data sets are decoded once, large ones stay on disk.
_CACHE_BYTES = 96 * 2**20

# 1, 8 and 16 bits per pixel, as Pillow calls them.
_GREY_MODES = ("1", "L", "I;16")


# A PNG file is a signature and chunks of length (4 bytes), type (4), content and checksum (4).
_CHUNKS_START = 8
_HEADER_BYTES = 8
_CHECKSUM_BYTES = 4


class ArrayImage:
    """One image that is held in memory."""

    __slots__ = ("_values", "where")

    def __init__(self, values, where):
        self._values = values
        self.where = where

    @property
    def shape(self):
        return self._values.shape

    def read(self):
        return self._values

    def fingerprint(self):
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

    def __init__(self, where):
        self.where = where

    @property
    def shape(self):
        """(h, w), from the file's header."""
        with _open_png(self.where) as image:
            return image.height, image.width

    def read(self):
        """Values of the file: a read-only (h, w) array of uint8, uint16 or bool."""
        path = self.where
        try:
            status = os.stat(path)
        except FileNotFoundError:
            raise _missing(path) from None
        return _decode(path, status.st_ino, status.st_mtime_ns, status.st_size)

    def fingerprint(self):
        """Hash of the file's size and the checksums of its chunks; no pixel is decoded."""
        return digest(*_list_checksums(self.where))


class ClearMask:
    """Quality or status map of an image that came without one: everything is clear."""

    __slots__ = ("_image",)

    def __init__(self, image):
        self._image = image

    @property
    def where(self):
        return self._image.where

    @property
    def shape(self):
        return self._image.shape

    def read(self):
        return np.broadcast_to(True, self.shape)

    def fingerprint(self):
        return "clear"


def write_png(path, values):
    """Write a (h, w) array as a PNG: uint16 as 16 bits, bool as 8 bits (0 or 255).

    The file appears under its name only once it is whole.
    """
    if values.dtype == bool:
        values = values.astype(np.uint8) * np.uint8(255)
    with replace_file(path) as partial:
        Image.fromarray(values).save(partial, format="PNG")


@cached(LRUCache(_CACHE_BYTES, getsizeof=lambda values: values.nbytes), lock=Lock())
def _decode(path, number, modified, size):
    # What tells two files of one path apart belongs to the key: a file written anew is read anew.
    del number, modified, size
    with _open_png(path) as image:
        try:
            values = np.asarray(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(
                f"{path} is damaged ({error}): restore it, or remove the scene"
            ) from error
    if image.mode not in _GREY_MODES:
        raise ValueError(
            f"{path} holds a {image.mode} image of {values.dtype} values with shape "
            f"{values.shape}: images and maps are grey 8-bit or 16-bit PNGs, save it as one"
        )
    values.flags.writeable = False
    return values


def _list_checksums(path):
    """Size of a PNG file, and the checksum, length and type of each chunk."""
    if not os.path.exists(path):
        raise _missing(path)
    with open(path, "rb", buffering=0) as stream:
        found = [os.fstat(stream.fileno()).st_size, stream.read(_CHUNKS_START + _HEADER_BYTES)]
        place = _CHUNKS_START
        # Between two chunks lie the checksum of one and the length and type of the next. What is
        # no PNG file ends the walk, and reading it will say so.
        while (header := found[-1][-_HEADER_BYTES:])[4:].isalpha():
            stream.seek(place := place + _HEADER_BYTES + int.from_bytes(header[:4], "big"))
            found.append(stream.read(_CHECKSUM_BYTES + _HEADER_BYTES))
            place += _CHECKSUM_BYTES
    return found


def _open_png(path):
    try:
        return Image.open(path, formats=["PNG"])
    except FileNotFoundError:
        raise _missing(path) from None
    except (OSError, SyntaxError) as error:
        raise ValueError(
            f"{path} is no PNG file or is empty: restore it, or remove the scene"
        ) from error


def _missing(path):
    return FileNotFoundError(f"{path} does not exist: restore it, or list the folder again")
