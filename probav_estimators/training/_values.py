"""Values of estimators and trainings as JSON and tensors."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.utils._param_validation import HasMethods, Interval, Options, make_constraint

from .. import losses
from ..losses import SceneLoss
from ._initial_weights import shipped_weights

if TYPE_CHECKING:
    from ._scene_net import SceneNet

__all__ = [
    "OF_THE_MACHINE",
    "ValueDecoder",
    "ValueEncoder",
    "known_class",
    "may_set",
    "of_type",
    "shorten",
    "unstorable_parameters",
]

#: Parameters that a model file never has: folders, processes and devices of one machine.
OF_THE_MACHINE = {"device", "memory", "n_jobs", "resume"}

# Constraints of parameters that a file may set: numbers, names of options, estimators, and lists of
# such. Paths, devices, processes and callables have other constraints.
_HARMLESS = (None, "boolean", "verbose", "random_state", "array-like", list, tuple, dict, Mapping)

# Options of skorch's parts that a file may set. Of classes that a file may name, all are harmless.
_OPTION = re.compile(
    r"(optimizer|criterion|callbacks__(lr_schedule|divergence))__\w+"
    r"|iterator_(train|valid)__batch_size"
)

# Parameters that predictions don't need: a loaded net may have their defaults.
_OF_TRAINING = {
    "callbacks",
    "criterion",
    "iterator_train",
    "iterator_valid",
    "optimizer",
    "random_state",
    "train_split",
    "vgg_weights",
    "weights",
}

# Losses that compare two images, and have no layers of their own.
_LOSSES_OF_TORCH = ("BCELoss", "HuberLoss", "L1Loss", "MSELoss", "SmoothL1Loss")

# Values inside values: more is no estimator.
_MAX_DEPTH = 60


class ValueEncoder:
    """Encode values as JSON, and collect their tensors.

    Attributes
    ----------
    tensors : dict of str to tensor
        By the path of the value, such as ``"FSRCNN.module.head.bias"``.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}

    def encode(self, value: Any, where: str) -> Any:
        """Encode a value.

        Parameters
        ----------
        value : object
        where : str
            Its path.

        Returns
        -------
        value of JSON

        Raises
        ------
        ValueError
            If it is, or contains, an object of an unknown class.
        """
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, list | tuple):
            parts = [self.encode(part, f"{where}.{i}") for i, part in enumerate(value)]
            return parts if isinstance(value, list) else {"tuple": parts}
        if isinstance(value, Mapping):
            if all(isinstance(key, str) for key in value):
                return {"dict": {k: self.encode(x, f"{where}.{k}") for k, x in value.items()}}
            return {"items": self.encode(list(map(list, value.items())), where)}
        if isinstance(value, torch.Tensor):
            self.tensors[where] = value
            return {"tensor": where}
        return self.encode_object(value, where)

    def encode_object(self, value: Any, where: str) -> dict[str, Any]:
        """Encode an instance of a class; as for :meth:`encode`."""
        known = _name_of(value, known_classes())
        if known is not None:
            return {"class": known}
        loss = _name_of(type(value), known_losses())
        if loss is not None:
            names = inspect.signature(type(value)).parameters
            params = {name: getattr(value, name) for name in names}
            return {"loss": loss, "params": self.encode(params, where)["dict"]}
        raise ValueError(
            f"{where} is {shorten(value, 60)}, which a file cannot hold: give it a number, a "
            "string or None first, or pickle the model"
        )


class ValueDecoder:
    """Make values of what :class:`ValueEncoder` encoded, and nothing else.

    Parameters
    ----------
    tensors : dict of str to tensor
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.unused = dict(tensors)
        self.makers = {
            "tuple": lambda node, depth: tuple(self.decode(of_type(node["tuple"], list), depth)),
            "dict": lambda node, depth: self.values(node["dict"], depth),
            "items": lambda node, depth: dict(self.decode(of_type(node["items"], list), depth)),
            "float": lambda node, depth: _non_finite(node["float"]),
            # Each is named once: a small file must not become a large model.
            "tensor": lambda node, depth: self.unused.pop(node["tensor"]),
            "class": lambda node, depth: known_class(node["class"], known_classes()),
            "loss": self._loss,
        }

    def decode(self, node: Any, depth: int = 0) -> Any:
        """Decode a value of JSON; a ValueError, KeyError or TypeError if it is no encoded one."""
        if depth > _MAX_DEPTH:
            raise ValueError("its values are nested too deeply")
        if isinstance(node, list):
            return [self.decode(part, depth + 1) for part in node]
        if not isinstance(node, dict):
            return node
        kinds = [kind for kind in self.makers if kind in node]
        if len(kinds) != 1:
            raise ValueError(f"a value of unknown kind: {', '.join(map(str, node))[:60]}")
        return self.makers[kinds[0]](node, depth + 1)

    def values(self, node: Any, depth: int) -> dict[str, Any]:
        """Decode the values of an object of JSON."""
        return {key: self.decode(x, depth + 1) for key, x in of_type(node, dict).items()}

    def _loss(self, node, depth):
        return known_class(node["loss"], known_losses())(**self.values(node["params"], depth))


def may_set(kind: type, name: str, value: Any) -> bool:
    """Whether a model file may give a parameter this value.

    Parameters
    ----------
    kind : type
        Class of the estimator.
    name : str
    value : object
        As :class:`ValueDecoder` makes it.

    Returns
    -------
    bool
        True of numbers, options, estimators and lists of such, by the constraints of the class; of
        registered optimizers and losses; of shipped weights; and of callbacks that are removed.
    """
    owner, _, option = name.partition("__")
    if _OPTION.fullmatch(name):
        return True
    if owner == "callbacks":
        return value is None or (not option and value in ("disable", []))
    if name in ("optimizer", "criterion") and not isinstance(value, str):
        named = _name_of(value, known_classes()) or _name_of(type(value), known_losses())
        return named is not None
    if name == "weights" and isinstance(value, str):
        return value in shipped_weights()
    # FrozenEstimator has none.
    constraints = getattr(kind, "_parameter_constraints", {"estimator": [HasMethods("fit")]})
    return any(
        make_constraint(constraint).is_satisfied_by(value)
        for constraint in constraints.get(name, [])
        if isinstance(constraint, Interval | Options | HasMethods) or constraint in _HARMLESS
    )


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
    params = {name: x for name, x in net.get_params(deep=False).items() if _is_of_training(name)}
    lost = {name for name, value in params.items() if not _is_storable(type(net), name, value)}
    return {
        name: shorten(value, 120)
        for name, value in params.items()
        if name in lost or name.partition("__")[0] in lost
    }


def _is_of_training(name):
    return name.partition("__")[0] in _OF_TRAINING


def _is_storable(kind, name, value):
    try:
        ValueEncoder().encode(value, name)
    except ValueError:
        return False
    return may_set(kind, name, value)


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
    """Optimizers and losses, which parameters may be, by their qualified names."""
    optimizers = {
        f"torch.optim.{name}": kind
        for name, kind in vars(torch.optim).items()
        if _is_concrete(kind, torch.optim.Optimizer)
    }
    of_torch = {f"torch.nn.{name}": getattr(torch.nn, name) for name in _LOSSES_OF_TORCH}
    return optimizers | of_torch | known_losses()


def known_class(name: Any, known: Mapping[str, type]) -> type:
    """Class of a name; a ValueError if there is none."""
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"{str(name)[:60]!r} is no class that a model may have")
    return known[name]


def of_type(value: Any, kind: type) -> Any:
    """Return the value; a ValueError if it is of another type."""
    if not isinstance(value, kind):
        raise ValueError(f"a {type(value).__name__} stands for a {kind.__name__}")
    return value


def shorten(value: object, length: int) -> str:
    """Representation of a value in at most so many letters."""
    text = repr(value)
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _name_of(kind, known):
    return next((name for name, value in known.items() if value is kind), None)


def _non_finite(text):
    if text not in ("nan", "inf", "-inf"):
        raise ValueError("a number that is none")
    return float(text)


def _is_concrete(kind, base):
    return isinstance(kind, type) and issubclass(kind, base) and not inspect.isabstract(kind)
