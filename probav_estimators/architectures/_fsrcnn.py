"""FSRCNN, and that of the study's code."""

from __future__ import annotations

from itertools import repeat
from numbers import Integral
from typing import Any, Literal

from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from ..training import KerasModel
from ._layers import check_odd, convolution, convolutions, upscaling_convolution
from ._study_net import StudyNet

__all__ = ["FSRCNN", "FSRCNNv2"]

_ACTIVATIONS = {"relu": nn.ReLU, "elu": nn.ELU, "prelu": nn.PReLU}


class FSRCNN(StudyNet):
    """Fast SRCNN: convolutions at LR size, then a transposed convolution.

    5x5 to 56 channels, 1x1 to 12 (shrinking), four times 3x3 to 12 (mapping), 1x1 to 56
    (expanding), then a transposed 9x9 convolution with the scale as its stride. With 18 channels in
    and 2 out it has 40,974 parameters. The study describes this net; its code has a transposed 5x5
    convolution and, in the best scoring version, ELU: ``FSRCNN(activation="elu",
    deconv_kernel_size=5)``, with 34,702 parameters.

    {parameters}
    activation : {"relu", "elu", "prelu"}, default="relu"
    deconv_kernel_size : int, default=9
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
    SRCNN : Works at HR size.
    FSRCNNv2 : Optional layers at HR size.

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

    # As in the study's code, not its text.
    keras = KerasModel(
        ("conv1", "conv2", *(f"conv3_{number}" for number in range(4)), "conv4", "output"),
        params={"deconv_kernel_size": 5},
    )

    _parameter_constraints = StudyNet._parameter_constraints | {
        "activation": [StrOptions(set(_ACTIVATIONS))],
        "deconv_kernel_size": [Interval(Integral, 2, None, closed="left")],
        "mapping_kernel_size": [Interval(Integral, 1, None, closed="left")],
        "extraction_kernel_size": [Interval(Integral, 1, None, closed="left")],
        "n_mapping": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        *,
        activation: Literal["relu", "elu", "prelu"] = "relu",
        deconv_kernel_size: int = 9,
        mapping_kernel_size: int = 3,
        extraction_kernel_size: int = 5,
        n_mapping: int = 4,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.activation = activation
        self.deconv_kernel_size = deconv_kernel_size
        self.mapping_kernel_size = mapping_kernel_size
        self.extraction_kernel_size = extraction_kernel_size
        self.n_mapping = n_mapping

    def build_layers(self, in_channels: int, out_channels: int, scale: int) -> nn.Sequential:
        layers, width = self._layers_at_lr_size(in_channels)
        return nn.Sequential(
            *layers, upscaling_convolution(width, out_channels, self.deconv_kernel_size, scale)
        )

    def _layers_at_lr_size(self, in_channels):
        """Layers before the transposed convolution, and their output channels."""
        extraction = check_odd("extraction_kernel_size", self.extraction_kernel_size)
        mapping = check_odd("mapping_kernel_size", self.mapping_kernel_size)
        wide, narrow = self._multiplied(56, 12)
        activation = self._make_activation
        # Built first to keep the weights that earlier versions draw for a random_state.
        n_mapping = self.n_mapping
        middle = convolutions(
            narrow, repeat(narrow, n_mapping), repeat(mapping, n_mapping), activation
        )
        layers = [
            *convolutions(in_channels, [wide, narrow], [extraction, 1], activation),
            *middle,
            *convolutions(narrow, [wide], [1], activation),
        ]
        return layers, wide

    def _make_activation(self):
        return _ACTIVATIONS[self.activation]()


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
