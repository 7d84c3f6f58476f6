"""Initial weights of layers, as torch or as Keras draws them."""

from collections.abc import Callable

from torch import nn

__all__ = ["WEIGHT_INITS", "glorot_uniform"]

_WITH_KERNEL = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def glorot_uniform(layer: nn.Module) -> None:
    """Draw the kernel within sqrt(6 / (fan_in + fan_out)) of 0, and set the biases to 0."""
    nn.init.xavier_uniform_(layer.weight)  # type: ignore[arg-type]
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def _as_built(layers):
    """Leave the weights that the layers were built with."""


def _as_keras(layers):
    """Draw what Keras draws by default, or what a layer states in `keras_initializer`."""
    for layer in layers.modules():
        if isinstance(layer, _WITH_KERNEL):
            initializer = getattr(layer, "keras_initializer", glorot_uniform)
            initializer(layer)


#: Functions of the layers of an architecture, by the values of the parameter `weight_init`.
WEIGHT_INITS: dict[str, Callable[[nn.Module], None]] = {
    "torch": _as_built,
    "glorot_uniform": _as_keras,
}
