"""Prediction of blocks of a site by any estimator, after registration of the whole site."""

from __future__ import annotations

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from skorch import NeuralNet

from ..architectures import FusedBlock, FusionNet, reference_frame
from ..meta import PerBand
from ..persistence import is_model_file, load_model
from ..prediction import split_steps, takes_return_std
from ..preprocessing import ClearanceSelector
from ..scenes import WHOLE, DerivedFrames, Frames, align_bands, digest
from ..training import MIXED, SceneNet
from ._encoding import LearnedRange

if TYPE_CHECKING:
    from ..imaging import Alignment, Block
    from ..scenes import Scene
    from ..training import FrameChoice
    from ._frame_metadata import Reference

__all__ = ["BandPlan", "BlockPredictor", "as_block_predictor", "rebased"]

# Parameters of nets that predictions of a fitted one do not depend on.
_TRAINING_PARAMETERS = {
    *(signature(NeuralNet.__init__).parameters.keys() | signature(SceneNet.__init__).parameters),
    *("weights", "vgg_weights", "use_caching", "iterator_train", "iterator_valid"),
} - {"compute_dtype"}

# Types of learned attributes besides layers; others belong to skorch.
_SIMPLE = Number | str | tuple | np.ndarray | None

# Rows of quality maps that are read at a time.
_STRIP = 256


@dataclass(frozen=True)
class BandPlan:
    """Registration of a band: each block depends on this and on its frames alone.

    Attributes
    ----------
    scene : Scene
        The band, transformed by the estimator's own steps.
    alignment : Alignment or None
        Of its frames, if the estimator registers them.
    reference : int or None
        Number of the reference frame; None: the mean of all.
    choice : FrameChoice or None
        Selected frames, if the estimator selects some.
    """

    scene: Scene
    alignment: Alignment | None = None
    reference: int | None = None
    choice: FrameChoice | None = None

    @property
    def reach(self) -> int:
        """Largest shift of a frame in LR pixels, rounded."""
        if self.alignment is not None:
            return int(np.abs(self.alignment.pixels).max(initial=0))
        moved = [self.scene.frames.shifts]
        if self.choice is not None:
            moved.append(self.choice.shifts)
        farthest = (np.abs(shifts).max(initial=0) for shifts in moved if shifts is not None)
        return int(np.ceil(max(farthest, default=0)))

    def on(self, frames: Frames) -> BandPlan:
        """Return the plan with other frames of the band, such as a window of them."""
        scene = self.scene.with_frames(rebased(self.scene.frames, frames))
        return replace(self, scene=scene.without_truth())


def rebased(frames: Frames, base: Frames) -> Frames:
    """Return derived frames with another source; what they have cached is kept."""
    if not isinstance(frames, DerivedFrames):
        return base
    again = copy.copy(frames)
    again.source = rebased(frames.source, base)
    return again


class BlockPredictor(ABC):
    """Predicts blocks of the images of a site.

    Attributes
    ----------
    name : str
        Of the estimator.
    scale : int
        HR pixels for each LR pixel.
    gives_std : bool
        Whether it predicts standard deviations.
    gives_parts : bool
        Whether it separates measured from supposed detail.
    takes_scenes_as_they_are : bool
        Whether no step before it prepares them.
    registers_bands : bool
        Whether all bands are registered together.
    has_reference : bool
        Whether images show the date of a frame.
    """

    scale: int
    gives_std = False
    gives_parts = False
    takes_scenes_as_they_are = False
    registers_bands = False
    has_reference = False

    def __init__(self, estimator: Any, steps: Sequence[Any], name: str) -> None:
        self.estimator, self.steps, self.name = estimator, steps, name

    def learned_range(self, band: str) -> LearnedRange | None:
        """Value range that the images of a band had in training; None: it does not matter."""
        return None

    def value_range_of(self, given: Any, band: str) -> tuple[float, float] | LearnedRange | None:
        """Value range of a band: that of an argument, or a dict of these, else the learned one."""
        if isinstance(given, Mapping):
            given = {str(name): one for name, one in given.items()}.get(band)
        return self.learned_range(band) if given is None else given

    def fingerprint(self) -> str:
        """Hash of the weights and settings that predictions depend on."""
        return digest(_state_of([self.steps, self.estimator]))[:16]

    def check_reference(self, reference: Reference) -> None:
        """Raise a ValueError if the estimator has no frame of reference, and one is asked for."""
        if not self.has_reference and reference != "middle":
            raise ValueError(
                f"{self.name} has no frame of reference, and reference is {reference!r}: leave it "
                "out, or use FusionNet"
            )

    def check_parts(self, remedy: str) -> None:
        """Raise a ValueError if the estimator does not separate measured from supposed detail."""
        if not self.gives_parts:
            raise ValueError(
                f"{self.name} does not tell what in an image was measured: {remedy}, or use "
                "FusionNet"
            )

    @abstractmethod
    def plan(self, scenes: Mapping[str, Scene], reference: Reference) -> dict[str, BandPlan]:
        """Register the bands of a site, by name."""

    def match_psf(self, plan: BandPlan, band: str, n_blocks: int) -> BandPlan:
        """Return a plan with the point spread function that the blocks of a band share."""
        return plan

    @abstractmethod
    def fuse(
        self, plan: BandPlan, band: str, blocks: Sequence[Block], *, parts: bool = False
    ) -> list[FusedBlock]:
        """Predict blocks of a band; standard deviations are NaN if it has none.

        `parts`, which needs `gives_parts`, adds measured and supposed detail.
        """


class _FusionPredictor(BlockPredictor):
    """FusionNet, after the steps of its pipeline."""

    gives_std = True
    gives_parts = True
    registers_bands = True
    has_reference = True

    def __init__(self, net, steps, name):
        if not getattr(net, "initialized_", False):
            raise NotFittedError(
                f'{name} is not fitted: take FusionNet.from_pretrained("simulated-x3"), or call fit'
            )
        super().__init__(net, steps, name)
        self.scale, self.takes_scenes_as_they_are = net.scale_, not steps

    def plan(self, scenes, reference):
        return _align_together({band: (scene, self) for band, scene in scenes.items()}, reference)

    def match_psf(self, plan, band, n_blocks):
        # One block finds it itself.
        if n_blocks == 1 and self.estimator.n_augment == 1:
            return plan
        return replace(plan, alignment=self.estimator.match_psf(plan.scene, plan.alignment))

    def fuse(self, plan, band, blocks, *, parts=False):
        return self.estimator.fuse_blocks(
            plan.scene, plan.alignment, blocks, plan.reference, parts=parts
        )


class _ScenePredictor(BlockPredictor):
    """Any other estimator, which predicts windows of transformed scenes."""

    def __init__(self, estimator, steps, name):
        super().__init__(estimator, steps, name)
        scale = getattr(estimator, "scale_", None) or getattr(estimator, "scale", None)
        if scale is None:
            raise ValueError(
                f"{name} has no scale: fit it on scenes with HR images, or pass its scale, such as "
                "BicubicBaseline(scale=3)"
            )
        self.scale = scale

    def learned_range(self, band):
        limits = getattr(self.estimator, "value_range_", MIXED)
        return None if limits == MIXED else LearnedRange(limits, self.name)

    def plan(self, scenes, reference):
        self.check_reference(reference)
        for scene in scenes.values():
            _check_clear(scene)
        prepared = _prepare(self.steps, list(scenes.values()))
        if hasattr(self.estimator, "check_inputs"):
            self.estimator.check_inputs(prepared)
        for scene in prepared:
            frames = scene.frames
            # Cached here for the whole scene: a window alone gives other ones.
            _ = frames.origins, frames.shifts, scene.inputs and scene.inputs.averaged_views
        return {band: BandPlan(scene) for band, scene in zip(scenes, prepared, strict=True)}

    def fuse(self, plan, band, blocks, *, parts=False):
        fused = []
        for block in blocks:
            image, deviation = self.predict_block(plan, block)
            frames = self.frames_of(plan)
            once = np.flatnonzero(~frames.repeats)
            clear = frames.read_clear(once, (block.rows, block.columns))
            if deviation is None:
                deviation = np.broadcast_to(np.float32(np.nan), image.shape)
            fused.append(FusedBlock(image, deviation, clear.sum(axis=0, dtype=np.uint16)))
        return fused

    def frames_of(self, plan):
        """Frames whose clear pixels are counted."""
        return plan.scene.frames

    def predict_block(self, plan, block):
        """Image of a block, and its standard deviations or None."""
        (image,) = self.estimator.predict([plan.scene.crop(block.window)])
        return np.asarray(image, np.float32)[block.inside(self.scale)], None


class _FrameNetPredictor(_ScenePredictor):
    """A net of frames, which are selected once for the whole site."""

    def __init__(self, estimator, steps, name):
        estimator.check_is_fitted()
        super().__init__(estimator, steps, name)
        self.gives_std = takes_return_std(estimator)

    def plan(self, scenes, reference):
        reader = self.estimator.make_reader()
        return {
            band: replace(plan, choice=reader.choose(plan.scene))
            for band, plan in super().plan(scenes, reference).items()
        }

    def predict_block(self, plan, block):
        image, *beside = self.estimator.predict_block(plan.scene, plan.choice, block).numpy()
        return image, beside[0] if self.gives_std else None


class _BaselinePredictor(_ScenePredictor):
    """A mean of the clearest frames of the whole site."""

    def __init__(self, estimator, steps, name):
        super().__init__(estimator, [*steps, _ClearestFiller()], name)

    def frames_of(self, plan):
        return plan.scene.frames.others


class _ClearestFiller(ClearanceSelector):
    """Selects the clearest frames, and fills clouded pixels from the others."""

    def __init__(self):
        super().__init__(k="max")

    def transform_scene(self, scene):
        return scene.with_frames(_FilledFrames(super().transform_scene(scene).frames))


class _FilledFrames(DerivedFrames):
    """Selected frames whose clouded pixels are the mean of all frames that are clear there."""

    @property
    def others(self):
        """All frames, before selection."""
        return self.source.source

    def read(self, index=None, window=WHOLE):
        lr, qm = self.source.read(index, window)
        others, clear = self.others.read(None, window)
        mean = (others * clear).sum(axis=0) / np.maximum(clear.sum(axis=0), 1)
        filled = np.where(qm | ~clear.any(axis=0), lr, mean.astype(np.float32))
        return filled, np.ones_like(qm)


class _PerBandPredictor(BlockPredictor):
    """A predictor for each band."""

    def __init__(self, estimator, steps, name):
        if not hasattr(estimator, "estimators_"):
            raise ValueError(f"{name} is not fitted: call its fit, or give it fitted")
        super().__init__(estimator, steps, name)
        self.predictors = {}
        for band, fitted in estimator.estimators_.items():
            predictor = as_block_predictor(fitted)
            predictor.steps = [*steps, *predictor.steps]
            self.predictors[band] = predictor
        scales = {predictor.scale for predictor in self.predictors.values()}
        if len(scales) > 1:
            raise ValueError(f"{name} has estimators of different scales: {sorted(scales)}")
        self.scale = scales.pop()
        self.gives_std = all(predictor.gives_std for predictor in self.predictors.values())
        self.gives_parts = all(predictor.gives_parts for predictor in self.predictors.values())
        self.has_reference = all(one.has_reference for one in self.predictors.values())

    def learned_range(self, band):
        return self.predictors[band].learned_range(band) if band in self.predictors else None

    def fingerprint(self):
        return digest({band: one.fingerprint() for band, one in self.predictors.items()})[:16]

    def plan(self, scenes, reference):
        if unknown := [band for band in scenes if band not in self.predictors]:
            raise ValueError(
                f"{self.name} was fitted on the bands {', '.join(map(str, self.predictors))} and "
                f"not on {', '.join(unknown)}: name those that it knows, bands=[...]"
            )
        chosen = {band: (scene, self.predictors[band]) for band, scene in scenes.items()}
        if all(predictor.registers_bands for _, predictor in chosen.values()):
            return _align_together(chosen, reference)
        plans = {}
        for band, (scene, predictor) in chosen.items():
            plans |= predictor.plan({band: scene}, reference)
        return plans

    def match_psf(self, plan, band, n_blocks):
        return self.predictors[band].match_psf(plan, band, n_blocks)

    def fuse(self, plan, band, blocks, *, parts=False):
        return self.predictors[band].fuse(plan, band, blocks, parts=parts)


def _state_of(value):
    """Replace each estimator, also a nested one, by the attributes that predictions depend on."""
    if isinstance(value, list | tuple):
        return [_state_of(part) for part in value]
    if isinstance(value, dict):
        return {key: _state_of(part) for key, part in value.items()}
    if not isinstance(value, BaseEstimator):
        return value
    kept = vars(value)
    if isinstance(value, NeuralNet):
        params = value.get_params(deep=False).keys() - _TRAINING_PARAMETERS
        learned = {
            name
            for name, part in kept.items()
            if name.endswith("_") and isinstance(part, _SIMPLE) and name != "seed_"
        }
        kept = {name: kept[name] for name in {"module_", *params, *learned} & kept.keys()}
    return [type(value), {name: _state_of(part) for name, part in kept.items()}]


def _align_together(bands, reference):
    """Register bands of FusionNets on one grid."""
    prepared = []
    for scene, predictor in bands.values():
        prepared += _prepare(predictor.steps, [scene])
        predictor.estimator.check_inputs(prepared[-1:])
    plans = {}
    for band, scene, alignment in zip(bands, prepared, align_bands(prepared), strict=True):
        # "middle" is the default, which the net's own parameter may change.
        asked = bands[band][1].estimator.reference if reference == "middle" else reference
        frame = reference_frame(scene, alignment, asked)
        plans[band] = BandPlan(scene, alignment, frame)
    return plans


def _prepare(steps, scenes):
    for step in steps:
        scenes = step.transform(scenes)
    return list(scenes)


def _check_clear(scene):
    height, width = scene.shape
    strips = (slice(row, row + _STRIP) for row in range(0, height, _STRIP))
    if not any(scene.frames.read_clear(None, (rows, slice(0, width))).any() for rows in strips):
        raise ValueError(
            f"{scene.label}: every pixel of every frame is clouded or no data, so there is nothing "
            "to fuse: give better masks, or leave them out"
        )


def as_block_predictor(estimator: Any, device: str | None = None) -> BlockPredictor:
    """Return the predictor of blocks of an estimator.

    Parameters
    ----------
    estimator : str, path-like, fitted estimator or BlockPredictor
        Name of shipped weights, a file of weights or of a model, a net, a baseline, a pipeline or a
        search. A predictor is returned as it is.
    device : str, default=None
        Device of named weights. None: "auto".

    Raises
    ------
    ValueError
        If it is none of these, not fitted, or has no scale.
    FileNotFoundError
        If there are no such weights.
    """
    if isinstance(estimator, BlockPredictor):
        return estimator
    if isinstance(estimator, str | os.PathLike) and is_model_file(estimator):
        return as_block_predictor(load_model(estimator, device=device))
    if isinstance(estimator, str | os.PathLike):
        options: dict[str, Any] = {} if device is None else {"device": device}
        net = FusionNet.from_pretrained(estimator, verbose=0, **options)
        return _FusionPredictor(net, [], os.path.basename(os.fspath(estimator)))
    if isinstance(estimator, type) or not hasattr(estimator, "predict"):
        raise ValueError(
            f"estimator is {estimator!r}: give the name of shipped weights, such as "
            '"simulated-x3", a file of weights, or a fitted estimator of this package'
        )
    steps, estimator = split_steps(estimator)
    name = type(estimator).__name__
    if isinstance(estimator, PerBand):
        return _PerBandPredictor(estimator, steps, name)
    kinds: dict[str, type[Any]] = {
        "fuse_blocks": _FusionPredictor,
        "predict_block": _FrameNetPredictor,
        "averages_clearest": _BaselinePredictor,
    }
    kind = next((kinds[one] for one in kinds if hasattr(estimator, one)), _ScenePredictor)
    return kind(estimator, steps, name)
