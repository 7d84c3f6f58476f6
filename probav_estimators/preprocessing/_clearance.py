"""Selection of the clearest frames."""

from __future__ import annotations

from functools import cached_property
from numbers import Integral
from typing import TYPE_CHECKING, Literal

from sklearn.utils._param_validation import Interval, StrOptions

from ..imaging import select_clearest
from ..scenes import ChosenFrames, DerivedFrames
from ._base import SceneTransformer

if TYPE_CHECKING:
    from ..scenes import Scene

__all__ = ["ClearanceSelector"]


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
