"""What commands print, and where they write."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

__all__ = ["check_output", "print_json", "print_table", "show_progress"]

# Columns are not folded where nobody looks at them.
_WIDE = 1000


def print_json(result: dict[str, Any]) -> None:
    """Print a result as one JSON object."""
    # NaN and infinity are no JSON.
    click.echo(json.dumps(result, indent=2, allow_nan=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of text under their columns' names; without names, rows alone."""
    table = Table(*columns, box=None, show_header=any(columns), pad_edge=False)
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else _WIDE
    # Names of files are no markup.
    Console(width=width, markup=False, highlight=False, emoji=False).print(table)


@contextmanager
def show_progress(
    description: str, total: int | None, *, quiet: bool
) -> Iterator[Callable[..., None]]:
    """Yield what to call after each part of a work, with what else there is to say.

    Parameters
    ----------
    description : str
    total : int or None
        Number of parts; None if it is not known.
    quiet : bool
        Whether to show nothing; nothing is shown either where stderr is no terminal.
    """
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        *([] if total is None else [MofNCompleteColumn()]),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    ]
    if quiet or not sys.stderr.isatty():
        yield lambda note="": None
        return
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(description, total=total, note="")

        def advance(note: str = "") -> None:
            progress.update(task, advance=1, note=note)

        yield advance


def check_output(path: Path, *, overwrite: bool) -> None:
    """See that a file can be written, before the work that makes it.

    Raises
    ------
    FileExistsError
        If it is there already and must not be replaced.
    IsADirectoryError, FileNotFoundError
        If it is a folder, or its folder does not exist.
    click.ClickException
        If nothing can be written to its folder.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the name of a file")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is there already: give another name, or --overwrite")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is no folder: make it first, or give another path")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise click.ClickException(f"cannot write to {path.parent}: {error.strerror}") from error
