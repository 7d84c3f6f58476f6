"""Base of the nets on single frames of LR size."""

from __future__ import annotations

import os
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils._param_validation import Interval
from torch import nn

from ..imaging import pad_window, plan_blocks
from ..ports import STACK, Port
from ..prediction import stack_images
from ..scenes import check_scenes, clip_image
from ._frame_readers import FrameReader, collate_frames
from ._initial_weights import FileWeightsMixin, Weights
from ._scene_net import SceneNet, show_progress
from ._torch_files import PublishedWeights, band_of_path, read_published
from ._training_loop import BorderMixin

if TYPE_CHECKING:
    from ..imaging import Block
    from ..prediction import Images
    from ..scenes import Scene
    from ._frame_readers import FrameChoice

__all__ = ["FrameNet"]

# Number of scenes that the mean and the standard deviation are measured on.
_MEASURED_SCENES = 32

_COUNT = [Interval(Integral, 1, None, closed="left")]

_PARAMETERS = """
    scale : int, default=None
        HR pixels for each LR pixel. None: that of the weights or of the scenes.
    tile_size : int, default=128
        Larger scenes are predicted in tiles of at most this many LR pixels along each axis, each
        with a margin. None: as a whole."""

_ATTRIBUTES = """
    n_frames_ : int
        Largest number of frames.
    level_, std_ : float
        Mean and standard deviation of the training scenes in pixel values, or those of the authors
        of published weights. Inputs and outputs of the layers are standardized with them.
    published_ : bool
        Whether the initial weights are published ones, and predictions follow their authors' code.
    band_ : str or None
        Spectral band of published weights, if the name of their folder contains it."""


class FrameNet(BorderMixin, FileWeightsMixin, SceneNet):
    """Base of all nets on single frames of LR size.

    The net takes the `n_frames` clearest frames; scenes with fewer are filled up in a batch with
    frames that are not present. A subclass overrides :meth:`build_layers`. As its paper requires,
    it sets `sizes`, `reach` and `published`, and overrides :meth:`make_reader` (choice, order and
    registration of frames) and :meth:`finish`.

    {parameters}
    n_frames : int, default=24
        Largest number of frames.

    {attributes}

    See Also
    --------
    SceneRegressor : Base of the nets on composed inputs.
    FrameReader : Chooses and reads frames.
    """

    _documented_parameters = (
        SceneNet._documented_parameters.replace(
            "batch_size : int, default=32\n        Samples for each step of the optimizer.",
            "batch_size : int, default=4\n        Scenes for each step of the optimizer: each has "
            "many frames.",
        )
        + _PARAMETERS
    )
    _documented_attributes = SceneNet._documented_attributes + _ATTRIBUTES

    collate = staticmethod(collate_frames)

    # Further channels are standard deviations and no clearance map.
    n_compared = 1

    prediction_parameters = frozenset({"tile_size"})

    #: Names of the parameters that set the sizes of the layers.
    sizes: ClassVar[tuple[str, ...]] = ()

    #: Radius of the receptive field in LR pixels, at most 64: the margin of tiles.
    reach: ClassVar[int] = 64

    #: Whether one graph of export_onnx takes any number of frames.
    takes_any_number: ClassVar[bool] = False

    #: The weights that the authors published, if they did.
    published: ClassVar[PublishedWeights | None] = None

    n_frames_: int
    level_: float
    std_: float
    published_: bool
    band_: str | None

    _parameter_constraints = SceneNet._parameter_constraints | {
        "n_frames": _COUNT,
        "scale": [Interval(Integral, 2, None, closed="left"), None],
        "tile_size": [Interval(Integral, 8, None, closed="left"), None],
    }

    def __init__(
        self,
        *,
        n_frames: int = 24,
        scale: int | None = None,
        tile_size: int | None = 128,
        batch_size: int = 4,
        **kwargs: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, **kwargs)
        self.n_frames = n_frames
        self.scale = scale
        self.tile_size = tile_size

    # Methods that a subclass overrides

    @abstractmethod
    def build_layers(self, scale: int) -> nn.Module:
        """Return the layers of the net.

        Parameters
        ----------
        scale : int
            HR pixels for each LR pixel.

        Returns
        -------
        torch.nn.Module
            Called with "frames" (n, t, h, w), of about zero mean and unit variance, and "present"
            (n, t), 1 for frames that are present, which come first; with quality maps in the
            samples "clear" (n, t, h, w) too. It returns (n, c, H, W): the image and, in further
            channels, standard deviations, both in the unit of the frames. Its sizes are the
            attributes of the net that `sizes` lists, with a trailing underscore.
        """

    def make_reader(self) -> FrameReader:
        """Return the reader that chooses and reads the frames of a scene."""
        return FrameReader(self.n_frames_)

    def finish(self, images: torch.Tensor) -> torch.Tensor:
        """Postprocess whole images (n, H, W) in pixel values, as the paper does."""
        return images

    # Methods of an estimator

    @classmethod
    def from_published(cls, path: str | os.PathLike[str], **params: Any) -> Self:
        """A fitted net with the weights that the authors of the network published.

        Predictions choose, order, register and scale frames as the authors' code does. `fit` starts
        from these weights, and so do clones of the net.

        Parameters
        ----------
        path : path-like
            It is read as data; no code in it is run. The documentation of the class states its
            source and license.
        **params
            Parameters of the net, in place of the authors'.

        Returns
        -------
        fitted net

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it holds something else, which is named, or `params` ask for another scale or size
            than it has, or the authors published no weights that can be read.
        """
        # As the authors computed: bfloat16 would change the third digit.
        settings = {"compute_dtype": "float32", **_published_by(cls).params}
        return cls(weights=path, **settings | params).initialize()

    def predict(self, X: Sequence[Scene]) -> Images:
        # A copy, so that the other channels are freed.
        return stack_images([channels[0].copy() for channels in self._channels_of(X)])

    def _channels_of(self, X):
        """Yield the channels (c, H, W) of each scene."""
        self.check_is_fitted()
        scenes = check_scenes(X, type(self).__name__)
        self.check_inputs(scenes)
        with show_progress(self, len(scenes)) as progress:
            for scene in scenes:
                yield self.predict_channels(scene).numpy()
                progress.update()

    def predict_channels(self, scene: Scene) -> torch.Tensor:
        """Super-resolve one scene of any size, tile by tile.

        Parameters
        ----------
        scene : Scene
            Windows of its frames are read.

        Returns
        -------
        float32 tensor of shape (c, H, W)
            The finished image, in [0, 1] unless the scene has a `value_range`, and the other
            outputs of the layers.
        """
        choice = self.make_reader().choose(scene)
        size = tuple(self.scale_ * length for length in scene.shape)
        channels: Any = None
        for block in plan_blocks(scene.shape, self.tile_size):
            part = self.predict_block(scene, choice, block)
            if channels is None:
                channels = torch.empty((len(part), *size), dtype=torch.float32)
            channels[:, *block.place(self.scale_)] = part
        channels[:1] = self.finish(channels[:1])
        clip_image(channels[0].numpy(), scene)
        return channels

    def predict_block(self, scene: Scene, choice: FrameChoice, block: Block) -> torch.Tensor:
        """Super-resolve a block of a scene, without :meth:`finish`: (c, H', W')."""
        window = pad_window((block.rows, block.columns), scene.shape, self.reach)
        sample = self.make_reader().read(scene, choice, window)
        outputs = self.evaluation_step(self.collate([(sample, {"scene": 0})]))[0]
        inside = block._replace(window=window).inside(self.scale_)
        return outputs[:, *inside].float().cpu()

    # Methods of SceneNet

    def initialize(self) -> Self:
        self._check_parameters()
        if self._has_file() and not hasattr(self, "level_"):
            self._take_sizes()
            self._take_published()
        return super().initialize()

    def build_module(self) -> nn.Module:
        return _Standardized(self.build_layers(self.scale_), self.level_, self.std_)

    def learn_layout(self, scenes: Sequence[Scene]) -> None:
        self._take_sizes()
        if self._has_file():
            self._take_published()
        else:
            self._learn_scale(scenes)
            if (start := self._starting_net()) is None:
                self.published_, self.band_ = False, None
                self.level_, self.std_ = _level_and_std(scenes)
            else:
                for name in ("level_", "std_", "published_", "band_"):
                    setattr(self, name, getattr(start, name))
        self.check_inputs(scenes)

    def layout(self) -> dict[str, Any]:
        return {**super().layout(), **{name: getattr(self, f"{name}_") for name in self.sizes}}

    def check_inputs(self, scenes: Sequence[Scene]) -> None:
        super().check_inputs(scenes)
        bands = {scene.band for scene in scenes} - {None, self.band_}
        if self.band_ is not None and bands:
            warnings.warn(
                f"these weights of {type(self).__name__} were published for the band {self.band_}, "
                f"and there are scenes of {', '.join(sorted(map(str, bands)))}: read the file of "
                "each band into a net of its own",
                stacklevel=3,
            )

    def _file_weights(self) -> Weights:
        return Weights(self._read_weights(), type(self).__name__, self.layout())

    def graph_inputs(self) -> list[Port]:
        count = "frames" if self.takes_any_number else self.n_frames_
        stack = (STACK[0], count, *STACK[2:])
        present = "1 for a frame that is there, which come first, clearest first; 0 for zeros"
        inputs = [
            Port("frames", stack, "frames, pixel values"),
            Port("present", stack[:2], present),
        ]
        if self.make_reader().quality_maps:
            inputs.append(Port("clear", stack, "quality maps, 1 = clear"))
        return inputs

    def get_params_for(self, prefix: str) -> dict[str, Any]:
        params = super().get_params_for(prefix)
        # One scene uses all of the device.
        return {"batch_size": 1, **params} if prefix == "iterator_valid" else params

    def validation_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        step = super().validation_step(batch, **fit_params)
        prediction = step["y_pred"]
        image = self.finish(prediction[:, 0])[:, None]
        return {**step, "y_pred": torch.cat([image, prediction[:, 1:]], dim=1)}

    def _take_sizes(self):
        self.n_frames_ = self.n_frames
        for name in self.sizes:
            setattr(self, f"{name}_", getattr(self, name))

    def _learn_scale(self, scenes):
        self.scale_ = self.scale or scenes[0].scale
        if self.scale_ is None:
            raise ValueError(
                f"{type(self).__name__} learns the scale from HR images, and {scenes[0].label} has "
                "none: give scale=3, or scenes with HR images"
            )

    # Published weights are cached, so that a net and its clones do not need the file

    def _take_published(self):
        published = _published_by(type(self))
        self.scale_ = self.scale or published.params["scale"]
        for name in ("scale", *self.sizes):
            wanted, has = getattr(self, f"{name}_"), published.params[name]
            if wanted != has:
                raise ValueError(
                    f"{type(self).__name__} has {name}={wanted}, and {published.source} has "
                    f"{has}: leave {name} out, or set weights=None to train from random ones"
                )
        self.level_, self.std_, self.published_ = published.level, published.std, True
        self.band_ = band_of_path(self.weights)
        self._read_weights()

    def _read_weights(self):
        published, name = _published_by(type(self)), type(self).__name__
        return self._read_once(
            lambda: read_published(self.weights, published, self.build_module, name)
        )


class _Standardized(nn.Module):
    """Layers with standardized inputs and outputs."""

    def __init__(self, layers: nn.Module, level: float, std: float) -> None:
        super().__init__()
        self.layers = layers
        self.level = level
        self.std = std

    def forward(self, frames: torch.Tensor, present: torch.Tensor, **maps: Any) -> torch.Tensor:
        """Image and, in further channels, standard deviations, in pixel values.

        Parameters
        ----------
        frames : float tensor of shape (n, t, h, w)
            In pixel values.
        present : float tensor of shape (n, t)
            1 for frames that are present, which come first.
        **maps
            "clear" (n, t, h, w), where the layers take quality maps.

        Returns
        -------
        float32 tensor of shape (n, c, H, W)
        """
        inputs = present[:, :, None, None] * ((frames - self.level) / self.std)
        outputs = self.std * self.layers(inputs, present, **maps).float()
        return torch.cat([outputs[:, :1] + self.level, outputs[:, 1:]], dim=1)


def _published_by(kind):
    if kind.published is None:
        raise ValueError(
            f"the authors of {kind.__name__} published no weights of PyTorch: train it with fit"
        )
    return kind.published


def _level_and_std(scenes):
    """Mean and standard deviation of the clear pixels of one frame of each scene."""
    chosen = scenes[:: -(-len(scenes) // _MEASURED_SCENES)]
    means, squares = [], []
    for scene in chosen:
        lr, qm = scene.frames.read([0])
        pixels = lr[qm] if qm.any() else lr
        means.append(np.mean(pixels, dtype=np.float64))
        squares.append(np.mean(np.square(pixels, dtype=np.float64)))
    level = float(np.mean(means))
    std = float(np.sqrt(max(np.mean(squares) - level**2, 0)))
    return level, max(std, 1e-4)
