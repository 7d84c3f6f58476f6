"""Places and values of cubes by the conventions of satpy, GDAL and netCDF: read, or refused."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rioxarray")

import pyproj
import rasterio
import rioxarray
import xarray
from _helpers import quietly
from _rasters import write

from probav_estimators import BicubicBaseline, super_resolve
from probav_estimators.geo import Outputs, read_cube, super_resolve_files

H, W = 24, 30
LEFT, TOP, UTM = 600_000, 5_000_000, pyproj.CRS(32634)
X, Y = LEFT + 10 * (np.arange(W) + 0.5), TOP - 10 * (np.arange(H) + 0.5)
BASELINE = BicubicBaseline(scale=2)
TIMES = xarray.Variable("time", np.array(["2024-06-01", "2024-06-06", "2024-06-11"], "M8[ns]"))


def cube(dtype="int16", **coords):
    values = np.random.default_rng(1).integers(1000, 4000, (3, H, W)).astype(dtype)
    return xarray.DataArray(values, dims=("time", "y", "x"), coords=coords, name="B04")


def place_of(array):
    grid = read_cube(array).grid
    return grid.transform, None if grid.crs is None else rasterio.CRS.from_wkt(grid.crs).to_epsg()


EXPECTED = (10, 0, LEFT, 0, -10, TOP), 32634
AREA = SimpleNamespace(crs=UTM, shape=(H, W), area_extent=(LEFT, TOP - 10 * H, LEFT + 10 * W, TOP))


class TestPlaces:
    @pytest.mark.parametrize(
        "array",
        [
            cube(x=X, y=Y, crs=((), UTM)),
            cube(x=X, y=Y, spatial_ref=((), UTM)),
            cube(x=X, y=Y).assign_attrs(crs=UTM),
            cube(x=X, y=Y).assign_attrs(area=AREA),
            cube().assign_attrs(area=AREA),
            cube(x=X, y=Y, crs=((), UTM)).to_dataset(),
        ],
    )
    def test_objects_of_pyproj_and_areas_of_satpy_are_read(self, array):
        assert place_of(array) == EXPECTED
        image = super_resolve(array, BASELINE)
        assert image.rio.crs.to_epsg() == 32634 and "area" not in image.attrs

    def test_coordinates_without_a_crs_in_them_give_none(self):
        assert place_of(cube(x=X, y=Y, crs=0, spatial_ref=0)) == (EXPECTED[0], None)

    @pytest.mark.parametrize("names", [("lon", "lat"), ("longitude", "latitude"), ("a", "b")])
    def test_longitudes_and_latitudes_of_each_pixel_are_refused(self, names):
        lon, lat = np.meshgrid(np.linspace(15, 15.1, W), np.linspace(45.1, 45, H))
        swath = cube()
        for name, values, kind in zip(names, (lon, lat), ("longitude", "latitude"), strict=True):
            swath = swath.assign_coords({name: (("y", "x"), values, {"standard_name": kind})})
        with pytest.raises(ValueError, match=f"placed by {names[0]} and {names[1]}, and not on"):
            super_resolve(swath, BASELINE)
        # Beside a grid they say nothing more.
        assert place_of(swath.assign_coords(x=X, y=Y, crs=((), UTM))) == EXPECTED

    def test_swaths_of_satpy_are_refused(self):
        swath = SimpleNamespace(lons=np.zeros((H, W)), lats=np.zeros((H, W)))
        with pytest.raises(ValueError, match=r"by the swath in its attribute area.*resample"):
            read_cube(cube().assign_attrs(area=swath))

    def test_control_points_are_refused(self):
        """As rioxarray opens files that have them."""
        points = '{"type": "FeatureCollection", "features": []}'
        place = {"GeoTransform": "0.0 1.0 0.0 0.0 0.0 1.0", "gcps": points}
        array = cube(spatial_ref=xarray.DataArray(0, attrs=place))
        with pytest.raises(ValueError, match=r"cube is placed by control points.*gdalwarp -r near"):
            read_cube(array)


class TestAlpha:
    """A band that tells where the others have data."""

    HOLE = slice(None), slice(0, 6), slice(0, 8)

    def bands(self, beneath=7):
        frames, alpha = np.uint8(10 + cube().values % 200), np.full((3, H, W), 255, "uint8")
        frames[self.HOLE], alpha[self.HOLE] = beneath, 0
        coords = {"time": TIMES, "band": [1, 2], "y": Y, "x": X}
        stack = np.stack([frames, alpha], axis=1)
        return xarray.DataArray(stack, coords, ("time", "band", "y", "x"))

    def by_name(self, folder):
        return self.bands().assign_coords(band=["red", "alpha"])

    def by_description(self, folder):
        return self.bands().assign_attrs(long_name=("red", "Alpha band"))

    def by_variable(self, folder):
        return self.by_name(folder).to_dataset("band").rename(alpha="dataMask")

    def by_values(self, folder):
        return self.bands(beneath=0)

    def by_no_data(self, folder):
        bands = self.bands().astype("float32")
        return bands.where((bands != 7) | (bands.band == 2))

    def by_colour(self, folder):
        paths = [
            write(folder / f"{day}.tif", frame, alpha="yes", place=(LEFT, TOP))
            for day, frame in enumerate(self.bands().values)
        ]
        return xarray.concat([rioxarray.open_rasterio(path) for path in paths], TIMES)

    @pytest.mark.parametrize(
        "form", ["by_name", "by_description", "by_variable", "by_values", "by_no_data", "by_colour"]
    )
    def test_it_hides_pixels_and_is_no_band(self, tmp_path, form):
        bands = getattr(self, form)(tmp_path)
        clear = np.ones((3, H, W), bool)
        clear[1, 10:15, 10:15] = False
        expected = 3 * np.ones((H, W))
        expected[self.HOLE[1:]] = 0
        expected[10:15, 10:15] = 2
        for frames in (bands, bands.chunk(x=12)):
            image = quietly(super_resolve, frames, BASELINE, mask=clear).compute()
            assert image.sizes.get("band", 1) == len(getattr(image, "data_vars", [1])) == 1
            np.testing.assert_array_equal(np.squeeze(image.n_clear)[::2, ::2], expected)

    def test_no_data_of_several_values_are_refused_and_not_compared(self, tmp_path):
        bands = self.by_values(tmp_path).assign_attrs(nodata=[3, 4])
        with pytest.raises(ValueError, match=r"nodata is \[3, 4\]: give one number"):
            quietly(super_resolve, bands, BASELINE)

    def test_it_is_fused_if_it_is_named(self, tmp_path):
        image = super_resolve(self.by_name(tmp_path), BASELINE, bands=["red", "alpha"])
        assert image.sizes["band"] == 2 and image.n_clear.min() == 3
        masks = self.by_name(tmp_path).sel(band=["alpha"]).assign_coords(band=["clear"]) // 255
        frames = xarray.concat([self.by_name(tmp_path), masks], "band")
        image = super_resolve(frames, BASELINE, mask="clear")
        assert image.band.values.tolist() == ["red"] and image.n_clear.min() == 0


class TestUnsigned:
    """NetCDF's attribute _Unsigned, which xarray leaves where it does not decode."""

    def values(self):
        values = cube("uint16", x=X, y=Y).values + 32_000
        values[0, :4, :4] = 65_535
        return values

    @pytest.mark.parametrize("said", ["true", "True"])
    def test_images_are_those_of_the_unsigned_values(self, said):
        plain = cube(x=X, y=Y).copy(data=self.values()).assign_attrs(_FillValue=np.uint16(65_535))
        stored = plain.copy(data=plain.values.view("int16"))
        stored = stored.assign_attrs(_Unsigned=said, _FillValue=np.int16(-1))
        expected = super_resolve(plain, BASELINE)
        image = super_resolve(stored, BASELINE)
        assert image.dtype == np.uint16 and "_Unsigned" not in image.attrs
        np.testing.assert_array_equal(image, expected)
        np.testing.assert_array_equal(image.n_clear, expected.n_clear)

    def test_masks_of_classes(self):
        classes = np.full((3, H, W), 21_824, "uint16")
        classes[1, 3:9, 4:8] = 0b1101_0110_1100_1000
        plain = cube(x=X, y=Y).copy(data=classes)
        stored = plain.copy(data=classes.view("int16")).assign_attrs(_Unsigned="true")
        counts = [
            super_resolve(cube(x=X, y=Y), BASELINE, mask=one, mask_type="qa_pixel").n_clear
            for one in (plain, stored)
        ]
        np.testing.assert_array_equal(*counts)
        assert int(counts[0].min()) == 2


class TestIntegersOf64Bits:
    @pytest.mark.parametrize(
        ("dtype", "nodata"),
        [("int64", 2**53 + 1), ("int64", -(2**63)), ("uint64", 2**64 - 1), ("int64", -9999)],
    )
    def test_cubes_keep_their_no_data_value(self, dtype, nodata):
        array = cube(dtype, x=X, y=Y)
        array[:, :5, :6] = nodata
        image = super_resolve(array.assign_attrs(_FillValue=np.array(nodata, dtype)[()]), BASELINE)
        assert image.dtype == dtype and image.attrs["_FillValue"] == nodata
        hidden = image.n_clear.values == 0
        assert hidden[:8, :8].all() and not hidden[14:].any()
        np.testing.assert_array_equal(image.values == np.array(nodata, dtype), hidden)

    @pytest.mark.parametrize(
        ("dtype", "given"), [("int64", None), ("int64", -(2**63)), ("uint64", 2**64 - 1)]
    )
    def test_tags_of_files_and_their_pixels_agree(self, tmp_path, dtype, given):
        clear = np.ones((H, W), "uint8")
        clear[:5, :6] = 0
        layers = {f"2024010{day}_B04": values for day, values in enumerate(cube(dtype).values, 1)}
        for name, values in (layers | {"clear": clear}).items():
            write(tmp_path / f"{name}.tif", values)
        image = tmp_path / "image.tif"
        options = {"mask": str(tmp_path / "clear.tif"), "nodata": given}
        super_resolve_files(str(tmp_path / "*_B04.tif"), Outputs(image), BASELINE, **options)
        with rasterio.open(image) as file:
            assert file.dtypes == (dtype,)
            hidden = file.read(1) == int(file.nodata)
            assert hidden[:8, :8].all() and not hidden[14:].any()
