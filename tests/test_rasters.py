"""GeoTIFFs as scenes: metadata, windowed reading, masks, and invalid files."""

import errno
import http.server
import multiprocessing
import os
import pickle
import re
import resource
import sys
import threading
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from _helpers import open_files
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.rpc import RPC
from rasterio.transform import Affine

from probav_estimators import Scene, open_scene
from probav_estimators.geo import Grid
from probav_estimators.geo._encoding import value_range_of, warn_of_fill
from probav_estimators.geo._rasters import (
    RasterStack,
    open_bands,
    open_masks,
    open_rasters,
)
from probav_estimators.scenes import ArrayStack, MaskStack, Values

LEFT, TOP = 600_000.0, 5_100_000.0
DATES = ("20220304", "20220309", "20220319")
SHAPE = (40, 56)


LINUX = pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="Linux tells what is in use")


def write(path, values, *, size=10, place=(LEFT, TOP), crs="EPSG:32634", tags=None, **options):
    """Write an array (h, w) or (bands, h, w) as a tiled GeoTIFF."""
    values = values if values.ndim == 3 else values[None]
    transform = Affine(size, 0, place[0], 0, -size, place[1])
    scales, offsets = options.pop("scales", None), options.pop("offsets", None)
    descriptions = options.pop("descriptions", None)
    count, height, width = values.shape
    profile = {"driver": "GTiff", "crs": crs, "transform": transform, "tiled": True}
    profile |= {"blockxsize": 16, "blockysize": 16, "dtype": values.dtype.name, "count": count}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        file = rasterio.open(path, "w", height=height, width=width, **(profile | options))
    with file:
        file.write(values)
        if scales is not None:
            file.scales, file.offsets = scales, offsets
        if descriptions is not None:
            file.descriptions = descriptions
        file.update_tags(**(tags or {}))
    return str(path)


def noise(seed, shape=SHAPE, dtype=np.uint16):
    return np.random.default_rng(seed).integers(200, 9000, shape).astype(dtype)


def cut_short(path):
    """Truncate a file, keeping the header and about half of the pixels."""
    with rasterio.open(path) as file:
        profile, values = file.profile, file.read()
    # In a file written in one call, the TIFF directory precedes the pixels.
    with rasterio.open(path, "w", **(profile | {"COPY_SRC_OVERVIEWS": "NO"})) as file:
        file.write(values)
    os.truncate(path, os.path.getsize(path) * 2 // 3)


@pytest.fixture
def folder(tmp_path):
    for seed, date in enumerate(DATES):
        write(tmp_path / f"T34_{date}_B04.tif", noise(seed))
    return tmp_path


@pytest.fixture
def rasters(folder):
    return open_rasters(folder / "*_B04.tif")


def add_masks(folder, name="{}_SCL.tif", dates=DATES, **options):
    """Write 20 m scene classifications: vegetation (4) and cloud (8) at random."""
    for seed, date in enumerate(dates):
        classes = np.random.default_rng(seed).choice(np.uint8([4, 8]), (20, 28))
        write(folder / name.format(date), classes, **({"size": 20} | options))


class TestFiles:
    def test_what_files_have_in_common(self, folder, rasters):
        assert [os.path.basename(path) for path in rasters.first.paths] == [
            f"T34_{date}_B04.tif" for date in DATES
        ]
        crs = CRS.from_epsg(32634).to_wkt()
        assert rasters.grid == Grid((10.0, 0.0, LEFT, 0.0, -10.0, TOP), SHAPE, crs)
        assert list(rasters.bands) == ["B04"] and not rasters.named
        encoding = rasters.encodings["B04"]
        assert (encoding.dtype, encoding.nodata) == (np.uint16, None)
        assert (encoding.scale, encoding.offset) == (1, 0)
        expected = np.array(["2022-03-04", "2022-03-09", "2022-03-19"], "datetime64[D]")
        np.testing.assert_array_equal(rasters.times, expected)

    def test_a_folder_a_list_and_any_depth_are_the_same(self, folder, rasters):
        (folder / "notes.txt").write_text("not a raster")
        (folder / "T34_20220304_B04.tif.aux.xml").write_text("<PAMDataset/>")
        names = [folder / f"T34_{date}_B04.tif" for date in DATES]
        for paths in (folder, str(folder), names, folder / "*.tif*", folder / "**" / "T34*"):
            assert open_rasters(paths).first.paths == rasters.first.paths

    def test_paths_do_not_depend_on_the_working_directory(self, folder, monkeypatch):
        monkeypatch.chdir(folder)
        found = open_rasters("*_B04.tif")
        monkeypatch.chdir("/")
        assert found.first.read([0], (slice(0, 2), slice(0, 2))).shape == (1, 2, 2)

    def test_scale_offset_nodata_and_names_come_from_the_tags(self, tmp_path):
        names = ("B04", "B08")
        for seed, date in enumerate(DATES):
            offsets = (-0.1 * seed, 0)
            path, values = tmp_path / f"{date}.tif", noise(seed, (2, *SHAPE), np.int16)
            tags = {"scales": (1e-4, 2e-4), "offsets": offsets, "descriptions": names}
            write(path, values, nodata=-9999, **tags)
        found = open_rasters(tmp_path)
        assert list(found.bands) == ["B04", "B08"] and found.named
        red, nir = found.encodings.values()
        assert red.nodata == nir.nodata == -9999
        assert (red.scale, nir.scale, nir.offset) == (1e-4, 2e-4, 0)
        np.testing.assert_allclose(red.offset, [0, -0.1, -0.2])

    @pytest.mark.parametrize(
        ("name", "tags", "expected"),
        [
            ("a.tif", {"TIFFTAG_DATETIME": "2021:07:09 10:20:30"}, "2021-07-09T10:20:30"),
            ("S2A_MSIL2A_20220304T100031_N0400_20220304T135000.tif", {}, "2022-03-04T10:00:31"),
            ("LC08_L2SP_185033_20220304_20220310_02_T1_SR_B4.tif", {}, "2022-03-04"),
            ("x_2019-12-31_ndvi.tif", {}, "2019-12-31"),
            ("HLS.S30.T17SLU.2020117T160901.v2.0.B04.tif", {}, "2020-04-26T16:09:01"),
            ("20220304_100031_ps.tif", {}, "2022-03-04T10:00:31"),
            ("a.tif", {"SENSING_TIME": "2020-04-26T16:09:01.12Z"}, "2020-04-26T16:09:01"),
            # The tag has the date of the file, two years after acquisition.
            ("20220304.tif", {"TIFFTAG_DATETIME": "2024:01:01 00:00:00"}, "2022-03-04"),
            # Processed on the next day, or in the evening of the same one.
            ("20220304.tif", {"TIFFTAG_DATETIME": "2022:03:05 01:00:00"}, "2022-03-04"),
            ("20220304.tif", {"TIFFTAG_DATETIME": "2022:03:04 21:00:00"}, "2022-03-04T21:00:00"),
            ("id_99999999_12345678.tif", {}, None),
            ("19010101.tif", {}, None),
            ("frame_1.tif", {}, None),
        ],
    )
    def test_dates(self, tmp_path, name, tags, expected):
        path = write(tmp_path / name, noise(0), tags=tags)
        with pytest.warns(UserWarning, match="one file"):
            times = open_rasters(path).times
        assert times is None if expected is None else times == [np.datetime64(expected)]

    def test_dates_of_folders(self, tmp_path):
        for date in DATES:
            (tmp_path / date).mkdir()
            write(tmp_path / date / "red.tif", noise(0))
        times = open_rasters(tmp_path / "*" / "red.tif").times
        assert times.astype("datetime64[D]").astype(str).tolist()[0] == "2022-03-04"

    def test_dates_are_known_of_all_frames_or_of_none(self, folder):
        write(folder / "T34_later_B04.tif", noise(4))
        assert open_rasters(folder).times is None

    def test_pictures_are_told(self, tmp_path):
        picture = noise(0, (3, *SHAPE), np.uint8)
        for name in "ab":
            write(tmp_path / f"{name}.tif", picture, photometric="RGB")
        with pytest.warns(UserWarning, match=r"a.tif is a picture of 8 bits"):
            open_rasters(tmp_path)
        for name in "ab":
            write(tmp_path / f"{name}.tif", picture, photometric="MINISBLACK")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            open_rasters(tmp_path)

    def test_images_that_lie_nowhere(self, tmp_path):
        for name in "ab":
            write(tmp_path / f"{name}.tif", noise(0), crs=None, place=(0, 0), transform=None)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = open_rasters(tmp_path)
        assert not found.grid.placed


class TestWindows:
    def test_a_window_moves_the_grid(self, folder):
        found = open_rasters(folder, window=(slice(5, 25), slice(7, None)))
        assert found.grid.shape == (20, 49)
        assert found.grid.bounds == (LEFT + 70, TOP - 250, LEFT + 560, TOP - 50)
        stored = found.first.read([2, 0], (slice(1, 4), slice(2, 9)))
        np.testing.assert_array_equal(stored, np.stack([noise(2), noise(0)])[:, 6:9, 9:16])

    @pytest.mark.parametrize(
        ("bbox", "rows", "columns"),
        [
            ((LEFT + 100, TOP - 200, LEFT + 300, TOP - 50), (5, 20), (10, 30)),
            ((LEFT + 101, TOP - 201, LEFT + 299, TOP - 59), (5, 21), (10, 30)),
            ((LEFT - 1e4, TOP - 25, LEFT + 12, TOP + 1e4), (0, 3), (0, 2)),
        ],
    )
    def test_a_bbox_takes_all_pixels_that_it_touches(self, folder, bbox, rows, columns):
        found = open_rasters(folder, bbox=bbox)
        assert found.origin == (rows[0], columns[0])
        assert found.grid.shape == (rows[1] - rows[0], columns[1] - columns[0])

    def test_a_bbox_of_images_whose_first_row_is_south(self, tmp_path):
        for name in "ab":
            up = Affine(10, 0, LEFT, 0, 10, TOP)
            write(tmp_path / f"{name}.tif", noise(0), transform=up)
        found = open_rasters(tmp_path, bbox=(LEFT, TOP + 20, LEFT + 30, TOP + 50))
        assert (found.origin, found.grid.shape) == ((2, 0), (3, 3))

    def test_a_bbox_elsewhere(self, folder):
        with pytest.raises(ValueError, match=r"bbox is \(0, 0, 9, 9\).*600000.*do not overlap"):
            open_rasters(folder, bbox=(0, 0, 9, 9))

    @pytest.mark.parametrize("bbox", [(9, 0, 0, 9), (0, 0, np.nan, 9), (0, 0, 9)])
    def test_a_bbox_has_an_order(self, folder, bbox):
        with pytest.raises(ValueError, match="give left, bottom, right, top"):
            open_rasters(folder, bbox=bbox)

    @pytest.mark.parametrize(
        "window",
        [(slice(0, 41), slice(0, 5)), (slice(-3, None), slice(None)), (slice(9, 9), slice(None))],
    )
    def test_a_window_out_of_range(self, folder, window):
        with pytest.raises(ValueError, match=r"B04.tif has 40 rows and 56 columns"):
            open_rasters(folder, window=window)

    def test_one_of_both(self, folder):
        with pytest.raises(ValueError, match="give one of them"):
            open_rasters(folder, window=(slice(9), slice(9)), bbox=(0, 0, 1, 1))


class TestStacks:
    def test_values_are_those_of_rasterio(self, tmp_path):
        paths = [
            write(tmp_path / f"{seed}.tif", noise(seed, (2, *SHAPE), np.int16)) for seed in (0, 1)
        ]
        stack = open_rasters(paths).bands["2"]
        assert (stack.shape, stack.dtype) == ((2, *SHAPE), np.int16)
        stored = stack.read([1, 0, 1], (slice(13, 29), slice(3, 40)))
        for values, number in zip(stored, [1, 0, 1], strict=True):
            with rasterio.open(paths[number]) as file:
                np.testing.assert_array_equal(values, file.read(2)[13:29, 3:40])
        assert stack.read([], (slice(0, 4), slice(0, 4))).shape == (0, 4, 4)
        assert stack.where(1) == f"{paths[1]}, band 2"

    def test_pickles_as_its_paths(self, rasters):
        stack, part = rasters.first, (slice(0, 9), slice(0, 9))
        before = stack.read([0], part)
        assert len(pickle.dumps(stack)) < 2000
        again = pickle.loads(pickle.dumps(stack))
        np.testing.assert_array_equal(again.read([0], part), before)

    def test_a_file_that_is_written_again_is_opened_again(self, rasters):
        stack, part = rasters.first, (slice(0, 9), slice(0, 9))
        stack.read([0], part)
        write(rasters.first.paths[0], noise(7))
        np.testing.assert_array_equal(stack.read([0], part)[0], noise(7)[part])

    def test_a_fork_reads_for_itself(self, rasters):
        stack, expected = rasters.first, np.stack([noise(seed) for seed in range(3)])
        stack.read([0, 1, 2], (slice(0, 9), slice(0, 9)))
        with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
            parts = list(pool.map(partial(_read_rows, stack), range(0, 40, 4), timeout=60))
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), expected)

    def test_threads_read_for_themselves(self, rasters):
        stack, expected = rasters.first, np.stack([noise(seed) for seed in range(3)])
        with ThreadPoolExecutor(4) as pool:
            parts = list(pool.map(partial(_read_rows, stack), 5 * list(range(0, 40, 4))))
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), np.tile(expected, (1, 5, 1)))

    @LINUX
    def test_memory_does_not_grow_with_the_images(self, tmp_path):
        paths = [str(tmp_path / f"{number}.tif") for number in range(8)]
        for path in paths:
            sparse(path, (8192, 4096), (256, 256))
        stack = open_rasters(paths).first
        stack.read(range(8), (slice(0, 256), slice(0, 256)))
        before = memory_in_use()
        for row in range(0, 8192, 512):
            stack.read(range(8), (slice(row, row + 512), slice(0, 4096)))
        # One window has 34 MB, decoded blocks are kept up to 134 MB, all files have 540 MB.
        assert memory_in_use() - before < 250e6


def sparse(path, shape, block):
    """Write a tiled file of a few kB without any pixel."""
    grid = {"crs": "EPSG:32634", "transform": Affine(10, 0, LEFT, 0, -10, TOP)}
    tiles = {"tiled": True, "blockysize": block[0], "blockxsize": block[1], "sparse_ok": True}
    kind = {"driver": "GTiff", "count": 1, "dtype": "uint16", "compress": "deflate"}
    with rasterio.open(path, "w", height=shape[0], width=shape[1], **grid, **tiles, **kind):
        pass
    return str(path)


def fill_places(others):
    """Open files until the process has no place for another."""
    with suppress(OSError):
        while True:
            others.append(os.open(os.devnull, os.O_RDONLY))


def memory_in_use():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _read_rows(stack, row):
    return stack.read([0, 1, 2], (slice(row, row + 4), slice(0, 56)))


class TestScenes:
    def test_pixels_are_the_stored_values(self, folder):
        add_masks(folder)
        scene = open_scene(folder / "*_B04.tif", mask=folder / "*_SCL.tif")
        assert isinstance(scene, Scene)
        assert (len(scene), scene.shape, scene.name, scene.band) == (3, SHAPE, "T34", None)
        assert scene.value_range == (0, 65535)
        expected = np.stack([noise(seed) for seed in range(3)]) / 65535
        np.testing.assert_allclose(scene.lr, expected, atol=1e-6)
        classes = [np.random.default_rng(seed).choice([4, 8], (20, 28)) for seed in range(3)]
        np.testing.assert_array_equal(scene.qm, np.kron(classes, np.ones((2, 2))) == 4)
        again = pickle.loads(pickle.dumps(scene))
        np.testing.assert_array_equal(again.lr, scene.lr)

    def test_a_band_is_told_by_number_or_name(self, tmp_path):
        for date in DATES:
            values = np.stack([noise(0), noise(1)])
            write(tmp_path / f"{date}.tif", values, nodata=0, descriptions=("red", "nir"))
        by_name, by_number = open_scene(tmp_path, band="nir"), open_scene(tmp_path, band=2)
        assert by_name.band == by_number.band == "nir"
        np.testing.assert_allclose(by_name.lr[0], noise(1) / 65535, atol=1e-6)
        np.testing.assert_array_equal(by_name.lr, by_number.lr)
        for band in (None, "blue", 3, 0):
            with pytest.raises(ValueError, match=r"has the bands 1 \(red\), 2 \(nir\): give"):
                open_scene(tmp_path, band=band)

    def test_physical_values_have_the_range(self, tmp_path):
        for seed, date in enumerate(DATES):
            values = noise(seed, SHAPE, np.int16)
            values[:2] = -9999
            tags = {"scales": (1e-4,), "offsets": (-0.1,), "nodata": -9999}
            write(tmp_path / f"{date}.tif", values, **tags)
        scene = open_scene(tmp_path)
        assert scene.value_range == pytest.approx((-0.1, 3.1767))
        physical = noise(1, SHAPE, np.int16) * 1e-4 - 0.1
        low, high = scene.value_range
        np.testing.assert_allclose((scene.lr[1] * (high - low) + low)[2:], physical[2:], atol=1e-5)
        assert not scene.qm[:, :2].any() and scene.qm[:, 2:].all()

    def test_arguments_override_tags(self, rasters):
        scales = [1e-4, 1e-4, 2e-4]
        scene = open_scene(
            rasters.first.paths, scale_factor=scales, add_offset=-0.1, nodata=noise(0)[3, 4]
        )
        values = scene.frames.values
        assert (values.offset, values.scale.tolist()) == (-0.1, scales)
        assert values.value_range == scene.value_range == pytest.approx((-0.1, 6.4535))
        assert not scene.qm[0, 3, 4]
        low, high = scene.value_range
        physical = noise(2) * 2e-4 - 0.1
        np.testing.assert_allclose(scene.lr[2] * (high - low) + low, physical, atol=1e-5)

    @pytest.mark.parametrize("bad", [[1, 2], np.nan, 0])
    def test_factors_are_numbers(self, rasters, bad):
        with pytest.raises(ValueError, match="scale_factor is"):
            open_rasters(rasters.first.paths, scale_factor=bad)

    def test_without_anything_that_tells_what_is_clear(self, folder):
        told = (
            "neither a mask nor a nodata value: every pixel is taken as clear.*pass mask or nodata"
        )
        with pytest.warns(UserWarning, match=told):
            scene = open_scene(folder)
        assert scene.qm.all()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            open_scene(folder, nodata=0)

    def test_no_pixel_is_read_before_it_is_asked_for(self, folder):
        cut_short(folder / f"T34_{DATES[1]}_B04.tif")
        scene = open_scene(folder, nodata=0)
        assert scene.frames.shape == SHAPE
        pickle.dumps(scene)
        with pytest.raises(OSError, match=r"T34_20220309_B04.tif cannot be read.*fetch it again"):
            _ = scene.lr

    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            (["lake_20220304_B04", "lake_20220309_B04"], "lake"),
            (["20220304", "20220309"], "dates"),
            (["lake_1", "lake_2"], "lake"),
            (["2022-03-04_red", "2022-03-09_red"], "dates"),
        ],
    )
    def test_names(self, tmp_path, names, expected):
        (tmp_path / "dates").mkdir()
        for name in names:
            write(tmp_path / "dates" / f"{name}.tif", noise(0))
        assert open_scene(tmp_path / "dates", nodata=0).name == expected


class TestMasks:
    def quality_maps(self, rasters, mask, mask_type=None):
        masks = open_masks(mask, mask_type, rasters)
        h, w = rasters.grid.shape
        whole = masks.read(range(len(rasters)), (slice(0, h), slice(0, w)))
        part = masks.read([1], (slice(3, h), slice(5, 8)))
        np.testing.assert_array_equal(part[0], whole[1, 3:, 5:8])
        return whole

    def clear(self, seeds=(0, 1, 2)):
        classes = [np.random.default_rng(seed).choice([4, 8], (20, 28)) for seed in seeds]
        return np.kron(classes, np.ones((2, 2))) == 4

    @pytest.mark.parametrize(("row", "column"), [(0, 0), (5, 7), (4, 9), (39, 55)])
    def test_windows_start_anywhere_in_a_mask_pixel(self, folder, row, column):
        add_masks(folder)
        window = slice(row, None), slice(column, None)
        found = open_rasters(folder / "*_B04.tif", window=window)
        masks = open_masks(folder / "*_SCL.tif", "scl", found)
        h, w = found.grid.shape
        read = masks.read([0, 1, 2], (slice(0, h), slice(0, w)))
        np.testing.assert_array_equal(read, self.clear()[:, row:, column:])

    def test_masks_of_a_larger_place(self, tmp_path):
        for seed, date in enumerate(DATES):
            write(tmp_path / f"{date}_B04.tif", noise(seed, (9, 11)), place=(LEFT + 50, TOP - 30))
        add_masks(tmp_path)
        found = open_rasters(tmp_path / "*_B04.tif")
        read = self.quality_maps(found, tmp_path / "*_SCL.tif")
        np.testing.assert_array_equal(read, self.clear()[:, 3:12, 5:16])

    def test_masks_are_matched_by_date(self, folder, rasters):
        add_masks(folder)
        paths = [folder / f"{date}_SCL.tif" for date in DATES]
        for order in ([2, 0, 1], [1, 0, 2]):
            read = self.quality_maps(rasters, [paths[number] for number in order])
            np.testing.assert_array_equal(read, self.clear())

    def test_masks_of_more_dates_serve(self, folder):
        add_masks(folder)
        found = open_rasters([folder / f"T34_{date}_B04.tif" for date in DATES[1:]])
        read = self.quality_maps(found, folder / "*_SCL.tif")
        np.testing.assert_array_equal(read, self.clear((1, 2)))

    def test_masks_without_dates_are_in_order(self, folder, rasters):
        add_masks(folder, "mask_{}_scl.tif", dates="abc")
        read = self.quality_maps(rasters, folder / "*_scl.tif")
        np.testing.assert_array_equal(read, self.clear())

    def test_one_mask_for_all(self, folder, rasters):
        add_masks(folder, dates=DATES[:1])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read = self.quality_maps(rasters, folder / "20220304_SCL.tif")
        np.testing.assert_array_equal(read, self.clear((0, 0, 0)))

    @pytest.mark.parametrize(
        ("name", "value", "cloud"),
        [
            ("T33_{}_SCL_20m.tif", 6, 3),
            ("LC08_{}_QA_PIXEL.tif", 21824, 22280),
            ("HLS.S30.{}.v2.0.Fmask.tif", 64, 2),
            ("{}_omnicloudmask_v1.tif", 0, 1),
            ("{}_OCM.tif", 0, 3),
            ("{}_clear.tif", 1, 0),
        ],
    )
    def test_kinds_are_told_by_names(self, folder, rasters, name, value, cloud):
        for date in DATES:
            classes = np.full(SHAPE, value, np.uint16)
            classes[:7] = cloud
            write(folder / name.format(date), classes)
        read = self.quality_maps(rasters, folder / name.format("*"))
        assert not read[:, :7].any() and read[:, 7:].all()

    def test_a_function_as_kind(self, folder, rasters):
        add_masks(folder)
        read = self.quality_maps(rasters, folder / "*_SCL.tif", lambda values: values == 8)
        np.testing.assert_array_equal(read, ~self.clear())

    @pytest.mark.parametrize(
        ("mask_type", "nodata", "clear_where_it_is"),
        [(None, 255, False), ("scl", 99, False), ("omnicloudmask", 0, True), (None, 1, True)],
    )
    def test_nodata_of_masks_is_not_clear_unless_it_is_a_clear_class(
        self, folder, rasters, mask_type, nodata, clear_where_it_is
    ):
        """A tag that is one of the classes, as GDAL's tools set by default, means that class."""
        values = np.full(SHAPE, {None: 1, "scl": 4, "omnicloudmask": 0}[mask_type], np.uint8)
        values[:9] = nodata
        for date in DATES:
            write(folder / f"{date}_m.tif", values, nodata=nodata)
        read = self.quality_maps(rasters, folder / "*_m.tif", mask_type)
        assert read[:, 9:].all() and (read[:, :9] == clear_where_it_is).all()
        if mask_type is None:
            read = self.quality_maps(rasters, folder / "*_m.tif", lambda values: values < 300)
            np.testing.assert_array_equal(read, np.stack([values != nodata] * 3))

    def test_a_mask_that_lies_nowhere_is_matched_by_size(self, folder):
        add_masks(folder, crs=None, transform=None)
        window = slice(3, 20), slice(9, 30)
        found = open_rasters(folder / "*_B04.tif", window=window)
        read = self.quality_maps(found, folder / "*_SCL.tif")
        np.testing.assert_array_equal(read, self.clear()[:, 3:20, 9:30])

    def test_it_pickles(self, folder, rasters):
        add_masks(folder)
        masks = pickle.loads(pickle.dumps(open_masks(folder / "*_SCL.tif", "scl", rasters)))
        np.testing.assert_array_equal(
            masks.read([0], (slice(0, 40), slice(0, 56))), self.clear([0])
        )

    def test_unknown_kinds_are_refused_before_files_are_looked_for(self, rasters):
        with pytest.raises(ValueError, match=r"mask_type is 'clouds': give one of 'scl'"):
            open_masks("nowhere/*.tif", "clouds", rasters)

    def test_values_that_are_no_classes_name_their_file(self, folder, rasters):
        add_masks(folder)
        write(folder / "20220309_SCL.tif", np.full((20, 28), 77, np.uint8), size=20)
        masks = open_masks(folder / "*_SCL.tif", None, rasters)
        with pytest.raises(ValueError, match=r"20220309_SCL.tif has the values 77"):
            masks.read([0, 1], (slice(0, 4), slice(0, 4)))

    def refused(self, folder, rasters, match, **options):
        add_masks(folder, **options)
        with pytest.raises(ValueError, match=match):
            open_masks(folder / "*_SCL.tif", "scl", rasters)

    def test_too_few(self, folder, rasters):
        match = r"mask has 2 dates and there are 3 frames.*date of .*T34_20220319_B04.tif"
        self.refused(folder, rasters, match, dates=DATES[:2])

    def test_too_few_without_dates(self, folder, rasters):
        match = r"mask has 2 dates and there are 3 frames, .*20220319_B04.tif is the first without"
        self.refused(folder, rasters, match, dates="ab")

    def test_other_dates(self, folder, rasters):
        match = "none has the date of .*20220304_B04.tif, 2022-03-04"
        self.refused(folder, rasters, match, dates=("20220401", "20220402", "20220403"))

    def test_elsewhere(self, folder, rasters):
        match = r"SCL.tif lies within \(900000.*does not cover.*B04.tif that is used, \(600000"
        self.refused(folder, rasters, match, place=(LEFT + 3e5, TOP))

    def test_of_another_crs(self, folder, rasters):
        match = "B04.tif and .*SCL.tif.*EPSG:32634 and EPSG:32633"
        self.refused(folder, rasters, match, crs="EPSG:32633")

    def test_between_pixels(self, folder, rasters):
        match = "lie on different grids"
        self.refused(folder, rasters, match, place=(LEFT - 4, TOP + 4), size=22.0 - 2)

    def test_with_pixels_of_no_whole_size(self, folder, rasters):
        match = "pixels of 25 and .* of 10: each pixel of a mask covers a whole number"
        self.refused(folder, rasters, match, size=25)

    def test_with_finer_pixels(self, folder, rasters):
        self.refused(folder, rasters, "pixels of 5 and .* of 10", size=5)

    def test_with_several_bands(self, folder, rasters):
        for date in DATES:
            write(folder / f"{date}_SCL.tif", np.ones((2, *SHAPE), np.uint8))
        with pytest.raises(ValueError, match=r"SCL.tif has the bands 1, 2, and a mask has one"):
            open_masks(folder / "*_SCL.tif", "scl", rasters)


class TestValidity:
    """Masks that files have of themselves."""

    def masked(self, path, values, valid, kind):
        """Write values with a mask inside the file, a mask beside it, or an alpha band."""
        if kind == "alpha":
            alpha = np.where(valid, 255, 0).astype(values.dtype)
            return write(path, np.stack([values, alpha]), alpha="yes")
        write(path, values)
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=kind == "inside"),
            rasterio.open(path, "r+") as file,
        ):
            file.write_mask(valid)
        return str(path)

    @pytest.mark.parametrize("kind", ["inside", "beside", "alpha"])
    def test_pixels_without_data_are_not_clear(self, tmp_path, kind):
        valid = np.random.default_rng(3).random((3, *SHAPE)) < 0.7
        valid[0] = True
        for seed, date in enumerate(DATES):
            self.masked(tmp_path / f"{date}_B04.tif", noise(seed), valid[seed], kind)
        add_masks(tmp_path)
        assert (kind == "beside") == bool(list(tmp_path.glob("*.msk")))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            scene = open_scene(tmp_path / "*_B04.tif", band=1)
        np.testing.assert_array_equal(scene.qm, valid)
        np.testing.assert_allclose(scene.lr[2], noise(2) / 65535, atol=1e-6)
        window = slice(7, 31), slice(2, 45)
        options = {"mask": tmp_path / "*_SCL.tif", "window": window}
        scene = pickle.loads(pickle.dumps(open_scene(tmp_path / "*_B04.tif", **options)))
        classes = [np.random.default_rng(seed).choice([4, 8], (20, 28)) for seed in range(3)]
        clear = np.kron(classes, np.ones((2, 2))) == 4
        np.testing.assert_array_equal(scene.qm, (valid & clear)[:, *window])

    def test_of_several_bands_each_has_its_own(self, tmp_path):
        valid = np.random.default_rng(3).random((2, *SHAPE)) < 0.7
        for band, own in zip(("B04", "B08"), valid, strict=True):
            for seed, date in enumerate(DATES):
                self.masked(tmp_path / f"{date}_{band}.tif", noise(seed), own, "inside")
        found = open_bands([tmp_path / "*_B04.tif", tmp_path / "*_B08.tif"], None)
        assert list(found.bands) == ["B04", "B08"]
        for band, own in zip(found.bands, valid, strict=True):
            np.testing.assert_array_equal(found.scene(band, None).qm, np.stack([own] * 3))

    def test_alpha_is_no_band(self, tmp_path):
        values = noise(0, (4, *SHAPE), np.uint16)
        paths = [write(tmp_path / f"{k}.tif", values, alpha="yes") for k in range(2)]
        assert list(open_rasters(paths).bands) == ["1", "2", "3"]

    def test_numbers_of_colours_are_no_values(self, folder, rasters):
        classes = np.where(noise(0) % 2, 4, 8).astype(np.uint8)
        for date in DATES:
            path = write(folder / f"{date}_SCL.tif", classes, photometric="palette")
            with rasterio.open(path, "r+") as file:
                file.write_colormap(1, {4: (0, 255, 0), 8: (255, 255, 255)})
        with pytest.raises(ValueError, match=r"20220304_SCL.tif holds .*gdal_translate -expand"):
            open_rasters(folder / "*_SCL.tif")
        read = open_masks(folder / "*_SCL.tif", None, rasters)
        clear = read.read([0], (slice(0, 40), slice(0, 56)))
        np.testing.assert_array_equal(clear[0], classes == 4)


class TestFilesThatDoNotFit:
    @pytest.mark.parametrize("paths", ["*_B99.tif", [], "nothing/**/*.tif"])
    def test_no_file(self, tmp_path, paths):
        paths = tmp_path / paths if isinstance(paths, str) else paths
        with pytest.raises(FileNotFoundError, match="there is no raster file"):
            open_rasters(paths, name="frames")
        with pytest.raises(FileNotFoundError, match="there is no raster file"):
            open_rasters(tmp_path)

    def test_a_missing_file(self, folder):
        with pytest.raises(FileNotFoundError, match=r"gone.tif does not exist"):
            open_rasters([folder / f"T34_{DATES[0]}_B04.tif", folder / "gone.tif"])

    def test_no_raster(self, folder):
        (folder / "T34_20220401_B04.tif").write_text("hello")
        with pytest.raises(ValueError, match=r"T34_20220401_B04.tif is no raster, or is cut short"):
            open_rasters(folder)

    @pytest.mark.parametrize(
        ("values", "options", "match"),
        [
            (noise(0, (2, *SHAPE)), {}, "number of bands, 1 and 2"),
            (noise(0, SHAPE, np.int16), {}, "type, uint16 and int16"),
            (noise(0), {"nodata": 0}, "nodata value, None and 0.0"),
        ],
    )
    def test_frames_that_differ(self, folder, values, options, match):
        write(folder / "T34_20220401_B04.tif", values, **options)
        with pytest.raises(ValueError, match=match) as caught:
            open_rasters(folder)
        for date in (DATES[0], "20220401"):
            assert f"T34_{date}_B04.tif" in str(caught.value)

    @pytest.mark.parametrize(
        ("dtype", "tags", "given"),
        [
            ("int32", (-1, None, 7), 300),
            ("uint8", (255, 0, 0), {"B04": 0}),
            ("int16", (0, 1, 0), 1),
        ],
    )
    def test_an_argument_settles_nodata_values_that_differ(self, tmp_path, dtype, tags, given):
        for seed, (date, tag) in enumerate(zip(DATES, tags, strict=True)):
            write(tmp_path / f"{date}_B04.tif", noise(seed).astype(dtype), nodata=tag)
        with pytest.raises(ValueError, match=r"differ in their nodata value.*nodata=\.\.\."):
            open_rasters(tmp_path)
        value = given["B04"] if isinstance(given, dict) else given
        assert open_rasters(tmp_path, nodata=given).encodings["B04"].nodata == value

    def test_nan_is_no_other_nodata_value(self, tmp_path):
        for date, tag in zip(DATES, (np.nan, None, np.nan), strict=True):
            write(tmp_path / f"{date}.tif", noise(0, SHAPE, np.float32), nodata=tag)
        assert open_rasters(tmp_path).encodings["band"].nodata is None

    def test_bands_of_one_date_are_no_frames(self, folder):
        write(folder / f"T34_{DATES[0]}_B08.tif", noise(0))
        with pytest.raises(ValueError, match=r"20220304_B04.tif and .*_B08.tif are two bands"):
            open_rasters(folder)

    def test_bands_in_another_order(self, tmp_path):
        for date, names in zip(
            DATES, [("B04", "B08"), ("B04", "B08"), ("B08", "B04")], strict=True
        ):
            write(tmp_path / f"{date}.tif", noise(0, (2, *SHAPE)), descriptions=names)
        with pytest.raises(ValueError, match="bands 'B04' and 'B08' at one place"):
            open_rasters(tmp_path)

    def test_dates_in_descriptions_are_no_other_bands(self, tmp_path):
        for date in DATES:
            write(tmp_path / f"{date}.tif", noise(0), descriptions=(f"red {date}",))
        assert list(open_rasters(tmp_path).bands) == ["red 20220304"]

    @pytest.mark.parametrize(
        ("transform", "match"),
        [
            (Affine(10, 1, LEFT, 1, -10, TOP), "a rotated grid"),
            (Affine(10, 0, LEFT, 0, -20, TOP), "not square"),
        ],
    )
    def test_grids(self, tmp_path, transform, match):
        path = write(tmp_path / "20220304.tif", noise(0), transform=transform)
        with pytest.raises(ValueError, match=f"20220304.tif has .*{match}"):
            open_rasters([path, path])

    @pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
    @pytest.mark.parametrize("points", [True, False])
    def test_places_that_are_no_grid(self, tmp_path, points):
        corners = [(0, 0, 25, 45), (0, 56, 25.1, 45), (40, 0, 25, 44.9), (40, 56, 25.1, 44.9)]
        path = write(tmp_path / "20220304.tif", noise(0), crs=None, transform=None)
        with rasterio.open(path, "r+") as file:
            if points:
                file.gcps = [GroundControlPoint(*corner) for corner in corners], "EPSG:4326"
            else:
                terms = {
                    f"{side}_{part}_coeff": [1.0] * 20
                    for side in ("line", "samp")
                    for part in ("num", "den")
                }
                ends = {
                    f"{name}_{what}": 1.0
                    for name in ("height", "lat", "line", "long", "samp")
                    for what in ("off", "scale")
                }
                file.rpcs = RPC(**terms, **ends)
        what = "control points" if points else "RPCs"
        with pytest.raises(ValueError, match=rf"20220304.tif is placed by {what}.*gdalwarp"):
            open_rasters([path, path])

    def test_complex_values(self, tmp_path):
        path = write(tmp_path / "a.tif", noise(0).astype(np.complex64))
        with pytest.raises(ValueError, match=r"a.tif has values of type complex64: give"):
            open_rasters([path, path])

    def test_scales_of_zero(self, tmp_path):
        path = write(tmp_path / "a.tif", noise(0), scales=(0,), offsets=(0,))
        with pytest.raises(ValueError, match="which give no values: set them"):
            open_rasters([path, path])

    def test_one_file_warns(self, folder):
        path = folder / f"T34_{DATES[0]}_B04.tif"
        with pytest.warns(UserWarning, match="nothing is gained from other dates"):
            scene = open_scene(path, nodata=0)
        assert len(scene) == 1
        assert scene.name == "T34_20220304_B04"

    def test_without_rasterio(self, folder, monkeypatch):
        monkeypatch.setitem(sys.modules, "rasterio", None)
        with pytest.raises(ImportError, match=r"pip install probav_estimators\[geo\]"):
            open_rasters(folder)


class TestOpenFiles:
    """Files that a process has open, and limits of the system."""

    def read(self, stack, row=0):
        return stack.read(range(stack.shape[0]), (slice(row, row + 2), slice(0, 8)))

    @LINUX
    def test_they_are_few_and_closed_with_the_last_scene_that_reads_them(self, tmp_path):
        paths = [write(tmp_path / f"{number:03d}.tif", noise(number)) for number in range(30)]
        stack = open_rasters(paths).first
        with ThreadPoolExecutor(12) as pool:
            found = list(pool.map(partial(self.read, stack), range(24)))
        assert all(values.shape == (30, 2, 8) for values in found)
        assert 0 < len(open_files(tmp_path)) <= 128
        for values, row in zip(found, range(24), strict=True):
            np.testing.assert_array_equal(values[3], noise(3)[row : row + 2, :8])
        del stack
        assert not open_files(tmp_path)

    @LINUX
    def test_a_process_with_too_many_is_told_so(self, tmp_path):
        paths = [write(tmp_path / f"{number}.tif", noise(number)) for number in range(3)]
        limits, others = resource.getrlimit(resource.RLIMIT_NOFILE), []
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, limits[1]))
        try:
            fill_places(others)
            # Files that are not used make place for others, and are closed with the stack.
            assert self.read(open_rasters(paths).first).shape == (3, 2, 8)
            fill_places(others)
            with pytest.raises(OSError, match=r"0.tif cannot be opened.*ulimit -n") as caught:
                open_rasters(paths)
        finally:
            for number in others:
                os.close(number)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert caught.value.errno == errno.EMFILE
        assert "damaged" not in str(caught.value)

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs file permissions")
    def test_a_file_without_permission_is_not_called_damaged(self, folder, rasters):
        os.chmod(rasters.first.paths[0], 0)
        with pytest.raises(OSError, match=r"B04.tif cannot be opened \(Permission denied\)"):
            open_rasters(folder)

    def test_large_blocks_are_refused_before_they_are_read(self, tmp_path, rasters):
        path = sparse(tmp_path / "a.tif", (20000, 20000), (20000, 20000))
        assert os.path.getsize(path) < 4e6
        before = memory_in_use()
        with pytest.raises(ValueError, match=r"a.tif .* blocks of 20000x20000 .*gdal_translate"):
            open_rasters([path, path], window=(slice(0, 16), slice(0, 16)))
        with pytest.raises(ValueError, match=r"a.tif .* blocks of 20000x20000 .*gdal_translate"):
            open_masks(path, None, rasters)
        assert memory_in_use() - before < 50e6

    def test_strips_and_tiles_of_large_images_are_read(self, tmp_path):
        tiles = sparse(tmp_path / "a.tif", (60000, 60000), (512, 512))
        one_strip = write(
            tmp_path / "b.tif",
            noise(0, (3, 900, 1000)),
            **{"tiled": False, "blockysize": 900, "compress": "deflate", "interleave": "pixel"},
        )
        for path in (tiles, one_strip):
            stack = open_rasters([path, path], window=(slice(0, 16), slice(0, 16))).first
            assert self.read(stack).shape == (2, 2, 8)


HEAD = (
    '<VRTDataset rasterXSize="56" rasterYSize="40"><SRS>EPSG:32634</SRS>'
    f"<GeoTransform>{LEFT},10,0,{TOP},0,-10</GeoTransform>"
    '<VRTRasterBand dataType="Byte" band="1"'
)
SOURCE = '><SimpleSource><SourceFilename relativeToVRT="0">{}</SourceFilename></SimpleSource>'
END = "</VRTRasterBand></VRTDataset>"
OTHER_FILE = HEAD + SOURCE.format("{secret}") + END
RAW_FILE = (
    HEAD + ' subClass="VRTRawRasterBand"><SourceFilename relativeToVRT="1">secret.txt'
    "</SourceFilename><LineOffset>56</LineOffset>" + END
)
ADDRESS = HEAD + SOURCE.format("/vsicurl/{address}") + END
SERVICE = (
    '<GDAL_WMS><Service name="TMS"><ServerUrl>{address}/${{z}}</ServerUrl></Service><DataWindow>'
    "<UpperLeftX>0</UpperLeftX><UpperLeftY>9</UpperLeftY><LowerRightX>9</LowerRightX>"
    "<LowerRightY>0</LowerRightY><TileLevel>1</TileLevel></DataWindow></GDAL_WMS>"
)
OVERVIEWS = (
    '<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">/vsicurl/{address}</MDI>'
    "</Metadata></PAMDataset>"
)


class TestFilesThatNameOthers:
    """A file shows its own pixels and makes no request, unless its name says that it is a VRT."""

    @pytest.fixture
    def requests(self):
        seen = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                seen.append(self.path)
                self.send_error(404)

            do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

            def log_message(self, *args):
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            yield SimpleNamespace(address=f"http://127.0.0.1:{server.server_port}/x", seen=seen)
            server.shutdown()

    def fill(self, content, folder, requests):
        secret = write(folder / "secret.dat", noise(0, SHAPE, np.uint8))
        (folder / "secret.txt").write_text("password" * 400)
        return content.format(secret=secret, address=requests.address)

    @pytest.mark.parametrize("content", [OTHER_FILE, RAW_FILE, ADDRESS, SERVICE])
    @pytest.mark.parametrize("suffix", [".tif", ".TIFF", ".jp2", ".img", ".png", ".dat", ""])
    def test_by_another_suffix(self, tmp_path, rasters, requests, content, suffix):
        path = tmp_path / f"20220401_mask{suffix}"
        path.write_text(self.fill(content, tmp_path, requests))
        for opened in (lambda: open_scene([path, path]), lambda: open_masks(path, None, rasters)):
            with pytest.raises(ValueError, match=f"{path.name} is no raster"):
                opened()
        assert not requests.seen

    @pytest.mark.parametrize("suffix", [".nc", ".h5", ".hdf", ".tif"])
    def test_external_storage_of_hdf5(self, tmp_path, suffix):
        h5py = pytest.importorskip("h5py")
        (tmp_path / "secret.txt").write_text("password" * 400)
        path = tmp_path / f"a{suffix}"
        with h5py.File(path, "w") as file:
            external = [(str(tmp_path / "secret.txt"), 0, 40 * 56)]
            file.create_dataset("v", SHAPE, "u1", external=external)
        for name in (path, f'NETCDF:"{path}":v', f'HDF5:"{path}"://v'):
            with pytest.raises(ValueError, match=rf"a{suffix}.*xarray"):
                open_rasters([name, name])

    @pytest.mark.parametrize(
        ("beside", "content"),
        [
            (".ovr", SERVICE),
            (".ovr", ADDRESS),
            (".aux.xml", OVERVIEWS),
        ],
    )
    def test_beside_a_raster(self, folder, requests, beside, content):
        for path in list(folder.glob("*_B04.tif")):
            text = self.fill(content, folder, requests)
            (folder / f"{path.name}{beside}").write_text(text)
        scene = open_scene(folder / "*_B04.tif", nodata=0)
        np.testing.assert_allclose(scene.lr[1], noise(1) / 65535, atol=1e-6)
        assert not requests.seen

    @pytest.mark.parametrize("content", [SERVICE, ADDRESS, OTHER_FILE])
    def test_as_a_mask_beside_a_raster(self, folder, requests, content):
        beside = folder / f"T34_{DATES[1]}_B04.tif.msk"
        beside.write_text(self.fill(content, folder, requests))
        with pytest.raises(ValueError, match=r"20220309_B04.tif.msk is no raster"):
            open_rasters(folder / "*_B04.tif")
        assert not requests.seen

    def test_a_vrt_shows_its_sources_where_its_name_is_given(self, folder, requests):
        path = folder / "20220401.vrt"
        path.write_text(self.fill(OTHER_FILE, folder, requests))
        for paths in ([path, path], folder / "*.vrt"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # one file
                stack = open_rasters(paths).first
            stored = stack.read([0], (slice(0, 40), slice(0, 56)))
            np.testing.assert_array_equal(stored[0], noise(0, SHAPE, np.uint8))
        for paths in (folder, folder / "*2022*", folder / "**" / "*.v?t"):
            with pytest.raises(ValueError, match=r"20220401.vrt is found by .*'\*.tif'"):
                open_rasters(paths)


class TestValueRanges:
    def range_of(self, values, masks=None, **meaning):
        return value_range_of(ArrayStack(values, "cube"), Values(**meaning), masks)

    @pytest.mark.parametrize(
        ("kind", "expected"), [("uint8", 255), ("uint16", 65535), ("int16", 32767)]
    )
    def test_types_of_8_and_16_bits_tell_it(self, kind, expected):
        values = np.zeros((2, 8, 8), kind)
        assert self.range_of(values) == (0, expected)
        scales = np.array([2.0, 3.0])
        assert self.range_of(values, scale=scales, offset=-5) == (-5, 2 * expected - 5)
        assert self.range_of(values, scale=-1) == (-expected, 0)

    def test_reflectances(self):
        values = np.random.default_rng(0).uniform(-0.02, 1.3, (3, 32, 32))
        assert self.range_of(values) == (0, 1)
        assert self.range_of((values * 10000).astype(np.int32), scale=1e-4) == (0, 1)

    @pytest.mark.parametrize("kind", ["float32", "float64", "int32", "uint32"])
    def test_what_values_span(self, kind):
        values = np.random.default_rng(0).uniform(250, 320, (3, 600, 700)).astype(kind)
        low, high = self.range_of(values)
        assert (low, high) == pytest.approx((250.35 - 3.5, 319.65 + 3.5), abs=0.8)
        assert self.range_of(values) == (low, high)

    def test_only_clear_data_count(self):
        values = np.full((2, 16, 16), 300.0)
        values[:, :4], values[:, 4:8] = np.nan, 1e6
        values[:, 8] = -5
        clear = np.ones(values.shape, bool)
        clear[:, 4:8] = False
        masks = MaskStack(ArrayStack(clear, "mask"), lambda values, name: values)
        assert self.range_of(values, masks, nodata=-5) == (299.5, 300.5)

    def test_where_nothing_is_clear_in_the_middle_corners_tell_it(self):
        values = np.full((2, 900, 900), np.nan)
        values[:, -30:, -40:] = 7.0
        assert self.range_of(values) == (6.5, 7.5)
        assert self.range_of(np.full((2, 9, 9), np.nan)) == (0, 1)
        hidden = MaskStack(ArrayStack(np.zeros((2, 900, 900), bool), "mask"), lambda v, name: v)
        assert self.range_of(values, hidden) == (6.5, 7.5)

    def test_large_constants_have_two_ends(self):
        low, high = self.range_of(np.full((1, 8, 8), 1e20))
        assert low < 1e20 < high

    def test_few_windows_are_looked_at(self):
        class Spy(ArrayStack):
            read_pixels = 0

            def read(self, index, window):
                stored = super().read(index, window)
                self.read_pixels += stored.size
                return stored

        spy = Spy(np.full((20, 1000, 1000), 0.5, np.float32), "cube")
        value_range_of(spy, Values(), None)
        assert spy.read_pixels == 8 * 256 * 256
        warn_of_fill(spy, Values(), None, "cube")
        assert spy.read_pixels <= 6 * 8 * 256 * 256


class TestFill:
    def stack(self, value, dtype, part=8):
        values = np.full((3, 400, 500), 120, dtype)
        values[:, :part] = value
        return ArrayStack(values, "cube")

    def quiet(self, stack, values, masks=None):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warn_of_fill(stack, values, masks, "lake")

    @pytest.mark.parametrize(
        ("value", "dtype"),
        [
            (0, "uint16"),
            (-9999, "int16"),
            (-32768, "int16"),
            (-32767, "int32"),
            (-9999, "float32"),
            (1e20, "float32"),
            (9.969209968386869e36, "float32"),
            (-3.4028234663852886e38, "float32"),
            (-1.7976931348623157e308, "float64"),
        ],
    )
    def test_usual_values_at_the_border_are_warned_about(self, value, dtype):
        told = f"lake has the value {np.array(value, dtype).item():.9g} in "
        with pytest.warns(UserWarning, match=re.escape(told)):
            warn_of_fill(self.stack(value, dtype), Values(), None, "lake")

    @pytest.mark.parametrize(
        ("value", "dtype", "nodata"),
        [
            (-9998, "int16", None),
            (0, "uint8", None),
            (np.nan, "float32", None),
            (-9999, "int16", 0),
        ],
    )
    def test_others_are_not(self, value, dtype, nodata):
        self.quiet(self.stack(value, dtype), Values(nodata=nodata))

    def test_a_few_pixels_are_not(self):
        stack = self.stack(-9999, "int16", part=0)
        stack.values[0, 0, :5] = -9999
        self.quiet(stack, Values())

    def test_what_masks_hide_is_not(self):
        stack = self.stack(-9999, "int16")
        self.quiet(stack, Values(), MaskStack(stack, lambda values, name: values > 0))

    def test_scenes_use_it_as_data(self, tmp_path):
        values = noise(0, SHAPE, np.int16)
        values[:, :3] = -9999
        paths = [write(tmp_path / f"{date}.tif", values) for date in DATES]
        with pytest.warns(UserWarning, match=r"20220304.tif has the value -9999 in 5\.4%"):
            scene = open_scene(paths)
        assert scene.qm.all()


def test_a_stack_prints_as_the_call_that_made_it():
    stack = RasterStack(["a.tif"], 1, (2, 3), np.dtype("uint8"), [])
    assert repr(stack).startswith("RasterStack(paths=['a.tif'], band=1, size=(2, 3)")
