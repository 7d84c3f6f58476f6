"""Callbacks that step in: guard against divergence, time limit."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch import NeuralNet
from skorch.callbacks import Callback

from ._score_callbacks import StatefulMixin, monitored_score

__all__ = ["DivergenceGuard", "TimeLimit"]

# Largest ratio of an epoch's score to the best. Scores are ratios of dB; losses have any scale.
_TOLERANCE = {"valid_score": 1.5, "valid_loss": 4.0, "train_loss": 4.0}

# Weight of the newest step in the running mean of gradient norms.
_NEWEST = 0.05


class DivergenceGuard(StatefulMixin, Callback):
    """Clips gradients, skips steps that are not finite, and returns to the best weights.

    A step whose loss or gradient is not finite changes no weight. After an epoch whose score is not
    finite or much worse than the best, training continues from the best weights with a new
    optimizer state and half the learning rate. Much worse is 1.5 times the best challenge score or,
    without validation or without truth, 4 times the best loss.

    Parameters
    ----------
    clip : float or None, default=10
        Largest norm of a gradient, in units of the running mean of norms. None: no clipping.
    attempts : int, default=3
        Returns without a better score in between after which training ends.

    Attributes
    ----------
    n_clipped_, n_skipped_ : int
        Clipped and skipped steps of this call of `fit` or `partial_fit`.

    Warns
    -----
    ConvergenceWarning
        At the first step that is skipped, and at each return to the best weights.
    """

    _state = (
        "n_clipped_",
        "n_skipped_",
        "n_returns_",
        "mean_norm_",
        "best_",
        "best_epoch_",
        "best_norm_",
        "weights_",
    )

    def __init__(self, clip: float | None = 10.0, attempts: int = 3) -> None:
        self.clip = clip
        self.attempts = attempts

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        self.n_clipped_ = self.n_skipped_ = self.n_returns_ = 0
        self.mean_norm_: float | None = None
        self._keep(net, np.inf, 0)

    def on_start_scored(self, net: NeuralNet, score: float) -> None:
        """Keep the initial weights as the best so far."""
        self._keep(net, score, 0)

    def on_grad_computed(
        self, net: NeuralNet, named_parameters: Iterable[tuple[str, Any]], **kwargs: Any
    ) -> None:
        parameters = [p for _, p in named_parameters if p.grad is not None]
        norm = float(torch.stack([p.grad.norm() for p in parameters]).norm()) if parameters else 0.0
        # There are no gradients of a loss that is not finite.
        if not parameters or not np.isfinite(norm):
            self._skip(net, parameters)
            return
        clip = np.inf if self.clip is None else self.clip
        bound = clip * self.mean_norm_ if self.mean_norm_ else np.inf
        if norm > bound:
            self.n_clipped_ += 1
            for parameter in parameters:
                parameter.grad.mul_(bound / norm)
        before = norm if self.mean_norm_ is None else self.mean_norm_
        self.mean_norm_ = (1 - _NEWEST) * before + _NEWEST * min(norm, bound)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        name, score = monitored_score(net.history[-1])
        epoch = net.history[-1, "epoch"]
        limit = _TOLERANCE[name] * self.best_ if self.best_ > 0 else np.inf
        if not np.isfinite(score) or score > limit:
            self._return(net, f"epoch {epoch} has {name} {score:.4g}")
        elif score < self.best_:
            self.n_returns_ = 0
            self._keep(net, score, epoch)

    @property
    def ends_training_(self) -> bool:
        """Whether the training is to end."""
        return self.n_returns_ >= self.attempts

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        self.weights_ = None

    def _keep(self, net, score, epoch):
        self.best_, self.best_epoch_, self.best_norm_ = score, epoch, self.mean_norm_
        self.weights_ = copy.deepcopy(net.module_.state_dict())

    def _skip(self, net, parameters):
        for parameter in parameters:
            # Optimizers skip weights without a gradient.
            parameter.grad = None
        self.n_skipped_ += 1
        if self.n_skipped_ == 1:
            _warn(
                f"{type(net).__name__}: in epoch {len(net.history)} a loss or its gradient was not "
                "finite. Such steps are skipped; if there are many, choose a lower lr"
            )

    def _return(self, net, what):
        self.n_returns_ += 1
        self.mean_norm_ = self.best_norm_
        net.module_.load_state_dict(self.weights_)
        net.optimizer_.state.clear()
        groups = net.optimizer_.param_groups
        # The schedule may have halved the rate after this epoch.
        if groups[0]["lr"] >= net.history[-1].get("event_lr", 0):
            for group in groups:
                group["lr"] *= 0.5
        best = f"the best weights, {self.best_:.4g} of epoch {self.best_epoch_}"
        if self.best_ == np.inf:
            best = "the initial weights"
        then = f"continues with learning rate {float(groups[0]['lr']):.3g}"
        if self.ends_training_:
            then = f"ends after {self.n_returns_} such returns: choose a lower lr"
        _warn(f"{type(net).__name__}: {what}. Training returns to {best}, and {then}")

    def __getstate__(self) -> dict[str, Any]:
        # A net that is pickled during a training holds its present weights.
        return vars(self) | {"weights_": None}


class TimeLimit(StatefulMixin, Callback):
    """Ends a training after a time.

    The net cuts the epoch short, validates and records it. The time of a resumed training includes
    that before the interruption.

    Parameters
    ----------
    minutes : float, default=None
        None: no limit.
    """

    def __init__(self, minutes: float | None = None) -> None:
        self.minutes = minutes

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        self.began_, self.earlier_ = _clock(), 0.0

    @property
    def ends_training_(self) -> bool:
        """Whether time is up."""
        return self.minutes is not None and self._seconds() >= 60 * self.minutes

    def _seconds(self):
        return self.earlier_ + _clock() - self.began_

    def state_dict(self) -> dict[str, Any]:
        """Seconds since the training began."""
        return {"seconds": self._seconds()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Add the seconds before the interruption."""
        self.began_, self.earlier_ = _clock(), state["seconds"]


def _warn(text):
    warnings.warn(text, ConvergenceWarning, stacklevel=2)


def _clock():
    return time.monotonic()
