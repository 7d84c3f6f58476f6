"""Zip archives, of which no more is unpacked than their directories say."""

import stat
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import IO

#: Errors of zipfile and this module for damaged, unsafe or incomplete archives.
BAD_ARCHIVE = (ValueError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)


def check_entry(entry: zipfile.ZipInfo) -> None:
    """Raise ValueError for an entry that is unsafe to unpack."""
    # Backslashes and drive letters are unsafe on Windows, and refused everywhere.
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in entry.filename:
        raise ValueError(f"the entry {entry.filename!r} leads out of the folder")
    file_type = stat.S_IFMT(entry.external_attr >> 16)
    # The file type is 0 in archives of other systems than Unix.
    if file_type not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ValueError(f"the entry {entry.filename!r} is a link or a special file")
    # zipfile expands what others read to any size, whatever the directory says.
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(
            f"the entry {entry.filename!r} is compressed by method {entry.compress_type}: write "
            "the zip with deflate"
        )


def open_entry(archive: zipfile.ZipFile, name: str, max_bytes: int) -> IO[bytes]:
    """Open an entry of at most `max_bytes`, of which as many are to be read, and never all."""
    entry = archive.getinfo(name)
    check_entry(entry)
    if entry.file_size > max_bytes:
        raise ValueError(f"{name} has {entry.file_size:,} bytes, more than {max_bytes:,}")
    return archive.open(entry)
