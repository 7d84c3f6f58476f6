"""Sub-pixel registration of frames that see one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit
from scipy import fft, ndimage

from ._adjustment import adjust_pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Registration", "register_frames"]

# What is compared lies between these sizes, in LR pixels: finer structure is aliased and moves with
# the sampling, coarser structure is haze and slow change.
_FINE_SIGMA = 1.0
_COARSE_WIDTH = 15

# A pixel is trusted if at least this part of what was smoothed into it is clear, and one that is
# not still has a value, for its neighbours to be interpolated, down to this part.
_MIN_CLEAR = 0.5
_MIN_FILLED = 0.05

# Fewer pixels tell nothing of a shift, a gain and an offset.
_FEWEST = 16

_MAX_STEPS = 8
_MIN_STEP = 2e-3

# Neighbours share noise once they are smoothed: so many pixels count as one.
_PIXELS_PER_SAMPLE = 4 * np.pi * _FINE_SIGMA**2

# Beyond this standard error, in LR pixels, or below this correlation, a place is a guess.
_MAX_ERROR = 0.3
_MIN_CORRELATION = 0.3

# So is one that is as likely as this for frames of two places that are not the same. It is small
# because neighbours share more than noise, and because many frames are compared.
_FALSE_ALARMS = 1e-5

# Groups of frames that agree with each other are looked for until one has at least half of all
# frames, up to so many groups.
_MAX_GROUPS = 8

# More of a frame than this is not explained by another, even if they are the same.
_MAX_EXPLAINED = 0.9999

# Each frame is compared with so many others on either side of it, in a circle of all by clearance.
_MAX_PARTNERS = 12

# Pairs are compared by every other row: neighbours share what they show.
_ROW_STEP = 2


class Registration(NamedTuple):
    """Where frames lie.

    Attributes
    ----------
    shifts : float32 array of shape (t, 2)
        How far the content of each frame lies down and to the right of that of the reference, in
        LR pixels; 0 where it is not known.
    placed : bool array of shape (t,)
        Whether the shift of a frame is known.
    """

    shifts: NDArray[np.float32]
    placed: NDArray[np.bool_]


def register_frames(
    lr: NDArray[np.float32], qm: NDArray[np.bool_], *, max_shift: float = 8.0
) -> Registration:
    """Estimate the shift of every frame against the clearest one.

    Whole pixels come from the masked normalised correlation [1]_ of band-passed frames, the rest
    from Gauss-Newton steps on shift, gain and offset with robust weights [2]_, first against one
    frame and then against the mean of all that are placed. That one is the clearest, or the next
    where most frames don't agree with it: clouds and haze that no quality map knows may hide a
    whole frame. A frame whose correlation chance could give, at one of the places that are as near,
    is not placed.

    In the end one step compares every frame with every other one, or with 24 others, and the shifts
    that fit all pairs best count [3]_. What aliasing and interpolation do to a pair depends on its
    own fraction of a pixel, and averages out over many. Where the landscape changes, frames that
    look alike have more to say about each other.

    Parameters
    ----------
    lr : float32 array of shape (t, h, w)
        Frames.
    qm : bool array of shape (t, h, w)
        Quality maps, True where a frame is clear. Other pixels have no part in the result.
    max_shift : float, default=8.0
        Greatest shift that is looked for along each axis, in LR pixels.

    Returns
    -------
    Registration
        The reference is the first of the clearest frames that are placed. The differences between
        the shifts do not depend on the order of the frames.

    References
    ----------
    .. [1] D. Padfield, "Masked object registration in the Fourier domain", IEEE Transactions on
       Image Processing 21(5), 2706-2718, 2012.
    .. [2] S. Baker, I. Matthews, "Lucas-Kanade 20 years on: a unifying framework", International
       Journal of Computer Vision 56(3), 221-255, 2004.
    .. [3] V. M. Govindu, "Combining two-view constraints for motion estimation", IEEE Conference on
       Computer Vision and Pattern Recognition, 2001.

    Examples
    --------
    >>> import numpy as np
    >>> from probav_estimators.imaging import register_frames
    >>> scene = np.random.default_rng(0).random((40, 40), np.float32).cumsum(0).cumsum(1) % 7
    >>> lr = np.stack([scene[:32, :32], scene[2:34, 1:33]])
    >>> register_frames(lr, np.ones_like(lr, bool)).shifts.round(1)[1].tolist()
    [-2.0, -1.0]
    """
    clearance = qm.sum(axis=(1, 2))
    images, trusted = _band_pass(lr, qm)
    order = _clearest_first(images, trusted, clearance)
    shifts, placed = _place_by_agreement(images, trusted, order, max_shift)
    template, weight = _mean_of_placed(images, trusted, shifts, placed)
    lost, centre = ~placed, np.median(shifts[placed], axis=0)
    if lost.any():
        shifts[lost] = _whole_pixel_shifts(images[lost], trusted[lost], template, weight, max_shift)
    gains, scatters = np.ones(len(images)), np.zeros(len(images))
    for i, (image, clear) in enumerate(zip(images, trusted, strict=True)):
        fit = _refine(image, clear, template, weight, shifts[i], max_shift, centre)
        shifts[i], placed[i], gains[i], scatters[i] = fit
    placed &= trusted.any(axis=(1, 2))
    shifts = _fit_pairs(images, trusted, order[placed[order]], shifts, gains, scatters)
    reference = int(np.argmax(np.where(placed, clearance, -1)))
    shifts = np.where(placed[:, None], shifts - shifts[reference], 0)
    return Registration(shifts.astype(np.float32), placed)


def _band_pass(lr, qm):
    """Frames without aliased and without slow structure, and where they can be trusted."""
    images = np.empty(lr.shape, np.float32)
    trusted = np.empty(lr.shape, bool)
    for i, (frame, clear) in enumerate(zip(lr, qm, strict=True)):
        weight = clear.astype(np.float32)
        level = np.float32(frame[clear].mean()) if clear.any() else np.float32(0)
        value = weight * (frame - level)
        fine, fine_weight = (_smooth(x) for x in (value, weight))
        coarse, coarse_weight = (
            ndimage.uniform_filter(x, _COARSE_WIDTH, mode="nearest") for x in (value, weight)
        )
        images[i] = fine / np.maximum(fine_weight, 1e-3) - coarse / np.maximum(coarse_weight, 1e-3)
        images[i] *= fine_weight > _MIN_FILLED
        trusted[i] = fine_weight > _MIN_CLEAR
        # In units of its texture, so that gains and kinds of pixel values don't matter.
        std = images[i][trusted[i]].std() if trusted[i].any() else 0
        images[i] /= std if std > 0 else np.float32(1)
    return images, trusted


def _smooth(image):
    return ndimage.gaussian_filter(image, _FINE_SIGMA, mode="nearest", truncate=3)


def _place_by_agreement(images, trusted, order, max_shift):
    """Shifts against a frame that most others agree with, and which frames do."""
    most = None
    enough = trusted.any(axis=(1, 2)).sum() / 2
    starts = order.tolist()
    for _ in range(_MAX_GROUPS):
        start = starts[0]
        template, weight = images[start], trusted[start].astype(np.float32)
        shifts = _whole_pixel_shifts(images, trusted, template, weight, max_shift)
        shifts[start] = 0
        placed = np.ones(len(images), bool)
        for i, (image, clear) in enumerate(zip(images, trusted, strict=True)):
            if i != start:
                fit = _refine(image, clear, template, weight, shifts[i], max_shift)
                shifts[i], placed[i] = fit.shift, fit.reliable
        if most is None or placed.sum() > most[1].sum():
            most = shifts, placed
        starts = [number for number in starts if not placed[number]]
        if placed.sum() >= enough or not starts:
            break
    return most


def _clearest_first(images, trusted, clearance):
    """Numbers of the frames; which comes first does not depend on their order."""
    content = np.abs(images * trusted).sum(axis=(1, 2), dtype=np.float64)
    return np.lexsort((content, trusted.sum(axis=(1, 2)), clearance))[::-1]


def _whole_pixel_shifts(images, trusted, template, template_weight, max_shift):
    """Most credible shift against a template, by masked correlation, to a fraction of a pixel."""
    reach = int(np.ceil(max_shift))
    shape = [fft.next_fast_len(n + reach, real=True) for n in images.shape[1:]]
    moves = np.arange(-reach, reach + 1)
    false_alarms = _log_false_alarms(np.hypot(moves[:, None], moves))

    def transform(stack):
        return fft.rfft2(stack, shape)

    def correlate(a, b):
        full = fft.irfft2(a * b, shape)
        rows, columns = (moves % n for n in shape)
        return full[rows[:, None], columns]

    images = images * trusted
    weight = (template_weight > 0).astype(np.float32)
    template = template * weight
    conjugates = [np.conj(transform(x)) for x in (template, np.square(template), weight)]
    shifts = np.zeros((len(images), 2))
    least_overlap = 0.25 * weight.size
    for i, (image, clear) in enumerate(zip(images, trusted, strict=True)):
        seen = clear.astype(np.float32)
        value, square, seen = (transform(x) for x in (image, np.square(image), seen))
        overlap = correlate(seen, conjugates[2])
        energies = correlate(square, conjugates[2]) * correlate(seen, conjugates[1])
        correlation = correlate(value, conjugates[0]) / np.sqrt(np.maximum(energies, 1e-6))
        evidence = _evidence(overlap, np.maximum(correlation, 0) ** 2) - false_alarms
        evidence[overlap < min(least_overlap, 0.9 * overlap.max())] = -np.inf
        shifts[i] = _peak(evidence, correlation) - reach
    return shifts


def _evidence(n_pixels, explained):
    """Logarithm of how much more probable two frames are if they see one place."""
    return -0.5 * n_pixels / _PIXELS_PER_SAMPLE * np.log1p(-np.minimum(explained, _MAX_EXPLAINED))


def _log_false_alarms(distance):
    """Logarithm of the number of places at most that far away, in LR pixels."""
    return np.log1p((distance / (2 * _FINE_SIGMA)) ** 2)


def _peak(evidence, correlation):
    """Place of most evidence, by a parabola through the correlation along each axis."""
    place = np.array(np.unravel_index(evidence.argmax(), evidence.shape))
    fine = place.astype(float)
    for axis in range(2):
        if 0 < place[axis] < correlation.shape[axis] - 1:
            step = np.eye(2, dtype=int)[axis]
            before, after = (correlation[tuple(place + sign * step)] for sign in (-1, 1))
            bend = before - 2 * correlation[tuple(place)] + after
            if bend < 0:
                fine[axis] += np.clip(0.5 * (before - after) / bend, -0.5, 0.5)
    return fine


class _Fit(NamedTuple):
    """How a frame lies on a template, whether that can be relied on, and how it differs."""

    shift: NDArray[np.float64]
    reliable: bool
    gain: float = 1.0
    scatter: float = np.inf


def _refine(image, clear, template, template_weight, shift, max_shift, centre=(0, 0)):
    """Gauss-Newton from `shift`, which stays if it fails."""
    place = np.array(shift, np.float64)
    gain, offset, scatter = 1.0, 0.0, np.inf
    lost = _Fit(shift, False)
    for _ in range(_MAX_STEPS):
        normal, right, fit = _normal_equations(
            image, clear, template, template_weight, place, gain, offset, scatter, 1
        )
        if fit[0] < _FEWEST or not np.isfinite(normal).all():
            return lost
        try:
            step = np.linalg.solve(normal + 1e-9 * np.trace(normal) * np.eye(4), right)
        except np.linalg.LinAlgError:
            return lost
        move = np.clip(step[:2], -1, 1)
        place += move
        gain, offset, scatter = step[2], step[3], np.sqrt(fit[1] / fit[0])
        if np.abs(place).max() > max_shift + 1:
            return lost
        if np.abs(move).max() < _MIN_STEP and np.isfinite(scatter):
            break
    explained = max(0.0, 1 - fit[1] / max(fit[2], 1e-12))
    error = np.sqrt(_PIXELS_PER_SAMPLE * fit[1] / fit[0] * np.linalg.pinv(normal)[:2, :2].trace())
    by_chance = _log_false_alarms(np.hypot(*(place - centre))) - _evidence(fit[0], explained)
    reliable = (
        gain > 0
        and np.sqrt(explained) > _MIN_CORRELATION
        and error < _MAX_ERROR
        and by_chance < np.log(_FALSE_ALARMS)
    )
    return _Fit(place, True, gain, scatter) if reliable else lost


def _fit_pairs(images, trusted, order, shifts, gains, scatters):
    """Shifts that fit a Gauss-Newton step of every pair of some frames that lie nearly right."""
    first, second = (order[numbers] for numbers in _pairs(len(order)))
    if not len(first):
        return shifts
    apart, gains = shifts[first] - shifts[second], gains[first] / gains[second]
    scatters = np.maximum(scatters[first], gains * scatters[second])
    steps = [
        _step_between(images, trusted, *pair)
        for pair in zip(first, second, apart, gains, scatters, strict=True)
    ]
    normal, right, fit = (np.stack(x) for x in zip(*steps, strict=True))
    n_pixels, error, signal = np.maximum(fit, 1e-12).T
    # Frames that are the same must not outweigh all others.
    error = np.maximum(error, (1 - _MAX_EXPLAINED) * signal)
    covariance = np.linalg.pinv(normal, hermitian=True)
    step = (covariance @ right[..., None])[..., 0]
    # What is known of the shift while gain and offset are not, in inverse squared pixels.
    known = np.linalg.pinv(covariance[:, :2, :2], hermitian=True)
    alike = (step[:, 2] > 0) & (n_pixels >= _FEWEST) & (1 - error / signal > _MIN_CORRELATION**2)
    known *= (alike * n_pixels / (_PIXELS_PER_SAMPLE * error))[:, None, None]
    return adjust_pairs(shifts, first, second, apart + step[:, :2].clip(-1, 1), known)


def _pairs(n):
    """Places in a circle of those that are compared with each other."""
    first, second = np.tril_indices(n, -1)
    distance = first - second
    near = np.minimum(distance, n - distance) <= _MAX_PARTNERS
    return first[near], second[near]


def _step_between(images, trusted, first, second, shift, gain, scatter):
    frame = images[first], trusted[first]
    template = images[second], trusted[second].astype(np.float32)
    return _normal_equations(*frame, *template, shift, gain, 0.0, scatter, _ROW_STEP)


def _mean_of_placed(images, trusted, shifts, placed):
    """Mean of the frames, moved onto each other, and how many frames each pixel has."""
    total = np.zeros(images.shape[1:], np.float32)
    weight = np.zeros(images.shape[1:], np.float32)
    for image, clear, shift in zip(images[placed], trusted[placed], shifts[placed], strict=True):
        _add_moved(image, clear, shift, total, weight)
    return total / np.maximum(weight, 1), weight


@njit(cache=True, nogil=True)
def _cubic_taps(fraction):
    """Weights of the Catmull-Rom kernel and of its derivative at `fraction` in [0, 1)."""
    f = fraction
    weights = np.array(
        [
            0.5 * (-f + 2 * f * f - f * f * f),
            0.5 * (2 - 5 * f * f + 3 * f * f * f),
            0.5 * (f + 4 * f * f - 3 * f * f * f),
            0.5 * (-f * f + f * f * f),
        ]
    ).astype(np.float32)
    slopes = np.array(
        [
            0.5 * (-1 + 4 * f - 3 * f * f),
            0.5 * (-10 * f + 9 * f * f),
            0.5 * (1 + 8 * f - 9 * f * f),
            0.5 * (-2 * f + 3 * f * f),
        ]
    ).astype(np.float32)
    return weights, slopes


@njit(cache=True, nogil=True)
def _bounds(shift, length):
    """First source, first and last target for which all four sources are inside."""
    first = int(np.floor(shift)) - 1
    return first, max(0, -first), min(length, length - 3 - first)


@njit(cache=True, nogil=True, fastmath=True)
def _normal_equations(
    image, clear, template, template_weight, shift, gain, offset, scatter, row_step
):
    """Normal equations of step, gain and offset; pixels, squared error and squared signal.

    Of the template only the first of every `row_step` rows is looked at.
    """
    height, width = image.shape
    top, r0, r1 = _bounds(shift[0], height)
    left, c0, c1 = _bounds(shift[1], width)
    down, down_slope = _cubic_taps(shift[0] - np.floor(shift[0]))
    right, right_slope = _cubic_taps(shift[1] - np.floor(shift[1]))
    near_row = int(np.floor(shift[0] + 0.5))
    near_column = int(np.floor(shift[1] + 0.5))
    normal = np.zeros((4, 4))
    side = np.zeros(4)
    fit = np.zeros(3)
    value = np.zeros(width, np.float32)
    slope_down = np.zeros(width, np.float32)
    limit = np.float32(1 / (2.5 * scatter) ** 2) if scatter > 0 else np.float32(0)
    g, b = np.float32(gain), np.float32(offset)
    for r in range(r0, r1, row_step):
        if not 0 <= r + near_row < height:
            continue
        for c in range(width):
            v = np.float32(0)
            s = np.float32(0)
            for k in range(4):
                pixel = image[r + top + k, c]
                v += down[k] * pixel
                s += down_slope[k] * pixel
            value[c] = v
            slope_down[c] = s
        sums = np.zeros(15, np.float32)
        for c in range(c0, c1):
            if not 0 <= c + near_column < width:
                continue
            w = template_weight[r, c] * clear[r + near_row, c + near_column]
            if w == 0:
                continue
            v = np.float32(0)
            gy = np.float32(0)
            gx = np.float32(0)
            for k in range(4):
                v += right[k] * value[c + left + k]
                gx += right_slope[k] * value[c + left + k]
                gy += right[k] * slope_down[c + left + k]
            t = template[r, c]
            e = v - g * t - b
            w = min(w, np.float32(1)) / (np.float32(1) + limit * e * e)
            # Unknowns: step down, step right (with the sign of the model), gain, offset.
            sums[0] += w * gy * gy
            sums[1] += w * gy * gx
            sums[2] -= w * gy * t
            sums[3] -= w * gy
            sums[4] += w * gx * gx
            sums[5] -= w * gx * t
            sums[6] -= w * gx
            sums[7] += w * t * t
            sums[8] += w * t
            sums[9] += w
            sums[10] -= w * gy * v
            sums[11] -= w * gx * v
            sums[12] += w * t * v
            sums[13] += w * v
            sums[14] += w * e * e
            fit[2] += w * v * v
        normal[0, 0] += sums[0]
        normal[0, 1] += sums[1]
        normal[0, 2] += sums[2]
        normal[0, 3] += sums[3]
        normal[1, 1] += sums[4]
        normal[1, 2] += sums[5]
        normal[1, 3] += sums[6]
        normal[2, 2] += sums[7]
        normal[2, 3] += sums[8]
        normal[3, 3] += sums[9]
        side[0] += sums[10]
        side[1] += sums[11]
        side[2] += sums[12]
        side[3] += sums[13]
        fit[0] += sums[9]
        fit[1] += sums[14]
    for i in range(4):
        for j in range(i):
            normal[i, j] = normal[j, i]
    return normal, side, fit


@njit(cache=True, nogil=True)
def _add_moved(image, clear, shift, total, weight):
    height, width = image.shape
    top, r0, r1 = _bounds(shift[0], height)
    left, c0, c1 = _bounds(shift[1], width)
    down, _ = _cubic_taps(shift[0] - np.floor(shift[0]))
    right, _ = _cubic_taps(shift[1] - np.floor(shift[1]))
    near_row = int(np.floor(shift[0] + 0.5))
    near_column = int(np.floor(shift[1] + 0.5))
    for r in range(r0, r1):
        for c in range(c0, c1):
            row, column = r + near_row, c + near_column
            if not (0 <= row < height and 0 <= column < width) or not clear[row, column]:
                continue
            v = np.float32(0)
            for k in range(4):
                for j in range(4):
                    v += down[k] * right[j] * image[r + top + k, c + left + j]
            total[r, c] += v
            weight[r, c] += 1
