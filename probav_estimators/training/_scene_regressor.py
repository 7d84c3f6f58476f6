"""Base of the nets on composed inputs, its samples, and the activations of its module."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from sklearn.utils._param_validation import StrOptions
from torch import nn
from torch.utils.data import default_collate

from ..ports import OUTPUTS, Port
from ._sampling import SampleReader
from ._scene_net import SceneNet

if TYPE_CHECKING:
    from ..scenes import Scene

__all__ = ["ComposedReader", "Reconstruction", "SceneRegressor"]

# Number of scenes that the standard deviation is measured on.
_STD_SCENES = 32

_PARAMETERS = """
    residual : bool, default=False
        False: the image is the sigmoid of the last layer, as published. True: the net predicts the
        difference to the upscaled mean frame, which trains in minutes instead of hours.
    predict_clearance : bool, default=True
        Whether a second output channel predicts the status map, and the loss has its term.
    weight_init : {"torch", "glorot_uniform"}, default="torch"
        Distribution of the initial weights. "torch": normal, scaled for ReLUs, and torch's default
        for transposed convolutions. "glorot_uniform": the defaults of Keras, uniform kernels and
        zero biases, unless the architecture sets another."""

_ATTRIBUTES = """
    n_channels_in_ : int
        Channels of the input.
    n_frames_in_ : int
        Number of them that are frames.
    residual_, predict_clearance_ : bool
        The parameters of the fitted layers.
    std_ : float or None
        Unit of the output of a residual net, in pixel values."""


_WITH_KERNEL = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


class Reconstruction(nn.Module):
    """Layers of an architecture, with the output that the estimator's parameters ask for.

    A subclass overrides :meth:`activate` if the outputs are no sigmoids, and `image_layer` if the
    last layer is a module of several layers.

    Parameters
    ----------
    layers : torch.nn.Sequential
        From (n, c, h', w') inputs to (n, 1 or more, H, W) values without an activation at the end:
        image, clearance and other outputs.
    n_frames : int
        Number of the c channels that are frames; they come first.
    std : float, default=None
        None: the image is the activation of the layers' first channel, as published. A number: the
        image is the mean frame plus the layers' first channel, in units of `std`, and frames are
        given to them as differences from the sample's mean in the same unit. That channel is then 0
        before the training.
    """

    def __init__(self, layers: nn.Sequential, n_frames: int, std: float | None = None) -> None:
        super().__init__()
        self.features = layers[:-1]
        self.head = layers[-1]
        self.n_frames = n_frames
        self.std = std
        if std is not None:
            _silence_image_channel(self.image_layer)

    @property
    def image_layer(self) -> nn.Module:
        """Convolution whose first channel is the image."""
        return self.head

    def activate(self, raw: torch.Tensor, first: int = 0) -> torch.Tensor:
        """Apply the activation at the end.

        Parameters
        ----------
        raw : float tensor of shape (n, c, H, W)
            Channels of the last layer, from the one with number `first` on.
        first : int, default=0

        Returns
        -------
        float tensor of shape (n, c, H, W)
        """
        return raw.sigmoid()

    def forward(self, inputs: torch.Tensor, mean: torch.Tensor | None = None) -> torch.Tensor:
        """Compute the image and the other channels, such as the probability of a clear pixel.

        Parameters
        ----------
        inputs : float tensor of shape (n, c, h', w')
        mean : float tensor of shape (n, 1, H, W)
            Upscaled mean frame; needed if `std` is a number.

        Returns
        -------
        float32 tensor of shape (n, 1 or more, H, W)
        """
        if self.std is not None:
            inputs = self._normalised(inputs)
        raw = self._apply_layers(inputs)
        if self.std is None:
            return self.activate(raw)
        image = mean + self.std * raw[:, :1]
        return torch.cat([image, self.activate(raw[:, 1:], first=1)], dim=1)

    def _apply_layers(self, inputs):
        features = self.features(inputs)
        # The eight bits of bfloat16's mantissa would lower the score of the image.
        with torch.autocast(inputs.device.type, enabled=False):
            return self.head(features.float())

    def _normalised(self, inputs):
        frames, rest = inputs[:, : self.n_frames], inputs[:, self.n_frames :]
        level = frames.mean(dim=(1, 2, 3), keepdim=True)
        return torch.cat([(frames - level) / self.std, rest], dim=1)


def _silence_image_channel(layer):
    with torch.no_grad():
        channel = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
        layer.weight.select(channel, 0).zero_()
        layer.bias[0] = 0


@dataclass(frozen=True)
class ComposedReader(SampleReader):
    """Reads what InputComposer composes: each view of a scene is a sample.

    Parameters
    ----------
    scale : int
        HR pixels for each LR pixel.
    with_mean : bool, default=False
        Whether samples hold the upscaled mean frame.
    """

    scale: int
    with_mean: bool = False

    def views(self, scene: Scene, training: bool) -> Sequence[int]:
        inputs: Any = scene.inputs
        return range(inputs.n_views) if training else inputs.averaged_views

    def read(
        self, scene: Scene, choice: int, window: tuple[slice, slice] | None = None
    ) -> dict[str, torch.Tensor]:
        inputs: Any = scene.inputs
        sample = {"inputs": torch.from_numpy(inputs.read_view(choice, window))}
        if self.with_mean:
            mean = inputs.read_mean(choice, self.scale, window)
            sample["mean"] = torch.from_numpy(mean)[None]
        return sample


def _collate(
    samples: Sequence[tuple[dict[str, Any], dict[str, Any]]],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Batch of samples with inputs in channels-last order, as convolutions prefer."""
    images, targets = zip(*samples, strict=True)
    inputs = [image.pop("inputs") for image in images]
    shape = len(inputs), *inputs[0].shape
    batch = torch.empty(shape, dtype=inputs[0].dtype, memory_format=torch.channels_last)
    for place, sample in zip(batch, inputs, strict=True):
        place.copy_(sample)
    return {"inputs": batch, **default_collate(list(images))}, default_collate(list(targets))


class SceneRegressor(SceneNet):
    """Base of all nets on inputs of InputComposer.

    A subclass overrides :meth:`build_layers`, sets `upscales` if its layers upscale and, if its
    outputs are no sigmoids, `reconstruction`. In its docstring, *parameters* and *attributes* in
    braces are replaced by those of all of them.

    {parameters}

    {attributes}
    """

    _documented_parameters = SceneNet._documented_parameters + _PARAMETERS
    _documented_attributes = SceneNet._documented_attributes + _ATTRIBUTES

    #: Whether the layers take inputs of LR size.
    upscales = False

    #: Module of the layers with the final activations.
    reconstruction: ClassVar[type[Reconstruction]] = Reconstruction

    collate = staticmethod(_collate)

    _parameter_constraints = SceneNet._parameter_constraints | {
        "residual": ["boolean"],
        "predict_clearance": ["boolean"],
        "weight_init": [StrOptions({"torch", "glorot_uniform"})],
    }

    def __init__(
        self,
        *,
        residual: bool = False,
        predict_clearance: bool = True,
        weight_init: Literal["torch", "glorot_uniform"] = "torch",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.residual = residual
        self.predict_clearance = predict_clearance
        self.weight_init = weight_init

    @abstractmethod
    def build_layers(self, in_channels: int, out_channels: int, scale: int) -> nn.Sequential:
        """Return the layers of the net.

        Parameters
        ----------
        in_channels, out_channels : int
        scale : int
            HR pixels for each LR pixel.

        Returns
        -------
        torch.nn.Sequential
            From (n, in_channels, h', w') to (n, out_channels, H, W), without the final activation,
            which is part of `reconstruction`. A layer with another default in Keras has a function
            `keras_initializer`, called with the layer.
        """

    def build_module(self) -> nn.Module:
        out_channels = 1 + self.predict_clearance_
        layers = self.build_layers(self.n_channels_in_, out_channels, self.scale_)
        if self.weight_init == "glorot_uniform":
            _initialize_as_keras(layers)
        return self.reconstruction(layers, self.n_frames_in_, self.std_)

    def make_reader(self) -> ComposedReader:
        return ComposedReader(self.scale_, with_mean=self.residual_)

    def graph_inputs(self) -> list[Port]:
        size = ("height", "width") if self.upscales else ("hr_height", "hr_width")
        n_channels, n_frames = self.n_channels_in_, self.n_frames_in_
        what = f"{n_frames} frames, pixel values"
        if n_channels > n_frames:
            what += ", then their quality maps, 1 = clear"
        if not self.upscales:
            what += f"; upscaled {self.scale_} times by the bicubic kernel (a = -0.75)"
        inputs = [Port("inputs", ("batch", n_channels, *size), what)]
        if self.residual_:
            axes = ("batch", 1, "hr_height", "hr_width")
            inputs.append(Port("mean", axes, "mean frame, upscaled to HR size, pixel values"))
        return inputs

    def graph_outputs(self) -> list[Port]:
        names = ["image", "clearance"] if self.predict_clearance_ else ["image"]
        return [OUTPUTS[name] for name in names]

    def infer(self, x: dict[str, torch.Tensor], **fit_params: Any) -> torch.Tensor:
        inputs = x["inputs"].contiguous(memory_format=torch.channels_last)
        return super().infer(x | {"inputs": inputs}, **fit_params)

    def learn_layout(self, scenes: Sequence[Scene]) -> None:
        super().learn_layout(scenes)
        inputs = self._inputs_of(scenes[0])
        self.n_channels_in_ = inputs.n_channels
        self.n_frames_in_ = inputs.n_frames
        self.residual_ = self.residual
        self.predict_clearance_ = self.predict_clearance
        if (start := self._starting_net()) is not None:
            self.std_ = start.std_
        else:
            self.std_ = _mean_std(scenes) if self.residual else None

    def layout(self) -> dict[str, Any]:
        return {
            "channels of input": self.n_channels_in_,
            **super().layout(),
            "residual": self.residual_,
            "predict_clearance": self.predict_clearance_,
        }

    def _inputs_of(self, scene):
        if scene.inputs is None:
            raise ValueError(
                f"{type(self).__name__} got {scene.label}, which has no inputs: put an "
                "InputComposer before it"
            )
        return scene.inputs

    def check_inputs(self, scenes: Sequence[Scene]) -> None:
        for scene in scenes:
            inputs = self._inputs_of(scene)
            if self.upscales and inputs.scale != 1:
                raise ValueError(
                    f"{type(self).__name__} upscales by itself and got {scene.label} upscaled "
                    f"{inputs.scale} times: remove BicubicUpscaler, or set it to "
                    '"passthrough"'
                )
            if not self.upscales and inputs.scale != self.scale_:
                got = "not upscaled" if inputs.scale == 1 else f"upscaled {inputs.scale} times"
                raise ValueError(
                    f"{type(self).__name__} works on inputs of HR size, {self.scale_} times that "
                    f"of the frames, and got {scene.label} {got}: add "
                    f"BicubicUpscaler(scale={self.scale_}) after InputComposer"
                )
            if inputs.n_channels != self.n_channels_in_:
                raise ValueError(
                    f"{type(self).__name__} takes {self.n_channels_in_} channels and got "
                    f'{scene.label} with {inputs.n_channels}: with frames="stack" every scene '
                    "must have equally many frames. Give ClearanceSelector, before InputComposer, "
                    'an int, such as k=9 ("max" and None keep as many as a scene has), and both '
                    "the settings of the scenes it was fitted on"
                )
        super().check_inputs(scenes)


def _initialize_as_keras(layers):
    """Draw from the default distribution of Keras, or with `keras_initializer` of a layer."""
    for layer in layers.modules():
        if isinstance(layer, _WITH_KERNEL):
            getattr(layer, "keras_initializer", _glorot_uniform)(layer)


def _glorot_uniform(layer):
    """Draw the kernel within sqrt(6 / (fan_in + fan_out)) of 0, and set the biases to 0."""
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)


def _mean_std(scenes):
    """Mean over scenes of the standard deviation of their pixels."""
    chosen = scenes[:: -(-len(scenes) // _STD_SCENES)]
    std = np.mean([scene.frames.read_pixels([0]).std() for scene in chosen])
    return max(float(std), 1e-4)
