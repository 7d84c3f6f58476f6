"""Survey of the bands of a place: where their frames lie, all of them on one grid."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage

from ..imaging import adjust_shifts, register_frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._frames import Frames

__all__ = ["Placement", "Survey", "place_frames"]

# A place of at most this many LR pixels along each axis is surveyed as a whole, a larger one in
# windows of that size, from border to border.
_WHOLE = 512
_WINDOW = 256
_DISTANCE = 1024
_MAX_WINDOWS = 5

# Bytes of pixels that gains and texture are measured in.
_MAX_BYTES = 64 * 2**20
_MAX_PARTS = 9

# What tells a band's texture lies between these sizes, in LR pixels.
_FINE_SIGMA = 1.0
_COARSE_WIDTH = 15


class Placement(NamedTuple):
    """Where the frames of a place lie, by their numbers.

    Attributes
    ----------
    shifts : float32 array of shape (t, 2)
        How far the content of each lies down and to the right of the middle of all, in LR pixels.
    placed : bool array of shape (t,)
        Whether that is known.
    distortion : float32 array of shape (t, 2, h', w')
        How much more that is at each node.
    nodes : tuple of two float arrays of shapes (h',) and (w',)
        Rows and columns of the nodes, in LR pixels.
    """

    shifts: NDArray[np.float32]
    placed: NDArray[np.bool_]
    distortion: NDArray[np.float32]
    nodes: tuple[NDArray[np.float64], NDArray[np.float64]]


class Survey:
    """Windows of the frames of one band, read when they are asked for.

    Parameters
    ----------
    frames : Frames
        One that repeats another is left out.
    value_range : tuple of two floats, default=None
        Values that stand for pixels of 0 and 1, in units that all bands of a place share.
    """

    def __init__(self, frames: Frames, value_range: tuple[float, float] | None = None) -> None:
        self.frames = frames
        self._unit = 1.0 if value_range is None else value_range[1] - value_range[0]
        self.once = np.flatnonzero(~frames.repeats)
        #: Numbers that tell frames apart, also between bands.
        self.numbers = frames.origins[self.once]
        self._starts = [_starts(length) for length in frames.shape]
        self._size = [
            min(length, _WHOLE if len(starts) == 1 else _WINDOW)
            for length, starts in zip(frames.shape, self._starts, strict=True)
        ]
        self._read: dict[int, tuple[NDArray[np.float32], NDArray[np.bool_]]] = {}
        self.windows = [
            (slice(row, row + self._size[0]), slice(column, column + self._size[1]))
            for row, column in product(*self._starts)
        ]
        self._counts: dict[int, NDArray[np.int64]] = {}

    @property
    def is_whole(self) -> bool:
        """Whether the place is surveyed as a whole."""
        return len(self.windows) == 1

    @property
    def nodes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rows and columns of the middles of the windows."""
        rows, columns = (
            np.array(starts) + size / 2
            for starts, size in zip(self._starts, self._size, strict=True)
        )
        return rows, columns

    def read(self, window: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Frames and quality maps of a window, (t, h, w); of many windows, none is kept."""
        if window not in self._read:
            pixels = self.frames.read(self.once, self.windows[window])
            self._counts[window] = pixels[1].sum(axis=(1, 2))
            if not self.is_whole:
                return pixels
            self._read[window] = pixels
        return self._read[window]

    @property
    def seen(self) -> NDArray[np.int64]:
        """Clear pixels of each frame in each window, (n, t)."""
        for number, window in enumerate(self.windows):
            if number not in self._counts:
                clear = self.frames.read_clear(self.once, window)
                self._counts[number] = clear.sum(axis=(1, 2))
        return np.array([self._counts[number] for number in range(len(self.windows))])

    def clearest(self) -> list[int]:
        """The windows with most clear pixels, as many as gains and texture take."""
        pixels = len(self.once) * self._size[0] * self._size[1]
        n_parts = int(np.clip(_MAX_BYTES // (4 * pixels), 1, _MAX_PARTS))
        order = np.argsort(-self.seen.sum(axis=1), kind="stable")
        return sorted(order[:n_parts].tolist())

    def texture(self) -> float:
        """Standard deviation of what registration goes by, in the units of the values."""
        lr, qm = self.read(self.clearest()[0])
        clearest = qm.sum(axis=(1, 2)).argmax()
        frame, clear = lr[clearest], qm[clearest]
        if not clear.any():
            return 0.0
        frame = np.where(clear, frame, frame[clear].mean())
        fine = ndimage.gaussian_filter(frame, _FINE_SIGMA)
        detail = (fine - ndimage.uniform_filter(frame, _COARSE_WIDTH))[clear]
        return self._unit * float(detail.std())


def _starts(length):
    if length <= _WHOLE:
        return [0]
    n_windows = int(np.clip(-(-length // _DISTANCE) + 1, 2, _MAX_WINDOWS))
    return np.linspace(0, length - _WINDOW, n_windows).astype(int).tolist()


def place_frames(surveys: Sequence[Survey]) -> Placement:
    """Where the frames of a place lie, from all of its bands.

    The band with most texture tells. Others are asked for what it cannot: frames that are clouded
    in that band alone.

    Parameters
    ----------
    surveys : list of Survey
        Of bands that were taken together: their frames of one number have one place.

    Returns
    -------
    Placement
        By the numbers of the frames.
    """
    size = 1 + max(int(survey.numbers.max()) for survey in surveys)
    shifts, placed = np.zeros((0, size, 2)), np.zeros((0, size), bool)
    ordered = surveys
    if len(surveys) > 1:
        # Bands of equal texture, such as copies, keep their order.
        ordered = sorted(surveys, key=lambda survey: -survey.texture())
    for survey in ordered:
        missing = ~np.asarray(placed.any(axis=0))[survey.numbers]
        if len(placed) and not (missing & survey.seen.any(axis=0)).any():
            continue
        found = [_shifts_in(survey, number, size) for number in range(len(survey.windows))]
        shifts = np.concatenate([shifts, [one for one, _ in found]])
        placed = np.concatenate([placed, [one for _, one in found]])
    adjusted = adjust_shifts(shifts, placed)
    nodes = surveys[0].nodes
    grid = len(nodes[0]), len(nodes[1])
    field = np.zeros((size, 2, *grid), np.float32)
    if not surveys[0].is_whole:
        n_places = grid[0] * grid[1]
        field = _field(adjusted.residuals[:n_places], placed[:n_places], nodes)
    return Placement(adjusted.shifts, adjusted.placed, field, nodes)


def _shifts_in(survey, window, size):
    """Shifts of a window's frames by their numbers, and which are known."""
    frames, once = survey.frames, survey.once
    if frames.aligned or frames.shifts is not None:
        known = np.ones(len(frames), bool) if frames.placed is None else frames.placed
        given = np.zeros((len(frames), 2), np.float32) if frames.aligned else frames.shifts
        found, known = given[once], known[once] & survey.seen.any(axis=0)
    else:
        lr, qm = survey.read(window)
        found, known = register_frames(lr, qm)
        known = known & qm.any(axis=(1, 2))
    shifts, placed = np.zeros((size, 2)), np.zeros(size, bool)
    shifts[survey.numbers], placed[survey.numbers] = found, known
    return shifts, placed


def _field(residuals, placed, nodes):
    """Distortion at the nodes; where a frame is clouded, it is that of the nodes around."""
    rows, columns = (x.ravel() for x in np.meshgrid(*nodes, indexing="ij"))
    squares = (rows[:, None] - rows) ** 2 + (columns[:, None] - columns) ** 2
    nearness = 1 / (squares + 1)
    field = np.zeros_like(residuals)
    for frame in range(residuals.shape[1]):
        known = placed[:, frame]
        if known.any():
            weights = nearness[:, known] / nearness[:, known].sum(axis=1, keepdims=True)
            field[:, frame] = weights @ residuals[known, frame]
            field[known, frame] = residuals[known, frame]
    grid = len(nodes[0]), len(nodes[1])
    return np.moveaxis(field, 0, -1).reshape(*field.shape[1:], *grid)
