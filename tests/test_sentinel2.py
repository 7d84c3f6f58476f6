"""Real Sentinel-2 dates: the image has their georeference and units, and is sharper."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, zoom

data = pytest.importorskip("nrt.data")
rasterio = pytest.importorskip("rasterio")

from probav_estimators import super_resolve  # noqa: E402

CLOUDED = [0, 1, 3, 8, 9, 10]
BANDS = ["B4", "B8"]


@pytest.fixture(scope="module")
def cube():
    """48 x 48 pixels of 10 m with a road, clearings and forest, on 11 dates of one summer."""
    whole = data.romania_10m(mask_and_scale=False)[[*BANDS, "SCL", "spatial_ref"]].load()
    dates = whole.sel(time=slice("2017-06-15", "2017-10-05"))
    dates = dates.isel(y=slice(0, 48), x=slice(16, 64))
    return dates.sel(time=is_clear(dates).mean(["y", "x"]) > 0.3)


@pytest.fixture(scope="module")
def sharp(cube):
    return super_resolve(cube, "simulated-x3", mask="SCL", return_std=True)


def is_clear(cube):
    return ~cube.SCL.isin(CLOUDED) & (cube[BANDS].to_dataarray() != 0).all("variable")


def mean_of_clear(cube, band):
    return cube[band].where(is_clear(cube)).mean("time").values


def fine_energy(image):
    """Variance of the high-pass filtered image: structure below about 10 m."""
    return np.var(image - gaussian_filter(image, 1.5))


def test_the_image_has_the_corners_and_the_crs_of_the_cube(cube, sharp, tmp_path):
    left, top = float(cube.x[0]) - 5, float(cube.y[0]) + 5
    bounds = (left, top - 480, left + 480, top)
    sharp[BANDS].rio.to_raster(tmp_path / "image.tif")
    with rasterio.open(tmp_path / "image.tif") as file:
        np.testing.assert_allclose(file.bounds, bounds, atol=1e-3)
        assert file.crs.to_epsg() == 3035
        assert file.shape == (144, 144)
        assert file.descriptions == ("B4", "B8")
        assert file.dtypes == ("uint16", "uint16") and file.nodata == 0
        np.testing.assert_array_equal(file.read(2), sharp.B8.values)
    assert sharp.rio.crs == rasterio.CRS.from_wkt(cube.spatial_ref.attrs["spatial_ref"])


@pytest.mark.parametrize("band", BANDS)
def test_the_image_is_in_the_units_of_the_frames(cube, sharp, band):
    medians = cube[band].where(is_clear(cube)).median(["y", "x"])
    assert medians.min() <= np.median(sharp[band]) <= medians.max()
    deviation = sharp[f"{band}_std"].values
    assert np.isfinite(deviation).all()
    # Uncertainty from noise and shifts is positive and below the contrast.
    assert 0 < np.median(deviation) < sharp[band].std()


def test_clear_frames_are_those_of_the_scene_classification(cube, sharp):
    """Each registered frame is counted at its shift, rounded to whole pixels."""
    counted = sharp.n_clear.values[1::3, 1::3].astype(int)
    by_hand = np.zeros((48, 48), int)
    shifts = zip(sharp.frame_shifts_down, sharp.frame_shifts_right, strict=True)
    for clear, shift in zip(is_clear(cube).values, shifts, strict=True):
        if np.isnan(shift).any():
            continue
        rows, columns = (np.arange(48) + round(float(part)) for part in shift)
        inside = np.outer((rows >= 0) & (rows < 48), (columns >= 0) & (columns < 48))
        by_hand += inside & clear[np.ix_(rows.clip(0, 47), columns.clip(0, 47))]
    np.testing.assert_array_equal(counted, by_hand)
    assert counted[8:-8, 8:-8].min() >= 9
    assert (sharp.n_clear == sharp.n_clear[1::3, 1::3].values.repeat(3, 0).repeat(3, 1)).all()


@pytest.mark.parametrize("band", BANDS)
def test_the_image_is_sharper_than_the_mean_and_agrees_with_it(cube, sharp, band):
    image = sharp[band].values.astype(float)
    mean = mean_of_clear(cube, band)
    upscaled = zoom(mean, 3, order=3, mode="nearest", grid_mode=True)
    assert fine_energy(image) > 2 * fine_energy(upscaled)
    coarse = image.reshape(48, 3, 48, 3).mean(axis=(1, 3))
    assert np.corrcoef(coarse[2:-2, 2:-2].ravel(), mean[2:-2, 2:-2].ravel())[0, 1] > 0.9
    assert np.mean(coarse) == pytest.approx(np.mean(mean), rel=0.1)


def test_a_date_that_was_left_out_is_predicted_better_than_by_the_mean(cube):
    """From 20 m to 10 m, against the real 10 m image of the date left out."""
    summer = cube.sel(time=slice("2017-06-15", "2017-08-20"))
    coarse = summer[BANDS].coarsen(y=2, x=2).mean()
    number = 5
    rest = coarse.drop_isel(time=number).assign_coords(spatial_ref=summer.spatial_ref)
    fused = super_resolve(rest, "simulated-x2")
    for band in BANDS:
        truth = summer[band].values[number]
        upscaled = zoom(rest[band].mean("time").values, 2, order=3, mode="nearest", grid_mode=True)
        assert best_error(fused[band].values, truth) < 0.9 * best_error(upscaled, truth)


def best_error(image, truth):
    """RMSE for the best shift, gain and offset."""
    inner = np.s_[6:-6, 6:-6]
    wanted = truth[inner].ravel()
    steps = np.arange(-1, 1.01, 0.125)
    spectrum = np.fft.fft2(np.pad(image.astype(float), 8, mode="reflect"))
    down, right = (np.fft.fftfreq(length) for length in spectrum.shape)
    errors = []
    for row in steps:
        for column in steps:
            turn = np.exp(-2j * np.pi * (row * down[:, None] + column * right))
            moved = np.fft.ifft2(spectrum * turn).real[8:-8, 8:-8][inner].ravel()
            errors.append(wanted.std() * np.sqrt(1 - np.corrcoef(moved, wanted)[0, 1] ** 2))
    return min(errors)
