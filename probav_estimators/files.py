"""Files and folders that are replaced as a whole or not at all, also if the power fails; locks."""

import glob
import json
import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any
from uuid import uuid4

__all__ = [
    "check_target",
    "digest_of_json",
    "file_state",
    "hold_lock",
    "move_into_place",
    "partial_path",
    "read_json",
    "remove_partial_files",
    "replace_file",
    "replace_files",
    "replace_folders",
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
    partials = [partial_path(path) for path in targets]
    try:
        yield partials
        for partial, target in zip(partials, targets, strict=True):
            for path in [*partial.rglob("*"), partial]:
                _sync(path)
            if target.exists():
                partial.chmod(target.stat().st_mode & 0o777)
        for partial, target in zip(partials, targets, strict=True):
            _put_in_place(partial, target)
        for folder in {target.parent for target in targets}:
            _sync(folder)
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        # A full disk, of which Python names no file.
        text = f"{error.strerror}: make room on its disk, or give a path on another"
        raise OSError(error.errno, text, str(targets[0])) from error
    finally:
        for partial in partials:
            _remove(partial)


def partial_path(path: Path) -> Path:
    """Hidden name beside `path` that nothing else has."""
    return path.with_name(f".{path.name}.{uuid4().hex}.partial")


def _put_in_place(partial, target):
    """Rename a file or a folder; a folder in its place is moved aside first."""
    if not target.is_dir():
        partial.replace(target)
        return
    aside = partial_path(target)
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


def _sync(path):
    """Write a file, or the names of the files in a folder, to the disk."""
    # Folders: not possible on Windows and some network disks, nor necessary there.
    with suppress(OSError) if path.is_dir() else nullcontext():
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
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
    """Read what :func:`write_json` wrote, or None; a ValueError with a remedy if it is damaged."""
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


def move_into_place(partial: Path, target: Path) -> None:
    """Rename a folder without subfolders once all its files are on the disk."""
    for path in [*partial.iterdir(), partial]:
        _sync(path)
    partial.rename(target)
    _sync(target.parent)


@contextmanager
def replace_folders(folders: Iterable[str | os.PathLike[str]]) -> Iterator[None]:
    """Remove folders in whose place others are written, or move them back if that fails.

    What is written in their place gets their permissions, and symbolic links keep their targets.

    Parameters
    ----------
    folders : iterable of path-like

    Yields
    ------
    None
    """
    aside: dict[Path, Path] = {}
    try:
        for folder in map(Path, map(os.path.realpath, folders)):
            moved = partial_path(folder)
            folder.rename(moved)
            aside[folder] = moved
        yield
    except BaseException:
        for folder, moved in aside.items():
            # What was written before the failure is whole.
            if folder.exists():
                _discard(moved, folder)
            else:
                moved.rename(folder)
        raise
    for folder, moved in aside.items():
        _discard(moved, folder)


def _discard(moved, folder):
    """Remove a folder that was moved aside; what is in its place gets its permissions."""
    if folder.exists():
        folder.chmod(stat.S_IMODE(moved.stat().st_mode))
    shutil.rmtree(moved, ignore_errors=True)


@contextmanager
def hold_lock(path: str | os.PathLike[str], patience: float = 30.0) -> Iterator[None]:
    """Keep other processes, also of other machines, from updating a file at the same time.

    A file beside `path` is the lock: to create it exclusively is atomic on all systems and on NFS.

    Parameters
    ----------
    path : path-like
    patience : float, default=30.0
        Seconds after which a lock that does not change is removed: its process was killed, as an
        update takes milliseconds.

    Yields
    ------
    None
    """
    lock = Path(path).with_name(f".{Path(path).name}.lock")
    found, since = None, 0.0
    while True:
        try:
            lock.touch(exist_ok=False)
            break
        except FileExistsError:
            try:
                holder = lock.stat().st_mtime_ns
            except FileNotFoundError:
                continue
            if holder != found:
                found, since = holder, time.monotonic()
            elif time.monotonic() - since > patience:
                lock.unlink(missing_ok=True)
            time.sleep(0.002)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
