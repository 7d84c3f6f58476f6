"""Metrics of standard deviations against errors: coverage, sharpness, error retention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from ._checks import as_finite

#: Fractions of normally distributed errors within one and two standard deviations.
_LEVELS = (0.6827, 0.9545)


def coverage(
    errors: NDArray[Any], deviations: NDArray[Any], levels: Sequence[float] = _LEVELS
) -> NDArray[np.float64]:
    """Fraction of the errors within the central intervals of stated standard deviations.

    Parameters
    ----------
    errors : array
        Errors, in any unit. NaN are ignored.
    deviations : array of the same shape
        Their standard deviations, positive.
    levels : sequence of float, default=(0.6827, 0.9545)
        Nominal fractions between 0 and 1. Default: those of normally distributed errors within one
        and two standard deviations.

    Returns
    -------
    float64 array of shape (n,)
        Observed fraction for each level: equal to it for calibrated standard deviations [1]_, less
        where they are too small.

    Raises
    ------
    ValueError
        If shapes differ, there are no errors, deviations are not positive, or levels are not
        between 0 and 1.

    Notes
    -----
    Over all pixels together: a constant standard deviation can be calibrated and useless; see
    :func:`sharpness` and :func:`error_retention`. Errors of neighbours are correlated, so the
    result of one scene is less certain than its number of pixels suggests.

    References
    ----------
    .. [1] T. Gneiting, F. Balabdaoui, A. E. Raftery, "Probabilistic forecasts, calibration and
       sharpness", Journal of the Royal Statistical Society B 69(2), 243-268, 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from probav_estimators.metrics import coverage
    >>> errors = np.random.default_rng(0).normal(0, 2, 100_000)
    >>> coverage(errors, np.full(errors.shape, 2.0), [0.5, 0.9]).round(2)
    array([0.5, 0.9])
    """
    errors, deviations = _check(errors, deviations)
    nominal = as_finite(levels, "levels")
    if not ((nominal > 0) & (nominal < 1)).all():
        raise ValueError(f"levels must be between 0 and 1, got {levels!r}")
    with np.errstate(over="ignore"):
        sizes = np.sort(np.abs(errors) / deviations)
    return np.searchsorted(sizes, ndtri((1 + nominal) / 2), side="right") / sizes.size


def sharpness(deviations: NDArray[Any]) -> float:
    """Root mean square of standard deviations.

    Parameters
    ----------
    deviations : array
        Standard deviations, positive; NaN are ignored.

    Returns
    -------
    float
        In their unit; less is better among calibrated ones (see :func:`coverage`), for which it
        equals the root mean square error.

    Raises
    ------
    ValueError
        If there are none, or some are not positive.
    """
    _, deviations = _check(deviations, deviations)
    largest = deviations.max()
    return float(largest * np.sqrt(np.square(deviations / largest).mean()))


def error_retention(errors: NDArray[Any], deviations: NDArray[Any]) -> float:
    """Area under the error-retention curve, relative to that of a random order.

    Errors are set to 0 in the order of decreasing standard deviation; the curve is the mean squared
    error against the fraction of retained pixels [1]_.

    Parameters
    ----------
    errors : array
        Errors, in any unit. NaN are ignored.
    deviations : array of the same shape
        Their standard deviations, positive; only their order matters.

    Returns
    -------
    float
        1 for a random order, less is better, 0 if there are no errors at all. Calibrated standard
        deviations that vary between pixels are between 0 and 1: a single error is random.

    Raises
    ------
    ValueError
        If shapes differ, there are no errors, or deviations are not positive.

    Notes
    -----
    Pixels of equal standard deviation count as in a random order. The size of standard deviations
    does not matter: see :func:`coverage`.

    References
    ----------
    .. [1] A. Malinin et al., "Shifts: a dataset of real distributional shift across multiple
       large-scale tasks", NeurIPS Datasets and Benchmarks, 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from probav_estimators.metrics import error_retention
    >>> rng = np.random.default_rng(0)
    >>> deviations = rng.uniform(0, 1, 100_000)
    >>> round(error_retention(deviations * rng.normal(size=100_000), deviations), 1)
    0.5
    """
    errors, deviations = _check(errors, deviations)
    _, number, counts = np.unique(deviations, return_inverse=True, return_counts=True)
    largest = np.abs(errors).max()
    if largest == 0:
        return 0.0
    # Beside infinite errors, as of an image that diverged, others do not count.
    sizes = np.isinf(errors).astype(float) if np.isinf(largest) else errors / largest
    squares = np.bincount(number, np.square(sizes))
    kept = np.concatenate([[0], np.cumsum(squares)]) / errors.size
    part = np.concatenate([[0], np.cumsum(counts)]) / errors.size
    return float(np.trapezoid(kept, part) / (0.5 * kept[-1]))


def _check(errors, deviations):
    errors, deviations = np.asarray(errors, np.float64), np.asarray(deviations, np.float64)
    if errors.shape != deviations.shape:
        raise ValueError(
            f"errors have the shape {errors.shape} and deviations have {deviations.shape}: give "
            "one deviation for each error"
        )
    known = ~np.isnan(errors)
    errors, deviations = errors[known], deviations[known]
    if not errors.size:
        raise ValueError("there are no errors: none is a number")
    if not (np.isfinite(deviations).all() and (deviations > 0).all()):
        raise ValueError("deviations must be positive, finite numbers")
    return errors, deviations
