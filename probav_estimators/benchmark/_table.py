"""The table of a benchmark, in Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..files import replace_files

__all__ = ["markdown_of", "write_table"]


class _Column(NamedTuple):
    key: str
    title: str
    form: Callable[[Any], str]


def _score(value):
    return f"{value:.5f}"


_COLUMNS = [
    _Column("row", "row", str),
    _Column("study_score", "study", _score),
    _Column("validation_score", "validation", _score),
    _Column("epochs", "epochs", str),
    _Column("best_epoch", "best epoch", str),
    _Column("parameters", "parameters", "{:,}".format),
    _Column("fit_seconds", "fit, s", "{:.0f}".format),
    _Column("predict_seconds", "predict, s a scene", "{:.3f}".format),
]


def write_table(folder: Path, about: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """Write table.md, table.csv and table.json, all or none.

    `about` has what all rows share: "quick", "training", "n_train", "n_validation".
    """
    texts = {
        "table.md": markdown_of(about, rows),
        "table.csv": _csv_of(rows),
        "table.json": json.dumps({**about, "rows": list(rows)}, indent=2, allow_nan=False) + "\n",
    }
    with replace_files([folder / name for name in texts]) as partials:
        for partial, text in zip(partials, texts.values(), strict=True):
            partial.write_text(text, encoding="utf-8")


def markdown_of(about: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """The table as Markdown, below a line on data and training."""
    quick = "**Quick run**: too short to say anything about quality. " if about["quick"] else ""
    lines = [
        f"{quick}N / cPSNR, lower is better; {about['training']}. Trained on {about['n_train']} "
        f"scenes; validated on {about['n_validation']} others, which also choose the best epoch.",
        "",
        _line(column.title for column in _COLUMNS),
        _line("---" for _ in _COLUMNS),
        *(_line(_cells(row)) for row in rows),
    ]
    return "\n".join(lines) + "\n"


def _cells(row):
    return ["-" if row[c.key] is None else c.form(row[c.key]) for c in _COLUMNS]


def _line(cells):
    return f"| {' | '.join(cells)} |"


def _csv_of(rows):
    text = io.StringIO(newline="")
    names = [column.key for column in _COLUMNS]
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
