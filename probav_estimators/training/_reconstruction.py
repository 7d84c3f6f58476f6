"""The module of a net on composed inputs: initial weights, layers, final activation."""

from collections.abc import Callable

import torch
from torch import nn

__all__ = ["WEIGHT_INITS", "Reconstruction", "glorot_uniform"]

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


class Reconstruction(nn.Module):
    """Layers of an architecture, with the output that the estimator's parameters ask for.

    A subclass overrides :meth:`activate` if the outputs are no sigmoids, and `image_layer` if the
    last layer is a module of several layers.

    Parameters
    ----------
    layers : torch.nn.Sequential
        From (n, c, h', w') inputs to (n, 1 or more, H, W) values without an activation at the end:
        image, clearance and other outputs.
    n_frames : int
        Number of the c channels that are frames; they come first.
    std : float, default=None
        None: the image is the activation of the layers' first channel, as published. A number: the
        image is the mean frame plus the layers' first channel, in units of `std`, and frames are
        given to them as differences from the sample's mean in the same unit. That channel is then 0
        before the training.
    """

    def __init__(self, layers: nn.Sequential, n_frames: int, std: float | None = None) -> None:
        super().__init__()
        self.features = layers[:-1]
        self.head = layers[-1]
        self.n_frames = n_frames
        self.std = std
        if std is not None:
            _silence_image_channel(self.image_layer)

    @property
    def image_layer(self) -> nn.Module:
        """Convolution whose first channel is the image."""
        return self.head

    def activate(self, raw: torch.Tensor, first: int = 0) -> torch.Tensor:
        """Apply the activation at the end.

        Parameters
        ----------
        raw : float tensor of shape (n, c, H, W)
            Channels of the last layer, from the one with number `first` on.
        first : int, default=0

        Returns
        -------
        float tensor of shape (n, c, H, W)
        """
        return raw.sigmoid()

    def forward(self, inputs: torch.Tensor, mean: torch.Tensor | None = None) -> torch.Tensor:
        """Compute the image and the other channels, such as the probability of a clear pixel.

        Parameters
        ----------
        inputs : float tensor of shape (n, c, h', w')
        mean : float tensor of shape (n, 1, H, W)
            Upscaled mean frame; needed if `std` is a number.

        Returns
        -------
        float32 tensor of shape (n, 1 or more, H, W)
        """
        if self.std is not None:
            inputs = self._normalised(inputs)
        raw = self._apply_layers(inputs)
        if self.std is None:
            return self.activate(raw)
        image = mean + self.std * raw[:, :1]
        return torch.cat([image, self.activate(raw[:, 1:], first=1)], dim=1)

    def _apply_layers(self, inputs):
        features = self.features(inputs)
        # The eight bits of bfloat16's mantissa would lower the score of the image.
        with torch.autocast(inputs.device.type, enabled=False):
            return self.head(features.float())

    def _normalised(self, inputs):
        frames, rest = inputs[:, : self.n_frames], inputs[:, self.n_frames :]
        level = frames.mean(dim=(1, 2, 3), keepdim=True)
        return torch.cat([(frames - level) / self.std, rest], dim=1)


def _silence_image_channel(layer):
    with torch.no_grad():
        channel = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
        layer.weight.select(channel, 0).zero_()
        layer.bias[0] = 0
