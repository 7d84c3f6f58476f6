"""Estimators as JSON and tensors."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils.validation import check_is_fitted

from ..losses import SceneLoss
from ..training import (
    SceneNet,
    known_classes,
    known_losses,
    name_of,
    unstorable_parameters,
)
from ._nets import check_rebuilds, describe_net
from ._registry import known_estimators, parameters_of, takes_parameter

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

# They belong to a training on one machine: a model that came from elsewhere must not write there.
LEFT_OUT = {"resume"}

_REMEDIES = {"memory": "call set_params(memory=None) first"}


class Encoder:
    """Writes estimators as values that JSON knows, and puts their tensors aside.

    Attributes
    ----------
    tensors : dict of str to tensor
        What the values refer to.
    left_out : dict of str to str
        Parameters of trainings that could not be encoded, as text.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self.left_out: dict[str, str] = {}
        self._n_nets = 0
        self._places: set[tuple[torch.device, int]] = set()

    def encode_estimator(self, estimator: Any, *, fitted: bool = True) -> dict[str, Any]:
        """Encode an estimator.

        Parameters
        ----------
        estimator : estimator
        fitted : bool, default=True
            Whether it must be.

        Returns
        -------
        dict

        Raises
        ------
        ValueError
            If it is of a class that is not known, not fitted, or has a parameter that cannot be
            written.
        """
        name = _name_of_class(estimator)
        if fitted:
            check_is_fitted(estimator)
        if isinstance(estimator, SceneNet):
            return {"estimator": name} | self._encode_net(estimator)
        node = {"estimator": name, "params": dict(self._params_of(estimator))}
        learned = {key: x for key, x in vars(estimator).items() if _is_learned(key)}
        return node | {
            "fitted": {key: self._encode(x, f"{key} of {name}") for key, x in learned.items()}
        }

    def _params_of(
        self, estimator: Any, left_out: Container[str] = ()
    ) -> Iterator[tuple[str, Any]]:
        kind = type(estimator)
        for name, value in estimator.get_params(deep=False).items():
            if name in left_out:
                continue
            where = f"the parameter {name} of {kind.__name__}"
            if not takes_parameter(kind, name):
                raise _refusal(where, value, name)
            # A cache is a folder of pickles.
            if name == "memory" and value is not None:
                raise _refusal(where, value, name)
            yield name, None if name in LEFT_OUT else self._encode(value, where, name)

    def _encode_net(self, net):
        left_out = unstorable_parameters(net) | _unknown_start(net)
        self.left_out |= left_out
        node = {"params": dict(self._params_of(net, left_out))}
        if left_out := vars(net).get("left_out_", {}) | left_out:
            node["left_out"] = left_out
        return node | self._encode_fitted(net) if net.initialized_ else node

    def _encode_fitted(self, net):
        check_rebuilds(net)
        prefix = str(self._n_nets)
        self._n_nets += 1
        for name, value in net.module_.state_dict().items():
            self._put_aside(f"{prefix}.{name}", value)
        described = describe_net(net)
        if "criterion" in unstorable_parameters(net):
            described["criterion"] = {}
        where = f"what {type(net).__name__} learned"
        return {key: self._encode(x, f"{where}, {key},") for key, x in described.items()} | {
            "module": prefix
        }

    def _put_aside(self, key, tensor):
        # A frozen estimator is a parameter and fitted too, and files hold no tensor of two names.
        where = tensor.device, tensor.data_ptr()
        self.tensors[key] = tensor.clone() if where in self._places else tensor
        self._places.add(where)

    def _encode(self, value, where, name=None):
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, list):
            return [self._encode(part, where, name) for part in value]
        if isinstance(value, tuple):
            return {"tuple": self._encode(list(value), where, name)}
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {"dict": {key: self._encode(x, where, name) for key, x in value.items()}}
        if isinstance(value, torch.device):
            return str(value)
        if isinstance(value, os.PathLike):
            return {"path": os.fspath(value)}
        if isinstance(value, torch.Tensor):
            key = f"value.{len(self.tensors)}"
            self._put_aside(key, value)
            return {"tensor": key}
        return self._encode_object(value, where, name)

    def _encode_object(self, value, where, name):
        known = name_of(value, known_classes())
        if known is not None:
            return {"class": known}
        if isinstance(value, SceneLoss):
            loss = name_of(type(value), known_losses())
            if loss is not None:
                params = {key: getattr(value, key) for key in parameters_of(type(value))}
                return {"loss": loss, "params": self._encode(params, where, name)["dict"]}
        if type(value) in known_estimators().values():
            return self.encode_estimator(value, fitted=False)
        raise _refusal(where, value, name)


def _unknown_start(net):
    """The parameter start_from, if its estimator cannot be encoded."""
    if net.start_from is None:
        return {}
    try:
        Encoder().encode_estimator(net.start_from, fitted=False)
    except ValueError:
        return {"start_from": type(net.start_from).__name__}
    return {}


def _is_learned(name):
    return name.endswith("_") and not name.startswith("_")


def _name_of_class(estimator):
    name = name_of(type(estimator), known_estimators())
    if name is not None:
        return name
    if isinstance(estimator, BaseSearchCV):
        remedy = "save its best_estimator_"
    else:
        remedy = f"a file holds {', '.join(sorted(known_estimators()))}; pickle others"
    raise ValueError(f"{type(estimator).__name__} is no class that a model file knows: {remedy}")


def _refusal(where, value, name):
    text = repr(value)
    text = text if len(text) <= 60 else f"{text[:57]}..."
    remedy = _REMEDIES.get(name, "give it a number, a string or None first, or pickle the model")
    return ValueError(f"{where} is {text}, which a model file cannot hold: {remedy}")
