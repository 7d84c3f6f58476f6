"""Distributions of the number of frames and of their clearance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._clouds import clouds_over, observed_sky, overlook

#: Least clear fraction of a frame.
MIN_CLEAR = 0.60

#: Default least and greatest number of frames.
DEFAULT_N_FRAMES = (9, 30)


class HalfClear:
    """Half of the frames fully clear, the others with uniform cloud cover up to the limit."""

    def n_frames(self, rng):
        """Number of frames of a scene."""
        return draw_n_frames(rng, DEFAULT_N_FRAMES)

    def skies(self, rng, shape, n_frames, missed):
        """Yield sky (None: clear) and quality map of each frame of a scene.

        The quality maps of a fraction `missed` of the cloudy frames miss something.
        """
        for _ in range(n_frames):
            sky, clear = None, np.ones(shape, bool)
            if rng.uniform() < 0.5:
                sky, clear = observed_sky(rng, shape, MIN_CLEAR)
            yield _missing_some(rng, sky, clear, missed)


@dataclass(frozen=True, kw_only=True)
class FittedClearance:
    """Number and clearance of frames fitted to a published data set.

    In a fraction `hidden_scenes` of the scenes, every quality map hides a similar fraction even of
    the clearest frames: `hidden_part`, its median and the standard deviation of its logarithm, and
    in addition `hidden_spread` times that on average. In the others some frames are fully clear.
    The remaining frames of both kinds are cloudy. `frame_shape`, `clearest_frames` and
    `cloud_cover` are parameters of beta distributions: of the number of frames within
    `frame_limits`, of the fraction of frames without other clouds, and of the fraction that is
    hidden in the others, relative to the greatest that is allowed.
    """

    frame_limits: tuple[int, int]
    frame_shape: tuple[float, float]
    hidden_scenes: float
    hidden_part: tuple[float, float]
    hidden_spread: float
    clearest_frames: tuple[float, float]
    cloud_cover: tuple[float, float]

    def n_frames(self, rng):
        """Number of frames of a scene."""
        least, most = self.frame_limits
        return least + int(rng.binomial(most - least, rng.beta(*self.frame_shape)))

    def skies(self, rng, shape, n_frames, missed):
        """Sky (None: clear) and quality map of each frame of a scene; see `HalfClear.skies`.

        Quality maps miss haze only, as missed clouds would change the distribution of clearance.
        """
        for n_hidden in self.hidden_pixels(rng, n_frames, shape[0] * shape[1]):
            sky, clear = None, np.ones(shape, bool)
            if n_hidden:
                sky, clear = clouds_over(rng, shape, n_hidden)
            yield _missing_some(rng, sky, clear, missed, kinds=("haze",))

    def hidden_pixels(self, rng, n_frames, n_pixels):
        """Number of hidden pixels of each frame; int array."""
        always = 0.0
        if rng.uniform() < self.hidden_scenes:
            median, spread = self.hidden_part
            always = median * np.exp(spread * rng.standard_normal())
        clearest = rng.uniform(size=n_frames) < rng.beta(*self.clearest_frames)
        little = self.hidden_spread * always * rng.exponential(size=n_frames)
        clouds = (1 - MIN_CLEAR) * rng.beta(*self.cloud_cover, n_frames)
        pixels = np.rint(n_pixels * (always + np.where(clearest, little, clouds)))
        # At least one pixel, unless the frame is fully clear.
        hides = (always > 0) | ~clearest
        return np.clip(pixels, hides, np.floor((1 - MIN_CLEAR) * n_pixels)).astype(int)


#: Values of `Sensor.clearance`.
CLEARANCES: dict[str, HalfClear | FittedClearance] = {
    "half": HalfClear(),
    # Fitted to published figures of the data set; see docs/simulator.md.
    "probav-challenge": FittedClearance(
        frame_limits=(9, 35),
        frame_shape=(3.0, 4.8),
        hidden_scenes=0.38,
        hidden_part=(0.0055, 1.35),
        hidden_spread=0.6,
        clearest_frames=(2.4, 4.6),
        cloud_cover=(0.43, 1.3),
    ),
}


def draw_n_frames(rng, limits):
    """Uniform number of frames within limits."""
    least, most = limits
    return int(rng.integers(least, most + 1))


def _missing_some(rng, sky, clear, missed, **kinds):
    """Sky and quality map, with a chance of misses in the map."""
    fails, failure = rng.uniform() < missed, np.random.default_rng(rng.integers(0, 2**63))
    return overlook(failure, sky, clear, **kinds) if fails and not clear.all() else (sky, clear)
