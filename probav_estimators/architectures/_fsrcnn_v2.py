"""FSRCNN of the study's code, with optional layers at HR size."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from ..training import KerasModel
from ._fsrcnn import FSRCNN
from ._layers import convolution, convolutions, upscaling_convolution

__all__ = ["FSRCNNv2"]


class FSRCNNv2(FSRCNN):
    """FSRCNN with ELU and optionally three convolutions after the upscaling.

    With ``finetuned=False``, ``FSRCNN(activation="elu", deconv_kernel_size=5)``. With
    ``finetuned=True`` the transposed convolution has 32 output channels, and 9x9 to 64 channels,
    5x5 to 32 and 5x5 to the image follow at HR size: with 18 channels in and 2 out, 295,518
    parameters.

    {parameters}
    finetuned : bool, default=False
        Whether layers at HR size follow the upscaling.
    activation : {"relu", "elu", "prelu"}, default="elu"
        Activation up to and including the upscaling.
    deconv_kernel_size : int, default=5
        Size of the transposed convolution, at least the scale.
    mapping_kernel_size : int, default=3
        Size of the mapping convolutions; odd.
    extraction_kernel_size : int, default=5
        Size of the first convolution; odd.
    n_mapping : int, default=4
        Number of mapping convolutions.

    {attributes}

    See Also
    --------
    FSRCNN : The net of the paper.
    SRCNNv3 : Layers at HR size only.

    Notes
    -----
    Takes input that is not upscaled: its pipeline has no BicubicUpscaler.

    References
    ----------
    .. [1] https://github.com/Shiro-LK/Super-Resolution-ProbaV, `FSRCNNv2` in `model.py`.
    """

    _parameter_constraints = FSRCNN._parameter_constraints | {"finetuned": ["boolean"]}

    def __init__(
        self,
        *,
        finetuned: bool = False,
        activation: Literal["relu", "elu", "prelu"] = "elu",
        deconv_kernel_size: int = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(activation=activation, deconv_kernel_size=deconv_kernel_size, **kwargs)
        self.finetuned = finetuned

    def build_layers(self, in_channels: int, out_channels: int, scale: int) -> nn.Sequential:
        if not self.finetuned:
            return super().build_layers(in_channels, out_channels, scale)
        layers, width = self._layers_at_lr_size(in_channels)
        upscaled, wide, narrow = self._multiplied(32, 64, 32)
        return nn.Sequential(
            *layers,
            upscaling_convolution(width, upscaled, self.deconv_kernel_size, scale),
            self._make_activation(),
            *convolutions(upscaled, [wide, narrow], [9, 5]),
            convolution(narrow, out_channels, 5),
        )

    def _keras_model(self):
        if not self.finetuned:
            return self.keras
        *layers, _ = self.keras.layers
        return KerasModel((*layers, "deconv", "conv1_", "mapping", "output"))
