"""Files of one site whose footprints differ: the image covers all of them."""

import _rasters
import numpy as np
import pytest
import rasterio

from probav_estimators import make_scenes, open_scene
from probav_estimators.geo import Outputs, super_resolve_files

LEFT, TOP, PIXEL = 600_000, 5_000_000, 10


@pytest.fixture(scope="module")
def scene():
    return make_scenes(1, size=(56, 72), scale=2, n_frames=6, random_state=21)[0]


def write(path, values, corner=(0, 0), *, nodata=0):
    """A GeoTIFF whose first pixel is at a row and a column of the site."""
    row, column = corner
    place = (LEFT + PIXEL * column, TOP - PIXEL * row)
    return _rasters.write(path, values, size=PIXEL, place=place, nodata=nodata)


#: Rows and columns that each of six dates shows; the first is in the middle.
PARTS = [
    (slice(8, 56), slice(20, 60)),
    (slice(0, 48), slice(0, 44)),
    (slice(0, 56), slice(0, 40)),
    (slice(4, 56), slice(30, 72)),
    (slice(0, 50), slice(34, 72)),
    (slice(0, 56), slice(0, 72)),
]


def stored(scene, number, dtype=np.uint16):
    values = 1 + 10_000 * scene.lr[number]
    return values.astype(dtype)


@pytest.fixture(scope="module")
def parts(scene, tmp_path_factory):
    """Files of parts of the site, and of the same frames with no data around them."""
    folder = tmp_path_factory.mktemp("site")
    for number, (rows, columns) in enumerate(PARTS):
        values = stored(scene, number)
        name = f"2024010{number + 1}.tif"
        write(folder / f"part_{name}", values[rows, columns], (rows.start, columns.start))
        padded = np.zeros_like(values)
        padded[rows, columns] = values[rows, columns]
        write(folder / f"whole_{name}", padded)
    return folder


class TestUnion:
    def test_frames_are_those_with_no_data_around_them(self, parts):
        part, whole = (open_scene(str(parts / f"{name}_*.tif")) for name in ("part", "whole"))
        assert part.shape == whole.shape == (56, 72)
        np.testing.assert_array_equal(part.qm, whole.qm)
        np.testing.assert_array_equal(part.lr, whole.lr)
        window = (slice(3, 30), slice(41, 72))
        for one, other in zip(
            part.frames.read([4, 0], window), whole.frames.read([4, 0], window), strict=True
        ):
            np.testing.assert_array_equal(one, other)

    def test_the_image_lies_on_the_pixels_of_the_first_date(self, parts, tmp_path):
        images = []
        for name in ("part", "whole"):
            out = tmp_path / f"{name}.tif"
            super_resolve_files([str(parts / f"{name}_*.tif")], Outputs(out), "simulated-x2")
            with rasterio.open(out) as file:
                assert (file.transform.c, file.transform.f) == (LEFT, TOP)
                images.append(file.read(1))
        np.testing.assert_array_equal(*images)
        assert images[0].shape == (112, 144) and images[0].all()

    @pytest.mark.parametrize("dtype", [np.uint16, np.float32])
    def test_files_without_a_nodata_value_hide_what_they_do_not_show(self, scene, tmp_path, dtype):
        for number, (rows, columns) in enumerate(PARTS):
            values = stored(scene, number, dtype)[rows, columns]
            path = tmp_path / f"2024010{number + 1}.tif"
            write(path, values, (rows.start, columns.start), nodata=None)
        clear = open_scene(str(tmp_path / "*.tif")).qm
        for shown, (rows, columns) in zip(clear, PARTS, strict=True):
            assert shown[rows, columns].all() and shown.sum() == shown[rows, columns].size

    def test_masks_may_have_the_footprints_of_their_frames(self, parts, tmp_path):
        for number, (rows, columns) in enumerate(PARTS):
            mask = np.ones((56, 72), np.uint8)
            mask[10:20, 35:45] = 0
            path = tmp_path / f"2024010{number + 1}_mask.tif"
            write(path, mask[rows, columns], (rows.start, columns.start), nodata=None)
        scene = open_scene(str(parts / "part_*.tif"), mask=str(tmp_path / "*_mask.tif"))
        expected = open_scene(str(parts / "part_*.tif")).qm
        expected[:, 10:20, 35:45] = False
        np.testing.assert_array_equal(scene.qm, expected)
