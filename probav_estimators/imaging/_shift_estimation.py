"""Sub-pixel registration of the frames of one scene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import fft, ndimage

from ..compiling import njit
from ._adjustment import adjust_pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Registration",
    "Search",
    "band_pass",
    "mean_of_registered",
    "refine_shift",
    "register_band_passed",
    "register_frames",
    "whole_pixel_shifts",
]

# Pass band of the comparison, in LR pixels: finer structure is aliased and moves with the sampling,
# coarser structure is haze and slow change.
_FINE_SIGMA = 1.0
_COARSE_WIDTH = 15

# Clear fraction of the smoothing window from which a pixel is compared, and from which it still has
# a value, needed to interpolate its neighbours.
_MIN_CLEAR = 0.5
_MIN_FILLED = 0.05

# Least number of pixels to fit a shift, a gain and an offset.
_MIN_PIXELS = 16

# Independent samples that shift, gain and offset take up, and the least overlap in their units from
# which a shift within a prior is searched.
_FITTED_SAMPLES = 4
_MIN_SAMPLES = 10

_MAX_STEPS = 8
_MIN_STEP = 2e-3

# Pixels per independent sample: smoothing correlates the noise of neighbours.
_PIXELS_PER_SAMPLE = 4 * np.pi * _FINE_SIGMA**2

# A shift of a larger standard error, in LR pixels, or a smaller correlation is rejected.
_MAX_ERROR = 0.3
_MIN_CORRELATION = 0.3

# So is one that is more likely than this for frames of two different sites. The bound is small
# because neighbours share more than noise, and because many frames are compared.
_FALSE_ALARMS = 1e-5

# Greatest number of groups of agreeing frames; the search ends at one that has half of all frames.
_MAX_GROUPS = 8

# Upper bound of the variance that one frame explains of another, for identical frames.
_MAX_EXPLAINED = 0.9999

# Partners of each frame on either side, in a circle of all frames sorted by clearance.
_MAX_PARTNERS = 12


class Registration(NamedTuple):
    """Shifts of the frames of a scene.

    Attributes
    ----------
    shifts : float32 array of shape (t, 2)
        Shift of each frame's content against the reference, (down, right) in LR pixels; 0 where it
        is not known.
    placed : bool array of shape (t,)
        Whether the shift of a frame is known.
    """

    shifts: NDArray[np.float32]
    placed: NDArray[np.bool_]


class Search(NamedTuple):
    """Where the shift of a frame is searched.

    Attributes
    ----------
    max_shift : float, default=8.0
        Greatest shift along each axis, in LR pixels.
    std : float, default=None
        Prior standard deviation of a shift along each axis, in LR pixels. None: there is no prior,
        and frames have to share a quarter of their area.
    false_alarms : float, default=1e-5
        Greatest probability of a match of frames of different sites.
    """

    max_shift: float = 8.0
    std: float | None = None
    false_alarms: float = _FALSE_ALARMS

    def chance(self, distance: NDArray[np.floating] | float) -> Any:
        """Logarithm of the odds against a shift of this length before pixels are compared."""
        # Number of independent shifts up to the length.
        odds = np.log1p((distance / (2 * _FINE_SIGMA)) ** 2)
        return odds if self.std is None else odds + 0.5 * (distance / self.std) ** 2

    def evidence(self, n_pixels: Any, explained: Any) -> Any:
        """Log-likelihood ratio of two frames of the same site against two of different sites."""
        samples = n_pixels / _PIXELS_PER_SAMPLE
        if self.std is not None:
            # Little overlap is fitted well by chance.
            samples = samples - _FITTED_SAMPLES
        return -0.5 * samples * np.log1p(-np.minimum(explained, _MAX_EXPLAINED))


def register_frames(
    lr: NDArray[np.float32], qm: NDArray[np.bool_], *, max_shift: float = 8.0
) -> Registration:
    """Estimate the shift of every frame against the clearest one.

    Whole pixels come from the masked normalised correlation [1]_ of band-passed frames, the rest
    from Gauss-Newton steps on shift, gain and offset with robust weights [2]_, first against one
    frame and then against the mean of all registered frames. The first reference is the clearest
    frame, or the next clearest where most frames disagree with it: clouds and haze that the quality
    map misses may cover a whole frame. A frame whose correlation is explained by chance, given the
    number of shifts as small as its own, is not registered.

    A last step compares every frame with every other one, or with 24 others, and solves for the
    shifts that fit all pairs best [3]_. Errors by aliasing and interpolation depend on the subpixel
    shift of a pair and average out over many pairs. Where the landscape changes, pairs of similar
    frames have more weight.

    Parameters
    ----------
    lr : float32 array of shape (t, h, w)
        Frames.
    qm : bool array of shape (t, h, w)
        Quality maps, True where a frame is clear. Other pixels are ignored.
    max_shift : float, default=8.0
        Search range along each axis, in LR pixels.

    Returns
    -------
    Registration
        The reference is the first of the clearest registered frames. The differences between the
        shifts do not depend on the order of the frames.

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
    images, trusted = band_pass(lr, qm)
    return register_band_passed(images, trusted, qm.sum(axis=(1, 2)), Search(max_shift))


def register_band_passed(
    images: NDArray[np.float32],
    trusted: NDArray[np.bool_],
    clearance: NDArray[np.intp],
    search: Search,
    expected: NDArray[np.floating] | None = None,
) -> Registration:
    """Register band-passed frames, see :func:`register_frames`.

    Parameters
    ----------
    images, trusted : float32 and bool arrays of shape (t, h, w)
        Of :func:`band_pass`.
    clearance : int array of shape (t,)
        Clear pixels of each frame.
    search : Search
        With a prior, frames are added to the mean that others are compared with as long as there
        are any that overlap it.
    expected : float array of shape (t, 2), default=None
        Shifts that a prior expects, in LR pixels. None: all are equal.

    Returns
    -------
    Registration
    """
    order = _clearest_first(images, trusted, clearance)
    expected = np.zeros((len(images), 2)) if expected is None else expected
    shifts, placed = _register_largest_group(images, trusted, order, search, expected)
    if search.std is not None:
        _add_overlapping(images, trusted, shifts, placed, search, expected)
    template, weight = mean_of_registered(images, trusted, shifts, placed)
    lost, centres = ~placed, _centres(shifts, placed, expected)
    if lost.any():
        known = images[lost], trusted[lost]
        shifts[lost] = whole_pixel_shifts(*known, template, weight, search, centres[lost])
    gains, scatters = np.ones(len(images)), np.zeros(len(images))
    for i, (image, clear) in enumerate(zip(images, trusted, strict=True)):
        fit = refine_shift(image, clear, template, weight, shifts[i], search, centres[i])
        shifts[i], placed[i], gains[i], scatters[i], _ = fit
    placed &= trusted.any(axis=(1, 2))
    shifts = _fit_pairs(images, trusted, order[placed[order]], shifts, gains, scatters)
    reference = int(np.argmax(np.where(placed, clearance, -1)))
    shifts = np.where(placed[:, None], shifts - shifts[reference], 0)
    return Registration(shifts.astype(np.float32), placed)


def _centres(shifts, placed, expected):
    """Shifts that frames are expected at by those that are known, (t, 2)."""
    return expected + np.median((shifts - expected)[placed], axis=0)


def _add_overlapping(images, trusted, shifts, placed, search, expected):
    """Register frames against the mean of those that are, until no other overlaps it."""
    n_before = 0
    while n_before < placed.sum() < len(placed):
        n_before, lost = placed.sum(), np.flatnonzero(~placed)
        template, weight = mean_of_registered(images, trusted, shifts, placed)
        centres = _centres(shifts, placed, expected)
        known = images[lost], trusted[lost]
        found = whole_pixel_shifts(*known, template, weight, search, centres[lost])
        for i, start in zip(lost, found, strict=True):
            fit = refine_shift(images[i], trusted[i], template, weight, start, search, centres[i])
            if fit.reliable:
                shifts[i], placed[i] = fit.shift, True


def band_pass(
    lr: NDArray[np.float32], qm: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Band-passed frames in units of their standard deviation, and masks of reliable pixels.

    Both are (t, h, w). Pixels that are not reliable are 0 where too little is clear around them.
    """
    images = np.empty(lr.shape, np.float32)
    trusted = np.empty(lr.shape, bool)
    for i, (frame, clear) in enumerate(zip(lr, qm, strict=True)):
        weight = clear.astype(np.float32)
        level = np.float32(frame[clear].mean(dtype=np.float64) if clear.any() else 0)
        value = np.where(clear, frame, level) - level
        fine, fine_weight = (_smooth(x) for x in (value, weight))
        coarse, coarse_weight = (
            ndimage.uniform_filter(x, _COARSE_WIDTH, mode="nearest") for x in (value, weight)
        )
        images[i] = fine / np.maximum(fine_weight, 1e-3) - coarse / np.maximum(coarse_weight, 1e-3)
        images[i] *= fine_weight > _MIN_FILLED
        trusted[i] = fine_weight > _MIN_CLEAR
        # In double precision: squares of any unit fit.
        std = images[i][trusted[i]].std(dtype=np.float64) if trusted[i].any() else 0
        images[i] /= np.float32(std if std > 0 else 1)
    return images, trusted


def _smooth(image):
    return ndimage.gaussian_filter(image, _FINE_SIGMA, mode="nearest", truncate=3)


def _register_largest_group(images, trusted, order, search, expected):
    """Shifts against the reference that most frames agree with, and which frames do."""
    most = None
    enough = trusted.any(axis=(1, 2)).sum() / 2
    starts = order.tolist()
    for _ in range(_MAX_GROUPS):
        start = starts[0]
        template, weight = images[start], trusted[start].astype(np.float32)
        centres = expected - expected[start]
        shifts = whole_pixel_shifts(images, trusted, template, weight, search, centres)
        shifts[start] = 0
        placed = np.ones(len(images), bool)
        for i, (image, clear) in enumerate(zip(images, trusted, strict=True)):
            if i != start:
                fit = refine_shift(image, clear, template, weight, shifts[i], search, centres[i])
                shifts[i], placed[i] = fit.shift, fit.reliable
        if most is None or placed.sum() > most[1].sum():
            most = shifts, placed
        starts = [number for number in starts if not placed[number]]
        if placed.sum() >= enough or not starts:
            break
    return most


def _clearest_first(images, trusted, clearance):
    """Frame numbers by decreasing clearance, independent of the order of the frames."""
    content = np.abs(images * trusted).sum(axis=(1, 2), dtype=np.float64)
    return np.lexsort((content, trusted.sum(axis=(1, 2)), clearance))[::-1]


def whole_pixel_shifts(
    images: NDArray[np.float32],
    trusted: NDArray[np.bool_],
    template: NDArray[np.float32],
    template_weight: NDArray[np.floating],
    search: Search,
    centre: NDArray[np.floating] | tuple[float, float] = (0, 0),
) -> NDArray[np.float64]:
    """Most likely shift against a template by masked correlation, with a parabolic peak fit.

    Parameters
    ----------
    images, trusted : float32 and bool arrays of shape (t, h, w)
    template, template_weight : arrays of shape (h, w)
        It is known where its weight is above 0.
    search : Search
    centre : array of shape (2,) or (t, 2)
        Shift that a prior expects.

    Returns
    -------
    float64 array of shape (t, 2)
    """
    prior = search.std is not None
    centres = np.broadcast_to(centre if prior else 0.0, (len(images), 2))
    whole = np.rint(centres).astype(int)
    reach = int(np.ceil(search.max_shift))
    far = reach + int(np.abs(whole).max(initial=0))
    shape = [fft.next_fast_len(n + far, real=True) for n in images.shape[1:]]
    moves = np.arange(-reach, reach + 1)

    def transform(stack):
        return fft.rfft2(stack, shape)

    def correlate(a, b, middle):
        full = fft.irfft2(a * b, shape)
        rows, columns = ((moves + m) % length for m, length in zip(middle, shape, strict=True))
        return full[rows[:, None], columns]

    images = images * trusted
    weight = (template_weight > 0).astype(np.float32)
    template = template * weight
    conjugates = [np.conj(transform(x)) for x in (template, np.square(template), weight)]
    shifts = np.zeros((len(images), 2))
    least_overlap = _MIN_SAMPLES * _PIXELS_PER_SAMPLE if prior else 0.25 * weight.size
    for i, (image, clear) in enumerate(zip(images, trusted, strict=True)):
        seen = clear.astype(np.float32)
        value, square, seen = (transform(x) for x in (image, np.square(image), seen))
        middle, rest = whole[i], whole[i] - centres[i]
        overlap = correlate(seen, conjugates[2], middle)
        energies = correlate(square, conjugates[2], middle) * correlate(seen, conjugates[1], middle)
        correlation = correlate(value, conjugates[0], middle) / np.sqrt(np.maximum(energies, 1e-6))
        chance = search.chance(np.hypot(moves[:, None] + rest[0], moves + rest[1]))
        evidence = search.evidence(overlap, np.maximum(correlation, 0) ** 2) - chance
        evidence[overlap < min(least_overlap, 0.9 * overlap.max())] = -np.inf
        shifts[i] = _peak(evidence, correlation) - reach + middle
    return shifts


def _peak(evidence, correlation):
    """Peak of the evidence, refined by a parabola through the correlation along each axis."""
    peak = np.array(np.unravel_index(evidence.argmax(), evidence.shape))
    fine = peak.astype(float)
    for axis in range(2):
        if 0 < peak[axis] < correlation.shape[axis] - 1:
            step = np.eye(2, dtype=int)[axis]
            before, after = (correlation[tuple(peak + sign * step)] for sign in (-1, 1))
            bend = before - 2 * correlation[tuple(peak)] + after
            if bend < 0:
                fine[axis] += np.clip(0.5 * (before - after) / bend, -0.5, 0.5)
    return fine


class _Fit(NamedTuple):
    """Shift of a frame against a template, its reliability, gain, scatter and standard error."""

    shift: NDArray[np.floating]
    reliable: bool
    gain: float = 1.0
    scatter: float = np.inf
    error: float = np.inf


def refine_shift(
    image: NDArray[np.float32],
    clear: NDArray[np.bool_],
    template: NDArray[np.float32],
    template_weight: NDArray[np.floating],
    shift: NDArray[np.floating],
    search: Search,
    centre: NDArray[np.floating] | tuple[float, float] = (0, 0),
) -> _Fit:
    """Refine `shift` by Gauss-Newton steps; it is returned as it is where they fail."""
    # Shifts are searched around the reference, or with a prior around what that expects.
    middle = np.asarray((0, 0) if search.std is None else centre)
    refined = np.array(shift, np.float64)
    gain, offset, scatter = 1.0, 0.0, np.inf
    failed = _Fit(shift, False)
    for _ in range(_MAX_STEPS):
        normal, right, fit = _normal_equations(
            image, clear, template, template_weight, refined, gain, offset, scatter
        )
        if fit[0] < _MIN_PIXELS or not np.isfinite(normal).all():
            return failed
        try:
            step = np.linalg.solve(normal + 1e-9 * np.trace(normal) * np.eye(4), right)
        except np.linalg.LinAlgError:
            return failed
        move = np.clip(step[:2], -1, 1)
        refined += move
        gain, offset, scatter = step[2], step[3], np.sqrt(fit[1] / fit[0])
        if np.abs(refined - middle).max() > search.max_shift + 1:
            return failed
        if np.abs(move).max() < _MIN_STEP and np.isfinite(scatter):
            break
    explained = max(0.0, 1 - fit[1] / max(fit[2], 1e-12))
    error = np.sqrt(_PIXELS_PER_SAMPLE * fit[1] / fit[0] * np.linalg.pinv(normal)[:2, :2].trace())
    by_chance = search.chance(np.hypot(*(refined - centre))) - search.evidence(fit[0], explained)
    reliable = (
        gain > 0
        and np.sqrt(explained) > _MIN_CORRELATION
        and error < _MAX_ERROR
        and by_chance < np.log(search.false_alarms)
    )
    return _Fit(refined, bool(reliable), gain, scatter, error) if reliable else failed


def _fit_pairs(images, trusted, order, shifts, gains, scatters):
    """Least-squares shifts from one Gauss-Newton step for every pair of registered frames."""
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
    # Bounded, so that identical frames do not outweigh all others.
    error = np.maximum(error, (1 - _MAX_EXPLAINED) * signal)
    covariance = np.linalg.pinv(normal, hermitian=True)
    step = (covariance @ right[..., None])[..., 0]
    # Precision of the shift with gain and offset marginalised, in inverse squared pixels.
    precision = np.linalg.pinv(covariance[:, :2, :2], hermitian=True)
    similar = 1 - error / signal > _MIN_CORRELATION**2
    used = (step[:, 2] > 0) & (n_pixels >= _MIN_PIXELS) & similar
    precision *= (used * n_pixels / (_PIXELS_PER_SAMPLE * error))[:, None, None]
    return adjust_pairs(shifts, first, second, apart + step[:, :2].clip(-1, 1), precision)


def _pairs(n):
    """Positions, in a circle of n frames, of the two frames of each pair."""
    first, second = np.tril_indices(n, -1)
    distance = first - second
    near = np.minimum(distance, n - distance) <= _MAX_PARTNERS
    return first[near], second[near]


def _step_between(images, trusted, first, second, shift, gain, scatter):
    frame = images[first], trusted[first]
    template = images[second], trusted[second].astype(np.float32)
    return _normal_equations(*frame, *template, shift, gain, 0.0, scatter)


def mean_of_registered(
    images: NDArray[np.float32],
    trusted: NDArray[np.bool_],
    shifts: NDArray[np.floating],
    placed: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean of the registered frames, and the number of frames at each pixel."""
    total: NDArray[np.float32] = np.zeros(images.shape[1:], np.float32)
    weight: NDArray[np.float32] = np.zeros(images.shape[1:], np.float32)
    for image, clear, shift in zip(images[placed], trusted[placed], shifts[placed], strict=True):
        _add_moved(image, clear, shift, total, weight)
    np.divide(total, np.maximum(weight, 1), out=total)
    return total, weight


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


# With Python's errors, a check of the divisor keeps the loop from being vectorised.
@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _normal_equations(image, clear, template, template_weight, shift, gain, offset, scatter):
    """Normal equations of step, gain and offset; number of pixels, squares of error and signal."""
    height, width = image.shape
    top, r0, r1 = _bounds(shift[0], height)
    left, c0, c1 = _bounds(shift[1], width)
    down, down_slope = _cubic_taps(shift[0] - np.floor(shift[0]))
    right, right_slope = _cubic_taps(shift[1] - np.floor(shift[1]))
    near_row = int(np.floor(shift[0] + 0.5))
    near_column = int(np.floor(shift[1] + 0.5))
    r0, r1 = max(r0, -near_row), min(r1, height - near_row)
    c0, c1 = max(c0, -near_column), min(c1, width - near_column)
    n = max(0, c1 - c0)
    limit = np.float32(1 / (2.5 * scatter) ** 2) if scatter > 0 else np.float32(0)
    g, b, one = np.float32(gain), np.float32(offset), np.float32(1)
    value, slope = np.empty(n + 3, np.float32), np.empty(n + 3, np.float32)
    row = np.empty((5, n), np.float32)
    sums = np.zeros(16)
    for r in range(r0, r1 if n else r0):
        source = image[r + top : r + top + 4, c0 + left : c0 + left + n + 3]
        for c in range(n + 3):
            v = np.float32(0)
            s = np.float32(0)
            for k in range(4):
                v += down[k] * source[k, c]
                s += down_slope[k] * source[k, c]
            value[c], slope[c] = v, s
        expected, known = template[r, c0:c1], template_weight[r, c0:c1]
        seen = clear[r + near_row, c0 + near_column : c1 + near_column]
        for c in range(n):
            v = np.float32(0)
            gy = np.float32(0)
            gx = np.float32(0)
            for k in range(4):
                v += right[k] * value[c + k]
                gx += right_slope[k] * value[c + k]
                gy += right[k] * slope[c + k]
            e = v - g * expected[c] - b
            w = min(known[c] * seen[c], one) / (one + limit * e * e)
            row[0, c], row[1, c], row[2, c], row[3, c], row[4, c] = gy, gx, v, e, w
        _add_products(row, expected, sums)
    normal = np.empty((4, 4))
    k = 0
    for i in range(4):
        for j in range(i, 4):
            normal[i, j] = normal[j, i] = sums[k]
            k += 1
    return normal, sums[10:14], np.array([sums[9], sums[14], sums[15]])


@njit(cache=True, nogil=True, fastmath=True)
def _add_products(row, expected, sums):
    """Add the weighted products of a row's slopes, template, value and error.

    Unknowns: step down, step right (with the sign of the model), gain, offset.
    """
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = np.float32(0)
    # Two loops, because eight sums fit in the registers.
    for c in range(len(expected)):
        gy, gx, t, w = row[0, c], row[1, c], expected[c], row[4, c]
        wy, wx, wt = w * gy, w * gx, w * t
        s0 += wy * gy
        s1 += wy * gx
        s2 -= wy * t
        s3 -= wy
        s4 += wx * gx
        s5 -= wx * t
        s6 -= wx
        s7 += wt * t
    s8 = s9 = s10 = s11 = s12 = s13 = s14 = s15 = np.float32(0)
    for c in range(len(expected)):
        gy, gx, t, v, e, w = row[0, c], row[1, c], expected[c], row[2, c], row[3, c], row[4, c]
        wv = w * v
        s8 += w * t
        s9 += w
        s10 -= wv * gy
        s11 -= wv * gx
        s12 += wv * t
        s13 += wv
        s14 += w * e * e
        s15 += wv * v
    found = (s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15)
    for k, value in enumerate(found):
        sums[k] += value


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
