"""Progress of a training: a bar for the present epoch and a line for each that is over."""

from __future__ import annotations

import sys
from typing import Any

from skorch import NeuralNet
from skorch.callbacks import PrintLog, ProgressBar

__all__ = ["EpochBar", "EpochLog"]


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


def _print(text):
    print(text, file=sys.stderr, flush=True)
