"""Training that survives being killed."""

import json
import zlib
from pathlib import Path

import torch
from skorch.callbacks import Callback, LRScheduler
from skorch.history import History

from ..files import replace_file
from ._callbacks import BestWeights

__all__ = ["Checkpoint"]

FILENAME = "checkpoint.pt"


class Checkpoint(Callback):
    """Saves all that a training needs to go on after every epoch, and goes on from it.

    Weights, optimizer, schedule, best weights, history and random state are one file, which is
    replaced as a whole. Order, patches and augmentation follow from the net's seed and the number
    of the epoch, so a training that went on ends with the weights of one that was never disturbed.

    Parameters
    ----------
    folder : path-like
    """

    def __init__(self, folder):
        self.folder = folder

    def on_train_begin(self, net, X=None, **kwargs):
        self.scenes_ = _describe(X)
        path = Path(self.folder) / FILENAME
        if not net.history and path.exists():
            _restore(net, self.scenes_, _load(path), path)

    def on_epoch_end(self, net, **kwargs):
        path = Path(self.folder) / FILENAME
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(path) as partial:
            torch.save(_state_of(net, self.scenes_), partial)


def _describe(scenes):
    """Which scenes they are: folds of a search that share a folder must not share a training."""
    names = "\n".join(str(scene.name) for scene in scenes)
    return f"{len(scenes)} scenes, {scenes[0].name} first (checksum {zlib.crc32(names.encode())})"


def _state_of(net, scenes):
    return {
        "layout": _layout_of(net, scenes),
        "seed": net.seed_,
        "module": net.module_.state_dict(),
        "optimizer": net.optimizer_.state_dict(),
        "criterion": net.criterion_.state_dict(),
        "history": json.dumps(list(net.history), default=float),
        "callbacks": {name: _state_of_callback(callback) for name, callback in net.callbacks_},
        "random_state": torch.get_rng_state(),
    }


def _restore(net, scenes, state, path):
    expected, found = _layout_of(net, scenes), state["layout"]
    if found != expected:
        differing = next(key for key, value in expected.items() if found.get(key) != value)
        raise ValueError(
            f"{path} is of another training ({differing}: {found.get(differing)} there, "
            f"{expected[differing]} here): name another folder in resume, or remove this one to "
            "begin anew"
        )
    net.seed_ = state["seed"]
    net.module_.load_state_dict(state["module"])
    net.optimizer_.load_state_dict(state["optimizer"])
    net.criterion_.load_state_dict(state["criterion"])
    net.history_ = History(json.loads(state["history"]))
    for name, callback in net.callbacks_:
        _restore_callback(callback, state["callbacks"].get(name))
    torch.set_rng_state(state["random_state"])


def _load(path):
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises what its unpickler happens to meet
        raise ValueError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}): remove it to begin "
            "anew"
        ) from error


def _layout_of(net, scenes):
    return {
        "scenes": scenes,
        "architecture": type(net).__name__,
        **net.layout(),
        "parameters": {name: list(p.shape) for name, p in net.module_.named_parameters()},
    }


_BEST_WEIGHTS = ("misses_", "dynamic_threshold_", "best_epoch_", "best_model_weights_")


def _state_of_callback(callback):
    if isinstance(callback, LRScheduler):
        return callback.lr_scheduler_.state_dict()
    if isinstance(callback, BestWeights):
        return {name: getattr(callback, name) for name in _BEST_WEIGHTS}
    return None


def _restore_callback(callback, state):
    if state is None:
        return  # one that the training did not have before
    if isinstance(callback, LRScheduler):
        callback.lr_scheduler_.load_state_dict(state)
    elif isinstance(callback, BestWeights):
        vars(callback).update(state)
