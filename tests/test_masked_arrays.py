"""Masked arrays of NumPy, as rasterio reads: what they mask is not used."""

import numpy as np
import pytest

from probav_estimators import Scene, cpsnr, make_scenes, super_resolve
from probav_estimators.metrics import cssim


@pytest.fixture(scope="module")
def scene():
    return make_scenes(1, size=24, n_frames=4, random_state=3)[0]


def masked(values, clear):
    """Values with a fill value where they are masked."""
    return np.ma.masked_array(np.where(clear, values, values.dtype.type(1)), ~clear)


@pytest.mark.parametrize(("value_range", "listed"), [(None, False), ((0, 65535), True)])
def test_masks_of_pixels_are_quality_and_status_maps(scene, value_range, listed):
    lr, hr = (np.uint16(np.rint(x * 65535)) for x in (scene.lr, scene.hr))
    frames = masked(lr, scene.qm)
    found = Scene(
        list(frames) if listed else frames, hr=masked(hr, scene.sm), value_range=value_range
    )
    np.testing.assert_array_equal(found.qm, scene.qm)
    np.testing.assert_array_equal(found.sm, scene.sm)
    expected = Scene(lr, scene.qm, hr, scene.sm, value_range=value_range)
    np.testing.assert_array_equal(found.lr[found.qm], expected.lr[found.qm])
    assert found.norm == pytest.approx(expected.norm)


def test_a_pixel_is_clear_if_no_mask_hides_it(scene):
    half = np.zeros(scene.qm.shape, bool)
    half[:, ::2] = True
    found = Scene(masked(scene.lr, scene.qm), np.ma.masked_array(np.ones_like(half), ~half))
    np.testing.assert_array_equal(found.qm, scene.qm & half)


@pytest.mark.parametrize("metric", [cpsnr, cssim])
def test_metrics_ignore_what_is_masked(scene, metric):
    image = np.clip(scene.hr + 0.01 * np.roll(scene.hr, 1), 0, 1)
    expected = metric(image, scene.hr, scene.sm)
    assert metric(image, masked(scene.hr, scene.sm)) == pytest.approx(expected)
    hidden = np.ones(scene.sm.shape, bool)
    hidden[10:14, 10:14] = False
    both = scene.sm & hidden
    level = np.where(hidden, image, image[hidden].mean())
    expected = metric(level, scene.hr, both)
    assert metric(masked(image, hidden), scene.hr, scene.sm) == pytest.approx(expected)


def test_masks_of_cubes(scene):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("rioxarray")
    cube = xarray.DataArray(scene.lr, dims=("time", "y", "x"))
    mask = np.ma.masked_array(np.ones(scene.qm.shape, bool), ~scene.qm)
    expected = super_resolve(cube, mask=scene.qm)
    np.testing.assert_array_equal(super_resolve(cube, mask=mask), expected)
    with pytest.raises(ValueError, match="masked array of mask_type 'scl'"):
        super_resolve(cube, mask=mask.astype("uint8"), mask_type="scl")


@pytest.mark.parametrize("kind", ["array", "dask", "value_range"])
def test_frames_without_quality_maps_are_told(scene, kind):
    values = np.uint16(scene.lr * 65535)
    if kind == "dask":
        values = pytest.importorskip("dask.array").from_array(values)
    with pytest.warns(UserWarning, match="no quality maps"):
        Scene(values, value_range=(0, 4095) if kind == "value_range" else None)
