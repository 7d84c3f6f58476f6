"""What a model file may name: nothing else is ever made or called."""

from __future__ import annotations

import inspect
import re
from functools import cache
from typing import Any

import torch
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from .. import architectures, losses, preprocessing
from ..baseline import BicubicBaseline
from ..losses import SceneLoss
from ..meta import PerBand, SceneEnsemble
from ..preprocessing import SceneTransformer
from ..training import SceneNet

# Those that compare two images, and have no layers of their own.
_LOSSES_OF_TORCH = ("BCELoss", "HuberLoss", "L1Loss", "MSELoss", "SmoothL1Loss")

# Parameters of skorch that begin so are plain values; none of them names a callable.
_PREFIXED = re.compile(r"(optimizer|criterion|iterator_train|iterator_valid|callbacks)__\w+")


@cache
def known_estimators() -> dict[str, type]:
    """Classes of estimators by their names."""
    kinds = [BicubicBaseline, FrozenEstimator, PerBand, Pipeline, SceneEnsemble]
    for package, base in ((architectures, SceneNet), (preprocessing, SceneTransformer)):
        public = (getattr(package, name) for name in package.__all__)
        kinds += [kind for kind in public if _is_concrete(kind, base)]
    return {kind.__name__: kind for kind in kinds}


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


def takes_parameter(kind: type, name: str) -> bool:
    """Whether a class is made with a parameter of that name."""
    if name in parameters_of(kind):
        return True
    return issubclass(kind, SceneNet) and _PREFIXED.fullmatch(name) is not None


def parameters_of(kind: type) -> list[str]:
    """Names of what a class is made with."""
    parameters: Any = inspect.signature(kind).parameters.values()
    return [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]


def _is_concrete(kind, base):
    return isinstance(kind, type) and issubclass(kind, base) and not inspect.isabstract(kind)
