"""Output of a benchmark: a folder for each row, and the table in Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files import read_json, replace_files, write_json

# Temporary files of `replace_files`, left by killed processes.
_PARTIAL = ".*.partial"


# Key, title and format of each column.
_COLUMNS = [
    ("row", "row", ""),
    ("study_score", "study", ".5f"),
    ("validation_score", "validation", ".5f"),
    ("epochs", "epochs", ""),
    ("best_epoch", "best epoch", ""),
    ("parameters", "parameters", ","),
    ("fit_seconds", "fit, s", ".0f"),
    ("predict_seconds", "predict, s a scene", ".3f"),
]


class RowFolder:
    """Files of a row.

    The settings are written first and the result last: a folder without a result resumes from its
    checkpoint, if its settings are equal.
    """

    def __init__(self, path: Path, settings: dict[str, str]) -> None:
        self.path = path
        self.settings = settings
        self.checkpoint = path / "checkpoint"
        self.history = path / "history.csv"
        self.model = path / "model.safetensors"
        self.submission = path / "submission.zip"
        self.picture = path / "picture.png"
        self._settings = path / "settings.json"
        self._result = path / "result.json"

    def check(self, *, overwrite: bool) -> None:
        """Raise FileExistsError if the folder is of another run, or of something else."""
        found = self._read(self._settings)
        if found is None:
            if self.path.exists() and not self._is_empty():
                raise FileExistsError(
                    f"{self.path} is there and is no row of a benchmark: give another output folder"
                )
            return
        for name in [*self.settings, *found]:
            there, here = (side.get(name, "not given") for side in (found, self.settings))
            if there != here and not overwrite:
                raise FileExistsError(
                    f"{self.path} is of a run with other settings ({name}: {there} there, {here} "
                    "here): give another output folder, or overwrite=True (--overwrite) to begin "
                    "anew"
                )

    def begin(self) -> None:
        """Make the folder, and remove what a killed run left half-written."""
        self.path.mkdir(parents=True, exist_ok=True)
        for partial in self.path.glob(_PARTIAL):
            partial.unlink()
        write_json(self._settings, self.settings)

    def remove(self) -> None:
        """Remove the files of the row, the result first."""
        for path in (self._result, self.history, self.model, self.submission, self.picture):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.checkpoint, ignore_errors=True)
        self._settings.unlink(missing_ok=True)

    def _read(self, path):
        return read_json(path, f"remove the folder {self.path}, and the row is made again")

    def _is_empty(self):
        return self.path.is_dir() and all(path.match(_PARTIAL) for path in self.path.iterdir())

    @property
    def epochs_done(self) -> int:
        """Epochs that a killed run has finished."""
        if not self.history.is_file():
            return 0
        return max(0, len(self.history.read_text(encoding="utf-8").splitlines()) - 1)

    @property
    def result(self) -> dict[str, Any] | None:
        """Figures of a finished row; None if it is not finished."""
        return self._read(self._result)

    @property
    def is_finished(self) -> bool:
        """Whether it has a result, of a run with these settings and maybe others."""
        found = self._read(self._settings) or {}
        return self.result is not None and self.settings.items() <= found.items()

    def finish(self, result: dict[str, Any]) -> None:
        """Write the result, and remove the checkpoint."""
        write_json(self._result, result)
        self.tidy()

    def tidy(self) -> None:
        """Remove the checkpoint of a finished row, which a killed run may have left."""
        if self._result.is_file():
            shutil.rmtree(self.checkpoint, ignore_errors=True)


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
        _line(title for _, title, _ in _COLUMNS),
        _line("---" for _ in _COLUMNS),
        *(
            _line("-" if row[key] is None else format(row[key], form) for key, _, form in _COLUMNS)
            for row in rows
        ),
    ]
    return "\n".join(lines) + "\n"


def _line(cells):
    return f"| {' | '.join(cells)} |"


def _csv_of(rows):
    text = io.StringIO(newline="")
    names = [key for key, *_ in _COLUMNS]
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
