"""Settings of a training, as text that can be compared."""

from __future__ import annotations

import os
import types
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from ..scenes import digest

if TYPE_CHECKING:
    from ..scenes import Scene
    from ._scene_net import SceneNet

__all__ = ["describe", "describe_scenes", "describe_settings"]

# Callbacks of a net whose parameters affect the fitted weights.
_OF_TRAINING = ("callbacks__lr_schedule", "callbacks__divergence")

# Parameters that do not affect the fitted weights, except by rounding.
_FREE = {
    "callbacks",
    "device",
    "max_epochs",
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


def describe_settings(net: SceneNet) -> dict[str, str]:
    """Describe the parameters that affect the fitted weights, and the initial weights.

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
    settings = {k: x for k, x in parameters.items() if not (_is_free(k) or k in free)}
    # Of a fitted net and of a file the weights count, which are compared below.
    settings.pop("weights")
    seed = settings.pop("random_state")
    described = {name: describe(value) for name, value in settings.items()}
    if isinstance(seed, int | np.integer):
        described["random_state"] = describe(seed)
    weights = net.starting_weights()
    described["initial weights"] = (
        "random" if weights is None else f"checksum {digest(weights.state)}"
    )
    return described


def describe_scenes(scenes: Sequence[Scene]) -> str:
    """Describe scenes by their number, the name of the first and a checksum of their contents."""
    checksum = digest([(scene.name, scene.fingerprint()) for scene in scenes])
    return f"{len(scenes)} scenes, {scenes[0].name} first (checksum {checksum})"


def describe(value: object) -> str:
    """Describe a parameter by its value: plain ones as text, others by class and checksum.

    Parameters
    ----------
    value : object

    Returns
    -------
    str
        At most 300 letters.
    """
    text = _plain_text(value)
    if text is not None and len(text) <= _MAX_LENGTH:
        return text
    start = type(value).__qualname__ if text is None else f"{text[:_MAX_LENGTH]}..."
    return f"{start} (checksum {digest(value)})"


def _is_free(name):
    kind, _, option = name.partition("__")
    if name.startswith(_OF_TRAINING):
        return False
    return kind in _FREE or (kind.startswith("iterator_") and option in _FREE_OF_LOADERS)


def _plain_text(value):
    """Text of a value that is made of plain ones; None for others."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | str | bytes | complex):
        return repr(value)
    if isinstance(value, Real):
        return repr(int(value) if float(value).is_integer() else value)
    if isinstance(value, os.PathLike):
        return repr(os.fspath(value))
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        name = f"{value.__module__}.{value.__qualname__}"
        return None if "<" in name else name
    if isinstance(value, list | tuple):
        parts = [_plain_text(part) for part in value]
        return None if None in parts else f"({', '.join(parts)})"
    return None
