"""Nets without their optimizers: what makes a fitted one again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from numbers import Integral, Real
from typing import Any

import torch
from sklearn.utils._param_validation import Interval, validate_parameter_constraints
from skorch.history import History
from torch.nn.modules.module import register_module_parameter_registration_hook

from ..architectures import is_displacement
from ..training import SceneNet, Weights

# What skorch and `fit` make anew.
_MANAGED = {
    *("module_", "criterion_", "optimizer_", "callbacks_", "history_", "initialized_"),
    *("virtual_params_", "init_context_", "prefixes_", "cuda_dependent_attributes_"),
    *("interrupt_", "starts_with_weights_", "left_out_"),
}

# Parameters that `fit` takes its first weights from, which a fitted net has behind it.
_SOURCES = {"weights", "vgg_weights", "start_from"}

_NAME = re.compile(r"[a-z][a-z0-9_]*[a-z0-9]_")

_COUNT = [Interval(Integral, 1, None, closed="left")]
_CONSTRAINTS: dict[str, list[Any]] = {
    "scale_": [Interval(Integral, 2, None, closed="left")],
    "n_channels_in_": _COUNT,
    "n_frames_in_": _COUNT,
    "n_frames_": _COUNT,
    "width_": _COUNT,
    "depth_": _COUNT,
    "n_features_": _COUNT,
    "n_blocks_": _COUNT,
    "n_layers_": _COUNT,
    "n_heads_": _COUNT,
    "reduction_": _COUNT,
    "residual_": ["boolean"],
    "predict_clearance_": ["boolean"],
    "level_": [Interval(Real, None, None, closed="neither")],
    "std_": [Interval(Real, 0, None, closed="neither"), None],
    "published_": ["boolean"],
    "band_": [str, None],
    "displacement_": [tuple],
    "psf_sigma_": [Interval(Real, 0, None, closed="left")],
    "seed_": [Interval(Integral, 0, 2**32, closed="left")],
}

# Parameters of a loss that learns besides the net.
_PARAMETERS_OF_LOSSES = 1000


def describe_net(net: SceneNet) -> dict[str, Any]:
    """What a fitted net learned, without its weights.

    Parameters
    ----------
    net : SceneNet

    Returns
    -------
    dict
        "fitted", "criterion" and "history".
    """
    rows = [{key: x for key, x in row.items() if key != "batches"} for row in net.history]
    return {
        "fitted": _learned_of(net),
        "criterion": _learned_of(net.criterion_),
        "history": rows,
    }


def rebuild_net(
    net: SceneNet, state: dict[str, torch.Tensor], described: dict[str, Any], path: Any
) -> SceneNet:
    """Make an unfitted net the one that :func:`describe_net` described.

    Parameters
    ----------
    net : SceneNet
        With the parameters of that one.
    state : dict of str to tensor
        Its weights.
    described : dict
    path : pathlib.Path
        Where they come from.

    Returns
    -------
    SceneNet

    Raises
    ------
    ValueError
        If they don't fit each other.
    """
    own, learned = net.__dict__, _checked(described["fitted"])
    own.update(learned)
    given = {name: own[name] for name in _SOURCES if name in own}
    weights = Weights(state, type(net).__name__, {}, path=path)
    # In place of those of a new training. Shapes are compared before there is memory for them.
    own.update(dict.fromkeys(given))
    try:
        with _at_most(2 * len(state) + _PARAMETERS_OF_LOSSES):
            net.initialize_with(weights)
    finally:
        own.update(given)
    # `initialize` draws one.
    own.update(learned)
    net.criterion_.__dict__.update(_checked(described["criterion"]))
    net.history_ = History(described["history"])
    # It asks for all that has to be there.
    net.layout()
    return net


def check_rebuilds(net: SceneNet) -> None:
    """Raise a ValueError if the parameters no longer are those that the layers were made with."""
    bare = object.__new__(type(net))
    bare.__dict__.update(vars(net) | dict.fromkeys(_SOURCES & vars(net).keys()))
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        module = bare.build_module()
    for ours, theirs in zip_longest(_lines_of(net.module_), _lines_of(module)):
        if ours != theirs:
            raise ValueError(
                f"{type(net).__name__} was fitted with layers that have {ours}, and its parameters "
                f"now ask for {theirs}: set them back, or fit it again"
            )


def _learned_of(owner):
    return {
        name: value
        for name, value in vars(owner).items()
        if _NAME.fullmatch(name) and name not in _MANAGED
    }


def _checked(learned):
    for name in learned:
        if not _NAME.fullmatch(name) or name in _MANAGED:
            raise ValueError(f"{name[:40]!r} is nothing that a net learns")
    known = {name: _CONSTRAINTS[name] for name in learned if name in _CONSTRAINTS}
    validate_parameter_constraints(known, {name: learned[name] for name in known}, "the net")
    displacement = learned.get("displacement_", (0.0, 0.0))
    if not is_displacement(displacement, learned.get("scale_", 0)):
        raise ValueError(f"displacement_ is {displacement!r}, which is more than half an LR pixel")
    if "residual_" in learned and learned["residual_"] != (learned.get("std_") is not None):
        raise ValueError("std_ and residual_ contradict each other")
    return learned


@contextmanager
def _at_most(n_parameters: int) -> Iterator[None]:
    """Stop whoever registers more parameters: a file must not ask for more layers than it fills."""
    count = 0

    def register(module, name, parameter):
        nonlocal count
        count += parameter is not None
        if count > n_parameters:
            raise ValueError("the parameters ask for more layers than the file has weights for")

    hook: Any = register_module_parameter_registration_hook(register)
    try:
        yield
    finally:
        hook.remove()


def _lines_of(module):
    """Layers with their settings, and the shapes of their weights, as text."""
    shapes = (f"{name} {tuple(x.shape)}" for name, x in module.state_dict().items())
    return [*(line.strip() for line in str(module).splitlines()), *shapes]
