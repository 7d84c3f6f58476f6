"""Best weights and early stopping."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from skorch import NeuralNet
from skorch.callbacks import Callback

from ._scores import validation_score
from ._state import StatefulMixin

__all__ = ["BestWeights"]


class BestWeights(StatefulMixin, Callback):
    """Keeps the weights of the best validation score, and restores them in the end.

    Without HR images the validation loss replaces the score. Initial weights of another training
    are those of epoch 0. Without validation scenes nothing is kept.

    Parameters
    ----------
    patience : int, default=None
        Epochs without a better score after which training stops. None: it does not stop.

    Attributes
    ----------
    best_score_ : float
        Infinite where nothing was scored.
    best_epoch_ : int
    """

    _state = ("best_score_", "best_epoch_", "weights_", "misses_")

    def __init__(self, patience: int | None = None) -> None:
        self.patience = patience

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        self.best_score_, self.best_epoch_ = np.inf, 0
        self.weights_, self.misses_ = None, 0

    def on_start_scored(self, net: NeuralNet, score: float) -> None:
        """Keep the initial weights as those of epoch 0."""
        self._compare(net, score, 0)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        name, score = validation_score(net.history[-1])
        if name is not None:
            self._compare(net, score, net.history[-1, "epoch"])

    def _compare(self, net, score, epoch):
        if score < self.best_score_:
            self.best_score_, self.best_epoch_, self.misses_ = score, epoch, 0
            self.weights_ = copy.deepcopy(net.module_.state_dict())
        else:
            self.misses_ += 1

    @property
    def ends_training_(self) -> bool:
        """Whether the training is to end."""
        return self.patience is not None and self.misses_ >= self.patience

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        if self.weights_ is not None:
            net.module_.load_state_dict(self.weights_)
        self.weights_ = None

    def __getstate__(self) -> dict[str, Any]:
        # A net that is pickled during a training holds its present weights.
        return vars(self) | {"weights_": None}
