"""Training that survives being killed."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from skorch.history import History

from ..files import replace_file
from ..version import __version__, warn_of_other_version
from ._callbacks import StatefulMixin
from ._settings import describe_scenes, describe_settings
from ._storable import unstorable_parameters

if TYPE_CHECKING:
    from ..scenes import Scene
    from ._scene_net import SceneNet

__all__ = ["Checkpoint"]

FILENAME = "checkpoint.pt"

# Changes when a file that was written before can no longer be read, or the other way round.
_FORMAT = 2

_REMEDY = (
    "give every training a folder of its own in resume, each candidate of a search too, or remove "
    "this one to begin anew"
)


class Checkpoint(Callback):
    """Saves all that a training needs to go on after every epoch, and goes on from it.

    Weights, optimizer, callbacks, history and random state are one file, which is replaced as a
    whole. Order, patches and augmentation follow from the net's seed and the number of the epoch,
    so a training that went on ends with the weights of one that was never disturbed. A file of
    other scenes or of other settings is refused.

    Parameters
    ----------
    folder : path-like

    Attributes
    ----------
    n_restored_ : int
        Epochs that the present call of `fit` was given by the file.
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
        if not net.history and path.exists():
            state = _load(path)
            _check(state, self.training_, path)
            _restore(net, state)
            self.n_restored_ = len(net.history)

    def on_epoch_end(self, net: SceneNet, **kwargs: Any) -> None:
        path = Path(self.folder) / FILENAME
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(path) as partial:
            torch.save(_state_of(net, self.training_), partial)


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
    """What tells a training from others, by what it is called in errors."""
    return {
        "scenes": describe_scenes(scenes),
        "architecture": type(net).__name__,
        **net.layout(),
        **describe_settings(net),
        "parameters": {name: list(p.shape) for name, p in net.module_.named_parameters()},
    }


def _state_of(net, training):
    return {
        "format": _FORMAT,
        "package_version": __version__,
        "training": training,
        "seed": net.seed_,
        "module": net.module_.state_dict(),
        "optimizer": net.optimizer_.state_dict(),
        "criterion": net.criterion_.state_dict(),
        "history": json.dumps(list(net.history), default=float),
        "callbacks": {name: _state_of_callback(callback) for name, callback in net.callbacks_},
        "random_state": torch.get_rng_state(),
    }


def _load(path):
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises what its unpickler happens to meet
        raise ValueError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}): remove it to begin "
            "anew"
        ) from error
    form = state.get("format") if isinstance(state, dict) else None
    if form is None:
        raise ValueError(
            f"{path} was not written by this version of probav_estimators, or by an earlier one "
            "that did not note which settings a training had: remove it to begin anew, or finish "
            "the training with the version that began it"
        )
    if form != _FORMAT:
        raise ValueError(
            f"{path} has format {form}, written by probav_estimators "
            f"{state.get('package_version')}, and version {__version__} reads format {_FORMAT}: "
            "install that version to go on, or remove the file to begin anew"
        )
    return state


def _check(state, training, path):
    warn_of_other_version(state["package_version"], str(path))
    found = state["training"]
    names = [*training, *(name for name in found if name not in training)]
    # A seed that is not asked for may be any.
    differing = [
        name
        for name in names
        if found.get(name) != training.get(name)
        and not (name == "random_state" and name not in training)
    ]
    if differing:
        name = differing[0]
        there, here = (side.get(name, "not given") for side in (found, training))
        raise ValueError(
            f"{path} is of another training ({name}: {there} there, {here} here): {_REMEDY}"
        )


def _restore(net, state):
    net.seed_ = state["seed"]
    net.module_.load_state_dict(state["module"])
    net.optimizer_.load_state_dict(state["optimizer"])
    net.criterion_.load_state_dict(state["criterion"])
    net.history_ = History(json.loads(state["history"]))
    for name, callback in net.callbacks_:
        known = state["callbacks"].get(name)
        if known is not None:  # None: of a callback that the training did not have before
            _restore_callback(callback, known)
    torch.set_rng_state(state["random_state"])


# What skorch's own callback counts.
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
