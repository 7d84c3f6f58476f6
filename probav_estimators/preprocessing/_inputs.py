"""Inputs of nets, composed of frames and quality maps and upscaled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from ..imaging import pad_window, upscale_bicubic
from ..scenes import WHOLE, SubsetFrames, open_ends, within
from ._transformers import SceneTransformer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..scenes import Frames, Scene, Window

__all__ = ["BicubicUpscaler", "InputComposer", "Inputs"]


class _Mode(NamedTuple):
    compose: Callable[[NDArray[np.float32], NDArray[Any]], NDArray[np.float32]]
    channels_per_frame: int
    reads_quality_maps: bool


_MODES = {
    "lr": _Mode(lambda pixels, clear: pixels, 1, reads_quality_maps=False),
    "combine": _Mode(lambda pixels, clear: pixels * clear, 1, reads_quality_maps=True),
    "concat": _Mode(
        lambda pixels, clear: np.concatenate([pixels, clear.astype(np.float32)]),
        channels_per_frame=2,
        reads_quality_maps=True,
    ),
}


@dataclass(frozen=True)
class Inputs:
    """Inputs of a net: v samples of c channels, composed when they are read.

    Here all frames are channels of one sample, as of ``InputComposer(frames="stack")``.

    Parameters
    ----------
    frames : Frames
    mode : {"lr", "combine", "concat"}
        As of InputComposer.
    scale : int, default=1
        Pixels for each LR pixel along each axis; 1 without BicubicUpscaler.
    """

    frames: Frames
    mode: str
    scale: int = 1

    @property
    def n_views(self) -> int:
        """Number of samples, all of which a training takes."""
        return 1

    @property
    def averaged_views(self) -> Sequence[int]:
        """Numbers of the samples whose predictions are averaged.

        Quality maps are read for it with ``InputComposer(frames="single", average="clearest")``.
        """
        return range(self.n_views)

    @property
    def n_frames(self) -> int:
        """Number of the leading channels of a sample that are frames."""
        return len(self._frames_of(0))

    @property
    def n_channels(self) -> int:
        """Number of channels of each sample."""
        return self.n_frames * _MODES[self.mode].channels_per_frame

    def read(self, window: Window | None = None) -> NDArray[np.float32]:
        """Read all samples.

        Parameters
        ----------
        window : tuple of two slices, default=None
            Rows and columns in LR pixels; nothing else is composed or upscaled. None: all.

        Returns
        -------
        float32 array of shape (v, c, h', w')
        """
        return np.stack([self.read_view(view, window) for view in range(self.n_views)])

    def read_view(self, view: int, window: Window | None = None) -> NDArray[np.float32]:
        """Read one sample.

        Parameters
        ----------
        view : int
            Its number.
        window : tuple of two slices, default=None
            As for `read`.

        Returns
        -------
        float32 array of shape (c, h', w')
        """
        window = wanted = open_ends(window or WHOLE, self.frames.shape)
        if self.scale > 1:
            wanted = pad_window(window, self.frames.shape)
        index = self._frames_of(view)
        if _MODES[self.mode].reads_quality_maps:
            composed = self._compose(*self.frames.read(index, wanted))
        else:
            composed = self._compose(self.frames.read_pixels(index, wanted), None)
        if self.scale == 1:
            return composed
        return upscale_bicubic(composed, self.scale, within(window, wanted))

    def read_mean(self, view: int, scale: int, window: Window | None = None) -> NDArray[np.float32]:
        """Read the mean of the frames of one sample, upscaled by the bicubic kernel.

        Clouded pixels are averaged only where no frame is clear.

        Parameters
        ----------
        view : int
            Number of the sample.
        scale : int
            HR pixels for each LR pixel.
        window : tuple of two slices, default=None
            As for `read`.

        Returns
        -------
        float32 array of shape (scale * h', scale * w')
        """
        window = open_ends(window or WHOLE, self.frames.shape)
        wanted = pad_window(window, self.frames.shape)
        pixels, clear = self.frames.read(self._frames_of(view), wanted)
        clear = clear | ~clear.any(axis=0)
        mean = (pixels * clear).sum(axis=0) / clear.sum(axis=0, dtype=np.float32)
        return upscale_bicubic(mean, scale, within(window, wanted))

    def with_frames(self, frames: Frames) -> Self:
        """The same inputs of other frames."""
        return replace(self, frames=frames)

    @property
    def recipe(self) -> tuple[str, str, int]:
        """How the inputs are composed, without the frames."""
        return type(self).__qualname__, self.mode, self.scale

    def _frames_of(self, view):
        return range(len(self.frames))

    def _compose(self, pixels, clear):
        """Channels of one sample, (c, h, w) float32, of its frames and maps (t, h, w)."""
        return _MODES[self.mode].compose(pixels, clear)


class _SingleFrames(Inputs):
    """Every frame is a sample."""

    @property
    def n_views(self) -> int:
        return len(self.frames)

    def _frames_of(self, view):
        return range(view, view + 1)


class _SingleFramesOfClearest(_SingleFrames):
    """Every frame is a sample; predictions of the clearest are averaged."""

    @property
    def averaged_views(self) -> Sequence[int]:
        return np.flatnonzero(self.frames.clearest & ~self.frames.repeats).tolist()


class _MeanFrame(Inputs):
    """The mean frame is the only sample."""

    @property
    def n_frames(self) -> int:
        return 1

    def _compose(self, pixels, clear):
        return super()._compose(_mean(pixels), None if clear is None else _mean(clear))


def _mean(images):
    return images.mean(axis=0, dtype=np.float64, keepdims=True).astype(np.float32)


# By `frames` and `average` of InputComposer.
_KINDS: dict[tuple[str, str], type[Inputs]] = {
    ("stack", "all"): Inputs,
    ("single", "all"): _SingleFrames,
    ("single", "clearest"): _SingleFramesOfClearest,
    ("mean", "all"): _MeanFrame,
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
    >>> InputComposer(mode="concat").transform(scenes)[0].inputs.read().shape
    (1, 18, 16, 16)
    >>> InputComposer(mode="concat", frames="single").transform(scenes)[0].inputs.read().shape
    (9, 2, 16, 16)
    >>> InputComposer(mode="concat", frames="mean").transform(scenes)[0].inputs.read().shape
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
            # These keep which frames are the clearest when a window replaces their source.
            scene = scene.with_frames(SubsetFrames(scene.frames))
        kind = _KINDS[self.frames, self.average]
        return scene.with_inputs(kind(scene.frames, self.mode))

    def _validate_params(self):
        super()._validate_params()
        if (self.frames, self.average) not in _KINDS:
            raise ValueError(
                f"average={self.average!r} chooses from the predictions of single frames, and "
                f"frames={self.frames!r} gives one prediction for each scene: set "
                'frames="single", or average="all"'
            )


class BicubicUpscaler(SceneTransformer):
    """Upscale the composed input of each scene by the bicubic kernel.

    Nets that work at HR size (SRCNN, SRVGG16) need it; others, such as FSRCNN, upscale by
    themselves.

    Parameters
    ----------
    scale : int, default=3
        How many pixels each LR pixel becomes along each axis.

    See Also
    --------
    InputComposer : Must stand before this step.

    Notes
    -----
    Keys' cubic kernel [1]_ with a = -0.75 and half-pixel centres, as in torch and OpenCV, and equal
    to both but for the rounding of their weights. Values are not clipped.

    References
    ----------
    .. [1] R. Keys, "Cubic convolution interpolation for digital image processing", IEEE
       Transactions on Acoustics, Speech, and Signal Processing 29(6), 1153-1160, 1981.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from probav_estimators import BicubicUpscaler, InputComposer, make_scenes
    >>> scenes = make_scenes(1, size=16, n_frames=9, random_state=0)
    >>> pipe = make_pipeline(InputComposer(), BicubicUpscaler(scale=3))
    >>> pipe.fit_transform(scenes)[0].inputs.read().shape
    (1, 9, 48, 48)
    """

    _parameter_constraints = {"scale": [Interval(Integral, 2, None, closed="left")]}

    def __init__(self, scale: int = 3) -> None:
        self.scale = scale

    def transform_scene(self, scene: Scene) -> Scene:
        if scene.inputs is None:
            raise ValueError(
                f"BicubicUpscaler got {scene.label}, which has no inputs yet: put an "
                "InputComposer before it"
            )
        if scene.inputs.scale != 1:
            raise ValueError(
                f"BicubicUpscaler got {scene.label}, which is upscaled already: leave one "
                "upscaler in the pipeline"
            )
        return scene.with_inputs(replace(scene.inputs, scale=self.scale))
