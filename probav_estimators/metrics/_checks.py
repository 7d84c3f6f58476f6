"""Validation of the arguments of metrics."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..imaging import as_mask

# Standard deviation of the Gaussian that fills hidden pixels from their surroundings, in pixels.
_FILLING = 4.0


class CheckedFrames(NamedTuple):
    """An image, (H, W), and the frames that it is compared with, (t, h, w), with masks and shifts.

    Both are less the level of the frames, in units of their contrast, `unit`. Frames are 0 where
    they are not clear.
    """

    image: NDArray[np.float64]
    frames: NDArray[np.float32]
    clear: NDArray[np.bool_]
    shifts: NDArray[np.float64]
    scale: int
    unit: float


def check_frames(
    image: NDArray[Any],
    frames: NDArray[Any],
    quality_maps: NDArray[Any] | None,
    shifts: NDArray[Any] | None,
) -> CheckedFrames:
    """Check that an image and its frames fit together, and find the scale."""
    frames, clear, level, unit = check_stack(frames, quality_maps)
    image = as_finite(image, "image")
    scale = scale_between(image, frames.shape[1:])
    shifts = check_shifts(np.zeros((len(frames), 2)) if shifts is None else shifts, len(frames))
    return CheckedFrames((image - level) / unit, frames, clear, shifts, scale, unit)


def scale_between(image: NDArray[Any], shape: tuple[int, ...]) -> int:
    """HR pixels of an image for each LR pixel of frames of a shape."""
    scale = image.shape[0] // shape[0] if image.ndim == len(shape) == 2 else 0
    if scale < 1 or image.shape != tuple(scale * length for length in shape):
        raise ValueError(
            f"image has shape {image.shape} and frames have {shape}: it must be as large or "
            "larger, by the same integer along both axes"
        )
    return scale


def check_stack(
    frames: NDArray[Any], quality_maps: NDArray[Any] | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_], float, float]:
    """Frames less their level, in units of their contrast; mask, level and unit."""
    frames = np.asarray(frames)
    if frames.ndim != 3 or frames.size == 0:
        raise ValueError(f"frames must have the shape (t, h, w), got {frames.shape}")
    if quality_maps is None:
        clear = np.ones(frames.shape, bool)
    else:
        clear = as_mask(quality_maps, "quality_maps")
    if clear.shape != frames.shape:
        raise ValueError(
            f"quality_maps has shape {clear.shape} and frames has {frames.shape}: give one map for "
            "each frame, of its size"
        )
    if not np.isfinite(frames[clear]).all():
        raise ValueError("frames has NaN or infinite values: hide them by quality_maps")
    values = without_hidden(frames, clear)
    level = level_of(values, clear)
    unit = contrast_of(values[clear] - level)
    return ((values - level) / unit).astype(np.float32), clear, level, unit


def without_hidden(values: NDArray[Any], clear: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Values as float64, with the median of the clear ones in place of the others."""
    return np.where(clear, values, level_of(values, clear)).astype(np.float64, copy=False)


def fill_hidden(image: NDArray[np.float64], clear: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Fill pixels that are not clear smoothly from their surroundings."""
    if clear.all():
        return image
    level = level_of(image, clear)
    weight = ndimage.gaussian_filter(clear.astype(np.float64), _FILLING)
    # Far inside a cloud the filling is the level.
    around = ndimage.gaussian_filter(np.where(clear, image - level, 0), _FILLING)
    return np.where(clear, image, level + around / np.maximum(weight, 0.01))


def level_of(values: NDArray[Any], clear: NDArray[np.bool_]) -> float:
    """Median of the clear values, 0 without any: a single large value does not move it."""
    return float(np.median(values[clear])) if clear.any() else 0.0


def contrast_of(differences: NDArray[np.float64]) -> float:
    """Mean absolute difference from a level; 1 where there is none."""
    return float(np.abs(differences).mean()) or 1.0 if differences.size else 1.0


def check_shifts(shifts: NDArray[Any], n_frames: int) -> NDArray[np.float64]:
    """Shifts as (t, 2) float64."""
    shifts = as_finite(shifts, "shifts")
    if shifts.shape != (n_frames, 2):
        raise ValueError(
            f"shifts has shape {shifts.shape}: give (down, right) in LR pixels for each of the "
            f"{n_frames} frames"
        )
    return shifts


def check_pair(
    first: NDArray[Any], second: NDArray[Any], clear: NDArray[Any] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return two images of one size in float64, at their level where hidden, and the mask."""
    first, second = np.asarray(first), np.asarray(second)
    clear = np.ones(second.shape, bool) if clear is None else as_mask(clear, "the mask")
    if not (first.shape == second.shape == clear.shape) or first.ndim != 2:
        raise ValueError(
            f"images of shapes {first.shape} and {second.shape}, with a mask of shape "
            f"{clear.shape}, cannot be compared: all must be one (H, W)"
        )
    if not clear.any():
        raise ValueError("no pixel is clear: leave this scene out")
    first, second = (
        as_finite(without_hidden(image, clear), "one of the images") for image in (first, second)
    )
    return first, second, clear


def normalized_pair(
    first: NDArray[np.float64], second: NDArray[np.float64], clear: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two checked images, each less its level, in units of the contrast of the second."""
    first, second = (image - level_of(image, clear) for image in (first, second))
    unit = contrast_of(second[clear])
    return first / unit, second / unit


def as_finite(values: Any, name: str) -> NDArray[np.float64]:
    """Values as float64, if none is NaN or infinite."""
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has NaN or infinite values: fill them, or hide them by the mask")
    return values
