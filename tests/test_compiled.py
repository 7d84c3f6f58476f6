"""Functions compiled by Numba agree with their Python source, which coverage can follow."""

import sys
from importlib import import_module
from pkgutil import walk_packages

import numba
import numpy as np
import pytest
import torch
from numba.core.dispatcher import Dispatcher
from numpy.testing import assert_allclose

import probav_estimators
from probav_estimators import Sensor, make_scenes
from probav_estimators.architectures import _winograd
from probav_estimators.compiling import njit
from probav_estimators.imaging import register_frames, shift_moments, upscale_bicubic
from probav_estimators.losses import SensorModel, _sensor_products
from probav_estimators.simulation import _shapes


@pytest.fixture(scope="module")
def scene():
    return make_scenes(1, size=24, n_frames=3, random_state=0)[0]


def moments(scene):
    sr = upscale_bicubic(scene.lr[0], 3)
    return shift_moments(sr, scene.hr, scene.sm, 2), shift_moments(sr, scene.hr, 0 * scene.sm, 1)


def upscaled(scene):
    return [upscale_bicubic(scene.lr, scale)[:, 1:-1] for scale in (2, 3)]


def shifts(scene):
    return [register_frames(scene.lr, scene.qm).shifts]


def painted(scene):
    image = np.zeros((12, 14), np.float32)
    corners = np.array([[[1, 1], [1, 9], [8, 11], [9, 2]], [[-3, 5], [-3, 20], [6, 20], [5, 6]]])
    rows = np.array([[0.5, 0.2, 0.3], [0, 0, 0]])
    ramps, grain = np.full((2, 2), 0.01), scene.lr[0, :12, :14]
    tones, strengths = np.array([0.5, 0.8]), np.array([1.0, 0.5])
    _shapes.paint_polygons(image, corners.astype(float), tones, ramps, rows, grain, strengths, 0.5)
    path = _shapes.segments_of(np.array([[1.0, 1], [5, 9], [11, 12]]), 1.2)
    labels = np.zeros((12, 14), np.uint8)
    _shapes.label_polygons(labels, corners.astype(float), np.array([1, 2], np.uint8), 0.5)
    return [image, _shapes.stroke_coverage((12, 14), path, 1.0), labels]


def seen(scene):
    frames = []
    for resampling in ("nearest", "bicubic", "area"):
        sensor = Sensor.preset("any", resampling=resampling, distortion=0.2, change=0.2)
        options = {"size": 8, "scale": 2, "n_frames": 2, "random_state": 0}
        frames.append(make_scenes(1, sensor=sensor, **options)[0].lr)
    return frames


def convolved(_):
    images, skip = torch.linspace(-1, 1, 3 * 7 * 9).reshape(1, 3, 7, 9), torch.ones(1, 4, 7, 9)
    filters, bias = torch.linspace(-2, 1, 4 * 3 * 9).reshape(4, 3, 3, 3), torch.arange(4.0)
    options = ((True, None), (False, skip))
    return [_winograd._convolve(images, filters, bias, *each) for each in options]


def degraded(scene):
    sensor, frames = SensorModel(2), torch.from_numpy(scene.lr[None, :, :9, :7])
    kernels = sensor.kernels(torch.tensor([[[0.1, -0.3], [0, 0.5], [-0.2, 0]]]), sigma=0.3)
    image = _sensor_products.back_project_rows(frames, kernels)
    return [image, _sensor_products.degrade_rows(image, kernels)]


CASES = {
    "architectures._winograd": convolved,
    "imaging._interpolation": upscaled,
    "imaging._metrics": moments,
    "imaging._shift_estimation": shifts,
    "losses._sensor_products": degraded,
    "simulation._raw_grid": seen,
    "simulation._season": seen,
    "simulation._shapes": painted,
}


def compiled_functions(module):
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, Dispatcher) and value.__module__ == module.__name__
    }


def test_every_module_with_compiled_functions_has_a_case():
    found = set()
    for info in walk_packages(probav_estimators.__path__, "probav_estimators."):
        if compiled_functions(import_module(info.name)):
            found.add(info.name.removeprefix("probav_estimators."))
    assert found == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_compiled_and_interpreted_agree(name, scene, monkeypatch):
    module = sys.modules[f"probav_estimators.{name}"]
    compiled = CASES[name](scene)
    called = set()

    def interpreted(name, function):
        def call(*arguments):
            called.add(name)
            return function(*arguments)

        return call

    functions = compiled_functions(module)
    for function, dispatcher in functions.items():
        monkeypatch.setattr(module, function, interpreted(function, dispatcher.py_func))
    for ours, source in zip(CASES[name](scene), compiled, strict=True):
        # Frames may be rounded to a neighbouring value.
        assert_allclose(ours, source, rtol=1e-4, atol=2 / 65535)
    assert called == functions.keys()


def test_without_a_place_for_a_cache_functions_are_compiled_anew():
    names = {}
    # Numba finds no folder for the cache of a text.
    exec("def double(x):\n    return 2 * x", names)
    with pytest.raises(RuntimeError, match="cannot cache"):
        numba.njit(cache=True)(names["double"])
    assert njit(cache=True, nogil=True)(names["double"])(21) == 42
