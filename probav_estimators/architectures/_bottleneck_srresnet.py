"""The study's SRResNet: bottleneck blocks with batch normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..training import KerasModel
from ._layers import convolution, he_normal
from ._study_net import StudyNet

__all__ = ["BottleneckSRResNet"]


def _names_in_block(block):
    """Keras names of a block's layers, without those of the shortcut."""
    return (f"{kind}2{block}_branch2{part}" for part in "abc" for kind in ("res", "bn"))


class BottleneckSRResNet(StudyNet):
    """SRCNN with bottleneck blocks of ResNet-50 between extraction and mapping.

    On the upscaled input: 7x7 to 64 channels; three residual blocks of 1x1 to 64, 3x3 to 64 and 1x1
    to 256 channels, the first with a projection shortcut; 5x5 to 32; 5x5 to the image. Batch
    normalisation follows every convolution but the last two. With 9 channels in and 1 out it has
    454,209 parameters, including moving means and variances.

    {parameters}
    kernel_sizes : tuple of int, default=(7, 5, 5)
        Sizes of the kernels, odd: extraction, mapping, reconstruction.

    {attributes}

    See Also
    --------
    SRResNet : SRResNet of the literature, at LR size and without normalisation.
    BicubicUpscaler : Makes the input that this net needs.

    Notes
    -----
    Moving statistics have a momentum of 0.99 per step, as in Keras: predictions and validation
    scores are poor until some hundred steps have settled them.

    With ``weight_init="glorot_uniform"`` all convolutions but the last two are initialised by
    Keras' "he_normal", as the study states.

    References
    ----------
    .. [1] https://github.com/Shiro-LK/Super-Resolution-ProbaV, `SRResnet` in `model.py`.
    .. [2] K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image recognition", IEEE
       Conference on Computer Vision and Pattern Recognition, 2016.
    """

    keras = KerasModel(
        (
            *("conv1", "bn_conv1"),
            *_names_in_block("a"),
            *("res2a_branch1", "bn2a_branch1"),
            *_names_in_block("b"),
            *_names_in_block("c"),
            *("mapping", "output"),
        )
    )

    _parameter_constraints = StudyNet._parameter_constraints | {"kernel_sizes": [tuple, list]}

    def __init__(self, *, kernel_sizes: Sequence[int] = (7, 5, 5), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kernel_sizes = kernel_sizes

    def build_layers(self, in_channels: int, out_channels: int, scale: int) -> nn.Sequential:
        extraction, mapping, reconstruction = self._checked_kernel_sizes(3)
        narrow, wide, mapped = self._multiplied(64, 256, 32)
        return nn.Sequential(
            *_normalised(in_channels, narrow, extraction),
            nn.ReLU(),
            _Bottleneck(narrow, narrow, wide),
            _Bottleneck(wide, narrow, wide),
            _Bottleneck(wide, narrow, wide),
            convolution(wide, mapped, mapping),
            nn.ReLU(),
            convolution(mapped, out_channels, reconstruction),
        )


class _Bottleneck(nn.Module):
    """Bottleneck residual block, with a projection shortcut where channels differ."""

    def __init__(self, in_channels: int, narrow: int, out_channels: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            *_normalised(in_channels, narrow, 1),
            nn.ReLU(),
            *_normalised(narrow, narrow, 3),
            nn.ReLU(),
            *_normalised(narrow, out_channels, 1),
        )
        self.shortcut = nn.Sequential()
        if in_channels != out_channels:
            self.shortcut.extend(_normalised(in_channels, out_channels, 1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return (self.main(features) + self.shortcut(features)).relu()


def _normalised(in_channels, out_channels, kernel_size):
    """Convolution and batch normalisation with Keras' settings."""
    layer = convolution(in_channels, out_channels, kernel_size)
    layer.keras_initializer = he_normal
    # Keras' momentum weights the old value, torch's the new one.
    return [layer, nn.BatchNorm2d(out_channels, eps=1e-3, momentum=1 - 0.99)]
