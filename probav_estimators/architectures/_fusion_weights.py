"""Weights of FusionNet: shipped, of files, and their checks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import torch

from ..training import Weights, load_weights, save_weights, shipped_weights
from ._std_net import StdNet

if TYPE_CHECKING:
    from ..scenes import Scene

__all__ = ["FusionWeights", "is_displacement"]

# Default parameters of from_pretrained, for fine-tuning.
_FINE_TUNING = {"lr": 1e-4, "batch_size": 4}

# Optional keys of the config of a file.
_DISPLACEMENT = ("displacement_down", "displacement_right")
_CONSISTENCY = "data_consistency"


class FusionWeights(StdNet):
    """Base of FusionNet that reads, checks and writes its weights.

    {parameters}

    {attributes}
    """

    width: int
    depth: int
    scale: int | None
    data_consistency: Literal["every stage"] | bool

    # For nets pickled by versions without it.
    displacement_: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def from_pretrained(
        cls,
        weights: str | os.PathLike[str] | None = None,
        *,
        scale: int | None = None,
        **params: Any,
    ) -> Self:
        """Load pretrained weights as a fitted net.

        `fit` of the net and of its clones starts from these weights, by default with a learning
        rate of 1e-4 and a batch size of 4.

        Parameters
        ----------
        weights : str or path-like, default=None
            Name of shipped weights, or a file written by :meth:`save_pretrained`. None: the shipped
            weights of the scale.
        scale : int, default=None
            HR pixels for each LR pixel. None: that of the weights, or 3.
        **params
            Parameters of the net.

        Returns
        -------
        FusionNet

        Raises
        ------
        FileNotFoundError
            If there are no such weights.
        ValueError
            If no weights ship for the scale, the file is truncated or of another class, or `params`
            contradict the scale or size of the weights.
        """
        if weights is None:
            weights = _shipped_for(scale or 3)
        net = cls(weights=weights, scale=scale, **_FINE_TUNING | params)
        config = net._file_weights().config
        stored = {"width", "depth", _CONSISTENCY} & config.keys() - params.keys()
        net.set_params(**{key: config[key] for key in stored})
        return net.initialize()

    def save_pretrained(
        self, path: str | os.PathLike[str], *, dtype: Literal["float32", "bfloat16"] = "float32"
    ) -> None:
        """Write the weights of the fitted net, for :meth:`from_pretrained`.

        Their file keeps the size of the net and `data_consistency`, and no other parameter.

        Parameters
        ----------
        path : path-like
            A safetensors file, written atomically.
        dtype : {"float32", "bfloat16"}, default="float32"
            Type of the stored weights. "bfloat16" halves the file and rounds weights to 8
            significant bits; the type of computation does not change.

        Raises
        ------
        ValueError
            If `dtype` is something else, or the training has diverged.
        """
        self.check_is_fitted()
        if dtype not in ("float32", "bfloat16"):
            raise ValueError(f"dtype must be 'float32' or 'bfloat16', got {dtype!r}")
        state = {
            # Scalars are not rounded.
            name: value.to(getattr(torch, dtype)) if value.ndim else value
            for name, value in self.module_.state_dict().items()
        }
        config = self.layout()
        if any(self.displacement_):
            config |= dict(zip(_DISPLACEMENT, self.displacement_, strict=True))
        if self.data_consistency is not True:
            config[_CONSISTENCY] = self.data_consistency
        save_weights(Weights(state, type(self).__name__, config), path)

    def initialize(self) -> Self:
        self._check_parameters()
        if not hasattr(self, "width_"):
            # Without scenes, the scale is that of parameters or weights.
            self._take_layout(getattr(self, "scale_", None))
        super().initialize()
        self.displacement_ = self._initial_displacement()
        return self

    def learn_layout(self, scenes: Sequence[Scene]) -> None:
        self._take_layout(scenes[0].scale)
        if self.scale_ is None:
            raise ValueError(
                f"{type(self).__name__} learns the scale from HR images, and "
                f"{scenes[0].label} has none: give scale=3, or weights"
            )
        self.check_inputs(scenes)

    def add_displacement(self, x: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Add the displacement of the initial weights, which the layers correct, to a batch.

        Parameters
        ----------
        x : dict of str to tensor
            A batch of samples.

        Returns
        -------
        dict of str to tensor
            With "displacement", if there is one.

        Notes
        -----
        The displacement is relative to the layers, so flipped and turned samples get the same
        correction.
        """
        x = dict(x)
        if any(self.displacement_):
            x["displacement"] = x["fractions"].new_tensor(self.displacement_) / self.scale_
        return x

    def layout(self) -> dict[str, Any]:
        return {**super().layout(), "width": self.width_, "depth": self.depth_}

    def _file_weights(self) -> Weights:
        return self._read_once(lambda: _load(self.weights, type(self).__name__))

    def _take_layout(self, scale):
        """Set scale and size, and check those of pretrained weights."""
        pretrained = self._file_weights().config if self._has_file() else None
        self.scale_ = self.scale or (scale if pretrained is None else pretrained["scale"])
        self.width_, self.depth_ = self.width, self.depth
        for key, value in self.layout().items():
            if pretrained is not None and pretrained[key] != value:
                raise ValueError(
                    f"{type(self).__name__} has {key} {value} and the weights {self.weights!r} "
                    f"have {key} {pretrained[key]}: give weights of that {key}, or weights=None "
                    "to train from random ones"
                )

    def _initial_displacement(self):
        """Displacement of the initial weights."""
        if not self._has_file():
            start = self._starting_net()
            return (0.0, 0.0) if start is None else start.displacement_
        config = self._file_weights().config
        return tuple(float(config.get(key, 0)) for key in _DISPLACEMENT)


def _shipped_for(scale):
    name = f"simulated-x{scale}"
    if name not in shipped_weights():
        names = ", ".join(map(repr, shipped_weights()))
        raise ValueError(
            f"no weights ship for scale {scale!r} ({names} do): train FusionNet(scale={scale!r}), "
            "or give a file"
        )
    return name


def _load(name, architecture):
    weights = load_weights(name)
    if weights.architecture != architecture:
        raise ValueError(
            f"the weights {os.fspath(name)!r} are of {weights.architecture} and not of "
            f"{architecture}: give weights of that class"
        )
    _check_config(weights)
    return weights


def _check_config(weights):
    # The values in the file limit the memory and time that its config may ask for.
    n_values = sum(value.numel() for value in weights.state.values())
    limits = {"scale": n_values, "width": n_values, "depth": len(weights.state)}
    config = weights.config
    displacement = [config[key] for key in _DISPLACEMENT if key in config]
    if (
        config.keys() - {*_DISPLACEMENT, _CONSISTENCY} != limits.keys()
        or config.get(_CONSISTENCY, True) not in (True, False, "every stage")
        or not all(
            type(config[key]) is int and 1 <= config[key] <= limit for key, limit in limits.items()
        )
        or not is_displacement(displacement or (0.0, 0.0), config["scale"])
    ):
        raise ValueError(
            f"{weights.path} has the config {config}, which its weights cannot have: it may be "
            "damaged, fetch it again"
        )


def is_displacement(values: Sequence[Any], scale: int) -> bool:
    """Whether values can be a displacement: two numbers of at most half an LR pixel."""
    return len(values) == 2 and all(
        type(value) in (int, float) and abs(value) <= scale / 2 for value in values
    )
