"""Selection of the clearest frames."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Literal

from sklearn.utils._param_validation import Interval, StrOptions

from ..imaging import select_clearest
from ..scenes import WHOLE, DerivedFrames
from ._base import SceneTransformer

if TYPE_CHECKING:
    from ..scenes import Scene

__all__ = ["ClearanceSelector"]


class ClearanceSelector(SceneTransformer):
    """Select the clearest frames of each scene.

    The clearance of a frame is the number of pixels that its quality map calls clear. Frames come
    clearest first, and in their old order where clearances tie.

    Parameters
    ----------
    k : int, "max" or None, default=9
        How many frames. A scene with fewer gives them repeatedly, in turn; what registers or fuses
        frames takes each of them once. "max": all that tie at the largest clearance. None: all,
        sorted.

    See Also
    --------
    InputComposer : Makes the input of a net from the selected frames.

    Notes
    -----
    Only quality maps are read, and only once the new scene is asked for something.

    Examples
    --------
    >>> from probav_estimators import ClearanceSelector, make_scenes
    >>> scenes = make_scenes(2, size=16, random_state=0)
    >>> [len(scene) for scene in ClearanceSelector(k=5).transform(scenes)]
    [5, 5]
    """

    _parameter_constraints = {
        "k": [Interval(Integral, 1, None, closed="left"), StrOptions({"max"}), None],
    }

    def __init__(self, k: int | Literal["max"] | None = 9) -> None:
        self.k = k

    def transform_scene(self, scene: Scene) -> Scene:
        return scene.with_frames(_SelectedFrames(scene.frames, self.k))


class _SelectedFrames(DerivedFrames):
    def __init__(self, frames, k):
        super().__init__(frames, k=k)
        self._k = k
        self._order = None

    def __len__(self):
        if self._k == "max":
            return len(self._selection())
        return len(self.source) if self._k is None else self._k

    @property
    def shifts(self):
        return self._rows_of(self.source.shifts)

    @property
    def placed(self):
        return self._rows_of(self.source.placed)

    @property
    def origins(self):
        return self._rows_of(self.source.origins)

    @property
    def true_shifts(self):
        return self._rows_of(self.source.true_shifts)

    def read_lr(self, index=None, window=WHOLE):
        return self.source.read_lr(self._chosen(index), window)

    def read_qm(self, index=None, window=WHOLE):
        return self.source.read_qm(self._chosen(index), window)

    def _rows_of(self, values):
        return None if values is None else values[self._selection()]

    def _chosen(self, index):
        selection = self._selection()
        return selection if index is None else [selection[position] for position in index]

    def _selection(self):
        if self._order is None:
            clearance = self.source.read_qm().sum(axis=(1, 2))
            self._order = select_clearest(clearance, self._k).tolist()
        return self._order
