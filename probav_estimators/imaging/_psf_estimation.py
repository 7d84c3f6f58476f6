"""Estimation of a sensor's point spread function from its frames."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import fft

from ._response import LEAST_SIGMA, USUAL_SIGMA

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MIN_FRAMES", "PsfEstimate", "estimate_psf"]

# Least clear fraction of a frame and number of frames for a spectrum.
_MIN_CLEAR = 0.5
MIN_FRAMES = 3

# Frequency ranges in cycles per LR pixel: below are few samples, haze and the taper, above is
# little signal.
_FREQUENCIES = np.linspace(0.06, 0.5, 23)
_LEAST, _GREATEST = 0.08, 0.45
_RINGS = np.linspace(0, 0.71, 36)

# Prior mean and standard deviation of the PSF variance, in squared LR pixels: those of sigmas
# between 0.05 and 0.55.
_EXPECTED, _EXPECTED_ERROR = 0.11, 0.085
# Standard error of an estimate from 128 x 128 LR pixels, measured on simulated sensors.
_ERROR, _SIZE = 0.09, 128

# Prior standard deviations of a frame's relative gain error, and of the difference of its PSF
# variance from the mean.
_GAIN_ERROR = 0.05
_DIFFERENCE = 0.1
# Measured ratio of the errors to those of independent noise.
_EXCESS = 1.4


class PsfEstimate(NamedTuple):
    """Gaussian point spread functions of frames, without the box of the square pixel.

    Attributes
    ----------
    variance : float or None
        Mean variance, in squared LR pixels; from a single window it may be far off, and negative.
        None where it is not known.
    error : float
        Its standard error, infinite where it is not known.
    differences : float32 array of shape (t, 2)
        Difference of each frame's variance from the mean, along rows and columns; 0 where it is not
        known.
    from_image : float or None
        Mean variance relative to a learned image, whose own blur is not part of it, in squared LR
        pixels; negative where the image is blurrier than the frames. None: it was not matched.
    """

    variance: float | None
    error: float
    differences: NDArray[np.float32]
    from_image: float | None = None

    @classmethod
    def unknown(cls, n_frames: int) -> PsfEstimate:
        """Estimate for frames that were not measured."""
        return cls(None, inf, np.zeros((n_frames, 2), np.float32))

    @classmethod
    def mean_of(cls, estimates: Sequence[PsfEstimate]) -> PsfEstimate:
        """Mean of the estimates from several windows of the same frames."""
        variances = [one.variance for one in estimates if one.variance is not None]
        differences = np.stack([one.differences for one in estimates]).mean(axis=0).astype("f4")
        if not variances:
            return cls(None, inf, differences)
        error = float(np.mean([one.error for one in estimates if one.variance is not None]))
        return cls(float(np.mean(variances)), error / sqrt(len(variances)), differences)

    def sigma(self, given: float | None = None) -> NDArray[np.float32]:
        """Standard deviations of the frames' point spread functions, for the forward model.

        Parameters
        ----------
        given : float, default=None
            Square root of the frames' mean variance, in LR pixels, where it is known. None: 0.4,
            because a single scene adds little to the prior; see :meth:`mean_variance`.

        Returns
        -------
        float32 array of shape (t, 2)
            Along the rows' and the columns' axis, in LR pixels, at least 0.05.
        """
        variances = (USUAL_SIGMA if given is None else given) ** 2 + self.differences
        return np.sqrt(np.maximum(variances, np.float32(LEAST_SIGMA**2)))

    def mean_variance(self, given: float | None = None) -> tuple[float, float]:
        """Most probable mean variance of the frames and its standard error.

        Parameters
        ----------
        given : float, default=None
            Its square root, in LR pixels, where it is known. None: the estimate, shrunk towards the
            prior.

        Returns
        -------
        variance : float
            In squared LR pixels, at least 0.05 squared.
        error : float
            The same; 0 if the variance was given.
        """
        if given is not None:
            return max(given, LEAST_SIGMA) ** 2, 0.0
        if self.variance is None:
            return _EXPECTED, _EXPECTED_ERROR
        trust = _EXPECTED_ERROR**2 / (_EXPECTED_ERROR**2 + self.error**2)
        mean = _EXPECTED + trust * (self.variance - _EXPECTED)
        return max(mean, LEAST_SIGMA**2), _EXPECTED_ERROR * sqrt(1 - trust)


def estimate_psf(
    frames: NDArray[np.float32], clear: NDArray[np.bool_], fractions: NDArray[np.float32]
) -> PsfEstimate:
    """Estimate the PSF variance of frames: their mean, and each one's difference along both axes.

    The mean cross-spectrum of all pairs of registered frames has neither noise nor aliasing.
    Divided by the transfer function of square pixels, its logarithm is that of a power law, typical
    of landscapes [1]_, minus ``4 pi**2 variance f**2``; both are fitted. The difference of a frame
    is known more exactly: its cross-spectrum with the mean of the others over their common spectrum
    is ``exp(-2 pi**2 difference f**2)``, whatever the landscape. Differences are shrunk by their
    errors, to 0 for frames of one point spread function.

    Parameters
    ----------
    frames : float32 array of shape (t, h, w)
        Frames of one level and gain, moved onto each other by whole pixels.
    clear : bool array of shape (t, h, w)
        True where a frame is clear.
    fractions : float32 array of shape (t, 2)
        Subpixel part of their shifts, (down, right) in LR pixels.

    Returns
    -------
    PsfEstimate

    References
    ----------
    .. [1] D. J. Field, "Relations between the statistics of natural images and the response
       properties of cortical cells", Journal of the Optical Society of America A 4(12), 2379-2394,
       1987.
    """
    unknown = PsfEstimate.unknown(len(frames))
    clearance = clear.mean(axis=(1, 2))
    used = np.flatnonzero(clearance >= _MIN_CLEAR)
    if len(used) < MIN_FRAMES or not frames.any():
        return unknown
    spectra = _Spectra(frames[used], clear[used], fractions[used])
    found, errors = spectra.differences()
    # Hidden pixels were filled from the other frames, which dilutes the difference.
    clearance = np.average(clear[used].reshape(len(used), -1), axis=1, weights=spectra.window**2)
    clearance = np.maximum(clearance, _MIN_CLEAR)[:, None]
    found, errors = found / clearance, errors / clearance
    found -= np.average(found, axis=0, weights=1 / errors**2)
    true_variance = max(0.0, float(np.mean(found**2 - errors**2)))
    differences = unknown.differences
    differences[used] = found * true_variance / (true_variance + errors**2)
    variance = spectra.variance()
    error = inf if variance is None else _ERROR * _SIZE / sqrt(frames[0].size)
    return PsfEstimate(variance, error, differences)


class _Spectra:
    """Spectra of registered frames."""

    def __init__(self, frames, clear, fractions):
        shape = frames.shape[1:]
        self.down, self.right = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])
        window = (np.hanning(shape[0] + 2)[1:-1, None] * np.hanning(shape[1] + 2)[1:-1]).astype(
            np.float32
        )
        self.window = window.ravel()
        count = clear.sum(axis=0)
        frames = np.where(clear, frames, np.float32(0))
        mean = window * frames.sum(axis=0) / np.maximum(count, 1)
        waves = np.empty((len(frames), len(self.down), len(self.right)), np.complex64)
        phases = [_wave(self.down, y) * _wave(self.right, x) for y, x in fractions]
        # Hidden pixels are filled from the other frames, first without and then with their shifts.
        for step in range(3):
            total = fft.rfft2(mean) if step == 0 else waves.mean(axis=0)
            for i, (frame, seen, phase) in enumerate(zip(frames, clear, phases, strict=True)):
                others = mean if step == 0 else fft.irfft2(total / phase, shape)
                waves[i] = phase * fft.rfft2(np.where(seen, window * frame, others))
        self.waves, self.total = waves, waves.sum(axis=0)
        self.energy = np.square(np.abs(waves)).sum(axis=0)
        n = len(waves)
        # Mean over all pairs of different frames, in which noise and aliases cancel.
        self.common = (np.abs(self.total) ** 2 - self.energy) / (n * (n - 1))
        self.noise = np.maximum(self.energy / n - self.common, 0)

    def differences(self):
        """Differences of the frames' variances, (t, 2), and their standard errors."""
        n = len(self.waves)
        radius = np.hypot(self.down, self.right)
        band = (radius > _LEAST) & (np.abs(self.down) < _GREATEST) & (self.right < _GREATEST)
        ring = np.digitize(radius[band], _RINGS)
        common, noise = (_mean_of_rings(x[band], ring) for x in (self.common, self.noise))
        floor = 1e-6 * float(common.max()) + 1e-12
        common, noise = np.maximum(common, floor), np.maximum(noise, floor)
        curves = -2 * np.pi**2 * np.stack(np.broadcast_arrays(self.down**2, self.right**2), -1)
        terms = common[:, None] * np.column_stack([np.ones_like(common), curves[band]])
        weights = 1 / ((common + noise / (n - 1)) * noise)
        weighted = (terms * weights[:, None]).T
        normal = weighted @ terms + np.diag([_GAIN_ERROR**-2, _DIFFERENCE**-2, _DIFFERENCE**-2])
        found = np.empty((n, 2))
        for i, wave in enumerate(self.waves):
            others = (self.total - wave)[band] / (n - 1)
            excess = np.real(wave[band] * others.conj()) - (np.abs(others) ** 2 - noise / (n - 1))
            found[i] = np.linalg.solve(normal, weighted @ excess)[1:]
        errors = _EXCESS * np.sqrt(np.diag(np.linalg.inv(normal))[1:])
        return found, np.broadcast_to(errors, found.shape)

    def variance(self):
        """Mean variance by the shape of the common spectrum, or None."""
        common = self.common / (np.sinc(self.down) * np.sinc(self.right)) ** 2
        ring = np.digitize(np.hypot(self.down, self.right), _FREQUENCIES).ravel()
        count = np.bincount(ring, minlength=len(_FREQUENCIES) + 1)
        power = np.bincount(ring, common.ravel(), minlength=len(_FREQUENCIES) + 1)
        spectrum = (power / np.maximum(count, 1))[1 : len(_FREQUENCIES)]
        middle = (_FREQUENCIES[1:] + _FREQUENCIES[:-1]) / 2
        known = spectrum > 0
        if known.sum() < len(middle) // 2:
            return None
        f = middle[known]
        terms = np.stack([np.ones_like(f), -np.log(f), -4 * np.pi**2 * f**2], axis=1)
        (_, _, variance), *_ = np.linalg.lstsq(terms, np.log(spectrum[known]), rcond=None)
        return float(variance)


def _wave(frequencies, shift):
    """Factors that undo a shift along one axis."""
    return np.exp(2j * np.pi * shift * frequencies).astype(np.complex64)


def _mean_of_rings(values, ring):
    count = np.bincount(ring)
    return (np.bincount(ring, values) / np.maximum(count, 1))[ring]
