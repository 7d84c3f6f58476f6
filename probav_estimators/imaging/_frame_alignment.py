"""Alignment of frames: shifts, gains and offsets, and moving frames by whole pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ._adjustment import robust_mean
from ._copies import Copies
from ._psf_estimation import PsfEstimate
from ._radiometry import LEAST_CONTRAST, fit_radiometry

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Alignment", "Placement", "align_frames", "move_frames", "normalize_frames"]

# Least contrast, in pixel values. A thousandth of it is still a normal number of float32.
_LEAST_UNIT = np.float32(1e-30)


class Placement(IntEnum):
    """How the position of a frame is known."""

    #: It is not: the frame contradicts the others, and shows only what no other frame shows.
    LEFT_OUT = 0
    #: By its georeferencing alone.
    GEOREFERENCED = 1
    #: By the little land that its group of frames shares with the others.
    TIED = 2
    #: By registration.
    REGISTERED = 3


@dataclass(frozen=True)
class Alignment:
    """Geometric and radiometric alignment of the frames of one scene.

    Attributes
    ----------
    index : int array of shape (t,)
        Numbers of the aligned frames.
    shifts : float32 array of shape (t, 2)
        Shift of each frame's content against the mean of all, (down, right) in LR pixels.
    gains, offsets : float64 arrays of shape (t,)
        A frame is gain * scene + offset.
    level, std : float
        Mean and standard deviation of the scene's pixels.
    psf : PsfEstimate
        Point spread functions of the frames, if they were estimated.
    distortion : float32 array of shape (t, 2, h', w')
        Slow distortion of each frame at some nodes: additional shift of its content there, in LR
        pixels; 0 if it was not estimated. Linear between the nodes, constant beyond them.
    nodes : tuple of two float arrays of shapes (h',) and (w',)
        Rows and columns of the nodes, in LR pixels; the first pixel extends from 0 to 1.
    placement : int8 array of shape (t,)
        How the shift of each frame is known, a :class:`Placement`.
    copies : Copies
        Other frames that are merged into these.
    """

    index: NDArray[np.intp]
    shifts: NDArray[np.float32]
    gains: NDArray[np.float64]
    offsets: NDArray[np.float64]
    level: float
    std: float
    psf: PsfEstimate
    distortion: NDArray[np.float32]
    nodes: tuple[NDArray[np.float64], NDArray[np.float64]]
    placement: NDArray[np.int8]
    copies: Copies = field(default_factory=Copies.none)

    @property
    def pixels(self) -> NDArray[np.intp]:
        """Whole pixels of the shifts, int (t, 2)."""
        return np.rint(self.shifts).astype(int)

    @property
    def fills(self) -> NDArray[np.bool_]:
        """Which frames are used only where no other is clear, bool (t,)."""
        return self.placement == Placement.LEFT_OUT

    @property
    def fractions(self) -> NDArray[np.float32]:
        """Subpixel part of the shifts, float32 (t, 2), at most half a pixel."""
        return self.shifts - self.pixels.astype(np.float32)

    def choose(
        self,
        chosen: NDArray[Any] | slice,
        *,
        centre: NDArray[Any] | slice | None = None,
        move: bool = True,
    ) -> Self:
        """Return the alignment of some of the frames.

        Parameters
        ----------
        chosen : array or slice
            Positions in `index`.
        centre : array or slice, default=None
            Frames whose mean shift becomes 0. None: the chosen ones.
        move : bool, default=True
            Whether shifts are made relative to that mean; False: they stay as they are.

        Returns
        -------
        Alignment
        """
        shifts = self.shifts[chosen]
        if move:
            mean = robust_mean(shifts if centre is None else self.shifts[centre])
            shifts = shifts - mean.astype(np.float32)
        return replace(
            self,
            index=self.index[chosen],
            shifts=shifts,
            gains=self.gains[chosen],
            offsets=self.offsets[chosen],
            psf=self.psf._replace(differences=self.psf.differences[chosen]),
            distortion=self.distortion[chosen],
            placement=self.placement[chosen],
        )


def align_frames(
    parts: Sequence[tuple[NDArray[np.float32], NDArray[np.bool_]]],
    shifts: NDArray[np.float32],
    placement: NDArray[np.int8] | None = None,
) -> Alignment:
    """Fit gains and offsets of frames in some windows of a scene.

    Parameters
    ----------
    parts : list of (float32, bool) arrays of shapes (t, h, w)
        Frames, and quality maps that are True where a frame is clear, of each window. All windows
        have the same frames.
    shifts : float32 array of shape (t, 2)
        Shift of each frame's content against the image to compute, in LR pixels.
    placement : int8 array of shape (t,), default=None
        How it is known, a :class:`Placement`. None: by registration.

    Returns
    -------
    Alignment
        Of these frames, numbered from 0.
    """
    pixels = np.rint(shifts).astype(int)
    if placement is None:
        placement = np.full(len(shifts), Placement.REGISTERED, np.int8)
    moved = []
    for lr, qm in parts:
        whole = slice(0, lr.shape[1]), slice(0, lr.shape[2])
        moved.append(_fill(*move_frames(lr, qm, pixels, whole, whole), placement))
    widths = np.cumsum([lr.shape[2] for lr, _ in moved])[:-1]
    frames, clear = (np.concatenate(x, axis=2) for x in zip(*moved, strict=True))
    level, unit = _level_and_contrast(frames, clear)
    frames = np.where(clear, (frames - level) / unit, np.float32(0))
    gains, offsets, mean, known = fit_radiometry(frames, clear)
    inside = [
        image[seen]
        for image, seen in zip(*(np.split(x, widths, axis=1) for x in (mean, known)), strict=True)
        if seen.any()
    ]
    # Within windows only: between them the land may differ by more than any detail.
    variances, counts = [float(x.std()) ** 2 for x in inside], [x.size for x in inside]
    std = max(np.sqrt(np.average(variances, weights=counts)), LEAST_CONTRAST)
    level, unit = float(level), float(unit)
    return Alignment(
        index=np.arange(len(shifts)),
        shifts=shifts,
        gains=gains,
        offsets=unit * offsets + level * (1 - gains),
        level=level + unit * float(mean[known].mean(dtype=np.float64)),
        std=unit * float(std),
        psf=PsfEstimate.unknown(len(shifts)),
        distortion=np.zeros((len(shifts), 2, 1, 1), np.float32),
        nodes=(np.zeros(1), np.zeros(1)),
        placement=placement,
    )


def _fill(frames, clear, placement):
    """Hide frames that are left out where another one is clear."""
    fills = placement == Placement.LEFT_OUT
    if fills.any():
        clear[fills] &= ~clear[~fills].any(axis=0)
        frames[fills] *= clear[fills]
    return frames, clear


def _level_and_contrast(frames, clear):
    """Mean of the clear pixels and median standard deviation of the frames, float32.

    The contrast is at least the rounding error of the mean, so that frames of constant value have
    one, also where that value is 0. `frames` are 0 where they are not clear.
    """
    count = clear.sum(axis=(1, 2))
    level = np.float32(frames.sum(dtype=np.float64) / count.sum())
    detail = np.where(clear, frames - level, np.float32(0))
    # Squares of values of any unit fit into float32 after this.
    peak = np.abs(detail).max()
    least = np.maximum(np.abs(level) * np.finfo(np.float32).eps, _LEAST_UNIT)
    if not peak > least:
        return level, least
    detail /= peak
    used = count > 0
    squares = np.einsum("tij,tij->t", detail, detail)[used] / count[used]
    variances = squares - np.square(detail.sum(axis=(1, 2))[used] / count[used])
    return level, max(peak * np.float32(np.sqrt(max(np.median(variances), 0.0))), least)


def normalize_frames(
    lr: NDArray[np.float32],
    qm: NDArray[np.bool_],
    alignment: Alignment,
    origin: tuple[slice, slice],
    window: tuple[slice, slice],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Undo whole-pixel shifts, gains and offsets of frames.

    Parameters
    ----------
    lr : float32 array of shape (t, h, w)
        Window of the aligned frames.
    qm : bool array of shape (t, h, w)
        True where they are clear.
    alignment : Alignment
    origin, window : tuples of two slices
        Rows and columns of `lr` and of the result, in LR pixels of the image.

    Returns
    -------
    frames : float32 array of shape (t, h', w')
        Moved by whole pixels, in standard deviations of the scene around its level; 0 where they
        are not clear.
    clear : bool array of shape (t, h', w')
        False where nothing was read.
    """
    frames, clear = move_frames(lr, qm, alignment.pixels, origin, window)
    frames, clear = _fill(frames, clear, alignment.placement)
    gains, offsets = alignment.gains, alignment.offsets
    levels = (offsets + gains * alignment.level)[:, None, None]
    # In place: they may be large. In two steps, because differences from `near` are exact.
    near = levels.astype(np.float32)
    frames -= near
    frames -= (levels - near).astype(np.float32)
    frames /= (gains * alignment.std).astype(np.float32)[:, None, None]
    frames *= clear
    return frames, clear


def move_frames(
    lr: NDArray[np.float32],
    qm: NDArray[np.bool_],
    pixels: NDArray[np.intp],
    origin: tuple[slice, slice],
    window: tuple[slice, slice],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Undo whole-pixel shifts of frames.

    Parameters
    ----------
    lr : float32 array of shape (t, h, w)
        Window of the frames.
    qm : bool array of shape (t, h, w)
        True where they are clear.
    pixels : int array of shape (t, 2)
        Shift of each frame's content, (down, right) in whole pixels.
    origin, window : tuples of two slices
        Rows and columns of `lr` and of the result, in LR pixels of the image.

    Returns
    -------
    frames : float32 array of shape (t, h', w')
        0 where they are not clear, whatever was read there.
    clear : bool array of shape (t, h', w')
        False where nothing was read.
    """
    shape = tuple(part.stop - part.start for part in window)
    frames = np.zeros((len(lr), *shape), np.float32)
    weights = np.zeros((len(lr), *shape), bool)
    for i, shift in enumerate(pixels):
        source, target = [], []
        for part, wide, move, length in zip(window, origin, shift, lr.shape[1:], strict=True):
            first = part.start + move - wide.start
            low, high = max(first, 0), min(first + part.stop - part.start, length)
            source.append(slice(low, max(low, high)))
            target.append(slice(low - first, max(low, high) - first))
        pixels, clear = lr[i][tuple(source)], qm[i][tuple(source)]
        np.copyto(frames[i][tuple(target)], pixels, where=clear)
        weights[i][tuple(target)] = clear
    return frames, weights
