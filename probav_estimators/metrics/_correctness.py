"""Correct, missing and invented detail of an image, as in opensr-test."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ._checks import as_finite, check_pair, scale_between, without_hidden
from ._placement import align_image

# Decay of the distances from the three cases, and temperature of their softmin, as in opensr-test.
_DECAY = 0.05
_TEMPERATURE = 0.25

# Differences below this count as none.
_LEAST_DISTANCE = 1e-8

# Fraction of the pixels, those of least difference between frame and truth, that count only where
# the image differs more.
_EVEN_PART = 0.75


class Correctness(NamedTuple):
    """Shares of the detail of an image, which sum to 1 and are to be read together.

    Attributes
    ----------
    improvement : float or array
        Detail of the truth that the image has and the frame has not; greater is better.
    omission : float or array
        Detail of the truth that the image lacks as the frame does; less is better.
    hallucination : float or array
        Detail of neither truth nor frame; less is better.
    """

    improvement: Any
    omission: Any
    hallucination: Any


def correctness(
    image: NDArray[Any],
    frame: NDArray[Any],
    truth: NDArray[Any],
    clear: NDArray[Any] | None = None,
    *,
    border: int = 16,
) -> Correctness:
    """Improvement, omission and hallucination of an image, as opensr-test defines them.

    At each pixel, let i be the distance of the image from the truth and o that from the upscaled
    frame, both over the distance of the frame from the truth, and ``h = i + o - 1``. Then the
    distances from the three cases [1]_ are

    - improvement: ``i + o * (1 - exp(-h / 20))``,
    - omission: ``o + i * (1 - exp(-h / 20))``,
    - hallucination: ``exp(-i * o / 20)``,

    and the shares are the softmin of the three at a temperature of 1/4, averaged over the pixels
    that differ enough. The distance of two pixels is their difference over their sum.

    Parameters
    ----------
    image : array of shape (scale * h, scale * w)
        Super-resolved image.
    frame : array of shape (h, w)
        LR frame to improve upon.
    truth : array of shape (scale * h, scale * w)
        True image.
    clear : bool array of shape (scale * h, scale * w), default=None
        Where the truth and the frame are clear. None: everywhere.
    border : int, default=16
        HR pixels to leave out along each edge.

    Returns
    -------
    Correctness
        Shares in [0, 1] that sum to 1.

    Raises
    ------
    ValueError
        If shapes don't fit together, values are NaN where they are clear, or `border` leaves no
        clear pixel.

    See Also
    --------
    correctness_maps : The same pixel by pixel.

    Notes
    -----
    Constants are those of opensr-test 1.2 and later, not of the paper. As there, the frame is
    upscaled linearly, the image is matched to the truth's histogram and registered to it, and a
    pixel counts if one of the three distances exceeds the 75 % quantile of that between frame and
    truth. Differences: one band; the frame too is matched and registered to the truth, as frames of
    PROBA-V are of other dates; the shift is estimated with masks and undone without blurring;
    pixels that are not clear are ignored; distances divide by the sum of absolute values.

    Histogram matching hides a wrong gain, and counts noise of frame and truth as detail: an image
    with less noise than its truth has omissions. Values depend on the frame, so compare those of
    one scene, not of two data sets.

    References
    ----------
    .. [1] C. Aybar, D. Montero, S. Donike, F. Kalaitzis, L. Gómez-Chova, "A comprehensive benchmark
       for optical remote sensing image super-resolution", IEEE Geoscience and Remote Sensing
       Letters 21, 1-5, 2024.
    """
    maps = correctness_maps(image, frame, truth, clear, border=border)
    return Correctness(*(float(np.nanmean(share)) for share in maps))


def correctness_maps(
    image: NDArray[Any],
    frame: NDArray[Any],
    truth: NDArray[Any],
    clear: NDArray[Any] | None = None,
    *,
    border: int = 16,
) -> Correctness:
    """Compute the shares of :func:`correctness` at each pixel.

    Parameters
    ----------
    image, frame, truth, clear, border : arrays and int
        As for :func:`correctness`.

    Returns
    -------
    Correctness
        Of float64 arrays of shape (scale * h - 2 * border, scale * w - 2 * border), NaN where a
        pixel is ignored.

    Raises
    ------
    ValueError
        For the reasons that :func:`correctness` has.
    """
    image, frame, truth, clear = _harmonized(image, frame, truth, clear, border)
    # Distances are ratios, but for their least value, which is meant for values about 1.
    largest = np.abs(truth[clear]).max() or 1.0
    image, frame, truth = image / largest, frame / largest, truth / largest
    before, wrong, added = (
        _distance(*pair) for pair in ((frame, truth), (image, truth), (image, frame))
    )
    threshold = np.quantile(before[clear], _EVEN_PART)
    counted = clear & ((before > threshold) | (wrong > threshold) | (added > threshold))
    if not counted.any():
        # Without any difference, all pixels count alike.
        counted = clear
    before = np.maximum(before[counted], _LEAST_DISTANCE)
    distances = case_distances(wrong[counted] / before, added[counted] / before)
    shares = np.full((3, *clear.shape), np.nan)
    shares[:, counted] = _shares(distances)
    return Correctness(*shares)


def case_distances(i: NDArray[Any], o: NDArray[Any]) -> NDArray[np.float64]:
    """Distances from improvement, omission and hallucination: (3, ...)."""
    decay = 1 - np.exp(-_DECAY * (i + o - 1))
    return np.stack([i + o * decay, o + i * decay, np.exp(-_DECAY * i * o)])


def _harmonized(image, frame, truth, clear, border):
    """Registered image, upscaled frame and truth with one histogram, and their mask."""
    frame = np.asarray(frame)
    scale = scale_between(np.asarray(truth), frame.shape)
    image, truth, clear = check_pair(image, truth, clear)
    shown = clear.reshape(frame.shape[0], scale, frame.shape[1], scale).any(axis=(1, 3))
    frame = as_finite(without_hidden(frame, shown), "frame")
    frame = ndimage.zoom(frame, scale, order=1, mode="nearest", grid_mode=True)
    inside = np.zeros(clear.shape, bool)
    window = tuple(slice(border, length - border) for length in clear.shape)
    inside[window] = clear[window]
    if not inside.any():
        raise ValueError(f"border={border} leaves no clear pixel of an image of {clear.shape}")
    registered = []
    for one in (image, frame):
        one = _match_histogram(one, truth, clear)
        registered.append(align_image(one, truth, clear)[window])
    return *registered, truth[window], clear[window]


def _match_histogram(image, truth, clear):
    """Match the histogram of an image to that of the truth."""
    values, wanted = np.sort(image[clear]), np.sort(truth[clear])
    matched = np.interp(image[clear], values, wanted)
    # Hidden pixels are constant: they are not counted, but the sub-pixel shift mixes them in.
    result = np.full(image.shape, wanted.mean())
    result[clear] = matched
    return result


def _shares(distances):
    weights = np.exp(-(distances - distances.min(axis=0)) / _TEMPERATURE)
    return weights / weights.sum(axis=0)


def _distance(first, second):
    return np.abs(first - second) / (np.abs(first) + np.abs(second) + _LEAST_DISTANCE)
