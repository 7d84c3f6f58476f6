"""Registration of frames."""

from __future__ import annotations

from functools import cached_property
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils._param_validation import Interval

from ..imaging import Registration, register_frames
from ..scenes import WHOLE, DerivedFrames, SubsetFrames, open_ends, read_moved
from ._base import SceneTransformer

if TYPE_CHECKING:
    from ..scenes import Frames, Scene

__all__ = ["FrameRegistrar"]


class FrameRegistrar(SceneTransformer):
    """Estimate the sub-pixel shift of every frame against the clearest one, and undo it.

    Clouded pixels of both frames are masked, and the estimate is robust against clouds that the
    quality maps miss, gain, offset and slow change. The new scenes have the estimated `shifts`, and
    `placed` for which frames there is one: a frame that can't be registered (all clouded, no
    texture, another site) keeps shift 0 and is not resampled.

    Parameters
    ----------
    apply : bool, default=True
        True: frames are resampled on the clearest one by bicubic interpolation, and a pixel stays
        clear if all pixels that it is interpolated from are. False: only the shifts are recorded,
        for a net that uses them.
    max_shift : float, default=8.0
        Greatest shift along each axis that is searched, in LR pixels.

    See Also
    --------
    probav_estimators.imaging.register_frames : The same for arrays, with the method.
    FusionNet : Registers by itself, and uses sub-pixel shifts without resampling.

    Notes
    -----
    A frame that a ClearanceSelector repeats is registered once, and its copies have its shift.

    The reference is the first of the frames with the most clear pixels that can be registered: not
    one under haze that its map misses. Frames are read and registered on demand.

    Examples
    --------
    >>> from probav_estimators import FrameRegistrar, make_scenes
    >>> scenes = make_scenes(1, size=64, n_frames=9, random_state=0)
    >>> (registered,) = FrameRegistrar(apply=False).transform(scenes)
    >>> error = registered.shifts - scenes[0].true_shifts
    >>> bool(abs(error - error.mean(axis=0)).max() < 0.1)
    True
    """

    _parameter_constraints = {
        "apply": ["boolean"],
        "max_shift": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, *, apply: bool = True, max_shift: float = 8.0) -> None:
        self.apply = apply
        self.max_shift = max_shift

    def transform_scene(self, scene: Scene) -> Scene:
        frames: Frames = _RegisteredFrames(scene.frames, self.max_shift)
        return scene.with_frames(_AlignedFrames(frames) if self.apply else frames)


class _RegisteredFrames(SubsetFrames):
    """The same frames with estimated shifts."""

    def __init__(self, frames, max_shift):
        super().__init__(frames, max_shift=max_shift)
        self._max_shift = max_shift

    @property
    def shifts(self):
        return self._registration.shifts

    @property
    def placed(self):
        return self._registration.placed

    @cached_property
    def _registration(self):
        _, once, copies = np.unique(self.source.origins, return_index=True, return_inverse=True)
        # In their old order: the first of the clearest frames is the reference.
        order = np.argsort(once)
        pixels, clear = self.source.read(once[order])
        found = register_frames(pixels, clear, max_shift=self._max_shift)
        return Registration(*(values[np.argsort(order)[copies]] for values in found))


class _AlignedFrames(DerivedFrames):
    """Registered frames, resampled to undo their shifts."""

    @property
    def aligned(self):
        return True

    def read(self, index=None, window=WHOLE):
        index = range(len(self)) if index is None else index
        return read_moved(self.source, index, self.shifts[index], open_ends(window, self.shape))
