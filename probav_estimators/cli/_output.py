"""Printed results, progress, and checks of output files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from ..files import check_target

__all__ = ["check_output", "print_json", "print_table", "show_progress"]


def print_json(result: dict[str, Any]) -> None:
    """Print a result as one JSON object."""
    # NaN and infinity are not valid JSON.
    click.echo(json.dumps(result, indent=2, allow_nan=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned rows of text below the names of their columns, if there are names."""
    lines = [list(columns), *map(list, rows)] if any(columns) else [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


@contextmanager
def show_progress(
    description: str, total: int | None, *, quiet: bool
) -> Iterator[Callable[..., None]]:
    """Show a progress bar on a terminal; yield a function to call after each step, with a note to
    show.

    `total` is the number of steps, None if it is unknown.
    """
    # None: disabled unless stderr is a terminal.
    disable = True if quiet else None
    bar_format = None if total else "{desc}"
    with tqdm(
        total=total, desc=description, disable=disable, bar_format=bar_format, leave=False
    ) as bar:

        def advance(note: str = "") -> None:
            bar.set_postfix_str(note, refresh=False)
            bar.update()

        yield advance


def check_output(path: Path, *, overwrite: bool) -> None:
    """Check that a file can be written, before the work.

    Raises FileExistsError, IsADirectoryError, FileNotFoundError, or a ClickException if its folder
    is not writable.
    """
    check_target(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is there already: give another name, or --overwrite")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise click.ClickException(f"cannot write to {path.parent}: {error.strerror}") from error
