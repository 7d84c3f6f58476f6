"""Fitted estimators in one file, without pickle."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from sklearn.pipeline import Pipeline
from sklearn.utils._param_validation import validate_parameter_constraints

from ..meta import SceneEnsemble
from ..training import (
    SceneNet,
    Weights,
    known_classes,
    known_losses,
    load_weights,
    save_weights,
)
from ..version import __version__, warn_of_other_version
from ._encoding import LEFT_OUT, Encoder
from ._nets import rebuild_net
from ._registry import known_estimators, takes_parameter

__all__ = ["is_model_file", "load_model", "save_model"]

# Format of the models that this version writes, and the newest that it reads.
_FORMAT = 1

# What stands in a file of weights for the class that they belong to.
_KIND = "model"

# Estimators inside estimators, and their values: more is no model.
_MAX_DEPTH = 40


def save_model(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator or pipeline of this package to one file, without pickle.

    Parameters
    ----------
    estimator : estimator
        A net, a BicubicBaseline, a PerBand, a SceneEnsemble, or a Pipeline of these and of
        transformers. Of a search save the `best_estimator_`.
    path : path-like
        A safetensors file; it is replaced as a whole or not at all.

    Raises
    ------
    ValueError
        If a class is not known, a parameter that predictions depend on is something else than plain
        values, or the training has diverged. Nothing is written then.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.

    Warns
    -----
    UserWarning
        If parameters of the training are left out because they are objects that the format cannot
        hold, such as a callable `train_split` or a list of callbacks.

    See Also
    --------
    load_model : Reads it.
    export_onnx : For programs without this package.

    Notes
    -----
    The file holds constructor parameters, what was learned, and the history of epochs. The state of
    the optimizer is left out: after loading, `partial_fit` begins with a new one and with the
    parameter `lr`. So are `resume`, which is None in a loaded net, and objects that only a training
    needs: callbacks, splitters, iterators, random states, and optimizers and losses of other
    packages. A loaded net has the defaults of these parameters, and names in its attribute
    `left_out_` those that it was trained with, as text; :func:`model_card` lists them. A file of
    weights that `fit` begins with is kept by its name alone.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from probav_estimators import FusionNet, make_scenes
    >>> from probav_estimators import load_model, save_model
    >>> scenes = make_scenes(1, size=32, n_frames=4, random_state=0)
    >>> net = FusionNet.from_pretrained("simulated-x3")
    >>> with TemporaryDirectory() as folder:
    ...     save_model(net, Path(folder) / "model.safetensors")
    ...     loaded = load_model(Path(folder) / "model.safetensors")
    >>> bool(np.all(loaded.predict(scenes) == net.predict(scenes)))
    True
    """
    encoder = Encoder()
    text = json.dumps(encoder.encode_estimator(estimator), allow_nan=False)
    layout = {"model_format": _FORMAT, "model": text}
    # The checksum of a file of weights is of its layout too.
    save_weights(Weights(encoder.tensors, _KIND, layout), Path(path))
    if encoder.left_out:
        warnings.warn(
            f"{path} does not hold {', '.join(encoder.left_out)}: the format cannot, and no "
            "prediction needs it. A loaded estimator has the defaults: give them again before it "
            "is trained",
            stacklevel=2,
        )


def load_model(path: str | os.PathLike[str], *, device: str | torch.device | None = None) -> Any:
    """Read an estimator that :func:`save_model` wrote.

    Parameters
    ----------
    path : path-like
    device : str or torch.device, default=None
        Where its nets compute. None: as they did, or what "auto" means if this machine has no such
        device.

    Returns
    -------
    estimator
        Fitted; predicts what the saved one did, bit by bit on the same device. `fit` and
        `partial_fit` go on as after any other fit, but with a new optimizer.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is truncated, damaged or no model, names a class that is not known, holds values that
        don't fit each other, or is of a format that only newer versions of this package know.

    Warns
    -----
    UserWarning
        If another version of this package wrote it.

    See Also
    --------
    save_model : Writes it.

    Notes
    -----
    A file is data: only classes of a fixed list are made, no code in it is run, and no more memory
    is used than it is large.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file: give one that save_model wrote")
    weights = load_weights(path)
    node = _parse(weights, path)
    decoder = _Decoder(weights.state, path, device)
    try:
        estimator = decoder.decode(node)
        decoder.check_is_used_up(estimator)
    except Exception as error:  # whatever constructors raise of values that they cannot take
        raise ValueError(
            f"{path} cannot be made an estimator ({_short(error)}): it may be damaged or made by "
            "another program, fetch it again"
        ) from error
    warn_of_other_version(weights.package_version, str(path))
    return estimator


def is_model_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file holds what :func:`save_model` writes: weights of a net alone are no model."""
    try:
        return Path(path).is_file() and load_weights(path).architecture == _KIND
    except ValueError:
        return False


def _parse(weights, path):
    layout = weights.layout
    if weights.architecture != _KIND or layout.keys() != {"model_format", "model"}:
        raise ValueError(
            f"{path} holds weights of {weights.architecture[:40]} and no model: use "
            "FusionNet.from_pretrained, or give a file that save_model wrote"
        )
    form, text = layout["model_format"], layout["model"]
    if type(form) is int and form > _FORMAT:
        raise ValueError(
            f"{path} has model format {str(form)[:20]}, written by probav_estimators "
            f"{weights.package_version}, and version {__version__} reads up to {_FORMAT}: upgrade "
            "probav_estimators"
        )
    try:
        if form != _FORMAT or not isinstance(text, str):
            raise ValueError("no known format")
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} holds no model that can be read ({_short(error)}): fetch it again"
        ) from error


class _Decoder:
    """Makes what an :class:`Encoder` wrote, and nothing else."""

    def __init__(self, tensors, path, device):
        self._tensors = tensors
        self._unused = set(tensors)
        self._path = path
        self._device = device

    def decode(self, node, depth=0):
        if depth > _MAX_DEPTH:
            raise ValueError("its values are nested too deeply")
        if isinstance(node, list):
            return [self.decode(part, depth + 1) for part in node]
        if not isinstance(node, dict):
            return node
        kinds = [kind for kind in self._MAKERS if kind in node]
        if len(kinds) != 1:
            raise ValueError(f"a value of unknown kind: {', '.join(map(str, node))[:60]}")
        return self._MAKERS[kinds[0]](self, node, depth + 1)

    def check_is_used_up(self, estimator):
        if type(estimator) not in known_estimators().values():
            raise ValueError("it holds no estimator")
        if self._unused:
            raise ValueError(f"the tensor {min(self._unused)[:40]} belongs to nothing")

    def _tuple(self, node, depth):
        return tuple(self.decode(_of_type(node["tuple"], list), depth))

    def _dict(self, node, depth):
        return self._values(node["dict"], depth)

    def _float(self, node, depth):
        if node["float"] not in ("nan", "inf", "-inf"):
            raise ValueError("a number that is none")
        return float(node["float"])

    def _file(self, node, depth):
        return Path(_of_type(node["path"], str))

    def _tensor(self, node, depth):
        return self._take(node["tensor"])

    def _class(self, node, depth):
        return _known(node["class"], known_classes())

    def _loss(self, node, depth):
        kind = _known(node["loss"], known_losses())
        return kind(**self._values(node["params"], depth))

    def _estimator(self, node, depth):
        kind = _known(node["estimator"], known_estimators())
        params = self._values(node["params"], depth)
        for name, value in params.items():
            if not takes_parameter(kind, name):
                raise ValueError(f"{kind.__name__} has no parameter {name[:40]!r}")
            if name in LEFT_OUT | {"memory"} and value is not None:
                raise ValueError(f"{name} is a place on another machine")
        if issubclass(kind, SceneNet):
            return self._net(kind, params, node, depth)
        estimator: Any = kind(**params)
        constraints = getattr(estimator, "_parameter_constraints", {})
        validate_parameter_constraints(constraints, params, kind.__name__)
        learned = self._values(node["fitted"], depth)
        for name in learned:
            if name not in _LEARNED.get(kind.__name__, {}):
                raise ValueError(f"{name[:40]!r} is nothing that {kind.__name__} learns")
            _LEARNED[kind.__name__][name](learned[name])
        vars(estimator).update(learned)
        if isinstance(estimator, Pipeline):
            _check_steps(estimator.steps)
        if isinstance(estimator, SceneEnsemble):
            _check_number_of_weights(estimator)
        return estimator

    def _net(self, kind, params, node, depth):
        params["device"] = _device_here(params["device"] if self._device is None else self._device)
        net = kind(**params)
        if "module" not in node:
            return net
        prefix = _of_type(node["module"], str) + "."
        names = [name for name in self._tensors if name.startswith(prefix)]
        state = {name.removeprefix(prefix): self._take(name) for name in names}
        described = {
            "fitted": self._values(_inner(node["fitted"]), depth),
            "criterion": self._values(_inner(node["criterion"]), depth),
            "history": self.decode(_of_type(node["history"], list), depth),
        }
        if not all(isinstance(row, dict) for row in described["history"]):
            raise ValueError("its history has no rows")
        net = rebuild_net(net, state, described, self._path)
        left_out = _of_type(node.get("left_out", {}), dict)
        if left_out:
            net.left_out_ = {name: _of_type(text, str) for name, text in left_out.items()}
        return net

    def _values(self, node, depth):
        return {key: self.decode(x, depth + 1) for key, x in _of_type(node, dict).items()}

    def _take(self, name):
        # Each is named once: a small file must not become a large model.
        self._unused.remove(name)
        return self._tensors[name]

    _MAKERS = {
        "tuple": _tuple,
        "dict": _dict,
        "float": _float,
        "path": _file,
        "tensor": _tensor,
        "class": _class,
        "loss": _loss,
        "estimator": _estimator,
    }


def _check_scale(scale):
    if scale is not None and (type(scale) is not int or scale < 2):
        raise ValueError("scale_ is no scale")


def _check_estimators(estimators):
    if not estimators or any(
        type(x) not in known_estimators().values() for x in _of_type(estimators, dict).values()
    ):
        raise ValueError("estimators_ holds no estimators")


def _check_members(estimators):
    if not _of_type(estimators, list) or any(
        type(x) not in known_estimators().values() for x in estimators
    ):
        raise ValueError("estimators_ holds no estimators")


def _check_weights(weights):
    if not all(
        isinstance(name, str) and isinstance(x, int | float) and 0 <= x <= 1
        for name, x in _of_type(weights, dict).items()
    ):
        raise ValueError("weights_ holds no weights")


def _check_number_of_weights(ensemble):
    learned = vars(ensemble)
    if len(learned.get("estimators_", ())) != len(learned.get("weights_", ())):
        raise ValueError("an ensemble without a weight for each member")


def _check_steps(steps):
    kinds = tuple(known_estimators().values())
    for name, step in steps:
        if not isinstance(name, str) or not (step in (None, "passthrough") or type(step) in kinds):
            raise ValueError("a step of a pipeline is no estimator")
    if not steps:
        raise ValueError("a pipeline without steps")


def _check_bands(bands):
    if not all(isinstance(band, str) for band in _of_type(bands, list)):
        raise ValueError("bands_ holds no names")


# What others than nets learn, and what checks it.
_LEARNED = {
    "BicubicBaseline": {"scale_": _check_scale},
    "PerBand": {"estimators_": _check_estimators, "bands_": _check_bands},
    "SceneEnsemble": {"estimators_": _check_members, "weights_": _check_weights},
}


def _known(name, known):
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"{str(name)[:60]!r} is no class that a model may have")
    return known[name]


def _inner(node):
    return _of_type(node, dict)["dict"]


def _of_type(value, kind):
    if not isinstance(value, kind):
        raise ValueError(f"a {type(value).__name__} stands for a {kind.__name__}")
    return value


def _device_here(device):
    """The device, or "auto" if this machine does not have it."""
    text = str(device)
    if text.startswith("cuda"):
        number = text.partition(":")[2] or "0"
        there = number.isdecimal() and int(number[:9]) < torch.cuda.device_count()
        return device if there else "auto"
    if text == "mps" and not torch.backends.mps.is_available():
        return "auto"
    return device


def _refuse_constant(text):
    raise ValueError(f"{text} is no value of JSON")


def _short(error):
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."
