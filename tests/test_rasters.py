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
from _rasters import LEFT, TOP, write
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.transform import Affine

from probav_estimators import Scene
from probav_estimators.geo import Grid, open_rasters, open_scene

DATES = ("20220304", "20220309", "20220319")
SHAPE = (40, 56)


LINUX = pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="Linux tells what is in use")


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
        (folder / "._T34_20220304_B04.tif").write_bytes(b"of macOS")
        names = [folder / f"T34_{date}_B04.tif" for date in DATES]
        for paths in (folder, str(folder), names, folder / "*.tif*", folder / "**" / "T34*"):
            assert open_rasters(paths).first.paths == rasters.first.paths

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
            ("HLS.S30.T17SLU.2020117T160901.v2.0.B04.tif", {}, "2020-04-26T16:09:01"),
            ("a.tif", {"SENSING_TIME": "2020-04-26T16:09:01.12Z"}, "2020-04-26T16:09:01"),
            # The tag has the date of the file, two years after acquisition.
            ("20220304.tif", {"TIFFTAG_DATETIME": "2024:01:01 00:00:00"}, "2022-03-04"),
            # Processed on the next day, or in the evening of the same one.
            ("20220304.tif", {"TIFFTAG_DATETIME": "2022:03:05 01:00:00"}, "2022-03-04"),
            ("id_99999999_12345678.tif", {}, None),
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
            ((LEFT + 101, TOP - 201, LEFT + 299, TOP - 59), (5, 21), (10, 30)),
            ((LEFT - 1e4, TOP - 25, LEFT + 12, TOP + 1e4), (0, 3), (0, 2)),
        ],
    )
    def test_a_bbox_takes_all_pixels_that_it_touches(self, folder, bbox, rows, columns):
        found = open_rasters(folder, bbox=bbox)
        assert found.origin == (rows[0], columns[0])
        assert found.grid.shape == (rows[1] - rows[0], columns[1] - columns[0])

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"bbox": (0, 0, 9, 9)}, r"bbox is \(0, 0, 9, 9\).*600000.*do not overlap"),
            ({"bbox": (9, 0, 0, 9)}, "give left, bottom, right, top"),
            ({"bbox": (0, 0, np.nan, 9)}, "give left, bottom, right, top"),
            ({"bbox": (0, 0, 9)}, "give left, bottom, right, top"),
            ({"bbox": (0, 0, 9, 9), "window": np.s_[:9, :9]}, "window and bbox both say what part"),
            ({"window": np.s_[:41, :5]}, "B04.tif has 40 rows and 56 columns"),
            ({"window": np.s_[-3:, :]}, "B04.tif has 40 rows and 56 columns"),
            ({"window": np.s_[9:9, :]}, "B04.tif has 40 rows and 56 columns"),
        ],
    )
    def test_parts_that_files_do_not_have(self, folder, options, told):
        with pytest.raises(ValueError, match=told):
            open_rasters(folder, **options)


class TestStacks:
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


class TestMasks:
    def quality_maps(self, rasters, mask, mask_type=None):
        scene = open_scene(rasters.first.paths, mask=mask, mask_type=mask_type)
        whole, h = scene.qm, rasters.grid.shape[0]
        part = scene.frames.read_clear([1], (slice(3, h), slice(5, 8)))
        np.testing.assert_array_equal(part[0], whole[1, 3:, 5:8])
        return whole

    @pytest.mark.parametrize(("row", "column"), [(5, 7), (39, 55)])
    def test_windows_start_anywhere_in_a_mask_pixel(self, folder, row, column):
        add_masks(folder)
        window = slice(row, None), slice(column, None)
        options = {"mask": folder / "*_SCL.tif", "mask_type": "scl"}
        scene = open_scene(folder / "*_B04.tif", window=window, **options)
        classes = [np.random.default_rng(seed).choice([4, 8], (20, 28)) for seed in range(3)]
        clear = np.kron(classes, np.ones((2, 2))) == 4
        np.testing.assert_array_equal(scene.qm, clear[:, row:, column:])

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

    def test_values_that_are_no_classes_name_their_file(self, folder, rasters):
        add_masks(folder)
        write(folder / "20220309_SCL.tif", np.full((20, 28), 77, np.uint8), size=20)
        with pytest.raises(ValueError, match=r"20220309_SCL.tif has the values 77"):
            open_scene(rasters.first.paths, mask=folder / "*_SCL.tif")

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            (
                {"dates": DATES[:2]},
                "mask has 2 dates and there are 3 frames.*date of .*20220319_B04",
            ),
            ({"dates": "ab"}, "mask has 2 dates and there are 3 frames, .*20220319_B04.tif is the"),
            (
                {"dates": ("20220401", "20220402", "20220403")},
                "none has the date of .*20220304_B04.tif, 2022-03-04",
            ),
            (
                {"place": (LEFT + 3e5, TOP)},
                r"SCL.tif lies within \(900000.*does not cover.*B04.tif that is used, \(600000",
            ),
            (
                {"crs": "EPSG:32633"},
                "SCL.tif lies within .* of EPSG:32633 and shows nothing of .*B04",
            ),
            ({"place": (LEFT - 4, TOP + 4)}, "lie on different grids"),
            ({"size": 25}, "pixels of 25 and .* of 10: each pixel of a mask covers a whole number"),
        ],
    )
    def test_that_do_not_fit(self, folder, rasters, options, match):
        add_masks(folder, **options)
        with pytest.raises(ValueError, match=match):
            open_scene(rasters.first.paths, mask=folder / "*_SCL.tif", mask_type="scl")


class TestValidity:
    """Masks that files have of themselves."""

    def masked(self, path, values, valid, kind):
        """Write values with a mask inside the file, a mask beside it, or an alpha band."""
        if "alpha" in kind:
            alpha = np.where(valid, 255, 0).astype(values.dtype)
            names = ["red", "Alpha"] if kind == "name of alpha" else [None, None]
            options = {"alpha": "yes" if kind == "alpha" else "unspecified", "descriptions": names}
            return write(path, np.stack([values, alpha]), nodata=9, **options)
        write(path, values)
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=kind == "inside"),
            rasterio.open(path, "r+") as file,
        ):
            file.write_mask(valid)
        return str(path)

    @pytest.mark.parametrize("kind", ["inside", "beside", "alpha", "name of alpha"])
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

    def test_alpha_is_no_band(self, tmp_path):
        values = noise(0, (4, *SHAPE), np.uint16)
        paths = [write(tmp_path / f"{k}.tif", values, alpha="yes") for k in range(2)]
        assert list(open_rasters(paths).bands) == ["1", "2", "3"]
        # Colours of one file hold for all.
        paths.append(write(tmp_path / "3.tif", values))
        assert list(open_rasters(paths[::-1]).bands) == ["1", "2", "3"]

    @pytest.mark.parametrize(
        ("beneath", "opaque", "n_bands"),
        [(0, 255, 1), (None, 255, 1), (7, 255, 2), (0, 1, 2), (0, None, 2)],
    )
    def test_alpha_without_a_colour_is_told_by_its_values(self, tmp_path, beneath, opaque, n_bands):
        """GDAL keeps no colour that is given after the pixels."""
        valid = (np.random.default_rng(3).random(SHAPE) < 0.7) | (beneath is None)
        alpha = np.where(valid, opaque or noise(2) % 256, 0).astype(np.uint8)
        frames = [np.where(valid, 1 + noise(k) % 250, beneath or 0) for k in range(2)]
        paths = [
            write(tmp_path / f"{k}.tif", np.stack([frame, alpha]).astype(np.uint8))
            for k, frame in enumerate(frames)
        ]
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            scene = open_scene(paths, band=1)
        assert any("taken as an alpha band" in str(one.message) for one in told) == (n_bands == 1)
        assert len(open_rasters(paths).bands) == n_bands
        np.testing.assert_array_equal(scene.qm, [valid | (n_bands == 2)] * 2)

    def test_numbers_of_colours_are_no_values(self, folder, rasters):
        classes = np.where(noise(0) % 2, 4, 8).astype(np.uint8)
        for date in DATES:
            path = write(folder / f"{date}_SCL.tif", classes, photometric="palette")
            with rasterio.open(path, "r+") as file:
                file.write_colormap(1, {4: (0, 255, 0), 8: (255, 255, 255)})
        with pytest.raises(ValueError, match=r"20220304_SCL.tif holds .*gdal_translate -expand"):
            open_rasters(folder / "*_SCL.tif")
        scene = open_scene(rasters.first.paths, mask=folder / "*_SCL.tif")
        np.testing.assert_array_equal(scene.qm[0], classes == 4)


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
        ],
    )
    def test_an_argument_settles_nodata_values_that_differ(self, tmp_path, dtype, tags, given):
        for seed, (date, tag) in enumerate(zip(DATES, tags, strict=True)):
            write(tmp_path / f"{date}_B04.tif", noise(seed).astype(dtype), nodata=tag)
        with pytest.raises(ValueError, match=r"differ in their nodata value.*nodata=\.\.\."):
            open_rasters(tmp_path)
        value = given["B04"] if isinstance(given, dict) else given
        assert open_rasters(tmp_path, nodata=given).encodings["B04"].nodata == value

    def test_bands_of_one_date_are_no_frames(self, folder):
        write(folder / f"T34_{DATES[0]}_B08.tif", noise(0))
        with pytest.raises(ValueError, match=r"20220304_B04.tif and .*_B08.tif are two bands"):
            open_rasters(folder)

    def test_a_rotated_grid(self, tmp_path):
        rotated = Affine(10, 1, LEFT, 1, -10, TOP)
        path = write(tmp_path / "20220304.tif", noise(0), transform=rotated)
        with pytest.raises(ValueError, match=r"20220304.tif has .*a rotated grid"):
            open_rasters([path, path])

    @pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
    def test_places_that_are_no_grid(self, tmp_path):
        corners = [(0, 0, 25, 45), (0, 56, 25.1, 45), (40, 0, 25, 44.9), (40, 56, 25.1, 44.9)]
        path = write(tmp_path / "20220304.tif", noise(0), crs=None, transform=None)
        with rasterio.open(path, "r+") as file:
            file.gcps = [GroundControlPoint(*corner) for corner in corners], "EPSG:4326"
        with pytest.raises(ValueError, match=r"20220304.tif is placed by control points.*gdalwarp"):
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
        unused = open_rasters([paths[0], write(tmp_path / "unused.tif", noise(3))])
        limits, others = resource.getrlimit(resource.RLIMIT_NOFILE), []
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, limits[1]))
        try:
            fill_places(others)
            # Files that are not used make place for others, and are closed with the stack.
            assert self.read(open_rasters(paths).first).shape == (3, 2, 8) and unused
            fill_places(others)
            with pytest.raises(OSError, match=r"0.tif cannot be opened.*ulimit -n") as caught:
                open_rasters(paths)
        finally:
            for number in others:
                os.close(number)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert caught.value.errno == errno.EMFILE
        assert "damaged" not in str(caught.value)

    def test_large_blocks_are_refused_before_they_are_read(self, tmp_path, rasters):
        path = sparse(tmp_path / "a.tif", (20000, 20000), (20000, 20000))
        assert os.path.getsize(path) < 4e6
        before = memory_in_use()
        with pytest.raises(ValueError, match=r"a.tif .* blocks of 20000x20000 .*gdal_translate"):
            open_rasters([path, path], window=(slice(0, 16), slice(0, 16)))
        with pytest.raises(ValueError, match=r"a.tif .* blocks of 20000x20000 .*gdal_translate"):
            open_scene(rasters.first.paths, mask=path)
        assert memory_in_use() - before < 50e6


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

    @pytest.mark.parametrize(
        ("content", "suffix"),
        [(OTHER_FILE, ".tif"), (RAW_FILE, ".jp2"), (ADDRESS, ""), (SERVICE, ".png")],
    )
    def test_by_another_suffix(self, tmp_path, rasters, requests, content, suffix):
        path = tmp_path / f"20220401_mask{suffix}"
        path.write_text(self.fill(content, tmp_path, requests))
        for paths, mask in (([path, path], None), (rasters.first.paths, path)):
            with pytest.raises(ValueError, match=f"{path.name} is no raster"):
                open_scene(paths, mask=mask)
        assert not requests.seen

    @pytest.mark.parametrize("suffix", [".nc", ".tif"])
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


def opened(folder, values, **options):
    for number, frame in enumerate(values):
        write(folder / f"2024010{number + 1}_B04.tif", frame)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="neither a mask nor a nodata value")
        warnings.filterwarnings("ignore", message=".*: neither a mask nor a nodata value")
        return open_scene(folder / "*_B04.tif", **options)


class TestValueRanges:
    @pytest.mark.parametrize(
        ("kind", "expected"), [("uint8", 255), ("uint16", 65535), ("int16", 32767)]
    )
    def test_types_of_8_and_16_bits_tell_it(self, tmp_path, kind, expected):
        values = np.ones((2, 16, 16), kind)
        assert opened(tmp_path, values, nodata=0).value_range == (0, expected)
        scaled = opened(tmp_path, values, nodata=0, scale_factor=[2.0, 3.0], add_offset=-5)
        assert scaled.value_range == (-5, 2 * expected - 5)

    def test_reflectances(self, tmp_path):
        values = np.random.default_rng(0).uniform(-0.02, 1.3, (3, 32, 32))
        assert opened(tmp_path, values).value_range == (0, 1)
        stored = (values * 10000).astype(np.int32)
        assert opened(tmp_path, stored, scale_factor=1e-4).value_range == (0, 1)

    @pytest.mark.parametrize("kind", ["float32", "int32"])
    def test_what_values_span(self, tmp_path, kind):
        values = np.random.default_rng(0).uniform(250, 320, (3, 300, 400)).astype(kind)
        found = opened(tmp_path, values).value_range
        assert found == pytest.approx((250.35 - 3.5, 319.65 + 3.5), abs=0.8)

    def test_only_clear_data_count(self, tmp_path):
        values = np.full((2, 16, 16), 300.0)
        values[:, :4], values[:, 4:8], values[:, 8] = np.nan, 1e6, -5
        clear = np.ones((16, 16), np.uint8)
        clear[4:8] = 0
        mask = write(tmp_path / "clear.tif", clear)
        assert opened(tmp_path, values, mask=mask, nodata=-5).value_range == (299.5, 300.5)


class TestFill:
    def frames(self, value, dtype):
        values = np.full((3, 40, 56), 120, dtype)
        values[:, :8] = value
        return values

    @pytest.mark.parametrize(
        ("value", "dtype"),
        [(0, "uint16"), (-9999, "int16"), (1e20, "float32"), (-1.7976931348623157e308, "float64")],
    )
    def test_usual_values_at_the_border_are_warned_about(self, tmp_path, value, dtype):
        told = f"20240101_B04.tif has the value {np.array(value, dtype).item():.9g} in "
        with pytest.warns(UserWarning, match=re.escape(told)):
            opened(tmp_path, self.frames(value, dtype))

    @pytest.mark.parametrize(
        ("value", "dtype", "nodata"),
        [
            (-9998, "int16", None),
            (0, "uint8", None),
            (np.nan, "float32", None),
            (-9999, "int16", 0),
        ],
    )
    def test_others_and_what_masks_hide_are_not(self, tmp_path, value, dtype, nodata):
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*has the value")
            opened(tmp_path, self.frames(value, dtype), nodata=nodata)
            clear = np.ones((40, 56), np.uint8)
            clear[:8] = 0
            mask = write(tmp_path / "clear.tif", clear)
            opened(tmp_path, self.frames(-9999, "int16"), mask=mask)
