"""Layers that architectures are made of."""

import math
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

from torch import nn


def convolution(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2d:
    """Convolution that keeps the size of images, with weights that suit a ReLU after it.

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
    # Torch's own weights shrink the signal at every layer, and a deep net would start without one.
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def convolutions(
    in_channels: int,
    widths: Sequence[int],
    kernel_sizes: Sequence[int],
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> list[nn.Module]:
    """Convolutions one after the other, each with an activation after it.

    Parameters
    ----------
    in_channels : int
    widths : sequence of int
        Channels that each makes.
    kernel_sizes : sequence of int
        Odd.
    activation : callable, default=torch.nn.ReLU
        Makes the module after each.

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
    """Draw weights as "he_normal" of Keras: normal, cut at two standard deviations, zero biases.

    Parameters
    ----------
    layer : torch.nn.Conv2d
    """
    fan_in = layer.weight[0].numel()
    # What is left of a standard deviation of 1 once it is cut.
    std = math.sqrt(2 / fan_in) / 0.87962566103423978
    nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def keep_weights(layer: nn.Module) -> nn.Module:
    """Have ``weight_init="glorot_uniform"`` leave the weights of a layer as they are.

    Parameters
    ----------
    layer : torch.nn.Module

    Returns
    -------
    torch.nn.Module
        The same.
    """
    layer.keras_initializer = _leave  # type: ignore[assignment]
    return layer


def _leave(layer):
    """Change nothing."""


def check_odd(name: str, size: Any) -> int:
    """Return the size of a kernel, or raise a ValueError unless it is odd.

    Parameters
    ----------
    name : str
        Name of the parameter, for the error.
    size : int

    Returns
    -------
    int
    """
    if not isinstance(size, Integral) or size < 1 or size % 2 == 0:
        raise ValueError(f"{name} must be odd, got {size!r}: give 1, 3, 5, ...")
    return int(size)
