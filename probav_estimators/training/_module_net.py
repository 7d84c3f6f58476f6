"""A net of any torch module."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, Self

import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from ._frame_net import FrameNet
from ._frame_readers import FrameReader

if TYPE_CHECKING:
    from ..scenes import Scene

__all__ = ["ModuleNet"]


class ModuleNet(FrameNet):
    """Net of any torch module, which is trained, searched and scored like all others.

    {parameters}
    module : torch.nn.Module or callable
        Called with frames (n, n_frames, h, w), float32: differences from `level_` in units of
        `std_`, clearest first. It returns the image in the same unit, (n, 1, scale * h, scale * w)
        or (n, scale * h, scale * w). `fit` copies a module and starts from its weights. A class, or
        another callable without arguments that returns a module, is called by each `fit`, for
        random weights of `random_state`.
    inputs : {"frames", "frames, masks"}, default="frames"
        "frames, masks": the second argument of the module are the quality maps, of the shape of the
        frames, 1.0 where these are clear, else 0.0.
    n_frames : int, default=9
        Number of frames. If a scene has fewer, they are repeated in turn.
    level, std : float, default=None
        Offset and unit of the frames, in pixel values. None: mean and standard deviation of the
        training scenes.

    {attributes}

    See Also
    --------
    SceneRegressor : Base of the nets on composed inputs.

    Notes
    -----
    With `scale`, `level` and `std`, `initialize` makes the net ready to predict with the module's
    own weights.

    Scenes need no InputComposer. Frames are not registered unless a FrameRegistrar precedes the
    net. A tile is computed with a margin of 64 LR pixels; a module with a larger receptive field
    needs ``tile_size=None``.

    Unpickling the net needs the class of the module. :func:`save_model
    <probav_estimators.save_model>` refuses the net, because its files hold no modules;
    :func:`export_onnx <probav_estimators.export_onnx>` writes the graph of modules that ONNX has
    operators for.

    Examples
    --------
    >>> from torch import nn
    >>> from probav_estimators import ModuleNet, make_scenes
    >>> scenes = make_scenes(4, size=16, random_state=0)
    >>> layers = nn.Sequential(nn.Conv2d(9, 9, 3, padding=1), nn.PixelShuffle(3))
    >>> net = ModuleNet(module=layers, max_epochs=1, random_state=0, verbose=0)
    >>> net.fit(scenes).predict(scenes).shape
    (4, 48, 48)
    >>> net = ModuleNet(module=layers, scale=3, level=0.0, std=1.0, verbose=0)
    >>> net.initialize().predict(scenes).shape
    (4, 48, 48)
    """

    sizes = ("n_frames", "inputs")

    inputs_: str

    _parameter_constraints = FrameNet._parameter_constraints | {
        "module": [callable],
        "inputs": [StrOptions({"frames", "frames, masks"})],
        "level": [Interval(Real, None, None, closed="neither"), None],
        "std": [Interval(Real, 0, None, closed="neither"), None],
    }

    def __init__(
        self,
        *,
        module: nn.Module | Callable[[], nn.Module],
        inputs: Literal["frames", "frames, masks"] = "frames",
        n_frames: int = 9,
        level: float | None = None,
        std: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(n_frames=n_frames, **kwargs)
        self._set_module(module)
        self.inputs = inputs
        self.level = level
        self.std = std

    def build_layers(self, scale: int) -> nn.Module:
        given = self.module
        module = copy.deepcopy(given) if isinstance(given, nn.Module) else given()
        if not isinstance(module, nn.Module):
            raise ValueError(
                f"module={given!r} made a {type(module).__name__}: give a torch.nn.Module, or what "
                "makes one when it is called"
            )
        return _Adapter(module, scale)

    def make_reader(self) -> FrameReader:
        quality_maps = self.inputs_ == "frames, masks"
        return FrameReader(self.n_frames_, quality_maps=quality_maps, repeat=True)

    def set_params(self, **params: Any) -> Self:
        if "module" in params:
            self._set_module(params.pop("module"))
        return super().set_params(**params)

    def _set_module(self, module):
        # Skorch would register the attribute as an initialized module of the net.
        vars(self)["module"] = module

    # Methods of SceneNet

    def initialize(self) -> Self:
        self._check_parameters()
        if not hasattr(self, "level_"):
            missing = [name for name in ("scale", "level", "std") if getattr(self, name) is None]
            if missing:
                raise ValueError(
                    f"{type(self).__name__} learns {' and '.join(missing)} from scenes: call fit, "
                    "or give scale, level and std to predict with the weights of the module"
                )
            self._take_sizes()
            given: Any = self.scale, self.level, self.std
            self.scale_, self.level_, self.std_ = given
            self.published_, self.band_ = False, None
        return super().initialize()

    def initialize_module(self) -> Self:
        super().initialize_module()
        # Weights of a module are scored as those of epoch 0.
        self.starts_with_weights_ |= isinstance(self.module, nn.Module)
        return self

    def learn_layout(self, scenes: Sequence[Scene]) -> None:
        super().learn_layout(scenes)
        if self.weights is None:
            self.level_ = self.level_ if self.level is None else self.level
            self.std_ = self.std_ if self.std is None else self.std


class _Adapter(nn.Module):
    """A module with the arguments of FrameNet's layers and a check of its output."""

    def __init__(self, module: nn.Module, scale: int) -> None:
        super().__init__()
        self.module = module
        self.scale = scale

    def forward(
        self, frames: torch.Tensor, present: torch.Tensor, clear: torch.Tensor | None = None
    ) -> torch.Tensor:
        image = self.module(frames) if clear is None else self.module(frames, clear)
        n_scenes, _, height, width = frames.shape
        wanted = (n_scenes, self.scale * height, self.scale * width)
        shape = tuple(image.shape) if isinstance(image, torch.Tensor) else type(image).__name__
        if shape not in (wanted, (n_scenes, 1, *wanted[1:])):
            raise ValueError(
                f"the module {type(self.module).__name__} made {shape} of frames of shape "
                f"{tuple(frames.shape)}: it must return a tensor of shape "
                f"{(n_scenes, 1, *wanted[1:])} or {wanted}, {self.scale} times as large as the "
                "frames"
            )
        return image.reshape(n_scenes, 1, *image.shape[-2:])
