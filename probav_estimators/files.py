"""Files that are replaced as a whole or not at all, also if the power fails."""

import glob
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any
from uuid import uuid4

__all__ = [
    "check_target",
    "digest_of_json",
    "file_state",
    "read_json",
    "remove_partial_files",
    "replace_file",
    "replace_files",
    "sync",
    "write_json",
]

_CHECKSUM = "checksum"

# Suffixes of outputs that are folders, and what marks such a folder as one.
_FOLDERS = {".zarr": (".zgroup", "zarr.json")}


@contextmanager
def replace_files(paths: Sequence[str | os.PathLike[str]]) -> Iterator[list[Path]]:
    """Yield paths beside `paths` to write to; they take the places of `paths` if nothing fails.

    No file is replaced before all are on the disk. A file that is replaced keeps its permissions,
    and a symbolic link its target.

    Parameters
    ----------
    paths : list of path-like

    Yields
    ------
    list of pathlib.Path

    Raises
    ------
    OSError
        With the first path, if one cannot be written to, such as on a full disk.
    """
    targets = [Path(os.path.realpath(path)) for path in paths]
    for target in targets:
        check_target(target)
    partials = [path.with_name(f".{path.name}.{uuid4().hex}.partial") for path in targets]
    try:
        yield partials
        for partial, target in zip(partials, targets, strict=True):
            for path in [*partial.rglob("*"), partial]:
                sync(path)
            if target.exists():
                partial.chmod(target.stat().st_mode & 0o777)
        for partial, target in zip(partials, targets, strict=True):
            _put_in_place(partial, target)
        for folder in {target.parent for target in targets}:
            sync(folder)
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        # A full disk, of which Python names no file.
        text = f"{error.strerror}: make room on its disk, or give a path on another"
        raise OSError(error.errno, text, str(targets[0])) from error
    finally:
        for partial in partials:
            _remove(partial)


def _put_in_place(partial, target):
    """Rename a file or a folder; a folder in its place is moved aside first."""
    if not target.is_dir():
        partial.replace(target)
        return
    aside = target.with_name(f".{target.name}.{uuid4().hex}.partial")
    target.rename(aside)
    try:
        partial.rename(target)
    except OSError:
        aside.rename(target)
        raise
    _remove(aside)


def _remove(path):
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def replace_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path beside `path` to write to, see :func:`replace_files`.

    Parameters
    ----------
    path : path-like

    Yields
    ------
    pathlib.Path
    """
    with replace_files([path]) as (partial,):
        yield partial


def sync(path: Path) -> None:
    """Write a file, or the names of the files in a folder, to the disk."""
    if path.is_dir():
        # Not possible on Windows and some network disks, nor necessary there.
        with suppress(OSError):
            _sync(path, os.O_RDONLY)
    else:
        _sync(path, os.O_RDWR)


def _sync(path, flags):
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a JSON object with its checksum; the file is replaced as a whole or not at all."""
    text = json.dumps({**record, _CHECKSUM: digest_of_json(record)}).encode()
    # Nothing is written to a full disk in vain.
    if not path.is_file() or path.read_bytes() != text:
        with replace_file(path) as partial:
            partial.write_bytes(text)


def read_json(path: Path, remedy: str) -> dict[str, Any] | None:
    """Read what :func:`write_json` wrote, or return None if there is no file.

    Parameters
    ----------
    path : Path
    remedy : str
        For the error.

    Returns
    -------
    dict or None

    Raises
    ------
    ValueError
        If the file is empty or damaged.
    """
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_bytes())
        if record.pop(_CHECKSUM) != digest_of_json(record):
            raise ValueError("its checksum does not fit")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}): {remedy}") from error
    return record


def digest_of_json(value: Any) -> str:
    """12 hexadecimal digits of a value as JSON."""
    return blake2b(json.dumps(value).encode(), digest_size=6).hexdigest()


def file_state(path: str | os.PathLike[str]) -> list[int]:
    """Size and modification time of a file; an empty list if there is none."""
    if not os.path.exists(path):
        return []
    stat = os.stat(path)
    return [stat.st_size, stat.st_mtime_ns]


def check_target(path: Path) -> None:
    """Raise OSError if `path` cannot be a file: a folder or a device, or in no folder."""
    # A name that ends in .zarr is that of a folder, and takes the place of Zarr stores alone.
    marks = _FOLDERS.get(path.suffix.lower())
    if marks is not None and path.exists():
        if not any((path / mark).is_file() for mark in marks):
            raise FileExistsError(f"{path} is there and no Zarr store: give another name")
    elif path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the name of a file")
    elif path.exists() and not path.is_file():
        raise FileExistsError(f"{path} is a device or a pipe: give the name of a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is no folder: make it first, or give another path")


def remove_partial_files(path: str | os.PathLike[str], *, older_than: float = 0.0) -> None:
    """Remove what killed processes left of :func:`replace_file`.

    Parameters
    ----------
    path : path-like
    older_than : float, default=0.0
        Seconds since their last change. 0: all are removed, and no other process may write `path`.
    """
    path = Path(os.path.realpath(path))
    for partial in path.parent.glob(f".{glob.escape(path.name)}.*.partial*"):
        with suppress(FileNotFoundError):
            if not older_than or time.time() - partial.stat().st_mtime > older_than:
                _remove(partial)
