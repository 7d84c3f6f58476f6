"""Numbers of frames of scenes, and clear parts of their frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._clouds import clouds_over, observed_sky, overlook

#: Part of a frame that its quality map calls clear, at least.
MIN_CLEAR = 0.60

#: Least and greatest number of frames where neither the caller nor the data set has its own.
DEFAULT_N_FRAMES = (9, 30)


class HalfClear:
    """Half of the frames fully clear; in the others, uniform cloud cover up to the limit."""

    def n_frames(self, rng):
        """Number of frames of a scene."""
        return draw_n_frames(rng, DEFAULT_N_FRAMES)

    def skies(self, rng, shape, n_frames, missed):
        """Sky (None: clear) and quality map of each frame of a scene.

        Parameters
        ----------
        rng : numpy.random.Generator
        shape : (int, int)
        n_frames : int
        missed : float
            Part of the cloudy frames in which the quality map misses something.

        Yields
        ------
        sky : Sky or None
        clear : ndarray of shape `shape`, bool
        """
        for _ in range(n_frames):
            sky, clear = None, np.ones(shape, bool)
            if rng.uniform() < 0.5:
                sky, clear = observed_sky(rng, shape, MIN_CLEAR)
            yield _missing_some(rng, sky, clear, missed)


@dataclass(frozen=True, kw_only=True)
class FittedClearance:
    """Frames in number and clearance like those of a published data set.

    A scene is one of two kinds. In most of them, some frames are fully clear; in the others every
    map hides a part of the frame, of about the same size in the clearest frames. The other frames
    of both have clouds on top.

    Attributes
    ----------
    frame_limits : (int, int)
        Least and greatest number of frames.
    frame_shape : (float, float)
        Parameters of the beta-binomial distribution of the number of frames between these limits.
    hidden_scenes : float
        Part of the scenes of which no frame is fully clear.
    hidden_part : (float, float)
        Median, and standard deviation of the logarithm, of the part that is hidden in all frames of
        such a scene.
    hidden_spread : float
        Mean of the additional part that the clearest frames of such a scene hide, relative to the
        part that all hide.
    clearest_frames : (float, float)
        Parameters of the beta distribution of a scene's part of frames without other clouds.
    cloud_cover : (float, float)
        Parameters of the beta distribution of the part that the other frames hide, relative to the
        greatest part that a frame may hide.
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

        Quality maps miss haze only: a missed cloud would make a frame clearer than the data set's.
        """
        for n_hidden in self.hidden_pixels(rng, n_frames, shape[0] * shape[1]):
            sky, clear = None, np.ones(shape, bool)
            if n_hidden:
                sky, clear = clouds_over(rng, shape, n_hidden)
            yield _missing_some(rng, sky, clear, missed, kinds=("haze",))

    def hidden_pixels(self, rng, n_frames, n_pixels):
        """Numbers of pixels that the quality maps of a scene hide, frame by frame; int array."""
        always = 0.0
        if rng.uniform() < self.hidden_scenes:
            median, spread = self.hidden_part
            always = median * np.exp(spread * rng.standard_normal())
        clearest = rng.uniform(size=n_frames) < rng.beta(*self.clearest_frames)
        little = self.hidden_spread * always * rng.exponential(size=n_frames)
        clouds = (1 - MIN_CLEAR) * rng.beta(*self.cloud_cover, n_frames)
        pixels = np.rint(n_pixels * (always + np.where(clearest, little, clouds)))
        # Whatever the size of the frames: a cloud covers a pixel, and a fully clear frame none.
        hides = (always > 0) | ~clearest
        return np.clip(pixels, hides, np.floor((1 - MIN_CLEAR) * n_pixels)).astype(int)


#: Values of `Sensor.clearance`.
CLEARANCES: dict[str, HalfClear | FittedClearance] = {
    "half": HalfClear(),
    # Fitted to the published figures of the data set; docs/simulator.md has both side by side.
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
    """A number of frames, each between the limits alike."""
    least, most = limits
    return int(rng.integers(least, most + 1))


def _missing_some(rng, sky, clear, missed, **kinds):
    """A sky and its quality map, once the map may have missed something."""
    fails, failure = rng.uniform() < missed, np.random.default_rng(rng.integers(0, 2**63))
    return overlook(failure, sky, clear, **kinds) if fails and not clear.all() else (sky, clear)
