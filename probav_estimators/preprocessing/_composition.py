"""Composition of a net's input from frames and quality maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.utils._param_validation import StrOptions

from ..scenes import SubsetFrames
from ._base import SceneTransformer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..scenes import Scene

__all__ = ["InputComposer"]


def _frames_only(lr, qm):
    return lr


def _frames_times_maps(lr, qm):
    return lr * qm


def _frames_then_maps(lr, qm):
    return np.concatenate([lr, qm.astype(np.float32)])


@dataclass(frozen=True)
class _Mode:
    compose: Callable[[NDArray[np.float32], NDArray[Any]], NDArray[np.float32]]
    channels_per_frame: int
    reads_quality_maps: bool


_MODES = {
    "lr": _Mode(_frames_only, channels_per_frame=1, reads_quality_maps=False),
    "combine": _Mode(_frames_times_maps, channels_per_frame=1, reads_quality_maps=True),
    "concat": _Mode(_frames_then_maps, channels_per_frame=2, reads_quality_maps=True),
}


class InputComposer(SceneTransformer):
    """Compose the input of a net from the frames and quality maps of each scene.

    Parameters
    ----------
    mode : {"lr", "combine", "concat"}, default="lr"
        "lr": frames alone. "combine": frames times quality maps, so clouded pixels are 0.
        "concat": all frames, then all quality maps (1.0 = clear), as channels.
    frames : {"stack", "single", "mean"}, default="stack"
        "stack": the frames of a scene are the channels of one sample (multi-image). "single":
        every frame is a sample of its own, and the predictions are averaged (average single
        image). "mean": the mean of the frames and the mean of their quality maps are the frame and
        the map of one sample. With ``ClearanceSelector(k="max")``, version 2 of the study [1]_ is
        trained so. A frame that is repeated counts as often as it is given.
    average : {"all", "clearest"}, default="all"
        With ``frames="single"``: the frames whose predictions are averaged. "clearest": those that
        tie at the largest clearance, each once; a training still takes every frame as a sample.
        With ``ClearanceSelector(k=None)``, this is version 3 of the study [1]_.

    See Also
    --------
    ClearanceSelector : Selects the frames.
    BicubicUpscaler : Upscales the input for nets that don't upscale by themselves.

    Notes
    -----
    To find the clearest frames, only quality maps are read, once predictions are made. A
    registration that resamples hides pixels at the edges of frames, and so leaves fewer ties.

    References
    ----------
    .. [1] "Super Resolution - Kelvins PROBA V - Deep Learning Approach", 2019,
       https://github.com/Shiro-LK/Super-Resolution-ProbaV

    Examples
    --------
    >>> from probav_estimators import InputComposer, make_scenes
    >>> scenes = make_scenes(1, size=16, n_frames=9, random_state=0)
    >>> InputComposer(mode="concat").transform(scenes)[0].inputs.shape
    (1, 18, 16, 16)
    >>> InputComposer(mode="concat", frames="single").transform(scenes)[0].inputs.shape
    (9, 2, 16, 16)
    >>> InputComposer(mode="concat", frames="mean").transform(scenes)[0].inputs.shape
    (1, 2, 16, 16)
    """

    _parameter_constraints = {
        "mode": [StrOptions(set(_MODES))],
        "frames": [StrOptions({"stack", "single", "mean"})],
        "average": [StrOptions({"all", "clearest"})],
    }

    def __init__(
        self,
        mode: Literal["lr", "combine", "concat"] = "lr",
        frames: Literal["stack", "single", "mean"] = "stack",
        average: Literal["all", "clearest"] = "all",
    ) -> None:
        self.mode = mode
        self.frames = frames
        self.average = average

    def transform_scene(self, scene: Scene) -> Scene:
        if self.average == "clearest":
            # They keep which are the clearest when a window takes the place of their source.
            scene = scene.with_frames(SubsetFrames(scene.frames))
        return scene.with_composition(_COMPOSITIONS[self.frames, self.average](self.mode))

    def _validate_params(self):
        super()._validate_params()
        if (self.frames, self.average) not in _COMPOSITIONS:
            raise ValueError(
                f"average={self.average!r} chooses from the predictions of single frames, and "
                f"frames={self.frames!r} gives one prediction for each scene: set "
                'frames="single", or average="all"'
            )


@dataclass(frozen=True)
class _Composition:
    mode: str

    @property
    def reads_quality_maps(self):
        return _MODES[self.mode].reads_quality_maps

    def compose(self, lr, qm):
        """Channels of one sample, (c, h, w) float32, from its frames and maps (t, h, w)."""
        return _MODES[self.mode].compose(lr, qm)

    def averaged_views(self, frames):
        """Numbers of the samples whose predictions are averaged."""
        return range(self.n_views(len(frames)))

    def n_composed_frames(self, n_frames):
        """How many channels of a sample are frames."""
        return len(self.frames_of(0, n_frames))

    def n_channels(self, n_frames):
        return self.n_composed_frames(n_frames) * _MODES[self.mode].channels_per_frame


class _Stack(_Composition):
    def n_views(self, n_frames):
        return 1

    def frames_of(self, view, n_frames):
        return range(n_frames)


class _Single(_Composition):
    def n_views(self, n_frames):
        return n_frames

    def frames_of(self, view, n_frames):
        return range(view, view + 1)


class _SingleOfClearest(_Single):
    def averaged_views(self, frames):
        return np.flatnonzero(frames.clearest & ~frames.repeats).tolist()


class _Mean(_Stack):
    def n_composed_frames(self, n_frames):
        return 1

    def compose(self, lr, qm):
        return super().compose(_mean_of(lr), None if qm is None else _mean_of(qm))


def _mean_of(images):
    return images.mean(axis=0, dtype=np.float64, keepdims=True).astype(np.float32)


# By `frames` and `average`.
_COMPOSITIONS = {
    ("stack", "all"): _Stack,
    ("single", "all"): _Single,
    ("single", "clearest"): _SingleOfClearest,
    ("mean", "all"): _Mean,
}
