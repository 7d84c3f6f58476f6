"""Record of a command in the folder that it fills: the same command resumes a stopped one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..files import read_json, write_json
from ..version import __version__

__all__ = ["CallRecord"]


class CallRecord:
    """Record of a command, which is there until it ends without an error.

    Parameters
    ----------
    folder : Path
    call : dict
        Name of the command, and the options and files that its results depend on, as JSON.
    overwrite : bool
        Whether the command replaces files anyway, and needs no record.

    Attributes
    ----------
    resumes : bool
        Whether the same command was stopped.
    """

    def __init__(self, folder: Path, call: dict[str, Any], overwrite: bool) -> None:
        self.folder, self.overwrite = folder, overwrite
        self.path = folder / ".probav.json"
        self.call = json.loads(json.dumps(call | {"version": __version__}))
        self.resumes = False
        if not overwrite:
            self.resumes = read_json(self.path, "remove it, or --overwrite") == self.call

    @contextmanager
    def keep(self) -> Iterator[None]:
        """Write the record, and remove it if nothing fails or nothing is written."""
        if self.overwrite:
            self.path.unlink(missing_ok=True)
            yield
            return
        is_new = not self.folder.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.path, self.call)
        try:
            yield
        except Exception:
            if os.listdir(self.folder) == [self.path.name]:
                self._remove(is_new)
            raise
        self._remove(is_new=False)

    def _remove(self, is_new):
        self.path.unlink()
        if is_new:
            self.folder.rmdir()
