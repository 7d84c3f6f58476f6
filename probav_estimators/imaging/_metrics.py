"""Scores of the PROBA-V Super Resolution challenge, as functions of arrays."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..compiling import njit
from ._pixels import as_mask, as_pixels, check_pixels, hide_masked

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "MAX_CPSNR",
    "bias_corrected_mse",
    "challenge_norm",
    "challenge_score",
    "cpsnr",
    "error_map",
    "finite_cpsnr",
    "probav_score",
]

#: Greatest cPSNR of scenes' scores, 107.1 dB: that of the error of rounding to 16 bits, uniform
#: over one step, of variance step**2 / 12.
MAX_CPSNR = float(10 * np.log10(12 * 65535.0**2))

# dB below which the tangent replaces norm / cPSNR: errors of 0.32, a third of the range of pixel
# values, which even a constant image does not have.
_FLOOR = 10.0

# Below this number of pixels, rounding errors of float32 do not average out.
_FEW_PIXELS = 64**2

# Distances from the level in data ranges: hidden pixels beyond the first are fill values, others
# are limited to the second, whose square is finite in float32.
_FILL_DISTANCE = 1e3
_MAX_DISTANCE = 1e15


def bias_corrected_mse(count: Any, total: Any, total_of_squares: Any) -> Any:
    """Mean squared error after subtraction of the mean error: the cMSE of the challenge.

    Shared by the score, the training loss and the validation score.

    Parameters
    ----------
    count, total, total_of_squares : float, array or torch tensor
        Number of clear pixels, sum of their errors HR - SR and sum of the squares of these errors.

    Returns
    -------
    float, array or torch tensor
        The cMSE, in the square of the unit of the errors.

    References
    ----------
    .. [1] M. Märtens et al., "Super-resolution of PROBA-V images using convolutional neural
       networks", Astrodynamics 3, 387-402, 2019.
    """
    return total_of_squares / count - (total / count) ** 2


def challenge_score(norm: Any, cpsnr: Any, where: Callable[..., Any] = np.where) -> Any:
    """Score of one image by its cPSNR: N / cPSNR, or its tangent below 10 dB.

    Shared by the score, the scorers, the training loss and the validation score. The quotient has a
    pole at 0 dB and is negative below it, which would reward divergence. The tangent
    ``norm / 10 * (2 - cPSNR / 10)`` increases with the error.

    Parameters
    ----------
    norm, cpsnr : float, array or torch tensor
        In dB.
    where : callable, default=np.where
        ``torch.where`` for tensors.

    Returns
    -------
    array or torch tensor
        Positive for a positive norm; lower is better.
    """
    high = cpsnr > _FLOOR
    quotient = norm / where(high, cpsnr, _FLOOR)
    return where(high, quotient, norm / _FLOOR * (2 - cpsnr / _FLOOR))


def challenge_norm(cpsnr: float) -> float:
    """N of a baseline of that cPSNR, with which it scores 1; positive also below 0 dB."""
    return 1 / float(challenge_score(1, cpsnr)) if cpsnr <= _FLOOR else cpsnr


def cpsnr(
    sr: NDArray[Any],
    hr: NDArray[Any],
    sm: NDArray[Any] | None = None,
    *,
    border: int = 3,
    data_range: float | None = None,
) -> float:
    """Clear, bias-corrected, shift-tolerant peak signal-to-noise ratio.

    The image, `border` pixels cropped from every side, is compared with every window of its size
    in `hr`; of the ``(2 * border + 1) ** 2`` ratios the greatest counts. Only pixels that are clear
    in `sm` are compared, after subtraction of their mean error.

    Parameters
    ----------
    sr, hr : array of shape (H, W)
        Super-resolved and true image; uint16, uint8 or float in [0, 1].
    sm : array of shape (H, W), default=None
        Status map, True where `hr` is clear. None: everywhere.
    border : int, default=3
        Greatest shift that is forgiven, in HR pixels.
    data_range : float, default=None
        Greatest minus least possible value, for images of any range. None: 1 for floats in [0, 1],
        the full range of unsigned integers.

    Returns
    -------
    float
        In dB, float64. Infinite when the images agree.

    Raises
    ------
    ValueError
        If shapes differ, clear values are NaN or outside [0, 1], or no pixel is clear.

    Notes
    -----
    Hidden pixels of `hr` have no part. Hidden pixels of `sr` meet clear ones of `hr` at other
    shifts; those that are NaN, infinite, outside [0, 1] or, with `data_range`, farther than 1,000
    data ranges from the level are fill values and count as the level.

    References
    ----------
    .. [1] M. Märtens et al., "Super-resolution of PROBA-V images using convolutional neural
       networks", Astrodynamics 3, 387-402, 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from probav_estimators import cpsnr
    >>> hr = np.linspace(0, 0.25, 144).reshape(12, 12)
    >>> round(cpsnr(hr[::-1], hr), 2)
    22.89
    """
    images = compared_images(sr, hr, sm, border, data_range)
    cmse = _cmse_of_shifts(images, border).min()
    return float(-10 * np.log10(cmse)) if cmse > 0 else float("inf")


def finite_cpsnr(
    sr: NDArray[Any],
    hr: NDArray[Any],
    sm: NDArray[Any] | None = None,
    *,
    border: int = 3,
    data_range: float | None = None,
) -> float:
    """The :func:`cpsnr`, at most `MAX_CPSNR`: the finite value that scorers average."""
    return min(cpsnr(sr, hr, sm, border=border, data_range=data_range), MAX_CPSNR)


def error_map(
    sr: NDArray[Any],
    hr: NDArray[Any],
    sm: NDArray[Any] | None = None,
    *,
    border: int = 3,
    data_range: float | None = None,
) -> NDArray[np.float32]:
    """Errors HR - SR at the best shift, less their mean and the border, NaN where hidden."""
    images = compared_images(sr, hr, sm, border, data_range)
    cmse = _cmse_of_shifts(images, border)
    row, column = np.unravel_index(cmse.argmin(), cmse.shape)
    height, width = (length - 2 * border for length in images.hr.shape)
    window = (slice(row, row + height), slice(column, column + width))
    centre = images.sr[border : border + height, border : border + width]
    error = np.where(images.clear[window], images.hr[window] - centre, np.float32(np.nan))
    return (error - np.nanmean(error)).astype(np.float32, copy=False)


def probav_score(
    sr: NDArray[Any],
    hr: NDArray[Any],
    sm: NDArray[Any] | None = None,
    *,
    norm: float,
    border: int = 3,
    data_range: float | None = None,
) -> float:
    """Challenge score of one scene: N / cPSNR.

    Parameters
    ----------
    sr, hr, sm, border, data_range : arrays, int and float
        As for :func:`cpsnr`.
    norm : float
        N, the baseline's cPSNR of the scene in dB.

    Returns
    -------
    float
        1.0 is the baseline, lower is better. 0.0 when the images agree. Below 10 dB, which images
        in [0, 1] hardly have, the tangent of the quotient: at 0 dB it is ``norm / 5``.

    Raises
    ------
    ValueError
        If `norm` is not a positive, finite number, or for the reasons that :func:`cpsnr` has.

    See Also
    --------
    probav_scorer : Mean over scenes; there, exact images count as 107.1 dB.

    Examples
    --------
    >>> import numpy as np
    >>> from probav_estimators import probav_score
    >>> hr = np.linspace(0, 0.25, 144).reshape(12, 12)
    >>> round(probav_score(hr[::-1], hr, norm=24.0), 3)
    1.048
    """
    check_norm(norm)
    return float(challenge_score(norm, cpsnr(sr, hr, sm, border=border, data_range=data_range)))


def check_norm(norm: float | None) -> None:
    """Raise ValueError if N is not a positive, finite number."""
    if not isinstance(norm, Real) or not np.isfinite(norm) or norm <= 0:
        raise ValueError(
            f"norm must be a positive number of dB, got {norm!r}: give the N of norm.csv, or "
            "Scene.norm, which is finite even where the baseline is exact"
        )


def _cmse_of_shifts(images, border):
    count, total, total_of_squares = shift_moments(images.sr, images.hr, images.clear, border)
    seen = count > 0
    if not seen.any():
        raise ValueError(
            "sm has no clear pixel in any of the compared windows: leave this scene out"
        )
    cmse = np.full(count.shape, np.inf)
    cmse[seen] = bias_corrected_mse(count[seen], total[seen], total_of_squares[seen])
    return cmse


def shift_moments(
    sr: NDArray[Any], hr: NDArray[Any], clear: NDArray[np.bool_], border: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Count, sum and sum of squares of the clear errors HR - SR at every shift.

    Parameters
    ----------
    sr, hr : float array of shape (H, W)
    clear : bool array of shape (H, W)
    border : int

    Returns
    -------
    count : float64 array of shape (2 * border + 1, 2 * border + 1)
    total, total_of_squares : float64 arrays of that shape
        Entry (u, v) compares the centre of `sr` with the window of `hr` that begins at (u, v).
    """
    if hr.size < _FEW_PIXELS and hr.dtype != np.float64:
        seen = clear.any()
        sr, hr = (x - np.float64(x[clear].mean() if seen else 0) for x in (sr, hr))
    return _shift_moments(*map(np.ascontiguousarray, (sr, hr, clear)), border)


@njit(cache=True, fastmath=True, nogil=True)
def _shift_moments(sr, hr, clear, border):
    height, width = hr.shape
    n_shifts = 2 * border + 1
    columns = width - 2 * border
    count = np.zeros((n_shifts, n_shifts))
    total = np.zeros((n_shifts, n_shifts))
    total_of_squares = np.zeros((n_shifts, n_shifts))
    # Subtract a constant near the mean of each image, which the cMSE ignores, to keep the precision
    # of float32 for the differences.
    sr_level, hr_level = _levels(sr, hr, clear)
    # Rows of SR that are compared with the current row of HR, kept in the nearest cache.
    sr_rows = np.empty((n_shifts, columns), sr.dtype)
    hr_row = np.empty(width, sr.dtype)
    weight = np.empty(width, sr.dtype)
    row_count = np.empty(n_shifts)
    for row in range(height):
        for column in range(width):
            weight[column] = clear[row, column]
            hr_row[column] = weight[column] * (hr[row, column] - hr_level)
        row_count[0] = weight[:columns].sum()
        for v in range(1, n_shifts):
            row_count[v] = row_count[v - 1] + weight[v + columns - 1] - weight[v - 1]
        if row < height - 2 * border:
            for column in range(columns):
                sr_rows[row % n_shifts, column] = sr[row + border, column + border] - sr_level
        for u in range(max(0, row - height + n_shifts), min(row + 1, n_shifts)):
            for v in range(n_shifts):
                errors, squares = _row_moments(
                    sr_rows[(row - u) % n_shifts],
                    hr_row[v : v + columns],
                    weight[v : v + columns],
                )
                count[u, v] += row_count[v]
                total[u, v] += errors
                total_of_squares[u, v] += squares
    return count, total, total_of_squares


@njit(cache=True, fastmath=True, nogil=True)
def _row_moments(sr, hr, weight):
    errors = sr.dtype.type(0)
    squares = sr.dtype.type(0)
    for column in range(sr.size):
        error = hr[column] - weight[column] * sr[column]
        errors += error
        squares += error * error
    return errors, squares


@njit(cache=True, fastmath=True, nogil=True)
def _levels(sr, hr, clear):
    if sr.itemsize > 4:
        # Images in double precision are less their levels. A mean would follow single large values.
        return np.float32(0), np.float32(0)
    # An estimate from some fifty rows suffices, unless they are all clouded.
    for step in (max(1, hr.shape[0] // 48), 1):
        sr_sum, hr_sum, count = 0.0, 0.0, 0.0
        for row in range(0, hr.shape[0], step):
            for column in range(hr.shape[1]):
                weight = np.float64(clear[row, column])
                sr_sum += weight * sr[row, column]
                hr_sum += weight * hr[row, column]
                count += weight
        if count > 0:
            break
    return np.float32(sr_sum / max(count, 1.0)), np.float32(hr_sum / max(count, 1.0))


class ComparedImages(NamedTuple):
    """Two images of one size that are compared where one of them is clear.

    Attributes
    ----------
    sr, hr : float32 or float64 arrays of shape (H, W)
        In units of the data range, each less a constant. Hidden pixels of `hr` are finite.
    clear : bool array of shape (H, W)
    level : float
        The constant of `hr`.
    """

    sr: NDArray[np.floating]
    hr: NDArray[np.floating]
    clear: NDArray[np.bool_]
    level: float


def compared_images(
    sr: Any, hr: Any, sm: Any, border: int, data_range: float | None, least: int = 1
) -> ComparedImages:
    """Check images as of :func:`cpsnr`, with windows of `least` pixels, and convert them."""
    if _is_no_image(sr) or _is_no_image(hr):
        raise ValueError(
            "sr and hr must be two images, got none or scenes: make_scorer gives no images, use "
            "scoring=cpsnr_scorer or scoring=probav_scorer for estimators"
        )
    hr, sm = hide_masked(hr, sm)
    sr, sm = hide_masked(sr, sm)
    sr, hr = np.asarray(sr), np.asarray(hr)
    clear = np.ones(hr.shape, bool) if sm is None else as_mask(sm, "sm")
    for name, image in (("sr", sr), ("sm", clear)):
        if image.shape != hr.shape or image.ndim != 2:
            raise ValueError(
                f"{name} has shape {image.shape} and hr has {hr.shape}: both must be one (H, W)"
            )
    if not isinstance(border, Integral) or border < 0:
        raise ValueError(f"border={border!r} must be an integer of 0 or more pixels")
    if min(hr.shape) < 2 * border + least:
        raise ValueError(
            f"border={border} leaves no window of {least} x {least} pixels of an image of shape "
            f"{hr.shape}: give a larger image, or a smaller border"
        )
    if data_range is not None and not (np.isfinite(data_range) and data_range > 0):
        raise ValueError(f"data_range must be a positive number, got {data_range!r}")
    if not clear.any():
        raise ValueError("sm has no clear pixel: leave this scene out")
    sr, _ = _in_units(sr, clear, data_range, "sr")
    hr, level = _in_units(hr, clear, data_range, "hr")
    kind = np.result_type(sr, hr)
    return ComparedImages(sr.astype(kind, copy=False), hr.astype(kind, copy=False), clear, level)


def _is_no_image(image):
    """Whether it is what make_scorer gives a metric: nothing, or scenes in place of truths."""
    return image is None or (len(np.shape(image)) == 1 and hasattr(image[0], "hr"))


def _in_units(image, clear, data_range, name):
    """Image in units of the data range less its level, fill values at the level; and the level."""
    if data_range is None:
        if image.dtype.kind != "f":
            return as_pixels(image, name), 0.0
        if not (image.min() >= 0 and image.max() <= 1):
            fill = ~clear & ~((image >= 0) & (image <= 1))
            image = np.where(fill, image.dtype.type(_level_of(image, clear)), image)
            check_pixels(image, name)
        if image.dtype != np.float64:
            return image.astype(np.float32, copy=False), 0.0
        data_range = 1.0
    level = _level_of(image, clear)
    with np.errstate(over="ignore", invalid="ignore"):
        # The cast follows the subtraction: float64 holds differences of all levels.
        values = np.subtract(image, level, dtype=np.float64)
        values /= data_range
    if not (values.min() > -_FILL_DISTANCE and values.max() < _FILL_DISTANCE):
        fill = ~clear & ~(np.abs(values) < _FILL_DISTANCE)
        if not np.isfinite(image[~fill]).all():
            raise ValueError(f"{name} has NaN or infinite values: fill them, and hide them by sm")
        values = np.where(fill, 0, values).clip(-_MAX_DISTANCE, _MAX_DISTANCE)
    return values, level / data_range


def _level_of(image, clear):
    """Median of the clear pixels as float64: a single large value does not move it."""
    values = image[clear]
    values.partition(values.size // 2)
    return np.float64(values[values.size // 2])
