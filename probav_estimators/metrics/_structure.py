"""Structural similarity with the tolerances of the PROBA-V challenge."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..imaging import compared_images

# The window of Wang et al.: 11 x 11 pixels, Gaussian weights of 1.5 pixels.
_SIGMA = 1.5
_REACH = 5
# Their constants, in units of the data range.
_K1, _K2 = 0.01, 0.03


def cssim(
    sr: NDArray[Any],
    hr: NDArray[Any],
    sm: NDArray[Any] | None = None,
    *,
    border: int = 3,
    data_range: float | None = None,
) -> float:
    """Clear, bias-corrected, shift-tolerant structural similarity.

    The SSIM [1]_ with the tolerances of the challenge's cPSNR [2]_, as reported for PROBA-V [3]_:
    the image, `border` pixels cropped from every side, is compared with every window of its size in
    `hr`, after subtraction of its mean error over the clear pixels, and the greatest of the
    ``(2 * border + 1) ** 2`` similarities counts.

    Parameters
    ----------
    sr, hr : array of shape (H, W)
        Super-resolved and true image, of at least ``2 * border + 11`` pixels along each axis;
        uint16, uint8 or float in [0, 1].
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
        1 where the images agree, about 0 where they have nothing in common, at least -1.

    Raises
    ------
    ValueError
        If shapes differ, clear values are NaN or out of range, no pixel is clear, or the image is
        smaller than ``2 * border + 11`` pixels.

    Notes
    -----
    Gaussian weights of 1.5 pixels in 11 x 11 windows, K1 = 0.01 and K2 = 0.03. Only clear pixels
    have a weight in a window, and the mean is over the clear centres of windows inside the image;
    published values may count clouded pixels as equal, and are then higher.

    K2 corresponds to a contrast of 0.03 of the data range. PROBA-V's land often has less in a
    window, so that values are close to 1 and small differences are significant. It does not measure
    resolution.

    References
    ----------
    .. [1] Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image quality assessment: from
       error visibility to structural similarity", IEEE Transactions on Image Processing 13(4),
       600-612, 2004.
    .. [2] M. Märtens et al., "Super-resolution of PROBA-V images using convolutional neural
       networks", Astrodynamics 3, 387-402, 2019.
    .. [3] F. Salvetti, V. Mazzia, A. Khaliq, M. Chiaberge, "Multi-image super resolution of
       remotely sensed images using residual attention deep neural networks", Remote Sensing 12(14),
       2207, 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from probav_estimators.metrics import cssim
    >>> hr = np.random.default_rng(0).random((32, 32))
    >>> round(cssim(np.roll(hr, 2, axis=0), hr), 6)
    1.0
    >>> round(cssim(0.5 * hr, hr), 2)
    0.8
    """
    sr, hr, clear, level = compared_images(sr, hr, sm, border, data_range, least=2 * _REACH + 1)
    sr, hr = sr.astype(np.float64), hr.astype(np.float64)
    inner_height, inner_width = (length - 2 * border for length in hr.shape)
    sr = sr[border : border + inner_height, border : border + inner_width]
    similarities = []
    for row in range(2 * border + 1):
        for column in range(2 * border + 1):
            window = slice(row, row + inner_height), slice(column, column + inner_width)
            similarities.append(_similarity(sr, hr[window], clear[window], level))
    if np.isnan(similarities).all():
        raise ValueError("sm is clear in no window that is compared: leave this scene out")
    return float(np.nanmax(similarities))


def _similarity(sr, hr, clear, level):
    """Mean SSIM over the clear pixels, NaN without any; `sr` loses its mean error.

    The images are less a constant, `level`, which only the comparison of means needs.
    """
    inside = (slice(_REACH, -_REACH),) * 2
    counted = clear[inside]
    if not counted.any():
        return np.nan
    sr = sr + (hr[clear] - sr[clear]).mean()
    weight = _smooth(clear.astype(np.float64))[inside][counted]

    def local_mean(values):
        return _smooth(np.where(clear, values, 0))[inside][counted] / weight

    sr_mean, hr_mean = local_mean(sr), local_mean(hr)
    covariance = local_mean(sr * hr) - sr_mean * hr_mean
    sr_variance = np.maximum(local_mean(sr * sr) - sr_mean**2, 0)
    hr_variance = np.maximum(local_mean(hr * hr) - hr_mean**2, 0)
    sr_mean, hr_mean = sr_mean + level, hr_mean + level
    c1, c2 = _K1**2, _K2**2
    light = (2 * sr_mean * hr_mean + c1) / (sr_mean**2 + hr_mean**2 + c1)
    return float((light * (2 * covariance + c2) / (sr_variance + hr_variance + c2)).mean())


def _smooth(values):
    return ndimage.gaussian_filter(values, _SIGMA, radius=_REACH, mode="constant")
