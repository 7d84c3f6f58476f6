"""Estimate the point spread function of a sensor from its frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._registration import register_frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["psf_variance"]

# Cycles per LR pixel: below are few samples and the window, above is little signal.
_FREQUENCIES = np.linspace(0.06, 0.5, 23)

# Frames that clouds leave more or less whole; a spectrum takes several.
_MIN_CLEAR = 0.95
MIN_FRAMES = 3


def psf_variance(lr: NDArray[np.float32], qm: NDArray[np.bool_]) -> float | None:
    """Estimate the variance of a sensor's Gaussian point spread function.

    The spectrum that all frames of a place agree upon, once their shifts are undone, has neither
    noise nor aliasing. Divided by what square pixels do, its logarithm is that of a power law, as
    landscapes have it [1]_, less ``4 pi**2 variance f**2``, and the two are told apart by their
    shapes.

    Parameters
    ----------
    lr : float32 array of shape (t, h, w)
        Frames of one place, each of them once.
    qm : bool array of shape (t, h, w)
        Quality maps, True where a frame is clear.

    Returns
    -------
    float or None
        In squared LR pixels; of a single place it may be far off. None where fewer than three
        frames are clear and can be registered.

    References
    ----------
    .. [1] D. J. Field, "Relations between the statistics of natural images and the response
       properties of cortical cells", Journal of the Optical Society of America A 4(12), 2379-2394,
       1987.
    """
    spectrum = _common_spectrum(lr, qm)
    if spectrum is None:
        return None
    middle = (_FREQUENCIES[1:] + _FREQUENCIES[:-1]) / 2
    known = spectrum > 0
    if known.sum() < len(middle) // 2:
        return None
    f = middle[known]
    terms = np.stack([np.ones_like(f), -np.log(f), -4 * np.pi**2 * f**2], axis=1)
    (_, _, variance), *_ = np.linalg.lstsq(terms, np.log(spectrum[known]), rcond=None)
    return variance


def _common_spectrum(lr, qm):
    """Power that the frames have in common, by frequency, without the part of square pixels."""
    registration = register_frames(lr, qm)
    used = np.flatnonzero(registration.placed & (qm.mean(axis=(1, 2)) >= _MIN_CLEAR))
    if len(used) < MIN_FRAMES:
        return None
    down, right = np.fft.fftfreq(lr.shape[1])[:, None], np.fft.rfftfreq(lr.shape[2])
    window = np.hanning(lr.shape[1])[:, None] * np.hanning(lr.shape[2])
    total, energy = 0, 0
    for i in used:
        clear = lr[i][qm[i]]
        frame = window * qm[i] * (lr[i] - clear.mean()) / max(clear.std(), 1e-9)
        shift = registration.shifts[i]
        wave = np.fft.rfft2(frame) * np.exp(2j * np.pi * (down * shift[0] + right * shift[1]))
        total, energy = total + wave, energy + np.abs(wave) ** 2
    # The mean over all pairs of different frames: noise and aliases are not common to them.
    common = (np.abs(total) ** 2 - energy) / (len(used) * (len(used) - 1))
    common /= (np.sinc(down) * np.sinc(right)) ** 2
    ring = np.digitize(np.hypot(down, right), _FREQUENCIES)
    count = np.bincount(ring.ravel(), minlength=len(_FREQUENCIES) + 1)
    power = np.bincount(ring.ravel(), common.ravel(), minlength=len(_FREQUENCIES) + 1)
    return (power / np.maximum(count, 1))[1 : len(_FREQUENCIES)]
