"""Products of several tiles, zones and grids come onto one, and registration is told of it."""

import json
import warnings
from datetime import timedelta

import numpy as np
import pystac
import pytest
from click.testing import CliRunner
from scipy.ndimage import gaussian_filter, uniform_filter

pytest.importorskip("odc.stac")

import rasterio
from _products import day, item, make_hls, make_landsat, make_safe, write_raster
from rasterio.enums import Resampling
from rasterio.transform import rowcol
from rasterio.warp import calculate_default_transform, reproject, transform, transform_bounds

from probav_estimators import BicubicBaseline, open_products, save_model, super_resolve
from probav_estimators.cli import probav
from probav_estimators.geo import read_cube

LEFT, TOP = 600_000, 5_000_040
ZONE, NEXT_ZONE = "EPSG:32633", "EPSG:32634"
WITHOUT_DATUM = (
    'PROJCS["UTM Zone 33, Northern Hemisphere",GEOGCS["Unknown datum based upon the WGS 84 '
    'ellipsoid",DATUM["Not_specified_based_on_WGS_84_spheroid",SPHEROID["WGS 84",6378137,'
    '298.257223563]],PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]],PROJECTION['
    '"Transverse_Mercator"],PARAMETER["latitude_of_origin",0],PARAMETER["central_meridian",15],'
    'PARAMETER["scale_factor",0.9996],PARAMETER["false_easting",500000],PARAMETER['
    '"false_northing",0],UNIT["metre",1]]'
)

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


def quietly(call, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return call(*args, **options)


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

    def test_the_command_tells_it_too(self, zones, tmp_path):
        paths = [str(path) for path in zones[0]]
        box = ",".join(map(str, degrees((30, 30), (40, 40))))
        image = str(tmp_path / "sharp.tif")
        options = ["--weights", "simulated-x2", "--bbox", box, "-o", image, "--json", "--quiet"]
        args = ["super-resolve", *paths, "--bands", "red", *options]
        result = quietly(CliRunner().invoke, probav, args)
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["frames_resampled"] == "3"
        with rasterio.open(image) as file:
            assert file.tags()["frames_resampled"] == "3"

    def test_tiles_of_the_grid_come_before_resampled_ones_of_the_day(self, land, tmp_path):
        paths = [tile(tmp_path, land, number, (0, 0), (120, 60), "T33TWL") for number in range(2)]
        path, values, where = in_next_zone(tmp_path, land, 0, "T32TQR")
        cube = quietly(open_products, [*paths, path], "red")
        assert cube.sizes["time"] == 2 and cube.resampled.values.tolist() == [True, False]
        own = cube.red[0].sel(x=slice(LEFT, LEFT + 600), y=slice(TOP, TOP - 1200))
        np.testing.assert_array_equal(own, seen(land, (0, 0), (120, 60), 0))
        outside = cube.sel(x=slice(LEFT + 600, None))
        np.testing.assert_array_equal(outside.red[0], nearest(values, where, outside))

    def test_resampled_tiles_of_what_a_tile_of_the_grid_shows_are_left_out(self, land, tmp_path):
        """They are of the same day and satellite, and so of the same swath."""
        paths = [tile(tmp_path, land, number, (0, 0), (120, 160), "T33TWL") for number in range(2)]
        paths.append(in_next_zone(tmp_path, land, 0, "T34TBR")[0])
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            cube = open_products(paths, "red", bbox=degrees((20, 20), (60, 60)))
        assert "resampled" not in cube.coords
        assert not any("T34" in names for names in cube.products.values)
        assert "T34" in str(quietly(open_products, paths, "red").products.values)


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

    def test_granules_of_two_tiles_without_the_same_name_of_the_datum(self, land, tmp_path):
        """Granules of L30 have a CRS without a datum, and those of S30 have EPSG's."""
        shape, paths = (48, 60), []
        for number, (corner, crs) in enumerate([((0, 0), WITHOUT_DATUM), ((0, 50), ZONE)]):
            for time in (number, number + 2):
                values = seen(land, corner, shape, time).astype("int16")
                bands = {"B04": values, "Fmask": np.full(shape, 64, "uint8")}
                where = {"corner": at(corner, 30), "crs": crs}
                paths.append(
                    make_hls(tmp_path, day(time), bands, kind="LS"[number] + "30", **where)
                )
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            cube = open_products(paths, "red")
        assert cube.red.shape == (4, 48, 110) and "resampled" not in cube.coords
        np.testing.assert_array_equal(cube.red[3, :, 50:], seen(land, (0, 50), shape, 3))

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

    def test_the_other_hemisphere(self, items):
        expected = open_products(items, "red")
        for asset in items[1].assets.values():
            asset.extra_fields["proj:code"] = "EPSG:32733"
        with pytest.warns(UserWarning, match=r"1 of 3 items say another grid.*L8_1"):
            assert open_products(items, "red").identical(expected)

    def test_masks_inside_of_files_and_another_nodata_value(self, items):
        mask = np.full((40, 50), 255, "uint8")
        mask[3:9, 4:7] = 0
        masked = items[0].assets["red"].href
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(masked, "r+") as file:
            file.nodata = None
            file.write_mask(mask)
        with rasterio.open(items[1].assets["red"].href, "r+") as file:
            file.nodata = int(file.read(1)[20, 20])
            other = file.read(1) == file.nodata
        red = open_products(items, "red").red
        np.testing.assert_array_equal(red[0] == 0, mask == 0)
        np.testing.assert_array_equal(red[1] == 0, other)

    def test_files_on_no_grid(self, items):
        asset = items[2].assets["red"]
        with rasterio.open(asset.href) as file:
            values = file.read(1)
        points = [
            rasterio.control.GroundControlPoint(row, column, 15 + column / 1e4, 45 - row / 1e4)
            for row in (0, 40)
            for column in (0, 50)
        ]
        with rasterio.open(
            asset.href, "w", driver="GTiff", height=40, width=50, count=1, dtype="uint16"
        ) as file:
            file.gcps = (points, "EPSG:4326")
            file.write(values, 1)
        with pytest.raises(ValueError, match=r"L8_2: its asset red.*on no grid.*gdalwarp -r near"):
            open_products(items, "red")


class TestRequest:
    """Grids that are asked for."""

    @pytest.fixture(scope="class")
    def paths(self, land, tmp_path_factory):
        folder = tmp_path_factory.mktemp("request")
        return [tile(folder, land, number, (0, 0), (80, 100), "T33TWL") for number in range(3)]

    def test_bounds_grow_to_whole_pixels_and_may_exceed_the_products(self, paths, land):
        bounds = (LEFT - 35, TOP - 315, LEFT + 205, TOP + 42)
        cube = open_products(paths, "red", bounds=bounds)
        assert cube.red.shape == (3, 37, 25)
        assert (cube.red[:, :5] == 0).all() and (cube.red[:, :, :4] == 0).all()
        np.testing.assert_array_equal(
            cube.red[1, 5:, 4:], seen(land, (0, 0), (80, 100), 1)[:32, :21]
        )

    def test_like_a_file_of_the_same_pixels(self, paths, land, tmp_path):
        like = write_raster(tmp_path / "like.tif", np.ones((20, 30), "uint8"), corner=at((5, 7)))
        cube = open_products(paths, "red", like=like)
        np.testing.assert_array_equal(cube.red[2], seen(land, (0, 0), (80, 100), 2)[5:25, 7:37])
        assert "resampled" not in cube.coords

    def test_like_a_file_between_the_pixels(self, paths, land, tmp_path):
        like = write_raster(tmp_path / "like.tif", np.ones((20, 30), "uint8"), corner=at((4.5, 7)))
        cube = open_products(paths, "red", like=like)
        assert cube.red.shape == (3, 20, 30)
        assert np.abs(cube.offset_down).min() == np.abs(cube.offset_down).max() == 0.5
        row = round(4.5 + float(cube.offset_down[0]))
        whole = seen(land, (0, 0), (80, 100), 0)
        np.testing.assert_array_equal(cube.red[0], whole[row : row + 20, 7:37])

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

    def test_a_resolution(self, paths):
        with pytest.warns(UserWarning, match="another CRS or resolution"):
            cube = open_products(paths, "red", resolution=12.5)
        assert cube.red.shape == (3, 64, 80) and cube.x[1] - cube.x[0] == 12.5

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"bbox": (16, 45, 17, 46), "bounds": (LEFT, TOP - 100, LEFT + 100, TOP)},
                "bbox and bounds both say what part to use: give one",
            ),
            ({"bounds": (5, 4, 3, 2)}, "bounds is .5, 4, 3, 2.*give left, bottom"),
            ({"bounds": (0, 0, 100, 100)}, "bounds is .*of which the files show nothing.*give an"),
            ({"resolution": 50}, "T33TWL.*nearest-neighbour resampling allows a factor of 2: give"),
            ({"resolution": -1}, "resolution is -1: give the size"),
            ({"like": "lost.tif"}, "lost.tif"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, paths, options, message):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            open_products(paths, "red", **options)

    def test_one_command_makes_an_image_like_a_file(self, paths, tmp_path):
        model, image = tmp_path / "baseline.safetensors", tmp_path / "sharp.tif"
        save_model(BicubicBaseline(scale=2), model)
        like = write_raster(tmp_path / "like.tif", np.ones((20, 30), "uint8"), corner=at((4.5, 7)))
        args = [*paths, "--bands", "red", "--like", like, "--weights", model, "-o", image]
        result = CliRunner().invoke(probav, ["super-resolve", *map(str, args), "--quiet"])
        assert result.exit_code == 0, result.output
        with rasterio.open(image) as file, rasterio.open(like) as grid:
            assert file.bounds == grid.bounds and file.shape == (40, 60)


def test_own_cubes_say_which_dates_were_resampled(land):
    """As those of odc-stac or rioxarray, whose dates were put on a grid before."""
    import xarray

    values = np.stack([seen(land, (0, 0), (40, 40), number) for number in range(3)])
    cube = xarray.DataArray(values, dims=("t", "y", "x"))
    marks = {"resampled": ("t", [False, True, True]), "offset_down": ("t", [0, 0.25, 0])}
    read = read_cube(cube.assign_coords(marks))
    assert read.resampled.tolist() == [False, True, True] and read.fractions is None
    read = read_cube(cube.assign_coords(marks | {"offset_right": ("t", np.zeros(3))}))
    np.testing.assert_array_equal(read.fractions, [[0, 0], [0.25, 0], [0, 0]])


def test_a_catalog_of_two_zones(land, tmp_path):
    """Items say the zone of each asset."""
    path, values, where = in_next_zone(tmp_path, land, 1)
    red = next(path.rglob("*_B04_10m.jp2"))
    own = write_raster(tmp_path / "own.tif", seen(land, (0, 0), (120, 160), 0))
    items = [item("33", day(0), {"red": own}), item("34", day(1), {"red": red})]
    for one in items:
        one.assets["red"].extra_fields["raster:bands"] = [
            {"data_type": "uint16", "nodata": 0, "scale": 1e-4}
        ]
    pystac.ItemCollection(items).save_object(str(tmp_path / "items.json"))
    cube = quietly(open_products, tmp_path / "items.json", "red")
    np.testing.assert_array_equal(cube.red[1], nearest(values, where, cube))
