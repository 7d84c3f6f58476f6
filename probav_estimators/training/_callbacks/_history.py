"""The history of a training as a CSV file."""

from __future__ import annotations

import csv
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from skorch import NeuralNet
from skorch.callbacks import Callback

from ...files import remove_partial_files, replace_file

__all__ = ["HistoryCSV"]


class HistoryCSV(Callback):
    """Writes the history of a training to a CSV file after every epoch.

    Parameters
    ----------
    path : path-like
        Replaced as a whole; its folder is created.

    Examples
    --------
    >>> from probav_estimators import FSRCNN, HistoryCSV
    >>> net = FSRCNN(callbacks=[HistoryCSV("history.csv")])
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        remove_partial_files(self.path)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        rows = [{k: v for k, v in row.items() if k != "batches"} for row in net.history]
        names = list(dict.fromkeys(name for row in rows for name in row))
        path = Path(self.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Candidates of a search may share a path, and remove each other's partial file.
        with (
            suppress(FileNotFoundError),
            replace_file(path) as partial,
            partial.open("w", newline="") as file,
        ):
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
