"""Image and clearance map from the last layer of an architecture."""

import torch
from torch import nn


class Reconstruction(nn.Module):
    """Layers of an architecture, with the output that the estimator's parameters ask for.

    Parameters
    ----------
    layers : torch.nn.Sequential
        From (n, c, h', w') inputs to (n, 1 or 2, H, W) values without an activation at the end.
    n_frames : int
        How many of the c channels are frames; they come first.
    std : float, default=None
        None: the image is the sigmoid of the layers' first channel, as published. A number: the
        image is the mean frame plus what the layers say, in units of `std`, and frames are
        given to them as differences from the sample's mean in the same unit. The layers then
        begin by saying 0.
    """

    def __init__(self, layers: nn.Sequential, n_frames: int, std: float | None = None) -> None:
        super().__init__()
        self.features = layers[:-1]
        self.head = layers[-1]
        self.n_frames = n_frames
        self.std = std
        if std is not None:
            _silence_image_channel(self.head)

    def forward(self, inputs: torch.Tensor, mean: torch.Tensor | None = None) -> torch.Tensor:
        """Image and, if the layers have a second channel, probability of a clear pixel.

        Parameters
        ----------
        inputs : float tensor of shape (n, c, h', w')
        mean : float tensor of shape (n, 1, H, W)
            Upscaled mean frame; needed if `std` is a number.

        Returns
        -------
        float32 tensor of shape (n, 1 or 2, H, W)
        """
        if self.std is not None:
            inputs = self._normalised(inputs)
        raw = self._apply_layers(inputs)
        if self.std is None:
            return raw.sigmoid()
        image = mean + self.std * raw[:, :1]
        return torch.cat([image, raw[:, 1:].sigmoid()], dim=1)

    def _apply_layers(self, inputs):
        features = self.features(inputs)
        # The last layer makes pixels: eight bits of mantissa would show in the score.
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
