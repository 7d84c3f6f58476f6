"""Relative radiometry: gains and offsets between frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._window_sums import block_sums

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

# Least contrast of blocks that a gain is fitted to, and of a scene, in units of the frames'.
LEAST_CONTRAST = 1e-3


def fit_radiometry(
    lr: NDArray[np.float32], qm: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32], NDArray[np.bool_]]:
    """Fit gain and offset of each frame against the mean of all.

    Parameters
    ----------
    lr : float32 array of shape (t, h, w)
        Registered frames, of about zero mean and unit standard deviation; 0 where not clear.
    qm : bool array of shape (t, h, w)
        True where a frame is clear.

    Returns
    -------
    gains, offsets : float64 arrays of shape (t,)
        A frame is gain * scene + offset. The mean gain is 1, the mean offset 0.
    mean : float32 array of shape (h, w)
        The corrected frames' mean.
    known : bool array of shape (h, w)
        Where at least one frame is clear.
    """
    gains, offsets = np.ones(len(lr)), np.zeros(len(lr))
    count = qm.sum(axis=0)
    weights, sums = (block_sums(x, _GAIN_BLOCK) for x in (qm.astype(np.float32), lr))
    mean = _corrected_mean(lr, qm, gains, offsets, count)
    for _ in range(2):
        expected = block_sums(qm * mean, _GAIN_BLOCK)
        for i in range(len(lr)):
            gains[i], offsets[i] = _fit_gain(weights[i], sums[i], expected[i])
        # The scene has the mean gain and offset of its frames.
        gains /= gains.mean()
        offsets -= offsets.mean()
        mean = _corrected_mean(lr, qm, gains, offsets, count)
    return gains, offsets, mean, count > 0


def _corrected_mean(lr, qm, gains, offsets, count):
    total = np.zeros(lr.shape[1:], np.float32)
    for frame, clear, gain, offset in zip(lr, qm, gains, offsets, strict=True):
        total += (frame - np.float32(offset) * clear) / np.float32(gain)
    return total / np.maximum(count, 1).astype(np.float32)


def _fit_gain(weight, seen, expected):
    """Gain and offset of a frame by the sums of its blocks, robust against land that changed."""
    if not weight.any():
        return 1.0, 0.0
    used = weight >= min(_GAIN_BLOCK**2 / 2, weight.max())
    weight, seen, expected = (x[used].astype(np.float64) for x in (weight, seen, expected))
    seen, expected = seen / weight, expected / weight
    trusted = weight
    for _ in range(_N_FITS):
        gain, offset = _fit_line(expected, seen, trusted / trusted.sum())
        error = np.square(seen - gain * expected - offset)
        # Blocks where the land changed get less weight.
        usual = np.median(error) / _MEDIAN_OF_SQUARES
        trusted = weight / np.square(1 + error / (_TOLERANCE**2 * usual + LEAST_CONTRAST**2))
    return gain, offset


def _fit_line(x, y, weight):
    """Gain and offset of the weighted least squares."""
    middle, level = weight @ x, weight @ y
    variance = weight @ np.square(x - middle)
    if variance < LEAST_CONTRAST**2:
        return 1.0, level - middle
    gain = weight @ ((x - middle) * (y - level)) / variance
    gain = np.clip(gain, 1 / _MAX_GAIN, _MAX_GAIN)
    return gain, level - gain * middle
