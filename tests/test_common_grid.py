"""Files of several grids, which come onto one: by a known shift, or by nearest neighbour."""

import json
import warnings

import _rasters
import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr
from _helpers import quietly
from click.testing import CliRunner
from rasterio.enums import Resampling
from rasterio.transform import rowcol
from rasterio.warp import calculate_default_transform, reproject, transform
from scipy import ndimage

from probav_estimators import BicubicBaseline, open_scene, super_resolve
from probav_estimators.cli import probav
from probav_estimators.geo import Outputs, open_rasters, super_resolve_files
from probav_estimators.scenes import align_scene

LEFT, TOP, PIXEL = 600_000, 5_000_000, 10
ZONE, NEXT_ZONE = "EPSG:32634", "EPSG:32635"

# Land in quarters of a pixel.
FINE = 4


@pytest.fixture(scope="module")
def land():
    noise = ndimage.gaussian_filter(np.random.default_rng(5).standard_normal((480, 480)), 2.0)
    return np.clip(3000 + 1500 * noise / noise.std(), 1, None)


def seen(land, corner, shape=(60, 60), size=1.0):
    """A frame of pixels of `size` whose first one starts at a row and a column of the land."""
    side = round(FINE * size)
    (top, left), (h, w) = (round(FINE * start) for start in corner), shape
    part = land[top : top + h * side, left : left + w * side]
    return noisy(part.reshape(h, side, w, side).mean(axis=(1, 3)), (top, left))


def noisy(frame, seed):
    """Stored values of a frame with noise, without which dates would be copies."""
    noise = np.random.default_rng(seed).normal(0, 20, frame.shape)
    return (frame + noise).clip(1).astype(np.uint16)


def place(corner, size=1.0):
    """Transform of a grid that starts at a row and a column of the land."""
    row, column = corner
    pixel = PIXEL * size
    return rasterio.Affine(pixel, 0, LEFT + PIXEL * column, 0, -pixel, TOP - PIXEL * row)


def write(path, values, where, *, crs=ZONE, nodata=0):
    return _rasters.write(path, values, place=None, transform=where, crs=crs, nodata=nodata)


def write_dates(folder, land, corners, **options):
    return [
        write(folder / f"2024010{number + 1}.tif", seen(land, corner), place(corner), **options)
        for number, corner in enumerate(corners)
    ]


def in_zone(path, land, corner, *, crs=NEXT_ZONE, nodata=0, **options):
    """A file of the land in another CRS."""
    # Pixels of the fine land are taken to the nearest: a quarter of a pixel.
    fine = place((0, 0), 1 / FINE)
    bounds = rasterio.transform.array_bounds(240, 240, place(corner, 1 / FINE))
    where, w, h = calculate_default_transform(ZONE, crs, 240, 240, *bounds, resolution=PIXEL)
    values = np.zeros((h, w), np.uint16)
    smooth = ndimage.uniform_filter(land, FINE).astype(np.uint16)
    reproject(
        smooth,
        values,
        src_transform=fine,
        src_crs=ZONE,
        dst_transform=where,
        dst_crs=crs,
        resampling=Resampling.nearest,
    )
    values[values > 0] = noisy(values[values > 0], 1)
    return write(path, values, where, crs=crs, nodata=nodata, **options), values, where


def nearest(values, where, crs, grid, shape):
    """Values at the centres of the pixels of a grid, and where there are any."""
    rows, columns = np.indices(shape)
    a, _, left, _, e, top = grid[:6]
    xs, ys = left + a * (columns.ravel() + 0.5), top + e * (rows.ravel() + 0.5)
    xs, ys = transform(ZONE, crs, xs, ys)
    rows, columns = (np.array(x).astype(int) for x in rowcol(where, xs, ys))
    inside = (rows >= 0) & (columns >= 0) & (rows < values.shape[0]) & (columns < values.shape[1])
    found = np.zeros(len(rows), values.dtype)
    found[inside] = values[rows[inside], columns[inside]]
    return found.reshape(shape), inside.reshape(shape)


def stored(scene, number, window=(slice(None), slice(None))):
    """Stored values of a frame, 0 where it is not clear."""
    pixels, clear = scene.frames.read([number], window)
    low, high = scene.value_range
    return np.where(clear[0], np.rint(low + (high - low) * pixels[0].astype(float)), 0)


CORNERS = [(10, 10), (10.5, 10.5), (12.25, 9.75), (8.5, 12), (11.5, 11)]


class TestBetweenPixels:
    """Dates of one CRS and resolution, a fraction of a pixel off."""

    def test_pixels_are_read_as_they_are(self, land, tmp_path):
        scene = open_scene(write_dates(tmp_path, land, CORNERS))
        assert scene.shape == (64, 62)
        for number, corner in enumerate(CORNERS):
            values = stored(scene, number)
            np.testing.assert_array_equal(values[values > 0], seen(land, corner).ravel())

    def test_registration_starts_from_the_fraction(self, land, tmp_path):
        scene = open_scene(write_dates(tmp_path, land, CORNERS))
        expected = scene.frames.position_prior.shifts
        fractions = [(0, 0), (-0.5, -0.5), (-0.25, 0.25), (-0.5, 0), (0.5, 0)]
        np.testing.assert_allclose(expected, fractions, atol=1e-9)
        np.testing.assert_allclose(align_scene(scene).shifts, expected, atol=0.05)

    def test_only_what_contradicts_it_is_left_out(self, land, tmp_path):
        paths = write_dates(tmp_path, land, CORNERS)
        write(tmp_path / "20240106.tif", seen(land, (10.75, 10.25)), place((14, 10)))
        scene = open_scene([*paths, str(tmp_path / "20240106.tif")], position_std=0.5)
        with pytest.warns(UserWarning, match=r"1 of 6 frames \(5\) contradict"):
            align_scene(scene)

    def test_the_image_shows_land_where_the_first_date_does(self, land, tmp_path):
        paths, out = write_dates(tmp_path, land, CORNERS), tmp_path / "out.tif"
        super_resolve_files(paths, Outputs(out), "simulated-x2", bbox=box((14, 14), (40, 40)))
        with rasterio.open(out) as file:
            image = file.read(1).astype(float)
            assert file.transform == place((14, 14), 0.5)
        errors = {}
        for down, right in np.ndindex(3, 3):
            corner = [FINE * 14 + step - 1 for step in (down, right)]
            part = land[corner[0] : corner[0] + 160, corner[1] : corner[1] + 160]
            truth = part.reshape(80, 2, 80, 2).mean(axis=(1, 3))
            errors[down - 1, right - 1] = np.square(image - truth)[8:-8, 8:-8].mean()
        # Within an eighth of a pixel.
        assert min(errors, key=errors.get) == (0, 0)


def box(corner, shape):
    """Left, bottom, right and top of rows and columns of the land."""
    (row, column), (h, w) = corner, shape
    left, top = LEFT + PIXEL * column, TOP - PIXEL * row
    return left, top - PIXEL * h, left + PIXEL * w, top


class TestOtherNames:
    """Dates whose CRS have other names or origins, and the same pixels."""

    @pytest.mark.parametrize(
        ("crs", "further"),
        [("EPSG:32734", 10_000_000), ("EPSG:25834", 0)],
    )
    def test_pixels_are_read_as_they_are(self, land, tmp_path, crs, further):
        paths = write_dates(tmp_path, land, CORNERS[:2])
        a, b, left, d, e, top = place((12, 11.25))[:6]
        where = rasterio.Affine(a, b, left, d, e, top + further)
        paths.append(write(tmp_path / "20240103.tif", seen(land, (12, 11.25)), where, crs=crs))
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            scene = open_scene(paths)
        values = stored(scene, 2)
        np.testing.assert_array_equal(values[values > 0], seen(land, (12, 11.25)).ravel())
        np.testing.assert_allclose(scene.frames.position_prior.shifts[2], (0, -0.25), atol=1e-4)

    @pytest.mark.parametrize("size", [1, 2])
    def test_masks_of_the_other_hemisphere(self, land, tmp_path, size):
        paths = write_dates(tmp_path, land, [(10, 10)] * 2)
        clear = np.random.default_rng(0).integers(0, 2, (60 // size,) * 2).astype(np.uint8)
        a, b, left, d, e, top = place((10, 10), size)[:6]
        where = rasterio.Affine(a, b, left, d, e, top + 10_000_000)
        mask = write(tmp_path / "mask.tif", clear, where, crs="EPSG:32734", nodata=None)
        expected = np.broadcast_to(np.kron(clear, np.ones((size, size))), (2, 60, 60)) > 0
        np.testing.assert_array_equal(open_scene(paths, mask=mask).qm, expected)
        with rasterio.open(mask) as file:
            y, x = (top + e * (np.arange(60 // size) + 0.5) for top, e in ((where.f, e), (left, a)))
            array = xr.DataArray(file.read(1), {"y": y, "x": x}, ("y", "x"), attrs={"crs": 32734})
        frames = rioxarray.open_rasterio(paths[0]).expand_dims("time")[:, 0]
        image = super_resolve(frames, BicubicBaseline(scale=2), mask=array)
        np.testing.assert_array_equal(image.n_clear[::2, ::2], expected[0])


class TestResampled:
    """Dates of another CRS or resolution."""

    @pytest.mark.parametrize("nodata", [0, None])
    def test_the_neighbouring_zone(self, land, tmp_path, nodata):
        paths = write_dates(tmp_path, land, CORNERS[:3], nodata=nodata)
        path, values, where = in_zone(tmp_path / "20240104.tif", land, (10, 10), nodata=nodata)
        with pytest.warns(UserWarning, match=r"1 of 4 dates \(3\) are on another CRS .*20240104"):
            scene = open_scene([*paths, path])
        grid = quietly(open_rasters, [*paths, path]).grid
        expected, shown = nearest(values, where, NEXT_ZONE, grid.transform, scene.shape)
        np.testing.assert_array_equal(stored(scene, 3), expected)
        np.testing.assert_array_equal(scene.qm[3], shown if nodata is None else expected > 0)
        window = (slice(5, 40), slice(20, 50))
        np.testing.assert_array_equal(stored(scene, 3, window), expected[window])
        shifts = align_scene(scene).shifts - scene.frames.position_prior.shifts
        assert np.abs(shifts).max() < 0.3

    def test_ten_metres_and_twelve(self, land, tmp_path):
        paths = write_dates(tmp_path, land, CORNERS)
        values = seen(land, (10, 10), (48, 48), 1.25)
        paths.append(write(tmp_path / "20240106.tif", values, place((10, 10), 1.25)))
        scene = quietly(open_scene, paths, position_std=0.5)
        rows = np.floor((np.arange(60) + 0.5) / 1.25).astype(int)
        np.testing.assert_array_equal(stored(scene, 5)[2:62, :60], values[rows][:, rows])
        std = scene.frames.position_prior.std
        np.testing.assert_allclose(std, [0.5] * 5 + [np.hypot(0.5, 0.5)])
        shifts = align_scene(scene).shifts - scene.frames.position_prior.shifts
        assert np.abs(shifts).max() < 0.2

    def test_masks_go_with_their_frames(self, land, tmp_path):
        paths = write_dates(tmp_path, land, CORNERS[:2])
        path, values, where = in_zone(tmp_path / "20240103.tif", land, (10, 10))
        paths.append(path)
        for number, (corner, size) in enumerate(zip(CORNERS[:2], (1, 1), strict=True)):
            name = tmp_path / f"2024010{number + 1}_mask.tif"
            write(name, np.ones((60, 60), np.uint8), place(corner, size), nodata=None)
        mask = np.random.default_rng(0).integers(0, 2, values.shape).astype(np.uint8)
        write(tmp_path / "20240103_mask.tif", mask, where, crs=NEXT_ZONE, nodata=None)
        scene = quietly(open_scene, paths, mask=str(tmp_path / "*_mask.tif"))
        grid = quietly(open_rasters, paths).grid.transform
        clear, _ = nearest(mask * (values > 0), where, NEXT_ZONE, grid, scene.shape)
        np.testing.assert_array_equal(scene.qm[2], clear > 0)
        assert [one.sum() for one in scene.qm[:2]] == [3600, 3600]

    def test_masks_of_another_crs_than_all_frames(self, land, tmp_path):
        paths = write_dates(tmp_path, land, [(10, 10)] * 2)
        path, values, where = in_zone(tmp_path / "m.tif", land, (10, 10))
        mask = np.random.default_rng(0).integers(0, 2, values.shape).astype(np.uint8)
        write(path, mask, where, crs=NEXT_ZONE, nodata=None)
        expected, _ = nearest(mask, where, NEXT_ZONE, place((10, 10)), (60, 60))
        scene = quietly(open_scene, paths, mask=path)
        np.testing.assert_array_equal(scene.qm, np.stack([expected > 0] * 2))

    @pytest.mark.parametrize("size", [1, 2])
    def test_masks_whose_rows_ascend(self, land, tmp_path, size):
        paths = write_dates(tmp_path, land, [(10, 10)] * 2)
        clear = np.random.default_rng(0).integers(0, 2, (60 // size,) * 2).astype(np.uint8)
        a, b, left, d, e, top = place((10, 10), size)[:6]
        where = rasterio.Affine(a, b, left, d, -e, top - 60 * PIXEL)
        mask = write(tmp_path / "m.tif", clear[::-1], where, nodata=None)
        expected = np.kron(clear, np.ones((size, size))) > 0
        np.testing.assert_array_equal(open_scene(paths, mask=mask).qm, np.stack([expected] * 2))

    def test_the_union_of_all_is_the_image_and_names_them(self, land, tmp_path):
        paths = write_dates(tmp_path, land, CORNERS[:3])
        paths.append(in_zone(tmp_path / "20240104.tif", land, (10, 10))[0])
        out = tmp_path / "out.tif"
        result = quietly(super_resolve_files, paths, Outputs(out), "simulated-x2")
        assert result.attrs["frames_resampled"] == "3"
        grid = quietly(open_rasters, paths).grid
        with rasterio.open(out) as file:
            assert file.tags()["frames_resampled"] == "3"
            assert file.shape == (2 * grid.shape[0], 2 * grid.shape[1])
            assert (file.transform.c, file.transform.f) == (grid.transform[2], grid.transform[5])
        left, bottom, right, top = grid.bounds
        assert (left - LEFT) % PIXEL == (TOP - top) % PIXEL == 0
        for path in paths:
            with rasterio.open(path) as file:
                own = rasterio.warp.transform_bounds(file.crs, ZONE, *file.bounds)
            assert left < own[0] + 5.1 and bottom < own[1] + 5.1
            assert right > own[2] - 5.1 and top > own[3] - 5.1


class TestRequest:
    """The grid that is asked for."""

    def test_like_gives_grid_and_footprint(self, land, tmp_path):
        paths = write_dates(tmp_path, land, CORNERS)
        like = write(tmp_path / "like.tif", np.zeros((30, 28), np.uint8), place((20.25, 21)))
        scene = open_scene(paths, like=like)
        assert scene.shape == (30, 28)
        fractions = [[0.25, 0], [-0.25, 0.5], [0, 0.25], [-0.25, 0], [-0.25, 0]]
        np.testing.assert_allclose(scene.frames.position_prior.shifts, fractions, atol=1e-9)
        values = seen(land, CORNERS[2])[8:38, 11:39]
        np.testing.assert_array_equal(stored(scene, 2), values)

    def test_bounds_grow_to_whole_pixels_of_the_first_date(self, land, tmp_path):
        paths = write_dates(tmp_path, land, CORNERS)
        left, bottom, right, top = box((6, 20), (30, 30))
        scene = open_scene(paths, bounds=(left + 3, bottom - 1, right, top - 2))
        assert scene.shape == (31, 30)
        # Pixels within the bounds that no date shows are not clear.
        values = stored(scene, 0)
        assert not values[:4].any()
        np.testing.assert_array_equal(values[4:], seen(land, (10, 10))[:27, 10:40])

    def test_options_of_the_command_line(self, land, tmp_path):
        write_dates(tmp_path, land, CORNERS)
        like = write(tmp_path / "grid.tiff", np.zeros((40, 40), np.uint8), place((14, 14)))
        bounds = ",".join(map(str, box((14, 14), (32, 36))))
        sizes = []
        for number, options in enumerate(
            (["--like", like], ["--bounds", bounds, "--resolution", 12.5])
        ):
            out = tmp_path / f"{number}.tiff"
            args = [str(tmp_path / "2024*.tif"), "-o", out, "--weights", "simulated-x2", "--json"]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = CliRunner().invoke(
                    probav, ["super-resolve", *map(str, [*args, *options])], catch_exceptions=False
                )
            assert result.exit_code == 0, result.output
            with rasterio.open(out) as file:
                sizes.append((file.shape, file.res))
            sizes[-1] += (json.loads(result.stdout)["frames_resampled"],)
        assert sizes == [
            ((80, 80), (5, 5), None),
            ((52, 58), (6.25, 6.25), "0 1 2 3 4"),
        ]


class TestRefused:
    @pytest.fixture
    def paths(self, land, tmp_path):
        return write_dates(tmp_path, land, CORNERS[:2])

    def test_files_that_do_not_touch(self, paths, land, tmp_path):
        far = place((10, 9000))
        path = write(tmp_path / "20240103.tif", seen(land, (10, 10)), far, crs=NEXT_ZONE)
        with pytest.raises(ValueError, match=r"20240103.tif within .*they do not touch"):
            open_scene([*paths, path])

    def test_resolutions_that_differ_by_more_than_a_factor_of_2(self, paths, tmp_path):
        values = np.ones((24, 24), np.uint16)
        path = write(tmp_path / "20240103.tif", values, place((10, 10), 2.5))
        message = r"20240103.tif has pixels 2.5 times .*20240101.tif.*factor of 2"
        with pytest.raises(ValueError, match=message):
            open_scene([*paths, path])

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"bounds": (5, 5, 5, 9)}, "bounds is .*empty"),
            ({"bounds": (1, 2, 3)}, "bounds is .*no box"),
            ({"bounds": box((300, 10), (9, 9))}, r"bounds is .*show nothing: .*20240101.tif"),
            ({"resolution": -10}, "resolution is -10"),
            ({"bounds": box((12, 12), (9, 9)), "window": (slice(9), slice(9))}, "give one of them"),
        ],
    )
    def test_what_does_not_fit(self, paths, options, message):
        with pytest.raises(ValueError, match=message):
            open_scene(paths, **options)

    def test_what_contradicts_the_like_file(self, paths, tmp_path):
        like = write(tmp_path / "like.tif", np.ones((20, 20), np.uint8), place((12, 12)))
        with pytest.raises(ValueError, match=r"like.tif .*contradict each other"):
            open_scene(paths, like=like, resolution=12)
        inside = {"bounds": box((14, 14), (9, 8)), "resolution": 10}
        assert open_scene(paths, like=like, **inside).shape == (9, 8)

    def test_bands_whose_dates_lie_apart(self, land, tmp_path):
        for band, corners in (("B04", [(10, 10), (10.5, 10)]), ("B08", [(10, 10), (10.25, 10)])):
            for date, corner in enumerate(corners, 1):
                name = tmp_path / f"2024010{date}_{band}.tif"
                write(name, seen(land, (10, 10)), place(corner))
        patterns = [str(tmp_path / f"*_{band}.tif") for band in ("B04", "B08")]
        with pytest.raises(ValueError, match=r"20240102_B04.tif and .*20240102_B08.tif lie on"):
            super_resolve_files(patterns, Outputs(tmp_path / "out.tif"), "simulated-x2")
