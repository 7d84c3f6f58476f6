"""Products as STAC items: cubes in their units, on one grid, without what their masks hide."""

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.request
import warnings
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("odc.stac")

import pystac
import rasterio
from _products import CORNER, day, item, reflectance, write_raster

from probav_estimators import BicubicBaseline, FusionNet, open_products, save_model
from probav_estimators.cli import probav
from probav_estimators.geo import MASK_KINDS, Outputs, super_resolve_products

# How a catalog describes a product: its baseline, what was added to the stored values, fields of
# the band, fields of the asset, and properties of the item.
APPLIED = "earthsearch:boa_offset_applied"
DESCRIPTIONS = {
    "raster:bands": ("05.10", 1000, {"scale": 1e-4, "offset": -0.1}, {}, {}),
    "bands of STAC 1.1": (
        "05.10",
        1000,
        {},
        {"bands": [{"name": "B04", "raster:scale": 1e-4, "raster:offset": -0.1}]},
        {},
    ),
    "baseline alone": ("04.00", 1000, {}, {}, {}),
    "offset subtracted": ("05.00", 0, {"scale": 1e-4, "offset": -0.1}, {}, {APPLIED: True}),
    "offset kept": ("05.00", 1000, {"scale": 1e-4}, {}, {APPLIED: False}),
    "before the offset": ("03.01", 0, {"scale": 1e-4}, {}, {}),
}


def sentinel2(folder, frames, kinds, *, clouds=True):
    """Items of frames of reflectance: one kind of description each, with SCL of 20 m."""
    items = []
    for number, (frame, kind) in enumerate(zip(frames, kinds, strict=True)):
        version, added, band, fields, about = DESCRIPTIONS[kind]
        stored = (frame * 10_000 + added).round().astype("uint16")
        classes = np.full((frame.shape[0] // 2, frame.shape[1] // 2), 4, "uint8")
        classes[number : number + 4, 5:9] = 9 if clouds else 4
        assets = {
            "red": (write_raster(folder / f"{number}_B04.tif", stored), {"band": band} | fields),
            "scl": write_raster(folder / f"{number}_SCL.tif", classes, size=20),
        }
        about = {"s2:processing_baseline": version, "eo:cloud_cover": 10.0 * number} | about
        items.append(item(f"S2_{number}", day(number), assets, **about))
    return items


def physical(cube, band="red"):
    """Values in physical units, NaN for no data."""
    stored = cube[band].where(cube[band] != cube[band].attrs["_FillValue"])
    return stored * cube[band].attrs.get("scale_factor", 1) + cube[band].attrs.get("add_offset", 0)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """Folder with the items of four dates, whose offsets differ, as a collection of items."""
    folder = tmp_path_factory.mktemp("catalog")
    items = sentinel2(folder, reflectance(), [*DESCRIPTIONS][:4])
    pystac.ItemCollection(items).save_object(str(folder / "items.json"))
    return folder


@pytest.mark.parametrize("step", [1, -1])
def test_dates_are_in_one_encoding_whatever_describes_it(tmp_path, step):
    kinds = [*DESCRIPTIONS][::step]
    frames = reflectance(1, len(kinds), (8, 10))
    items = sentinel2(tmp_path, frames, kinds)
    cube = open_products(items, "red")
    assert cube.red.dtype == np.uint16
    assert cube.red.attrs == {"scale_factor": 1e-4, "add_offset": -0.1, "_FillValue": 0}
    np.testing.assert_allclose(physical(cube)[:, :, 0], frames[:, :, 0], atol=6e-5)
    # Selected dates keep their meaning.
    some = physical(cube.isel(time=slice(None, None, -2)))
    np.testing.assert_allclose(some[:, :, 0], frames[::-2, :, 0], atol=6e-5)


@pytest.mark.filterwarnings("ignore:.*no mask of clouds:UserWarning")
def test_dates_of_different_scales_are_in_physical_units(tmp_path):
    frames = reflectance(2, 2, (10, 12))
    items = [
        item(
            f"p{number}",
            day(number),
            {
                "nir": (
                    write_raster(
                        tmp_path / f"{number}.tif",
                        (frame / scale).round().astype("int16"),
                        nodata=-9999,
                    ),
                    {"band": {"scale": scale}},
                )
            },
        )
        for number, (frame, scale) in enumerate(zip(frames, (1e-4, 5e-5), strict=True))
    ]
    cube = open_products(items, ["nir"])
    assert cube.nir.dtype == np.float32 and np.isnan(cube.nir.attrs["_FillValue"])
    np.testing.assert_allclose(cube.nir, frames, atol=6e-5)


@pytest.mark.parametrize(
    ("name", "kind", "clear"),
    [("SCL", "scl", 5), ("qa_pixel", "qa_pixel", 21824), ("Fmask", "fmask", 64)],
)
def test_the_masks_of_products_hide_what_their_kind_hides(tmp_path, name, kind, clear):
    dtype = np.uint16 if kind == "qa_pixel" else np.uint8
    values = np.arange(12 if kind == "scl" else 240, dtype=dtype).repeat(2).reshape(2, -1)
    classes = np.concatenate([values, np.full_like(values, clear)])
    stored = np.full(classes.shape, 2000, "int16")
    assets = {
        "B5": write_raster(tmp_path / "B5.tif", stored, nodata=-9999, size=30),
        name: write_raster(tmp_path / "mask.tif", classes, nodata=None, size=30),
    }
    items = [item(f"p{number}", day(number), assets) for number in range(2)]
    shown = open_products(items, "b5").b5.values != -9999
    np.testing.assert_array_equal(shown, [MASK_KINDS[kind].is_clear(classes)] * 2)
    plain = open_products(items, "B5", apply_masks=False)
    assert (plain.B5 == 2000).all()
    np.testing.assert_array_equal(plain[name][0], classes)


def test_a_static_catalog_and_a_single_item_are_read(catalog, tmp_path):
    items = pystac.ItemCollection.from_file(str(catalog / "items.json")).items
    root = pystac.Catalog("all", "Products")
    root.add_items(items)
    root.normalize_and_save(str(tmp_path), pystac.CatalogType.SELF_CONTAINED)
    whole = open_products(catalog / "items.json", "red")
    for source in (tmp_path / "catalog.json", root, items, iter(items), [catalog / "items.json"]):
        assert open_products(source, "red").identical(whole)
    one = next((tmp_path / "S2_2").glob("*.json"))
    np.testing.assert_array_equal(open_products(one, "red").products, ["S2_2"])


def test_products_are_chosen_by_date_cloud_cover_and_clear_area(catalog):
    def names(**limits):
        return open_products(catalog / "items.json", "red", **limits).products.values.tolist()

    assert names(datetime="2026-06-06/2026-06-11") == ["S2_1", "S2_2"]
    assert names(datetime=day(2)) == names(datetime=day(2).date()) == ["S2_2"]
    assert names(datetime="2026-06") == names(datetime="../2026") == [f"S2_{i}" for i in range(4)]
    assert names(datetime="2026-06-16T00:00:00Z/..") == ["S2_3"]
    assert names(datetime="2026-06-11/") == names(datetime="2026-06-11/..") == ["S2_2", "S2_3"]
    assert names(datetime="/2026-06-06") == names(datetime="../2026-06-06") == ["S2_0", "S2_1"]
    assert names(max_cloud=15) == ["S2_0", "S2_1"]
    # In the upper rows, later dates are clearer.
    west, north = 16.2699, 45.1466
    assert names(max_dates=2, bbox=(west, north - 0.0005, west + 0.02, north)) == ["S2_2", "S2_3"]


@pytest.mark.filterwarnings("ignore:.*no mask of clouds:UserWarning")
def test_tiles_of_a_day_are_one_date_and_zones_one_grid(tmp_path):
    land = reflectance(3, 1, (20, 60))[0]
    stored = (land * 10_000).round().astype("uint16")
    left, right = stored[:, :32], stored[:, 28:]
    tiles = {
        "T33TWL": write_raster(tmp_path / "left.tif", left),
        "T33TXL": write_raster(tmp_path / "right.tif", right, corner=(CORNER[0] + 280, CORNER[1])),
    }
    items = [item(name, day(0), {"B02": path}) for name, path in tiles.items()]
    cube = open_products(items, "B02")
    assert cube.products.values.tolist() == ["T33TWL T33TXL"]
    np.testing.assert_array_equal(cube.B02[0], stored)
    # The same place by the tile of the next zone: on the grid of most, to the nearest pixel.
    with rasterio.open(tiles["T33TWL"]) as file:
        other = rasterio.warp.reproject(
            stored,
            src_transform=file.transform,
            src_crs=file.crs,
            dst_crs="EPSG:32634",
            dst_resolution=10,
            src_nodata=0,
        )
    path = tmp_path / "zone34.tif"
    profile = {"height": other[0].shape[-2], "width": other[0].shape[-1], "dtype": "uint16"}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=1,
        crs="EPSG:32634",
        transform=other[1],
        nodata=0,
        **profile,
    ) as file:
        file.write(other[0].squeeze(), 1)
    both = open_products([*items, item("T34TBR", day(1), {"B02": path})], "B02")
    assert both.spatial_ref == 32633 and both.sizes["time"] == 2
    part = both.sel(x=cube.x, y=cube.y)
    np.testing.assert_array_equal(part.B02[0], stored)
    known = part.B02[1].values != 0
    assert known.mean() > 0.9
    assert np.median(np.abs(part.B02[1].values - stored.astype(int))[known]) < 60


def test_of_two_versions_of_an_acquisition_the_newer_is_taken(tmp_path):
    frame = reflectance(4, 1, (8, 10))[0]
    old, new = (
        sentinel2(tmp_path / kind.replace(" ", ""), [frame], [kind])[0]
        for kind in ("before the offset", "raster:bands")
    )
    old.id, new.id = "N0301", "N0510"
    assert open_products([new, old], "red").products.values.tolist() == ["N0510"]


@pytest.mark.parametrize("claimed", ["raster:bands", "before the offset"])
def test_an_offset_that_the_pixels_contradict_is_said(tmp_path, claimed):
    frames = reflectance(5, 3, (12, 16)) - 0.06
    other = "before the offset" if claimed == "raster:bands" else "raster:bands"
    items = sentinel2(tmp_path, frames, [claimed, other, other])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        open_products(items, "red")
    # The stored values of the first date are of the other kind.
    added = DESCRIPTIONS[other][1]
    write_raster(tmp_path / "0_B04.tif", (frames[0] * 10_000 + added).round().astype("uint16"))
    with pytest.warns(UserWarning, match=r"S2_0.*offset of red.*-?0.*baseline 0[35].*other dates"):
        open_products(items, "red")


def without(key):
    def change(items, folder):
        del items[1].assets[key]

    return change


def no_projection(items, folder):
    items[1].assets["red"].extra_fields.pop("proj:transform")


def no_file(items, folder):
    (folder / "1_B04.tif").unlink()


def other_level(items, folder):
    items[0].properties["s2:product_type"] = "S2MSI1C"
    items[1].properties["s2:product_type"] = "S2MSI2A"


def other_pixels(items, folder):
    asset = items[1].assets["red"]
    transform = asset.extra_fields["proj:transform"]
    transform[0], transform[4] = 20, -20
    with rasterio.open(asset.href, "r+") as file:
        file.transform = rasterio.Affine(*transform)


def nothing(items, folder):
    pass


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (without("red"), {}, "S2_1 has no band red, but scl: name one"),
        (without("scl"), {}, "S2_1 has no mask, and S2_0 has scl: give products of one kind"),
        (no_projection, {}, "S2_1: its asset red has no projection metadata.*proj:code"),
        (no_file, {}, "S2_1: its asset red.*1_B04.tif, does not exist: put the file"),
        (other_level, {}, "levels, S2_0 .S2MSI1C., S2_1 .S2MSI2A..*one level"),
        (other_pixels, {}, "S2_1: band red has pixels of 20.*S2_0 has 10: open"),
        (
            nothing,
            {"max_cloud": 0, "datetime": "2026-06-02/.."},
            "2 products and none of datetime.*max_cloud 0: give",
        ),
        (nothing, {"bbox": (3, 40, 4, 41)}, "none of bbox .3, 40, 4, 41.: give wider"),
        (nothing, {"datetime": "last June"}, "datetime is 'last June': give a date"),
        (nothing, {"max_dates": 0}, "max_dates is 0"),
        (nothing, {"bbox": (12, 45, 11, 46)}, "bbox is .12, 45, 11, 46.: give west"),
    ],
)
def test_bad_products_are_refused_by_name_and_remedy(tmp_path, change, options, message):
    items = sentinel2(tmp_path, reflectance(6, 2, (8, 10)), ["raster:bands"] * 2)
    change(items, tmp_path)
    with pytest.raises(ValueError, match=message):
        open_products(items, **{"bands": ["red"]} | options)


def test_sources_that_are_no_products_are_refused(tmp_path):
    with pytest.raises(ValueError, match="there are no products: give paths"):
        open_products([], "red")
    (tmp_path / "list.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match=r"list\.json cannot be read as STAC"):
        open_products(tmp_path / "list.json", "red")
    with pytest.raises(FileNotFoundError, match=r"none\.json does not exist"):
        open_products(tmp_path / "none.json", "red")
    with pytest.raises(ValueError, match="3 is no product: give the path"):
        open_products([3], "red")
    with pytest.raises(ValueError, match=r"^.{,200} is no product: give the path"):
        open_products([{key: 99 * [key] for key in ("properties", "assets")}], "red")


def test_an_asset_that_is_damaged_is_named(tmp_path):
    items = sentinel2(tmp_path, reflectance(7, 2, (64, 64)), ["before the offset"] * 2)
    path = tmp_path / "1_B04.tif"
    cube = open_products(items, "red")
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(OSError, match=r"1_B04\.tif cannot be read .*: fetch the product again"):
        cube.red.compute()


def test_without_the_libraries_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "odc.stac", None)
    with pytest.raises(ImportError, match=r"pip install probav_estimators\[stac\]"):
        open_products("items.json", "red")


@pytest.fixture(scope="module")
def server(catalog):
    """Address of a STAC API on this machine, which has the items of `catalog` as a collection."""
    items = pystac.ItemCollection.from_file(str(catalog / "items.json"))
    for one in items:
        one.collection_id = "sentinel-2-l2a"
    items.save_object(str(catalog / "served.json"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    serve = ["serve", catalog / "served.json", "--create-collections", "--addr", address]
    program = [Path(sys.executable).with_name("rustac"), *map(str, serve)]
    with subprocess.Popen(program, stdout=subprocess.DEVNULL) as process:
        for _ in range(200):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{address}"):
                break
            time.sleep(0.05)
        yield f"http://{address}"
        process.terminate()


def test_a_stac_api_is_searched(catalog, server):
    limits = {"datetime": "2026-06-05/2026-06", "max_cloud": 25, "bbox": (16.2, 45.1, 16.3, 45.2)}
    expected = open_products(catalog / "items.json", "red", **limits)
    assert expected.sizes["time"] == 2
    for address in (server, f"{server}/search"):
        found = open_products(address, "red", collection="sentinel-2-l2a", **limits)
        assert found.identical(expected)
    with pytest.raises(ValueError, match="0 products and none of collection landsat: give"):
        open_products(server, "red", collection="landsat")
    with pytest.raises(ValueError, match=r"http://127\.0\.0\.1:9 gives no items"):
        open_products("http://127.0.0.1:9", "red")


def call(*args):
    return CliRunner().invoke(probav, ["super-resolve", *map(str, args), "--quiet"])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """File of a model that needs no training."""
    path = tmp_path_factory.mktemp("model") / "baseline.safetensors"
    save_model(BicubicBaseline(scale=2), path)
    return path


def test_one_command_fuses_products_and_writes_what_was_chosen(catalog, model, tmp_path):
    image = tmp_path / "sharp.tif"
    limits = ["--max-dates", 3, "--bbox", "16.2701,45.1430,16.2760,45.1465", "--weights", model]
    result = call(
        "--stac", catalog / "items.json", "--bands", "red", *limits, "-o", image, "--json"
    )
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("2026")]
    assert len(lines) == 3 and all("clear" in line and "S2_" in line for line in lines)
    written = json.loads(result.stdout)["written"]
    assert written == [str(image), f"{image}.items.json"] == sorted(map(str, tmp_path.iterdir()))
    with rasterio.open(image) as file:
        assert (file.crs.to_epsg(), file.descriptions, file.dtypes) == (
            32633,
            ("red",),
            ("uint16",),
        )
        assert (file.scales, file.offsets, file.nodata) == ((1e-4,), (-0.1,), 0)
        values = file.read(1)
    assert 0.05 < np.median(values[values > 0]) * 1e-4 - 0.1 < 0.2
    # The items make the same image again.
    limits[1] = 4
    again = call(f"{image}.items.json", "--bands", "red", *limits, "-o", tmp_path / "again.tif")
    assert again.exit_code == 0, again.output
    with rasterio.open(tmp_path / "again.tif") as file:
        np.testing.assert_array_equal(file.read(1), values)


def test_a_command_that_failed_goes_on_with_the_frames_that_it_has(catalog, model, tmp_path):
    items = sentinel2(tmp_path, reflectance(8, 2, (20, 20)), ["before the offset"] * 2)
    pystac.ItemCollection(items).save_object(str(tmp_path / "items.json"))
    command = ["--stac", tmp_path / "items.json", "--bands", "red", "--weights", model]
    good = (tmp_path / "1_B04.tif").read_bytes()
    (tmp_path / "1_B04.tif").write_bytes(good[:500])
    result = call(*command, "-o", tmp_path / "sharp.tif")
    assert result.exit_code != 0 and "1_B04.tif" in result.output
    assert not (tmp_path / "sharp.tif").exists()
    (tmp_path / "1_B04.tif").write_bytes(good)
    assert call(*command, "-o", tmp_path / "sharp.tif").exit_code == 0
    assert not (tmp_path / "sharp.tif.frames").exists()


def test_weights_are_loaded_once(monkeypatch, tmp_path):
    calls, load = [], FusionNet.from_pretrained
    monkeypatch.setattr(
        FusionNet, "from_pretrained", lambda *a, **k: calls.append(a) or load(*a, **k)
    )
    items = sentinel2(tmp_path, reflectance(8, 2, (20, 20)), ["before the offset"] * 2)
    super_resolve_products(items, Outputs(tmp_path / "sharp.tif"), "simulated-x2", bands=["red"])
    assert calls == [("simulated-x2",)]


@pytest.mark.parametrize("record", [b"", b'{"bands": ["red"]}', b"\x00" * 40])
def test_frames_of_a_damaged_record_are_written_again(model, tmp_path, record):
    """A power cut can leave the record of what the frames are of empty or damaged."""
    items = sentinel2(tmp_path, reflectance(8, 2, (20, 20)), ["before the offset"] * 2)
    pystac.ItemCollection(items).save_object(str(tmp_path / "items.json"))
    frames = tmp_path / "sharp.tif.frames"
    frames.mkdir()
    (frames / "choice.json").write_bytes(record)
    command = ["--stac", tmp_path / "items.json", "--bands", "red", "--weights", model]
    result = call(*command, "-o", tmp_path / "sharp.tif")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "sharp.tif").exists() and not frames.exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "FILES are missing"),
        (["lost.SAFE", "--bands", "B04"], "lost.SAFE does not exist: give the path of a product"),
        (["a.tif", "--max-dates", 2], "--max-dates chooses products, and a.tif is none"),
        (["a.tif", "--stac", "items.json"], "a.tif is no product, and items.json is one"),
        (["--stac", "items.json"], "bands is missing: name the bands"),
        (["--stac", "items.json", "--bands", "red", "--mask", "m.tif"], "mask is given, and prod"),
        (
            ["--stac", "items.json", "--bands", "red", "--reference", "2026-06-02"],
            "no frame has that date: give one of S2_0's, 2026-06-01T10:10:31, 2026-06-06T",
        ),
    ],
)
def test_commands_that_do_not_fit_are_refused(catalog, tmp_path, args, message):
    args = [catalog / "items.json" if arg == "items.json" else arg for arg in args]
    message = message.replace("items.json", str(catalog / "items.json"))
    result = call(*args, "-o", tmp_path / "sharp.tif")
    assert result.exit_code == 2 and message in result.output, result.output
    assert not list(tmp_path.iterdir())
