"""Weights that a training starts from: of another net, of a file, or the present ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import zip_longest
from typing import Any, Self, TypeVar

import torch
from sklearn.pipeline import Pipeline
from skorch import NeuralNet

from ._weights import Weights, empty_module

__all__ = ["FileWeightsMixin", "InitialWeightsMixin", "find_other_layers"]

_Contents = TypeVar("_Contents")


class InitialWeightsMixin(NeuralNet):
    """Mixin of nets with the parameters `start_from` and `warm_start`."""

    def starting_weights(self) -> Weights | None:
        """Initial weights that `fit` loads into a new module; None: random weights."""
        if self.start_from is None:
            return None
        net = self._starting_net()
        return Weights(net.module_.state_dict(), type(net).__name__, net.layout())

    def _starting_net(self):
        net = _find_net(self.start_from)
        theirs, ours = ({"class": type(side).__name__, **side.layout()} for side in (net, self))
        for what, value in ours.items():
            if theirs.get(what) != value:
                raise ValueError(
                    f"start_from has {what} {theirs.get(what)} and this {type(self).__name__} has "
                    f"{value}: fine-tune with the settings that it was fitted with"
                )
        return net

    def _check_same_layers(self, scenes):
        """Raise a ValueError if the parameters ask for other layers than the module has."""
        if other := find_other_layers(self, lambda wanted: wanted.learn_layout(scenes)):
            raise ValueError(
                f"warm_start=True continues with the layers of the last fit, {other[0]}, and the "
                f"parameters now ask for {other[1]}: set them back, or set warm_start=False"
            )


class FileWeightsMixin(NeuralNet):
    """Mixin of nets that cache the contents of their file of initial weights."""

    weights: str | os.PathLike[str] | None

    # (path, version of the file, contents). Clones share it, to be fitted without the file.
    _loaded: tuple[Any, Any, Any] | None = None

    def _read_once(self, read: Callable[[], _Contents]) -> _Contents:
        """Contents of the file `weights`, which is read again only if it changed."""
        path, version = (self.weights, os.path.abspath(str(self.weights))), None
        if os.path.isfile(path[1]):
            status = os.stat(path[1])
            version = status.st_ino, status.st_size, status.st_mtime_ns
        known = self._loaded
        if known is None or known[0] != path or version not in (None, known[1]):
            known = path, version, read()
        self._loaded = known
        return known[2]

    def __sklearn_clone__(self) -> Self:
        clone = super().__sklearn_clone__()
        clone._loaded = self._loaded
        return clone

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        # An initialized net has its weights.
        if self.initialized_:
            state.pop("_loaded", None)
        return state


def find_other_layers(
    net: Any, prepare: Callable[[Any], object]
) -> tuple[str | None, str | None] | None:
    """Find the first difference between the layers of a net and those of its parameters.

    Parameters
    ----------
    net : SceneNet
        Initialized.
    prepare : callable
        Called with a copy of the net, whose layers are then made.

    Returns
    -------
    tuple of two str, or None
        A line of the net's layers, and that of its parameters' layers. None: all agree.
    """
    wanted = object.__new__(type(net))
    vars(wanted).update(vars(net))
    prepare(wanted)
    wanted.module_ = empty_module(wanted.build_module)
    pairs = zip_longest(_lines_of(net), _lines_of(wanted))
    return next(((ours, theirs) for ours, theirs in pairs if ours != theirs), None)


def _find_net(estimator):
    """The fitted net that an estimator ends in: a net, a pipeline, a search, a FrozenEstimator."""
    inner = estimator
    while not isinstance(inner, InitialWeightsMixin):
        if isinstance(inner, Pipeline):
            inner = inner.steps[-1][1]
        elif hasattr(inner, "best_estimator_"):
            inner = inner.best_estimator_
        elif hasattr(inner, "param_grid") or hasattr(inner, "param_distributions"):
            raise ValueError(
                f"start_from is a {type(inner).__name__} without a best estimator: fit it, with "
                "refit, first"
            )
        elif hasattr(inner, "estimator") and not hasattr(inner, "estimators_"):
            inner = inner.estimator
        else:
            raise ValueError(
                f"start_from must end in a fitted net, got a {type(inner).__name__}: give a net, "
                "or a pipeline or a search that ends in one"
            )
    if not inner.__sklearn_is_fitted__():
        raise ValueError(
            "start_from is not fitted: fit it, and wrap it in sklearn.frozen.FrozenEstimator "
            "where it is cloned"
        )
    return inner


def _lines_of(net):
    """Layout, layers with their settings, and the shapes of their weights, as text."""
    layout = (f"{what} {value}" for what, value in net.layout().items())
    layers = (line.strip() for line in str(net.module_).splitlines())
    weights = net.module_.state_dict().items()
    shapes = (f"{name}: {tuple(x.shape)}" for name, x in weights if torch.is_tensor(x))
    return [*layout, *layers, *shapes]
