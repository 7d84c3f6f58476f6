"""Reports of a training and of predictions: bars, a table and a CSV file."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path
from typing import Any

from skorch import NeuralNet
from skorch.callbacks import Callback, PrintLog, ProgressBar
from tqdm.auto import tqdm

from ..files import remove_partial_files, replace_file

__all__ = ["EpochBar", "EpochLog", "HistoryCSV", "show_progress"]

# Seconds before the bar is shown.
_DELAY = 5

# Seconds in which any history is written.
_WRITING = 60


class EpochBar(ProgressBar):
    """Progress bar of the training batches of an epoch, on a terminal."""

    def on_epoch_begin(self, net: NeuralNet, dataset_train: Any = None, **kwargs: Any) -> None:
        if net.verbose and sys.stderr.isatty():
            super().on_epoch_begin(net, dataset_train)

    def on_batch_end(self, net: NeuralNet, training: bool | None = None, **kwargs: Any) -> None:
        # Validation batches have another size, and are not part of the bar's length.
        if training and hasattr(self, "pbar_"):
            super().on_batch_end(net)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        if hasattr(self, "pbar_"):
            self.pbar_.close()
            del self.pbar_

    # An interrupted epoch has no end.
    on_train_end = on_epoch_end


class EpochLog(PrintLog):
    """Table of the history on stderr, with a line for each epoch and without colours."""

    def __init__(self) -> None:
        super().__init__(sink=_print, floatfmt=".5g")

    def _get_param_names(self):
        return []

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        # Each call of `fit` or `partial_fit` prints the header.
        self.first_iteration_ = True

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        if net.verbose:
            super().on_epoch_end(net)

    def table(self, row: dict[str, Any]) -> str:
        # PrintLog colours what is marked as the best.
        return super().table({key: x for key, x in row.items() if not key.endswith("_best")})


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
        # Candidates of a search may share a path: younger ones are being written.
        remove_partial_files(self.path, older_than=_WRITING)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        rows = [{k: v for k, v in row.items() if k != "batches"} for row in net.history]
        names = list(dict.fromkeys(name for row in rows for name in row))
        path = Path(self.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(path) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)


def show_progress(net: NeuralNet, n_scenes: int) -> tqdm:
    """Progress bar of a verbose net's prediction, shown on a terminal after a few seconds."""
    # None: disabled where the output is no terminal.
    disable = None if net.verbose else True
    description = f"{type(net).__name__} predict"
    return tqdm(total=n_scenes, disable=disable, delay=_DELAY, unit="scene", desc=description)


def _print(text):
    print(text, file=sys.stderr, flush=True)
