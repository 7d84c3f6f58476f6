"""Products in the layouts of their archives: all give cubes of the same meaning."""

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("odc.stac")

import rasterio
from _products import (
    day,
    make_hls,
    make_landsat,
    make_probav,
    make_safe,
    reflectance,
    tarred,
    zipped,
)
from click.testing import CliRunner

from probav_estimators import BicubicBaseline, open_products, save_model
from probav_estimators.cli import probav

SHAPE = (20, 26)


def safe(folder, number, values, clouds, **options):
    """Product of Sentinel-2, of a baseline without and with an offset in turn."""
    raised = number % 2
    stored = (values * 10_000 + 1000 * raised).round().astype("uint16")
    classes = np.where(clouds, 9, 4).astype("uint8")
    bands = {"B04": (10, stored), "SCL": (20, classes[::2, ::2])}
    about = {"baseline": "05.11", "offset": -1000} if raised else {"baseline": "03.01", "offset": 0}
    return make_safe(folder, day(number), bands, **about | options)


def landsat(folder, number, values, clouds, **options):
    stored = ((values + 0.2) / 2.75e-5).round().astype("uint16")
    bands = {"SR_B4": stored, "QA_PIXEL": np.where(clouds, 22280, 21824).astype("uint16")}
    return make_landsat(folder, day(number), bands, number=8 + number % 2, **options)


def hls(folder, number, values, clouds):
    stored = (values * 10_000).round().astype("int16")
    bands = {"B04": stored, "Fmask": np.where(clouds, 0b10, 0b1000000).astype("uint8")}
    return make_hls(folder, day(number), bands, kind=("L30", "S30")[number % 2])


def synthesis(folder, number, values, clouds):
    bands = dict.fromkeys(["BLUE", "NIR", "SWIR"], np.zeros(SHAPE, "int16"))
    bands["RED"] = (values * 2000).round().astype("int16")
    return make_probav(folder, day(number), bands, clouds)


KINDS = {
    "SAFE": safe,
    "SAFE.zip": lambda *args: zipped(safe(*args)),
    "Landsat": landsat,
    "Landsat.tar": lambda *args: tarred(landsat(*args)),
    "HLS": hls,
    "PROBA-V": synthesis,
}


def products(kind, folder, n_dates=3, seed=0):
    """Paths of products, their reflectance, and where clouds are."""
    frames = reflectance(seed, n_dates, SHAPE)
    clouds = np.zeros(frames.shape, bool)
    for number in range(n_dates):
        clouds[number, 2 * number : 2 * number + 4, 6:14] = True
    paths = [
        KINDS[kind](folder, number, *parts)
        for number, parts in enumerate(zip(frames, clouds, strict=True))
    ]
    return paths, frames, clouds


@pytest.mark.parametrize("kind", KINDS)
def test_products_are_read_in_their_units_without_clouds(tmp_path, kind):
    paths, frames, clouds = products(kind, tmp_path)
    cube = open_products(paths, "red")
    assert cube.red.dtype.kind in "iu"
    attrs = cube.red.attrs
    np.testing.assert_array_equal(cube.red == attrs["_FillValue"], clouds)
    values = cube.red * attrs["scale_factor"] + attrs["add_offset"]
    step = attrs["scale_factor"]
    np.testing.assert_allclose(values.values[~clouds], frames[~clouds], atol=0.6 * step)
    days = [day(number).replace(tzinfo=None) for number in range(3)]
    apart = np.timedelta64(1 if kind != "PROBA-V" else 86_400, "s")
    assert np.abs(cube.time.values - np.array(days, "M8[us]")).max() < apart
    assert cube.spatial_ref == (4326 if kind == "PROBA-V" else 32633)
    names = [re.sub(r"(\.SAFE)?(\.zip|\.tar|\.HDF5)?$", "", Path(path).name) for path in paths]
    assert names == cube.products.values.tolist()


@pytest.mark.parametrize("kind", ["SAFE", "HLS"])
def test_a_folder_or_pattern_of_products_and_another_name_of_a_band_are_the_same(tmp_path, kind):
    paths, *_ = products(kind, tmp_path, 2)
    name = "B04"
    expected = open_products(paths, ["red"]).rename(red=name)
    assert open_products(tmp_path, name).identical(expected)
    assert open_products(tmp_path / "*2026*", name).identical(expected)


@pytest.mark.parametrize("kind", ["SAFE", "Landsat"])
def test_the_metadata_of_a_product_stand_for_it(tmp_path, kind):
    paths, *_ = products(kind, tmp_path, 2)
    expected = open_products(paths, "red").load()
    if kind == "Landsat":
        for file in tmp_path.glob("*/*"):
            file.rename(tmp_path / file.name)
    named = sorted([*tmp_path.glob("*/MTD_MSI*.xml"), *tmp_path.glob("*_MTL.txt")])
    assert open_products(named, "red").identical(expected)
    assert open_products(named[1], "red").products == expected.products[1]


def test_pixels_of_probav_are_at_their_centres_and_toa_is_not_toc(tmp_path):
    clear = np.zeros(SHAPE, bool)
    path = synthesis(tmp_path, 0, reflectance(5, 1, SHAPE)[0], clear)
    cube = open_products(path, ["RED", "NIR"])
    np.testing.assert_allclose([cube.x[0], cube.y[0]], [15, 45], atol=1e-9)
    np.testing.assert_allclose(
        [cube.x[-1], cube.y[-1]], [15 + 25 / 1008, 45 - 19 / 1008], atol=1e-9
    )
    bands = dict.fromkeys(["BLUE", "RED", "NIR", "SWIR"], np.ones(SHAPE, "int16"))
    other = make_probav(tmp_path, day(1), bands, clear, reflectance="TOA")
    assert open_products(other, "blue").blue.max() == 1
    with pytest.raises(ValueError, match=r"S5 TOC.*S5 TOA.*give those of one level"):
        open_products([path, other], "red")


@pytest.mark.filterwarnings("ignore:.*no mask of clouds:UserWarning")
def test_level_1_of_sentinel2_and_landsat_has_its_own_scale(tmp_path):
    values = reflectance(1, 1, SHAPE)[0]
    stored = (values * 10_000 + 1000).round().astype("uint16")
    safe_1c = make_safe(tmp_path, day(0), {"B04": (10, stored)}, level="L1C")
    clear = np.full(SHAPE, 21824, "uint16")
    stored = ((values + 0.1) / 2e-5).round().astype("uint16")
    landsat_1 = make_landsat(tmp_path, day(0), {"B4": stored, "QA_PIXEL": clear}, level="L1TP")
    for path in (safe_1c, landsat_1):
        red = open_products(path, "red").red
        found = red[0] * red.attrs["scale_factor"] + red.attrs["add_offset"]
        np.testing.assert_allclose(found, values, atol=6e-5)


def emptied(root):
    next(root.glob("*MTD_MSIL2A.xml")).write_text("<empty/>")


def cut(root):
    next(root.rglob("*_B04_10m.jp2")).write_bytes(b"cut")


def without_images(root):
    for path in root.rglob("*.jp2"):
        path.unlink()


def without_metadata(root):
    next(root.glob("*MTD_MSIL2A.xml")).unlink()


def without_band(root):
    next(root.rglob("*_B04_10m.jp2")).unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (emptied, r"MTD_MSIL2A\.xml is not that of a complete product.*fetch"),
        (cut, r"SAFE has a file that cannot be read.*_B04_10m\.jp2.*fetch"),
        (without_images, r"MTD_MSIL2A\.xml is not that of a complete product.*no bands.*fetch"),
        (without_metadata, r"SAFE is no product: give.*MTD_MSIL2A\.xml"),
        (without_band, "S2A_MSIL2A_2026.* has no band red, but SCL"),
    ],
)
def test_damaged_products_are_refused_by_name_and_remedy(tmp_path, damage, message):
    clear = np.zeros(SHAPE, bool)
    root = safe(tmp_path, 1, reflectance(3, 1, SHAPE)[0], clear)
    damage(root)
    with pytest.raises(ValueError, match=message):
        open_products(root, "red")


@pytest.mark.parametrize("kinds", [("SAFE", "SAFE.zip"), ("PROBA-V", "PROBA-V")])
def test_one_command_fuses_folders_and_archives(tmp_path, kinds):
    model = tmp_path / "baseline.safetensors"
    save_model(BicubicBaseline(scale=2), model)
    (tmp_path / "in").mkdir()
    frames = reflectance(4, 2, SHAPE)
    paths = [
        KINDS[kind](tmp_path / "in", number, frames[number], np.zeros(SHAPE, bool))
        for number, kind in enumerate(kinds)
    ]
    # Patterns in quotes are those of the shell.
    paths = [tmp_path / "in" / "*"] if kinds[0] == kinds[1] else paths
    image = tmp_path / "sharp.tif"
    args = ["super-resolve", *paths, "--bands", "red", "--weights", model, "-o", image, "--quiet"]
    result = CliRunner().invoke(probav, [str(arg) for arg in args])
    assert result.exit_code == 0, result.output
    assert result.stderr.count("2026-06-") == 2
    with rasterio.open(image) as file:
        values = file.read(1) * file.scales[0] + file.offsets[0]
        assert file.shape == (40, 52) and file.crs.to_epsg() in (32633, 4326)
    np.testing.assert_allclose(np.median(values), np.median(frames), atol=0.01)
