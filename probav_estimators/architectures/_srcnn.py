"""SRCNN."""

from torch import nn

from ..training import SceneRegressor
from ._layers import convolution

__all__ = ["SRCNN"]


class SRCNN(SceneRegressor):
    """Super-resolution convolutional network: patch extraction, mapping, reconstruction.

    Three convolutions on the upscaled input: 9x9 to 64 channels, 1x1 to 32, 5x5 to the image. With
    18 channels in and 2 out it has 97,058 parameters.

    {parameters}

    {attributes}

    See Also
    --------
    BicubicUpscaler : Makes the input that this net needs.

    References
    ----------
    .. [1] C. Dong, C. C. Loy, K. He, X. Tang, "Image super-resolution using deep convolutional
       networks", IEEE Transactions on Pattern Analysis and Machine Intelligence 38(2), 295-307,
       2016.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from probav_estimators import (
    ...     SRCNN, BicubicUpscaler, ClearanceSelector, InputComposer, make_scenes
    ... )
    >>> scenes = make_scenes(4, size=16, random_state=0)
    >>> pipe = make_pipeline(
    ...     ClearanceSelector(k=9),
    ...     InputComposer(mode="concat"),
    ...     BicubicUpscaler(scale=3),
    ...     SRCNN(max_epochs=1, residual=True, random_state=0, verbose=0),
    ... )
    >>> pipe.fit(scenes).predict(scenes).shape
    (4, 48, 48)
    """

    def build_layers(self, in_channels: int, out_channels: int, scale: int) -> nn.Sequential:
        return nn.Sequential(
            convolution(in_channels, 64, 9),
            nn.ReLU(),
            convolution(64, 32, 1),
            nn.ReLU(),
            convolution(32, out_channels, 5),
        )
