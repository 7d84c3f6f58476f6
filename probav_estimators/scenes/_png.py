"""PNG files in and out."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from io import BytesIO
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from cachetools import LRUCache, cached
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Decoded files that this process keeps: small data sets are decoded once, large ones stay on disk.
_CACHE_BYTES = 96 * 2**20

# Largest image, 8192 x 8192: it is decoded as a whole, in some 600 MiB.
MAX_PIXELS = 2**26

# A 16-bit image of that size that does not compress, and room for metadata.
_MAX_FILE_BYTES = 2 * MAX_PIXELS + 2**25

# DEFLATE expands a byte to at most so many.
_MAX_EXPANSION = 1032

# Signature, length and type of the first chunk, width, height, bits of a value, colour type,
# compression, filters, whether it is interlaced, checksum.
_HEADER = struct.Struct(">8sI4sIIBBxxBI")
HEADER_BYTES = _HEADER.size
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY_BITS = (1, 2, 4, 8, 16)
_COLOURS = {0: "grey", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}

# First row and column of each pass of an interlaced image, and its steps.
_WHOLE = ((0, 0, 1, 1),)
_ADAM7 = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)


def file_digest(path: str) -> str:
    """Hash of the bytes of a file."""
    with _open(path) as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()


def write_png(path: str | os.PathLike[str], values: NDArray[Any]) -> None:
    """Write a (h, w) array as a PNG: uint16 as 16 bits, bool as 8 bits (0 or 255).

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
    Image.fromarray(values).save(path, format="PNG")


def read_png(path: str) -> NDArray[Any]:
    """Decode a PNG file, or return what was decoded before: read-only (h, w), as `decode_png`."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise missing(path) from None
    return _decode(path, status.st_ino, status.st_mtime_ns, status.st_size)


def read_header(path: str) -> PngHeader:
    """Header of a PNG file."""
    with _open(path) as stream:
        return png_header(stream.read(HEADER_BYTES), path)


@cached(LRUCache(_CACHE_BYTES, getsizeof=lambda values: values.nbytes), lock=Lock())
def _decode(path, inode, modified, size):
    # The key tells apart two files of one path: a file that was replaced is read again.
    del inode, modified
    if size > _MAX_FILE_BYTES:
        raise ValueError(
            f"{path} has {size:,} bytes, more than any image of {MAX_PIXELS:,} pixels: restore "
            "it, or make the scene of arrays or memory maps"
        )
    with _open(path) as stream:
        return decode_png(stream.read(size), path)


def decode_png(content: bytes, path: str) -> NDArray[Any]:
    """Decode a grey PNG file.

    Parameters
    ----------
    content : bytes
        All of the file.
    path : str
        Its name in messages.

    Returns
    -------
    array of shape (h, w)
        Read-only, of uint8, uint16 or bool.

    Raises
    ------
    ValueError
        If it is no grey PNG, has more than 8192 x 8192 pixels, or is damaged.
    """
    header = png_header(content, path)
    if header.n_bytes > _MAX_EXPANSION * len(content):
        raise damaged(path, f"{len(content):,} bytes cannot hold an image of {header.shape}")
    try:
        # Pillow verifies the checksums of all chunks, and closes the image after that.
        Image.open(BytesIO(content), formats=["PNG"]).verify()
        with Image.open(BytesIO(content), formats=["PNG"]) as image:
            values = np.asarray(image)
        # Missing rows are decoded as 0.
        if header.interlaced or not values[-1].any():
            _check_rows(content, header)
    except MemoryError:
        raise
    except Exception as error:  # decoders may raise anything
        raise damaged(path, error) from error
    if values.shape != header.shape or values.dtype not in (bool, np.uint8, np.uint16):
        raise damaged(
            path, f"{header.shape} of {header.bits} bits decoded as {values.dtype} {values.shape}"
        )
    values.flags.writeable = False
    return values


class PngHeader(NamedTuple):
    """Header of a grey PNG: shape (h, w), bits of a value, whether it is interlaced."""

    shape: tuple[int, int]
    bits: int
    interlaced: bool

    @property
    def n_bytes(self) -> int:
        """Bytes of the rows before compression; each row has one for its filter."""
        height, width = self.shape
        n_bytes = 0
        for top, left, down, right in _ADAM7 if self.interlaced else _WHOLE:
            if columns := len(range(left, width, right)):
                n_bytes += len(range(top, height, down)) * (1 + -(-columns * self.bits // 8))
        return n_bytes


def png_header(content: bytes, path: str) -> PngHeader:
    """Header of a grey PNG of a size that is read, from its first `HEADER_BYTES`."""
    if not content.startswith(_SIGNATURE):
        raise ValueError(f"{path} is no PNG file or is empty: restore it, or leave it out")
    if len(content) < _HEADER.size:
        raise damaged(path, "it ends within its header")
    _, length, kind, width, height, bits, colour, interlaced, checksum = _HEADER.unpack_from(
        content
    )
    if (length, kind) != (13, b"IHDR") or checksum != zlib.crc32(content[12 : _HEADER.size - 4]):
        raise damaged(path, "the checksum of its header does not fit")
    if colour != 0 or bits not in _GREY_BITS:
        raise ValueError(
            f"{path} holds a {_COLOURS.get(colour, colour)} image of {bits} bits with shape "
            f"{(height, width)}: images and maps are grey 8-bit or 16-bit PNGs, save it as one"
        )
    if not 0 < height * width <= MAX_PIXELS:
        raise ValueError(
            f"{path} says that its shape is {(height, width)}: images have 1 to {MAX_PIXELS:,} "
            "pixels, restore it, or make the scene of arrays or memory maps"
        )
    return PngHeader((height, width), bits, bool(interlaced))


def _check_rows(content, header):
    expand, count, place, kind = zlib.decompressobj(), 0, len(_SIGNATURE), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, place)
        part = content[place + 8 : place + 8 + length] if kind == b"IDAT" else b""
        while part and not expand.eof:
            count += len(expand.decompress(part, 2**20))
            part = expand.unconsumed_tail
        place += 12 + length
    if count < header.n_bytes:
        raise ValueError(f"{count:,} of {header.n_bytes:,} bytes of pixels are there")


def _open(path):
    try:
        return open(path, "rb", buffering=0)
    except (FileNotFoundError, NotADirectoryError):
        raise missing(path) from None
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder: give the path of a PNG file") from None


def missing(path: str) -> FileNotFoundError:
    """Error of a file that does not exist."""
    return FileNotFoundError(f"{path} does not exist: restore it, or correct the path")


def damaged(path: str, why: object) -> ValueError:
    """Error of a file whose content is wrong."""
    return ValueError(f"{path} is damaged ({why}): restore it, or leave it out")
