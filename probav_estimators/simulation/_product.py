"""Scenes of a `Sensor`: changing land, raw grids, detectors and resampling."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from ._clouds import CLEARANCES, Sky
from ._ground_sampling import see_truth
from ._landscape import CELLS
from ._noise import SplineField
from ._raw_grid import Placement, RawGrid, at_raw_pixels, resample, sample_raw
from ._season import DAYS, BlurredGround, ChangingGround, Season, SlowChange
from ._sensors import MAX_VALUE, draw

#: LR pixels of ground around a frame: shift, distortion, resampling, pixel and optics.
MARGIN = 8
_GREATEST_SHIFT = 2.5
# Spline coefficients of a smooth distortion along each axis.
_DISTORTION_KNOTS = (5, 5)


def see_product(rng, shape, scale, t, land_of, sensor):
    """Simulate the arrays of a `SimulatedScene` of a `Sensor`.

    `land_of` makes the `Land` of a random generator, a number of cells and a season.

    Random streams do not depend on the sensor: different sensors observe the same land on the same
    days and, with the same `clearance`, the same clouds.
    """
    streams = [np.random.default_rng(seed) for seed in rng.integers(0, 2**63, 7)]
    of_scene, of_land, of_season, of_passes, of_sky, of_detector, of_truth = streams
    look = _draw_look(of_scene, sensor)
    pixel = CELLS * scale
    margin = MARGIN * pixel
    season = _draw_season(of_season, sensor)
    drift = SlowChange(of_season)
    cells = tuple(pixel * n + 2 * margin for n in shape)
    ground = ChangingGround(land_of(of_land, cells, season))
    passes = [_Pass.draw(of_passes, sensor, look, shape) for _ in range(t)]
    days = np.sort(of_passes.uniform(0, DAYS, t))
    true_shifts = np.stack([one.shift for one in passes])

    blurred = BlurredGround(ground, [(CELLS * one.psf_sigma) ** 2 for one in passes])

    skies = CLEARANCES[sensor.clearance].skies(of_sky, shape, t, look.missed_clouds)
    frames = []
    for day, one, (sky, clear) in zip(days, passes, skies, strict=True):
        grid = one.grid(shape, look.resampling)
        placement = Placement(pixel, margin, tuple(map(float, one.shift)), one.distortion)
        radiance = blurred.on(day, (CELLS * one.psf_sigma) ** 2)
        radiance = sample_raw(radiance, grid, placement, shape[0])
        seen = _through_the_sky(radiance, grid, drift.at(day, shape), sky)
        raw = look.detector.read(of_detector, one.gain * seen + one.offset)
        image = np.rint(resample(raw, grid, shape, look.resampling))
        frames.append((np.clip(image, 0, MAX_VALUE).astype(np.uint16), clear))
    lr, qm = (np.stack(stack) for stack in zip(*frames, strict=True))

    hr_shape = tuple(scale * n for n in shape)
    noise = look.detector.noise / 2
    hr, sm = see_truth(
        of_truth,
        ground.on,
        hr_shape,
        scale=scale,
        margin=margin,
        drift=drift,
        noise=noise,
        psf_sigma=sensor.hr_psf_sigma,
    )
    return lr, qm, hr, sm, true_shifts


@dataclass(frozen=True)
class _Detector:
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


def _draw_look(rng, sensor):
    """Properties shared by all frames of a scene."""
    methods = sensor.resampling
    place = rng.uniform()
    if not isinstance(methods, str):
        methods = methods[int(place * len(methods))]
    detector = _Detector(
        noise=draw(rng, sensor.noise),
        shot_noise=draw(rng, sensor.shot_noise),
        stripes=draw(rng, sensor.stripes),
        dead_pixels=draw(rng, sensor.dead_pixels),
        saturation=draw(rng, sensor.saturation),
        bits=round(draw(rng, sensor.bits)),
    )
    names = ("psf_sigma", "psf_variation", "geolocation_error", "gain", "offset")
    values = {name: draw(rng, getattr(sensor, name)) for name in (*names, "missed_clouds")}
    return SimpleNamespace(resampling=methods, detector=detector, **values)


@dataclass(frozen=True)
class _Pass:
    """One overflight."""

    shift: np.ndarray
    psf_sigma: float
    raw_pixel: tuple[float, float]
    rotation: float
    phase: tuple[float, float]
    distortion: np.ndarray | None
    gain: np.float32
    offset: np.float32

    @classmethod
    def draw(cls, rng, sensor, look, shape):
        moves = look.geolocation_error * rng.standard_normal(2)
        shift = moves.clip(-_GREATEST_SHIFT, _GREATEST_SHIFT).astype(np.float32)
        wider = 1 + look.psf_variation * float(np.clip(rng.standard_normal(), -2.5, 2.5))
        return cls(
            shift=shift,
            psf_sigma=look.psf_sigma * wider,
            raw_pixel=(draw(rng, sensor.raw_pixel), draw(rng, sensor.raw_pixel)),
            rotation=np.deg2rad(draw(rng, sensor.raw_rotation)),
            phase=(rng.uniform(), rng.uniform()),
            distortion=_draw_distortion(rng, shape, draw(rng, sensor.distortion)),
            gain=np.float32(1 + look.gain * rng.standard_normal()),
            offset=np.float32(look.offset * rng.standard_normal()),
        )

    def grid(self, shape, resampling):
        if resampling == "none":
            return RawGrid.of_map(shape)
        return RawGrid.around(shape, self.raw_pixel, self.rotation, self.phase)


def _draw_distortion(rng, shape, greatest):
    """Smooth distortion (2, h, w) in LR pixels, float32 of mean 0; None: none."""
    surfaces = [SplineField(rng, _DISTORTION_KNOTS) for _ in range(2)]
    if greatest == 0:
        return None
    field = np.stack([surface.sample(shape) for surface in surfaces])
    field -= field.mean((1, 2), keepdims=True)
    field *= np.float32(greatest) / np.abs(field).max((1, 2), keepdims=True)
    return np.ascontiguousarray(field, np.float32)


def _draw_season(rng, sensor):
    names = ("change", "changing_fields", "water_change", "shadow_change")
    values = {name: draw(rng, getattr(sensor, name)) for name in names}
    season = Season(rng, **values)
    fields_change = values["change"] > 0 and values["changing_fields"] > 0
    others_change = values["water_change"] > 0 or values["shadow_change"] > 0
    return season if fields_change or others_change else None


def _through_the_sky(radiance, grid, drift, sky):
    """Radiance at the raw pixels, with drift and clouds."""
    fields = [drift] if sky is None else [drift, sky.opacity, sky.brightness, sky.shade]
    drift, *cloud = at_raw_pixels(np.stack(fields), grid)
    radiance = radiance * drift
    return Sky(*cloud).cover(radiance) if cloud else radiance
