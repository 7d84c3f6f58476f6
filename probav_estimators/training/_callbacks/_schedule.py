"""Learning rate schedule."""

from __future__ import annotations

from typing import Any, Literal

import torch
from skorch import NeuralNet
from skorch.callbacks import LRScheduler

from ._scores import monitored_score

__all__ = ["PlateauSchedule"]


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


def _monitor(net):
    _, score = monitored_score(net.history[-1])
    return score
