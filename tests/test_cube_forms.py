"""Cubes under the names of other libraries, and the date that an image shows."""

from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from _rasters import write
from click.testing import CliRunner

from probav_estimators import FusionNet, make_scenes, super_resolve
from probav_estimators.cli import probav
from probav_estimators.geo import Outputs, super_resolve_files

TIMES = pd.to_datetime(
    ["2021-06-22T00:00:00", "2021-07-02T00:00:00", "2021-07-12T10:30:00", "2021-07-22T00:00:00"]
)


@pytest.fixture(scope="module")
def net():
    return FusionNet.from_pretrained("simulated-x2", verbose=0)


@pytest.fixture(scope="module")
def scene():
    return make_scenes(1, size=(24, 28), scale=2, n_frames=4, random_state=6)[0]


@pytest.fixture(scope="module")
def cube(scene):
    """Frames of 0.001 degrees."""
    rows, columns = np.arange(24), np.arange(28)
    coords = {"time": TIMES, "y": 47.0 - 0.001 * rows, "x": 8.0 + 0.001 * columns}
    return xr.DataArray(np.int16(10_000 * scene.lr), coords, ("time", "y", "x"), "red")


@pytest.fixture(scope="module")
def sharp(cube, net, scene):
    return super_resolve(cube, net, mask=scene.qm, return_std=True)


class TestNamesOfDims:
    @pytest.mark.parametrize(("y", "x"), [("latitude", "longitude"), ("Y", "X")])
    def test_other_names_are_read_and_returned(self, cube, net, scene, sharp, y, x):
        image = super_resolve(cube.rename(y=y, x=x), net, mask=scene.qm, return_std=True)
        xr.testing.assert_equal(image.rename({y: "y", x: "x"}), sharp)
        assert image.dims == image["std"].dims == image.n_clear.dims == (y, x)

    def test_attributes_of_cf_name_the_axes(self, cube, net, scene, sharp):
        frames = cube.rename(time="acquired", y="northing", x="column")
        frames.acquired.attrs["standard_name"] = "time"
        frames.northing.attrs |= {"standard_name": "projection_y_coordinate", "units": "m"}
        frames.column.attrs["axis"] = "X"
        image = super_resolve(frames, net, mask=scene.qm)
        np.testing.assert_array_equal(image, sharp)
        assert image.dims == ("northing", "column")
        assert image.northing.attrs["units"] == "m"
        assert image.attrs["time_coverage_start"] == "2021-06-22T00:00:00Z"

    def test_masks_and_datasets_may_have_them_too(self, cube, net, scene, sharp):
        frames = cube.rename(y="lat", x="lon").to_dataset().chunk(time=1)
        mask = xr.DataArray(scene.qm, dims=("time", "lat", "lon"))
        image = super_resolve(frames, net, mask=mask, return_std=True).compute()
        assert image.red.dims == image.red_std.dims == ("lat", "lon")
        np.testing.assert_array_equal(image.red, sharp)

    def test_names_that_say_nothing_are_refused(self, cube, net):
        with pytest.raises(ValueError, match=r"no y and x: rename them, cube\.rename"):
            super_resolve(cube.rename(y="i", x="j"), net)


class TestDatasetOfOneVariable:
    def test_it_is_read_as_that_variable(self, cube, net, scene):
        both = xr.concat([cube, cube // 2], pd.Index(["red", "nir"], name="band"))
        both = both.transpose("time", "band", "y", "x").rename("band_data")
        expected = super_resolve(both, net, mask=scene.qm)
        frames = both.to_dataset().assign(spatial_ref=0)
        xr.testing.assert_equal(super_resolve(frames, net, mask=scene.qm), expected)

    def test_its_grid_mapping_is_kept(self, cube, net, scene):
        frames = cube.expand_dims(band=[1], axis=1).rename("band_data").to_dataset()
        frames["crs"] = xr.DataArray(
            0, attrs={"crs_wkt": rasterio.crs.CRS.from_epsg(4326).to_wkt()}
        )
        frames.band_data.attrs["grid_mapping"] = "crs"
        assert super_resolve(frames, net, mask=scene.qm).rio.crs.to_epsg() == 4326


class TestReference:
    @pytest.mark.parametrize(
        "reference",
        [
            "2021-07-02",
            date(2021, 7, 2),
            pd.Timestamp("2021-07-02", tz="UTC"),
        ],
    )
    def test_a_date_is_the_frame_of_that_date(self, cube, net, scene, reference):
        by_number = super_resolve(cube, net, mask=scene.qm, reference=1)
        by_date = super_resolve(cube, net, mask=scene.qm, reference=reference)
        xr.testing.assert_equal(by_date, by_number)

    def test_a_day_stands_for_its_only_frame_and_a_time_for_itself(self, cube, net, scene):
        expected = super_resolve(cube, net, mask=scene.qm, reference=2)
        for reference in ("2021-07-12", datetime(2021, 7, 12, 10, 30, tzinfo=UTC)):
            image = super_resolve(cube, net, mask=scene.qm, reference=reference)
            xr.testing.assert_equal(image, expected)

    def test_what_no_frame_or_several_have_is_refused_with_the_dates(self, cube, net):
        told = r"no frame has that date.*2021-06-22T00:00:00, 2021-07"
        with pytest.raises(ValueError, match=told):
            super_resolve(cube, net, reference="2021-07-03")
        times = TIMES[:3].append(pd.DatetimeIndex(["2021-07-12T22:00:00"]))
        told = r"several frames.*2021-07-12T10:30:00, .*T22:00:00"
        with pytest.raises(ValueError, match=told):
            super_resolve(cube.assign_coords(time=times), net, reference="2021-07-12")
        with pytest.raises(ValueError, match=r"dates of .* are not known"):
            super_resolve(cube.drop_vars("time"), net, reference="2021-07-02")

    def test_the_command_takes_dates(self, scene, net, tmp_path):
        for day, frame in zip(
            ("20210622", "20210702", "20210712", "20210722"), scene.lr, strict=True
        ):
            write(tmp_path / f"land_{day}.tif", np.uint16(1 + 10_000 * frame), nodata=0)
        files = str(tmp_path / "land_*.tif")
        super_resolve_files([files], Outputs(tmp_path / "number.tif"), net, reference=3)
        for name, reference in (("date", "2021-07-22"), ("digits", "20210722")):
            call = ["super-resolve", files, "-o", str(tmp_path / f"{name}.tif")]
            call += ["--weights", "simulated-x2", "--reference", reference]
            assert CliRunner().invoke(probav, call).exit_code == 0
            with (
                rasterio.open(tmp_path / f"{name}.tif") as one,
                rasterio.open(tmp_path / "number.tif") as other,
            ):
                np.testing.assert_array_equal(one.read(), other.read())
        call[-1] = "2021-07-23"
        told = CliRunner().invoke(probav, [*call, "--overwrite"])
        assert told.exit_code == 2 and "no frame has that date" in told.output
        call[-1] = "latest"
        assert "its date" in CliRunner().invoke(probav, [*call, "--overwrite"]).output
