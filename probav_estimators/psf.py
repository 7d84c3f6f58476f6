"""How blurred a sensor sees, found out from its frames alone."""

import numpy as np

from .registration import register_frames

__all__ = ["estimate_psf_sigma"]

# Cycles per LR pixel: below are few samples and the window, above is little signal.
_FREQUENCIES = np.linspace(0.06, 0.5, 23)

# Frames that clouds leave more or less whole; a spectrum takes several.
_LEAST_CLEAR = 0.95
_FEWEST_FRAMES = 3

_MOST_SCENES = 32
_LEAST_SIGMA = 0.1


def estimate_psf_sigma(scenes):
    """Estimate the standard deviation of a sensor's Gaussian point spread function.

    The spectrum that all frames of a place agree upon, once their shifts are undone, has neither
    noise nor aliasing. Divided by what square pixels do, its logarithm is that of a power law, as
    landscapes have it [1]_, less ``4 pi**2 sigma**2 f**2``, and the two are told apart by their
    shapes.

    Parameters
    ----------
    scenes : list of Scene
        Of one sensor; the more, the better. At most 32 of them are read.

    Returns
    -------
    float
        In LR pixels, at least 0.1: the median over the scenes.

    Raises
    ------
    ValueError
        If no scene has three frames that are clear and can be registered.

    References
    ----------
    .. [1] D. J. Field, "Relations between the statistics of natural images and the response
       properties of cortical cells", Journal of the Optical Society of America A 4(12), 2379-2394,
       1987.

    Examples
    --------
    >>> from probav_estimators import make_scenes
    >>> from probav_estimators.psf import estimate_psf_sigma
    >>> 0.25 < estimate_psf_sigma(make_scenes(8, random_state=0)) < 0.55
    True
    """
    chosen = scenes[:: -(-len(scenes) // _MOST_SCENES)]
    variances = [v for v in map(_variance_of_psf, chosen) if v is not None]
    if not variances:
        raise ValueError(
            "the point spread function cannot be estimated, because no scene has "
            f"{_FEWEST_FRAMES} clear frames that can be registered: give psf_sigma"
        )
    return float(np.sqrt(max(np.median(variances), _LEAST_SIGMA**2)))


def _variance_of_psf(scene):
    """Square of sigma in LR pixels, or None; of a single scene it may be far off."""
    spectrum = _common_spectrum(scene.frames.read_lr(), scene.frames.read_qm())
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
    used = np.flatnonzero(registration.placed & (qm.mean(axis=(1, 2)) >= _LEAST_CLEAR))
    if len(used) < _FEWEST_FRAMES:
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
