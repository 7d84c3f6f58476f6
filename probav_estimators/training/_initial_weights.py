"""Weights of nets in files, and those that a training starts from."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from importlib.resources import files
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

import numpy as np
import torch
from skorch import NeuralNet
from torch.overrides import TorchFunctionMode

from ..prediction import last_step
from ..random_numbers import TorchRandom
from ..state_file import read_state, write_state

if TYPE_CHECKING:
    from torch import nn

    from ..prediction import Predictor

__all__ = [
    "FileWeightsMixin",
    "InitialWeightsMixin",
    "Weights",
    "check_fits",
    "empty_module",
    "find_other_layers",
    "load_module",
    "load_weights",
    "save_weights",
    "shipped_weights",
]

_PACKAGE = __package__.partition(".")[0]

_Contents = TypeVar("_Contents")

# Functions of torch that make a layer: more than this for each tensor of a file are too many.
_CALLS_PER_TENSOR, _CALLS = 50, 5000


class Weights(NamedTuple):
    """Weights of a net, and the config that they fit.

    Attributes
    ----------
    state : dict of str to tensor
        Parameters and buffers, all of them finite.
    architecture : str
        Class of the estimator.
    config : dict of str to str, int, float, bool or None
        Scale, and parameters of the estimator such as its width and depth.
    package_version : str or None, default=None
        Version of this package that wrote the file.
    path : pathlib.Path or None, default=None
        The file that they were read from.
    """

    state: dict[str, torch.Tensor]
    architecture: str
    config: dict[str, Any]
    package_version: str | None = None
    path: Path | None = None


def shipped_weights() -> list[str]:
    """Names of the weights that ship with the package, sorted.

    Returns
    -------
    list of str
    """
    return sorted(path.stem for path in _folder().iterdir() if path.suffix == ".safetensors")


def load_weights(name: str | os.PathLike[str]) -> Weights:
    """Read weights.

    Parameters
    ----------
    name : str or path-like
        A string that is one of :func:`shipped_weights` means those, even if there is a file of
        that name. Everything else is the path of a file that :func:`save_weights` wrote, taken as
        it is: ``pathlib.Path("simulated-x3")`` and ``"./simulated-x3"`` are files.

    Returns
    -------
    Weights

    Raises
    ------
    FileNotFoundError
        If there are no weights of that name and no such file.
    ValueError
        If the file is truncated, damaged, of another kind or format, or holds NaN or infinity.

    Warns
    -----
    UserWarning
        If a string names both weights that ship and a file.

    Notes
    -----
    Nothing in a file is run, and a checksum finds damage.
    """
    path = _find(name)
    state = read_state(path, "weights")
    config = state.config
    if not _is_plain(config) or not isinstance(config.get("architecture"), str):
        raise ValueError(
            f"{path} has a config that is no object of plain values with an architecture: fetch it "
            "again"
        )
    architecture = config.pop("architecture")
    return Weights(state.tensors, architecture, config, state.package_version, path)


def save_weights(weights: Weights, path: str | os.PathLike[str]) -> None:
    """Write weights; the file is replaced as a whole or not at all.

    Parameters
    ----------
    weights : Weights
        `package_version` and `path` are ignored.
    path : path-like

    Raises
    ------
    ValueError
        If the weights hold NaN or infinity, or the config something else than plain values.
    """
    config = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in weights.config.items()
    }
    if not _is_plain(config):
        raise ValueError(f"config must hold numbers, strings, True, False or None, got {config}")
    config["architecture"] = weights.architecture
    write_state(path, "weights", config, weights.state)


def load_module(build: Callable[[], nn.Module], weights: Weights) -> nn.Module:
    """Module with given weights, which have to fit it.

    Parameters
    ----------
    build : callable
        Makes the module.
    weights : Weights

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    ValueError
        As for :func:`check_fits`.
    """
    if weights.path is not None:
        check_fits(build, weights)
    module = build()
    _compare(module, weights)
    module.load_state_dict(weights.state)
    return module


def check_fits(build: Callable[[], nn.Module], weights: Weights) -> None:
    """Check that weights of a file fit a module, which is built without memory for its values.

    Buffers that files of older versions lack are added to the weights, with a warning.

    Parameters
    ----------
    build : callable
        Makes the module.
    weights : Weights

    Raises
    ------
    ValueError
        If parameters or buffers are missing, too many or of another shape, or integers stand for
        floats, or if there are far more layers than weights.
    """
    limit = _CountedCalls(_CALLS + _CALLS_PER_TENSOR * len(weights.state))
    # no_grad restores the mode by a call, which may exceed the limit: it is restored here again.
    with torch.set_grad_enabled(torch.is_grad_enabled()), limit:
        module = empty_module(build)
    _complete(module, weights.state)
    _compare(module, weights)


def empty_module(build: Callable[[], nn.Module]) -> nn.Module:
    """Make a module without memory for its values, and without a draw of random numbers."""
    with TorchRandom(0).active(), torch.device("meta"):
        return build()


class _CountedCalls(TorchFunctionMode):
    """Limit how many functions of torch this thread calls: a config may ask for any depth."""

    def __init__(self, most):
        super().__init__()
        self.left = most

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.left -= 1
        if self.left < 0:
            raise ValueError("the config asks for more layers than the file has weights for")
        return function(*args, **(kwargs or {}))


def _complete(module, state):
    """Add buffers that files of older versions lack to a state, with a warning."""
    defaults = getattr(module, "default_state", {})
    missing = [name for name in defaults if name not in state]
    if missing and len(missing) < len(state):
        warnings.warn(
            f"the weights are of an older version and lack {', '.join(missing)}: usual values are "
            "taken, so calibrate the net on scenes with HR images, or save weights anew",
            stacklevel=3,
        )
        state |= {name: torch.tensor(defaults[name], dtype=torch.float32) for name in missing}


def _compare(module, weights):
    expected = _kinds_of(module.state_dict())
    found = _kinds_of(weights.state)
    if found != expected:
        name = next(n for n in {**expected, **found} if found.get(n) != expected.get(n))
        raise ValueError(
            f"{weights.path or 'the weights'} do not fit the net: {name} is "
            f"{found.get(name, 'missing')} there and {expected.get(name, 'missing')} here; their "
            f"config is {weights.config}: make the net with that, or fetch the file again"
        )


def _find(name):
    shipped = shipped_weights()
    if isinstance(name, str) and name in shipped:
        if os.path.isfile(name):
            warnings.warn(
                f"{name!r} is the name of shipped weights, which are taken, and of a file here: "
                f"give pathlib.Path({name!r}) for the file",
                stacklevel=3,
            )
        return _folder() / f"{name}.safetensors"
    # Unlike Path.is_file, this is False for what cannot be the name of a file.
    if not isinstance(name, str | os.PathLike) or not os.path.isfile(name):
        raise FileNotFoundError(
            f"{str(name)!r} is neither the name of shipped weights, as a string "
            f"({', '.join(shipped)}), nor a file: correct the name or the path"
        )
    return Path(name)


def _is_plain(config):
    return isinstance(config, dict) and all(
        isinstance(value, str | int | float | None) for value in config.values()
    )


def _kinds_of(state):
    return {
        name: f"{'float' if value.is_floating_point() else 'integer'} of shape {tuple(value.shape)}"
        for name, value in state.items()
        if torch.is_tensor(value)
    }


def _folder():
    return files(_PACKAGE) / "weights"


class InitialWeightsMixin(NeuralNet):
    """Mixin of nets with the parameter `weights`, and with skorch's `warm_start`."""

    weights: str | os.PathLike[str] | Predictor | None

    def starting_weights(self) -> Weights | None:
        """Initial weights that `fit` loads into a new module; None: random weights."""
        if self._has_file():
            raise ValueError(
                f"{type(self).__name__} reads no files of weights, and weights={self.weights!r}: "
                "give a fitted net of the class"
            )
        net = self._starting_net()
        if net is None:
            return None
        return Weights(net.module_.state_dict(), type(net).__name__, net.layout())

    def _has_file(self):
        """Whether the initial weights are those of a file, or shipped ones."""
        return isinstance(self.weights, str | os.PathLike)

    def _starting_net(self):
        """The net whose weights are the initial ones; None if there is none."""
        if self.weights is None or self._has_file():
            return None
        net = _find_net(self.weights)
        theirs, ours = ({"class": type(side).__name__, **side.layout()} for side in (net, self))
        for what, value in ours.items():
            if theirs.get(what) != value:
                raise ValueError(
                    f"the net given as weights has {what} {theirs.get(what)} and this "
                    f"{type(self).__name__} has {value}: fine-tune with the settings that it was "
                    "fitted with"
                )
        return net

    def _check_same_layers(self, scenes):
        """Raise a ValueError if the parameters ask for other layers than the module has."""
        if other := find_other_layers(self, lambda wanted: wanted.learn_layout(scenes)):
            raise ValueError(
                f"warm_start=True continues with the layers of the last fit, {other[0]}, and the "
                f"parameters now ask for {other[1]}: set them back, or set warm_start=False"
            )


class FileWeightsMixin(InitialWeightsMixin):
    """Mixin, before SceneNet, of nets with files of initial weights, whose contents they cache."""

    # (path, version of the file, contents). Clones share it, to be fitted without the file.
    _loaded: tuple[Any, Any, Any] | None = None

    def _file_weights(self) -> Weights:
        """Weights of the file `weights`; a subclass reads them by :meth:`_read_once`."""
        raise NotImplementedError

    def starting_weights(self) -> Weights | None:
        return self._file_weights() if self._has_file() else super().starting_weights()

    def _read_once(self, read: Callable[[], _Contents]) -> _Contents:
        """Contents of the file `weights`, which is read again only if it changed."""
        path, version = (self.weights, os.path.abspath(str(self.weights))), None
        if os.path.isfile(path[1]):
            status = os.stat(path[1])
            version = status.st_ino, status.st_size, status.st_mtime_ns
        known = self._loaded
        if known is None or known[0] != path or version not in (None, known[1]):
            known = path, version, read()
        self._loaded = known
        return known[2]

    def __sklearn_clone__(self) -> Self:
        clone = super().__sklearn_clone__()
        clone._loaded = self._loaded
        return clone

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        # An initialized net has its weights.
        if self.initialized_:
            state.pop("_loaded", None)
        return state


def find_other_layers(
    net: Any, prepare: Callable[[Any], object]
) -> tuple[str | None, str | None] | None:
    """Find the first difference between the layers of a net and those of its parameters.

    Parameters
    ----------
    net : SceneNet
        Initialized.
    prepare : callable
        Called with a copy of the net, whose layers are then made.

    Returns
    -------
    tuple of two str, or None
        A line of the net's layers, and that of its parameters' layers. None: all agree.
    """
    wanted = object.__new__(type(net))
    vars(wanted).update(vars(net))
    prepare(wanted)
    wanted.module_ = empty_module(wanted.build_module)
    pairs = zip_longest(_lines_of(net), _lines_of(wanted))
    return next(((ours, theirs) for ours, theirs in pairs if ours != theirs), None)


def _find_net(estimator):
    """The fitted net that an estimator ends in: a net, a pipeline, a search, a FrozenEstimator."""
    inner = last_step(estimator)
    if hasattr(inner, "refit"):
        raise ValueError(
            f"weights is a {type(inner).__name__} without a best estimator: fit it, with "
            "refit, first"
        )
    if not isinstance(inner, InitialWeightsMixin):
        raise ValueError(
            f"weights must end in a fitted net, got a {type(inner).__name__}: give a net, "
            "or a pipeline or a search that ends in one"
        )
    if not inner.__sklearn_is_fitted__():
        raise ValueError(
            "the net given as weights is not fitted: fit it, and wrap it in "
            "sklearn.frozen.FrozenEstimator where it is cloned"
        )
    return inner


def _lines_of(net):
    """Layout, layers with their settings, and the shapes of their weights, as text."""
    layout = (f"{what} {value}" for what, value in net.layout().items())
    layers = (line.strip() for line in str(net.module_).splitlines())
    weights = net.module_.state_dict().items()
    shapes = (f"{name}: {tuple(x.shape)}" for name, x in weights if torch.is_tensor(x))
    return [*layout, *layers, *shapes]
