"""Registration of the bands of a site on one grid, from windows of their frames."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage

from ..imaging import adjust_shifts, find_copies, merge_copies, register_frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..imaging import Copies
    from ._frames import Frames

__all__ = ["BandShifts", "Survey", "register_bands"]

# Sites of at most _WHOLE LR pixels along each axis are registered as a whole, larger ones in
# windows of _WINDOW, about _DISTANCE apart and at most _MAX_WINDOWS along each axis.
_WHOLE = 512
_WINDOW = 256
_DISTANCE = 1024
_MAX_WINDOWS = 5

# Pixels that gains and texture are measured in.
_MAX_BYTES = 64 * 2**20
_MAX_PARTS = 9

# Range of sizes of a band's texture, in LR pixels.
_FINE_SIGMA = 1.0
_COARSE_WIDTH = 15


class BandShifts(NamedTuple):
    """Shifts and distortion of the frames of a site, by their numbers.

    Attributes
    ----------
    shifts : float32 array of shape (t, 2)
        Against the middle of all frames, (down, right) in LR pixels.
    placed : bool array of shape (t,)
        Whether the shift is known.
    distortion : float32 array of shape (t, 2, h', w')
        What each node adds to the shift.
    nodes : tuple of two float arrays of shapes (h',) and (w',)
        Rows and columns of the nodes, in LR pixels.
    """

    shifts: NDArray[np.float32]
    placed: NDArray[np.bool_]
    distortion: NDArray[np.float32]
    nodes: tuple[NDArray[np.float64], NDArray[np.float64]]


class Survey:
    """Windows of the frames of one band, read on demand.

    Parameters
    ----------
    frames : Frames
        Repeated frames are left out.
    value_range : tuple of two floats, default=None
        Physical values of pixels of 0 and 1, in one unit for all bands.
    """

    def __init__(self, frames: Frames, value_range: tuple[float, float] | None = None) -> None:
        self.frames = frames
        self._unit = 1.0 if value_range is None else value_range[1] - value_range[0]
        self.once = np.flatnonzero(~frames.repeats)
        #: Numbers that identify frames, also across bands.
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
        """Whether the only window is the whole site."""
        return len(self.windows) == 1

    @property
    def nodes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rows and columns of the window centres."""
        rows, columns = (
            np.array(starts) + size / 2
            for starts, size in zip(self._starts, self._size, strict=True)
        )
        return rows, columns

    def read(self, window: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Pixels and quality maps of a window, (t, h, w), with merged copies."""
        pixels, clear = self._read_stored(window)
        pixels, clear = merge_copies(pixels, clear, np.arange(len(self.once)), self.copies)
        self._counts[window] = clear.sum(axis=(1, 2))
        return pixels, clear

    def _read_stored(self, window):
        """Pixels and quality maps of a window; kept if it is the whole site."""
        if window not in self._read:
            pixels = self.frames.read(self.once, self.windows[window])
            if not self.is_whole:
                return pixels
            self._read[window] = pixels
        return self._read[window]

    @cached_property
    def copies(self) -> Copies:
        """Copies of one acquisition, found in the clearest window, by their positions in `once`."""
        number = 0
        if not self.is_whole:
            clear = [self.frames.read_clear(self.once, window).sum() for window in self.windows]
            number = int(np.argmax(clear))
        return find_copies(*self._read_stored(number))

    @property
    def n_clear(self) -> NDArray[np.int64]:
        """Clear pixels of each frame in each window, (n, t)."""
        for number, window in enumerate(self.windows):
            if number in self._counts:
                continue
            if len(self.copies.numbers):
                self.read(number)
            else:
                clear = self.frames.read_clear(self.once, window)
                self._counts[number] = clear.sum(axis=(1, 2))
        return np.array([self._counts[number] for number in range(len(self.windows))])

    def clearest(self) -> list[int]:
        """Windows with most clear pixels, for gains and texture."""
        pixels = len(self.once) * self._size[0] * self._size[1]
        n_parts = int(np.clip(_MAX_BYTES // (4 * pixels), 1, _MAX_PARTS))
        order = np.argsort(-self.n_clear.sum(axis=1), kind="stable")
        return sorted(order[:n_parts].tolist())

    def texture(self) -> float:
        """Standard deviation of the band-passed clearest frame, in the units of the values."""
        lr, qm = self.read(self.clearest()[0])
        clearest = qm.sum(axis=(1, 2)).argmax()
        frame, clear = lr[clearest], qm[clearest]
        if not clear.any():
            return 0.0
        frame = np.where(clear, frame.astype(np.float64) - np.median(frame[clear]), 0)
        fine = ndimage.gaussian_filter(frame, _FINE_SIGMA)
        detail = (fine - ndimage.uniform_filter(frame, _COARSE_WIDTH))[clear]
        return self._unit * float(detail.std())


def _starts(length):
    if length <= _WHOLE:
        return [0]
    n_windows = int(np.clip(-(-length // _DISTANCE) + 1, 2, _MAX_WINDOWS))
    return np.linspace(0, length - _WINDOW, n_windows).astype(int).tolist()


def register_bands(surveys: Sequence[Survey]) -> BandShifts:
    """Register the frames of all bands of a site.

    Shifts are estimated in the band with most texture, and in others for the frames that are
    clouded in that band alone.

    Parameters
    ----------
    surveys : list of Survey
        Of bands that were taken together: frames of one number have one shift.

    Returns
    -------
    BandShifts
    """
    size = 1 + max(int(survey.numbers.max()) for survey in surveys)
    shifts, placed = np.zeros((0, size, 2)), np.zeros((0, size), bool)
    ordered = surveys
    if len(surveys) > 1:
        # Bands of equal texture, such as copies, keep their order.
        ordered = sorted(surveys, key=lambda survey: -survey.texture())
    for survey in ordered:
        missing = ~np.asarray(placed.any(axis=0))[survey.numbers]
        if len(placed) and not (missing & survey.n_clear.any(axis=0)).any():
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
        field = _distortion_field(adjusted.residuals[:n_places], placed[:n_places], nodes)
    return BandShifts(adjusted.shifts, adjusted.placed, field, nodes)


def _shifts_in(survey, window, size):
    """Shifts of a window's frames by their numbers, and which are known."""
    frames, once = survey.frames, survey.once
    if frames.aligned or frames.shifts is not None:
        known = np.ones(len(frames), bool) if frames.placed is None else frames.placed
        given = np.zeros((len(frames), 2), np.float32) if frames.aligned else frames.shifts
        found, known = given[once], known[once] & survey.n_clear.any(axis=0)
    else:
        lr, qm = survey.read(window)
        found, known = register_frames(lr, qm)
        known = known & qm.any(axis=(1, 2))
    shifts, placed = np.zeros((size, 2)), np.zeros(size, bool)
    shifts[survey.numbers], placed[survey.numbers] = found, known
    return shifts, placed


def _distortion_field(residuals, placed, nodes):
    """Distortion at the nodes; where a frame is clouded, interpolated from other nodes."""
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
