"""Registration of the bands of a site on one grid, from windows of their frames."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage

from ..imaging import (
    Placement,
    adjust_shifts,
    find_copies,
    merge_copies,
    register_frames,
    window_sums,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..imaging import Copies
    from ._frames import Frames, PixelsAndClear, Window

__all__ = [
    "BandShifts",
    "Survey",
    "by_texture",
    "distortion_field",
    "given_shifts",
    "register_bands",
]

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

# Side of the squares in which the coverage of frames is counted, in LR pixels.
_SQUARE = 16


class BandShifts(NamedTuple):
    """Shifts and distortion of the frames of a site, by their numbers.

    Attributes
    ----------
    shifts : float32 array of shape (t, 2)
        Against the middle of all frames, (down, right) in LR pixels.
    placement : int8 array of shape (t,)
        How the shift is known, a :class:`Placement`.
    distortion : float32 array of shape (t, 2, h', w')
        What each node adds to the shift.
    nodes : tuple of two float arrays of shapes (h',) and (w',)
        Rows and columns of the nodes, in LR pixels.
    """

    shifts: NDArray[np.float32]
    placement: NDArray[np.int8]
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

    def read_window(self, window: Window) -> PixelsAndClear:
        """Pixels and quality maps of any window, (t, h, w), with merged copies."""
        return self._merge(*self.frames.read(self.once, window))

    def read(self, window: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Pixels and quality maps of a window, (t, h, w), with merged copies."""
        pixels, clear = self._merge(*self._read_stored(window))
        self._counts[window] = clear.sum(axis=(1, 2))
        return pixels, clear

    def _merge(self, pixels, clear):
        return merge_copies(pixels, clear, np.arange(len(self.once)), self.copies)

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

    @cached_property
    def coverage(self) -> NDArray[np.bool_]:
        """Squares of the site in which frames have clear pixels, (t, h', w')."""
        height, width = self.frames.shape
        shape = len(self.once), -(-height // _SQUARE), -(-width // _SQUARE)
        covered = np.zeros(shape, bool)
        columns = np.arange(0, width, _SQUARE)
        for row in range(0, height, _WINDOW):
            rows = slice(row, min(row + _WINDOW, height))
            for position, number in enumerate(self.once):
                (clear,) = self.frames.read_clear([int(number)], (rows, slice(0, width)))
                parts = np.logical_or.reduceat(clear, np.arange(0, len(clear), _SQUARE), axis=0)
                first = row // _SQUARE
                found = np.logical_or.reduceat(parts, columns, axis=1)
                covered[position, first : first + len(found)] = found
        np.logical_or.at(covered, self.copies.origins, covered[self.copies.numbers])
        covered[self.copies.numbers] = False
        return covered

    def window_at(self, squares: NDArray[np.bool_]) -> Window:
        """The window that has most of some squares of the site, (h', w'), in its middle."""
        size = self._size
        side = [-(-length // _SQUARE) for length in size]
        inside = window_sums(squares, (side[0], side[1]))
        # Of windows with as many squares, the one whose middle is nearest to that of the squares.
        middle = np.argwhere(squares).mean(axis=0) - np.array(side) / 2
        down, right = (np.arange(length) for length in inside.shape)
        far = np.hypot(down[:, None] - middle[0], right - middle[1])
        starts = np.unravel_index((inside - far / (1 + far.max())).argmax(), inside.shape)
        rows, columns = (
            slice(first, first + extent)
            for start, extent, length in zip(starts, size, self.frames.shape, strict=True)
            for first in [min(int(start) * _SQUARE, length - extent)]
        )
        return rows, columns

    def squares_of(self, window: Window) -> Window:
        """Squares of the coverage that a window has a part of."""
        rows, columns = (slice(part.start // _SQUARE, -(-part.stop // _SQUARE)) for part in window)
        return rows, columns

    @cached_property
    def clear_somewhere(self) -> NDArray[np.bool_]:
        """Which frames have a clear pixel, in windows or between them, (t,)."""
        found: NDArray[np.bool_] = np.asarray(self.n_clear.any(axis=0))
        unseen = ~found
        # Copies are merged into other frames, and never clear.
        unseen[self.copies.numbers] = False
        if self.is_whole or not unseen.any():
            return found
        return found | np.asarray(self.coverage.any(axis=(1, 2)))

    def shows_others(self, registered: NDArray[np.bool_]) -> bool:
        """Whether a window shows frames besides those that are registered, bool by number."""
        return bool((self.n_clear.any(axis=0) & ~registered[self.numbers]).any())

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
    for survey in by_texture(surveys):
        if len(placed) and not survey.shows_others(np.asarray(placed.any(axis=0))):
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
        field = distortion_field(adjusted.residuals[:n_places], placed[:n_places], nodes)
    placement = np.where(adjusted.placed, Placement.REGISTERED, Placement.LEFT_OUT).astype(np.int8)
    return BandShifts(adjusted.shifts, placement, field, nodes)


def by_texture(surveys: Sequence[Survey]) -> Sequence[Survey]:
    """Bands by decreasing texture; those of equal texture, such as copies, keep their order."""
    if len(surveys) == 1:
        return surveys
    return sorted(surveys, key=lambda survey: -survey.texture())


def given_shifts(survey: Survey) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
    """Shifts that frames were given by a FrameRegistrar, and which are known; None without one."""
    frames, once = survey.frames, survey.once
    given = np.zeros((len(frames), 2), np.float32) if frames.aligned else frames.shifts
    if given is None:
        return None
    known = np.ones(len(frames), bool) if frames.placed is None else frames.placed
    return given[once], known[once] & survey.n_clear.any(axis=0)


def _shifts_in(survey, window, size):
    """Shifts of a window's frames by their numbers, and which are known."""
    given = given_shifts(survey)
    if given is not None:
        found, known = given
    else:
        lr, qm = survey.read(window)
        found, known = register_frames(lr, qm)
        known = known & qm.any(axis=(1, 2))
    shifts, placed = np.zeros((size, 2)), np.zeros(size, bool)
    shifts[survey.numbers], placed[survey.numbers] = found, known
    return shifts, placed


def distortion_field(
    residuals: NDArray[np.float32],
    placed: NDArray[np.bool_],
    nodes: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> NDArray[np.float32]:
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
