"""Change of the land in the 30 days of a scene."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..compiling import njit
from ._noise import SplineField
from ._raw_grid import blur

#: Days within which the frames of a scene are taken.
DAYS = 30


class SlowChange:
    """Radiance drift of up to 2 %, smooth in space and time."""

    def __init__(self, rng):
        self._strength = rng.uniform(0.004, 0.02)
        self._fields = [SplineField(rng, (6, 6)) for _ in range(2)]
        self._phase = rng.uniform(0, 2 * np.pi)
        self._turn = rng.uniform(0.5, 1.0) * np.pi / DAYS

    def at(self, day, shape):
        """Factor on the radiance; float32."""
        angle = self._phase + self._turn * day
        weights = np.cos(angle), np.sin(angle)
        drift = sum(w * f.sample(shape) for w, f in zip(weights, self._fields, strict=True))
        return 1 + np.float32(self._strength) * np.tanh(drift)


class Season:
    """Seasonal change of one scene; its arguments are fields of `Sensor`.

    `water` is the extent of the water in the second state, relative to the first.
    """

    #: Time courses: two harvest days, gradual greening, water level.
    HARVESTS, GREENING, WATER = (1, 2), 3, 4

    def __init__(self, rng, change, changing_fields, water_change, shadow_change):
        self._rng = rng
        self._change, self._part = change, changing_fields
        self._harvest_days = rng.uniform(2, DAYS - 2, 2)
        sign = rng.choice([-1, 1], 2)
        self.water = 1 + sign[0] * water_change * rng.uniform(0.5, 1)
        self._shadows = sign[1] * shadow_change
        self._length, self._direction = rng.uniform(1, 8), rng.uniform(0, 2 * np.pi)

    def plan_fields(self, n, palette):
        """Draw relative radiances of fields in the second state, and their courses."""
        changes = self._rng.uniform(size=n) < self._part
        courses = self._rng.choice([*self.HARVESTS, self.GREENING], n) * changes
        # Harvest bares soil, greening covers it; the brighter one depends on the band.
        bare = 1 if palette.soil > palette.vegetation else -1
        direction = np.where(courses == self.GREENING, -bare, bare)
        growth = 1 + direction * self._change * self._rng.uniform(0.4, 1, n) * changes
        return growth, courses.astype(np.uint8)

    def cast_shadows(self, height):
        """Relative darkness by shadows of objects of `height` 0 to 1."""
        move = self._length * np.array([np.sin(self._direction), np.cos(self._direction)])
        lit_from = np.roll(height, np.rint(move).astype(int), (0, 1))
        return np.float32(0.5) * np.clip(lit_from - height, 0, 1)

    def weights(self, day):
        """Progress of the time courses on a day; (4,), 0 to 1."""
        steps = 1 / (1 + np.exp(-4 * (day - self._harvest_days)))
        return np.array([*steps, day / DAYS, day / DAYS])

    def sun(self, day):
        """Relative change of the cotangent of the sun's elevation since mid-season."""
        return self._shadows * (day / DAYS - 0.5)


class ChangingGround:
    """Ground of a `Land` on any day: its first state, and parts that are added by weights."""

    def __init__(self, land):
        self._base, self._parts = land.states[0], []
        if land.season is None:
            self._parts = [state - self._base for state in land.states[1:]]
            self._weights = partial(_between_dates, len(self._parts))
            return
        courses, change = [], land.change
        for course in np.unique(land.courses[change != 0]):
            if course:
                self._parts.append(np.where(land.courses == course, change, np.float32(0)))
                courses.append(int(course))
        shades = self._base * land.shading
        if shades.any():
            self._parts.append(shades)
            courses.append(None)
        self._weights = partial(_of_season, land.season, courses)

    def on(self, day):
        """Radiance on a day; float32."""
        ground = self._base
        for weight, part in zip(self._weights(day), self._parts, strict=True):
            ground = ground + weight * part
        return ground


def _of_season(season, numbers, day):
    """Weights of the parts of time courses, and of shades (None)."""
    if not numbers:
        return np.zeros(0, np.float32)
    courses, sun = season.weights(day), season.sun(day)
    return np.array([sun if n is None else courses[n - 1] for n in numbers], np.float32)


def _between_dates(n_later, day):
    """Weights of later dates, interpolated between dates that are spread over the days."""
    place = n_later * day / DAYS
    return np.maximum(1 - np.abs(np.arange(1, n_later + 1) - place), 0).astype(np.float32)


class BlurredGround(ChangingGround):
    """Changing ground blurred by optics that vary slightly between frames.

    `variances` are those of the frames' point spread functions, in square cells. The ground is
    blurred by a few widths at most 25 % apart; a frame interpolates two of them by variance, with
    an error of at most 5 % of the response at LR Nyquist. Changes, a part of the radiance, are
    blurred by the mean variance only.
    """

    def __init__(self, ground, variances):
        # 1/12 is the variance of a cell.
        least, greatest = np.maximum([np.min(variances) - 1 / 12, np.max(variances) - 1 / 12], 0)
        ratio = np.sqrt((greatest + 1 / 12) / (least + 1 / 12))
        n_levels = 1 + int(np.ceil(np.log(ratio) / np.log(1.25)))
        self._levels = np.linspace(least, greatest, n_levels)
        self._bases = [_blur_turned(ground._base, level) for level in self._levels]
        self._weights = ground._weights
        middle = self._levels.mean()
        parts = [_blur_turned(part, middle) for part in ground._parts]
        self._parts = np.stack(parts) if parts else np.zeros((0, 1, 1), np.float32)

    def on(self, day, variance):
        """Radiance on a day, *transposed*, blurred to this variance; float32."""
        index = np.searchsorted(self._levels, variance - 1 / 12)
        upper = min(max(index, 1), len(self._levels) - 1)
        lower = max(upper - 1, 0)
        step = self._levels[upper] - self._levels[lower]
        share = np.clip((variance - 1 / 12 - self._levels[lower]) / step, 0, 1) if step else 0
        weights = self._weights(day)
        return _mix(self._bases[lower], self._bases[upper], np.float32(share), self._parts, weights)


@njit(cache=True)
def _mix(first, second, share, parts, weights):
    height, width = first.shape
    result = np.empty_like(first)
    for row in range(height):
        for column in range(width):
            a = first[row, column]
            result[row, column] = a + share * (second[row, column] - a)
        for n in range(len(weights)):
            if weights[n] != 0:
                for column in range(width):
                    result[row, column] += weights[n] * parts[n, row, column]
    return result


def _blur_turned(image, variance):
    return np.ascontiguousarray(blur(image, variance).T)
