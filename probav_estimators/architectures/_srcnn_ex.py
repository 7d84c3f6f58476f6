"""SRCNN with a wider mapping layer."""

from torch import nn

from ..training import SceneRegressor
from ._layers import convolution

__all__ = ["SRCNNEx"]


class SRCNNEx(SceneRegressor):
    """SRCNN whose mapping layer sees its neighbourhood.

    Three convolutions on the upscaled input: 9x9 to 64 channels, 5x5 to 32, 5x5 to the image. With
    18 channels in and 2 out it has 146,210 parameters.

    {parameters}

    {attributes}

    See Also
    --------
    SRCNN : The same with a 1x1 mapping layer.
    BicubicUpscaler : Makes the input that this net needs.

    References
    ----------
    .. [1] C. Dong, C. C. Loy, K. He, X. Tang, "Image super-resolution using deep convolutional
       networks", IEEE Transactions on Pattern Analysis and Machine Intelligence 38(2), 295-307,
       2016.
    """

    def build_layers(self, in_channels: int, out_channels: int, scale: int) -> nn.Sequential:
        return nn.Sequential(
            convolution(in_channels, 64, 9),
            nn.ReLU(),
            convolution(64, 32, 5),
            nn.ReLU(),
            convolution(32, out_channels, 5),
        )
