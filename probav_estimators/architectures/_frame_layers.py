"""Layers that nets share which take frames one by one."""

from __future__ import annotations

import torch
from torch import nn

__all__ = [
    "N_REFERENCE_FRAMES",
    "each_frame",
    "encoder",
    "encoder_names",
    "in_float32",
    "residual_block",
    "transposed_decoder",
    "with_reference",
]

#: How many of the clearest frames the frame of reference is the median of.
N_REFERENCE_FRAMES = 9


def encoder(in_channels: int, n_features: int, n_blocks: int) -> nn.Sequential:
    """Encoder of one frame: 3x3 convolution, residual blocks, 3x3 convolution.

    Parameters
    ----------
    in_channels, n_features : int
        Channels of the input and of all layers.
    n_blocks : int
        Residual blocks of two convolutions each.

    Returns
    -------
    torch.nn.Sequential
        From (n, in_channels, h, w) to (n, n_features, h, w).
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, n_features, 3, padding=1),
        nn.PReLU(),
        *(residual_block(n_features) for _ in range(n_blocks)),
        nn.Conv2d(n_features, n_features, 3, padding=1),
    )


def encoder_names(ours: str, theirs: str, n_blocks: int = 2) -> dict[str, str]:
    """Beginnings of the names of an encoder's weights, here and in files of HighRes-net's family.

    Parameters
    ----------
    ours, theirs : str
        What the encoder is called.
    n_blocks : int, default=2

    Returns
    -------
    dict of str to str
    """
    blocks = {f"{ours}.{2 + i}": f"{theirs}.res_layers.{i}.block" for i in range(n_blocks)}
    return {
        f"{ours}.0": f"{theirs}.init_layer.0",
        f"{ours}.1": f"{theirs}.init_layer.1",
        **blocks,
        f"{ours}.{2 + n_blocks}": f"{theirs}.final.0",
    }


def residual_block(n_features: int) -> nn.Sequential:
    """Two 3x3 convolutions with a PReLU after each, whose output is added to their input."""
    return _Skip(
        nn.Conv2d(n_features, n_features, 3, padding=1),
        nn.PReLU(),
        nn.Conv2d(n_features, n_features, 3, padding=1),
        nn.PReLU(),
    )


def transposed_decoder(n_features: int, scale: int) -> nn.Sequential:
    """Transposed convolution without overlap, PReLU, and a 1x1 convolution to the image.

    Parameters
    ----------
    n_features : int
    scale : int
        Size and stride of the kernels; 3 as published.

    Returns
    -------
    torch.nn.Sequential
        From (n, n_features, h, w) to (n, 1, scale * h, scale * w).
    """
    return nn.Sequential(
        nn.ConvTranspose2d(n_features, n_features, scale, stride=scale),
        nn.PReLU(),
        nn.Conv2d(n_features, 1, 1),
    )


def with_reference(frames: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Each frame beside the frame of reference: the median of the first nine, pixel by pixel.

    Parameters
    ----------
    frames : float tensor of shape (n, t, h, w)
    present : float tensor of shape (n, t)
        1 for frames that are there, which come first.

    Returns
    -------
    float tensor of shape (n, t, 2, h, w)
        Frame and reference.

    Notes
    -----
    Of an even number of frames, the lower of the two middle ones is the median.
    """
    first, there = frames[:, :N_REFERENCE_FRAMES], present[:, :N_REFERENCE_FRAMES]
    # Frames that are not there are sorted behind all others.
    missing = (there == 0)[:, :, None, None]
    ordered = first.masked_fill(missing, torch.inf).sort(dim=1).values
    middle = (there.sum(dim=1).long() - 1).clamp_min(0).div(2, rounding_mode="floor")
    index = middle[:, None, None, None].expand(-1, 1, *frames.shape[2:])
    reference = ordered.gather(1, index)
    return torch.stack([frames, reference.expand_as(frames)], dim=2)


def each_frame(layers: nn.Module, stacks: torch.Tensor) -> torch.Tensor:
    """What layers make of each frame, (n, t, c', h', w'), of stacks of them, (n, t, c, h, w)."""
    outputs = layers(stacks.flatten(0, 1))
    # Of unflatten, a graph that is traced keeps the lengths at hand.
    return outputs.reshape(stacks.shape[0], -1, *outputs.shape[1:])


def in_float32(layer: nn.Module, features: torch.Tensor) -> torch.Tensor:
    """Output of a layer that makes pixels: eight bits of mantissa would show in the score."""
    with torch.autocast(features.device.type, enabled=False):
        return layer(features.float())


class _Skip(nn.Sequential):
    """Layers whose output is added to their input."""

    def forward(self, features):
        return features + super().forward(features)
