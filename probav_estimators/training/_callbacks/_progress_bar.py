"""Progress of a training: a bar, or a line an epoch."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from skorch.callbacks import Callback
from tqdm.auto import tqdm
from tqdm.notebook import tqdm_notebook

if TYPE_CHECKING:
    from .._scene_net import SceneNet

__all__ = ["ProgressBar"]


class ProgressBar(Callback):
    """Shows epoch, training loss, validation score and time.

    A bar on a terminal and in a notebook. Elsewhere, as in a log file, a line for each epoch.
    """

    def on_train_begin(self, net: SceneNet, **kwargs: Any) -> None:
        self.epochs_before_ = len(net.history)
        self.display_: Any = None

    def on_epoch_begin(self, net: SceneNet, dataset_train: Any = None, **kwargs: Any) -> None:
        if not net.verbose:
            return
        epoch = len(net.history) - self.epochs_before_
        n_batches = -(-len(dataset_train) // net.batch_size)
        self._display(net).begin(f"{type(net).__name__} epoch {epoch}/{net.max_epochs}", n_batches)

    def on_start_scored(self, net: SceneNet, score: float) -> None:
        """Show the score of the weights that the training begins with."""
        if net.verbose:
            self._display(net).start(f"{type(net).__name__} before training", score)

    def on_batch_end(self, net: SceneNet, training: bool | None = None, **kwargs: Any) -> None:
        if net.verbose and training:
            self.display_.advance(len(net.history) - self.epochs_before_)

    def on_epoch_end(self, net: SceneNet, **kwargs: Any) -> None:
        if not net.verbose:
            return
        row = net.history[-1]
        shown = {"loss": row["train_loss"], "valid_score": row.get("valid_score")}
        self.display_.end({key: x for key, x in shown.items() if x is not None}, row.get("dur"))

    def on_train_end(self, net: SceneNet, **kwargs: Any) -> None:
        if self.display_ is not None:
            self.display_.close()
            self.display_ = None

    def _display(self, net):
        if self.display_ is None:
            self.display_ = _Bar(net.max_epochs) if _shows_bars() else _Lines()
        return self.display_

    def __getstate__(self) -> dict[str, Any]:
        # A bar writes to an open file.
        return vars(self) | {"display_": None}


def _shows_bars():
    return sys.stderr.isatty() or issubclass(tqdm, tqdm_notebook)


class _Bar:
    """A bar over all epochs."""

    def __init__(self, n_epochs):
        self._bar = tqdm(
            total=n_epochs,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left{postfix}",
        )
        self._shown = {}

    def start(self, label, score):
        self._shown["start"] = f"{score:.5f}"
        self._bar.set_postfix(self._shown)

    def begin(self, label, n_batches):
        self._n_batches = n_batches
        self._bar.set_description(label)

    def advance(self, epoch):
        position = min(self._bar.n + 1 / self._n_batches, epoch)
        self._bar.update(position - self._bar.n)

    def end(self, values, seconds):
        self._shown.update({key: f"{value:.5f}" for key, value in values.items()})
        self._bar.set_postfix(self._shown)

    def close(self):
        self._bar.close()


class _Lines:
    """A line for each epoch."""

    def start(self, label, score):
        self._print(label, {"score": score})

    def begin(self, label, n_batches):
        self._label = label

    def advance(self, epoch):
        """Lines tell of whole epochs only."""

    def end(self, values, seconds):
        self._print(self._label, values, "" if seconds is None else f", {seconds:.1f} s")

    def close(self):
        """Nothing stays open."""

    def _print(self, label, values, time=""):
        shown = ", ".join(f"{key} {value:.5f}" for key, value in values.items())
        print(f"{label}: {shown}{time}", file=sys.stderr, flush=True)
