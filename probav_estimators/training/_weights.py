"""Files of weights: those that ship with the package, and those that users save."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from ..random_numbers import TorchRandom
from ..state_file import read_state, write_state

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "Weights",
    "check_fits",
    "empty_module",
    "load_module",
    "load_weights",
    "save_weights",
    "shipped_weights",
]

_PACKAGE = __package__.partition(".")[0]

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


def _complete(state, module):
    """Add the module's `default_state`, which older files lack, to a state, with a warning."""
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
    _complete(weights.state, module)
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
    if not os.path.isfile(name):
        raise FileNotFoundError(
            f"{os.fspath(name)!r} is neither the name of shipped weights, as a string "
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
