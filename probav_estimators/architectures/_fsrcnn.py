"""FSRCNN."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Literal

from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from ..training import SceneRegressor
from ._layers import convolution

__all__ = ["FSRCNN"]

_ACTIVATIONS = {"relu": nn.ReLU, "elu": nn.ELU, "prelu": nn.PReLU}


class FSRCNN(SceneRegressor):
    """Fast SRCNN: works at LR size and upscales with its last layer.

    5x5 to 56 channels, 1x1 to 12 (shrinking), four times 3x3 to 12 (mapping), 1x1 to 56
    (expanding), then a transposed 9x9 convolution with the scale as its stride. With 18 channels in
    and 2 out it has 40,974 parameters.

    {parameters}
    activation : {"relu", "elu", "prelu"}, default="relu"
    deconv_kernel_size : int, default=9
        Size of the transposed convolution, at least the scale.
    mapping_kernel_size : int, default=3
        Size of the mapping convolutions; odd.

    {attributes}

    See Also
    --------
    SRCNN : Works at HR size.

    Notes
    -----
    Takes input that is not upscaled: its pipeline has no BicubicUpscaler.

    References
    ----------
    .. [1] C. Dong, C. C. Loy, X. Tang, "Accelerating the super-resolution convolutional neural
       network", European Conference on Computer Vision, 2016.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from probav_estimators import FSRCNN, ClearanceSelector, InputComposer, make_scenes
    >>> scenes = make_scenes(4, size=16, random_state=0)
    >>> net = FSRCNN(activation="prelu", max_epochs=1, residual=True, verbose=0)
    >>> pipe = make_pipeline(ClearanceSelector(k=9), InputComposer(), net)
    >>> pipe.fit(scenes).predict(scenes).shape
    (4, 48, 48)
    """

    upscales = True

    _parameter_constraints = SceneRegressor._parameter_constraints | {
        "activation": [StrOptions(set(_ACTIVATIONS))],
        "deconv_kernel_size": [Interval(Integral, 2, None, closed="left")],
        "mapping_kernel_size": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        *,
        activation: Literal["relu", "elu", "prelu"] = "relu",
        deconv_kernel_size: int = 9,
        mapping_kernel_size: int = 3,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.activation = activation
        self.deconv_kernel_size = deconv_kernel_size
        self.mapping_kernel_size = mapping_kernel_size

    def build_layers(self, in_channels: int, out_channels: int, scale: int) -> nn.Sequential:
        activation = _ACTIVATIONS[self.activation]
        size = self.mapping_kernel_size
        if size % 2 == 0:
            raise ValueError(f"mapping_kernel_size must be odd, got {size}")
        mapping = []
        for _ in range(4):
            mapping += [convolution(12, 12, size), activation()]
        return nn.Sequential(
            convolution(in_channels, 56, 5),
            activation(),
            convolution(56, 12, 1),
            activation(),
            *mapping,
            convolution(12, 56, 1),
            activation(),
            _upscaling_layer(56, out_channels, self.deconv_kernel_size, scale),
        )


def _upscaling_layer(in_channels, out_channels, kernel_size, scale):
    """Transposed convolution whose output is exactly `scale` times as large as its input."""
    if kernel_size < scale:
        raise ValueError(
            f"deconv_kernel_size={kernel_size} leaves gaps between pixels that are upscaled "
            f"{scale} times: make it {scale} or more"
        )
    padding, output_padding = divmod(kernel_size - scale, 2)
    return nn.ConvTranspose2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=scale,
        padding=padding + output_padding,
        output_padding=output_padding,
    )
