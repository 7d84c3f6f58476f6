"""A limit in time."""

import time

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

    def __init__(self, minutes=None):
        self.minutes = minutes

    def on_train_begin(self, net, **kwargs):
        self.began_, self.earlier_ = _clock(), 0.0

    @property
    def ends_training_(self):
        return self.minutes is not None and self._seconds() >= 60 * self.minutes

    def _seconds(self):
        return self.earlier_ + _clock() - self.began_

    def state_dict(self):
        return {"seconds": self._seconds()}

    def load_state_dict(self, state):
        self.began_, self.earlier_ = _clock(), state["seconds"]


def _clock():
    return time.monotonic()
