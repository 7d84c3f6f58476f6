"""Detector model: noise, stripes, dead pixels, saturation, quantisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._ground_sampling import MAX_VALUE


@dataclass(frozen=True)
class Detector:
    """Detectors of one scene, in counts of 14 bits; see the fields of `Sensor`.

    `shot_noise` is the standard deviation at a signal of 1000, `stripes` that of the columns'
    relative gains, and `dead_pixels` the fraction of pixels with a fixed random value.
    """

    noise: float = 0.0
    shot_noise: float = 0.0
    stripes: float = 0.0
    dead_pixels: float = 0.0
    saturation: float = float(MAX_VALUE)
    bits: int = 14

    def read(self, rng, signal):
        """Read out raw pixels: float32 counts of 14 bits, quantised to the detector's bits."""
        variance = self.noise**2 + self.shot_noise**2 / 1000 * np.maximum(signal, 0)
        read = signal + np.sqrt(variance, dtype=np.float32) * rng.standard_normal(
            signal.shape, dtype=np.float32
        )
        if self.stripes:
            read *= 1 + np.float32(self.stripes) * rng.standard_normal(
                signal.shape[1], dtype=np.float32
            )
        self._set_dead_pixels(rng, read)
        step = 2 ** (14 - self.bits)
        numbers = np.rint(read / np.float32(step)) * np.float32(step)
        return np.clip(numbers, 0, self.saturation, dtype=np.float32)

    def _set_dead_pixels(self, rng, read):
        count = rng.binomial(read.size, self.dead_pixels)
        where = rng.integers(0, read.size, count)
        read.ravel()[where] = rng.uniform(0, self.saturation, count)
