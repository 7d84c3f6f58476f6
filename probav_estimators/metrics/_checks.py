"""Validation of the arguments of metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..imaging import as_mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CheckedFrames", "check_frames", "check_pair"]


class CheckedFrames(NamedTuple):
    """An image and the frames that it is compared with.

    Attributes
    ----------
    image : float64 array of shape (scale * h, scale * w)
    frames : float32 array of shape (t, h, w)
        0 where they are not clear.
    clear : bool array of shape (t, h, w)
    shifts : float64 array of shape (t, 2)
    scale : int
    """

    image: NDArray[np.float64]
    frames: NDArray[np.float32]
    clear: NDArray[np.bool_]
    shifts: NDArray[np.float64]
    scale: int


def check_frames(
    image: NDArray[Any],
    frames: NDArray[Any],
    quality_maps: NDArray[Any] | None,
    shifts: NDArray[Any] | None,
) -> CheckedFrames:
    """Check that an image and its frames fit together, and find the scale."""
    frames = np.asarray(frames)
    if frames.ndim != 3 or frames.size == 0:
        raise ValueError(f"frames must have the shape (t, h, w), got {frames.shape}")
    clear = check_stack(frames, quality_maps)
    image = as_finite(image, "image")
    scale = image.shape[0] // frames.shape[1] if image.ndim == 2 else 0
    if scale < 1 or image.shape != tuple(scale * length for length in frames.shape[1:]):
        raise ValueError(
            f"image has shape {image.shape} and frames have {frames.shape[1:]}: it must be as "
            "large or larger, by the same integer along both axes"
        )
    shifts = check_shifts(np.zeros((len(frames), 2)) if shifts is None else shifts, len(frames))
    frames = np.where(clear, frames, 0).astype(np.float32)
    return CheckedFrames(image, frames, clear, shifts, scale)


def check_stack(frames: NDArray[Any], quality_maps: NDArray[Any] | None) -> NDArray[np.bool_]:
    """Return the mask of a stack of frames, after checks of shape and finite values."""
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
    return clear


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
    """Return two images of one size in float64, 0 where they are not clear, and the mask."""
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
        as_finite(np.where(clear, image, 0), "one of the images") for image in (first, second)
    )
    return first, second, clear


def as_finite(values: Any, name: str) -> NDArray[np.float64]:
    """Values as float64, if none is NaN or infinite."""
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has NaN or infinite values: fill them, or hide them by the mask")
    return values
