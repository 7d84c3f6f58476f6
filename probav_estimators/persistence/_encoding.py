"""Estimators as JSON and tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils._param_validation import validate_parameter_constraints
from sklearn.utils.validation import check_is_fitted
from skorch.history import History

from ..losses import SceneLoss
from ..training import (
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
from ._registry import (
    check_fitted,
    check_parameters,
    check_parts,
    fitted_attributes,
    is_known,
    known_estimators,
)

# Parameters that `fit` takes initial weights from, which a fitted net does not need.
_SOURCES = {"weights", "vgg_weights", "start_from"}


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
        # Encoded once: a chain of nets that start from each other may be long.
        source = EstimatorEncoder()
        try:
            start = {"start_from": source.encode(net.start_from, f"{where}.start_from")}
        except ValueError:
            source, start = EstimatorEncoder(), {}
            left_out["start_from"] = shorten(net.start_from, 120)
        self.tensors |= source.tensors
        self.left_out |= left_out | source.left_out
        node = self._encode_parameters(net, where, {"start_from", *left_out})
        node["params"] |= start
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
