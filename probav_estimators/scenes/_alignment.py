"""Alignment of the frames of scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..imaging import (
    BICUBIC_REACH,
    MIN_FRAMES,
    Placement,
    PsfEstimate,
    align_frames,
    distortion_nodes,
    estimate_distortion,
    estimate_psf,
    merge_copies,
    move_bicubic,
    normalize_frames,
    pad_window,
)
from ._frames import WHOLE, open_ends
from ._group_survey import register_georeferenced, site_prior, warn_of_placement
from ._survey import Survey, register_bands

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..imaging import Alignment
    from ._frames import Frames, Index, PixelsAndClear, Window
    from ._scene import Scene
    from ._survey import BandShifts

__all__ = ["align_bands", "align_scene", "read_aligned", "read_moved"]


class NothingClearError(ValueError):
    """No pixel of a scene is clear."""


def align_scene(scene: Scene) -> Alignment:
    """Estimate the shifts, gains, blur and distortion of the frames of a scene.

    Shifts of a FrameRegistrar are kept, else they are estimated. The image is registered to the
    middle of all frames, the expected position of the truth. Repeated frames and copies of one
    acquisition count once, see :func:`probav_estimators.imaging.find_copies`.

    Parameters
    ----------
    scene : Scene
        One of more than 512 LR pixels along an axis is registered in windows.

    Returns
    -------
    Alignment

    Raises
    ------
    NothingClearError
        If no pixel of a scene is clear; a ValueError.
    """
    return align_bands([scene])[0]


def align_bands(scenes: Sequence[Scene]) -> list[Alignment]:
    """Estimate the alignment of bands that were taken together, on one grid.

    Parameters
    ----------
    scenes : list of Scene
        The bands of one site. Frames of one number were taken at one time and have one shift.

    Returns
    -------
    list of Alignment
        One for each band, registered to the middle of the frames of all bands.

    Raises
    ------
    NothingClearError
        If no pixel of a band is clear; a ValueError.
    """
    surveys = [Survey(scene.frames, scene.value_range) for scene in scenes]
    has_prior = scenes[0].frames.position_prior is not None
    # This reads the frames of a large site once, and counts clear pixels.
    shifts = register_georeferenced(surveys) if has_prior else register_bands(surveys)
    for scene, survey in zip(scenes, surveys, strict=True):
        clear = survey.clear_somewhere if has_prior else survey.n_clear
        if not clear.any():
            raise NothingClearError(
                f"{scene.label}: every pixel of every frame is clouded or no data, so there is "
                "nothing to fuse: leave it out, or check its masks and its value of no data"
            )
    if has_prior:
        seen = np.unique(np.concatenate([one.numbers[one.clear_somewhere] for one in surveys]))
        placement = np.full(len(shifts.placement), -1, np.int8)
        placement[seen] = shifts.placement[seen]
        warn_of_placement(placement, scenes[0].label, site_prior(surveys).std)
        return [_align_georeferenced(survey, shifts) for survey in surveys]
    return [_align_registered(survey, shifts) for survey in surveys]


def _align_registered(survey: Survey, shifts: BandShifts) -> Alignment:
    """Align the registered frames of a band, or all if there are none."""
    clear_somewhere = survey.n_clear.any(axis=0)
    placed = (shifts.placement[survey.numbers] == Placement.REGISTERED) & clear_somewhere
    if placed.sum() == 1 and clear_somewhere.sum() >= MIN_FRAMES:
        # No two frames agree: noise drowns the land, and their mean shows more than one of them.
        placed[:] = False
    index = np.flatnonzero(placed if placed.any() else clear_somewhere)
    parts = [survey.read(number) for number in survey.clearest()]
    alignment, parts = _align_chosen(survey, shifts, index, parts)
    return _with_blur(survey, alignment, parts) if placed.any() else alignment


def _align_georeferenced(survey: Survey, shifts: BandShifts) -> Alignment:
    """Align all frames of a band that have a clear pixel."""
    index = np.flatnonzero(survey.clear_somewhere)
    placement = shifts.placement[survey.numbers[index]]
    parts = [survey.read(number) for number in survey.clearest()]
    for frame in index:
        # Each frame's gain is fitted somewhere.
        if not any(qm[frame].any() for _, qm in parts):
            parts.append(survey.read_window(survey.window_at(survey.coverage[frame])))
    alignment, parts = _align_chosen(survey, shifts, index, parts, placement)
    registered = placement >= Placement.TIED
    if not registered.any():
        return alignment
    if not registered.all():
        parts = [(lr, qm & registered[:, None, None]) for lr, qm in parts]
    return _with_blur(survey, alignment, parts)


def _align_chosen(survey, shifts, index, parts, placement=None):
    """Alignment of some frames by the pixels of a band in windows, and their pixels."""
    numbers = survey.numbers[index]
    parts = [(lr[index], qm[index]) for lr, qm in parts]
    alignment = align_frames(parts, shifts.shifts[numbers], placement)
    alignment = replace(
        alignment,
        index=survey.once[index],
        copies=survey.copies.of(index).renumbered(survey.once),
        distortion=shifts.distortion[numbers],
        nodes=shifts.nodes,
    )
    return alignment, parts


def _with_blur(survey, alignment, parts):
    """The alignment with estimates of blur and distortion."""
    estimates = []
    for lr, qm in parts:
        whole = slice(0, lr.shape[1]), slice(0, lr.shape[2])
        frames, clear = normalize_frames(lr, qm, alignment, whole, whole)
        estimates.append(estimate_psf(frames, clear, alignment.fractions))
    alignment = replace(alignment, psf=PsfEstimate.mean_of(estimates))
    if not survey.is_whole:
        return alignment
    distortion = estimate_distortion(frames, clear, alignment.fractions)
    return replace(alignment, distortion=distortion, nodes=distortion_nodes(distortion))


def read_aligned(
    scene: Scene,
    alignment: Alignment,
    window: tuple[slice, slice] | None = None,
    *,
    psf_sigma: float | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Read the aligned frames of a scene.

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
        (t, h', w'), 1 where a frame is clear, else 0; "fractions" (t, 2), sub-pixel parts of the
        shifts in LR pixels; "distortion" (t, 2, h', w'), additional shift of each pixel; "level"
        and "std" (1,), in pixel values; "psf" (t, 2) and "blur" (2,), of
        :meth:`PsfEstimate.sigma` and :meth:`PsfEstimate.mean_variance`.
    """
    window = open_ends(window or WHOLE, scene.shape)
    pixels = alignment.pixels
    lows, highs = pixels.min(axis=0, initial=0), pixels.max(axis=0, initial=0)
    wanted = []
    for part, low, high, length in zip(window, lows, highs, scene.shape, strict=True):
        first = int(np.clip(part.start + low, 0, length - 1))
        wanted.append(slice(first, int(np.clip(part.stop + high, first + 1, length))))
    origin = wanted[0], wanted[1]
    copies = alignment.copies.of(alignment.index)
    numbers = np.concatenate([alignment.index, copies.numbers])
    lr, qm = merge_copies(*scene.frames.read(numbers, origin), numbers, copies)
    n_frames = len(alignment.index)
    known = lr[:n_frames], qm[:n_frames]
    frames, weights = normalize_frames(*known, alignment, origin, window)
    if scene.frames.position_prior is not None:
        _fill_holes(frames, weights, known, alignment, origin, window)
    return {
        "frames": frames,
        "weights": weights.astype(np.float32),
        "fractions": alignment.fractions,
        "distortion": _at_pixels(alignment.distortion, alignment.nodes, window),
        "level": np.array([alignment.level], np.float32),
        "std": np.array([alignment.std], np.float32),
        "psf": alignment.psf.sigma(psf_sigma),
        "blur": np.array(alignment.psf.mean_variance(psf_sigma), np.float32),
    }


def _fill_holes(frames, weights, known, alignment, origin, window):
    """Take pixels that a frame shows, and no frame any more once all are moved, from where it is.

    These are pixels along the edges of the site and of masks.
    """
    holes = ~weights.any(axis=0)
    if holes.any():
        unmoved = replace(alignment, shifts=np.zeros_like(alignment.shifts))
        pixels, clear = normalize_frames(*known, unmoved, origin, window)
        clear &= holes
        np.copyto(frames, pixels, where=clear)
        weights |= clear


def read_moved(
    frames: Frames,
    numbers: Index,
    shifts: NDArray[np.float32],
    window: Window,
    *,
    zero_outside: bool = False,
) -> PixelsAndClear:
    """Read a window of frames, resampled to undo their shifts.

    Parameters
    ----------
    frames : Frames
    numbers : sequence of int
        Numbers of the frames.
    shifts : float32 array of shape (t, 2)
        Shift of each of them, (down, right) in LR pixels.
    window : tuple of two slices
        Rows and columns, with both ends.
    zero_outside : bool, default=False
        Pixels outside of a frame. True: zeros. False: its edge, repeated.

    Returns
    -------
    pixels : float32 array of shape (t, h', w')
    clear : bool array of shape (t, h', w')
    """
    size = tuple(part.stop - part.start for part in window)
    pixels, clear = (
        np.empty((len(numbers), *size), np.float32),
        np.empty((len(numbers), *size), bool),
    )
    for position, (number, shift) in enumerate(zip(numbers, shifts, strict=True)):
        reach = int(np.ceil(np.abs(shift).max())) + BICUBIC_REACH
        wanted = pad_window(window, frames.shape, reach)
        origin = wanted[0].start, wanted[1].start
        (frame,), (valid,) = frames.read([number], wanted)
        pixels[position], clear[position] = move_bicubic(frame, valid, shift, window, origin)
        if zero_outside:
            _, inside = move_bicubic(frame, np.ones_like(valid), shift, window, origin)
            pixels[position] *= inside
    return pixels, clear


def _at_pixels(field, nodes, window):
    """Values in a window, (..., h, w), of a field that is linear between nodes."""
    along = []
    for part, places in zip(window, nodes, strict=True):
        at = np.arange(part.start, part.stop) + 0.5
        # Weights of each node.
        weights = [np.interp(at, places, unit) for unit in np.eye(len(places))]
        along.append(np.stack(weights, axis=1).astype(np.float32))
    rows, columns = along
    return np.ascontiguousarray(rows @ field @ columns.T)
