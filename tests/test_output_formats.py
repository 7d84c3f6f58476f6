"""Formats of images by the suffixes of their names."""

from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import xarray as xr
from _rasters import write
from click.testing import CliRunner

from probav_estimators import make_scenes
from probav_estimators.cli import probav

METADATA = ("transform", "crs", "nodata", "scales", "offsets", "descriptions")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four dates of uint16 with a hole, of one band and of three, and of floats."""
    folder = tmp_path_factory.mktemp("dates")
    (scene,) = make_scenes(1, size=(40, 44), scale=2, n_frames=4, random_state=8)
    for number, frame in enumerate(scene.lr):
        stored = np.uint16(1 + 10_000 * frame)
        stored[:8, :9] = 0
        bands = np.stack([stored, stored // 2, stored // 3])
        floats = np.where(stored > 0, np.float32(frame), np.nan)[None]
        for name, values in (
            ("one", bands[:1]),
            ("three", bands),
            ("two", bands[:2]),
            ("f", floats),
        ):
            path = folder / f"{name}_2024010{number + 1}.tif"
            nodata = 0 if values.dtype == np.uint16 else np.nan
            tags = {"scales": [1e-4] * len(values), "offsets": [-0.1] * len(values)}
            write(path, values, nodata=nodata, **tags)
    return folder


def call(folder, name, out, *options):
    args = ["super-resolve", folder / f"{name}_*.tif", "-o", out, "--weights", "simulated-x2"]
    return CliRunner().invoke(probav, [str(arg) for arg in [*args, *options]])


@pytest.fixture(scope="module")
def geotiffs(folder, tmp_path_factory):
    """Folder with the GeoTIFFs of all inputs."""
    made = tmp_path_factory.mktemp("geotiffs")
    for name in ("one", "three", "two", "f"):
        std = ["--std", made / f"{name}_std.tif", "--n-clear", made / f"{name}_n.tif"]
        result = call(folder, name, made / f"{name}.tif", *std)
        assert result.exit_code == 0, result.output
    return made


def content(path):
    """Pixels and metadata of a raster."""
    with rasterio.open(path) as file:
        about = {part: getattr(file, part) for part in (*METADATA, "driver")}
        return file.read(), SimpleNamespace(**about, tags=file.tags())


class TestOfGdal:
    @pytest.mark.parametrize(
        ("name", "suffix", "driver"), [("three", ".jp2", "JP2OpenJPEG"), ("one", ".png", "PNG")]
    )
    def test_pixels_grid_and_tags_are_those_of_the_geotiff(
        self, folder, geotiffs, tmp_path, name, suffix, driver
    ):
        out = tmp_path / f"sharp{suffix}"
        result = call(folder, name, out, "--preview", tmp_path / "look.png")
        assert result.exit_code == 0, result.output
        values, file = content(out)
        expected, geotiff = content(geotiffs / f"{name}.tif")
        assert file.driver == driver
        np.testing.assert_array_equal(values, expected)
        for part in METADATA:
            assert getattr(file, part) == getattr(geotiff, part), part
        assert file.tags["n_frames"] == "4"
        found = sorted(path.name for path in tmp_path.iterdir())
        assert found == sorted(["look.png", out.name, f"{out.name}.aux.xml"])

    def test_floats_are_compressed_with_the_predictor_for_floats(self, geotiffs):
        with rasterio.open(geotiffs / "one_std.tif") as file:
            assert file.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "3"


class TestOfXarray:
    @pytest.mark.parametrize(("name", "suffix"), [("three", ".zarr"), ("f", ".nc")])
    def test_variables_are_the_bands_in_physical_units(
        self, folder, geotiffs, tmp_path, suffix, name
    ):
        paths = [tmp_path / f"{part}{suffix}" for part in ("image", "std", "n")]
        result = call(folder, name, paths[0], "--std", paths[1], "--n-clear", paths[2])
        assert result.exit_code == 0, result.output
        sources = [f"{name}.tif", f"{name}_std.tif", f"{name}_n.tif"]
        for path, source in zip(paths, sources, strict=True):
            expected, file = content(geotiffs / source)
            with xr.open_dataset(path, decode_coords="all") as image:
                assert len(image.data_vars) == len(expected)
                # Some versions of zarr list variables in another order.
                values = image[sorted(image.data_vars)].to_dataarray().values
                known = expected != 0 if file.nodata == 0 else np.isfinite(expected)
                scale, offset = file.scales[0], file.offsets[0]
                np.testing.assert_allclose(
                    values[known], (expected * scale + offset)[known], rtol=1e-6
                )
                if file.nodata is not None:
                    assert np.isnan(values[~known]).all()
                assert image.rio.crs == file.crs and image.rio.transform() == file.transform
                assert image.attrs["n_frames"] == 4

    @pytest.mark.parametrize("suffix", [".nc", ".zarr"])
    def test_an_image_is_replaced_as_a_whole_and_on_demand(self, folder, tmp_path, suffix):
        out = tmp_path / f"sharp{suffix}"
        assert call(folder, "one", out).exit_code == 0
        assert "is there already" in call(folder, "two", out).output
        assert call(folder, "two", out, "--overwrite").exit_code == 0
        with xr.open_dataset(out, decode_coords="all") as image:
            assert len(image.data_vars) == 2
        assert [*tmp_path.iterdir()] == [out]

    def test_no_folder_but_a_zarr_store_is_replaced(self, folder, tmp_path):
        (tmp_path / "mine.zarr").mkdir()
        (tmp_path / "mine.zarr" / "thesis.tex").touch()
        result = call(folder, "one", tmp_path / "mine.zarr", "--overwrite")
        assert result.exit_code == 2 and "no Zarr store" in result.output
        assert (tmp_path / "mine.zarr" / "thesis.tex").exists()


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("-", (), r"- is the name of the output"),
        ("sharp", (), ".tif, .tiff, .jp2, .png, .nc, .zarr"),
        ("sharp.img", (), ".tif, .tiff, .jp2, .png, .nc, .zarr"),
        ("sharp.vrt", (), "a VRT, which holds no pixels"),
        ("sharp.png", ("--dtype", "float32"), "PNG of values of type float32: it holds uint8"),
        ("sharp.jp2", ("--dtype", "int32"), "JPEG 2000 of values of type int32"),
        ("sharp.nc", ("--cog",), "only GeoTIFFs are cloud-optimised"),
        ("sharp.tif", ("--std", "std.png"), "std.png is to be a PNG of values of type float32"),
        ("sharp.tif", ("--n-clear", "n.dat"), "n.dat is the name of the output"),
        ("sharp.tif", ("--preview", "look.jpg"), "look.jpg is the name of a preview"),
    ],
)
def test_names_that_promise_what_is_not_written_are_refused(
    folder, tmp_path, monkeypatch, name, options, told
):
    monkeypatch.chdir(tmp_path)
    result = call(folder, "one", name, *options)
    assert result.exit_code == 2 and told in result.output, result.output
    assert not [*tmp_path.iterdir()]


def test_bands_that_would_be_transparency_are_refused(folder, tmp_path):
    result = call(folder, "two", tmp_path / "sharp.png")
    assert result.exit_code == 2 and "PNG of 2 bands: it holds 1 or 3" in result.output
