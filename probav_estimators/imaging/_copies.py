"""Frames that show one acquisition: exact copies and other processing versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Copies", "find_copies", "merge_copies"]

# Least correlation of the finest detail of two copies, which share their noise. Different frames of
# one site have at most 0.994 (44 simulated and real scenes), and copies that were rounded to 1e-4,
# scaled or corrected at least 0.998.
_LEAST_CORRELATION = 0.998

# Least number of pixels that are clear in both.
_MIN_PIXELS = 64

# Rows that are compared at a time, which limits memory.
_STRIP = 64


class Copies(NamedTuple):
    """Frames that repeat the acquisition of another frame: copy = gain * origin + offset.

    Attributes
    ----------
    numbers, origins : int arrays of shape (n,)
        Numbers of the copies and of the frames that they repeat.
    gains, offsets : float64 arrays of shape (n,)
    """

    numbers: NDArray[np.intp]
    origins: NDArray[np.intp]
    gains: NDArray[np.float64]
    offsets: NDArray[np.float64]

    @classmethod
    def none(cls) -> Copies:
        """No copies."""
        return cls(np.zeros(0, int), np.zeros(0, int), np.zeros(0), np.zeros(0))

    def of(self, numbers: NDArray[np.intp]) -> Copies:
        """Copies of some of the frames."""
        used = np.isin(self.origins, numbers)
        return Copies(self.numbers[used], self.origins[used], self.gains[used], self.offsets[used])

    def renumbered(self, numbers: NDArray[np.intp]) -> Copies:
        """The same copies, where frame i has the number ``numbers[i]``."""
        return self._replace(numbers=numbers[self.numbers], origins=numbers[self.origins])


def find_copies(lr: NDArray[np.float32], qm: NDArray[np.bool_]) -> Copies:
    """Find frames that repeat another one, up to gain, offset and rounding.

    The same acquisition in two processing versions, or in two products that overlap, is one
    observation. Its copies share the noise of every pixel, which other frames do not.

    Parameters
    ----------
    lr : float32 array of shape (t, h, w)
        Frames, not registered.
    qm : bool array of shape (t, h, w)
        Quality maps, True where a frame is clear. Other pixels are ignored.

    Returns
    -------
    Copies
        Of the clearest frame of each acquisition, or the first of them.

    Examples
    --------
    >>> import numpy as np
    >>> from probav_estimators.imaging import find_copies
    >>> lr = np.random.default_rng(0).random((4, 32, 32), np.float32)
    >>> lr[3] = 1.1 * lr[1] + 0.2
    >>> copies = find_copies(lr, np.ones(lr.shape, bool))
    >>> copies.numbers.tolist(), copies.origins.tolist(), copies.gains.round(2).tolist()
    ([3], [1], [1.1])
    """
    products, energy, overlap = _products_of_details(lr, qm)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = products / np.sqrt(energy * energy.T)
    alike = (correlation > _LEAST_CORRELATION) & (overlap >= _MIN_PIXELS)
    np.fill_diagonal(alike, False)
    origins = np.full(len(lr), -1)
    for number in np.argsort(-qm.sum(axis=(1, 2)), kind="stable"):
        if origins[number] < 0:
            origins[alike[number] & (origins < 0)] = number
            origins[number] = number
    numbers = np.flatnonzero(origins != np.arange(len(lr)))
    origins = origins[numbers]
    gains = products[numbers, origins] / energy[origins, numbers]
    offsets = [
        np.mean(lr[copy][both] - gain * lr[origin][both], dtype=np.float64)
        for copy, origin, gain in zip(numbers, origins, gains, strict=True)
        for both in [qm[copy] & qm[origin]]
    ]
    return Copies(numbers, origins, gains, np.array(offsets, np.float64))


def merge_copies(
    lr: NDArray[np.float32], qm: NDArray[np.bool_], numbers: NDArray[np.intp], copies: Copies
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Merge copies into the frames that they repeat, where only they are clear.

    Parameters
    ----------
    lr : float32 array of shape (t, h, w)
    qm : bool array of shape (t, h, w)
        True where a frame is clear.
    numbers : int array of shape (t,)
        Numbers of these frames.
    copies : Copies
        Among these frames, and so are the frames that they repeat.

    Returns
    -------
    lr : float32 array of shape (t, h, w)
    qm : bool array of shape (t, h, w)
        False in all copies. Both are those that were given if there are no copies.
    """
    if not len(copies.numbers):
        return lr, qm
    lr, qm = lr.copy(), qm.copy()
    for copy, origin, gain, offset in zip(*copies, strict=True):
        (source,), (target,) = np.flatnonzero(numbers == copy), np.flatnonzero(numbers == origin)
        added = qm[source] & ~qm[target]
        lr[target][added] = (lr[source][added] - offset) / gain
        qm[target] |= added
        qm[source] = False
    return lr, qm


def _products_of_details(lr, qm):
    """Products of the finest detail of each pair of frames, energy of one, and number of pixels."""
    products, energy, overlap = np.zeros((3, len(lr), len(lr)))
    # Squares of values of any unit fit into float32 after this.
    unit = np.abs(lr).max(where=qm, initial=0) or np.float32(1)
    for row in range(0, lr.shape[1], _STRIP):
        rows = slice(row, row + _STRIP + 2)
        detail, clear = _finest_detail(lr[:, rows], qm[:, rows], unit)
        products += detail @ detail.T
        energy += np.square(detail) @ clear.T
        overlap += clear @ clear.T
    return products, energy, overlap


def _finest_detail(lr, qm, unit):
    """Laplacian, 0 where it is not clear, and where it is, as (t, n) float32."""
    middle, before, after = slice(1, -1), slice(None, -2), slice(2, None)
    filled, clear = np.where(qm, lr, np.float32(0)) / unit, qm[:, middle, middle].copy()
    detail = 4 * filled[:, middle, middle]
    for y, x in (before, middle), (after, middle), (middle, before), (middle, after):
        detail -= filled[:, y, x]
        clear &= qm[:, y, x]
    detail *= clear
    return detail.reshape(len(lr), -1), clear.reshape(len(lr), -1).astype(np.float32)
