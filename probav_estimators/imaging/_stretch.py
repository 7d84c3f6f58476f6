"""Contrast stretch of pictures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["grey_limits"]


def grey_limits(
    images: Iterable[NDArray[Any]], percentiles: tuple[float, float] = (1, 99)
) -> tuple[float, float]:
    """Common grey scale of some images: the values of black and white.

    Parameters
    ----------
    images : iterable of arrays
        NaN and infinite values do not count.
    percentiles : tuple of two floats, default=(1, 99)
        Of all values together.

    Returns
    -------
    tuple of two floats
        The second is the greater one, also of constant images.
    """
    values = np.concatenate([np.ravel(image) for image in images])
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, percentiles) if values.size else (0.0, 1.0)
    return float(low), float(high if high > low else low + 1e-6)
