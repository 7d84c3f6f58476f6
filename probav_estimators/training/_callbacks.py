"""Callbacks of nets: scores, best weights, learning rate, guards, and reports."""

from __future__ import annotations

import copy
import csv
import os
import sys
import time
import warnings
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer
from sklearn.utils._param_validation import Interval, StrOptions
from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler, PrintLog, ProgressBar
from skorch.callbacks.scoring import ScoringBase

from ..files import remove_partial_files, replace_file
from ..losses import check_parameters
from ..scoring import scene_score
from ._sampling import ViewAverager

__all__ = [
    "BestWeights",
    "ChallengeScore",
    "DivergenceGuard",
    "EpochBar",
    "EpochLog",
    "HistoryCSV",
    "PlateauSchedule",
    "StartingScore",
    "StatefulMixin",
    "TimeLimit",
    "check_scorings",
]

# Type of make_scorer's results.
_SKLEARN_SCORER = type(get_scorer("r2"))

# Largest ratio of an epoch's score to the best. Scores are ratios of dB; losses have any scale.
_TOLERANCE = {"valid_score": 1.5, "valid_loss": 4.0, "train_loss": 4.0}

# Weight of the newest step in the running mean of gradient norms.
_NEWEST = 0.05

# Seconds in which any history is written.
_WRITING = 60


class StatefulMixin:
    """Mixin of callbacks whose state is part of a checkpoint.

    A subclass lists its attributes in `_state`: numbers, strings, tensors, and dicts of such.
    """

    _state: tuple[str, ...] = ()

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


class _WeightsKeeper(StatefulMixin, Callback):
    """Holds a copy of the best weights during a training."""

    weights_: dict[str, torch.Tensor] | None = None

    def _keep_weights(self, net):
        self.weights_ = copy.deepcopy(net.module_.state_dict())

    def __getstate__(self) -> dict[str, Any]:
        # A net that is pickled during a training holds its present weights.
        return vars(self) | {"weights_": None}


class ChallengeScore(StatefulMixin, Callback):
    """Records the mean challenge score of the validation scenes after every epoch.

    The history gets `valid_score` (lower is better, 1.0 is the baseline) and `valid_score_best`,
    whether it is the best so far in this call of `fit` or `partial_fit`.
    """

    _state = ("first_row_",)

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        self.first_row_ = len(net.history)
        self.scorer_ = None

    def on_epoch_begin(self, net: NeuralNet, dataset_valid: Any = None, **kwargs: Any) -> None:
        self.scorer_ = _SceneScorer.of(dataset_valid)

    def on_batch_end(
        self,
        net: NeuralNet,
        batch: Any = None,
        training: bool | None = None,
        y_pred: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        if not training and self.scorer_ is not None:
            self.scorer_.add(batch, y_pred)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        if self.scorer_ is None:
            return
        score = self.scorer_.mean()
        rows = net.history[self.first_row_ :]
        earlier = [row["valid_score"] for row in rows if "valid_score" in row]
        net.history.record("valid_score", score)
        net.history.record("valid_score_best", score < min(earlier, default=np.inf))

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        # Scenes may hold pixels, and a fitted net should not.
        self.scorer_ = None


class StartingScore(StatefulMixin, Callback):
    """Scores the initial weights of a training, unless they are random.

    It is the score of epoch 0, which may be the best: fine-tuning that improves nothing ends with
    its initial weights. Callbacks with a method ``on_start_scored(net, score)`` get it. It is not
    in the history. Without validation scenes nothing is scored.

    Attributes
    ----------
    start_score_ : float or None
        Challenge score of the validation scenes or, without HR images, their loss. None if nothing
        was scored.
    """

    _state = ("start_score_", "pending_")

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        self.start_score_ = None
        self.pending_ = net.starts_with_weights_

    def on_epoch_begin(self, net: NeuralNet, dataset_valid: Any = None, **kwargs: Any) -> None:
        if not self.pending_:
            return
        self.pending_ = False
        if dataset_valid is None:
            return
        self.start_score_ = _score_now(net, dataset_valid)
        if net.verbose:
            score = f"score {self.start_score_:.5g}"
            print(f"{type(net).__name__} before training: {score}", file=sys.stderr)
        for _, callback in net.callbacks_:
            if hasattr(callback, "on_start_scored"):
                callback.on_start_scored(net, self.start_score_)


class BestWeights(_WeightsKeeper):
    """Keeps the weights of the best validation score, and restores them in the end.

    Without HR images the validation loss replaces the score. Initial weights of another training
    are those of epoch 0. Without validation scenes nothing is kept.

    Attributes
    ----------
    best_score_ : float
        Infinite where nothing was scored.
    best_epoch_ : int
    """

    _state = ("best_score_", "best_epoch_", "weights_")

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        self.best_score_, self.best_epoch_, self.weights_ = np.inf, 0, None

    def on_start_scored(self, net: NeuralNet, score: float) -> None:
        """Keep the initial weights as those of epoch 0."""
        self._compare(net, score, 0)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        name, score = validation_score(net.history[-1])
        if name is not None:
            self._compare(net, score, net.history[-1, "epoch"])

    def _compare(self, net, score, epoch):
        if score < self.best_score_:
            self.best_score_, self.best_epoch_ = score, epoch
            self._keep_weights(net)

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        if self.weights_ is not None:
            net.module_.load_state_dict(self.weights_)
        self.weights_ = None


class PlateauSchedule(LRScheduler):
    """Halves the learning rate after epochs without a better score, down to 1e-9.

    Epochs are counted as Keras' ReduceLROnPlateau counts them [1]_: the rate halves at the end of
    epoch number `patience` without a better score, one epoch before torch's schedule of that name.

    A training with the optimizer of the last one continues its schedule, except for the best score:
    the scenes may be others.

    Parameters
    ----------
    patience : int, default=5
        Epochs without a better validation score (without validation: training loss).
    threshold : float, default=1e-4
        Least improvement of a better score.
    threshold_mode : {"rel", "abs"}, default="rel"
        Whether `threshold` is a fraction of the best score or a difference from it. "abs" is
        `min_delta` of Keras.

    References
    ----------
    .. [1] https://keras.io/api/callbacks/reduce_lr_on_plateau
    """

    def __init__(
        self,
        patience: int = 5,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
    ) -> None:
        super().__init__(
            torch.optim.lr_scheduler.ReduceLROnPlateau,
            monitor=_monitor,
            event_name=None,
            factor=0.5,
            patience=patience,
            threshold=threshold,
            threshold_mode=threshold_mode,
            min_lr=1e-9,
            # The last step down to min_lr may be small.
            eps=0,
        )

    def _get_param_names(self):
        return ["patience", "threshold", "threshold_mode"]

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        check_parameters(
            self,
            patience=[Interval(Integral, 1, None, closed="left")],
            threshold=[Interval(Real, None, None, closed="neither")],
            threshold_mode=[StrOptions({"rel", "abs"})],
        )
        super().on_train_begin(net, **kwargs)

    def _get_scheduler(self, net, policy, **scheduler_kwargs):
        known = self.lr_scheduler_
        if known is None or known.optimizer is not net.optimizer_:
            # Torch's schedule waits one epoch longer than its patience.
            scheduler_kwargs["patience"] -= 1
            return super()._get_scheduler(net, policy, **scheduler_kwargs)
        known.best = known.mode_worse
        return known

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        # DivergenceGuard and users change the rate too.
        net.history.record("event_lr", float(net.optimizer_.param_groups[0]["lr"]))
        super().on_epoch_end(net, **kwargs)

    def on_start_scored(self, net: NeuralNet, score: float) -> None:
        """Take the score of the initial weights as the best so far."""
        self.lr_scheduler_.best = score


class DivergenceGuard(_WeightsKeeper):
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
        self._keep_weights(net)

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


class TimeLimit(StatefulMixin, Callback):
    """Ends a training after a time.

    The net cuts the epoch short, validates and records it. The time of a resumed training includes
    that before the interruption; `partial_fit` and `warm_start` begin anew.

    Parameters
    ----------
    minutes : float

    Raises
    ------
    ValueError
        From `fit`, if `minutes` is not greater than 0.

    Examples
    --------
    >>> from probav_estimators import SRCNN, TimeLimit
    >>> net = SRCNN(callbacks=[TimeLimit(30)])
    """

    def __init__(self, minutes: float) -> None:
        self.minutes = minutes

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        check_parameters(self, minutes=[Interval(Real, 0, None, closed="neither")])
        self.began_, self.earlier_ = _clock(), 0.0

    @property
    def ends_training_(self) -> bool:
        """Whether time is up."""
        return self._seconds() >= 60 * self.minutes

    def _seconds(self):
        return self.earlier_ + _clock() - self.began_

    def state_dict(self) -> dict[str, Any]:
        """Seconds since the training began."""
        return {"seconds": self._seconds()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Add the seconds before the interruption."""
        self.began_, self.earlier_ = _clock(), state["seconds"]


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


def check_scorings(callbacks: Sequence[tuple[str, Callback]]) -> None:
    """Raise a ValueError if a scoring callback of skorch has a scorer that needs a `y`."""
    for name, callback in callbacks:
        if not isinstance(callback, ScoringBase):
            continue
        if isinstance(callback.scoring_, str | _SKLEARN_SCORER):
            raise ValueError(
                f"the callback {name} has scoring={callback.scoring!r}, which compares with a y "
                "that scenes do not have: give scoring=probav_scorer or cpsnr_scorer, another "
                "function of net and scenes, or None for the net's own score"
            )


def validation_score(row: Any) -> tuple[str | None, float | None]:
    """Name and value of the validation score in a row of the history; lower is better.

    The challenge score of the validation scenes or, without truth, their loss. (None, None) without
    validation scenes.
    """
    name = next((name for name in ("valid_score", "valid_loss") if name in row), None)
    return name, None if name is None else float(row[name])


def monitored_score(row: Any) -> tuple[str, float]:
    """As :func:`validation_score`; without validation scenes the mean training loss.

    The mean is that of the steps whose loss is finite: others are skipped.
    """
    name, score = validation_score(row)
    if name is not None:
        return name, score  # type: ignore[return-value]
    steps = [(b["train_loss"], b["train_batch_size"]) for b in row["batches"] if "train_loss" in b]
    losses, sizes = np.array(steps).T
    finite = np.isfinite(losses)
    if finite.all() or not finite.any():
        return "train_loss", float(row["train_loss"])
    return "train_loss", float(np.average(losses[finite], weights=sizes[finite]))


class _SceneScorer:
    """Running mean of the challenge scores of validation scenes."""

    def __init__(self, dataset):
        self._scenes = dataset.scenes
        self._averager = ViewAverager(dataset)
        self._scores = []

    @classmethod
    def of(cls, dataset):
        """The scorer of a validation dataset; None if it has no HR images."""
        return cls(dataset) if dataset is not None and dataset.with_truth else None

    def add(self, batch, prediction):
        for number, image in self._averager.add(batch, prediction):
            finite = np.isfinite(image).all()
            self._scores.append(scene_score(image, self._scenes[number]) if finite else np.inf)

    def mean(self):
        return float(np.mean(self._scores))


def _score_now(net, dataset):
    """Validation score of the present weights; their loss, where there is no truth."""
    scorer = _SceneScorer.of(dataset)
    losses, sizes = [], []
    for batch in net.get_iterator(dataset):
        step = net.validation_step(batch)
        losses.append(step["loss"].item())
        sizes.append(len(batch[1]["scene"]))
        if scorer is not None:
            scorer.add(batch, step["y_pred"])
    return float(np.average(losses, weights=sizes)) if scorer is None else scorer.mean()


def _monitor(net):
    _, score = monitored_score(net.history[-1])
    return score


def _warn(text):
    warnings.warn(text, ConvergenceWarning, stacklevel=2)


def _clock():
    return time.monotonic()


def _print(text):
    print(text, file=sys.stderr, flush=True)
