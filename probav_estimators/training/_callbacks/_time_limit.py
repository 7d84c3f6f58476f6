"""A limit in time."""

from __future__ import annotations

import time
from typing import Any

from skorch import NeuralNet
from skorch.callbacks import Callback

from ._resumable import Resumable

__all__ = ["TimeLimit"]


class TimeLimit(Resumable, Callback):
    """Ends a training when its time is up.

    The net asks it after every step, and cuts the epoch short; that epoch is validated and
    recorded like any other. Time that a resumed training took before counts.

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
        """Seconds that the training took."""
        return {"seconds": self._seconds()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the seconds that the training took before."""
        self.began_, self.earlier_ = _clock(), state["seconds"]


def _clock():
    return time.monotonic()
