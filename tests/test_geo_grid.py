"""Grids read from cubes of common libraries, and written back."""

import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr
from affine import Affine
from nrt import data
from rasterio.crs import CRS

from probav_estimators.geo import Grid, grid_of_cube, with_grid

# A tile in UTM zone 33, with these coordinates of its upper left corner.
LEFT, TOP = 600_000.0, 5_700_000.0
UTM = CRS.from_epsg(32633).to_wkt()
TRANSFORM = (10.0, 0.0, LEFT, 0.0, -10.0, TOP)
SHAPE = (6, 8)
GRID = Grid(TRANSFORM, SHAPE, UTM)

SLICED = {"x": slice(3, None), "y": slice(2, 5)}
SLICED_GRID = Grid((10.0, 0.0, LEFT + 30, 0.0, -10.0, TOP - 20), (3, 5), UTM)


def plain(shape=(2, *SHAPE), dims=("time", "y", "x"), **options):
    return xr.DataArray(np.zeros(shape, np.uint16), dims=dims, **options)


def centred():
    """Cube with pixel centres only."""
    return plain(coords={"y": TOP - 5 - 10 * np.arange(6), "x": LEFT + 5 + 10 * np.arange(8)})


def like_stackstac(**attrs):
    """Upper left corners as coordinates, a scalar `epsg`, and the grid in the attributes."""
    coords = {
        "band": ["B04", "B08"],
        "y": np.linspace(TOP, TOP - 60, 6, endpoint=False),
        "x": np.linspace(LEFT, LEFT + 80, 8, endpoint=False),
        "epsg": 32633,
    }
    attrs = attrs or {"crs": "epsg:32633", "transform": Affine(*TRANSFORM), "resolution": 10.0}
    return plain((2, 2, *SHAPE), ("time", "band", "y", "x"), coords=coords, attrs=attrs)


def like_cubo():
    """As stackstac, with other attributes."""
    return like_stackstac(
        collection="sentinel-2-l2a",
        epsg=32633,
        resolution=10,
        edge_size=8,
        edge_size_m=80,
        central_x=LEFT + 41.3,
        central_y=TOP - 33.7,
    )


def like_odc():
    """One variable per band, and a CF grid mapping."""
    mapping = xr.Variable((), 32633, {"crs_wkt": UTM, "grid_mapping_name": "transverse_mercator"})
    mapping.attrs["GeoTransform"] = f"{LEFT} 10 0 {TOP} 0 -10"
    band = centred().assign_coords(spatial_ref=mapping)
    band.attrs["grid_mapping"] = "spatial_ref"
    return xr.Dataset({"red": band, "nir": band})


@pytest.fixture
def opened(tmp_path):
    """Two-band GeoTIFF, opened by rioxarray."""
    profile = {"driver": "GTiff", "dtype": "uint16", "count": 2, "crs": "EPSG:32633"}
    size = {"height": 6, "width": 8, "transform": Affine(*TRANSFORM)}
    with rasterio.open(tmp_path / "a.tif", "w", **profile, **size) as file:
        file.write(np.ones((2, *SHAPE), np.uint16))
    with rioxarray.open_rasterio(tmp_path / "a.tif") as cube:
        yield cube


def assert_same(grid, expected):
    np.testing.assert_allclose(grid.transform, expected.transform, rtol=0, atol=1e-9)
    assert grid.shape == expected.shape
    crs, expected_crs = (CRS.from_wkt(one.crs) if one.crs else None for one in (grid, expected))
    assert crs == expected_crs


class TestConventions:
    def test_a_geotiff_opened_by_rioxarray(self, opened):
        assert_same(grid_of_cube(opened), GRID)

    def test_rioxarrays_transform_is_that_of_the_cube_before_it_was_sliced(self, opened):
        part = opened.isel(SLICED)
        assert "600000" in part.spatial_ref.attrs["GeoTransform"]
        assert_same(grid_of_cube(part), SLICED_GRID)
        assert part.rio.transform() == Affine(*SLICED_GRID.transform)

    def test_every_second_pixel_and_means_of_two_are_twice_as_large(self, opened):
        strided = grid_of_cube(opened.isel(x=slice(0, None, 2), y=slice(0, None, 2)))
        assert_same(strided, Grid((20.0, 0, LEFT - 5, 0, -20.0, TOP + 5), (3, 4), UTM))
        means = grid_of_cube(opened.coarsen(x=2, y=2).mean())
        assert_same(means, Grid((20.0, 0, LEFT, 0, -20.0, TOP), (3, 4), UTM))

    @pytest.mark.parametrize("make", [like_stackstac, like_cubo, like_odc])
    def test_cubes_of_libraries_whole_and_sliced(self, make):
        """Coordinates of stackstac and cubo are corners, those of odc centres."""
        assert_same(grid_of_cube(make()), GRID)
        assert_same(grid_of_cube(make().isel(SLICED)), SLICED_GRID)

    def test_stackstacs_coordinates_may_be_centres(self):
        cube = like_stackstac().assign_coords(centred().coords)
        assert_same(grid_of_cube(cube), GRID)
        assert_same(grid_of_cube(cube.isel(SLICED)), SLICED_GRID)

    def test_stackstac_strided_is_refused(self):
        with pytest.raises(ValueError, match=r"20 apart and pixels of 10 .*write_crs"):
            grid_of_cube(like_stackstac().isel(x=slice(0, None, 2)))

    def test_stackstac_moved_is_refused(self):
        cube = like_stackstac()
        with pytest.raises(ValueError, match="neither corners nor centres"):
            grid_of_cube(cube.assign_coords(x=cube.x + 2.4))

    def test_netcdf_with_y_ascending(self, tmp_path):
        attrs = {"grid_mapping_name": "latitude_longitude", "semi_major_axis": 6378137.0}
        coords = {"y": 45 + 0.01 * np.arange(6), "x": 7 + 0.01 * np.arange(8)}
        cube = xr.Dataset({"ndvi": plain(coords=coords, attrs={"grid_mapping": "crs"})})
        cube["crs"] = ((), 0, {**attrs, "inverse_flattening": 298.257223563})
        cube.to_netcdf(tmp_path / "a.nc")
        with xr.open_dataset(tmp_path / "a.nc") as opened:
            grid = grid_of_cube(opened)
        assert grid.transform == pytest.approx((0.01, 0, 6.995, 0, 0.01, 44.995))
        assert CRS.from_wkt(grid.crs).is_geographic
        grid.check_usable("cube")

    def test_a_netcdf_file_of_gdal(self):
        """nrt's cube of Romanian forest."""
        cube = data.romania_10m()
        grid = grid_of_cube(cube)
        x, y = float(cube.x[0]), float(cube.y[0])
        assert grid.transform == pytest.approx((10, 0, x - 5, 0, -10, y + 5))
        assert grid.crs.startswith('PROJCS["ETRS89 / LAEA Europe"')

    def test_coordinates_alone_are_centres(self):
        assert_same(grid_of_cube(centred()), Grid(TRANSFORM, SHAPE))

    def test_coordinates_in_float32(self):
        cube = centred()
        cube = cube.assign_coords(y=(cube.y + 0.3).astype("f4"), x=(cube.x + 0.3).astype("f4"))
        grid = grid_of_cube(cube)
        assert grid.transform == pytest.approx((10, 0, LEFT + 0.3, 0, -10, TOP + 0.3), abs=0.3)
        grid.check_usable("cube")

    def test_a_crs_in_the_attributes(self):
        for attrs in ({"crs": "EPSG:32633"}, {"epsg": np.int64(32633)}, {"crs": UTM}):
            assert_same(grid_of_cube(centred().assign_attrs(attrs)), GRID)
        with pytest.raises(ValueError, match=r"'UTM 33'.*write_crs"):
            grid_of_cube(centred().assign_attrs(crs="UTM 33"))

    def test_nothing_at_all(self):
        grid = grid_of_cube(plain())
        assert grid == Grid((1.0, 0.0, 0.0, 0.0, 1.0, 0.0), SHAPE, None)
        assert not grid.placed and grid_of_cube(centred()).placed


class TestBadCoordinates:
    def test_irregular(self):
        cube = centred()
        with pytest.raises(ValueError, match="frames has x coordinates that do not lie apart"):
            grid_of_cube(cube.isel(x=[0, 1, 2, 4, 5]), "frames")
        assert grid_of_cube(cube.assign_coords(x=cube.x + np.resize([0, 5e-3], 8))).shape == SHAPE
        with pytest.raises(ValueError, match="apart alike"):
            grid_of_cube(cube.assign_coords(x=cube.x + np.resize([0, 5e-2], 8)))
        with pytest.raises(ValueError, match="apart alike"):
            grid_of_cube(cube.assign_coords(x=np.full(8, np.nan)))
        with pytest.raises(ValueError, match="apart alike"):
            grid_of_cube(cube.assign_coords(x=np.zeros(8)))

    def test_no_numbers(self):
        with pytest.raises(ValueError, match="x coordinates of type <U1"):
            grid_of_cube(centred().assign_coords(x=list("abcdefgh")))


class TestGrid:
    def test_a_finer_grid_keeps_its_bounds(self):
        finer = GRID.finer(3)
        assert finer.shape == (18, 24)
        assert finer.bounds == pytest.approx((LEFT, TOP - 60, LEFT + 80, TOP))
        assert finer.pixel_size == pytest.approx((10 / 3, 10 / 3))
        y, x = finer.coords()
        # Each pixel's centre is that of its 3 x 3 finer pixels.
        np.testing.assert_allclose(y.reshape(-1, 3).mean(axis=1), GRID.coords()[0])
        np.testing.assert_allclose(x.reshape(-1, 3).mean(axis=1), GRID.coords()[1])

    def test_a_window_is_that_of_rasterio(self):
        part = GRID.window(slice(2, 5), slice(3, None))
        assert_same(part, SLICED_GRID)
        window = rasterio.windows.Window(3, 2, 5, 3)
        assert rasterio.windows.transform(window, Affine(*TRANSFORM)) == Affine(*part.transform)
        assert GRID.window(slice(None), slice(-2, None)).bounds[0] == LEFT + 60

    @pytest.mark.parametrize(
        ("transform", "told"),
        [
            ((10.0, 1.0, 0, 1.0, -10.0, 0), "a rotated grid"),
            ((10.0, 0, 0, 0, -20.0, 0), "not square: they are 20.0 high and 10.0 wide"),
            ((np.nan, 0, 0, 0, -10.0, 0), "without a size"),
        ],
    )
    def test_grids_of_no_use(self, transform, told):
        with pytest.raises(ValueError, match=rf"a\.tif has .*{told}.*rio\.reproject"):
            Grid(transform, SHAPE, UTM).check_usable("a.tif")

    @pytest.mark.parametrize(
        ("other", "told"),
        [
            (GRID.window(slice(1, None), slice(None)), r"\(6, 8\) and \(5, 8\) pixels"),
            (Grid(TRANSFORM, SHAPE, CRS.from_epsg(32634).to_wkt()), "EPSG:32633 and EPSG:32634"),
            (Grid((10.0, 0, LEFT + 0.2, 0, -10.0, TOP), SHAPE, UTM), "transforms"),
        ],
    )
    def test_grids_that_differ(self, other, told):
        with pytest.raises(ValueError, match=rf"mask and cube .*{told}.*rio\.reproject_match"):
            GRID.check_same(other, "mask", "cube")

    def test_grids_that_are_the_same(self):
        GRID.check_same(Grid((10.0, 0, LEFT + 0.05, 0, -10.0, TOP), SHAPE, None), "a", "b")
        wkt2 = CRS.from_epsg(32633).to_wkt(version="WKT2_2019")
        assert wkt2 != UTM
        GRID.check_same(Grid(TRANSFORM, SHAPE, wkt2), "a", "b")


class TestWriting:
    ASCENDING = Grid((1e-4, 0, 7.0, 0, 1e-4, 45.0), SHAPE, CRS.from_epsg(4326).to_wkt())

    @pytest.mark.parametrize(
        ("grid", "how"),
        [
            (GRID, "memory"),
            (ASCENDING, "netcdf"),
            (Grid(TRANSFORM, SHAPE), "netcdf"),
            (GRID, "zarr"),
            (ASCENDING, "geotiff"),
        ],
    )
    def test_rioxarray_and_we_read_the_grid_again(self, grid, how, tmp_path):
        image = xr.DataArray(np.ones(SHAPE, np.float32), dims=("y", "x"), name="red")
        out = with_grid(image, grid)
        if how == "netcdf":
            out.to_netcdf(tmp_path / "a.nc")
            assert_same(grid_of_cube(xr.open_dataset(tmp_path / "a.nc").load()), grid)
            out = xr.open_dataset(tmp_path / "a.nc", decode_coords="all")["red"].load()
        elif how == "zarr":
            out.to_dataset().to_zarr(tmp_path / "a.zarr", consolidated=False)
            out = xr.open_zarr(tmp_path / "a.zarr", decode_coords="all", consolidated=False)["red"]
        elif how == "geotiff":
            out.rio.to_raster(tmp_path / "a.tif")
            out = rioxarray.open_rasterio(tmp_path / "a.tif")
        assert out.rio.transform().almost_equals(Affine(*grid.transform))
        assert out.rio.crs == (grid.crs and CRS.from_wkt(grid.crs))
        assert_same(grid_of_cube(out), grid)

    def test_coordinates_are_centres_with_their_names(self):
        out = with_grid(xr.DataArray(np.ones((2, *SHAPE)), dims=("band", "y", "x")), GRID)
        assert out.x[0] == LEFT + 5 and out.y[-1] == TOP - 55
        assert out.x.attrs["standard_name"] == "projection_x_coordinate"

    def test_what_told_another_grid_is_gone(self):
        old = like_stackstac().isel(time=0).assign_attrs(title="a")
        out = with_grid(old.drop_vars(["x", "y"]), GRID.window(slice(None), slice(None)))
        assert out.attrs == {"title": "a"} and "transform" in old.attrs
