"""Products of several tiles, zones and grids come onto one, and registration is told of it."""

from datetime import timedelta

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, uniform_filter

pytest.importorskip("odc.stac")

import rasterio
from _helpers import quietly
from _products import day, item, make_landsat, make_safe, write_raster
from rasterio.enums import Resampling
from rasterio.transform import rowcol
from rasterio.warp import calculate_default_transform, reproject, transform, transform_bounds

from probav_estimators import open_products, super_resolve
from probav_estimators.geo import read_cube

LEFT, TOP = 600_000, 5_000_040
ZONE, NEXT_ZONE = "EPSG:32633", "EPSG:32634"

# Land in quarters of a pixel.
FINE = 4


@pytest.fixture(scope="module")
def land():
    noise = gaussian_filter(np.random.default_rng(3).standard_normal((480, 640)), 2.0)
    return (1000 + 2000 * (1 + 0.25 * noise / noise.std())).clip(1100, 5000)


def seen(land, corner, shape, number):
    """Stored values of a frame that starts at a row and a column of the land."""
    (top, left), (h, w) = (round(FINE * start) for start in corner), shape
    part = land[top : top + FINE * h, left : left + FINE * w]
    means = part.reshape(h, FINE, w, FINE).mean(axis=(1, 3))
    noise = np.random.default_rng(number).normal(0, 20, shape)
    return (means + noise).round().astype("uint16")


def at(corner, size=10):
    row, column = corner
    return LEFT + size * column, TOP - size * row


def tile(folder, land, number, start, shape, name, **options):
    """Product of Sentinel-2 of a part of the land."""
    bands = {
        "B04": (10, seen(land, start, shape, number)),
        "SCL": (20, np.full((shape[0] // 2, shape[1] // 2), 4, "uint8")),
    }
    options = {"corner": at(start)} | options
    return make_safe(folder, day(number), bands, tile=name, **options)


def in_next_zone(folder, land, number, name="T34TBR"):
    """Product of the next zone, its values and transform."""
    fine = rasterio.Affine(10 / FINE, 0, LEFT, 0, -10 / FINE, TOP)
    h, w = land.shape
    bounds = rasterio.transform.array_bounds(h, w, fine)
    where, width, height = calculate_default_transform(
        ZONE, NEXT_ZONE, w, h, *bounds, resolution=20
    )
    values = np.zeros((2 * height, 2 * width), "uint16")
    where = rasterio.Affine(10, 0, 20 * round(where.c / 20), 0, -10, 20 * round(where.f / 20))
    reproject(
        uniform_filter(land, FINE).round().astype("uint16"),
        values,
        src_transform=fine,
        src_crs=ZONE,
        dst_transform=where,
        dst_crs=NEXT_ZONE,
        resampling=Resampling.nearest,
    )
    noise = np.random.default_rng(number).normal(0, 20, values.shape)
    values = np.where(values > 0, (values + noise).round(), 0).astype("uint16")
    bands = {"B04": (10, values), "SCL": (20, np.full((height, width), 4, "uint8"))}
    corner = (where.c, where.f)
    path = make_safe(folder, day(number), bands, tile=name, corner=corner, crs=NEXT_ZONE)
    return path, values, where


def nearest(values, where, cube):
    """Values of a frame of the next zone at the centres of the pixels of a cube."""
    xs, ys = np.meshgrid(cube.x, cube.y)
    xs, ys = transform(ZONE, NEXT_ZONE, xs.ravel(), ys.ravel())
    rows, columns = (np.array(one).astype(int) for one in rowcol(where, xs, ys))
    inside = (rows >= 0) & (columns >= 0) & (rows < values.shape[0]) & (columns < values.shape[1])
    found = np.zeros(len(rows), values.dtype)
    found[inside] = values[rows[inside], columns[inside]]
    return found.reshape(cube.sizes["y"], cube.sizes["x"])


def degrees(corner, shape):
    """West, south, east and north of rows and columns of the land."""
    (left, top), (h, w) = at(corner), shape
    return transform_bounds(ZONE, "EPSG:4326", left, top - 10 * h, left + 10 * w, top)


class TestZones:
    """Tiles of two UTM zones."""

    @pytest.fixture(scope="class")
    def zones(self, land, tmp_path_factory):
        folder = tmp_path_factory.mktemp("zones")
        paths = [tile(folder, land, number, (0, 0), (120, 160), "T33TWL") for number in range(3)]
        path, values, where = in_next_zone(folder, land, 3)
        return [*paths, path], values, where

    def test_pixels_are_the_nearest_in_every_window(self, zones):
        paths, values, where = zones
        with pytest.warns(UserWarning, match=r"1 of 4 dates \(3\) are on another CRS.*T34TBR"):
            cube = open_products(paths, "red")
        assert cube.spatial_ref == 32633
        assert cube.resampled.values.tolist() == [False, False, False, True]
        np.testing.assert_array_equal(cube.red[3], nearest(values, where, cube))
        part = quietly(open_products, paths, "red", bbox=degrees((21, 33), (40, 50)))
        same = cube.red.sel(x=part.x, y=part.y)
        np.testing.assert_array_equal(part.red, same)
        assert 50 <= part.sizes["x"] <= 54

    def test_registration_is_told(self, zones):
        cube = quietly(open_products, zones[0], "red")
        prior = read_cube(cube).prior(1.0)
        np.testing.assert_allclose(prior.std, [1, 1, 1, np.hypot(1, 0.5)])
        part = cube.isel(x=slice(20, 120), y=slice(20, 100), time=[0, 3, 1])
        image = super_resolve(part, "simulated-x2")
        assert image.attrs["frames_resampled"] == "1"
        assert image.attrs["frame_placement"] == "registered registered registered"

    def test_tiles_of_the_grid_come_before_resampled_ones_of_the_day(self, land, tmp_path):
        paths = [tile(tmp_path, land, number, (0, 0), (120, 60), "T33TWL") for number in range(2)]
        path, values, where = in_next_zone(tmp_path, land, 0, "T32TQR")
        cube = quietly(open_products, [*paths, path], "red")
        assert cube.sizes["time"] == 2 and cube.resampled.values.tolist() == [True, False]
        own = cube.red[0].sel(x=slice(LEFT, LEFT + 600), y=slice(TOP, TOP - 1200))
        np.testing.assert_array_equal(own, seen(land, (0, 0), (120, 60), 0))
        outside = cube.sel(x=slice(LEFT + 600, None))
        np.testing.assert_array_equal(outside.red[0], nearest(values, where, outside))


class TestOneZone:
    """Tiles, rows and extents of one CRS."""

    def test_landsat_rows_with_other_extents(self, land, tmp_path):
        corners = [(0, 0), (3, 5), (50, 10), (2, 1)]
        shape = (60, 90)
        paths = [
            make_landsat(
                tmp_path,
                day(number),
                {
                    "SR_B4": seen(land, corner, shape, number),
                    "QA_PIXEL": np.full(shape, 21824, "uint16"),
                },
                number=8 + number % 2,
                corner=at(corner, 30),
            )
            for number, corner in enumerate(corners)
        ]
        cube = open_products(paths, "red")
        assert cube.red.shape == (4, 110, 100) and "resampled" not in cube.coords
        for number, (row, column) in enumerate(corners):
            expected = np.zeros((110, 100), "uint16")
            expected[row : row + 60, column : column + 90] = seen(
                land, (row, column), shape, number
            )
            np.testing.assert_array_equal(cube.red[number], expected)

    def test_pixels_between_those_of_the_grid_are_read_as_they_are(self, land, tmp_path):
        corners, shape = [(2, 2), (2.5, 2.25), (4.75, 1.5), (1, 3)], (60, 80)
        items = []
        for number, corner in enumerate(corners):
            classes = np.full((30, 40), 4, "uint8")
            classes[5 + number, 7] = 9
            assets = {
                "red": write_raster(
                    tmp_path / f"{number}_B04.tif",
                    seen(land, corner, shape, number),
                    corner=at(corner),
                ),
                "scl": write_raster(
                    tmp_path / f"{number}_SCL.tif", classes, corner=at(corner), size=20
                ),
            }
            items.append(item(f"S2_{number}", day(number), assets))
        cube = open_products(items, "red")
        fractions = [(0, 0), (0.5, 0.25), (-0.25, -0.5), (0, 0)]
        for number, (corner, fraction) in enumerate(zip(corners, fractions, strict=True)):
            expected = seen(land, corner, shape, number)
            row = 2 * (5 + number)
            expected[row : row + 2, 14:16] = 0
            top, left = np.rint(np.subtract(corner, fraction)).astype(int) - (1, 2)
            np.testing.assert_array_equal(
                cube.red[number, top : top + 60, left : left + 80], expected
            )
        offsets = np.stack([cube.offset_down, cube.offset_right], axis=1)
        np.testing.assert_allclose(offsets, fractions, atol=1e-9)
        image = super_resolve(cube.isel(time=[1, 2, 0, 3]), "simulated-x2")
        shifts = np.stack([image.frame_shifts_down, image.frame_shifts_right], axis=1)
        expected = -np.array(fractions)[[1, 2, 0, 3]]
        np.testing.assert_allclose(shifts - shifts[2], expected - expected[2], atol=0.1)
        assert "registered" in image.frame_placement

    def test_two_passes_on_one_day_are_two_dates(self, land, tmp_path):
        """As in high latitudes, 100 minutes apart; tiles of a pass are seconds apart."""
        first = tile(tmp_path, land, 0, (0, 0), (40, 40), "T33TWL")
        bands = {
            "B04": (10, seen(land, (0, 0), (40, 40), 1)),
            "SCL": (20, np.full((20, 20), 4, "uint8")),
        }
        times = [day(0) + timedelta(minutes=100), day(0) + timedelta(minutes=100, seconds=14)]
        second = make_safe(tmp_path, times[0], bands, tile="T33TWL", corner=at((0, 0)))
        beside = make_safe(tmp_path, times[1], bands, tile="T33TXL", corner=at((0, 40)))
        cube = open_products([beside, second, first], "red")
        assert cube.sizes["time"] == 2
        np.testing.assert_array_equal(cube.red[0, :, :40], seen(land, (0, 0), (40, 40), 0))
        np.testing.assert_array_equal(cube.red[1, :, :40], bands["B04"][1])
        np.testing.assert_array_equal(cube.red[1, :, 40:], bands["B04"][1])

    def test_dates_that_do_not_touch_are_refused(self, land, tmp_path):
        paths = [tile(tmp_path, land, 0, (0, 0), (20, 20), "T33TWL")]
        far = {"corner": (LEFT + 400_000, TOP)}
        paths.append(tile(tmp_path, land, 1, (0, 0), (20, 20), "T33TXX", **far))
        with pytest.raises(ValueError, match=r"T33TWL.*and .*T33TXX.*do not touch: give those"):
            open_products(paths, "red")
        # The area says which are meant.
        cube = open_products(paths, "red", bbox=degrees((2, 2), (10, 10)))
        assert cube.sizes["time"] == 1


class TestItems:
    """Items of catalogs whose metadata say something else than their files."""

    @pytest.fixture
    def items(self, land, tmp_path):
        found = []
        for number in range(3):
            values = seen(land, (0, 0), (40, 50), number)
            assets = {
                "red": write_raster(tmp_path / f"{number}_red.tif", values, size=30),
                "qa_pixel": write_raster(
                    tmp_path / f"{number}_qa.tif", np.full((40, 50), 21824, "uint16"), size=30
                ),
            }
            found.append(item(f"L8_{number}", day(number), assets))
        return found

    def test_half_a_pixel(self, items, land):
        """As where metadata hold the centre of the first pixel in place of its corner."""
        expected = open_products(items, "red")
        for one in items:
            for asset in one.assets.values():
                where = asset.extra_fields["proj:transform"]
                where[2], where[5] = where[2] + 15, where[5] - 15
        with pytest.warns(UserWarning, match=r"3 of 3 items say another grid.*L8_0"):
            cube = open_products(items, "red")
        assert cube.equals(expected)


class TestRequest:
    """Grids that are asked for."""

    @pytest.fixture(scope="class")
    def paths(self, land, tmp_path_factory):
        folder = tmp_path_factory.mktemp("request")
        return [tile(folder, land, number, (0, 0), (80, 100), "T33TWL") for number in range(3)]

    def test_like_a_file_of_the_next_zone(self, paths, tmp_path):
        x, y = (one[0] for one in transform(ZONE, NEXT_ZONE, [LEFT + 300], [TOP - 200]))
        corner = (round(x), round(y))
        like = write_raster(
            tmp_path / "like.tif", np.ones((20, 30), "uint8"), corner=corner, crs=NEXT_ZONE
        )
        with pytest.warns(UserWarning, match=r"3 of 3 dates \(0, 1, 2\) are on another CRS"):
            cube = open_products(paths, "red", like=like)
        assert cube.spatial_ref == 32634 and cube.resampled.all() and (cube.red > 0).all()
        np.testing.assert_allclose([cube.x[0] - 5, cube.y[0] + 5], corner)
