"""SRCNN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import nn

from ..training import KerasModel
from ._layers import convolution, convolutions
from ._study_net import StudyNet

__all__ = ["SRCNN"]


class SRCNN(StudyNet):
    """Super-resolution convolutional network: patch extraction, mapping, reconstruction.

    Three convolutions on the upscaled input: 9x9 to 64 channels, 1x1 to 32, 5x5 to the image. With
    18 channels in and 2 out it has 97,058 parameters.

    {parameters}
    kernel_sizes : tuple of int, default=(9, 1, 5)
        Sizes of the kernels, odd: extraction, mapping, reconstruction.

    {attributes}

    See Also
    --------
    SRCNNEx : The same with a 5x5 mapping layer.
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

    #: Channels of every layer but the last, for ``depth_multiplier=1``.
    widths: ClassVar[tuple[int, ...]] = (64, 32)

    keras = KerasModel(("conv1", "mapping", "output"))

    _parameter_constraints = StudyNet._parameter_constraints | {"kernel_sizes": [tuple, list]}

    def __init__(self, *, kernel_sizes: Sequence[int] = (9, 1, 5), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kernel_sizes = kernel_sizes

    def build_layers(self, in_channels: int, out_channels: int, scale: int) -> nn.Sequential:
        widths = self._multiplied(*self.widths)
        *sizes, last = self._checked_kernel_sizes(len(widths) + 1)
        return nn.Sequential(
            *convolutions(in_channels, widths, sizes),
            convolution(widths[-1], out_channels, last),
        )
