"""SRCNN and its variants."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar

import torch
from sklearn.utils._param_validation import Interval
from torch import nn

from ..training import KerasModel, Reconstruction
from ._layers import convolution, convolutions, upscaling_convolution
from ._study_net import StudyNet

__all__ = ["SRCNN", "SRCNNEx", "SRCNNv2", "SRCNNv3"]

# Caps of image, clearance and scalar.
_CAPS = (1.0, 1.0, 100.0)

# Output channels of the transposed convolution.
_UPSCALED = 32


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


class SRCNNv2(SRCNN):
    """SRCNN with two extraction layers and large kernels.

    Four convolutions on the upscaled input: 9x9 to 64 channels, 7x7 to 64, 5x5 to 32, 5x5 to the
    image. With 18 channels in and 2 out it has 346,978 parameters.

    {parameters}
    kernel_sizes : tuple of int, default=(9, 7, 5, 5)
        Sizes of the kernels, odd: two extraction layers, mapping, reconstruction.

    {attributes}

    See Also
    --------
    SRCNNEx : One extraction layer.
    BicubicUpscaler : Makes the input that this net needs.

    References
    ----------
    .. [1] https://github.com/Shiro-LK/Super-Resolution-ProbaV, `SRCNNv2` in `model.py`.
    """

    widths = (64, 64, 32)

    keras = KerasModel(("conv1", "conv2", "mapping", "output"))

    def __init__(self, *, kernel_sizes: Sequence[int] = (9, 7, 5, 5), **kwargs: Any) -> None:
        super().__init__(kernel_sizes=kernel_sizes, **kwargs)


class _CappedReconstruction(Reconstruction):
    """Outputs activated by capped ReLUs."""

    @property
    def image_layer(self) -> nn.Module:
        return self.head.image  # type: ignore[return-value]

    def activate(self, raw: torch.Tensor, first: int = 0) -> torch.Tensor:
        caps = raw.new_tensor(_CAPS[first : first + raw.shape[1]])
        return torch.minimum(raw.relu(), caps[:, None, None])


class SRCNNv3(SRCNN):
    """SRCNN after a transposed convolution, with capped ReLUs in place of sigmoids.

    A transposed 7x7 convolution to 32 channels with the scale as its stride; 9x9 to 64 channels,
    1x1 to 32, then a 5x5 convolution for the image and another for the clearance map. A third head,
    global max pooling of the mapping layer and a dense unit, makes a scalar of each sample. With 1
    channel in it has 171,267 parameters, with ``predict_clearance=False`` 170,433.

    {parameters}
    kernel_sizes : tuple of int, default=(9, 1, 5)
        Sizes of the kernels, odd: extraction, mapping, reconstruction.
    deconv_kernel_size : int, default=7
        Size of the transposed convolution, at least the scale.

    {attributes}

    See Also
    --------
    SRCNN : Takes upscaled input.
    FSRCNNv2 : Layers at HR size after those of FSRCNN.

    Notes
    -----
    Takes input that is not upscaled: its pipeline has no BicubicUpscaler.

    Image and clearance are capped at 1, the scalar at 100, as in the study's code. The gradient is
    zero where a ReLU is 0 or at its cap; with ``residual=True`` the image has no activation.
    `depth_multiplier` does not apply to the transposed convolution, as in the study.

    The scalar is a third output channel, constant over a sample: a patch in training, a scene in
    prediction. Neither the study nor this package has a loss for it; a custom loss can use
    ``prediction[:, 2]``. With ``predict_clearance=False`` the image is the only output, and
    :func:`~probav_estimators.export_onnx` exports image and clearance only.

    References
    ----------
    .. [1] https://github.com/Shiro-LK/Super-Resolution-ProbaV, `SRCNNv3` in `model.py`.
    """

    upscales = True

    reconstruction = _CappedReconstruction

    keras = KerasModel(
        ("deconv", "conv1", "mapping", "output"), ("output2", "output3"), input_axis=3
    )

    _parameter_constraints = SRCNN._parameter_constraints | {
        "deconv_kernel_size": [Interval(Integral, 2, None, closed="left")],
    }

    def __init__(
        self,
        *,
        kernel_sizes: Sequence[int] = (9, 1, 5),
        deconv_kernel_size: int = 7,
        **kwargs: Any,
    ) -> None:
        super().__init__(kernel_sizes=kernel_sizes, **kwargs)
        self.deconv_kernel_size = deconv_kernel_size

    def build_layers(self, in_channels: int, out_channels: int, scale: int) -> nn.Sequential:
        widths = self._multiplied(*self.widths)
        *sizes, last = self._checked_kernel_sizes(len(widths) + 1)
        make_heads = _ImageHead if out_channels == 1 else _ThreeHeads
        return nn.Sequential(
            upscaling_convolution(in_channels, _UPSCALED, self.deconv_kernel_size, scale),
            nn.ReLU(),
            *convolutions(_UPSCALED, widths, sizes),
            make_heads(widths[-1], last),
        )


class _ImageHead(nn.Module):
    """Output convolution of the image."""

    def __init__(self, in_channels, kernel_size):
        super().__init__()
        self.image = convolution(in_channels, 1, kernel_size)

    def forward(self, features):
        return self.image(features)


class _ThreeHeads(_ImageHead):
    """Output convolutions of image and clearance, and a scalar per sample."""

    def __init__(self, in_channels, kernel_size):
        super().__init__(in_channels, kernel_size)
        self.clearance = convolution(in_channels, 1, kernel_size)
        self.scalar = nn.Linear(in_channels, 1)

    def forward(self, features):
        image = self.image(features)
        scalar = self.scalar(features.amax(dim=(2, 3)))
        third = scalar[:, :, None, None].expand_as(image)
        return torch.cat([image, self.clearance(features), third], dim=1)
