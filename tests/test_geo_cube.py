"""Cubes of common libraries: bands, dates, and encoding of the values."""

import numpy as np
import pandas as pd
import pytest
import rasterio
import rioxarray
import xarray as xr
from affine import Affine
from nrt import data

from probav_estimators.geo import read_cube

SHAPE = (4, 6)
COORDS = {"y": 100 - 10.0 * np.arange(4) - 5, "x": 10.0 * np.arange(6) + 5}
TIMES = pd.date_range("2021-12-01", periods=3, freq="30D")
DIMS = ("time", "band", "y", "x")


def numbers(*shape, dtype=np.uint16):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def like_stackstac(dtype=np.float64, **coords):
    """Upper left corners, a scalar epsg, and metadata along the bands."""
    coords = {
        "time": TIMES,
        "band": ["B08", "B04"],
        "y": COORDS["y"] + 5,
        "x": COORDS["x"] - 5,
        "epsg": 32633,
        "common_name": ("band", ["nir", "red"]),
        **coords,
    }
    values = numbers(3, 2, *SHAPE, dtype=dtype)
    attrs = {"crs": "epsg:32633", "transform": Affine(10, 0, 0, 0, -10, 100), "resolution": 10}
    return xr.DataArray(values, coords, DIMS, "stackstac-1f", attrs).chunk(time=1, x=3)


def like_odc(**attrs):
    """One variable per band."""
    coords = {"time": TIMES, **COORDS, "spatial_ref": 32633}
    values = numbers(3, *SHAPE)
    red, nir = (xr.DataArray(values + k, coords, ("time", "y", "x"), attrs=attrs) for k in range(2))
    return xr.Dataset({"red": red, "nir": nir})


def plain(*shape, dims=("time", "y", "x"), dtype=np.uint16, **options):
    return xr.DataArray(numbers(*(shape or (3, *SHAPE)), dtype=dtype), dims=dims, **options)


def geotiff(path, *, scales=(1, 1), offsets=(0, 0), nodata=None, dtype=np.int16):
    profile = {"driver": "GTiff", "dtype": dtype, "count": 2, "nodata": nodata}
    size = {"height": 4, "width": 6, "crs": "EPSG:32633", "transform": Affine(10, 0, 0, 0, -10, 40)}
    with rasterio.open(path, "w", **profile, **size) as file:
        file.write(numbers(2, *SHAPE, dtype=dtype))
        file.scales, file.offsets = scales, offsets
    return path


def open_dates(path, **options):
    """Open a file twice, as two dates."""
    dates = [rioxarray.open_rasterio(path, **options).load() for _ in range(2)]
    return xr.concat(dates, pd.Index(TIMES[:2], name="time"))


class TestConventions:
    def test_stackstac(self):
        cube = like_stackstac()
        read = read_cube(cube)
        assert list(read.bands) == ["B08", "B04"]
        assert (
            read.band_dim == "band"
            and read.kind == "dataarray"
            and read.array_name == "stackstac-1f"
        )
        np.testing.assert_array_equal(read.times, TIMES.values)
        assert read.grid.transform == (10, 0, 0, 0, -10, 100) and read.grid.shape == SHAPE
        for number, band in enumerate(read.bands.values()):
            assert band.values.chunks == ((1, 1, 1), (4,), (3, 3))
            np.testing.assert_array_equal(band.values, cube.values[:, number])
        assert read_cube(cube.drop_attrs()).grid == read.grid

    def test_odc(self):
        cube = like_odc(nodata=0, units="1")
        read = read_cube(cube)
        assert list(read.bands) == ["red", "nir"]
        assert read.kind == "dataset" and read.band_dim is None and read.array_name is None
        np.testing.assert_array_equal(read.bands["nir"].values, numbers(3, *SHAPE) + 1)
        assert read.encodings["red"].nodata == 0 and read.encodings["red"].dtype == np.uint16
        # Variables without frames are not bands.
        more = cube.assign(slope=cube.red[0], cloud_cover=("time", [1, 2, 3]), crs=0)
        assert list(read_cube(more).bands) == ["red", "nir"]

    def test_rioxarray(self, tmp_path):
        read = read_cube(open_dates(geotiff(tmp_path / "a.tif")))
        assert list(read.bands) == ["1", "2"]
        np.testing.assert_array_equal(read.bands["2"].values[1], numbers(2, *SHAPE)[1])

    def test_the_cube_of_nrt(self):
        read = read_cube(data.romania_10m(), bands=["B8", "B4"])
        assert list(read.bands) == ["B8", "B4"] and read.grid.shape == (100, 100)
        # xarray has replaced the nodata value 0 by NaN.
        assert read.encodings["B4"].nodata is None and read.encodings["B4"].scale == 1

    @pytest.mark.parametrize("bands", [8, np.int64(8), "8", np.array([4, 8])])
    def test_bands_of_numbers(self, bands):
        cube = like_stackstac().assign_coords(band=[4, 8])
        assert list(read_cube(cube, bands=bands).bands) == np.atleast_1d(bands).astype(str).tolist()

    def test_one_band(self):
        assert list(read_cube(plain()).bands) == ["band"]
        assert list(read_cube(plain(name="ndvi")).bands) == ["ndvi"]
        read = read_cube(like_stackstac().sel(band="B04"))
        assert list(read.bands) == ["B04"] and read.band_dim is None
        assert read_cube(plain()).times is None and not read_cube(plain()).grid.placed

    @pytest.mark.parametrize(
        "times",
        [
            [str(time.date()) for time in TIMES],
            [*TIMES.tz_localize("UTC").tz_convert("Asia/Tokyo")],
            xr.date_range("2021-12-01", periods=3, freq="30D", calendar="noleap", use_cftime=True),
        ],
    )
    def test_times_of_other_types(self, times):
        read = read_cube(plain().assign_coords(time=("time", np.array(times, object))))
        np.testing.assert_array_equal(read.times, TIMES.values)
        bad = np.array([times[0], "yesterday evening", times[1]], object)
        with pytest.raises(ValueError, match=r"cube has times that are no dates.*drop_vars"):
            read_cube(plain().assign_coords(time=("time", bad)))


class TestEncodings:
    """Scale, offset and nodata value of the stored numbers."""

    def of(self, cube, **options):
        return next(iter(read_cube(cube, **options).encodings.values()))

    def test_nothing_is_said(self):
        found = self.of(plain())
        assert (found.scale, found.offset, found.nodata) == (1, 0, None)
        assert found.dtype == np.uint16

    def test_tags_of_a_geotiff(self, tmp_path):
        path = geotiff(tmp_path / "a.tif", scales=[1e-4] * 2, offsets=[-0.1] * 2, nodata=-9999)
        found = self.of(open_dates(path))
        assert (found.scale, found.offset, found.nodata) == (1e-4, -0.1, -9999)
        # Masked values are still digital numbers, as floats.
        found = self.of(open_dates(path, masked=True))
        assert (found.scale, found.offset, found.nodata) == (1e-4, -0.1, None)

    def test_decoded_values_are_not_decoded_again(self, tmp_path):
        path = geotiff(tmp_path / "a.tif", scales=[1e-4] * 2, offsets=[-0.1] * 2, nodata=-9999)
        cube = open_dates(path, mask_and_scale=True)
        assert cube.encoding["scale_factor"] == 1e-4
        found = self.of(cube)
        assert (found.scale, found.offset, found.nodata) == (1, 0, None)

    @pytest.mark.filterwarnings("ignore:Scales differ", "ignore:Offsets differ")
    def test_tags_that_differ_from_band_to_band(self, tmp_path):
        path = geotiff(tmp_path / "a.tif", scales=[1e-4, 2e-4], offsets=[0, -0.1])
        read = read_cube(open_dates(path), bands=["2", "1"])
        assert (read.encodings["1"].scale, read.encodings["1"].offset) == (1e-4, 0)
        assert (read.encodings["2"].scale, read.encodings["2"].offset) == (2e-4, -0.1)

    @pytest.mark.parametrize("decoded", [False, True])
    def test_attributes_of_cf(self, decoded, tmp_path):
        attrs = {"scale_factor": 1e-4, "add_offset": -0.1, "_FillValue": 0}
        xr.Dataset({"red": plain(attrs=attrs)}).to_netcdf(tmp_path / "a.nc")
        with xr.open_dataset(tmp_path / "a.nc", mask_and_scale=decoded) as cube:
            found = self.of(cube)
        expected = (1, 0, None) if decoded else (1e-4, -0.1, 0)
        assert (found.scale, found.offset, found.nodata) == expected

    @pytest.mark.parametrize("key", ["_FillValue", "missing_value", "nodata"])
    def test_names_of_no_data(self, key):
        assert self.of(plain(attrs={key: np.int16(-1)})).nodata == -1
        assert self.of(plain(dtype=float, attrs={key: -9999.0})).nodata == -9999
        assert self.of(plain(dtype=float, attrs={key: np.nan})).nodata is None
        # NaN of another name says nothing more.
        both = {"_FillValue": np.nan, key: -9999.0}
        assert self.of(plain(dtype=float, attrs=both)).nodata == -9999
        cube = plain()
        cube.encoding[key] = 0
        assert self.of(cube).nodata == 0

    def test_stac_metadata_of_numbers_that_stackstac_did_not_scale(self):
        meta = np.empty(2, object)
        meta[:] = [{"scale": 1e-4, "offset": -0.1, "nodata": 0}, [{"scale": 2e-4}]]
        cube = like_stackstac(np.uint16, **{"raster:bands": ("band", meta)})
        nir, red = read_cube(cube).encodings.values()
        assert (nir.scale, nir.offset, nir.nodata) == (1e-4, -0.1, 0)
        assert (red.scale, red.offset, red.nodata) == (2e-4, 0, None)
        assert self.of(cube.astype(float)).scale == 1

    def test_arguments_come_first(self):
        cube = plain(attrs={"scale_factor": 1e-4, "add_offset": -0.1, "nodata": 0})
        found = self.of(cube, scale_factor=2, add_offset=[0, 0, -1000], nodata=7)
        assert (found.scale, found.nodata) == (2, 7)
        assert found.offset.tolist() == [0, 0, -1000]
        assert self.of(cube, scale_factor=2).offset == -0.1

    def test_arguments_by_band(self):
        read = read_cube(like_odc(nodata=5), add_offset={"nir": [1, 2, 3]}, nodata={"red": 0})
        assert read.encodings["nir"].offset.tolist() == [1, 2, 3]
        assert read.encodings["red"].offset == 0
        assert [one.nodata for one in read.encodings.values()] == [0, 5]

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"add_offset": [0, -1000]}, r"add_offset is .* the shape \(2,\).* 3 frames"),
            ({"scale_factor": 0}, "none that is 0"),
            ({"nodata": {"blue": 0}}, "nodata names the bands blue.*: red, nir"),
        ],
    )
    def test_bad_arguments(self, options, told):
        with pytest.raises(ValueError, match=told):
            read_cube(like_odc(), **options)


class TestBadCubes:
    @pytest.mark.parametrize(
        ("cube", "told"),
        [
            (np.zeros((3, 4, 6)), r"cube is a ndarray.*xarray\.DataArray\(frames, dims="),
            (plain(4, 6, dims=("y", "x")), "the dims y, x and no time, as a single date has"),
            (plain(3, 4, 6, dims=("time", "a", "x")), r'no y: .*rename\(\.\.\.="y"\)'),
            (plain(0, 4, 6), "nothing along time"),
            (plain(2, 3, 4, 6, dims=("orbit", "time", "y", "x")), r"orbit .*isel\(orbit=0\)"),
            (plain(dtype=complex), "type complex128"),
            (
                like_stackstac().assign_coords(band=["B04", "B04"]),
                r'several bands of the name B04.*drop_duplicates\("band"\)',
            ),
            (
                xr.Dataset({"a": like_stackstac(), "b": like_stackstac()}),
                "no variable with the dims time, y and x, but a .*, b ",
            ),
        ],
    )
    def test_one_sentence_says_what_is_there_and_the_remedy(self, cube, told):
        with pytest.raises(ValueError, match=told):
            read_cube(cube)

    @pytest.mark.parametrize(
        "cube", [like_odc(), like_stackstac().assign_coords(band=["red", "nir"])]
    )
    def test_unknown_bands(self, cube):
        with pytest.raises(ValueError, match=r"bands names B04, B02, .*: it has red, nir"):
            read_cube(cube, bands=["B04", "B02", "red"])
        for bands in (["red", "red"], []):
            with pytest.raises(ValueError, match="name each band once"):
                read_cube(cube, bands=bands)
