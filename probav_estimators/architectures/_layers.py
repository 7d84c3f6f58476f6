"""Layers that architectures are made of."""

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
