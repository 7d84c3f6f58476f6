"""Inputs of a net, composed of the frames and quality maps of a scene."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from ..imaging import pad_window, upscale_bicubic
from ..scenes import WHOLE, open_ends, within

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..scenes import Frames, Window

__all__ = ["KINDS", "MODES", "Inputs"]


class _Mode(NamedTuple):
    compose: Callable[[NDArray[np.float32], NDArray[Any]], NDArray[np.float32]]
    channels_per_frame: int
    reads_quality_maps: bool


MODES = {
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
        return self.n_frames * MODES[self.mode].channels_per_frame

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
        if MODES[self.mode].reads_quality_maps:
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
        return MODES[self.mode].compose(pixels, clear)


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
KINDS: dict[tuple[str, str], type[Inputs]] = {
    ("stack", "all"): Inputs,
    ("single", "all"): _SingleFrames,
    ("single", "clearest"): _SingleFramesOfClearest,
    ("mean", "all"): _MeanFrame,
}
