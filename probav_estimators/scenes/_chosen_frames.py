"""Some of the frames of a scene."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._frames import Frames, SubsetFrames

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._frames import PositionPrior
    from ._scene import Scene
    from ._windows import Index

__all__ = ["LEAST_TO_HALVE", "ChosenFrames", "halve_frames"]

#: Least number of frames to halve, two for each half.
LEAST_TO_HALVE = 4


class ChosenFrames(SubsetFrames):
    """Some of the frames of a source, in any order, also repeatedly.

    Parameters
    ----------
    frames : Frames
    index : sequence of int
        Their numbers.
    """

    def __init__(self, frames: Frames, index: Index) -> None:
        numbers = [int(number) for number in index]
        super().__init__(frames, index=numbers)
        self._index = numbers

    @property
    def index(self) -> list[int]:
        """Numbers of the chosen frames."""
        return self._index

    def __len__(self) -> int:
        return len(self.index)

    @property
    def shifts(self) -> NDArray[np.float32] | None:
        return self._rows_of(self.source.shifts)

    @property
    def placed(self) -> NDArray[np.bool_] | None:
        return self._rows_of(self.source.placed)

    @property
    def position_prior(self) -> PositionPrior | None:
        prior = self.source.position_prior
        return None if prior is None else prior.of(self.index)

    @property
    def origins(self) -> NDArray[np.intp]:
        return self.source.origins[self.index]

    @property
    def true_shifts(self) -> NDArray[np.float32] | None:
        return self._rows_of(self.source.true_shifts)

    def _rows_of(self, values):
        return None if values is None else values[self.index]

    def _in_source(self, index, window):
        numbers = self.index if index is None else [self.index[number] for number in index]
        return numbers, window


def halve_frames(
    scene: Scene,
    index: NDArray[np.integer] | None = None,
    clearance: NDArray[np.integer] | None = None,
) -> tuple[Scene, Scene]:
    """Split the frames of a scene into two scenes that are about equally clear.

    Parameters
    ----------
    scene : Scene
    index : int array of shape (t,), default=None
        Numbers of the frames to split. None: all, without repeats.
    clearance : int array of shape (t,), default=None
        Clear pixels of each of them. None: counted.

    Returns
    -------
    tuple of two Scene
    """
    if index is None:
        index = np.flatnonzero(~scene.frames.repeats)
    if clearance is None:
        clearance = scene.frames.read_clear(index).sum(axis=(1, 2))
    order = np.asarray(index)[np.argsort(-np.asarray(clearance), kind="stable")]
    # The first half gets the clearest, the second the next two, the first the next two, and so on.
    first = np.isin(np.arange(len(order)) % 4, [0, 3])
    one, other = (
        scene.with_frames(ChosenFrames(scene.frames, np.sort(order[part])))
        for part in (first, ~first)
    )
    return one, other
