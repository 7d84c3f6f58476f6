"""SRCNN with blocks of VGG16."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ..training import KerasModel, read_state_dict
from ._layers import convolution, convolutions, keep_weights
from ._study_net import StudyNet

__all__ = ["SRVGG16"]

# torchvision's names of VGG16 layers and their positions here. The first layer of block 1 is left
# out: its input is RGB there and features here.
_VGG16_LAYERS = {"features.2": 4, "features.5": 6, "features.7": 8}


_REMEDY = (
    "give vgg_weights the state dict of torchvision's vgg16, or a file that "
    "torch.save(vgg16.state_dict(), path) wrote"
)


class SRVGG16(StudyNet):
    """SRCNN with the first two blocks of VGG16 between extraction and mapping.

    On the upscaled input: 9x9 to 64 channels; VGG16's first two blocks without pooling (3x3 to 64,
    64, 128, 128); 5x5 to 32; 5x5 to the image. With 18 channels in and 2 out it has 492,706
    parameters.

    {parameters}
    kernel_sizes : tuple of int, default=(9, 5, 5)
        Sizes of the kernels, odd: extraction, mapping, reconstruction. Those of VGG16 stay 3x3.
    vgg_weights : dict or path-like, default=None
        VGG16 state dict with torchvision's names (``features.2.weight``, ...), or a file of one.
        Initial weights of the two blocks except their first layer. Requires
        ``depth_multiplier=1``.

    {attributes}

    See Also
    --------
    SRCNN : The same without the blocks.
    BicubicUpscaler : Makes the input that this net needs.

    References
    ----------
    .. [1] C. Dong, C. C. Loy, K. He, X. Tang, "Image super-resolution using deep convolutional
       networks", IEEE Transactions on Pattern Analysis and Machine Intelligence 38(2), 295-307,
       2016.
    .. [2] K. Simonyan, A. Zisserman, "Very deep convolutional networks for large-scale image
       recognition", International Conference on Learning Representations, 2015.
    """

    keras = KerasModel(
        (
            *("conv1", "block1_conv1", "block1_conv2", "block2_conv1", "block2_conv2"),
            *("mapping", "output"),
        )
    )

    _parameter_constraints = StudyNet._parameter_constraints | {
        "kernel_sizes": [tuple, list],
        "vgg_weights": [Mapping, str, os.PathLike, None],
    }

    def __init__(
        self,
        *,
        kernel_sizes: Sequence[int] = (9, 5, 5),
        vgg_weights: Mapping[str, torch.Tensor] | str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kernel_sizes = kernel_sizes
        self.vgg_weights = vgg_weights

    def build_layers(self, in_channels: int, out_channels: int, scale: int) -> nn.Sequential:
        extraction, mapping, reconstruction = self._checked_kernel_sizes(3)
        widths = self._multiplied(64, 64, 64, 128, 128, 32)
        layers = nn.Sequential(
            *convolutions(in_channels, widths, [extraction, 3, 3, 3, 3, mapping]),
            convolution(widths[-1], out_channels, reconstruction),
        )
        if self.vgg_weights is not None:
            if self.depth_multiplier != 1:
                raise ValueError(
                    f"vgg_weights needs depth_multiplier=1, got {self.depth_multiplier}: set one "
                    "of them back"
                )
            _fill_from_vgg16(layers, self.vgg_weights)
        return layers


def _fill_from_vgg16(layers, weights):
    state = weights
    if not isinstance(weights, Mapping):
        state = read_state_dict(weights, _REMEDY)
    for name, position in _VGG16_LAYERS.items():
        for kind, parameter in layers[position].named_parameters():
            value = state.get(f"{name}.{kind}")
            shape = getattr(value, "shape", None)
            if shape != parameter.shape:
                found = "is missing" if value is None else f"has shape {tuple(shape or ())}"
                source = "vgg_weights" if state is weights else os.fspath(weights)
                raise ValueError(
                    f"{source} is not of VGG16: {name}.{kind} {found} where VGG16 has "
                    f"{tuple(parameter.shape)}; {_REMEDY}"
                )
            with torch.no_grad():
                parameter.copy_(value)
        keep_weights(layers[position])
