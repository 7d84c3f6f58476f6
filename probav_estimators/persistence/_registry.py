"""What a model file may name: nothing else is ever made or called."""

from __future__ import annotations

import inspect
import re
from functools import cache
from typing import Any

from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from .. import architectures, preprocessing
from ..baseline import BicubicBaseline
from ..meta import PerBand, SceneEnsemble
from ..preprocessing import SceneTransformer
from ..training import SceneNet

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
