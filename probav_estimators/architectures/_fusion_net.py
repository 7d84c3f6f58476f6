"""Fusion of any number of frames."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, overload

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from skorch.utils import to_tensor

from ..imaging import plan_blocks
from ..losses import uncertainty_loss
from ..ports import OUTPUTS, Port
from ..prediction import stack_images
from ..scenes import Scene, align_scene, check_scenes
from ..scoring import standardized_errors
from ..training import (
    FusionDataset,
    PretrainedNet,
    Weights,
    collate_frames,
    load_weights,
    read_sample,
    save_weights,
    shipped_weights,
    show_progress,
    turn_and_flip,
    turn_sample,
)
from ._fusion_layers import FusionLayers
from ._fusion_ports import FUSION_INPUTS

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from ..imaging import Alignment, Block
    from ..losses import SceneLoss
    from ..prediction import Images

__all__ = ["FusedBlock", "FusionNet", "is_displacement"]

# What fine-tuning wants, where pretrained weights are to be improved and not to be lost.
_FINE_TUNING = {"lr": 1e-4, "batch_size": 4}

# Part of normally distributed errors that lies within one standard deviation.
_ONE_SIGMA = 0.6827

# Part of the frames that a variant of the self-ensemble with fewer frames has.
_ENSEMBLE_FRAMES = 0.8

# Rows that are read at a time where pixels are counted.
_STRIP = 256

# Keys of the displacement in the config of a file, which files without one do not have.
_DISPLACEMENT = ("displacement_down", "displacement_right")


class FusedBlock(NamedTuple):
    """Part of an image.

    Attributes
    ----------
    image, deviation : float32 arrays of shape (H', W')
        In pixel values, not clipped, and the standard deviation of each pixel's error.
    n_clear : uint16 array of shape (h', w')
        How many frames are clear at each LR pixel.
    """

    image: NDArray[np.float32]
    deviation: NDArray[np.float32]
    n_clear: NDArray[np.uint16]


class FusionNet(PretrainedNet):
    """Fuse any number of unregistered, partly clouded frames into one image.

    Frames are registered to a small part of a pixel, brought to one gain and offset, and compared
    with a growing image at their exact places by a model of the sensor; what they have in addition
    is put back, and learned layers make the most probable landscape of it, stage by stage. Pixels
    that a quality map hides never take part, pixels that contradict the others hardly do, and the
    order of the frames does not matter.

    Takes scenes as they are: there is no InputComposer before it. A FrameRegistrar may stand
    before it; its shifts are used then.

    {parameters}
    weights : str or path-like, default=None
        Pretrained weights to begin with: the name of those that ship with the package, or a file
        that :meth:`save_pretrained` wrote. None: random weights.
    width : int, default=64
        Channels of the learned layers.
    depth : int, default=4
        Residual blocks in each of the three stages.
    scale : int, default=None
        HR pixels for each LR pixel. None: that of the weights or of the scenes.
    border : int, default=3
        HR pixels of shift that training forgives, as the challenge does: what a `criterion` that
        is a class with such a parameter is made with, unless ``criterion__border`` says otherwise,
        and at which shifts standard deviations are fitted. A `criterion` that is an instance keeps
        its own.
    psf_sigma : float, default=None
        Standard deviation of the sensor's Gaussian point spread function, in LR pixels; that of the
        square pixel comes on top. How frames differ from each other is estimated in any case. None:
        that too is estimated, for each scene.
    reference : {"middle", "clearest"} or int, default="middle"
        Which date a prediction shows where the scene changes, and in whose light: the mean of all
        frames, the clearest frame, or the frame of that number. The image lies in the middle of all
        frames in any case. Training does not look at it.
    uncertainty_weight : float, default=0.004
        Weight of the likelihood that makes the standard deviation fit the errors.
    n_augment : int, default=1
        Predictions to average: the first is of the scene as it is, the next 7 are of its flips and
        turns, those beyond 8 of flipped and turned parts of its frames.
    tile_size : int, default=384
        Scenes that are larger, in LR pixels along an axis, are predicted in tiles of at most this
        size, each with what surrounds it, so that they fit together without a seam. None: as a
        whole.

    {attributes}
    width_, depth_ : int
        Size of the layers.
    displacement_ : tuple of two floats
        Displacement (down, right) in HR pixels that the initial weights give an image, as stored
        with them; 0 if nothing is stored. Predictions and training correct it: the layers get the
        shifts of the frames plus this displacement.
    psf_sigma_ : float
        After a training with ReprojectionLoss: the sensor's point spread function, in LR pixels.

    See Also
    --------
    FrameRegistrar : Registration as a step of its own.
    ReprojectionLoss : Fine-tuning without HR images.

    Notes
    -----
    With ``augment=True`` training also drops frames and pixels at random. A scene is registered
    and measured once for each `fit`. A scene of more than 512 x 512 LR pixels is surveyed in
    windows from border to border.

    Frames of constant value say nothing about detail; a place that no frame sees is filled from its
    surroundings, with a large standard deviation.

    The image lies in the middle of all frames, the best guess of where a truth that no frame is
    registered to lies.

    Examples
    --------
    >>> from probav_estimators import FusionNet, make_scenes
    >>> scenes = make_scenes(2, size=32, random_state=0)
    >>> net = FusionNet.from_pretrained("simulated-x3")
    >>> images, deviations = net.predict(scenes, return_std=True)
    >>> images.shape, deviations.shape
    ((2, 96, 96), (2, 96, 96))
    """

    collate = staticmethod(collate_frames)

    prediction_parameters = frozenset({"n_augment", "tile_size", "reference"})

    leaves_frames_out = True

    # Nets that were pickled before there was a displacement have none.
    displacement_: tuple[float, float] = (0.0, 0.0)

    _parameter_constraints = PretrainedNet._parameter_constraints | {
        "weights": [str, os.PathLike, None],
        "width": [Interval(Integral, 1, None, closed="left")],
        "depth": [Interval(Integral, 1, None, closed="left")],
        "scale": [Interval(Integral, 2, None, closed="left"), None],
        "border": [Interval(Integral, 0, None, closed="left")],
        "psf_sigma": [Interval(Real, 0, None, closed="neither"), None],
        "reference": [
            StrOptions({"middle", "clearest"}),
            Interval(Integral, 0, None, closed="left"),
        ],
        "uncertainty_weight": [Interval(Real, 0, None, closed="left")],
        "n_augment": [Interval(Integral, 1, None, closed="left")],
        "tile_size": [Interval(Integral, 64, None, closed="left"), None],
    }

    def __init__(
        self,
        *,
        weights: str | os.PathLike[str] | None = None,
        width: int = 64,
        depth: int = 4,
        scale: int | None = None,
        border: int = 3,
        psf_sigma: float | None = None,
        reference: Literal["middle", "clearest"] | int = "middle",
        uncertainty_weight: float = 0.004,
        n_augment: int = 1,
        tile_size: int = 384,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.weights = weights
        self.width = width
        self.depth = depth
        self.scale = scale
        self.border = border
        self.psf_sigma = psf_sigma
        self.reference = reference
        self.uncertainty_weight = uncertainty_weight
        self.n_augment = n_augment
        self.tile_size = tile_size

    @classmethod
    def from_pretrained(
        cls,
        weights: str | os.PathLike[str] | None = None,
        *,
        scale: int | None = None,
        **params: Any,
    ) -> Self:
        """A fitted net with pretrained weights.

        `fit` goes on from these weights, and so do clones of the net. For this the learning rate
        is 1e-4 and the batch size 4, unless `params` says otherwise.

        Parameters
        ----------
        weights : str or path-like, default=None
            Name of shipped weights, or a file that :meth:`save_pretrained` wrote. None: those that
            ship for the scale.
        scale : int, default=None
            HR pixels for each LR pixel. None: that of the weights, or 3.
        **params
            Parameters of the net.

        Returns
        -------
        FusionNet

        Raises
        ------
        FileNotFoundError
            If there are no such weights.
        ValueError
            If no weights ship for the scale, if the file is truncated or belongs to another class,
            or if `params` ask for another scale or size than the weights have.
        """
        if weights is None:
            weights = _name_of_shipped(scale or 3)
        config = _load(cls, weights).config
        shape = {key: config[key] for key in ("width", "depth")}
        net = cls(weights=weights, scale=scale, **_FINE_TUNING | shape | params)
        return net.initialize()

    def save_pretrained(
        self, path: str | os.PathLike[str], *, dtype: Literal["float32", "bfloat16"] = "float32"
    ) -> None:
        """Write the weights of the fitted net, for :meth:`from_pretrained`.

        Parameters
        ----------
        path : path-like
            A safetensors file; it is replaced as a whole or not at all.
        dtype : {"float32", "bfloat16"}, default="float32"
            Type of the layers' weights in the file. "bfloat16" halves it; a loaded net computes as
            before, with weights of 8 significant bits.

        Raises
        ------
        ValueError
            If `dtype` is something else, or if the training has diverged.
        """
        self.check_is_fitted()
        if dtype not in ("float32", "bfloat16"):
            raise ValueError(f"dtype must be 'float32' or 'bfloat16', got {dtype!r}")
        state = {
            # A single number is not worth being rounded.
            name: value.to(getattr(torch, dtype)) if value.ndim else value
            for name, value in self.module_.state_dict().items()
        }
        config = self.layout()
        if any(self.displacement_):
            config |= dict(zip(_DISPLACEMENT, self.displacement_, strict=True))
        save_weights(Weights(state, type(self).__name__, config), path)

    @overload
    def predict(self, X: Sequence[Scene], return_std: Literal[False] = False) -> Images: ...

    @overload
    def predict(self, X: Sequence[Scene], return_std: Literal[True]) -> tuple[Images, Images]: ...

    @overload
    def predict(self, X: Sequence[Scene], return_std: bool) -> Images | tuple[Images, Images]: ...

    def predict(
        self, X: Sequence[Scene], return_std: bool = False
    ) -> Images | tuple[Images, Images]:
        """Super-resolve scenes.

        Parameters
        ----------
        X : list of Scene
            HR images are not needed.
        return_std : bool, default=False
            Whether to return the standard deviation of the error too.

        Returns
        -------
        images : float32 array of shape (n, H, W), or a list of such images if their sizes differ
            In [0, 1], unless a scene has a `value_range`.
        deviations : the same
            Standard deviation of each pixel's error, in pixel values, once the image's mean error
            and its shift by whole pixels are taken away; only with `return_std`.

        Raises
        ------
        ValueError
            If a scene has another scale than the net, or nothing but clouds.
        """
        self.check_is_fitted()
        scenes = check_scenes(X, type(self).__name__)
        self.check_inputs(scenes)
        images, deviations = [], []
        with show_progress(self, len(scenes)) as progress:
            for scene in scenes:
                image, deviation = self.predict_into(scene)
                images.append(image if scene.value_range else np.clip(image, 0, 1, out=image))
                deviations.append(deviation)
                progress.update()
        if return_std:
            return stack_images(images), stack_images(deviations)
        return stack_images(images)

    def predict_into(
        self, scene: Scene, out: NDArray[np.floating] | None = None
    ) -> NDArray[np.floating]:
        """Super-resolve one scene of any size, tile by tile.

        Parameters
        ----------
        scene : Scene
            Only windows of its frames are read, if they can be (see
            :class:`~probav_estimators.Frames`).
        out : array of shape (2, H, W), default=None
            What to write to, such as a `numpy.memmap` of an image that is larger than memory.
            None: a new array.

        Returns
        -------
        array of shape (2, H, W)
            Image, not clipped to [0, 1], and standard deviation.

        Raises
        ------
        ValueError
            If `scene` is no scene that the net can take, or `out` has another shape or values that
            are no floats.
        """
        self.check_is_fitted()
        if not isinstance(scene, Scene):
            raise ValueError(f"predict_into takes one Scene, got {type(scene).__name__}")
        self.check_inputs([scene])
        out = self._check_out(out, scene)
        alignment = align_scene(scene)
        reference = self.reference_frame(scene, alignment)
        for block in plan_blocks(scene.shape, self.tile_size):
            (fused,) = self.fuse_blocks(scene, alignment, [block], reference)
            out[:, *block.place(self.scale_)] = fused.image, fused.deviation
        return out

    def fuse_blocks(
        self,
        scene: Scene,
        alignment: Alignment,
        blocks: Sequence[Block],
        reference: int | None = None,
    ) -> list[FusedBlock]:
        """Super-resolve blocks of a scene: each by itself, or several at a time.

        Parameters
        ----------
        scene : Scene
            Only the windows of the blocks are read.
        alignment : Alignment
            How its frames lie, as :func:`probav_estimators.scenes.align_scene` finds it.
        blocks : list of Block
            Of :func:`probav_estimators.imaging.plan_blocks`. Those whose windows have one shape are
            computed together, which fills a GPU.
        reference : int, default=None
            Number of the frame that the image is to look like. None: the mean of all.

        Returns
        -------
        list of FusedBlock
        """
        windows: dict[Any, list[int]] = {}
        for number, block in enumerate(blocks):
            shape = tuple(part.stop - part.start for part in block.window)
            windows.setdefault((shape, _core(block)), []).append(number)
        fused: dict[int, FusedBlock] = {}
        for numbers in windows.values():
            chosen = [blocks[number] for number in numbers]
            for number, one in zip(
                numbers, self._fuse(scene, alignment, chosen, reference), strict=True
            ):
                fused[number] = one
        return [fused[number] for number in range(len(blocks))]

    def reference_frame(
        self,
        scene: Scene,
        alignment: Alignment,
        reference: Literal["middle", "clearest"] | int | None = None,
    ) -> int | None:
        """Number of the frame that the image is to look like.

        Parameters
        ----------
        scene : Scene
        alignment : Alignment
            How its frames lie.
        reference : {"middle", "clearest"} or int, default=None
            In place of the parameter `reference`.

        Returns
        -------
        int or None
            None: the mean of all.

        Raises
        ------
        ValueError
            If that frame does not take part.
        """
        reference = self.reference if reference is None else reference
        if reference == "middle":
            return None
        if reference == "clearest":
            return int(alignment.index[np.argmax(_clearance(scene, alignment.index))])
        if reference not in alignment.index:
            raise ValueError(
                f"{scene.label}: frame {reference} cannot be the reference, as it is "
                "not there, repeats another, is clouded or could not be placed: use one of "
                f"{', '.join(map(str, alignment.index))}, or reference='clearest'"
            )
        return reference

    def _check_out(self, out, scene):
        shape = (2, *(self.scale_ * length for length in scene.shape))
        if out is None:
            return np.empty(shape, np.float32)
        if getattr(out, "shape", None) != shape or out.dtype.kind != "f":
            got = f"{type(out).__name__} of shape {getattr(out, 'shape', None)}"
            raise ValueError(
                f"predict_into: out must be a float array of shape {shape} for scene "
                f"{scene.name}, got {got} and type {getattr(out, 'dtype', None)}"
            )
        return out

    def _fuse(self, scene, alignment, blocks, reference):
        """Fused blocks that have the same place in windows of one shape."""
        images = variances = 0
        n_clear = []
        inside = blocks[0].inside(1)
        for chosen, turn, flip in _variants(alignment, self.n_augment, reference):
            samples = [self._read(scene, chosen, block.window, reference) for block in blocks]
            if not n_clear:
                n_clear = [sample["weights"].sum(dim=0)[inside].numpy() for sample in samples]
            images_in, targets = collate_frames([(turn_sample(x, turn, flip), {}) for x in samples])
            images_in["core"] = torch.tensor(_core(blocks[0], turn, flip))
            outputs = self.evaluation_step((images_in, targets)).cpu()
            # A flip is undone before the turns that came before it.
            outputs = turn_and_flip(turn_and_flip(outputs, 0, flip), -turn, False).numpy()
            images, variances = images + outputs[:, 0], variances + outputs[:, 1] ** 2
        images, deviations = images / self.n_augment, np.sqrt(variances / self.n_augment)
        return [
            FusedBlock(image, deviation, clear.astype(np.uint16))
            for image, deviation, clear in zip(images, deviations, n_clear, strict=True)
        ]

    def _read(self, scene, alignment, window, reference):
        sample = read_sample(scene, alignment, window, psf_sigma=self.psf_sigma)
        if reference is not None:
            number = alignment.index.tolist().index(reference)
            sample["reference"] = torch.tensor(number)
            # The image is to have the light of that day.
            gain, offset = alignment.gains[number], alignment.offsets[number]
            sample["level"] = gain * sample["level"] + offset
            sample["std"] = gain * sample["std"]
        return sample

    def calibrate(self, X: Sequence[Scene]) -> Self:
        """Scale the standard deviations to the errors on scenes with HR images.

        Parameters
        ----------
        X : list of Scene
            Of the sensor and the kind of landscape that is to be predicted, and none that the net
            was trained on. The more, the better; ten are few.

        Returns
        -------
        FusionNet
            The net itself. :meth:`save_pretrained` and pickles keep the scale.

        Raises
        ------
        ValueError
            If a scene has no HR image or another scale than the net.

        Notes
        -----
        Split conformal prediction [1]_: the factor is that quantile of errors in standard
        deviations which makes one standard deviation cover 68.27 % of the clear pixels of a new
        scene of the same kind, on average over such scenes. Pixels of a scene are not independent,
        so every scene has the same part in the quantile, however large it is [2]_. A second call
        starts from the net's own deviations again, as long as the scenes are the same.

        References
        ----------
        .. [1] H. Papadopoulos et al., "Inductive confidence machines for regression", European
           Conference on Machine Learning, 2002.
        .. [2] R. Dunn, L. Wasserman, A. Ramdas, "Distribution-free prediction sets for two-layer
           hierarchical models", Journal of the American Statistical Association 118, 2023.
        """
        self.check_is_fitted()
        scenes = check_scenes(X, type(self).__name__, truth=True)
        levels = np.linspace(0, 1, 1001)
        errors = []
        for scene in scenes:
            (image,), (deviation,) = self.predict([scene], return_std=True)
            error = standardized_errors(image, deviation, scene, border=self.border)
            errors.append(np.quantile(np.abs(error), levels))
        factor = np.quantile(np.concatenate(errors), min(1, _ONE_SIGMA * (1 + 1 / len(scenes))))
        self.module_.calibration *= float(factor)
        return self

    # What SceneNet asks

    def initialize(self) -> Self:
        self._check_parameters()
        if not hasattr(self, "width_"):
            # Without scenes, parameters or weights must tell the scale.
            self._take_layout(getattr(self, "scale_", None))
        super().initialize()
        self.displacement_ = self._initial_displacement()
        return self

    def build_module(self) -> nn.Module:
        return FusionLayers(self.scale_, self.width_, self.depth_)

    def make_dataset(
        self, scenes: Sequence[Scene], *, loss: SceneLoss | None = None, training: bool = False
    ) -> FusionDataset:
        return FusionDataset(
            scenes,
            with_truth=loss is not None and loss.needs_truth,
            left_out=0.0 if loss is None else loss.left_out,
            patch_size=self.patch_size if training else None,
            augment=self.augment and training,
            psf_sigma=self.psf_sigma,
        )

    def learn_layout(self, scenes: Sequence[Scene]) -> None:
        self._take_layout(scenes[0].scale)
        if self.scale_ is None:
            raise ValueError(
                f"{type(self).__name__} learns the scale from HR images, and scene "
                f"{scenes[0].name} has none: give scale=3, or weights"
            )
        self.check_inputs(scenes)

    def layout(self) -> dict[str, Any]:
        return {**super().layout(), "width": self.width_, "depth": self.depth_}

    def starting_weights(self) -> Weights | None:
        if self.weights is None or self.start_from is not None:
            return super().starting_weights()
        return self._pretrained()

    def graph_inputs(self) -> list[Port]:
        return list(FUSION_INPUTS)

    def graph_outputs(self) -> list[Port]:
        return [OUTPUTS["image"], OUTPUTS["std"]]

    def correct_shifts(self, x: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Add the displacement to the shifts of the frames, so that images are not displaced.

        Parameters
        ----------
        x : dict of str to tensor
            A batch of samples.

        Returns
        -------
        dict of str to tensor
            The same, with other "fractions" if there is a displacement.

        Notes
        -----
        It is a displacement in the coordinates of the layers, so samples that are flipped or turned
        get the same correction.
        """
        x = dict(x)
        if any(self.displacement_):
            fractions = x["fractions"]
            x["fractions"] = fractions + fractions.new_tensor(self.displacement_) / self.scale_
        return x

    def infer(self, x: dict[str, torch.Tensor], **fit_params: Any) -> torch.Tensor:
        x = self.correct_shifts(to_tensor(dict(x), device=self.device))
        left_out = x.pop("left_out", None)
        if left_out is not None:
            x["weights"] = x["weights"] * (1 - left_out)[..., None, None]
        return super().infer(x, **fit_params)

    def get_loss(
        self,
        y_pred: torch.Tensor,
        y_true: dict[str, torch.Tensor],
        X: dict[str, torch.Tensor] | None = None,
        training: bool = False,
    ) -> torch.Tensor:
        loss = super().get_loss(y_pred[:, :1], y_true, X, training)
        if "truth" not in y_true or not self.uncertainty_weight:
            return loss
        truth = to_tensor(y_true["truth"], device=self.device)
        return loss + self.uncertainty_weight * uncertainty_loss(y_pred, truth, self.border)

    @property
    def psf_sigma_(self) -> float:
        """Point spread function that a training without HR images estimated, in LR pixels."""
        return self.criterion_.psf_sigma_

    def _take_layout(self, scale):
        """Take scale and size from the parameters, and see that pretrained weights have them."""
        pretrained = None if self.weights is None else self._pretrained().config
        self.scale_ = self.scale or (scale if pretrained is None else pretrained["scale"])
        self.width_, self.depth_ = self.width, self.depth
        for key, value in self.layout().items():
            if pretrained is not None and pretrained[key] != value:
                raise ValueError(
                    f"{type(self).__name__} has {key} {value} and the weights {self.weights!r} "
                    f"have {key} {pretrained[key]}: give weights of that {key}, or weights=None "
                    "to train from random ones"
                )

    def _initial_displacement(self):
        """Displacement of the weights that a training starts from."""
        if self.start_from is not None:
            return self._starting_net().displacement_
        if self.weights is None:
            return 0.0, 0.0
        config = self._pretrained().config
        return tuple(float(config.get(key, 0)) for key in _DISPLACEMENT)

    # Pretrained weights stay in memory, so that a net and its clones outlive their file

    def _pretrained(self):
        try:
            self._loaded = self.weights, _load(type(self), self.weights)
        except FileNotFoundError:
            if self._loaded is None or self._loaded[0] != self.weights:
                raise
        return self._loaded[1]


def _name_of_shipped(scale):
    name = f"simulated-x{scale}"
    if name not in shipped_weights():
        names = ", ".join(map(repr, shipped_weights()))
        raise ValueError(
            f"no weights ship for scale {scale!r} ({names} do): train FusionNet(scale={scale!r}), "
            "or give a file"
        )
    return name


def _load(kind, name):
    weights = load_weights(name)
    if weights.architecture != kind.__name__:
        raise ValueError(
            f"the weights {os.fspath(name)!r} are of {weights.architecture} and not of "
            f"{kind.__name__}: give weights of that class"
        )
    _check_config(weights)
    return weights


def _check_config(weights):
    # What a file holds bounds what its config may ask for, in memory and in time.
    n_values = sum(value.numel() for value in weights.state.values())
    limits = {"scale": n_values, "width": n_values, "depth": len(weights.state)}
    config = weights.config
    displacement = [config[key] for key in _DISPLACEMENT if key in config]
    if (
        config.keys() - {*_DISPLACEMENT} != limits.keys()
        or not all(
            type(config[key]) is int and 1 <= config[key] <= limit for key, limit in limits.items()
        )
        or not is_displacement(displacement or (0.0, 0.0), config["scale"])
    ):
        raise ValueError(
            f"{weights.path} has the config {config}, which its weights cannot have: it may be "
            "damaged, fetch it again"
        )


def is_displacement(values: Sequence[Any], scale: int) -> bool:
    """Whether values can be a displacement: two numbers of at most half an LR pixel."""
    return len(values) == 2 and all(
        type(value) in (int, float) and abs(value) <= scale / 2 for value in values
    )


def _clearance(scene, index):
    """Clear pixels of some frames, counted in strips: the scene may be larger than memory."""
    height, width = scene.shape
    return sum(
        scene.frames.read_qm(index, (slice(row, row + _STRIP), slice(0, width))).sum(axis=(1, 2))
        for row in range(0, height, _STRIP)
    )


def _core(block, turn=0, flip=0):
    """First and last row and column of a block within its window, turned and flipped."""
    wanted = np.zeros([part.stop - part.start for part in block.window], bool)
    wanted[block.inside(1)] = True
    wanted = turn_and_flip(wanted, turn, flip)
    rows, columns = (np.flatnonzero(wanted.any(axis=axis)) for axis in (1, 0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _variants(alignment, n_augment, reference):
    """(alignment, turn, flip) of the predictions that are averaged."""
    rng = np.random.default_rng(0)
    t = len(alignment.index)
    for number in range(n_augment):
        chosen = alignment
        if number >= 8 and t > 1:
            part = rng.permutation(t)[: max(1, round(_ENSEMBLE_FRAMES * t))]
            part = np.union1d(part, np.flatnonzero(alignment.index == reference))
            # The images are to lie on each other.
            chosen = alignment.choose(part, move=False)
        yield chosen, number % 4, number // 4 % 2
