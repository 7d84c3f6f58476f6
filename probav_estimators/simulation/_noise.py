"""Random fields on a regular grid, for landscapes, clouds and slow change."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import fft


def fractal_field(rng, shape, beta, *, outer=np.inf, stretch=1.0, angle=0.0):
    """Draw a periodic Gaussian field with a power-law spectrum; float32, mean 0, variance 1.

    Power falls as ``f ** -beta``: 1.6 is rough, 3.6 smooth. It stays flat above a length of `outer`
    cells. Structures are longer by `stretch` along `angle`, in radians from the row axis.
    """
    padded = tuple(fft.next_fast_len(n, real=True) for n in shape)
    rows = fft.fftfreq(padded[0]).astype(np.float32)[:, None]
    columns = fft.rfftfreq(padded[1]).astype(np.float32)[None, :]
    if stretch == 1:
        power = np.square(rows) + np.square(columns)
    else:
        along = np.float32(np.cos(angle)) * rows + np.float32(np.sin(angle)) * columns
        across = np.float32(np.cos(angle)) * columns - np.float32(np.sin(angle)) * rows
        power = np.square(along * np.float32(stretch)) + np.square(across)
    power += np.float32(max(1.0 / outer, 0.5 / max(padded)) ** 2)
    np.log(power, out=power)
    power *= np.float32(-beta / 4)
    amplitude = np.exp(power, out=power)
    amplitude[0, 0] = 0.0
    spectrum = rng.standard_normal((*amplitude.shape, 2), dtype=np.float32)
    spectrum *= amplitude[..., None]
    spectrum = spectrum.view(np.complex64)[..., 0]
    field = fft.irfft2(spectrum, s=padded, overwrite_x=True)[: shape[0], : shape[1]]
    return standardize(field)


def standardize(field):
    """Mean 0 and standard deviation 1, as contiguous float32."""
    field = np.ascontiguousarray(field, dtype=np.float32)
    mean = field.mean()
    field = field - mean
    field *= 1 / max(np.sqrt(np.vdot(field, field) / field.size), np.float32(1e-6))
    return field


class SplineField:
    """Smooth random surface that can be sampled on any grid over the same ground.

    It has `n_knots` random coefficients per axis, at least 4; fewer are smoother.
    """

    def __init__(self, rng, n_knots):
        self.coefficients = rng.standard_normal(n_knots).astype(np.float32)

    def sample(self, shape):
        """float32 values of about unit variance at `shape` evenly spaced cell centres."""
        rows, columns = (
            _cubic_basis(n, knots) for n, knots in zip(shape, self.coefficients.shape, strict=True)
        )
        # Cubic B-splines reduce the standard deviation of white coefficients to 0.48 per axis.
        return (rows @ self.coefficients @ columns.T) * np.float32(1 / 0.48)


def smooth_field(rng, shape, length):
    """Draw a smooth field with structures about `length` cells wide; float32, unit variance."""
    knots = tuple(4 + int(n / length) for n in shape)
    return SplineField(rng, knots).sample(shape)


@lru_cache(maxsize=8)
def _cubic_basis(n, n_knots):
    positions = (np.arange(n) + 0.5) / n
    distance = np.abs(positions[:, None] * (n_knots - 3) + 1 - np.arange(n_knots)[None, :])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


def soft_threshold(field, fraction):
    """Coverage in [0, 1] by the largest values of `fraction` of the grid, anti-aliased."""
    level = np.quantile(field[::4, ::4], 1 - fraction)
    slope = np.abs(np.diff(field[::4], axis=1)).mean() * 2 + np.float32(1e-6)
    return np.clip(0.5 + (field - np.float32(level)) / slope, 0, 1, dtype=np.float32)
