"""Distributions of random weights: the defaults of torch and of Keras."""

from collections.abc import Callable

from torch import nn

__all__ = ["WEIGHT_INITS", "glorot_uniform"]

_WITH_KERNEL = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def glorot_uniform(layer: nn.Module) -> None:
    """Draw the kernel within sqrt(6 / (fan_in + fan_out)) of 0, and set the biases to 0."""
    nn.init.xavier_uniform_(layer.weight)  # type: ignore[arg-type]
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def _as_built(layers):
    """Keep the weights of the layers."""


def _as_keras(layers):
    """Draw from the default distribution of Keras, or with `keras_initializer` of a layer."""
    for layer in layers.modules():
        if isinstance(layer, _WITH_KERNEL):
            initializer = getattr(layer, "keras_initializer", glorot_uniform)
            initializer(layer)


#: Functions of the layers of an architecture, by the values of the parameter `weight_init`.
WEIGHT_INITS: dict[str, Callable[[nn.Module], None]] = {
    "torch": _as_built,
    "glorot_uniform": _as_keras,
}
