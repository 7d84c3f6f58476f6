"""Base of the transformers, and those of frames: selection and registration."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils._param_validation import Interval, StrOptions

from ..doc_links import SceneEstimatorMixin
from ..imaging import Registration, register_frames, select_clearest
from ..scenes import (
    WHOLE,
    ChosenFrames,
    DerivedFrames,
    SubsetFrames,
    check_scenes,
    open_ends,
    read_moved,
)

if TYPE_CHECKING:
    from sklearn.utils import Tags

    from ..scenes import Frames, Scene

__all__ = ["ClearanceSelector", "FrameRegistrar", "SceneTransformer"]


class SceneTransformer(SceneEstimatorMixin, TransformerMixin, BaseEstimator, ABC):
    """Base of transformers, from a list of scenes to a list of lazy scenes.

    A subclass defines `_parameter_constraints` and `transform_scene`, which changes one scene and
    must not read pixels: they are read from the new scene.

    See Also
    --------
    probav_estimators.scenes.DerivedFrames : Base of frames that are derived from a scene's frames.
    """

    def fit(self, X: Sequence[Scene], y: object = None) -> Self:
        """Check the parameters and the scenes; nothing is learned.

        Parameters
        ----------
        X : list of Scene
        y : None
            Not used: a scene carries its truth.

        Returns
        -------
        self
        """
        self._check(X)
        return self

    def transform(self, X: Sequence[Scene]) -> list[Scene]:
        """Record the transformation in new scenes.

        Parameters
        ----------
        X : list of Scene

        Returns
        -------
        list of Scene
            The scenes of `X` do not change. A copy of the transformer is recorded in the `steps`
            of the new ones, to be applied to validation scenes later.

        Raises
        ------
        ValueError
            If a parameter is not valid, or `X` is empty or holds anything but scenes.
        """
        scenes = self._check(X)
        # One record for all scenes: together they are pickled with one copy of each step.
        record = copy.copy(self)
        recorded: dict[int, tuple[Any, ...]] = {}
        for scene in scenes:
            recorded.setdefault(id(scene.steps), (*scene.steps, record))
        return [
            self.transform_scene(scene).with_steps(recorded[id(scene.steps)]) for scene in scenes
        ]

    def _check(self, X):
        self._validate_params()
        return check_scenes(X, type(self).__name__)

    @abstractmethod
    def transform_scene(self, scene: Scene) -> Scene:
        """Return the scene that `scene` becomes."""

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags


class ClearanceSelector(SceneTransformer):
    """Select the clearest frames of each scene.

    The clearance of a frame is the number of pixels that its quality map calls clear. Frames come
    clearest first.

    Parameters
    ----------
    k : int, "max" or None, default=9
        How many frames. A scene with fewer repeats them in turn; registration and fusion take each
        of them once. "max": all that tie at the largest clearance. None: all,
        sorted.
    ties : {"first", "last"}, default="first"
        Order of frames with equal clearance. "first": as in the scene. "last": reversed, as
        ``numpy.argsort(clearance)[::-1]`` orders them in the study of [1]_.

    See Also
    --------
    InputComposer : Makes the input of a net from the selected frames.

    Notes
    -----
    Only quality maps are read, once pixels or the order of the frames are needed.

    For more than 16 frames, NumPy's order of ties depends on the machine unless the sort is stable,
    as it is here: that of the study may differ.

    References
    ----------
    .. [1] "Super Resolution - Kelvins PROBA V - Deep Learning Approach", 2019,
       https://github.com/Shiro-LK/Super-Resolution-ProbaV

    Examples
    --------
    >>> from probav_estimators import ClearanceSelector, make_scenes
    >>> scenes = make_scenes(2, size=16, random_state=0)
    >>> [len(scene) for scene in ClearanceSelector(k=5).transform(scenes)]
    [5, 5]
    """

    _parameter_constraints = {
        "k": [Interval(Integral, 1, None, closed="left"), StrOptions({"max"}), None],
        "ties": [StrOptions({"first", "last"})],
    }

    def __init__(
        self, k: int | Literal["max"] | None = 9, ties: Literal["first", "last"] = "first"
    ) -> None:
        self.k = k
        self.ties = ties

    def transform_scene(self, scene: Scene) -> Scene:
        return scene.with_frames(_SelectedFrames(scene.frames, self.k, self.ties))


class _SelectedFrames(ChosenFrames):
    """The clearest frames, found on demand."""

    def __init__(self, frames, k, ties):
        # The default leaves fingerprints what they were before there were `ties`.
        others = {} if ties == "first" else {"ties": ties}
        DerivedFrames.__init__(self, frames, k=k, **others)
        self._k = k
        self._ties = ties

    def __len__(self):
        if self._k == "max":
            return len(self.index)
        return len(self.source) if self._k is None else self._k

    @cached_property
    def index(self):
        clearance = self.source.read_clear().sum(axis=(1, 2))
        return select_clearest(clearance, self._k, self._ties).tolist()


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
