"""Comparison of two images by frequency: Fourier ring correlation, resolution, MTF."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._checks import check_pair, fill_hidden, normalized_pair

#: Correlation of the images of two halves of the frames at which that of all frames has a
#: correlation of 1/2 with the truth: ``sqrt(2 * c / (1 + c))`` is 1/2 for c = 1/7.
HALVES_THRESHOLD = 1 / 7
#: Correlation of an image with the truth that counts as resolved.
TRUTH_THRESHOLD = 0.5


def fourier_ring_correlation(
    first: NDArray[Any], second: NDArray[Any], clear: NDArray[Any] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Correlation of two images of one site by frequency.

    In each ring of the Fourier plane, the correlation coefficient of both spectra [1]_ [2]_.

    Parameters
    ----------
    first, second : arrays of shape (H, W)
        Registered images of at least 16 pixels along each axis.
    clear : bool array of shape (H, W), default=None
        Where both are to be compared. None: everywhere.

    Returns
    -------
    frequencies : float64 array of shape (n,)
        Central frequencies of the rings, in cycles per pixel: up to 0.5, in steps of 1 / min(H, W).
    correlation : float64 array of shape (n,)
        From -1 to 1; about 0 for independent noise, and 0 where an image has no energy.

    Raises
    ------
    ValueError
        If shapes differ or are too small, values are NaN, or no pixel is clear.

    See Also
    --------
    resolution : Where the correlation falls below a threshold.

    Notes
    -----
    The mean is subtracted and a Hann window applied. Pixels that are not clear are filled smoothly
    from their surroundings, each image by itself.

    Common structure counts as detail, true or not: two images of one network share its systematic
    inventions. A shift of one against the other lowers the correlation.

    References
    ----------
    .. [1] W. O. Saxton, W. Baumeister, "The correlation averaging of a regularly arranged bacterial
       cell envelope protein", Journal of Microscopy 127(2), 127-138, 1982.
    .. [2] R. P. J. Nieuwenhuizen et al., "Measuring image resolution in optical nanoscopy", Nature
       Methods 10, 557-562, 2013.
    """
    rings = _Rings.of(first, second, clear)
    return rings.frequencies, _correlation(rings)


def resolution(
    first: NDArray[Any],
    second: NDArray[Any],
    threshold: float = HALVES_THRESHOLD,
    clear: NDArray[Any] | None = None,
) -> float:
    """Finest period that two images have in common, by Fourier ring correlation.

    Parameters
    ----------
    first, second : arrays of shape (H, W)
        Registered images: those of two disjoint halves of the frames, or an image and the truth.
    threshold : float, default=1/7
        Correlation of resolved detail. 1/7 for two halves: there the image of all frames has a
        correlation of 1/2 with the truth, ``sqrt(2 * c / (1 + c))``, if the halves differ by
        independent noise [1]_. 0.5 against the truth itself.
    clear : bool array of shape (H, W), default=None
        Where both are to be compared. None: everywhere.

    Returns
    -------
    float
        Period in HR pixels at which the correlation first falls below the threshold: at least 2,
        where it never does, and at most min(H, W), where no ring reaches it.

    Raises
    ------
    ValueError
        If `threshold` is not between 0 and 1, or for the reasons that
        :func:`fourier_ring_correlation` has.

    Notes
    -----
    The correlation is that of three neighbouring rings together, and linear between rings. A fixed
    threshold ignores the number of pixels in a ring [2]_, so small images scatter.

    Between two halves it measures reproducibility, not truth: detail that a network invents alike
    for both halves, and errors common to all frames, count as resolution. In four simulated scenes
    the halves of a `FusionNet` agreed down to 2.1 pixels, and its images with the truth down to
    3.0. Against the truth, blur and noise of the truth are counted against the image.

    References
    ----------
    .. [1] P. B. Rosenthal, R. Henderson, "Optimal determination of particle orientation, absolute
       hand, and contrast loss in single-particle electron cryomicroscopy", Journal of Molecular
       Biology 333(4), 721-745, 2003.
    .. [2] M. van Heel, M. Schatz, "Fourier shell correlation threshold criteria", Journal of
       Structural Biology 151(3), 250-262, 2005.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must be between 0 and 1, got {threshold!r}")
    rings = _Rings.of(first, second, clear).pooled()
    correlation = _correlation(rings)
    below = correlation < threshold
    if not below.any():
        return 2.0
    end = int(below.argmax())
    if end == 0:
        return float(1 / rings.frequencies[0])
    start = end - 1
    part = (correlation[start] - threshold) / (correlation[start] - correlation[end])
    step = rings.frequencies[end] - rings.frequencies[start]
    return float(1 / (rings.frequencies[start] + part * step))


def transfer_function(
    image: NDArray[Any], truth: NDArray[Any], clear: NDArray[Any] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Contrast of an image relative to the truth's, by frequency.

    In each ring of the Fourier plane, the slope of the regression of the image's spectrum on the
    truth's [1]_: structure that is not in the truth does not enter.

    Parameters
    ----------
    image, truth : arrays of shape (H, W)
        Registered images.
    clear : bool array of shape (H, W), default=None
        Where both are to be compared. None: everywhere.

    Returns
    -------
    frequencies : float64 array of shape (n,)
        In cycles per pixel, as for :func:`fourier_ring_correlation`.
    transfer : float64 array of shape (n,)
        1 where the contrast is that of the truth, 0 where it is absent.

    Raises
    ------
    ValueError
        For the reasons that :func:`fourier_ring_correlation` has.

    References
    ----------
    .. [1] G. D. Boreman, "Modulation transfer function in optical and electro-optical systems",
       SPIE Press, 2001.
    """
    rings = _Rings.of(image, truth, clear)
    return rings.frequencies, _slope(rings)


def effective_mtf(
    image: NDArray[Any],
    truth: NDArray[Any],
    scale: int,
    clear: NDArray[Any] | None = None,
) -> float:
    """Modulation transfer of an image at the Nyquist frequency of its frames.

    Parameters
    ----------
    image, truth : arrays of shape (H, W)
        Registered images; a shift lowers the value.
    scale : int
        HR pixels for each LR pixel.
    clear : bool array of shape (H, W), default=None
        Where both are to be compared. None: everywhere.

    Returns
    -------
    float
        The :func:`transfer_function` at ``0.5 / scale`` cycles per HR pixel. 1: full contrast; 0:
        nothing. Above 1: sharpened beyond the truth.

    Raises
    ------
    ValueError
        If `scale` is less than 1, or for the reasons that :func:`fourier_ring_correlation` has.

    Notes
    -----
    From three neighbouring rings together. It is relative to the truth, which has its own MTF and
    noise: noise of the truth lowers it. Detail that is not in the truth does not affect it: see
    :func:`correctness`.
    """
    if scale < 1:
        raise ValueError(f"scale must be at least 1, got {scale!r}")
    rings = _Rings.of(image, truth, clear).pooled()
    return float(np.interp(0.5 / scale, rings.frequencies, _slope(rings)))


def _correlation(rings):
    energy = np.sqrt(rings.first * rings.second)
    return np.divide(rings.common, energy, out=np.zeros_like(energy), where=energy > 0)


def _slope(rings):
    return np.divide(
        rings.common, rings.second, out=np.zeros_like(rings.common), where=rings.second > 0
    )


class _Rings(NamedTuple):
    """Sums over rings of the Fourier plane, (n,): energies of both images, and common energy."""

    frequencies: NDArray[np.float64]
    common: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]

    @classmethod
    def of(cls, first, second, clear):
        first, second, clear = check_pair(first, second, clear)
        size = min(first.shape)
        if size < 16:
            raise ValueError(f"images of shape {first.shape} are too small: 16 pixels are needed")
        pair = normalized_pair(first, second, clear)
        first, second = (_spectrum(image, clear) for image in pair)
        down, right = (np.fft.fftfreq(length) for length in first.shape)
        ring = np.rint(size * np.hypot(down[:, None], right)).astype(int).ravel()
        n_rings = size // 2

        def total(values):
            return np.bincount(ring, values.ravel(), minlength=n_rings + 1)[1 : n_rings + 1]

        return cls(
            np.arange(1, n_rings + 1) / size,
            total((first * second.conj()).real),
            total(np.square(np.abs(first))),
            total(np.square(np.abs(second))),
        )

    def pooled(self):
        """Each ring with its two neighbours."""
        sums = (np.convolve(values, np.ones(3), mode="same") for values in self[1:])
        return _Rings(self.frequencies, *sums)


def _spectrum(image, clear):
    window = np.multiply.outer(*(np.hanning(length + 2)[1:-1] for length in image.shape))
    image = fill_hidden(image, clear)
    return np.fft.fft2(window * (image - np.average(image, weights=window)))
