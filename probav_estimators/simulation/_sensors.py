"""Properties of sensors and their products, and presets."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from numbers import Integral, Real
from typing import Annotated, Any, TypeAlias, get_type_hints

import numpy as np

from ._clouds import CLEARANCES
from ._raw_grid import RESAMPLINGS

#: Greatest value of a sensor's 14-bit scale.
MAX_VALUE = 2**14 - 1

# A number, or a range that it is drawn from. Fields are annotated with their least and greatest
# value and their unit.
_Range: TypeAlias = float | tuple[float, float]


@dataclass(frozen=True, kw_only=True, repr=False)
class Sensor:
    """Properties of a sensor, its products, and changes of the land.

    Fields are numbers or ranges (least, greatest), except for `resampling` and `clearance`. The
    defaults are the preset "any", which covers optical products, for training. Use `Sensor.preset`
    to start from a named product.

    Parameters
    ----------
    psf_sigma : float or (float, float), default=(0.1, 1.6)
        Standard deviation of the optics' Gaussian point spread function in HR pixels, without the
        pixel's box; drawn for each scene. At scale 3 the range is a response at Nyquist, with the
        box, of 0.63 to 0.16. Sentinel-2 was designed for 0.15 to 0.30 [1]_. Values below 0.15 have
        no effect, as cells of the ground are half an HR pixel wide.
    psf_variation : float or (float, float), default=(0, 0.05)
        Relative standard deviation of `psf_sigma` between frames: air, defocus, position in the
        swath. An assumption.
    raw_pixel : float or (float, float), default=(0.6, 1.2)
        Side of a raw pixel in LR pixels, drawn for each frame and axis; used if frames are
        resampled. PROBA-V's visible and near infrared pixels grow from 100 m at nadir to 350 m at
        the edge of the swath [2]_, up to 1.17 pixels of its 300 m product; the lower limit of 180 m
        is an assumption.
    raw_rotation : float or (float, float), default=(-10, 10)
        Rotation of the raw rows against the map in degrees, drawn for each frame. With PROBA-V's
        inclination of 98.7 degrees [2]_ the track deviates from the meridian by 9 degrees at the
        equator and by more towards the poles.
    resampling : str or tuple of str, default=("none", "nearest", "bicubic", "area")
        Resampling from raw pixels to the map grid, drawn for each scene. "none": the raw grid is
        the map grid. "bicubic": cubic convolution with a = -0.5 [3]_. "area": area-weighted mean.
    geolocation_error : float or (float, float), default=(0.3, 0.6)
        Standard deviation of the frames' shifts along each axis in LR pixels, drawn for each
        scene; included in `true_shifts`. "static" scenes have 0.53, 1.6 HR pixels. Sentinel-2's
        mean misregistration between dates was 0.4 pixels [4]_.
    distortion : float or (float, float), default=(0, 0.3)
        Amplitude along an axis, in LR pixels, of a smooth distortion by residual attitude and
        terrain, drawn for each frame. Its mean is 0, so `true_shifts` is the mean shift. An
        assumption.
    noise : float or (float, float), default=(8, 35)
        Standard deviation of the read noise in counts of 14 bits, before resampling, drawn for each
        scene; half in the HR image. "static" scenes have 12 to 35, with baseline scores as in the
        real data set.
    shot_noise : float or (float, float), default=(0, 12)
        Standard deviation of the shot noise in counts at a signal of 1000, proportional to the
        square root of the signal. The range is an assumption.
    stripes : float or (float, float), default=(0, 0.004)
        Relative standard deviation of the detectors' calibrated gains; a detector is a column of
        the raw grid. OLI shows little residual striping [5]_; the range is an assumption.
    dead_pixels : float or (float, float), default=(0, 0.0003)
        Fraction of raw pixels with a constant random value, not masked by quality maps. All of
        OLI's detectors worked [5]_; the range is an assumption.
    saturation : float or (float, float), default=(8000, 16383)
        Greatest count of 14 bits; clouds, snow and sand may be clipped. An assumption.
    bits : int or (int, int), default=(12, 14)
        Quantisation before resampling. OLI [5]_ and Sentinel-2's MSI [1]_ have 12.
    gain : float or (float, float), default=0.04
        Standard deviation of the frames' gains. As in "static".
    offset : float or (float, float), default=80
        Standard deviation of the frames' offsets in counts. As in "static".
    change : float or (float, float), default=(0, 0.3)
        Greatest relative change of a field's radiance in the 30 days, by sudden harvest or gradual
        greening. An assumption.
    changing_fields : float or (float, float), default=(0.1, 0.6)
        Fraction of fields that change. An assumption.
    water_change : float or (float, float), default=(0, 0.3)
        Greatest relative change of lakes' extent and rivers' width in the 30 days. An assumption.
    shadow_change : float or (float, float), default=(0, 0.3)
        Relative change of shading and shadow lengths in the 30 days, that of the cotangent of the
        sun's elevation: 0.2 is from 50 to 45 degrees.
    missed_clouds : float or (float, float), default=(0, 0.33)
        Fraction of the cloudy frames whose quality map misses a cloud, haze or shadow. Detection is
        imperfect for PROBA-V [6]_; the range is an assumption.
    hr_psf_sigma : float or (float, float), default=(0.15, 0.6)
        Standard deviation of the HR image's point spread function in HR pixels, drawn for each
        scene. "static" scenes have 0.4 to 0.6. The spectrum of the HR image of PROBA-V's imgset0594
        agrees with 0.25 to 0.45 (``python -m benchmarks realism``).
    clearance : {"half", "probav-challenge"}, default="half"
        Default number of frames, and their clearance. "half": 9 to 30 frames, half of them fully
        clear, the others at least 60 %. "probav-challenge", as the challenge's data set: 9 to 35
        frames, 19 on average [7]_; in 6 of 10 scenes some frames are fully clear, in the others
        none [8]_.

    Raises
    ------
    ValueError
        If a field is no number or range, or outside its limits.

    See Also
    --------
    make_scenes : Scenes of such a sensor.

    Notes
    -----
    Order of operations: clouds, optics and raw pixels; gain, offset, noise, stripes, dead pixels,
    saturation and rounding on the raw grid; resampling and rounding.

    References
    ----------
    .. [1] ESA, SentiWiki, "S2 Mission"; "Sentinel-2 MSI User Guide, Radiometric Resolution".
    .. [2] VITO, "PROBA-V: Mission and Instruments", Terrascope documentation.
    .. [3] R. G. Keys, "Cubic convolution interpolation for digital image processing", IEEE
       Transactions on Acoustics, Speech, and Signal Processing 29, 1153-1160, 1981.
    .. [4] L. Yan et al., "Sentinel-2A multi-temporal misregistration characterization and an
       orbit-based sub-pixel registration methodology", Remote Sensing of Environment, 2018.
    .. [5] R. Morfitt et al., "Landsat-8 Operational Land Imager (OLI) radiometric performance
       on-orbit", Remote Sensing 7, 2208-2237, 2015.
    .. [6] R. Q. Iannone et al., "Proba-V cloud detection Round Robin: validation results and
       recommendations", 2017.
    .. [7] M. Märtens, D. Izzo, A. Krzic and D. Cox, "Super-resolution of PROBA-V images using
       convolutional neural networks", Astrodynamics 3, 387-402, 2019. The maximum of 35 and the
       distribution are assumptions.
    .. [8] Clearances printed by the notebook of M. Deudon et al., "HighRes-net":
       https://github.com/ServiceNow/HighRes-net/blob/master/notebooks/test_model.ipynb

    Examples
    --------
    >>> from probav_estimators import Sensor, make_scenes
    >>> sensor = Sensor.preset("plain", psf_sigma=0.5, resampling="bicubic")
    >>> scenes = make_scenes(1, size=32, n_frames=9, sensor=sensor, random_state=0)
    >>> Sensor(psf_sigma=0.5, noise=(10, 20))
    Sensor(psf_sigma=0.5, noise=(10, 20))
    """

    psf_sigma: Annotated[_Range, 0.05, 10.0, "HR pixels"] = (0.1, 1.6)
    psf_variation: Annotated[_Range, 0.0, 0.3, "parts of psf_sigma"] = (0, 0.05)
    raw_pixel: Annotated[_Range, 0.3, 2.0, "LR pixels"] = (0.6, 1.2)
    raw_rotation: Annotated[_Range, -20.0, 20.0, "degrees"] = (-10, 10)
    resampling: str | tuple[str, ...] = RESAMPLINGS
    geolocation_error: Annotated[_Range, 0.0, 2.0, "LR pixels"] = (0.3, 0.6)
    distortion: Annotated[_Range, 0.0, 1.0, "LR pixels"] = (0, 0.3)
    noise: Annotated[_Range, 0.0, 2000.0, "counts of 14 bits"] = (8, 35)
    shot_noise: Annotated[_Range, 0.0, 2000.0, "counts of 14 bits at a signal of 1000"] = (0, 12)
    stripes: Annotated[_Range, 0.0, 0.2, "parts of the signal"] = (0, 0.004)
    dead_pixels: Annotated[_Range, 0.0, 0.1, "parts of the raw pixels"] = (0, 0.0003)
    saturation: Annotated[_Range, 100.0, float(MAX_VALUE), "counts of 14 bits"] = (8000, MAX_VALUE)
    bits: Annotated[int | tuple[int, int], 6, 14, "bits"] = (12, 14)
    gain: Annotated[_Range, 0.0, 0.3, "parts of the signal"] = 0.04
    offset: Annotated[_Range, 0.0, 1000.0, "counts of 14 bits"] = 80
    change: Annotated[_Range, 0.0, 0.9, "parts of a field's radiance"] = (0, 0.3)
    changing_fields: Annotated[_Range, 0.0, 1.0, "parts of the fields"] = (0.1, 0.6)
    water_change: Annotated[_Range, 0.0, 0.9, "parts of the water's extent"] = (0, 0.3)
    shadow_change: Annotated[_Range, 0.0, 1.0, "parts of the shading"] = (0, 0.3)
    missed_clouds: Annotated[_Range, 0.0, 1.0, "parts of the cloudy frames"] = (0, 0.33)
    hr_psf_sigma: Annotated[_Range, 0.05, 10.0, "HR pixels"] = (0.15, 0.6)
    clearance: str = "half"

    def __post_init__(self):
        for name, limits in _limits_of_fields().items():
            object.__setattr__(self, name, checked_range(name, getattr(self, name), *limits))
        object.__setattr__(self, "resampling", _checked_resampling(self.resampling))
        if self.clearance not in tuple(CLEARANCES):
            names = " or ".join(map(repr, CLEARANCES))
            raise ValueError(f"clearance must be {names}, got {self.clearance!r}")

    def __repr__(self):
        given = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields(self)
            if getattr(self, field.name) != field.default
        ]
        return f"Sensor({', '.join(given)})"

    @classmethod
    def preset(cls, name: str, *, scale: int = 3, **changes: Any) -> Sensor:
        """Make a sensor by name.

        Parameters
        ----------
        name : {"any", "plain", "proba-v", "probav-challenge", "sentinel-2", "landsat-8"}
            "any": the defaults of all fields. "plain": as "static" scenes, with a point spread
            function of 0.9 to 1.5 HR pixels, noise and shifts only. The others: see Notes.
        scale : int, default=3
            LR pixel over HR pixel. Point spread functions of real sensors are known in LR pixels.
        **changes
            Fields to replace.

        Returns
        -------
        Sensor

        Raises
        ------
        ValueError
            If there is no such preset.

        Notes
        -----
        "proba-v": bicubic interpolation from raw pixels of 0.6 to 1.15 LR pixels (up to 350 m at
        the edge of the swath), rotated by 8 to 14 degrees (inclination 98.7 degrees, equator to 50
        degrees of latitude); shifts as in "static" scenes; a point spread function of 0.3 to 0.8 HR
        pixels, around the 0.5 estimated from networks trained on the real data set, and of 0.25 to
        0.45 for HR images, estimated from the spectrum of a real one.

        "probav-challenge": "proba-v" with number and clearance of frames as published for the
        PROBA-V challenge: ``clearance="probav-challenge"``.

        "sentinel-2": a response of 0.15 to 0.30 at Nyquist is a Gaussian of 0.54 to 0.39 LR pixels
        beside the pixel's box; 12 bits; geolocation between dates within 5 m (refined) to 12 m (not
        refined) for 95 % [1]_, which is 0.2 to 0.5 pixels of 10 m along an axis.

        "landsat-8": 12 bits, all detectors working, little striping, cubic convolution (USGS
        handbook). A point spread function of 0.3 to 0.45 LR pixels, shifts of 0.1 to 0.3 LR pixels
        and raw pixels of 0.95 to 1.05 are assumptions.

        Change of the land and missed clouds are assumptions, the same for all four.

        References
        ----------
        Those of `Sensor`, and:

        .. [1] ESA, "Forthcoming deployment of the Copernicus Sentinel-2 products geometric
           refinement", 22 March 2021; for the figure before it, CESBIO, "A first peek at new
           Sentinel2 geometric processing", 2021.

        Examples
        --------
        >>> from probav_estimators import Sensor
        >>> Sensor.preset("any", psf_sigma=0.5)
        Sensor(psf_sigma=0.5)
        """
        if name not in PRESETS:
            names = ", ".join(map(repr, PRESETS))
            raise ValueError(
                f"there is no sensor named {name!r}: use one of {names}, or Sensor(...) with "
                "custom fields"
            )
        values: dict[str, Any] = dict(PRESETS[name])
        if "psf_sigma_lr" in values:
            least, greatest = values.pop("psf_sigma_lr")
            values["psf_sigma"] = (round(least * scale, 3), round(greatest * scale, 3))
        return cls(**values | changes)


@cache
def _limits_of_fields():
    hints = get_type_hints(Sensor, include_extras=True)
    return {name: x.__metadata__ for name, x in hints.items() if hasattr(x, "__metadata__")}


_NOTHING_ELSE = {
    "psf_variation": 0.02,
    "resampling": "none",
    "distortion": 0,
    "shot_noise": 0,
    "stripes": 0,
    "dead_pixels": 0,
    "saturation": MAX_VALUE,
    "bits": 14,
    "change": 0,
    "changing_fields": 0,
    "water_change": 0,
    "shadow_change": 0,
    "missed_clouds": 0,
    "hr_psf_sigma": (0.4, 0.6),
}
# Assumptions on seasonal change and missed clouds.
_A_MONTH = {
    "change": (0, 0.2),
    "changing_fields": (0, 0.4),
    "water_change": (0, 0.1),
    "shadow_change": (0, 0.2),
    "missed_clouds": (0, 0.2),
}
# Products resampled to a map grid.
_MAPPED = _A_MONTH | {
    "raw_rotation": (8, 14),
    "resampling": "bicubic",
    "distortion": (0, 0.2),
    "dead_pixels": 0,
    "saturation": (12000, MAX_VALUE),
    "bits": 12,
}

_PROBA_V = _MAPPED | {
    "psf_sigma_lr": (0.1, 0.8 / 3),
    "psf_variation": 0.05,
    "raw_pixel": (0.6, 1.15),
    "geolocation_error": 1.6 / 3,
    "noise": (10, 25),
    "shot_noise": (0, 8),
    "stripes": (0, 0.003),
    "hr_psf_sigma": (0.25, 0.45),
}

#: Fields of each preset that differ from the defaults; `psf_sigma_lr` is in LR pixels.
PRESETS = {
    "any": {},
    "plain": _NOTHING_ELSE
    | {"psf_sigma": (0.9, 1.5), "geolocation_error": 1.6 / 3, "noise": (12, 35)},
    "proba-v": _PROBA_V,
    "probav-challenge": _PROBA_V | {"clearance": "probav-challenge"},
    "sentinel-2": _MAPPED
    | {
        "psf_sigma_lr": (0.39, 0.54),
        "psf_variation": 0.02,
        "raw_pixel": (0.97, 1.03),
        "geolocation_error": (0.2, 0.5),
        "noise": (6, 15),
        "shot_noise": (3, 8),
        "stripes": (0, 0.003),
    },
    "landsat-8": _MAPPED
    | {
        "psf_sigma_lr": (0.3, 0.45),
        "psf_variation": 0.02,
        "raw_pixel": (0.95, 1.05),
        "geolocation_error": (0.1, 0.3),
        "noise": (4, 10),
        "shot_noise": (2, 6),
        "stripes": (0, 0.002),
        "saturation": MAX_VALUE,
    },
}


def sensor_of(sensor: Sensor | str | None, scale: int) -> Sensor | None:
    """Resolve the argument `sensor` of public functions; None for "static"."""
    if sensor is None or isinstance(sensor, Sensor):
        return sensor
    names = ", ".join(map(repr, ("static", *PRESETS)))
    if not isinstance(sensor, str):
        raise ValueError(
            f"sensor must be None, the name of a preset or a Sensor, got {sensor!r}: use one of "
            f"{names} or Sensor(...)"
        )
    if sensor == "static":
        return None
    if sensor not in PRESETS:
        raise ValueError(
            f"sensor={sensor!r} is no preset: use one of {names}, or Sensor(...) with custom fields"
        )
    return Sensor.preset(sensor, scale=scale)


def checked_range(
    name: str, value: Any, least: float, greatest: float, unit: str
) -> float | tuple[float, float]:
    """Return a number or a pair (least, greatest), or raise a ValueError if out of limits."""
    values = value if _is_pair(value) else (value,)
    numbers = [_plain_number(number) for number in values]
    if None in numbers or (name == "bits" and _fractional(numbers)):
        kind = "an integer" if name == "bits" else "a number"
        raise ValueError(
            f"{name} must be {kind} or a pair (least, greatest) of {unit}, got {value!r}"
        )
    if numbers[0] > numbers[-1]:
        raise ValueError(
            f"{name} must be (least, greatest), got {value!r}: give the smaller number first"
        )
    if not least <= numbers[0] <= numbers[-1] <= greatest:
        raise ValueError(
            f"{name} must lie within {least:g} and {greatest:g} {unit}, got {value!r}: give a "
            "number or a pair within these limits"
        )
    return tuple(numbers) if _is_pair(value) else numbers[0]


def _is_pair(value):
    return isinstance(value, list | tuple | np.ndarray) and np.shape(value) == (2,)


def _plain_number(number):
    """Convert to int or float, for printing; None: no number."""
    if isinstance(number, bool) or not isinstance(number, Real):
        return None
    return int(number) if isinstance(number, Integral) else float(number)


def _fractional(numbers):
    return any(number != int(number) for number in numbers)


def _checked_resampling(value):
    methods = (value,) if isinstance(value, str) else value
    known = isinstance(methods, list | tuple) and all(method in RESAMPLINGS for method in methods)
    if not known or not methods:
        raise ValueError(
            f"resampling must be one of {', '.join(map(repr, RESAMPLINGS))} or a tuple of them to "
            f"draw from, got {value!r}"
        )
    return value if isinstance(value, str) else tuple(methods)


def draw(rng, value):
    """Draw a value of a field; always takes one number from the stream."""
    fraction = rng.uniform()
    if not isinstance(value, tuple):
        return value
    return value[0] + fraction * (value[1] - value[0])
