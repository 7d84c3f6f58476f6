"""Pickles of nets."""

from __future__ import annotations

import copy
from typing import Any

from skorch import NeuralNet
from skorch.callbacks import LRScheduler
from skorch.history import History

from ..version import __version__, warn_of_other_version
from ._checkpoint import rows_of_epochs
from ._device import resolve_device

__all__ = ["PicklingMixin"]


class PicklingMixin(NeuralNet):
    """Mixin of nets whose pickles hold what a prediction needs, and the history of epochs.

    With ``warm_start=True`` they hold the state of the optimizer and the history of batches too.
    """

    def __getstate__(self) -> dict[str, Any]:
        kept = object.__new__(type(self))
        attributes = kept.__dict__
        attributes.update(self.__dict__)
        if self.initialized_ and not self.warm_start:
            del attributes["optimizer_"]
            attributes["history_"] = History(rows_of_epochs(self.history_))
            attributes["callbacks_"] = [(name, _without_state(cb)) for name, cb in self.callbacks_]
            if self.criterion_.state_dict():
                del attributes["criterion_"]
        return super(PicklingMixin, kept).__getstate__() | {"package_version": __version__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        warn_of_other_version(state.pop("package_version", None), f"this {type(self).__name__}")
        device = state["device"]
        super().__setstate__({**state, "device": resolve_device(device)})
        if device == "auto":
            self.device = device
        if self.initialized_ and not hasattr(self, "optimizer_"):
            self._restore_unpickled_state()

    def _restore_unpickled_state(self):
        was_initialized, self.initialized_ = self.initialized_, False
        if not hasattr(self, "criterion_"):
            self._initialize_criterion()
        self._initialize_optimizer()
        for group in self.optimizer_.param_groups:
            # Torch's schedulers need it where they do not start at epoch 0.
            group["initial_lr"] = group["lr"]
        self.initialized_ = was_initialized


def _without_state(callback):
    """The callback without a scheduler, which would hold the optimizer."""
    if not isinstance(callback, LRScheduler):
        return callback
    bare = copy.copy(callback)
    bare.lr_scheduler_ = None
    return bare
