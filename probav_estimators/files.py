"""Files that are replaced as a whole or not at all."""

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

__all__ = ["check_target", "remove_partial_files", "replace_file"]


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

    Raises
    ------
    OSError
        With the path, if it cannot be written to, such as on a full disk.
    """
    path = Path(os.path.realpath(path))
    partial = path.with_name(f".{path.name}.{uuid4().hex}.partial")
    try:
        yield partial
        if path.exists():
            partial.chmod(path.stat().st_mode & 0o777)
        partial.replace(path)
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        # A full disk, of which Python names no file.
        text = f"{error.strerror}: make room on its disk, or give a path on another"
        raise OSError(error.errno, text, str(path)) from error
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
    path = Path(os.path.realpath(path))
    for partial in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        partial.unlink(missing_ok=True)
