"""Alignment of the frames of a scene, and reading them aligned."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product
from typing import TYPE_CHECKING

import numpy as np

from ..imaging import (
    DISTORTION_BLOCK,
    align_frames,
    estimate_distortion,
    estimate_psf,
    normalize_frames,
    register_frames,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..imaging import Alignment
    from ._scene import Scene

__all__ = ["align_scene", "read_aligned"]

# LR pixels along each axis in which shifts, gains and texture are measured.
_MAX_SURVEY = 512


class NothingClearError(ValueError):
    """No pixel of a scene is clear."""


def align_scene(scene: Scene) -> Alignment:
    """Estimate how the frames of a scene are brought together, their blur and their distortion.

    Shifts are those that a FrameRegistrar left in the scene, else they are estimated. The image is
    placed in the middle of all frames: the best guess of where a truth lies. A frame that a
    ClearanceSelector repeats takes part once.

    Parameters
    ----------
    scene : Scene

    Returns
    -------
    Alignment

    Raises
    ------
    NothingClearError
        If the quality maps call every pixel clouded; a ValueError.
    """
    window = _clearest_part(scene)
    once = np.flatnonzero(~scene.frames.repeats)
    lr, qm = scene.frames.read_lr(once, window), scene.frames.read_qm(once, window)
    seen = qm.any(axis=(1, 2))
    if not seen.any():
        raise NothingClearError(
            f"{scene.label}: the quality maps call every pixel of every frame clouded, so "
            "there is nothing to fuse: remove the scene, or give better maps"
        )
    shifts, placed = _placement(scene.frames, once, lr, qm)
    placed = placed & seen
    index = np.flatnonzero(placed if placed.any() else seen)
    alignment = replace(align_frames(lr, qm, shifts, index), index=once[index])
    if not placed.any():
        return alignment
    frames, clear = normalize_frames(lr[index], qm[index], alignment, window, window)
    psf = estimate_psf(frames, clear, alignment.fractions)
    alignment = replace(alignment, psf=psf)
    if frames.shape[1:] != scene.shape:
        # Nothing would be known of the distortion elsewhere.
        return alignment
    distortion = estimate_distortion(frames, clear, alignment.fractions)
    return replace(alignment, distortion=distortion)


def _clearest_part(scene):
    """The window of a scene that is surveyed: all of it, if it is not too large."""
    parts = []
    for length in scene.shape:
        bounds = np.linspace(0, length, -(-length // _MAX_SURVEY) + 1).astype(int).tolist()
        parts.append([slice(*ends) for ends in pairwise(bounds)])
    windows = list(product(*parts))
    if len(windows) == 1:
        return windows[0]
    return max(windows, key=lambda window: np.count_nonzero(scene.frames.read_qm(window=window)))


def _placement(frames, index, lr, qm):
    """Shifts of some frames as they are read, and which of them are known."""
    if not frames.aligned and frames.shifts is None:
        return register_frames(lr, qm)
    placed = np.ones(len(frames), bool) if frames.placed is None else frames.placed
    shifts = np.zeros((len(frames), 2), np.float32) if frames.aligned else frames.shifts
    return shifts[index], placed[index]


def read_aligned(
    scene: Scene,
    alignment: Alignment,
    window: tuple[slice, slice] | None = None,
    *,
    psf_sigma: float | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Read the frames of a scene, brought together.

    Parameters
    ----------
    scene : Scene
    alignment : Alignment
    window : tuple of two slices, default=None
        Rows and columns in LR pixels of the image. None: all.
    psf_sigma : float, default=None
        Standard deviation of the sensor's point spread function in LR pixels. None: estimated.

    Returns
    -------
    dict of float32 arrays
        "frames" (t, h', w'), in standard deviations of the scene around its level; "weights"
        (t, h', w'), 1 where a frame is clear, else 0; "fractions" (t, 2), what is left of the
        shifts in LR pixels, and "distortion" (t, 2, h', w'), how much more that is at each pixel;
        "level" and "std" (1,), in pixel values; "psf" (t, 2) and "blur"
        (2,), what :meth:`PsfEstimate.sigma` and :meth:`PsfEstimate.mean_variance` say.
    """
    if window is None:
        height, width = scene.shape
        window = slice(0, height), slice(0, width)
    pixels = alignment.pixels
    lows, highs = pixels.min(axis=0), pixels.max(axis=0)
    wanted = []
    for part, low, high, length in zip(window, lows, highs, scene.shape, strict=True):
        first = int(np.clip(part.start + low, 0, length - 1))
        wanted.append(slice(first, int(np.clip(part.stop + high, first + 1, length))))
    origin = wanted[0], wanted[1]
    lr = scene.frames.read_lr(alignment.index, origin)
    qm = scene.frames.read_qm(alignment.index, origin)
    frames, weights = normalize_frames(lr, qm, alignment, origin, window)
    return {
        "frames": frames,
        "weights": weights.astype(np.float32),
        "fractions": alignment.fractions,
        "distortion": _at_pixels(alignment.distortion, window),
        "level": np.array([alignment.level], np.float32),
        "std": np.array([alignment.std], np.float32),
        "psf": alignment.psf.sigma(psf_sigma),
        "blur": np.array(alignment.psf.mean_variance(psf_sigma), np.float32),
    }


def _at_pixels(blocks, window):
    """Values of the pixels of a window, (..., h, w), from those of blocks, linear in between."""
    along = []
    for part, n_blocks in zip(window, blocks.shape[-2:], strict=True):
        place = (np.arange(part.start, part.stop) + 0.5) / DISTORTION_BLOCK - 0.5
        distance = np.abs(place.clip(0, n_blocks - 1)[:, None] - np.arange(n_blocks))
        along.append(np.maximum(1 - distance, 0).astype(np.float32))
    rows, columns = along
    return np.ascontiguousarray(rows @ blocks @ columns.T)
