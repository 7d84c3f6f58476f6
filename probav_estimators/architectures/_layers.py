"""Layers that the architectures share."""

import math
from collections.abc import Callable, Iterable
from numbers import Integral
from typing import Any

import torch
from torch import nn


class Skip(nn.Sequential):
    """Residual connection around a sequence of layers."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + super().forward(features)


def convolution(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2d:
    """Size-preserving convolution with He initialisation, for a ReLU after it.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int
        Odd.

    Returns
    -------
    torch.nn.Conv2d

    References
    ----------
    .. [1] K. He, X. Zhang, S. Ren, J. Sun, "Delving deep into rectifiers: surpassing human-level
       performance on ImageNet classification", IEEE International Conference on Computer Vision,
       2015.
    """
    layer = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
    # Torch's default weights shrink the signal at every layer; deep nets would start without one.
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def convolutions(
    in_channels: int,
    widths: Iterable[int],
    kernel_sizes: Iterable[int],
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> list[nn.Module]:
    """Sequence of convolutions, each followed by an activation.

    Parameters
    ----------
    in_channels : int
    widths : iterable of int
        Output channels of each.
    kernel_sizes : iterable of int
        Odd.
    activation : callable, default=torch.nn.ReLU
        Called without arguments for the module after each convolution.

    Returns
    -------
    list of torch.nn.Module
    """
    layers: list[nn.Module] = []
    for width, size in zip(widths, kernel_sizes, strict=True):
        layers += [convolution(in_channels, width, size), activation()]
        in_channels = width
    return layers


def upscaling_convolution(
    in_channels: int, out_channels: int, kernel_size: int, scale: int
) -> nn.ConvTranspose2d:
    """Transposed convolution whose output is exactly `scale` times as large as its input.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int
        At least the scale. If they differ by an even number, as 5, 7 and 9 do from 3, the output is
        cropped as TensorFlow's padding "same" does it.
    scale : int

    Returns
    -------
    torch.nn.ConvTranspose2d

    Raises
    ------
    ValueError
        If the kernel is smaller than the scale.
    """
    if kernel_size < scale:
        raise ValueError(
            f"deconv_kernel_size={kernel_size} leaves gaps between pixels that are upscaled "
            f"{scale} times: make it {scale} or more"
        )
    padding, output_padding = divmod(kernel_size - scale, 2)
    return nn.ConvTranspose2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=scale,
        padding=padding + output_padding,
        output_padding=output_padding,
    )


def he_normal(layer: nn.Conv2d) -> None:
    """Initialise as Keras' "he_normal": normal truncated at two standard deviations, zero biases.

    Parameters
    ----------
    layer : torch.nn.Conv2d
    """
    fan_in = layer.weight[0].numel()
    # The standard normal distribution truncated at 2 has a standard deviation of 0.8796.
    std = math.sqrt(2 / fan_in) / 0.87962566103423978
    nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def keep_weights(layer: nn.Module) -> nn.Module:
    """Exempt a layer from ``weight_init="glorot_uniform"``.

    Parameters
    ----------
    layer : torch.nn.Module

    Returns
    -------
    torch.nn.Module
        The same.
    """
    layer.keras_initializer = _keep  # type: ignore[assignment]
    return layer


def _keep(layer):
    """Keep the weights."""


def check_odd(name: str, size: Any) -> int:
    """Return a kernel size as int, or raise a ValueError unless it is odd.

    Parameters
    ----------
    name : str
        Name of the parameter, for the message.
    size : int

    Returns
    -------
    int
    """
    if not isinstance(size, Integral) or size < 1 or size % 2 == 0:
        raise ValueError(f"{name} must be odd, got {size!r}: give 1, 3, 5, ...")
    return int(size)
