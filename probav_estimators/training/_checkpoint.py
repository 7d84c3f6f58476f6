"""State of a training in checkpoints, and of nets in pickles."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from skorch.history import History

from ..files import remove_partial_files
from ..state_file import read_state, write_state
from ..version import __version__, warn_of_other_version
from ._callbacks import StatefulMixin
from ._parameters import resolve_device
from ._settings import describe_scenes, describe_settings
from ._values import ValueDecoder, ValueEncoder, unstorable_parameters

if TYPE_CHECKING:
    from ..scenes import Scene
    from ._scene_net import SceneNet

__all__ = ["Checkpoint", "PicklingMixin", "rows_of_epochs"]

FILENAME = "checkpoint.safetensors"

# Of version 0.1, which torch.save wrote.
_OLD_FILENAME = "checkpoint.pt"


class Checkpoint(Callback):
    """Saves the state of a training after every epoch, and resumes from it.

    Weights, optimizer, callbacks and history of epochs are one file, which is replaced as a whole.
    Order, patches, augmentation and dropout follow from the net's seed and the number of the epoch,
    so a resumed training ends with the weights of an uninterrupted one. A file of
    other scenes or settings is refused.

    Parameters
    ----------
    folder : path-like
        Of one training alone.

    Attributes
    ----------
    n_restored_ : int
        Epochs that the present call of `fit` took from the file.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = folder

    def on_train_begin(
        self, net: SceneNet, X: Sequence[Scene] | None = None, **kwargs: Any
    ) -> None:
        _warn_of_unstorable_parameters(net)
        self.training_ = _training_of(net, X)
        self.n_restored_ = 0
        path = Path(self.folder) / FILENAME
        remove_partial_files(path)
        if net.history:
            return
        if path.exists():
            state = _read(path, self.training_)
            with _refusing(path):
                _restore(net, state)
            self.n_restored_ = len(net.history)
        elif path.with_name(_OLD_FILENAME).exists():
            raise ValueError(
                f"{path.with_name(_OLD_FILENAME)} was written by an earlier version of "
                "probav_estimators: finish the training with that version, or remove the file to "
                "start over"
            )

    def on_epoch_end(self, net: SceneNet, **kwargs: Any) -> None:
        path = Path(self.folder) / FILENAME
        path.parent.mkdir(parents=True, exist_ok=True)
        encoder = ValueEncoder()
        config = encoder.encode(_state_of(net) | {"training": self.training_}, "net")
        write_state(path, "checkpoint", config, encoder.tensors)


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
            self._renew_optimizer()

    def _renew_optimizer(self):
        was_initialized, self.initialized_ = self.initialized_, False
        if not hasattr(self, "criterion_"):
            self._initialize_criterion()
        self._initialize_optimizer()
        for group in self.optimizer_.param_groups:
            # Torch's schedulers need it where they do not start at epoch 0.
            group["initial_lr"] = group["lr"]
        self.initialized_ = was_initialized


def rows_of_epochs(history: History) -> list[dict[str, Any]]:
    """Rows of a history without those of batches, which fill more memory than weights."""
    return [
        {k: x.item() if isinstance(x, np.generic) else x for k, x in r.items()} | {"batches": []}
        for r in history
    ]


def _warn_of_unstorable_parameters(net):
    # Before days of training, and not after them.
    left_out = unstorable_parameters(net)
    if left_out:
        warnings.warn(
            f"{type(net).__name__} has parameters that save_model will leave out of its file: "
            f"{', '.join(left_out)}. A net that is loaded from it predicts the same, and has the "
            "defaults of these",
            stacklevel=2,
        )


def _training_of(net, scenes):
    """Scenes, settings and layers, by their names in errors."""
    return {
        "scenes": describe_scenes(scenes),
        "architecture": type(net).__name__,
        **net.layout(),
        **describe_settings(net),
        "parameters": {name: list(p.shape) for name, p in net.module_.named_parameters()},
    }


def _state_of(net):
    return {
        "seed": net.seed_,
        "module": net.module_.state_dict(),
        "optimizer": net.optimizer_.state_dict(),
        "criterion": net.criterion_.state_dict(),
        "history": rows_of_epochs(net.history),
        "callbacks": {name: _state_of_callback(callback) for name, callback in net.callbacks_},
    }


def _read(path, training):
    """State in a file of the same training."""
    config, tensors, version = read_state(path, "checkpoint")
    warn_of_other_version(version, str(path))
    with _refusing(path):
        state = ValueDecoder(tensors).decode(config)
        found = dict(state["training"])
    if "random_state" not in training:
        # One that is None may be any.
        found.pop("random_state", None)
    for name in {**training, **found}:
        if found.get(name) != training.get(name):
            there, here = (side.get(name, "not given") for side in (found, training))
            raise ValueError(
                f"{path} is of another training ({name}: {there} there, {here} here): give every "
                "training a folder of its own in resume, each candidate of a search too, or remove "
                "this one to start over"
            )
    return state


@contextmanager
def _refusing(path):
    """Name the file in errors of a state that lacks something, or has other values."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"{path} cannot be restored ({type(error).__name__}: {str(error)[:200]}): it may be of "
            "another version, remove it to start over"
        ) from error


def _restore(net, state):
    net.seed_ = state["seed"]
    net.module_.load_state_dict(state["module"])
    net.optimizer_.load_state_dict(state["optimizer"])
    _restore_memory_formats(net.optimizer_)
    net.criterion_.load_state_dict(state["criterion"])
    net.history_ = History(state["history"])
    for name, callback in net.callbacks_:
        known = state["callbacks"].get(name)
        if known is not None:  # None: of a callback that the training did not have before
            _restore_callback(callback, known)


def _restore_memory_formats(optimizer):
    # Files hold contiguous tensors, and rounding depends on the format.
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if torch.is_tensor(value) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


# State of skorch's own callback.
_EARLY_STOPPING = ("misses_", "dynamic_threshold_", "best_epoch_", "best_model_weights_")


def _state_of_callback(callback):
    if isinstance(callback, StatefulMixin):
        return callback.state_dict()
    if isinstance(callback, LRScheduler):
        return callback.lr_scheduler_.state_dict()
    if isinstance(callback, EarlyStopping):
        return {name: getattr(callback, name) for name in _EARLY_STOPPING}
    return None


def _restore_callback(callback, state):
    if isinstance(callback, StatefulMixin):
        callback.load_state_dict(state)
    elif isinstance(callback, LRScheduler):
        callback.lr_scheduler_.load_state_dict(state)
    elif isinstance(callback, EarlyStopping):
        vars(callback).update(state)


def _without_state(callback):
    """The callback without a scheduler, which would hold the optimizer."""
    if not isinstance(callback, LRScheduler):
        return callback
    bare = copy.copy(callback)
    bare.lr_scheduler_ = None
    return bare
