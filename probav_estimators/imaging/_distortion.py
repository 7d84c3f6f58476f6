"""Slow distortion of frames: the smooth residual after one shift for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from ._interpolation import move_bicubic
from ._window_sums import block_sums

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["distortion_nodes", "estimate_distortion"]

# Side of the blocks that have a distortion of their own, in LR pixels.
_BLOCK = 8

# Blocks along each axis in the window of one fit.
_WINDOW = 5

# Smoothing before the comparison, in LR pixels: finer structure is aliased.
_FINE_SIGMA = 1.0

# Pixels per independent sample, measured on frames without distortion: errors of neighbours are
# correlated.
_PIXELS_PER_SAMPLE = 32

# Greatest distortion, in LR pixels.
_GREATEST = 1.0


def estimate_distortion(
    frames: NDArray[np.float32], clear: NDArray[np.bool_], fractions: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Estimate a smooth field of shifts for each frame, against the mean of all.

    Shifts are fitted to the difference of each frame from the mean, over squares of 40 pixels
    [1]_, and shrunk by their errors, to about 0 where there is only noise. The prior variance is
    estimated from the whole frame.

    Parameters
    ----------
    frames : float32 array of shape (t, h, w)
        Frames of one level and gain, moved onto each other by whole pixels.
    clear : bool array of shape (t, h, w)
        True where a frame is clear.
    fractions : float32 array of shape (t, 2)
        Subpixel part of their shifts, (down, right) in LR pixels.

    Returns
    -------
    float32 array of shape (t, 2, ceil(h / 8), ceil(w / 8))
        Additional shift of their content in each block, (down, right) in LR pixels.

    References
    ----------
    .. [1] B. D. Lucas, T. Kanade, "An iterative image registration technique with an application
       to stereo vision", International Joint Conference on Artificial Intelligence, 1981.
    """
    moved, weights = _smooth_at_one_place(frames, clear, fractions)
    total = weights.sum(axis=0)
    mean = (weights * moved).sum(axis=0) / np.maximum(total, 1e-3)
    wide = np.pad(mean, 1, mode="edge")
    down, right = (wide[2:, 1:-1] - wide[:-2, 1:-1]) / 2, (wide[1:-1, 2:] - wide[1:-1, :-2]) / 2
    slopes = np.stack([down * down, down * right, right * right])
    means = []
    for image, weight in zip(moved, weights, strict=True):
        # Compare with the mean of the others: the frame's own share hides its difference.
        share = weight / np.maximum(total, 1e-3)
        residual = (image - mean) / np.maximum(1 - share, 0.1)
        weight = weight * (share < 0.9)
        products = [-down * residual, -right * residual, residual**2, np.ones_like(mean)]
        means.append(_block_means(weight * np.stack([*slopes, *products])))
    a, b, c, p, q, square, count = np.stack(means, axis=1)
    count = np.maximum(count, 1e-3)
    noise = square / count + 1e-6
    # Blocks of little noise have no more weight than the whole frame.
    noise = np.maximum(noise, noise.mean(axis=(1, 2), keepdims=True))
    samples = (_WINDOW * _BLOCK) ** 2 / _PIXELS_PER_SAMPLE / noise
    moves = _shrunk_solution(*(samples * x for x in (a, b, c, p, q)))
    return np.stack(moves, axis=1).clip(-_GREATEST, _GREATEST).astype(np.float32)


def distortion_nodes(
    field: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows and columns of the middles of the blocks of a field, in LR pixels."""
    rows, columns = (np.arange(length, dtype=np.float64) for length in field.shape[-2:])
    return (rows + 0.5) * _BLOCK, (columns + 0.5) * _BLOCK


def _shrunk_solution(a, b, c, p, q):
    """Most probable shifts by their normal equations ``[[a, b], [b, c]] shift = [p, q]``."""
    # Of frames without distortion the mean is 2.
    significance = (p * p / (a + 1) + q * q / (c + 1)).mean(axis=(1, 2), keepdims=True)
    information = (a + c).mean(axis=(1, 2), keepdims=True)
    precision = (information + 1) / np.maximum(significance - 2, 1e-3)
    a, c = a + precision, c + precision
    determinant = a * c - b * b
    return (c * p - b * q) / determinant, (a * q - b * p) / determinant


def _smooth_at_one_place(frames, clear, fractions):
    """Smooth frames, moved by the fractions, and their weights."""
    moved, weights = np.empty_like(frames), np.empty_like(frames)
    window = slice(0, frames.shape[1]), slice(0, frames.shape[2])
    for i, (frame, seen) in enumerate(zip(frames, clear, strict=True)):
        weight = seen.astype(np.float32)
        fine, part = (
            ndimage.gaussian_filter(x, _FINE_SIGMA, mode="nearest", truncate=3)
            for x in (np.where(seen, frame, np.float32(0)), weight)
        )
        fine /= np.maximum(part, 0.05)
        moved[i], weights[i] = move_bicubic(fine, part > 0.5, fractions[i], window)
    return moved, weights


def _block_means(images):
    """Means over blocks, and then over squares of them."""
    counts = block_sums(np.ones(images.shape[-2:], np.float32), _BLOCK)
    size = [1] * (images.ndim - 2) + [_WINDOW, _WINDOW]
    return ndimage.uniform_filter(block_sums(images, _BLOCK) / counts, size, mode="nearest")
