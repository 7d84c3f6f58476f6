"""Clouds, shadows, imperfect cloud masks, and the number and clearance of frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ._noise import fractal_field, smooth_field

#: Least clear fraction of a frame.
MIN_CLEAR = 0.60

#: Default least and greatest number of frames.
DEFAULT_N_FRAMES = (9, 30)

# Steps of the search for the cover that hides a given number of pixels.
_BISECTIONS = 6

# Opacity that quality maps detect with a probability of one half.
_TOLERANCE = 0.12


@dataclass(frozen=True)
class Sky:
    """Clouds between ground and sensor in one image.

    `opacity` is the fraction of the ground's light that clouds replace by their `brightness`, and
    `shade` the fraction of the sunlight that their shadows block.
    """

    opacity: np.ndarray
    brightness: np.ndarray
    shade: np.ndarray

    def cover(self, radiance):
        """The radiance seen through this sky."""
        lit = radiance * (1 - self.shade)
        return lit + self.opacity * (self.brightness - lit)


def cloudy_sky(rng, shape, cover, *, pixel=1.0):
    """Clouds of one kind over an image, with about this `cover` by clouds or shadows.

    `pixel` is the side of a pixel in LR pixels: 1 for frames, 1 / scale for the HR image.
    """
    return _cloud_field(rng, shape, pixel)(cover)


def _cloud_field(rng, shape, pixel):
    """Random clouds, as a function from cloud cover to a `Sky`."""
    reach = max(2, round(16 / pixel))
    beta, outer = rng.uniform(3.0, 4.4), np.exp(rng.uniform(3.0, 5.0)) / pixel
    padded = tuple(n + 2 * reach for n in shape)
    density = fractal_field(rng, padded, beta, outer=outer)
    drop = rng.uniform(2, 14) / pixel
    direction = rng.uniform(0, 2 * np.pi)
    fall = np.rint([drop * np.sin(direction), drop * np.cos(direction)]).astype(int)
    inner = tuple(slice(reach, reach + n) for n in shape)
    under = tuple(slice(reach - d, reach - d + n) for d, n in zip(fall, shape, strict=True))
    highest = np.maximum(density[inner], density[under])
    depth = np.float32(np.exp(rng.uniform(-0.3, 1.5)))
    greatest = np.float32(rng.uniform(0.75, 0.98))
    billows = fractal_field(rng, shape, rng.uniform(2.0, 3.0), outer=20 / pixel)
    brightness, darkness = rng.uniform(7000, 14000), rng.uniform(0.3, 0.6)

    def sky_of(cover):
        thickness = depth * np.maximum(density - np.quantile(highest, 1 - cover), 0)
        opacity = np.minimum(-np.expm1(-thickness), greatest)
        bright = brightness * (1 + 0.06 * billows + 0.1 * opacity[inner])
        shade = ndimage.gaussian_filter(opacity, 0.7 / pixel)[under] * darkness
        return Sky(opacity[inner], bright, shade)

    return sky_of


def detect_clouds(rng, sky, *, pixel=1.0, tolerance=_TOLERANCE):
    """Imperfect clear mask: thin cloud is partly missed, detections are dilated by a pixel.

    Occasional clear spots are hidden too. `tolerance` is the opacity with a detection probability
    of one half; `pixel` as of `cloudy_sky`.
    """
    shape = sky.opacity.shape
    limit = tolerance * np.exp2(0.6 * smooth_field(rng, shape, 6 / pixel))
    found = (sky.opacity > limit) | (sky.shade > 1.3 * limit)
    found = ndimage.binary_dilation(found, np.ones((3, 3), bool))
    for _ in range(rng.poisson(2)):
        _mark_blob(rng, found, rng.uniform(0.8, 2.5) / pixel)
    return ~found


def _mark_blob(rng, mask, radius):
    row, column = rng.uniform(0, 1, 2) * mask.shape
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    mask |= np.square(rows - row) + np.square(columns - column) < radius**2


def observed_sky(rng, shape, least_clear, *, pixel=1.0, tolerance=_TOLERANCE):
    """Cloudy sky (None: no cloud) and a mask of which at least `least_clear` is clear."""
    cover = (1 - least_clear) * rng.uniform(0.02, 1.0) ** 0.8
    for _ in range(4):
        sky = cloudy_sky(rng, shape, cover, pixel=pixel)
        clear = detect_clouds(rng, sky, pixel=pixel, tolerance=tolerance)
        if clear.mean() >= least_clear:
            return sky, clear
        cover /= 2
    return None, np.ones(shape, bool)


def clouds_over(rng, shape, n_hidden):
    """Cloudy sky and a quality map that hides `n_hidden` pixels, at least 1.

    The cover is found by bisection for a detection as in `detect_clouds`; the map then hides the
    pixels with the most cloud or shadow within a pixel.
    """
    sky_of = _cloud_field(rng, shape, 1.0)
    limit = _TOLERANCE * np.exp2(0.6 * smooth_field(rng, shape, 6))
    low, high = 0.0, min(1.0, 4 * n_hidden / limit.size + 0.02)
    for _ in range(_BISECTIONS):
        cover = (low + high) / 2
        evidence = _cloud_evidence(sky_of(cover), limit)
        enough = np.count_nonzero(evidence > 1) >= n_hidden
        low, high = (low, cover) if enough else (cover, high)
    sky = sky_of(high)
    evidence = _cloud_evidence(sky, limit)
    own = np.maximum(sky.opacity, sky.shade)
    clear = np.ones(shape, bool)
    clear.flat[np.lexsort((own.ravel(), evidence.ravel()))[-n_hidden:]] = False
    return sky, clear


def _cloud_evidence(sky, limit):
    """Greatest opacity and shade around each pixel, relative to the detection limits."""
    return ndimage.maximum_filter(np.maximum(sky.opacity, sky.shade / 1.3) / limit, 3)


def overlook(rng, sky, clear, kinds=("cloud", "haze", "shadow")):
    """Let a quality map miss patches of cloud, a thin haze around it, or shadows.

    Returns the sky, with the haze if one of the `kinds` drawn is haze, and the quality map.
    """
    kind = rng.choice(kinds)
    field = smooth_field(rng, clear.shape, rng.uniform(8, 40))
    veil = np.float32(rng.uniform(0.08, 0.3)) * (field - field.min()) / np.ptp(field)
    cloud = ndimage.binary_dilation(sky.opacity > 0.05, np.ones((3, 3), bool))
    shadows = ~clear & ~cloud
    patches = ~clear & (field > 0)
    if kind == "cloud" and (patches & cloud).any():
        return sky, clear | patches
    if kind == "shadow" and (shadows & (sky.shade > 0.1)).any():
        return sky, clear | shadows
    opacity = 1 - (1 - sky.opacity) * (1 - veil)
    return Sky(opacity, sky.brightness, sky.shade), clear


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
