"""SRCNN with a wider mapping layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._srcnn import SRCNN

__all__ = ["SRCNNEx"]


class SRCNNEx(SRCNN):
    """SRCNN whose mapping layer has a 5x5 kernel.

    Three convolutions on the upscaled input: 9x9 to 64 channels, 5x5 to 32, 5x5 to the image. With
    18 channels in and 2 out it has 146,210 parameters.

    {parameters}
    kernel_sizes : tuple of int, default=(9, 5, 5)
        Sizes of the kernels, odd: extraction, mapping, reconstruction.

    {attributes}

    See Also
    --------
    SRCNN : The same with a 1x1 mapping layer.
    SRCNNv2 : Two extraction layers.
    BicubicUpscaler : Makes the input that this net needs.

    References
    ----------
    .. [1] C. Dong, C. C. Loy, K. He, X. Tang, "Image super-resolution using deep convolutional
       networks", IEEE Transactions on Pattern Analysis and Machine Intelligence 38(2), 295-307,
       2016.
    """

    def __init__(self, *, kernel_sizes: Sequence[int] = (9, 5, 5), **kwargs: Any) -> None:
        super().__init__(kernel_sizes=kernel_sizes, **kwargs)
