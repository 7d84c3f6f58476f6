"""Checks of the bytes of PNG files, before and after they are decoded."""

from __future__ import annotations

import os
import struct
import zlib
from typing import IO, Any, NamedTuple

__all__ = [
    "MAX_PIXELS",
    "START_BYTES",
    "Start",
    "check_rows",
    "damaged",
    "list_checksums",
    "missing",
    "open_png",
    "parse_start",
    "read_checked",
]

# Largest image, 8192 x 8192: it is decoded as a whole, in some 600 MiB. A larger scene is made of
# arrays or memory maps.
MAX_PIXELS = 2**26

# A 16-bit image of that size that does not compress, and room for metadata.
_MAX_FILE_BYTES = 2 * MAX_PIXELS + 2**25

_BLOCK_BYTES = 2**20

# DEFLATE makes no more than this of one byte.
_MAX_EXPANSION = 1032

# A PNG file is a signature and chunks of length (4 bytes), type (4), content and checksum (4).
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_BYTES = 8
_CHECKSUM_BYTES = 4

# The signature and the first chunk: its length and type, width, height, bits of a value, colour
# type, two bytes more, whether it is interlaced, checksum.
_START = struct.Struct(">8sI4sIIBB2sBI")
START_BYTES = _START.size

# First row and column of the pixels of each pass of an interlaced image, and their distances.
_INTERLACED = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)
_GREY_BITS = (1, 2, 4, 8, 16)
_COLOURS = {0: "grey", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}


def read_checked(path: str | os.PathLike[str], size: int) -> tuple[bytes, Start]:
    """Return the content of a file of `size` bytes and its `Start`.

    Raises
    ------
    ValueError
        If it is too large, or not what was written, as far as can be told undecoded.
    """
    if size > _MAX_FILE_BYTES:
        raise ValueError(
            f"{path} has {size:,} bytes, more than any image of {MAX_PIXELS:,} pixels: restore "
            "it, or make the scene of arrays or memory maps"
        )
    with open_png(path) as stream:
        content = stream.read()
    start = parse_start(content[:START_BYTES], path)
    if start.n_bytes > _MAX_EXPANSION * len(content):
        raise damaged(path, f"{len(content):,} bytes cannot hold an image of {start.shape}")
    for kind, chunk, checksum in _chunks(content, path):
        if zlib.crc32(chunk, zlib.crc32(kind)) != checksum:
            raise damaged(path, f"the checksum of its chunk {kind!r} does not fit")
    return content, start


class Start(NamedTuple):
    """What the first bytes of a PNG file tell: (h, w), bits of each value, interlaced or not."""

    shape: tuple[int, int]
    bits: int
    interlaced: bool

    @property
    def n_bytes(self) -> int:
        """Bytes of the rows before compression; each row has one for its filter."""
        if self.interlaced:
            return sum(self._rows(*places) for places in _INTERLACED)
        return self._rows(0, 0, 1, 1)

    def _rows(self, top, left, down, right):
        height, width = (
            -(-max(length - first, 0) // step)
            for length, first, step in zip(self.shape, (top, left), (down, right), strict=True)
        )
        return height * (1 + -(-width * self.bits // 8)) if width else 0


def parse_start(start: bytes, path: str | os.PathLike[str]) -> Start:
    """Return the `Start` of a file, from its first `START_BYTES`.

    Raises
    ------
    ValueError
        If it is no grey PNG, or too large.
    """
    if not start.startswith(_SIGNATURE):
        raise ValueError(f"{path} is no PNG file or is empty: restore it, or leave it out")
    if len(start) < START_BYTES:
        raise damaged(path, "it ends within its header")
    _, length, kind, width, height, bits, colour, _, interlaced, checksum = _START.unpack(start)
    if (length, kind) != (13, b"IHDR") or checksum != zlib.crc32(start[12:-_CHECKSUM_BYTES]):
        raise damaged(path, "its header is not what was written")
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
    return Start((height, width), bits, bool(interlaced))


def check_rows(content: bytes, start: Start, path: str | os.PathLike[str]) -> None:
    """Raise ValueError if rows are missing, which the decoder takes for 0."""
    expand, count = zlib.decompressobj(), 0
    try:
        for kind, chunk, _ in _chunks(content, path):
            while kind == b"IDAT" and len(chunk) and not expand.eof:
                count += len(expand.decompress(chunk, _BLOCK_BYTES))
                chunk = expand.unconsumed_tail
    except zlib.error as error:
        raise damaged(path, error) from error
    if count < start.n_bytes:
        raise damaged(path, f"{count:,} of {start.n_bytes:,} bytes of pixels are there")


def _chunks(content, path):
    """Yield type, content and checksum of each chunk of a PNG file."""
    place, view = len(_SIGNATURE), memoryview(content)
    kind = None
    while kind != b"IEND":
        start = place + _HEADER_BYTES
        end = start + int.from_bytes(view[place : place + 4], "big")
        kind = bytes(view[place + 4 : start])
        place = end + _CHECKSUM_BYTES
        if place > len(content):
            raise damaged(path, "it ends too early")
        yield kind, view[start:end], int.from_bytes(view[end:place], "big")


def list_checksums(path: str | os.PathLike[str]) -> list[Any]:
    """Size of a PNG file, and the checksum, length and type of each chunk."""
    with open_png(path) as stream:
        place = len(_SIGNATURE)
        found: list[Any] = [os.fstat(stream.fileno()).st_size, stream.read(place + _HEADER_BYTES)]
        # Between two chunks lie the checksum of one and the length and type of the next. What is
        # no PNG file ends the walk, and reading it will say so.
        while (header := found[-1][-_HEADER_BYTES:])[4:].isalpha():
            stream.seek(place := place + _HEADER_BYTES + int.from_bytes(header[:4], "big"))
            found.append(stream.read(_CHECKSUM_BYTES + _HEADER_BYTES))
            place += _CHECKSUM_BYTES
    return found


def open_png(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a file for reading, or say that it is not there."""
    try:
        return open(path, "rb", buffering=0)
    except (FileNotFoundError, NotADirectoryError):
        raise missing(path) from None
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder: give the path of a PNG file") from None


def missing(path: str | os.PathLike[str]) -> FileNotFoundError:
    """Error of a file that is not there."""
    return FileNotFoundError(f"{path} does not exist: restore it, or correct the path")


def damaged(path: str | os.PathLike[str], why: object) -> ValueError:
    """Error of a file that is not what was written."""
    return ValueError(f"{path} is damaged ({why}): restore it, or leave it out")
