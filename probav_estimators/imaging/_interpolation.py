"""Upscaling of image stacks by spline or bicubic kernel, and the mean of the clearest frames."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage
from skimage.transform import rescale

from ..compiling import njit
from ._pixels import fill_hidden

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "bicubic_clearest_mean",
    "clearest_mean",
    "move_bicubic",
    "select_clearest",
    "upscale_bicubic",
    "upscale_spline",
]

# Support of the cubic kernel in pixels beyond a window.
BICUBIC_REACH = 2

# The kernel's free parameter, as torch and OpenCV have it.
_KEYS = -0.75

# The pixels along an axis that a position depends on, counted from the one at or before it.
_TAPS = np.arange(1 - BICUBIC_REACH, 1 + BICUBIC_REACH)

# Greatest value of a pixel that is not clear.
_LARGEST_HIDDEN = 1e30

# Beyond this length the spline's dense matrix costs more than the library's own recursion.
_MAX_MATRIX_AXIS = 1024


def upscale_spline(frames: NDArray[np.float32], scale: int) -> NDArray[np.float32]:
    """Upscale by cubic spline interpolation, as the challenge's baseline does.

    Equal to ``skimage.transform.rescale(frame, scale, order=3, mode="edge",
    anti_aliasing=False)`` for every frame, about ten times as fast: spline interpolation is linear
    along each axis, so the weights that the library gives to a unit impulse are kept as a matrix.

    Parameters
    ----------
    frames : float32 array of shape (t, h, w)
    scale : int

    Returns
    -------
    float32 array of shape (t, scale * h, scale * w)
        Within the range of each frame.
    """
    height, width = frames.shape[1:]
    if max(height, width) > _MAX_MATRIX_AXIS:
        return np.stack(
            [rescale(frame, scale, order=3, mode="edge", anti_aliasing=False) for frame in frames]
        )
    upscaled = _spline_matrix(height, scale) @ frames @ _spline_matrix(width, scale).T
    low, high = (extreme(frames, axis=(1, 2), keepdims=True) for extreme in (np.min, np.max))
    return np.clip(upscaled, low, high, out=upscaled)


@lru_cache(maxsize=8)
def _spline_matrix(length, scale):
    impulses = np.eye(length)
    matrix = ndimage.zoom(impulses, (scale, 1), order=3, mode="nearest", grid_mode=True)
    return matrix.astype(np.float32)


def upscale_bicubic(
    frames: NDArray[np.float32], scale: int, window: tuple[slice, slice] | None = None
) -> NDArray[np.float32]:
    """Upscale with the bicubic kernel of torch and OpenCV (Keys, a = -0.75, half-pixel centres).

    Weights are computed in float64 and applied in float32, where torch's have an error that grows
    with the length of the axis. Beyond the edge, the pixel at the edge is repeated.

    Parameters
    ----------
    frames : float32 array of shape (..., h, w)
    scale : int
    window : tuple of two slices, default=None
        Rows and columns of `frames` whose upscaling is wanted. The result is that part of the
        upscaled frames, as if they had been upscaled whole.

    Returns
    -------
    float32 array of shape (..., scale * h', scale * w')
        Not clipped: the kernel overshoots at edges. h', w' are the size of the window.

    References
    ----------
    .. [1] R. Keys, "Cubic convolution interpolation for digital image processing", IEEE
       Transactions on Acoustics, Speech, and Signal Processing 29(6), 1153-1160, 1981.
    """
    height, width = frames.shape[-2:]
    if window is None:
        window = (slice(0, height), slice(0, width))
    padded = pad_window(window, (height, width))
    channels = np.ascontiguousarray(frames[..., *padded], np.float32)
    taps = [
        _taps_of_upscaling(scale, part, wide.start, length)
        for part, wide, length in zip(window, padded, channels.shape[-2:], strict=True)
    ]
    upscaled = _apply_taps(channels.reshape(-1, *channels.shape[-2:]), *taps[0], *taps[1])
    return upscaled.reshape(*frames.shape[:-2], *upscaled.shape[-2:])


@njit(cache=True, fastmath=True, nogil=True)
def _apply_taps(channels, sources_down, weights_down, sources_right, weights_right):
    n_channels, height = channels.shape[:2]
    n_rows, n_columns = len(sources_down), len(sources_right)
    upscaled = np.zeros((n_channels, n_rows, n_columns), np.float32)
    # Along the rows first: there are fewer of them before they are multiplied.
    widened = np.empty((height, n_columns), np.float32)
    for channel in range(n_channels):
        for row in range(height):
            source = channels[channel, row]
            for column in range(n_columns):
                value = np.float32(0)
                for tap in range(weights_right.shape[1]):
                    value += weights_right[column, tap] * source[sources_right[column, tap]]
                widened[row, column] = value
        for row in range(n_rows):
            target = upscaled[channel, row]
            for tap in range(weights_down.shape[1]):
                weight = weights_down[row, tap]
                source = widened[sources_down[row, tap]]
                for column in range(n_columns):
                    target[column] += weight * source[column]
    return upscaled


def _taps_of_upscaling(scale, part, start, length):
    """Sources and weights (n, 4) of the upscaled pixels of `part`."""
    offsets, weights = _taps_of_phases(scale)
    pixels = np.arange(part.start - start, part.stop - start)
    sources = (pixels[:, None, None] + offsets).reshape(-1, len(_TAPS))
    return np.clip(sources, 0, length - 1), np.tile(weights, (len(pixels), 1))


@lru_cache(maxsize=8)
def _taps_of_phases(scale):
    """Sources, counted from the pixel, and weights of the upscaled pixels that replace it."""
    centres = (np.arange(scale) + 0.5) / scale - 0.5
    whole = np.floor(centres).astype(int)
    return whole[:, None] + _TAPS, _keys_weights(centres - whole)


def _keys_weights(fractions):
    """Weights (n, 4) of the pixels around positions at fractions (n,) behind a pixel."""
    distance = np.abs(_TAPS - np.reshape(fractions, (-1, 1)))
    near = (_KEYS + 2) * distance**3 - (_KEYS + 3) * distance**2 + 1
    far = _KEYS * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return np.where(distance < 1, near, np.where(distance < 2, far, 0)).astype(np.float32)


def move_bicubic(
    frame: NDArray[np.float32],
    clear: NDArray[np.bool_],
    shift: Sequence[float] | NDArray[np.float32],
    window: tuple[slice, slice],
    origin: tuple[int, int] = (0, 0),
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Undo the shift of a frame's content, by the bicubic kernel of :func:`upscale_bicubic`.

    Parameters
    ----------
    frame : float32 array of shape (h, w)
    clear : bool array of shape (h, w)
    shift : (float, float)
        Shift (down, right) of the content, in pixels.
    window : tuple of two slices
        Rows and columns of the result.
    origin : (int, int), default=(0, 0)
        Row and column of ``frame[0, 0]``.

    Returns
    -------
    frame : float32 array of shape (h', w')
        Outside of the frame, its edge is repeated. NaN and huge values that are not clear are 0.
    clear : bool array of shape (h', w')
        True where all pixels with a weight are inside the frame and clear.
    """
    sources, weights, inside = zip(
        *(_taps_of_shift(*along) for along in zip(shift, window, origin, frame.shape, strict=True)),
        strict=True,
    )
    # Weights of 0 leave nothing of a pixel unless it overflows; False for NaN.
    frame = np.where(clear | (np.abs(frame) < _LARGEST_HIDDEN), frame, np.float32(0))
    moved = _apply_taps(frame[None], sources[0], weights[0], sources[1], weights[1])[0]
    used = [(w != 0).astype(np.float32) for w in weights]
    hidden = (~clear).astype(np.float32)
    seen = _apply_taps(hidden[None], sources[0], used[0], sources[1], used[1])[0] == 0
    return moved, seen & inside[0][:, None] & inside[1]


def _taps_of_shift(shift, part, start, length):
    """Sources and weights (n, 4) of the pixels of `part`, and which lack none (n,)."""
    whole = int(np.floor(shift))
    weights = _keys_weights(shift - whole)
    sources = np.arange(part.start, part.stop)[:, None] + whole - start + _TAPS
    inside = ((sources >= 0) & (sources < length) | (weights == 0)).all(axis=1)
    return np.clip(sources, 0, length - 1), np.tile(weights, (len(sources), 1)), inside


def pad_window(
    window: tuple[slice, slice], shape: tuple[int, int], reach: int = BICUBIC_REACH
) -> tuple[slice, slice]:
    """Widen a window by `reach` pixels on every side, as far as `shape` (h, w) allows."""
    rows, columns = (
        slice(max(part.start - reach, 0), min(part.stop + reach, length))
        for part, length in zip(window, shape, strict=True)
    )
    return rows, columns


def clearest_mean(
    frames: NDArray[np.float32], quality_maps: NDArray[np.bool_], scale: int
) -> NDArray[np.float32]:
    """The challenge's baseline image: the mean of the upscaled clearest frames.

    Parameters
    ----------
    frames : float32 array of shape (t, h, w)
    quality_maps : bool array of shape (t, h, w)
        True where a frame is clear.
    scale : int

    Returns
    -------
    float32 array of shape (scale * h, scale * w)
        Within the range of the frames: all that share the largest clearance.

    References
    ----------
    .. [1] M. Märtens et al., "Super-resolution of PROBA-V images using convolutional neural
       networks", Astrodynamics 3, 387-402, 2019.
    """
    return upscale_spline(_clearest(frames, quality_maps), scale).mean(axis=0)


def bicubic_clearest_mean(
    frames: NDArray[np.float32], quality_maps: NDArray[np.bool_], scale: int
) -> NDArray[np.float32]:
    """Mean of the clearest frames, upscaled by :func:`upscale_bicubic`.

    Parameters
    ----------
    frames : float32 array of shape (t, h, w)
    quality_maps : bool array of shape (t, h, w)
        True where a frame is clear.
    scale : int

    Returns
    -------
    float32 array of shape (scale * h, scale * w)
        Not clipped. All frames that share the largest clearance take part.

    References
    ----------
    .. [1] "Super Resolution - Kelvins PROBA V - Deep Learning Approach", 2019,
       https://github.com/Shiro-LK/Super-Resolution-ProbaV
    """
    mean = _clearest(frames, quality_maps).mean(axis=0, dtype=np.float64)
    return upscale_bicubic(mean.astype(np.float32), scale)


def _clearest(frames, quality_maps):
    clearest = select_clearest(quality_maps.sum(axis=(1, 2)), "max")
    return fill_hidden(frames[clearest], quality_maps[clearest])


def select_clearest(
    clearance: NDArray[np.intp],
    k: int | Literal["max"] | None,
    ties: Literal["first", "last"] = "first",
) -> NDArray[np.intp]:
    """Select the clearest frames.

    Parameters
    ----------
    clearance : int array of shape (t,)
        How many pixels of each frame are clear.
    k : int, "max" or None
        How many. If there are fewer, they are repeated in turn. "max": all that tie at the largest
        clearance. None: all.
    ties : {"first", "last"}, default="first"
        Which of equally clear frames comes first: the first or the last one.

    Returns
    -------
    int array
        Indices, clearest first.
    """
    if ties == "first":
        order = np.argsort(-clearance, kind="stable")
    else:
        order = np.argsort(clearance, kind="stable")[::-1]
    if k == "max":
        return order[: np.count_nonzero(clearance == clearance.max())]
    return order if k is None else np.resize(order, k)
