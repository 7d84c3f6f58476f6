"""SRResNet, and that with bottleneck blocks."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from sklearn.utils._param_validation import Interval
from torch import nn

from ..training import KerasModel, SceneRegressor
from ._layers import Skip, convolution, he_normal, keep_weights
from ._study_net import StudyNet

__all__ = ["BottleneckSRResNet", "SRResNet"]


class SRResNet(SceneRegressor):
    """Residual blocks at LR size and sub-pixel upscaling.

    {parameters}
    n_blocks : int, default=16
        Residual blocks of two 3x3 convolutions each.
    n_features : int, default=64
        Channels of every layer between the first and the last.

    {attributes}

    See Also
    --------
    FSRCNN : A smaller net that works at LR size.

    Notes
    -----
    Takes input that is not upscaled: its pipeline has no BicubicUpscaler. Batch normalisation is
    left out, as it removes range flexibility [2]_.

    References
    ----------
    .. [1] C. Ledig et al., "Photo-realistic single image super-resolution using a generative
       adversarial network", IEEE Conference on Computer Vision and Pattern Recognition, 2017.
    .. [2] B. Lim, S. Son, H. Kim, S. Nah, K. M. Lee, "Enhanced deep residual networks for single
       image super-resolution", IEEE Conference on Computer Vision and Pattern Recognition
       Workshops, 2017.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from probav_estimators import ClearanceSelector, InputComposer, SRResNet, make_scenes
    >>> scenes = make_scenes(4, size=16, random_state=0)
    >>> net = SRResNet(n_blocks=2, n_features=16, max_epochs=1, residual=True, verbose=0)
    >>> pipe = make_pipeline(ClearanceSelector(k=9), InputComposer(), net)
    >>> pipe.fit(scenes).predict(scenes).shape
    (4, 48, 48)
    """

    upscales = True

    _parameter_constraints = SceneRegressor._parameter_constraints | {
        "n_blocks": [Interval(Integral, 1, None, closed="left")],
        "n_features": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, *, n_blocks: int = 16, n_features: int = 64, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n_blocks = n_blocks
        self.n_features = n_features

    def build_layers(self, in_channels: int, out_channels: int, scale: int) -> nn.Sequential:
        features = self.n_features
        blocks = [_residual_block(features) for _ in range(self.n_blocks)]
        return nn.Sequential(
            convolution(in_channels, features, 9),
            nn.ReLU(),
            Skip(*blocks, convolution(features, features, 3)),
            convolution(features, features * scale**2, 3),
            nn.PixelShuffle(scale),
            nn.ReLU(),
            convolution(features, out_channels, 3),
        )


def _residual_block(n_features):
    last = convolution(n_features, n_features, 3)
    # Zero initial residuals keep the signal of deep stacks.
    nn.init.zeros_(last.weight)
    return Skip(convolution(n_features, n_features, 3), nn.ReLU(), keep_weights(last))


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
