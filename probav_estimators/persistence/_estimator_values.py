"""Estimators as JSON and tensors, and what a file may name: nothing else is made or set."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils._param_validation import Interval, StrOptions, validate_parameter_constraints
from sklearn.utils.validation import check_is_fitted
from skorch.history import History

from .. import architectures, baseline, meta, preprocessing
from ..architectures import is_displacement
from ..losses import SceneLoss
from ..training import (
    MIXED,
    OF_THE_MACHINE,
    SceneNet,
    ValueDecoder,
    ValueEncoder,
    Weights,
    check_fits,
    find_other_layers,
    known_class,
    may_set,
    of_type,
    rows_of_epochs,
    shorten,
    unstorable_parameters,
)

# Parameters that `fit` takes initial weights from, which a fitted net does not need.
_SOURCES = {"weights", "vgg_weights"}

# Parameters of trainings that files of earlier versions hold.
_REMOVED = {
    *("border", "early_stopping", "lr_patience", "max_time", "start_from"),
    *("truths_in_place", "uncertainty_weight"),
}

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


class EstimatorEncoder(ValueEncoder):
    """Encode estimators as JSON, and collect their tensors.

    Attributes
    ----------
    tensors : dict of str to tensor
    left_out : dict of str to str
        Parameters of trainings that could not be encoded, as text.
    """

    def __init__(self) -> None:
        super().__init__()
        self.left_out: dict[str, str] = {}

    def encode_fitted(self, estimator: Any) -> dict[str, Any]:
        """Encode a fitted estimator.

        Raises
        ------
        ValueError
            If it is of an unknown class, or has a parameter that cannot be encoded.
        sklearn.exceptions.NotFittedError
            If it is not fitted.
        """
        kind = type(estimator).__name__
        if not is_known(estimator):
            known = ", ".join(sorted(known_estimators()))
            search = isinstance(estimator, BaseSearchCV)
            remedy = "save its best_estimator_" if search else f"pickle it; known are {known}"
            raise ValueError(f"{kind} is no class that a model file knows: {remedy}")
        check_is_fitted(estimator)
        return self.encode_object(estimator, kind)

    def encode_object(self, value: Any, where: str) -> dict[str, Any]:
        """Encode an instance of a class, estimators among them."""
        if not is_known(value):
            return super().encode_object(value, where)
        if isinstance(value, SceneNet):
            return self._encode_net(value, where)
        node = self._encode_parameters(value, where)
        return node | {"fitted": self._encode_all(fitted_attributes(value), where)}

    def _encode_parameters(self, estimator, where, left_out=()):
        params = {
            name: self._encode_parameter(estimator, name, x, where)
            for name, x in estimator.get_params(deep=False).items()
            if name not in OF_THE_MACHINE and name not in left_out
        }
        return {"estimator": type(estimator).__name__, "params": params}

    def _encode_parameter(self, estimator, name, value, where):
        encoded = self.encode(value, f"{where}.{name}")
        if not may_set(type(estimator), name, value):
            raise ValueError(
                f"{where}.{name} is {shorten(value, 60)}, which no file may set: set it back"
            )
        return encoded

    def _encode_net(self, net, where):
        left_out = unstorable_parameters(net)
        self.left_out |= left_out
        node = self._encode_parameters(net, where, left_out)
        if texts := vars(net).get("left_out_", {}) | left_out:
            node["left_out"] = texts
        if net.initialized_:
            node |= self._encode_fit(net, where, keeps_loss="criterion" not in left_out)
        return node

    def _encode_fit(self, net, where, *, keeps_loss):
        _check_rebuilds(net)
        loss = fitted_attributes(net.criterion_) if keeps_loss else {}
        return {
            "module": self._encode_all(net.module_.state_dict(), f"{where}.module"),
            "fitted": self._encode_all(fitted_attributes(net), where),
            "criterion": self._encode_all(loss, f"{where}.criterion"),
            "history": self.encode(rows_of_epochs(net.history), f"{where}.history"),
        }

    def _encode_all(self, values, where):
        return self.encode(values, where)["dict"]


class EstimatorDecoder(ValueDecoder):
    """Make the estimators that :class:`EstimatorEncoder` encoded.

    Parameters
    ----------
    tensors : dict of str to tensor
    path : pathlib.Path
        The file, for messages.
    device : str or torch.device
        Where nets compute.
    """

    def __init__(
        self, tensors: Mapping[str, torch.Tensor], path: Path, device: str | torch.device
    ) -> None:
        super().__init__(tensors)
        self.makers["estimator"] = self._estimator
        self._path = path
        self._device = device

    def decode_whole(self, node: Any) -> Any:
        """Decode an estimator that has all tensors; an exception if it is none."""
        estimator = self.decode(node)
        if not is_known(estimator):
            raise ValueError("it holds no estimator")
        if self.unused:
            raise ValueError(f"the tensor {min(self.unused)[:40]} belongs to nothing")
        return estimator

    def _estimator(self, node, depth):
        kind = known_class(node["estimator"], known_estimators())
        params = self.values(node["params"], depth)
        if issubclass(kind, SceneNet):
            params = {name: x for name, x in params.items() if name not in _REMOVED}
        check_parameters(kind, params)
        if issubclass(kind, SceneNet):
            return self._net(kind, params, node, depth)
        estimator: Any = kind(**params)
        constraints = getattr(estimator, "_parameter_constraints", {})
        validate_parameter_constraints(constraints, estimator.get_params(deep=False), kind.__name__)
        vars(estimator).update(check_fitted(kind, self.values(node["fitted"], depth)))
        check_parts(estimator)
        return estimator

    def _net(self, kind, params, node, depth):
        sources = {name: params.pop(name) for name in _SOURCES & params.keys()}
        net = kind(**params, device=self._device)
        if "module" in node:
            self._restore(net, node, depth)
        vars(net).update(sources)
        net._check_parameters()
        return net

    def _restore(self, net, node, depth):
        state = self.values(node["module"], depth)
        fitted = check_fitted(type(net), self.values(node["fitted"], depth))
        loss = check_fitted(SceneLoss, self.values(node["criterion"], depth))
        history = [of_type(row, dict) for row in self.decode(of_type(node["history"], list), depth)]
        left_out = {k: of_type(x, str) for k, x in of_type(node.get("left_out", {}), dict).items()}
        vars(net).update(fitted)
        # Before there is memory for layers of any size.
        check_fits(net.build_module, Weights(state, type(net).__name__, {}, path=self._path))
        net.initialize()
        net.module_.load_state_dict(state)
        # `initialize` draws a seed.
        vars(net).update(fitted, starts_with_weights_=True, history_=History(history))
        vars(net.criterion_).update(loss)
        if left_out:
            net.left_out_ = left_out
        # It needs all that has to be there.
        net.layout()


def _check_rebuilds(net):
    """Raise a ValueError if the parameters no longer are those that the layers were made with."""
    sources = dict.fromkeys(_SOURCES & vars(net).keys())
    if other := find_other_layers(net, lambda wanted: vars(wanted).update(sources)):
        raise ValueError(
            f"{type(net).__name__} was fitted with layers that have {other[0]}, and its parameters "
            f"now ask for {other[1]}: set them back, or fit it again"
        )


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
