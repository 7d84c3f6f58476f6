"""Parameters of nets: scikit-learn's protocol and validation."""

from __future__ import annotations

import inspect
from typing import Any, Self

import torch
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import validate_parameter_constraints
from skorch import NeuralNet

from ._device import check_device

__all__ = ["OPTIMIZERS", "ParametersMixin"]

#: Names of torch's optimizers.
OPTIMIZERS = {
    name
    for name, value in vars(torch.optim).items()
    if isinstance(value, type) and name != "Optimizer"
}

# They need a single group of parameters, sparse gradients, or matrices of weights.
_UNFIT = {"LBFGS", "SparseAdam", "Muon"}
_UNFIT_CLASSES = {getattr(torch.optim, name) for name in _UNFIT}


class ParametersMixin(NeuralNet):
    """Mixin of nets with parameters as scikit-learn's estimators have them."""

    def _get_param_names(self):
        named = inspect.signature(type(self)).parameters.values()
        names = [p.name for p in named if p.kind is not p.VAR_KEYWORD]
        # Unknown ones too: fit of a clone must find a misspelt argument.
        others = self._params_to_validate.difference(names) & vars(self).keys()
        return [*names, *sorted(others)]

    def set_params(self, **params: Any) -> Self:
        super().set_params(**params)
        # Skorch sets them on the present optimizer alone, not for the next one.
        prefixed = {key: value for key, value in params.items() if key.startswith("optimizer__")}
        self.__dict__.update(prefixed)
        self._params_to_validate.update(prefixed)
        return self

    def get_params(self, deep: bool = True, **kwargs: Any) -> dict[str, Any]:
        params = super().get_params(deep=deep, **kwargs)
        if not deep:
            # Fitted callbacks are no parameters.
            mine = set(self._get_param_names())
            params = {k: v for k, v in params.items() if "__" not in k or k in mine}
        return params | {"device": vars(self)["device"]}

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        return BaseEstimator.__repr__(self, N_CHAR_MAX)

    def _get_params_html(self, deep=True, *args, **kwargs):
        # Deep parameters would list the fitted callbacks.
        return super()._get_params_html(False, *args, **kwargs)

    def _check_parameters(self):
        params = self.get_params(deep=False)
        name = type(self).__name__
        validate_parameter_constraints(self._parameter_constraints, params, name)
        check_device(vars(self)["device"])
        if self.optimizer in _UNFIT or self.optimizer in _UNFIT_CLASSES:
            raise ValueError(
                f"optimizer={self.optimizer!r} can't train a net of images: give another, such as "
                "torch.optim.NAdam or torch.optim.AdamW"
            )
        for key in params:
            if key.startswith(("module__", "dataset__")):
                raise ValueError(
                    f"{name} makes its module and its datasets by itself and has no use for {key}: "
                    "give parameters of the net, without a prefix"
                )

    def _check_fit_params(self, fit_params):
        if "sample_weight" in fit_params:
            raise ValueError(
                f"{type(self).__name__} got sample_weight, and scenes have no weights in training: "
                "leave it out, or repeat in the list the scenes that count more"
            )
