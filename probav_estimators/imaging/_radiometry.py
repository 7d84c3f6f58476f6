"""Relative radiometry: gains and offsets between frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["fit_radiometry"]

# Side of the blocks that gains are fitted to, in LR pixels: noise and shifts average out in them.
_GAIN_BLOCK = 4

# Greatest ratio of contrast between frames.
_MAX_GAIN = 3.0

# Reweighted fits: a block at this many times the scatter from the line has a quarter of its weight.
# The median of squared normal errors is 0.455 times their variance.
_N_FITS = 4
_TOLERANCE = 2.5
_MEDIAN_OF_SQUARES = 0.455

# Least contrast: one step of a 16-bit image.
MIN_STD = 1 / 65535


def fit_radiometry(
    lr: NDArray[np.float32], qm: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Fit gain and offset of each frame against the mean of all.

    Parameters
    ----------
    lr : float32 array of shape (t, h, w)
        Registered frames.
    qm : bool array of shape (t, h, w)
        True where a frame is clear.

    Returns
    -------
    gains, offsets : float32 arrays of shape (t,)
        A frame is gain * scene + offset. The mean gain is 1, the mean offset 0.
    mean : float32 array of shape (h, w)
        The corrected frames' mean.
    known : bool array of shape (h, w)
        Where at least one frame is clear.
    """
    gains, offsets = np.ones(len(lr), np.float32), np.zeros(len(lr), np.float32)
    count = qm.sum(axis=0)
    for _ in range(2):
        corrected = (lr - offsets[:, None, None]) / gains[:, None, None]
        mean = (corrected * qm).sum(axis=0) / np.maximum(count, 1)
        for i, (frame, clear) in enumerate(zip(lr, qm, strict=True)):
            gains[i], offsets[i] = _fit_gain(frame, clear, mean)
        # The scene has the mean gain and offset of its frames.
        gains /= gains.mean()
        offsets -= offsets.mean()
    corrected = (lr - offsets[:, None, None]) / gains[:, None, None]
    return gains, offsets, (corrected * qm).sum(axis=0) / np.maximum(count, 1), count > 0


def _fit_gain(frame, clear, mean):
    if not clear.any():
        return 1.0, 0.0
    weight = _block_sums(clear.astype(np.float32))
    used = weight >= min(_GAIN_BLOCK**2 / 2, weight.max())
    weight = weight[used]
    seen, expected = (_block_sums(image * clear)[used] / weight for image in (frame, mean))
    trusted = weight
    for _ in range(_N_FITS):
        gain, offset = _fit_line(expected, seen, trusted)
        error = np.square(seen - gain * expected - offset)
        # Blocks where the land changed get less weight.
        usual = np.median(error) / _MEDIAN_OF_SQUARES
        trusted = weight / np.square(1 + error / (_TOLERANCE**2 * usual + MIN_STD**2))
    return gain, offset


def _fit_line(x, y, weight):
    """Gain and offset of the weighted least squares."""
    middle, level = np.average(x, weights=weight), np.average(y, weights=weight)
    variance = np.average((x - middle) ** 2, weights=weight)
    if variance < MIN_STD**2:
        return 1.0, level - middle
    gain = np.average((x - middle) * (y - level), weights=weight) / variance
    gain = np.clip(gain, 1 / _MAX_GAIN, _MAX_GAIN)
    return gain, level - gain * middle


def _block_sums(image):
    rows, columns = (np.arange(0, length, _GAIN_BLOCK) for length in image.shape)
    return np.add.reduceat(np.add.reduceat(image, rows, axis=0), columns, axis=1)
