"""Settings of a training, as text that can be compared."""

from __future__ import annotations

import functools
import hashlib
import os
import types
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from ..scenes import Scene
    from ._scene_net import SceneNet

__all__ = ["describe", "describe_scenes", "describe_settings"]

# Parameters that do not affect the fitted weights, except by rounding.
_FREE = {
    "callbacks",
    "device",
    "early_stopping",
    "max_epochs",
    "max_time",
    "micro_batch_size",
    "resume",
    "verbose",
    "warm_start",
}
_FREE_OF_LOADERS = {
    "multiprocessing_context",
    "num_workers",
    "persistent_workers",
    "pin_memory",
    "prefetch_factor",
    "timeout",
}

_MAX_LENGTH = 200

_OF_ALL_MODULES = vars(torch.nn.Module()).keys()


def describe_settings(net: SceneNet) -> dict[str, str]:
    """Describe all parameters that shape a training, and the weights that it begins with.

    Parameters
    ----------
    net : SceneNet

    Returns
    -------
    dict of str to str
        Equal for equal trainings, in every process.
    """
    parameters = net.get_params(deep=False)
    free = net.prediction_parameters
    shaping = {k: x for k, x in parameters.items() if not (_is_free(k) or k in free)}
    # What counts of a fitted net and of a file are the weights, which are compared below.
    shaping.pop("start_from")
    shaping.pop("weights", None)
    seed = shaping.pop("random_state")
    described = {name: describe(value) for name, value in shaping.items()}
    if isinstance(seed, int | np.integer):
        described["random_state"] = describe(seed)
    weights = net.starting_weights()
    described["starting weights"] = (
        "random" if weights is None else f"checksum {_hash(_describe(weights.state, ()))}"
    )
    return described


def describe_scenes(scenes: Sequence[Scene]) -> str:
    """Describe scenes by their number, the name of the first and the hash of all that they hold."""
    everything = "\n".join(f"{scene.name} {scene.fingerprint()}" for scene in scenes)
    return f"{len(scenes)} scenes, {scenes[0].name} first (checksum {_hash(everything)})"


def describe(value: object) -> str:
    """Describe any parameter by its value, never by its place in memory.

    Parameters
    ----------
    value : object

    Returns
    -------
    str
        Short: what is long ends in a checksum.
    """
    text = _describe(value, ())
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}... (checksum {_hash(text)})"


def _is_free(name):
    kind, _, option = name.partition("__")
    return kind in _FREE or (kind.startswith("iterator_") and option in _FREE_OF_LOADERS)


def _describe(value, outer):
    if any(value is seen for seen in outer):
        return "itself"
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | str | bytes | complex):
        return repr(value)
    if isinstance(value, Real):
        return repr(int(value) if float(value).is_integer() else value)
    if isinstance(value, os.PathLike):
        return repr(os.fspath(value))
    if isinstance(value, torch.Tensor):
        content = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        return f"tensor {value.dtype} {tuple(value.shape)} {_hash(content)}"
    if isinstance(value, np.ndarray) and value.dtype != object:
        return f"array {value.dtype} {value.shape} {_hash(np.ascontiguousarray(value).tobytes())}"
    return _describe_object(value, (*outer, value))


def _describe_object(value, outer):
    if isinstance(value, types.FunctionType):
        return _describe_function(value, outer)
    if isinstance(value, type | types.BuiltinFunctionType):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, types.MethodType):
        return f"{_describe(value.__self__, outer)}.{value.__func__.__qualname__}"
    if isinstance(value, functools.partial):
        parts = (value.func, value.args, value.keywords)
        return f"partial{_describe(parts, outer)}"
    if isinstance(value, dict):
        items = sorted((_describe(k, outer), _describe(v, outer)) for k, v in value.items())
        return "{" + ", ".join(f"{k}: {v}" for k, v in items) + "}"
    if isinstance(value, set | frozenset):
        return "{" + ", ".join(sorted(_describe(part, outer) for part in value)) + "}"
    if isinstance(value, list | tuple | np.ndarray):
        return "(" + ", ".join(_describe(part, outer) for part in value) + ")"
    if callable(getattr(value, "fingerprint", None)):
        return f"{type(value).__qualname__} {value.fingerprint()}"
    return f"{_describe(type(value), outer)}{_describe(_contents_of(value), outer)}"


def _describe_function(function, outer):
    name = f"{function.__module__}.{function.__qualname__}"
    if "<" not in function.__qualname__:
        return name
    # Lambdas and functions inside functions share their names.
    code = function.__code__
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    constants = [part for part in code.co_consts if not isinstance(part, types.CodeType)]
    parts = (constants, code.co_names, function.__defaults__, function.__kwdefaults__, cells)
    return f"{name} {_hash(code.co_code)} {_describe(parts, outer)}"


def _contents_of(value):
    if isinstance(value, torch.nn.Module):
        own = {k: v for k, v in vars(value).items() if k not in _OF_ALL_MODULES}
        return own | {"layers": dict(value.named_children()), "state": value.state_dict()}
    if isinstance(value, np.random.RandomState | np.random.Generator):
        return {}
    return getattr(value, "__dict__", {})


def _hash(content):
    content = content.encode() if isinstance(content, str) else content
    return hashlib.blake2b(content, digest_size=8).hexdigest()
