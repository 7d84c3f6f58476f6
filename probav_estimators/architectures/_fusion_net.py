"""Fusion of any number of frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self, overload

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from skorch.utils import to_tensor

from ..imaging import plan_blocks
from ..losses import GREATEST_SIGMA, mean_shift, uncertainty_loss
from ..prediction import stack_images
from ..scenes import Scene, align_scene, check_scenes, clip_image
from ..scoring import calibration_factor, standardized_errors
from ..training import (
    AlignedReader,
    collate_frames,
    read_sample,
    show_progress,
    turn_sample,
)
from ._block_predictor import BlockPredictor, FusedBlock, reference_frame
from ._fusion_layers import FusionLayers
from ._fusion_ports import FUSION_INPUTS
from ._fusion_weights import FusionWeights
from ._orientation import orientation_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from ..imaging import Alignment, Block
    from ..ports import Port
    from ..prediction import Images

__all__ = ["FusionNet", "ImageParts"]


class ImageParts(NamedTuple):
    """Parts of fused images that the frames determine, and that the learned prior adds.

    Attributes
    ----------
    measured_share : float32 array of shape (n, H, W), or a list of images if sizes differ
        Share of the prior's variance that the frames took away, from 0 (supposed) to 1 (measured).
    measured_detail, supposed_detail : the same
        Difference of an image from the bicubic upscaling of the mean of its registered frames, in
        pixel values: the part that the frames determine, and the rest.
    """

    measured_share: Any
    measured_detail: Any
    supposed_detail: Any


class FusionNet(FusionWeights):
    """Fusion of any number of unregistered, partly clouded frames into one image.

    Frames are registered to a fraction of a pixel, normalised to one gain and offset, and corrected
    for slow distortion. In each stage a forward model degrades the current image to every frame,
    back-projects the residuals, and learned layers update the image. Cloudy pixels are masked,
    outliers get low weights, and the result does not depend on the order of frames. At the end a
    data-consistency layer moves the image to the most probable one, given its frames.

    Takes scenes as they are: there is no InputComposer before it. If a FrameRegistrar precedes, its
    shifts are used.

    {parameters}
    width : int, default=64
        Channels of the learned layers.
    depth : int, default=4
        Residual blocks in each of the three stages.
    scale : int, default=None
        HR pixels for each LR pixel. None: that of the weights or of the scenes.
    psf_sigma : float, default=None
        Standard deviation of the sensor's Gaussian PSF in LR pixels, without that of the square
        pixel, at most 1. None: estimated for each scene. Differences between frames are always
        estimated.
    reference : {"middle", "clearest"} or int, default="middle"
        Date and illumination of the predicted image where the scene changes: the mean of all
        frames, the clearest frame, or the frame of that number. It does not change the grid, which
        is the mean position of all frames, and is not used in training.
    data_consistency : bool or "every stage", default=True
        Whether the image is moved to the most probable one, given the learned image and the frames:
        after the last stage, or after every stage.
    n_augment : int, default=1
        Predictions to average: of the scene in its orientation, then of its 7 flips and turns, then
        of flips and turns of subsets of its frames.
    tile_size : int, default=384
        Side in LR pixels of the blocks that larger scenes are predicted in. Blocks have halos, so
        that no seams appear. None: no blocks.

    {attributes}
    width_, depth_ : int
        Size of the layers.
    displacement_ : tuple of two floats
        Displacement (down, right) in HR pixels of images from the initial weights, as stored with
        them, else 0. It is added to the shifts of the frames, in training and prediction, as a
        correction.
    psf_sigma_ : float
        After a training with ReprojectionLoss: the estimated PSF in LR pixels.

    See Also
    --------
    FrameRegistrar : Registration as a separate step.
    ReprojectionLoss : Fine-tuning without HR images.

    Notes
    -----
    A training puts images in the place of their truths. Where that is known (the `true_shifts` of
    simulated scenes), frames are registered to the truth and no shift is tolerated. Else each image
    is tolerated one (`border` of the loss), but their mean over a batch, squared, adds to the loss.
    Validation scores tolerate shifts, as the challenge's. The likelihood of the standard deviations
    is a part of the loss.

    With ``augment=True`` training also drops frames and pixels at random. Each `fit` registers a
    scene once; scenes of more than 512 x 512 LR pixels are registered in windows.

    Learned weights are not symmetric. `predict` therefore turns each scene to an orientation that
    follows from the shifts of its frames [1]_, so that a flipped or turned scene has the flipped or
    turned image. Frames without shifts are predicted as they are: a single one, or those that a
    FrameRegistrar moved. A training takes scenes as they lie: give ``augment=True`` to learn all
    orientations.

    Frames of constant value do not contribute detail. Pixels that are clear in no frame are filled
    from their surroundings, with a large standard deviation.

    References
    ----------
    .. [1] S.-O. Kaba et al., "Equivariance with learned canonicalization functions", International
       Conference on Machine Learning, 2023.

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

    prediction_parameters = frozenset({"n_augment", "tile_size", "reference", "data_consistency"})

    likelihood = staticmethod(uncertainty_loss)

    #: Weight in the loss of the squared mean shift in HR pixels: 0.02 does not stop a drift.
    shift_weight: ClassVar[float] = 0.1

    leaves_frames_out = True

    # It works in units of the level and the contrast of each scene.
    depends_on_unit = False

    _parameter_constraints = FusionWeights._parameter_constraints | {
        "width": [Interval(Integral, 1, None, closed="left")],
        "depth": [Interval(Integral, 1, None, closed="left")],
        "scale": [Interval(Integral, 2, None, closed="left"), None],
        "psf_sigma": [Interval(Real, 0, GREATEST_SIGMA, closed="right"), None],
        "reference": [
            StrOptions({"middle", "clearest"}),
            Interval(Integral, 0, None, closed="left"),
        ],
        "data_consistency": ["boolean", StrOptions({"every stage"})],
        "n_augment": [Interval(Integral, 1, None, closed="left")],
        "tile_size": [Interval(Integral, 64, None, closed="left"), None],
    }

    def __init__(
        self,
        *,
        width: int = 64,
        depth: int = 4,
        scale: int | None = None,
        psf_sigma: float | None = None,
        reference: Literal["middle", "clearest"] | int = "middle",
        data_consistency: Literal["every stage"] | bool = True,
        n_augment: int = 1,
        tile_size: int | None = 384,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.depth = depth
        self.scale = scale
        self.psf_sigma = psf_sigma
        self.reference = reference
        self.data_consistency = data_consistency
        self.n_augment = n_augment
        self.tile_size = tile_size

    @overload
    def predict(
        self,
        X: Sequence[Scene],
        return_std: Literal[False] = False,
        return_parts: Literal[False] = ...,
    ) -> Images: ...

    @overload
    def predict(
        self, X: Sequence[Scene], return_std: Literal[True], return_parts: Literal[False] = ...
    ) -> tuple[Images, Images]: ...

    @overload
    def predict(
        self, X: Sequence[Scene], return_std: bool, return_parts: Literal[False] = ...
    ) -> Images | tuple[Images, Images]: ...

    @overload
    def predict(self, X: Sequence[Scene], return_std: bool = ..., *, return_parts: bool) -> Any: ...

    def predict(
        self, X: Sequence[Scene], return_std: bool = False, return_parts: bool = False
    ) -> Any:
        """Super-resolve scenes.

        Parameters
        ----------
        X : list of Scene
            HR images are not needed.
        return_std : bool, default=False
            Whether to return the standard deviation of the error too.
        return_parts : bool, default=False
            Whether to return what in the images was measured too.

        Returns
        -------
        images : float32 array of shape (n, H, W), or a list of images if sizes differ
            In [0, 1], unless a scene has a `value_range`.
        deviations : the same
            Standard deviation of each pixel's error, in pixel values, after correction of bias and
            whole-pixel shift; only with `return_std`.
        parts : ImageParts
            Only with `return_parts`.

        Raises
        ------
        ValueError
            If a scene has another scale than the net, or no clear pixels.
        """
        if not return_parts:
            return super().predict(X, return_std)
        images, deviations, *parts = zip(*self._channels_of(X, parts=True), strict=True)
        stacked = [stack_images(list(images)), stack_images(list(deviations))]
        return *stacked[: 1 + return_std], ImageParts(*(stack_images(list(x)) for x in parts))

    def _channels_of(
        self, X: Sequence[Scene], *, parts: bool = False
    ) -> Iterator[NDArray[np.float32]]:
        self.check_is_fitted()
        scenes = check_scenes(X, type(self).__name__)
        self.check_inputs(scenes)
        with show_progress(self, len(scenes)) as progress:
            for scene in scenes:
                channels: Any = self.predict_into(scene, parts=parts)
                clip_image(channels[0], scene)
                yield channels
                progress.update()

    def predict_into(
        self, scene: Scene, out: NDArray[np.floating] | None = None, *, parts: bool = False
    ) -> NDArray[np.floating]:
        """Super-resolve one scene of any size, block by block.

        Parameters
        ----------
        scene : Scene
            Only windows of its frames are read, if its :class:`~probav_estimators.Frames` can.
        out : array of shape (2, H, W), default=None
            Array to write to, such as a `numpy.memmap`. None: a new array.
        parts : bool, default=False
            Whether to add the three images of :class:`ImageParts`; `out` has 5 channels then.

        Returns
        -------
        array of shape (2, H, W) or (5, H, W)
            Image, not clipped to [0, 1], and standard deviation; with `parts`, these.

        Raises
        ------
        ValueError
            If the net cannot take `scene`, or `out` is no float array of that shape.
        """
        self.check_is_fitted()
        if not isinstance(scene, Scene):
            raise ValueError(f"predict_into takes one Scene, got {type(scene).__name__}")
        self.check_inputs([scene])
        out = _array_of(out, scene, self.scale_, 5 if parts else 2)
        alignment = align_scene(scene)
        reference = reference_frame(scene, alignment, self.reference)
        blocks = plan_blocks(scene.shape, self.tile_size)
        if len(blocks) > 1 or self.n_augment > 1:
            alignment = self.match_psf(scene, alignment)
        for block in blocks:
            (fused,) = self.fuse_blocks(scene, alignment, [block], reference, parts=parts)
            images = [fused.image, fused.deviation, *(() if fused.parts is None else fused.parts)]
            out[:, *block.place(self.scale_)] = images
        return out

    def fuse_blocks(
        self,
        scene: Scene,
        alignment: Alignment,
        blocks: Sequence[Block],
        reference: int | None = None,
        *,
        parts: bool = False,
    ) -> list[FusedBlock]:
        """Super-resolve blocks of a scene.

        Parameters
        ----------
        scene : Scene
            Only the windows of the blocks are read.
        alignment : Alignment
            Registration of its frames, from :func:`probav_estimators.scenes.align_scene`.
        blocks : list of Block
            From :func:`probav_estimators.imaging.plan_blocks`. Blocks with windows of one shape are
            computed as a batch.
        reference : int, default=None
            Frame that the image shows. None: the mean of all.
        parts : bool, default=False
            Whether to return what in the images was measured.

        Returns
        -------
        list of FusedBlock

        Notes
        -----
        Give the alignment of :meth:`match_psf` for several blocks, so that they have the point
        spread function in common.
        """
        return BlockPredictor(self, scene, alignment, reference, parts).predict(blocks)

    def match_psf(self, scene: Scene, alignment: Alignment) -> Alignment:
        """Estimate the PSF of the frames relative to the image, from a window of the scene.

        Blocks of a scene need it in common; a scene of one block is predicted without.

        Parameters
        ----------
        scene : Scene
        alignment : Alignment
            Registration of its frames.

        Returns
        -------
        Alignment
            With the estimate.
        """
        if self.psf_sigma is None:
            variance = BlockPredictor(self, scene, alignment, None).match()
        else:
            told, _ = alignment.psf.mean_variance(self.psf_sigma)
            variance = float(self.module_.consistency.told_variance(told))
        return replace(alignment, psf=alignment.psf._replace(from_image=variance))

    def sensor_variance(self, alignment: Alignment) -> float:
        """PSF variance of the sensor in squared LR pixels, of an alignment of :meth:`match_psf`."""
        return float(self.module_.consistency.sensor_variance(alignment.psf.from_image))

    def calibrate(self, X: Sequence[Scene]) -> Self:
        """Scale the standard deviations to the errors on scenes with HR images.

        Parameters
        ----------
        X : list of Scene
            Held-out scenes of the sensor and kind of landscape to predict; at least ten.

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
        Split conformal prediction [1]_: one standard deviation covers 68.27 % of the clear pixels
        of a new scene of the same kind, on average over such scenes. Pixels of a scene are
        dependent, so every scene has the same weight in the quantile [2]_. Calibrating again on the
        same scenes changes nothing.

        References
        ----------
        .. [1] H. Papadopoulos et al., "Inductive confidence machines for regression", European
           Conference on Machine Learning, 2002.
        .. [2] R. Dunn, L. Wasserman, A. Ramdas, "Distribution-free prediction sets for two-layer
           hierarchical models", Journal of the American Statistical Association 118, 2023.
        """
        self.check_is_fitted()
        scenes = check_scenes(X, type(self).__name__, truth=True)
        errors = []
        for scene in scenes:
            (image,), (std,) = self.predict([scene], return_std=True)
            errors.append(standardized_errors(image, std, scene, border=self._border))
        self.module_.calibration *= calibration_factor(errors)
        return self

    # Overrides of SceneNet

    def set_params(self, **params: Any) -> Self:
        super().set_params(**params)
        if getattr(self, "initialized_", False):
            self.module_.data_consistency = self.data_consistency
        return self

    def build_module(self) -> nn.Module:
        return FusionLayers(self.scale_, self.width_, self.depth_, self.data_consistency)

    def make_reader(self) -> AlignedReader:
        return AlignedReader(self.psf_sigma, truths_in_place=True)

    def graph_inputs(self) -> list[Port]:
        return list(FUSION_INPUTS)

    def graph_samples(self, scene: Scene) -> dict[str, torch.Tensor]:
        alignment = align_scene(scene)
        orientation = orientation_of(alignment)
        sample = read_sample(scene, alignment, psf_sigma=self.psf_sigma)
        sample = turn_sample(sample, *orientation)
        sample["orientation"] = torch.tensor(orientation, dtype=torch.float32)
        return collate_frames([(sample, {})])[0]

    def infer(self, x: dict[str, torch.Tensor], **fit_params: Any) -> torch.Tensor:
        x = self.add_displacement(to_tensor(dict(x), device=self.device))
        left_out = x.pop("left_out", None)
        if left_out is not None:
            x["weights"] = x["weights"] * (1 - left_out)[..., None, None]
        return super().infer(x, **fit_params)

    def further_loss(
        self, prediction: torch.Tensor, target: dict[str, torch.Tensor]
    ) -> torch.Tensor | float:
        loss = super().further_loss(prediction, target)
        if "truth" not in target or not self.shift_weight:
            return loss
        unknown = ~target["in_place"]
        if not unknown.any():
            return loss
        sr, (hr, clear) = prediction[unknown, 0], target["truth"][unknown].unbind(dim=1)
        return loss + self.shift_weight * mean_shift(sr, hr, clear, self._border).square().sum()

    def compute(
        self,
        inputs: dict[str, torch.Tensor],
        wanted: Literal["image", "parts", "variance"] = "image",
    ) -> torch.Tensor:
        """Apply the layers to the inputs of a batch, see :meth:`FusionLayers.forward`."""
        with torch.no_grad():
            self._set_training(False)
            return self.infer(inputs, wanted=wanted)

    @property
    def psf_sigma_(self) -> float:
        """PSF estimated by a training without HR images, in LR pixels."""
        return self.criterion_.psf_sigma_


def _array_of(out, scene, scale, n_channels):
    """Check the array that images of a scene are written to, or make it."""
    shape = (n_channels, *(scale * length for length in scene.shape))
    if out is None:
        return np.empty(shape, np.float32)
    if getattr(out, "shape", None) != shape or out.dtype.kind != "f":
        got = f"{type(out).__name__} of shape {getattr(out, 'shape', None)}"
        raise ValueError(
            f"predict_into: out must be a float array of shape {shape} for "
            f"{scene.label}, got {got} and type {getattr(out, 'dtype', None)}"
        )
    return out
