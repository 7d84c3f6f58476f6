"""SRResNet."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from sklearn.utils._param_validation import Interval
from torch import nn

from ..training import SceneRegressor
from ._layers import Skip, convolution, keep_weights

__all__ = ["SRResNet"]


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
