"""Layers shared by the nets that encode frames one by one."""

from __future__ import annotations

import torch
from torch import nn

from ._layers import Skip

__all__ = [
    "N_REFERENCE_FRAMES",
    "check_heads",
    "each_frame",
    "encoder",
    "encoder_names",
    "in_float32",
    "residual_block",
    "transposed_decoder",
    "with_reference",
]

#: Number of clearest frames whose median is the reference frame.
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
    """Map prefixes of an encoder's weight names to those of the published HighRes-net code.

    Parameters
    ----------
    ours, theirs : str
        Prefix of the encoder here, and in the published file.
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
    return Skip(
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
    """Stack each frame with the reference frame, the per-pixel median of the first nine.

    Parameters
    ----------
    frames : float tensor of shape (n, t, h, w)
    present : float tensor of shape (n, t)
        1 for valid frames, which come first, 0 for padding.

    Returns
    -------
    float tensor of shape (n, t, 2, h, w)
        Frame and reference.

    Notes
    -----
    Of an even number of values, the lower of the two middle ones is taken.
    """
    first, mask = frames[:, :N_REFERENCE_FRAMES], present[:, :N_REFERENCE_FRAMES]
    # Padding is sorted to the end.
    missing = (mask == 0)[:, :, None, None]
    ordered = first.masked_fill(missing, torch.inf).sort(dim=1).values
    middle = (mask.sum(dim=1).long() - 1).clamp_min(0).div(2, rounding_mode="floor")
    index = middle[:, None, None, None].expand(-1, 1, *frames.shape[2:])
    reference = ordered.gather(1, index)
    return torch.stack([frames, reference.expand_as(frames)], dim=2)


def check_heads(n_features: int, n_heads: int) -> None:
    """Raise a ValueError unless the number of attention heads divides that of features."""
    if n_features % n_heads:
        raise ValueError(
            f"n_heads={n_heads} does not divide n_features={n_features}: choose one that does"
        )


def each_frame(layers: nn.Module, stacks: torch.Tensor) -> torch.Tensor:
    """Apply layers to every frame of stacks: (n, t, c, h, w) to (n, t, c', h', w')."""
    outputs = layers(stacks.flatten(0, 1))
    # Unlike reshape, unflatten would freeze the lengths in a traced graph.
    return outputs.reshape(stacks.shape[0], -1, *outputs.shape[1:])


def in_float32(layer: nn.Module, features: torch.Tensor) -> torch.Tensor:
    """Apply an output layer in float32: bfloat16 would lower the score."""
    with torch.autocast(features.device.type, enabled=False):
        return layer(features.float())
