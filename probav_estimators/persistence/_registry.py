"""Classes and attributes that a model file may name: nothing else is made or set."""

from __future__ import annotations

import inspect
import re
from functools import cache
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils._param_validation import Interval, StrOptions, validate_parameter_constraints

from .. import architectures, baseline, meta, preprocessing
from ..architectures import is_displacement
from ..training import MIXED, may_set

# What skorch and `fit` make, and files don't hold.
_MANAGED = {
    *("module_", "criterion_", "optimizer_", "callbacks_", "history_", "initialized_"),
    *("virtual_params_", "init_context_", "prefixes_", "cuda_dependent_attributes_"),
    *("interrupt_", "starts_with_weights_", "left_out_"),
}

_FITTED = re.compile(r"[a-z][a-z0-9_]*[a-z0-9]_")

_COUNT = [Interval(Integral, 1, None, closed="left")]
# Of attributes that have not the name of a parameter and its constraints.
_CONSTRAINTS: dict[str, list[Any]] = {
    "scale_": [Interval(Integral, 2, None, closed="left"), None],
    "n_channels_in_": _COUNT,
    "n_frames_in_": _COUNT,
    "level_": [Interval(Real, None, None, closed="neither")],
    "std_": [Interval(Real, 0, None, closed="neither"), None],
    "published_": ["boolean"],
    "band_": [str, None],
    "displacement_": [tuple],
    "value_range_": [tuple, StrOptions({MIXED}), None],
    "psf_sigma_": [Interval(Real, 0, None, closed="left")],
    "seed_": [Interval(Integral, 0, 2**32, closed="left")],
    "estimators_": [dict, list],
    "bands_": [list],
    "weights_": [dict],
}


@cache
def known_estimators() -> dict[str, type]:
    """Classes of estimators by their names."""
    packages = (architectures, baseline, meta, preprocessing)
    public = [getattr(package, name) for package in packages for name in package.__all__]
    kinds = [kind for kind in public if hasattr(kind, "fit") and not inspect.isabstract(kind)]
    return {kind.__name__: kind for kind in [FrozenEstimator, Pipeline, *kinds]}


def is_known(estimator: Any) -> bool:
    """Whether an object is an estimator that a file may hold."""
    return type(estimator) in known_estimators().values()


def check_parameters(kind: type, params: dict[str, Any]) -> None:
    """Raise a ValueError if a file must not set one of the parameters."""
    for name, value in params.items():
        if not may_set(kind, name, value):
            text = f"{kind.__name__}.{name[:40]}"
            raise ValueError(f"{text} is no parameter that a file may set to this value")


def fitted_attributes(owner: Any) -> dict[str, Any]:
    """Attributes that `fit` set, by their names."""
    return {name: value for name, value in vars(owner).items() if _is_fitted(name)}


def check_fitted(kind: type, fitted: dict[str, Any]) -> dict[str, Any]:
    """Return attributes that `fit` of a class may have set; a ValueError if they are others."""
    for name in fitted:
        if not _is_fitted(name):
            raise ValueError(f"{name[:40]!r} is no attribute that fit sets")
    parameters = getattr(kind, "_parameter_constraints", {})
    known = {f"{name}_": constraints for name, constraints in parameters.items()} | _CONSTRAINTS
    validate_parameter_constraints(known, fitted, kind.__name__)
    displacement = fitted.get("displacement_", (0.0, 0.0))
    if not is_displacement(displacement, fitted.get("scale_", 0)):
        raise ValueError(f"displacement_ is {displacement!r}, which is more than half an LR pixel")
    value_range = fitted.get("value_range_")
    if isinstance(value_range, tuple) and not _is_range(value_range):
        raise ValueError(f"value_range_ is {value_range!r}, which are no two numbers in order")
    if "residual_" in fitted and fitted["residual_"] != (fitted.get("std_") is not None):
        raise ValueError("std_ and residual_ contradict each other")
    return fitted


def check_parts(estimator: Any) -> None:
    """Raise a ValueError if an estimator contains others than known ones, or misses some."""
    steps = getattr(estimator, "steps", None)
    for name, step in [*(steps or []), *(getattr(estimator, "estimators", None) or [])]:
        left_out = step is None or (isinstance(step, str) and step in ("passthrough", "drop"))
        if not isinstance(name, str) or not (left_out or is_known(step)):
            raise ValueError("a step or a part of an estimator is none")
    fitted = vars(estimator).get("estimators_")
    parts = fitted.values() if isinstance(fitted, dict) else fitted or []
    if steps == [] or (fitted is not None and not parts) or not all(map(is_known, parts)):
        raise ValueError("it has no estimators inside, or others than known ones")
    weights = vars(estimator).get("weights_")
    if weights is not None and not (
        len(weights) == len(parts)
        and all(isinstance(x, int | float) and 0 <= x <= 1 for x in weights.values())
    ):
        raise ValueError("weights_ must be a number from 0 to 1 for each estimator")


def _is_range(values):
    numbers = all(type(value) in (int, float) and np.isfinite(value) for value in values)
    return len(values) == 2 and numbers and values[0] < values[1]


def _is_fitted(name):
    return _FITTED.fullmatch(name) is not None and name not in _MANAGED
