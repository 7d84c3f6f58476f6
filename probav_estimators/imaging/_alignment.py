"""Alignment of frames: shifts, gains and offsets, and moving frames by whole pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ._psf import PsfEstimate
from ._radiometry import MIN_STD, fit_radiometry

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Alignment", "align_frames", "move_frames", "normalize_frames"]


@dataclass(frozen=True)
class Alignment:
    """How the frames of one scene are brought together.

    Attributes
    ----------
    index : int array of shape (t,)
        Frames that take part.
    shifts : float32 array of shape (t, 2)
        How far the content of each lies down and to the right of the middle of all, in LR pixels.
    gains, offsets : float32 arrays of shape (t,)
        A frame is gain * scene + offset.
    level, std : float
        Mean and standard deviation of the scene's pixels.
    psf : PsfEstimate
        Their point spread functions, if they were estimated.
    distortion : float32 array of shape (t, 2, h', w')
        Slow distortion of each frame, as :func:`estimate_distortion` finds it; 0 if it was not
        estimated.
    """

    index: NDArray[np.intp]
    shifts: NDArray[np.float32]
    gains: NDArray[np.float32]
    offsets: NDArray[np.float32]
    level: float
    std: float
    psf: PsfEstimate
    distortion: NDArray[np.float32]

    @property
    def pixels(self) -> NDArray[np.intp]:
        """Whole pixels of the shifts, int (t, 2)."""
        return np.rint(self.shifts).astype(int)

    @property
    def fractions(self) -> NDArray[np.float32]:
        """What is left of them, float32 (t, 2) of at most half a pixel."""
        return self.shifts - self.pixels.astype(np.float32)

    def choose(
        self, chosen: NDArray[Any] | slice, *, centre: NDArray[Any] | slice | None = None
    ) -> Self:
        """The same with some of the frames, in the middle of these or of those in `centre`."""
        shifts = self.shifts[chosen]
        shifts = shifts - (shifts if centre is None else self.shifts[centre]).mean(axis=0)
        return replace(
            self,
            index=self.index[chosen],
            shifts=shifts,
            gains=self.gains[chosen],
            offsets=self.offsets[chosen],
            psf=self.psf._replace(differences=self.psf.differences[chosen]),
            distortion=self.distortion[chosen],
        )


def align_frames(
    lr: NDArray[np.float32],
    qm: NDArray[np.bool_],
    shifts: NDArray[np.float32],
    index: NDArray[np.intp],
) -> Alignment:
    """Bring frames to one place, one gain and one offset.

    Parameters
    ----------
    lr : float32 array of shape (t, h, w)
        Frames.
    qm : bool array of shape (t, h, w)
        Quality maps, True where a frame is clear.
    shifts : float32 array of shape (t, 2)
        How far the content of each frame lies down and to the right, in LR pixels.
    index : int array
        Frames that take part.

    Returns
    -------
    Alignment
        Its place is the middle of the frames that take part.
    """
    shifts = shifts[index]
    shifts = (shifts - shifts.mean(axis=0, dtype=np.float64)).astype(np.float32)
    height, width = lr.shape[1:]
    whole = slice(0, height), slice(0, width)
    moved = move_frames(lr[index], qm[index], np.rint(shifts).astype(int), whole, whole)
    gains, offsets, mean, known = fit_radiometry(*moved)
    level = float(mean[known].mean())
    std = max(float(mean[known].std()), MIN_STD)
    psf = PsfEstimate.unknown(len(index))
    distortion = np.zeros((len(index), 2, 1, 1), np.float32)
    return Alignment(index, shifts, gains, offsets, level, std, psf, distortion)


def normalize_frames(
    lr: NDArray[np.float32],
    qm: NDArray[np.bool_],
    alignment: Alignment,
    origin: tuple[slice, slice],
    window: tuple[slice, slice],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Frames in one place, of one gain and offset.

    Parameters
    ----------
    lr : float32 array of shape (t, h, w)
        Parts of the frames that take part.
    qm : bool array of shape (t, h, w)
        True where they are clear.
    alignment : Alignment
    origin, window : tuples of two slices
        Rows and columns that were read and that are wanted, in LR pixels of the image.

    Returns
    -------
    frames : float32 array of shape (t, h', w')
        Moved by whole pixels, in standard deviations of the scene around its level; 0 where they
        are not clear.
    clear : bool array of shape (t, h', w')
        False where nothing was read.
    """
    frames, clear = move_frames(lr, qm, alignment.pixels, origin, window)
    gains, offsets = (x[:, None, None] for x in (alignment.gains, alignment.offsets))
    level, std = np.float32(alignment.level), np.float32(alignment.std)
    return ((frames - offsets) / gains - level) / std * clear, clear


def move_frames(
    lr: NDArray[np.float32],
    qm: NDArray[np.bool_],
    pixels: NDArray[np.intp],
    origin: tuple[slice, slice],
    window: tuple[slice, slice],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Undo the whole pixels of frames' shifts.

    Parameters
    ----------
    lr : float32 array of shape (t, h, w)
        Parts of frames.
    qm : bool array of shape (t, h, w)
        True where they are clear.
    pixels : int array of shape (t, 2)
        How far the content of each lies down and to the right.
    origin, window : tuples of two slices
        Rows and columns that were read and that are wanted, in LR pixels of the image.

    Returns
    -------
    frames : float32 array of shape (t, h', w')
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
        frames[i][tuple(target)] = lr[i][tuple(source)]
        weights[i][tuple(target)] = qm[i][tuple(source)]
    return frames, weights
