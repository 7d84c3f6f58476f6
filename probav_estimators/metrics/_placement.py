"""Shift of an image against its frames or another image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..imaging import USUAL_SIGMA, register_frames, robust_mean
from ._checks import check_frames, check_pair, fill_hidden, normalized_pair
from ._degradation import see_frame

# Frames to register against: the common error of registration does not fall with more.
_MAX_FRAMES = 16

# Steps of the refinement, its greatest length, and the step of numerical derivatives, in LR pixels.
_N_STEPS = 3
_MAX_REFINEMENT = 0.3
_STEP = 0.05

# Width of the mirrored padding of an image before it is moved, in pixels.
_PADDING = 16


def spatial_shift(
    image: NDArray[Any],
    frames: NDArray[Any],
    quality_maps: NDArray[Any] | None = None,
    shifts: NDArray[Any] | None = None,
    *,
    psf_sigma: Any = USUAL_SIGMA,
) -> NDArray[np.float64]:
    """Shift of an image against its frames.

    The degraded image is registered together with the frames, then refined by Gauss-Newton steps
    [1]_ to the shift of least residual.

    Parameters
    ----------
    image : array of shape (scale * h, scale * w)
        Super-resolved image, in the unit of the frames.
    frames : array of shape (t, h, w)
        LR frames.
    quality_maps : bool array of shape (t, h, w), default=None
        True where a frame is clear. None: everywhere.
    shifts : array of shape (t, 2), default=None
        Shift of each frame's content against the image, (down, right) in LR pixels. None: relative
        to the mean of the frames.
    psf_sigma : float or pair of float, default=0.4
        Standard deviation of the sensor's Gaussian point spread function, in LR pixels.

    Returns
    -------
    float64 array of shape (2,)
        Down and right, in LR pixels. NaN if the image or all frames have too little structure to
        be registered.

    Raises
    ------
    ValueError
        If shapes don't fit together or values are NaN where a frame is clear.

    Notes
    -----
    0 does not prove that the image is registered to the ground: all frames may share a shift.

    References
    ----------
    .. [1] S. Baker, I. Matthews, "Lucas-Kanade 20 years on: a unifying framework", International
       Journal of Computer Vision 56(3), 221-255, 2004.
    """
    checked = check_frames(image, frames, quality_maps, shifts)
    chosen = np.argsort(-checked.clear.sum(axis=(1, 2)), kind="stable")[:_MAX_FRAMES]
    seen, inside = see_frame(checked.image, checked.scale, sigma=psf_sigma)
    lr = np.concatenate([seen[None].astype(np.float32), checked.frames[chosen]])
    found, placed = register_frames(lr, np.concatenate([inside[None], checked.clear[chosen]]))
    used = placed[1:]
    if not placed[0] or not used.any():
        return np.full(2, np.nan)
    chosen, registered = chosen[used], found[1:][used].astype(np.float64)
    wanted = registered - robust_mean(registered) if shifts is None else checked.shifts[chosen]
    shift = np.median(found[0] - (registered - wanted), axis=0)
    frames, clear = checked.frames[chosen], checked.clear[chosen]
    return _refined(shift, checked, frames, clear, wanted, psf_sigma)


def _refined(start, checked, frames, clear, wanted, sigma):
    """Shift near `start` at which the degraded image fits the frames best."""
    shift = start
    for _ in range(_N_STEPS):
        normal, right = np.zeros((2, 2)), np.zeros(2)
        for frame, mask, frame_shift in zip(frames, clear, wanted - shift, strict=True):
            part = _normal_equations(checked, frame, mask, frame_shift, sigma)
            normal, right = normal + part[0], right + part[1]
        step, *_ = np.linalg.lstsq(normal, right, rcond=None)
        shift = shift + step
        # Beyond the error of registration: the images differ too much for the model.
        if not np.abs(shift - start).max() < _MAX_REFINEMENT:
            return start
    return shift


def _normal_equations(checked, frame, mask, shift, sigma):
    """Normal equations of a step of the image's shift, with gain and offset eliminated."""
    seen, inside = see_frame(checked.image, checked.scale, shift, sigma)
    slopes = []
    for axis in np.eye(2):
        before, after = (
            see_frame(checked.image, checked.scale, shift + sign * _STEP * axis, sigma)
            for sign in (1, -1)
        )
        slopes.append((after[0] - before[0]) / (2 * _STEP))
        inside &= before[1] & after[1]
    used = mask & inside
    base = np.stack([np.ones(used.sum()), seen[used]], axis=1)
    values = np.stack([frame[used], *(slope[used] for slope in slopes)], axis=1)
    fit, *_ = np.linalg.lstsq(base, values, rcond=None)
    rest = values - base @ fit
    terms = fit[1, 0] * rest[:, 1:]
    return terms.T @ terms, terms.T @ rest[:, 0]


def image_shift(
    first: NDArray[Any], second: NDArray[Any], clear: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    """Shift of one image's content against another's, (down, right) in pixels.

    Parameters
    ----------
    first, second : arrays of shape (H, W)
        Images of one size.
    clear : bool array of shape (H, W), default=None
        Where both are to be compared. None: everywhere.

    Returns
    -------
    float64 array of shape (2,)
        Of `first` against `second`, at most 8 pixels along each axis; NaN if it cannot be
        estimated.
    """
    first, second, clear = check_pair(first, second, clear)
    stack = np.stack(normalized_pair(first, second, clear)).astype(np.float32)
    shifts, placed = register_frames(stack, np.stack([clear, clear]))
    if not placed.all():
        return np.full(2, np.nan)
    return (shifts[0] - shifts[1]).astype(np.float64)


def move_image(image: NDArray[Any], shift: Any) -> NDArray[np.float64]:
    """Move the content of an image down and to the right, without blurring it.

    Parameters
    ----------
    image : array of shape (H, W)
    shift : pair of float
        Down and right, in pixels. By whole pixels, no value changes but at the edges.

    Returns
    -------
    float64 array of shape (H, W)
        Mirrored at the edges.
    """
    padded = np.pad(np.asarray(image, np.float64), _PADDING, mode="symmetric")
    moved = np.fft.ifft2(ndimage.fourier_shift(np.fft.fft2(padded), np.asarray(shift))).real
    inside = slice(_PADDING, -_PADDING)
    return moved[inside, inside]


def align_image(
    image: NDArray[Any], truth: NDArray[Any], clear: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    """Register an image to another one by a sub-pixel shift, without blurring it.

    Parameters
    ----------
    image, truth : arrays of shape (H, W)
    clear : bool array of shape (H, W), default=None
        Where they are compared. None: everywhere.

    Returns
    -------
    float64 array of shape (H, W)
        Hidden pixels are filled from their surroundings. It is not moved if no shift can be
        estimated.
    """
    image, truth, clear = check_pair(image, truth, clear)
    shift, image = image_shift(image, truth, clear), fill_hidden(image, clear)
    return move_image(image, -shift) if np.isfinite(shift).all() else image
