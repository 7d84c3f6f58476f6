"""Folders that are replaced as a whole or not at all, and locks between processes."""

import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from .files import sync

__all__ = ["hold_lock", "move_into_place", "partial_path", "replace_folders"]


def partial_path(path: Path) -> Path:
    """Hidden name beside `path` that nothing else has."""
    return path.with_name(f".{path.name}.{uuid4().hex}.partial")


def move_into_place(partial: Path, target: Path) -> None:
    """Rename a folder without subfolders once all its files are on the disk."""
    for path in [*partial.iterdir(), partial]:
        sync(path)
    partial.rename(target)
    sync(target.parent)


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
                _remove(moved, folder)
            else:
                moved.rename(folder)
        raise
    for folder, moved in aside.items():
        _remove(moved, folder)


def _remove(moved, folder):
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
