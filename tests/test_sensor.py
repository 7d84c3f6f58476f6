"""Sensor: fields, presets, printing, pickling, refusals."""

import pickle
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest

from probav_estimators import Sensor, make_scenes
from probav_estimators.simulation import PRESETS


@pytest.mark.parametrize(
    "sensor",
    [
        Sensor(),
        Sensor(psf_sigma=0.5, noise=(10, 20)),
        Sensor(resampling=("bicubic", "area"), bits=12),
        *map(Sensor.preset, PRESETS),
    ],
)
def test_a_sensor_prints_as_the_call_that_makes_it_and_pickles(sensor):
    assert eval(repr(sensor), {"Sensor": Sensor}) == sensor
    assert pickle.loads(pickle.dumps(sensor)) == sensor
    assert hash(sensor) == hash(replace(sensor))


def test_numbers_of_numpy_print_as_numbers():
    sensor = Sensor(psf_sigma=np.float32(0.5), noise=np.array([10.0, 20.0]), bits=np.int64(12))
    assert repr(sensor) == "Sensor(psf_sigma=0.5, noise=(10.0, 20.0), bits=12)"


def test_a_sensor_cannot_be_changed_and_takes_names_only():
    with pytest.raises(FrozenInstanceError):
        Sensor().noise = 3
    with pytest.raises(TypeError):
        Sensor(0.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("psf_sigma", 0),
        ("psf_sigma", (1.0, 0.5)),
        ("psf_sigma", "sharp"),
        ("psf_sigma", (0.1, 0.2, 0.3)),
        ("psf_sigma", [0.5]),
        ("noise", -1),
        ("noise", None),
        ("noise", float("nan")),
        ("shot_noise", True),
        ("resampling", "lanczos"),
        ("resampling", ()),
        ("resampling", 3),
        ("raw_pixel", 0.1),
        ("raw_rotation", 45),
        ("bits", 12.5),
        ("bits", (14, 12)),
        ("missed_clouds", 1.5),
        ("saturation", 70000),
    ],
)
def test_bad_values_are_named_with_what_would_be_right(name, value):
    with pytest.raises(ValueError, match=name) as error:
        Sensor(**{name: value})
    assert repr(value) in str(error.value)


@pytest.mark.parametrize("name", ["Sentinel-2", "spot-5", ""])
def test_unknown_presets_are_refused_with_the_names_of_the_known(name):
    with pytest.raises(ValueError, match="static") as error:
        make_scenes(1, size=16, sensor=name)
    assert all(f"'{known}'" in str(error.value) for known in PRESETS)
    with pytest.raises(ValueError, match="'sentinel-2'"):
        Sensor.preset(name)


def test_presets_take_changes():
    assert Sensor.preset("plain", psf_sigma=0.5).psf_sigma == 0.5
    assert Sensor.preset("any") == Sensor()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_sentinel_2_passes_15_to_30_percent_at_nyquist_at_every_scale(scale):
    # MTF at half a cycle per LR pixel: Gaussian PSF times pixel box.
    sigma = np.array(Sensor.preset("sentinel-2", scale=scale).psf_sigma) / scale
    response = np.exp(-2 * (np.pi * sigma * 0.5) ** 2) * np.sinc(0.5)
    assert response == pytest.approx([0.30, 0.15], abs=0.005)


def test_the_range_of_any_passes_16_to_63_percent_at_nyquist():
    sigma = np.array(Sensor().psf_sigma) / 3
    response = np.exp(-2 * (np.pi * sigma * 0.5) ** 2) * np.sinc(0.5)
    assert response == pytest.approx([0.63, 0.16], abs=0.006)


def test_every_field_is_documented_with_its_default():
    for field in fields(Sensor):
        assert f"    {field.name} : " in Sensor.__doc__
        line = Sensor.__doc__.split(f"    {field.name} : ")[1].split("\n")[0]
        default = repr(field.default).replace("'", '"')
        assert line.endswith(f"default={default}")
