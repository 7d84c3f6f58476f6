"""The learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from skorch.callbacks import LRScheduler

from ._scores import monitored_score

if TYPE_CHECKING:
    from .._scene_net import SceneNet

__all__ = ["PlateauSchedule"]


class PlateauSchedule(LRScheduler):
    """Halves the learning rate after epochs without a better score, down to 1e-9.

    A training that goes on with the same optimizer goes on with the same schedule. Only its best
    score is forgotten, because the next scenes may be others.

    Parameters
    ----------
    patience : int, default=5
        Epochs without a better validation score (without validation: training loss).
    """

    def __init__(self, patience: int = 5) -> None:
        super().__init__(
            torch.optim.lr_scheduler.ReduceLROnPlateau,
            monitor=_monitor,
            event_name=None,
            factor=0.5,
            patience=patience,
            min_lr=1e-9,
        )

    def _get_param_names(self):
        return ["patience"]

    def _get_scheduler(self, net, policy, **scheduler_kwargs):
        known = self.lr_scheduler_
        if known is None or known.optimizer is not net.optimizer_:
            return super()._get_scheduler(net, policy, **scheduler_kwargs)
        known.best = known.mode_worse
        return known

    def on_epoch_end(self, net: SceneNet, **kwargs: Any) -> None:
        # Not what the schedule set last: DivergenceGuard and users change the rate too.
        net.history.record("event_lr", float(net.optimizer_.param_groups[0]["lr"]))
        super().on_epoch_end(net, **kwargs)

    def on_start_scored(self, net: SceneNet, score: float) -> None:
        """Compare with the score of the weights that the training begins with."""
        self.lr_scheduler_.best = score


def _monitor(net):
    _, score = monitored_score(net.history[-1])
    return score
