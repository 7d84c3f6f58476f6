"""Time limit."""

from __future__ import annotations

import time
from typing import Any

from skorch import NeuralNet
from skorch.callbacks import Callback

from ._state import StatefulMixin

__all__ = ["TimeLimit"]


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


def _clock():
    return time.monotonic()
