"""Reader of frames that are registered by whole pixels."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..training import FrameReader

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..scenes import Frames, Scene

__all__ = ["RegisteringReader"]

# Side in LR pixels of the central window that larger frames are registered in.
_REGISTERED_SIZE = 512


@dataclass(frozen=True)
class RegisteringReader(FrameReader):
    """Registers frames to the clearest one by whole pixels, unless they have shifts."""

    def find_shifts(self, scene: Scene, numbers: NDArray[np.intp]) -> NDArray[np.float32] | None:
        if scene.frames.aligned or scene.shifts is not None:
            return super().find_shifts(scene, numbers)
        height, width = scene.shape
        shifts = self.whole_shifts(scene.frames, numbers, (_middle(height), _middle(width)))
        return shifts if shifts.any() else None

    @abstractmethod
    def whole_shifts(
        self, frames: Frames, numbers: NDArray[np.intp], window: tuple[slice, slice]
    ) -> NDArray[np.float32]:
        """Shifts (t, 2) of frames against the first, measured in a window."""


def _middle(length):
    start = max(length - _REGISTERED_SIZE, 0) // 2
    return slice(start, min(start + _REGISTERED_SIZE, length))
