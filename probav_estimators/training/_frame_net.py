"""Base of the nets that take the frames of a scene one by one, at LR size."""

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
from ..scenes import check_scenes
from ._frame_sampling import FrameDataset, FrameReader, collate_stacks
from ._pretrained_net import PretrainedNet
from ._progress import show_progress
from ._published import PublishedWeights, band_of_path, read_published
from ._scene_net import SceneNet
from ._weights import Weights

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from ..imaging import Block
    from ..losses import SceneLoss
    from ..prediction import Images
    from ..scenes import Scene
    from ._frame_sampling import FrameChoice

__all__ = ["FrameNet"]

# Scenes whose level and contrast are measured before a net is made.
_MEASURED_SCENES = 32

_COUNT = [Interval(Integral, 1, None, closed="left")]

_PARAMETERS = """
    scale : int, default=None
        HR pixels for each LR pixel. None: that of the weights or of the scenes.
    border : int, default=3
        HR pixels of shift that training forgives, as the challenge does: what a `criterion` that
        is a class with such a parameter is made with, unless ``criterion__border`` says otherwise.
        A `criterion` that is an instance keeps its own.
    tile_size : int, default=128
        Scenes that are larger, in LR pixels along an axis, are predicted in tiles of at most this
        size, each with what surrounds it. None: as a whole.
    weights : path-like, default=None
        File of the authors' weights to begin with, see :meth:`from_published`. None: random
        weights."""

_ATTRIBUTES = """
    n_frames_ : int
        How many frames of a scene take part at most.
    level_, std_ : float
        Mean and standard deviation of the training scenes, in pixel values, or what the authors of
        published weights have in their place: frames are given to the layers as differences from
        the level in this unit, and so is what they make.
    published_ : bool
        Whether the weights began as published ones, and images are made as their authors made
        them.
    band_ : str or None
        Spectral band that published weights are of, if the name of their folder says so."""


class FrameNet(PretrainedNet):
    """Base of all nets that take the frames of a scene one by one, at LR size.

    The clearest frames take part, at most `n_frames`; batches of scenes with fewer are filled up
    with frames that are not present. A subclass overrides :meth:`build_layers`. Where its paper
    asks for it, it sets `sizes`, `reach` and `published`, and overrides :meth:`make_reader`
    (choice, order and registration of frames) and :meth:`finish`.

    {parameters}
    n_frames : int, default=24
        How many frames at most.

    {attributes}

    See Also
    --------
    SceneRegressor : Base of the nets that work on what InputComposer makes.
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

    collate = staticmethod(collate_stacks)

    prediction_parameters = frozenset({"tile_size"})

    #: Names of the parameters that say how large the layers are.
    sizes: ClassVar[tuple[str, ...]] = ()

    #: LR pixels around a pixel that its value depends on: tiles are computed with as many; 64 at
    #: most.
    reach: ClassVar[int] = 64

    #: Whether the graph of the layers does not depend on the number of frames, for export_onnx.
    takes_any_number: ClassVar[bool] = False

    #: The weights that the authors published, if they did.
    published: ClassVar[PublishedWeights | None] = None

    n_frames_: int
    level_: float
    std_: float
    published_: bool
    band_: str | None

    _parameter_constraints = PretrainedNet._parameter_constraints | {
        "n_frames": _COUNT,
        "scale": [Interval(Integral, 2, None, closed="left"), None],
        "border": [Interval(Integral, 0, None, closed="left")],
        "tile_size": [Interval(Integral, 8, None, closed="left"), None],
        "weights": [str, os.PathLike, None],
    }

    def __init__(
        self,
        *,
        n_frames: int = 24,
        scale: int | None = None,
        border: int = 3,
        tile_size: int | None = 128,
        weights: str | os.PathLike[str] | None = None,
        batch_size: int = 4,
        **kwargs: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, **kwargs)
        self.n_frames = n_frames
        self.scale = scale
        self.border = border
        self.tile_size = tile_size
        self.weights = weights

    # What a subclass overrides

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
            (n, t), 1 for frames that are there, which come first; with quality maps in the samples
            "clear" (n, t, h, w) too. It returns (n, c, H, W): the image and, in further channels,
            standard deviations, both in the unit of the frames. It has no other sizes than those of
            `sizes`, whose values are attributes of the net with an underscore at their end.
        """

    def make_reader(self) -> FrameReader:
        """Make what chooses and reads the frames of a scene.

        Returns
        -------
        FrameReader
        """
        return FrameReader(self.n_frames_)

    def finish(self, images: torch.Tensor) -> torch.Tensor:
        """Change whole images as the paper does once they are made.

        Parameters
        ----------
        images : float tensor of shape (n, H, W)
            In pixel values.

        Returns
        -------
        float tensor of shape (n, H, W)
        """
        return images

    # What a user calls

    @classmethod
    def from_published(cls, path: str | os.PathLike[str], **params: Any) -> Self:
        """A fitted net with the weights that the authors of the network published.

        Frames are chosen, ordered, registered and scaled, and images are made, as the authors' own
        code does it when it predicts. `fit` goes on from these weights, and so do clones of the
        net.

        Parameters
        ----------
        path : path-like
            A file of yours; it is read as data, no code in it is run. The class says where it is
            found and under which license.
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
        # As the authors computed: bfloat16 would be seen in the third digit.
        settings = {"compute_dtype": "float32", **_published_by(cls).params}
        return cls(weights=path, **settings | params).initialize()

    def predict(self, X: Sequence[Scene]) -> Images:
        # A copy, so that nothing but the image stays.
        return stack_images([channels[0].copy() for channels in self._channels_of(X)])

    def _channels_of(self, X):
        """What is made of each scene, (c, H, W), one after the other."""
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
            Only windows of its frames are read, if they can be.

        Returns
        -------
        float32 tensor of shape (c, H, W)
            The finished image, in [0, 1] unless the scene has a `value_range`, and what the net
            makes beside it.
        """
        choice = self.make_reader().choose(scene)
        size = tuple(self.scale_ * length for length in scene.shape)
        channels: Any = None
        for block in plan_blocks(scene.shape, self.tile_size):
            part = self.predict_block(scene, choice, block)
            if channels is None:
                channels = torch.empty((len(part), *size))
            channels[:, *block.place(self.scale_)] = part
        image = self.finish(channels[:1])
        channels[:1] = image if scene.value_range else image.clamp(0, 1)
        return channels

    def predict_block(self, scene: Scene, choice: FrameChoice, block: Block) -> torch.Tensor:
        """Super-resolve a block of a scene, whose image is not finished yet.

        Parameters
        ----------
        scene : Scene
            Only the window of the block is read.
        choice : FrameChoice
            What :meth:`make_reader`'s reader chooses of the whole scene.
        block : Block
            Of :func:`probav_estimators.imaging.plan_blocks`.

        Returns
        -------
        float32 tensor of shape (c, H', W')
        """
        window = pad_window((block.rows, block.columns), scene.shape, self.reach)
        sample = self.make_reader().read(scene, choice, window)
        outputs = self.evaluation_step(self.collate([(sample, {"scene": 0})]))[0]
        inside = block._replace(window=window).inside(self.scale_)
        return outputs[:, *inside].float().cpu()

    # What SceneNet asks

    def initialize(self) -> Self:
        self._check_parameters()
        if self.weights is not None and not hasattr(self, "level_"):
            self._take_sizes()
            self._take_published()
        return super().initialize()

    def build_module(self) -> nn.Module:
        return _Standardized(self.build_layers(self.scale_), self.level_, self.std_)

    def make_dataset(
        self, scenes: Sequence[Scene], *, loss: SceneLoss | None = None, training: bool = False
    ) -> FrameDataset:
        return FrameDataset(
            scenes,
            self.make_reader(),
            with_truth=loss is not None and loss.needs_truth,
            patch_size=self.patch_size if training else None,
            augment=self.augment and training,
        )

    def learn_layout(self, scenes: Sequence[Scene]) -> None:
        self._take_sizes()
        if self.weights is not None:
            self._take_published()
        else:
            self._learn_scale(scenes)
            self.published_, self.band_ = False, None
            self.level_, self.std_ = _level_and_std(scenes)
        if self.start_from is not None:
            net = self._starting_net()
            for name in ("level_", "std_", "published_", "band_"):
                setattr(self, name, getattr(net, name))
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

    def starting_weights(self) -> Weights | None:
        if self.weights is None or self.start_from is not None:
            return super().starting_weights()
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
        # The frames of one scene fill the machine.
        return {"batch_size": 1, **params} if prefix == "iterator_valid" else params

    def get_loss(
        self,
        y_pred: torch.Tensor,
        y_true: dict[str, torch.Tensor],
        X: dict[str, torch.Tensor] | None = None,
        training: bool = False,
    ) -> torch.Tensor:
        # Further channels are standard deviations, and the status map is no truth of them.
        return super().get_loss(y_pred[:, :1], y_true, X, training)

    def run_single_epoch(
        self, iterator: DataLoader[Any], training: bool, *args: Any, **kwargs: Any
    ) -> None:
        if not training:
            super().run_single_epoch(iterator, training, *args, **kwargs)
            return
        # Layers that leave out a part draw on torch's global generators.
        on_gpu = torch.device(self.device).type == "cuda"
        with torch.random.fork_rng(devices=[torch.device(self.device)] if on_gpu else []):
            seed = int(np.random.SeedSequence(self._epoch_seed()).generate_state(1)[0])
            torch.default_generator.manual_seed(seed)
            if on_gpu:
                torch.cuda.manual_seed(seed)
            super().run_single_epoch(iterator, training, *args, **kwargs)

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

    # Published weights stay in memory, so that a net and its clones outlive their file

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
        path = os.path.abspath(self.weights)
        if self._loaded is None or self._loaded[0] != path:
            published = _published_by(type(self))
            state = read_published(path, published, self.build_module, type(self).__name__)
            self._loaded = path, state
        return self._loaded[1]


class _Standardized(nn.Module):
    """Layers that see frames as differences from a level in units of a standard deviation."""

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
            1 for frames that are there, which come first.
        **maps
            "clear" (n, t, h, w), where the layers take quality maps.

        Returns
        -------
        float32 tensor of shape (n, c, H, W)
        """
        seen = present[:, :, None, None] * ((frames - self.level) / self.std)
        outputs = self.std * self.layers(seen, present, **maps).float()
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
