"""Files and folders that are replaced as a whole or not at all."""

import glob
import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

__all__ = [
    "check_target",
    "hold_lock",
    "partial_path",
    "remove_partial_files",
    "replace_file",
    "replace_folders",
]


def partial_path(path: Path) -> Path:
    """Hidden name beside `path` that nothing else has."""
    return path.with_name(f".{path.name}.{uuid4().hex}.partial")


@contextmanager
def replace_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes the place of `path` if nothing fails.

    A file that is replaced keeps its permissions, and a symbolic link its target.

    Parameters
    ----------
    path : path-like

    Yields
    ------
    pathlib.Path
    """
    path = Path(os.path.realpath(path))
    partial = partial_path(path)
    try:
        yield partial
        if path.exists():
            partial.chmod(stat.S_IMODE(path.stat().st_mode))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_target(path: Path) -> None:
    """Raise OSError if `path` is a folder, or is in a folder that does not exist."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the name of a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is no folder: make it first, or give another path")


def remove_partial_files(path: str | os.PathLike[str]) -> None:
    """Remove what killed processes left of :func:`replace_file`; no other may write `path`."""
    path = Path(path)
    for partial in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        partial.unlink(missing_ok=True)


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
            if not folder.exists():
                moved.rename(folder)
        raise
    finally:
        for folder, moved in aside.items():
            if moved.exists() and folder.exists():
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
