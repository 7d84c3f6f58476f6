"""Parameters of a training that a model file can hold."""

from __future__ import annotations

import inspect
import os
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .. import losses
from ..losses import SceneLoss

if TYPE_CHECKING:
    from ._scene_net import SceneNet

__all__ = ["known_classes", "known_losses", "name_of", "unstorable_parameters"]

# No prediction needs them: a loaded net has their defaults.
_OF_TRAINING = {
    "callbacks",
    "criterion",
    "iterator_train",
    "iterator_valid",
    "optimizer",
    "random_state",
    "train_split",
}

# Losses that compare two images, and have no layers of their own.
_LOSSES_OF_TORCH = ("BCELoss", "HuberLoss", "L1Loss", "MSELoss", "SmoothL1Loss")

_MAX_LENGTH = 120


@cache
def known_losses() -> dict[str, type]:
    """Classes of this package's losses by their qualified names."""
    public = {name: getattr(losses, name) for name in losses.__all__}
    return {
        f"probav_estimators.losses.{name}": kind
        for name, kind in public.items()
        if _is_concrete(kind, SceneLoss) and kind is not SceneLoss
    }


@cache
def known_classes() -> dict[str, type]:
    """Classes that a parameter may be, by their qualified names: optimizers and losses."""
    optimizers = {
        f"torch.optim.{name}": kind
        for name, kind in vars(torch.optim).items()
        if _is_concrete(kind, torch.optim.Optimizer)
    }
    of_torch = {f"torch.nn.{name}": getattr(torch.nn, name) for name in _LOSSES_OF_TORCH}
    return optimizers | of_torch | known_losses()


def name_of(kind: object, known: dict[str, type]) -> str | None:
    """Name by which a class is known, or None."""
    return next((name for name, value in known.items() if value is kind), None)


def unstorable_parameters(net: SceneNet) -> dict[str, str]:
    """Parameters that only training needs, and that a model file cannot hold.

    Parameters
    ----------
    net : SceneNet

    Returns
    -------
    dict of str to str
        The values as text, shortened. With a class or a list of callbacks, its own parameters
        (``optimizer__momentum``) are among them.
    """
    params = net.get_params(deep=False)
    lost = {k for k, x in params.items() if k in _OF_TRAINING and not _is_storable(x)}
    left_out = {}
    for name, value in params.items():
        owner = name.partition("__")[0]
        if owner in lost or (owner in _OF_TRAINING and not _is_storable(value)):
            text = repr(value)
            left_out[name] = text if len(text) <= _MAX_LENGTH else f"{text[: _MAX_LENGTH - 3]}..."
    return left_out


def _is_storable(value):
    if isinstance(value, list | tuple):
        return all(map(_is_storable, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_storable(x) for key, x in value.items())
    if isinstance(value, SceneLoss):
        kind = type(value)
        known = name_of(kind, known_losses()) is not None
        return known and all(_is_storable(getattr(value, name)) for name in _parameters_of(kind))
    plain = bool | int | float | str | np.generic | torch.Tensor | torch.device | os.PathLike
    return value is None or isinstance(value, plain) or name_of(value, known_classes()) is not None


def _parameters_of(kind):
    parameters: Any = inspect.signature(kind).parameters.values()
    return [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]


def _is_concrete(kind, base):
    return isinstance(kind, type) and issubclass(kind, base) and not inspect.isabstract(kind)
