"""Super-resolution of xarray cubes: values, georeference, masks, laziness and errors."""

import warnings

import numpy as np
import pandas as pd
import pytest
from _helpers import quick_srcnn, small_scenes
from affine import Affine
from scipy.ndimage import gaussian_filter
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline, make_pipeline

from probav_estimators import (
    FSRCNN,
    SRCNN,
    TRMISR,
    BicubicBaseline,
    BicubicUpscaler,
    ClearanceSelector,
    FrameRegistrar,
    FusionNet,
    InputComposer,
    Scene,
    make_scenes,
    save_model,
    super_resolve,
)
from probav_estimators.architectures import ImageParts
from probav_estimators.meta import PerBand
from probav_estimators.version import __version__

xr = pytest.importorskip("xarray")
rasterio = pytest.importorskip("rasterio")
pytest.importorskip("rioxarray")
da = pytest.importorskip("dask.array")
dask = pytest.importorskip("dask")

# A fixed order of summation.
pytestmark = pytest.mark.usefixtures("one_thread")

LEFT, TOP = 499_980.0, 5_200_020.0
DIMS = ("time", "y", "x")
DATES = pd.date_range("2023-03-01", periods=5, freq="10D")
FINER = Affine(5, 0, LEFT, 0, -5, TOP)


@pytest.fixture(scope="module")
def net():
    return FusionNet.from_pretrained("simulated-x2", verbose=0)


@pytest.fixture(scope="module")
def scene():
    """Five frames with clouds."""
    return make_scenes(1, size=24, scale=2, n_frames=5, random_state=4)[0]


@pytest.fixture(scope="module")
def numbers(scene):
    """Frames as int16 reflectances times 10,000."""
    return np.round(10000 * scene.lr).astype(np.int16)


@pytest.fixture(scope="module")
def cube(numbers):
    return cube_of(numbers)


@pytest.fixture(scope="module")
def sharp(cube, net, scene):
    """Result for `cube`."""
    return super_resolve(cube, net, mask=scene.qm, return_std=True)


@pytest.fixture(scope="module")
def bands(numbers):
    """Two bands and a scene classification in one DataArray."""
    classes = np.full(numbers.shape, 4, np.int16)
    classes[1, :, :9] = 9
    stack = np.stack([numbers, numbers // 2 + 300, classes], axis=1)
    coords = {"band": ["B08", "B04", "SCL"], "common_name": ("band", ["nir", "red", "scl"])}
    return cube_of(stack, ("time", "band", "y", "x"), **coords)


def cube_of(values, dims=DIMS, *, size=10.0, **coords):
    """Cube like Sentinel-2's 10 m bands: pixel-centre coordinates, north up."""
    (h, w), n_frames = values.shape[-2:], len(values)
    place = {
        "time": DATES[:n_frames],
        "y": TOP - size * (np.arange(h) + 0.5),
        "x": LEFT + size * (np.arange(w) + 0.5),
    }
    out = xr.DataArray(values, {**place, **coords}, dims)
    return out.rio.write_crs("EPSG:32634").rio.write_transform(Affine(size, 0, LEFT, 0, -size, TOP))


def predicted(net, values, qm, top):
    """Image and standard deviation by `predict`, with value range (0, top)."""
    (image,), (std,) = net.predict([Scene(values, qm, value_range=(0, top))], return_std=True)
    return top * image.astype(np.float64), top * std


def assert_close(result, expected, rounding=0.0):
    """Assert that values are close wherever a frame is clear.

    Registration stops at steps of 0.002 pixels, so rounded frames give slightly other shifts.
    """
    seen = result.n_clear.values > 0
    assert seen.mean() > 0.9
    error = np.abs(result.values.astype(np.float64) - expected)[seen]
    assert error.max() <= rounding + 5e-3 * np.std(expected[seen])


def assert_same(one, other):
    """Assert that images and their coordinates are equal."""
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.n_clear.values, other.n_clear.values)


class TestValues:
    @pytest.mark.parametrize(
        ("dtype", "gain", "offset"), [("int32", 200_000, -5000), ("float32", 1e-9, 0)]
    )
    def test_values_of_any_type_and_range(self, dtype, gain, offset, net, scene):
        """The image for a * frames + b is a * image + b."""
        values = (gain * scene.lr.astype(np.float64) + offset).astype(dtype)
        result = super_resolve(cube_of(values), net, mask=scene.qm, return_std=True)
        exact = (values.astype(np.float64) - offset) / gain
        image, std = predicted(net, np.float32(exact), scene.qm, 1)
        assert result.dtype == values.dtype
        rounding = 0.5 if values.dtype.kind in "iu" else 0
        assert_close(result, gain * image + offset, rounding)
        np.testing.assert_allclose(result["std"], gain * std, rtol=1e-2)

    def test_nothing_is_clipped_unless_the_type_must(self, net, scene):
        """Reflectances from -0.3 to 1.6, as floats and as int16."""
        low, high = np.percentile(scene.lr[scene.qm], [1, 99])
        values = -0.3 + 1.9 * (scene.lr - low) / (high - low)
        result = super_resolve(cube_of(values), net, mask=scene.qm)
        assert result.min() < -0.2 and result.max() > 1.5
        stored = np.round(10000 * values).astype(np.int16)
        assert_close(super_resolve(cube_of(stored), net, mask=scene.qm), 10000 * result.values, 1)
        # uint16 clips at 0.
        cut = super_resolve(cube_of(stored.clip(0).astype(np.uint16)), net, mask=scene.qm)
        assert cut.values[cut.n_clear > 0].min() == 1 and cut.max() < 20000

    def test_data_never_turn_into_no_data(self, cube, net, scene, sharp):
        common = np.bincount(sharp.values[sharp.n_clear > 0]).argmax()
        result = super_resolve(cube, net, mask=scene.qm, nodata=common)
        assert (result.values[result.n_clear > 0] != common).all()
        assert (result.values[result.n_clear == 0] == common).all()
        assert result.rio.nodata == common


class TestScaleAndOffset:
    """Output has the stored values of the input; scale and offset can differ between frames."""

    @pytest.mark.parametrize("by", ["attributes", "arguments", "dict"])
    def test_the_image_is_stored_as_the_frames_are(self, by, cube, net, scene, sharp):
        given = {"scale_factor": 1e-4, "add_offset": -0.1}
        options = {} if by == "attributes" else given
        if by == "dict":
            options = {key: {"band": value} for key, value in given.items()}
        frames = cube.assign_attrs(given) if by == "attributes" else cube
        result = super_resolve(frames, net, mask=scene.qm, return_std=True, **options)
        assert_close(result, sharp.values.astype(float), 1)
        assert {key: result.attrs[key] for key in given} == given
        # A standard deviation has no offset.
        assert result["std"].attrs == {"scale_factor": 1e-4}
        np.testing.assert_allclose(result["std"], sharp["std"], rtol=1e-2)

    def test_bands_of_different_scale_say_so(self, bands, net):
        """One DataArray stores them as rioxarray does, in scales and offsets."""
        result = super_resolve(
            bands, net, mask="SCL", scale_factor={"B08": 1e-4, "B04": 2e-4}, nodata={"B04": 7}
        )
        assert result.attrs["scales"] == (1e-4, 2e-4)
        assert result.attrs["nodatavals"] == (-32768, 7)
        assert "scale_factor" not in result.attrs and "_FillValue" not in result.attrs

    def test_standard_deviations_of_a_negative_scale_have_a_positive_one(self, cube, net, scene):
        frames = (9000 - cube).assign_attrs(scale_factor=-1e-4, add_offset=0.9)
        result = super_resolve(frames, net, mask=scene.qm, return_std=True)
        assert result.attrs["scale_factor"] == -1e-4
        assert result["std"].attrs == {"scale_factor": 1e-4} and not (result["std"] < 0).any()

    def test_a_file_tells_the_same_values(self, cube, net, scene, tmp_path):
        """Decoded from a file, values are reflectances, NaN where no frame is clear."""
        frames = cube.assign_attrs(scale_factor=1e-4, add_offset=-0.1, units="1").rename("red")
        mask = scene.qm.copy()
        mask[:, 5:9, 5:9] = False
        result = super_resolve(frames, net, mask=mask, return_std=True)
        result.to_netcdf(tmp_path / "a.nc")
        with xr.open_dataset(tmp_path / "a.nc", decode_coords="all") as opened:
            red = opened.red.load()
        seen = result.n_clear.values > 0
        np.testing.assert_array_equal(np.isfinite(red.values), seen)
        expected = 1e-4 * result.values[seen] - 0.1
        np.testing.assert_allclose(red.values[seen], expected, atol=1e-6)
        np.testing.assert_allclose(red["std"], 1e-4 * result["std"], rtol=1e-5)
        assert red.rio.transform() == result.rio.transform() and red.attrs["n_frames"] == 5
        result.rio.to_raster(tmp_path / "a.tif")
        with rasterio.open(tmp_path / "a.tif") as file:
            assert file.transform == FINER
            assert (file.nodata, file.scales, file.offsets) == (-32768, (1e-4,), (-0.1,))
            np.testing.assert_array_equal(file.read(1), result.values)


class TestForm:
    def test_one_band_has_two_dims_and_the_bounds_of_the_frames(self, cube, sharp):
        assert sharp.dims == ("y", "x") and sharp.shape == (48, 48)
        assert sharp.n_clear.dtype == np.uint16 and sharp.n_clear.dims == ("y", "x")
        assert "time" not in sharp.coords
        assert sharp.rio.transform() == FINER and sharp.rio.crs.to_epsg() == 32634
        assert sharp.rio.bounds() == cube.rio.bounds()
        np.testing.assert_allclose(sharp.x, LEFT + 5 * (np.arange(48) + 0.5))
        np.testing.assert_allclose(sharp.y, TOP - 5 * (np.arange(48) + 0.5))

    def test_coordinates_may_be_corners(self, cube, sharp, net, scene):
        """As of stackstac."""
        place = {"x": cube.x - 5, "y": cube.y + 5, "epsg": 32634}
        frames = cube.drop_vars("spatial_ref").assign_coords(place)
        frames.attrs["transform"] = Affine(10, 0, LEFT, 0, -10, TOP)
        result = super_resolve(frames, net, mask=scene.qm)
        assert_same(result, sharp)
        assert result.rio.transform() == FINER

    def test_rows_may_ascend(self, cube, sharp, net, scene):
        result = super_resolve(cube[:, ::-1], net, mask=scene.qm[:, ::-1])
        assert result.rio.transform() == Affine(5, 0, LEFT, 0, 5, TOP - 240)
        image, expected = result.sel(y=sharp.y).values[4:-4], sharp.values[4:-4]
        displaced = (expected[1:].astype(float) - expected[:-1]).std()
        assert (image - expected.astype(float)).std() < 0.2 * displaced

    def test_order_names_and_coordinates_of_bands_stay(self, bands, net, sharp, cube, scene):
        result = super_resolve(bands, net, mask="SCL", return_std=True)
        assert result.dims == ("band", "y", "x")
        assert result.band.values.tolist() == ["B08", "B04"]
        assert result.common_name.values.tolist() == ["nir", "red"]
        assert result["std"].dims == result.n_clear.dims == result.dims
        turned = super_resolve(bands, net, mask="SCL", bands=["B04", "B08"])
        assert turned.band.values.tolist() == ["B04", "B08"]
        np.testing.assert_array_equal(turned.sel(band="B08"), result.sel(band="B08"))
        # The order of dimensions has no effect.
        other = bands.transpose("x", "band", "y", "time").rename(time="t", band="bands")
        result = super_resolve(other, net, mask="SCL", bands=["B04", "B08"])
        assert result.dims == ("bands", "y", "x")
        np.testing.assert_array_equal(result.values, turned.values)

    def test_a_dataset_gives_a_dataset(self, bands, net):
        dataset = bands.drop_vars("common_name").to_dataset("band").assign_attrs(title="a")
        dataset.B04.attrs = {"units": "1", "scale_factor": 1e-4}
        result = super_resolve(dataset, net, mask="scl", return_std=True)
        assert list(result.data_vars) == ["B08", "B04", "B08_std", "B04_std"]
        expected = super_resolve(bands, net, mask="SCL", return_std=True)
        for band in ("B08", "B04"):
            of_band = expected.sel(band=band)
            assert_close(result[band].assign_coords(n_clear=result.n_clear), of_band.values, 1)
            np.testing.assert_allclose(result[f"{band}_std"], of_band["std"], rtol=1e-2)
        np.testing.assert_array_equal(result.n_clear, expected.n_clear.min("band"))
        assert result.attrs["title"] == "a" and result.attrs["n_frames"] == 5
        assert result.B04.attrs["units"] == "1" and result.B04.attrs["scale_factor"] == 1e-4
        assert result.B04_std.attrs == {"units": "1", "scale_factor": 1e-4}
        assert "scale_factor" not in result.B08.attrs
        assert result.rio.transform() == FINER

    def test_parts_are_beside_the_image(self, bands, net, scene):
        """In stored values: details are differences, so they have the scale and no offset."""
        dataset = bands.drop_vars("common_name").to_dataset("band").drop_vars("SCL")
        dataset.B04.attrs = {"units": "1", "scale_factor": -1e-4, "add_offset": 0.9}
        dataset["B04"] = (9000 - dataset.B04).assign_attrs(dataset.B04.attrs)
        result = super_resolve(dataset, net, mask=scene.qm, return_parts=True)
        names = [f"{band}_{name}" for band in ("B08", "B04") for name in ImageParts._fields]
        assert set(result.data_vars) == {"B08", "B04", *names}
        assert result.B04_measured_share.attrs == {"units": "1"}
        assert result.B04_measured_detail.attrs == {"units": "1", "scale_factor": -1e-4}
        pixels = [Scene(bands.sel(band=band).values, scene.qm, value_range=(0, 10000))
                  for band in ("B08", "B04")]  # fmt: skip
        _, parts = net.predict(pixels, return_parts=True)
        seen = result.n_clear.values > 0
        for number, (band, step) in enumerate([("B08", 10000), ("B04", -10000)]):
            for name, expected in zip(ImageParts._fields, parts, strict=True):
                found = result[f"{band}_{name}"].values
                factor = 1 if name == "measured_share" else step
                error = np.abs(found - factor * expected[number])[seen]
                assert error.max() < 0.05 * np.std(factor * expected[number])
                np.testing.assert_array_equal(np.isnan(found), ~seen)
        array = super_resolve(bands, net, mask="SCL", return_std=True, return_parts=True)
        assert {"std", "n_clear", *ImageParts._fields} < set(array.coords)
        assert array.measured_detail.dims == array.dims

    def test_attributes_tell_what_was_done(self, cube, net, scene):
        frames = cube.assign_attrs(title="a field", history="2024-01-01: made")
        result = super_resolve(frames, "simulated-x2", mask=scene.qm)
        attrs = result.attrs
        assert attrs["title"] == "a field"
        assert attrs["time_coverage_start"] == "2023-03-01T00:00:00Z"
        assert attrs["time_coverage_end"] == "2023-04-10T00:00:00Z"
        assert attrs["n_frames"] == 5
        assert (attrs["model"], attrs["model_version"]) == ("simulated-x2", __version__)
        made, ours = attrs["history"].split("\n")
        assert made == "2024-01-01: made" and "super_resolve by simulated-x2" in ours
        bare = super_resolve(frames, "simulated-x2", mask=scene.qm, keep_attrs=False)
        assert "title" not in bare.attrs and "\n" not in bare.attrs["history"]
        assert bare.attrs["n_frames"] == 5

    def test_attributes_tell_how_the_frames_lie(self, cube, net, scene, sharp):
        shifts = np.stack([sharp.attrs[f"frame_shifts_{key}"] for key in ("down", "right")], axis=1)
        true = scene.true_shifts - scene.true_shifts.mean(axis=0)
        assert np.abs(shifts - true).max() < 0.25
        hidden = scene.qm.copy()
        hidden[2] = False
        result = super_resolve(cube, net, mask=hidden)
        assert np.isnan(result.attrs["frame_shifts_down"]).tolist() == [0, 0, 1, 0, 0]
        assert result.attrs["n_frames"] == 5


class TestMasks:
    @pytest.mark.parametrize("kind", ["dask", "chunked", "0 and 1"])
    def test_arrays_of_any_library(self, kind, cube, net, scene, sharp):
        mask = scene.qm
        if kind == "dask":
            mask = da.from_array(mask, chunks=(2, 7, 24))
        elif kind == "chunked":
            mask = cube.copy(data=mask).drop_attrs().transpose("x", "time", "y").chunk(x=5)
        elif kind == "0 and 1":
            mask = mask.astype(np.uint8)
        assert_same(super_resolve(cube, net, mask=mask), sharp)

    @pytest.mark.parametrize(
        ("name", "form"), [("SCL", "DataArray"), ("scl", "Dataset"), ("SCL", "floats")]
    )
    def test_a_band_of_the_cube(self, name, form, bands, net):
        """By band name in upper or lower case; as integers or as floats with NaN."""
        expected = super_resolve(
            bands, net, mask=bands.sel(band="SCL").values, mask_type="scl", bands=["B08"]
        ).values[0]
        given = bands
        if form == "Dataset":
            given = bands.drop_vars("common_name").to_dataset("band")
        elif form == "floats":
            given = bands.astype(float)
            given.loc[{"band": "SCL", "time": DATES[1], "x": given.x[:9]}] = np.nan
        result = super_resolve(given, net, mask=name, bands=["B08"])
        image = result.B08 if form == "Dataset" else result.sel(band="B08")
        assert np.abs(image.values - expected)[4:-4, 4:-4].max() <= 1

    def test_20_m_masks_of_a_larger_area_and_dates_in_another_order(self, cube, net):
        """Frames start in the middle of a pixel of the masks."""
        order, margin = [4, 0, 3, 1, 2], 3
        coarse = np.random.default_rng(0).random((5, 16, 16)) < 0.8
        fine = coarse.repeat(2, axis=1).repeat(2, axis=2)[:, margin : 24 + margin]
        expected = super_resolve(cube, net, mask=fine[:, :, margin : 24 + margin])
        places = 20 * (np.arange(16) + 0.5) - 10 * margin
        coords = {"time": DATES[order], "y": TOP - places, "x": LEFT + places}
        given = cube_of(coarse[order], size=20.0, **coords)
        assert_same(super_resolve(cube, net, mask=given), expected)
        # Rows of masks may ascend.
        lazy = super_resolve(cube.chunk(x=9), net, mask=given[:, ::-1].chunk(y=5))
        np.testing.assert_array_equal(lazy.n_clear, expected.n_clear)

    def test_one_mask_for_all(self, cube, net, scene):
        expected = super_resolve(cube, net, mask=scene.qm[[1, 1, 1, 1, 1]])
        dated = cube.copy(data=scene.qm)[1]
        for mask in (scene.qm[1], dated, dated.drop_vars("time"), dated.to_dataset(name="clear")):
            assert_same(super_resolve(cube, net, mask=mask), expected)

    @pytest.mark.parametrize(
        ("kind", "lazy"),
        [
            ("inf", False),
            ("nodata", False),
            ("attribute", True),
            ("zeros", True),
        ],
    )
    def test_frames_without_data_are_as_if_they_were_not_there(
        self, kind, lazy, cube, net, scene, sharp
    ):
        values, options = cube.astype(float), {}
        values[2] = {"inf": np.inf, "zeros": 0}.get(kind, -1)
        if kind == "nodata":
            options["nodata"] = -1
        elif kind == "attribute":
            values.attrs["_FillValue"] = -1.0
        values = values.chunk(time=1, x=15) if lazy else values
        result = super_resolve(values, net, mask=scene.qm, **options)
        rest = [0, 1, 3, 4]
        expected = super_resolve(cube[rest].astype(float), net, mask=scene.qm[rest])
        assert_close(result, expected.values)
        np.testing.assert_array_equal(result.n_clear, expected.n_clear)

    @pytest.mark.parametrize(
        ("dtype", "why"), [("int16", "mask"), ("uint16", "values"), ("float32", "values")]
    )
    def test_where_no_frame_is_clear_there_is_no_image(self, dtype, why, cube, net):
        """Nor a standard deviation, with a tolerance of half an LR pixel around the hole."""
        values, mask, nodata = cube.astype(dtype), np.ones(cube.shape, bool), 9
        hole = np.s_[:, 8:16, 10:18]
        if why == "mask":
            mask[hole] = False
        else:
            values.values[hole] = np.nan if dtype == "float32" else nodata
        result = super_resolve(values, net, mask=mask, nodata=nodata, return_std=True)
        inside, outside = np.zeros((48, 48), bool), np.ones((48, 48), bool)
        inside[20:28, 24:32] = True
        outside[10:38, 14:42] = False
        outside[[0, 1, -2, -1]] = outside[:, [0, 1, -2, -1]] = False
        assert (result.n_clear.values[inside] == 0).all()
        assert (result.n_clear.values[outside] > 0).all()
        missing = result.n_clear.values == 0
        image = np.isnan(result.values) if dtype == "float32" else result.values == nodata
        np.testing.assert_array_equal(image, missing)
        np.testing.assert_array_equal(np.isnan(result["std"].values), missing)

    def test_n_clear_counts_frames(self, net, scene):
        """For frames without shifts, counts equal those of their pixels."""
        frames = scene.lr[:1] + np.random.default_rng(0).normal(0, 1e-3, (4, 24, 24))
        mask = np.random.default_rng(1).random(frames.shape) < 0.8
        result = super_resolve(cube_of(frames), net, mask=mask)
        expected = mask.sum(axis=0).repeat(2, axis=0).repeat(2, axis=1)
        np.testing.assert_array_equal(result.n_clear, expected)


@pytest.fixture(scope="module")
def wide():
    """Clouded cube wider than a block with its halo."""
    shape = (40, 200)
    (scene,) = make_scenes(1, size=shape, scale=2, n_frames=5, random_state=5)
    return cube_of(scene.lr.astype(np.float32)), scene.qm


@pytest.fixture(scope="module")
def now(wide, net):
    frames, mask = wide
    return super_resolve(frames, net, mask=mask, return_std=True)


class TestDask:
    def test_the_image_is_that_of_arrays(self, wide, now, net):
        frames, mask = wide
        frames = frames.chunk(time=2, y=17, x=31)
        lazy = super_resolve(frames, net, mask=mask, return_std=True, tile_size=48)
        assert all(da.Array is type(part.data) for part in (lazy, lazy["std"], lazy.n_clear))
        assert max(lazy.chunks[1]) <= 96 and max(lazy.chunks[0]) == 80
        result = lazy.compute()
        contrast = float(now.std())
        assert np.nanmax(np.abs(result - now)) < 1e-5 * contrast
        assert np.nanmax(np.abs(result["std"] - now["std"])) < 1e-5 * contrast
        np.testing.assert_array_equal(result.n_clear, now.n_clear)
        assert result.attrs.keys() == now.attrs.keys()

    def test_nothing_is_made_before_it_is_asked_for(self, wide, net, monkeypatch):
        calls = []
        fuse = FusionNet.fuse_blocks
        monkeypatch.setattr(
            FusionNet,
            "fuse_blocks",
            lambda *args, **options: calls.append(len(args[3])) or fuse(*args, **options),
        )
        frames, mask = wide
        lazy = super_resolve(frames.chunk(x=50), net, mask=mask, return_std=True, tile_size=40)
        assert not calls
        lazy[:, :80].data.compute(scheduler="sync")
        assert calls == [1]
        # Image, standard deviation and counts come from one call.
        lazy.compute(scheduler="sync")
        assert calls == [1] * 6

    def test_windows_are_read_and_not_the_whole(self, net):
        """The call reads parts of a long strip; a block reads itself and its halo."""
        ground = gaussian_filter(np.random.default_rng(0).standard_normal((16, 2080)), 2)
        source = NotingArray(np.float32(0.2 + np.stack([ground, ground, ground])))
        frames = cube_of(da.from_array(source, chunks=(1, 16, 160), name="strip"))
        lazy = super_resolve(frames, net, tile_size=48)
        assert 300 < source.unread.sum() < 1500
        source.unread[:] = True
        lazy[:, 960:1000].data.compute(scheduler="sync")
        read = np.flatnonzero(~source.unread)
        assert read.min() > 480 - 112 and read.max() < 528 + 112

    def test_weights_are_one_key_of_the_graph(self, wide, net):
        frames, _ = wide
        lazy = super_resolve(frames.chunk(x=50), net, tile_size=16)
        cloudpickle = pytest.importorskip("cloudpickle")
        graph = dict(dask.optimize(lazy.data)[0].__dask_graph__())
        sizes = [len(cloudpickle.dumps(task)) for task in graph.values()]
        n_weights = sum(weight.numel() for weight in net.module_.parameters())
        assert len(sizes) > 30
        assert sum(size > n_weights for size in sizes) == 1


class NotingArray:
    """Array-like that records the columns read."""

    ndim, dtype = 3, np.dtype("f4")

    def __init__(self, values):
        self.values = values
        self.shape = self.values.shape
        self.unread = np.ones(self.shape[2], bool)

    def __getitem__(self, key):
        self.unread[key[2]] = False
        return self.values[key]


@pytest.fixture(scope="module")
def trained():
    return small_scenes(4, scale=2)


@pytest.fixture(scope="module")
def pipe(trained):
    steps = [
        ("select", ClearanceSelector(k=3)),
        ("compose", InputComposer(mode="concat")),
        ("upscale", BicubicUpscaler(scale=2)),
        ("sr", quick_srcnn()),
    ]
    return Pipeline(steps).fit(trained)


@pytest.fixture(scope="module")
def uneven():
    """Frame 0 is the clearest overall but clouded in the west, where frame 1 is clear."""
    (scene,) = make_scenes(1, size=(24, 220), scale=2, n_frames=4, random_state=1)
    mask = np.ones(scene.lr.shape, bool)
    mask[0, :, :20] = mask[1:, :, 170:] = mask[2:, :12, 40:60] = False
    return cube_of(np.round(10000 * scene.lr).astype(np.uint16)), mask


class TestEstimators:
    def test_a_name_a_file_of_weights_and_a_model_file(
        self, cube, net, pipe, scene, sharp, tmp_path
    ):
        assert_same(super_resolve(cube, "simulated-x2", mask=scene.qm), sharp)
        net.save_pretrained(tmp_path / "mine.safetensors")
        result = super_resolve(cube, tmp_path / "mine.safetensors", mask=scene.qm)
        assert_same(result, sharp)
        assert result.attrs["model"] == "mine.safetensors"
        save_model(pipe, tmp_path / "pipe.safetensors")
        result = super_resolve(cube, tmp_path / "pipe.safetensors", mask=scene.qm)
        assert_same(result, super_resolve(cube, pipe, mask=scene.qm))

    def test_a_pipeline_predicts_as_it_does_of_scenes(self, pipe, scene):
        values = np.round(65535 * scene.lr).astype(np.uint16)
        (image,) = pipe.predict([Scene(values, scene.qm)])
        wrapped = make_pipeline(FrozenEstimator(pipe))
        result = super_resolve(cube_of(values), wrapped, mask=scene.qm)
        assert_close(result, 65535 * image.astype(np.float64), 1)
        assert result.attrs["model"] == "SRCNN"

    def test_the_baseline_where_its_frames_are_clear(self, scene, trained):
        """Where its frames are clouded, other frames fill in."""
        values = np.round(65535 * scene.lr).astype(np.uint16)
        mask = np.ones(values.shape, bool)
        mask[[0, 1, 3, 4], :4] = False
        (image,) = BicubicBaseline(scale=2).predict([Scene(values, mask)])
        result = super_resolve(cube_of(values), BicubicBaseline(scale=2).fit(trained), mask=mask)
        assert_close(result, 65535 * image.astype(np.float64), 1)
        mask[2, 10:14, 10:14] = False
        filled = super_resolve(cube_of(values), BicubicBaseline(scale=2), mask=mask)
        assert (filled.n_clear.values[20:28, 20:28] == 4).all()
        hole = filled.values[21:27, 21:27].astype(float)
        others = values[[0, 1, 3, 4], 10:14, 10:14].mean(axis=0)
        assert abs(hole.mean() - others.mean()) < 0.1 * others.mean()

    @pytest.mark.parametrize("kind", ["registered", "mean", "clearest", "baseline", "fusion"])
    def test_tasks_and_blocks_make_one_image(self, kind, pipe, trained, uneven, net):
        """Frames are selected and registered on the whole cube, not per block."""
        registrar = ("register", FrameRegistrar())
        fsrcnn = FSRCNN(max_epochs=1, train_split=None, random_state=0, verbose=0)
        estimator = {
            "registered": lambda: Pipeline([registrar, *pipe.steps]),
            "mean": lambda: make_pipeline(InputComposer(frames="mean"), fsrcnn).fit(trained),
            "clearest": lambda: make_pipeline(
                InputComposer(frames="single", average="clearest"), fsrcnn
            ).fit(trained),
            "baseline": lambda: BicubicBaseline(scale=2),
            "fusion": lambda: Pipeline([registrar, ("select", ClearanceSelector(3)), ("sr", net)]),
        }[kind]()
        frames, mask = uneven
        whole = super_resolve(frames, estimator, mask=mask)
        assert whole.n_clear.values[8:16].min() > 0
        lazy = super_resolve(frames.chunk(x=60), estimator, mask=mask, tile_size=64)
        differs = np.abs(lazy.values.astype(int) - whole.values) > 1
        # The baseline clips to the range of its input, which differs between the cube and windows.
        assert differs.mean() < (1e-3 if kind == "baseline" else 1e-9)
        np.testing.assert_array_equal(lazy.n_clear, whole.n_clear)

    def test_each_band_by_its_own_net(self, bands, net):
        per_band = PerBand(net)
        per_band.estimators_ = {"B08": net, "B04": net}
        expected = super_resolve(bands, net, mask="SCL", return_std=True)
        result = super_resolve(bands, per_band, mask="SCL", return_std=True)
        assert_same(result, expected)
        assert result.attrs["model"] == "PerBand"
        del per_band.estimators_["B04"]
        with pytest.raises(ValueError, match=r"fitted on the bands B08 and not on B04.*bands="):
            super_resolve(bands, per_band, mask="SCL")


class TestRefusedEstimators:
    @pytest.mark.parametrize(
        ("estimator", "told"),
        [
            (FusionNet, r"estimator is <class .*FusionNet'>: give the name"),
            (FusionNet(), r"FusionNet is not fitted: take FusionNet\.from_pretrained"),
            (SRCNN(), "SRCNN has no scale: fit it"),
            (BicubicBaseline(), r"pass its scale, such as BicubicBaseline\(scale=3\)"),
            (TRMISR(), "TRMISR"),
            (PerBand(BicubicBaseline()), "PerBand is not fitted"),
            (None, "estimator is None: give the name"),
        ],
    )
    def test_what_is_no_fitted_estimator(self, estimator, told, cube):
        with pytest.raises(ValueError, match=told):
            super_resolve(cube, estimator)

    def test_a_pipeline_that_lacks_a_step_is_told_at_the_call(self, cube):
        net = quick_srcnn()
        steps = [ClearanceSelector(k=3), InputComposer(), BicubicUpscaler(scale=2)]
        Pipeline([(str(number), step) for number, step in enumerate([*steps, net])]).fit(
            small_scenes(2, scale=2)
        )
        with pytest.raises(ValueError, match="InputComposer"):
            super_resolve(cube.chunk(x=8), net)

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            (
                {"return_parts": True},
                "BicubicBaseline does not tell what in an image was measured: leave return_parts",
            ),
            (
                {"return_std": True},
                "BicubicBaseline gives no standard deviations: leave return_std",
            ),
            ({"reference": 0}, "BicubicBaseline has no frame of reference"),
        ],
    )
    def test_what_a_baseline_does_not_know(self, options, told, cube):
        with pytest.raises(ValueError, match=told):
            super_resolve(cube, BicubicBaseline(scale=2), **options)


class TestWarnings:
    def test_what_looks_like_fill_is_used_as_data(self, cube, net, scene):
        frames = cube.where(scene.qm, -9999).astype(np.int16)
        with pytest.warns(UserWarning, match=r"cube has the value -9999 in .*nodata=-9999"):
            result = super_resolve(frames, net)
        # All pixels of registered frames count as clear.
        assert (result.n_clear == result.n_frames_used).all()

    def test_classes_that_are_taken_for_an_image(self, bands, net):
        with pytest.warns(UserWarning, match="band SCL.*pass mask='SCL'"):
            super_resolve(bands, net)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*classes are taken for an image")
            super_resolve(bands, net, bands=["B04"], nodata=0)


class TestBadInput:
    @pytest.mark.parametrize(
        ("changed", "told"),
        [
            (lambda cube: cube.values, r"cube is a ndarray.*xarray\.DataArray"),
            (
                lambda cube: cube.drop_vars(["x", "y"]).rio.write_transform(
                    Affine(9.8, 2, LEFT, 2, -9.8, TOP)
                ),
                r"rotated grid.*rio\.reproject",
            ),
        ],
    )
    def test_cubes(self, changed, told, cube, net):
        with pytest.raises(ValueError, match=told):
            super_resolve(changed(cube), net)

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"batch_size": 0}, "batch_size is 0: give 1 or more"),
            ({"tile_size": 3}, "tile_size is 3: give 16 LR pixels or more"),
            ({"mask_type": "scl"}, "there is no mask: pass mask too"),
            ({"mask": "scl"}, r"has no band of that name.*mask_type='scl'"),
            ({"reference": "median"}, "reference is 'median': give 'middle', 'clearest'"),
            ({"reference": 7}, "frame 7 cannot be the reference.*use one of 0, 1, 2, 3"),
            ({"reference": 1.5}, "reference is 1.5"),
        ],
    )
    def test_arguments(self, options, told, cube, net):
        with pytest.raises(ValueError, match=told):
            super_resolve(cube, net, **options)

    @pytest.mark.parametrize(
        ("mask", "mask_type", "told"),
        [
            (lambda mask: mask[:3], None, r"mask has 3 dates .* 5 frames.*frame\[3\]"),
            (lambda mask: mask.values[:, :7], None, r"7x24 pixels.*rio\.reproject_match"),
            (
                lambda mask: xr.Dataset({"a": mask, "b": mask}),
                None,
                r"mask has the bands a, b.*mask\.sel",
            ),
            (
                lambda mask: mask.drop_vars("spatial_ref").assign_coords(x=mask.x + 20),
                None,
                r"mask lies within .* does not cover .*cube.*rio\.reproject_match",
            ),
            (
                lambda mask: mask.drop_vars("spatial_ref").rio.write_crs(32633),
                None,
                "different grids.*EPSG:32634 and EPSG:32633",
            ),
            (lambda mask: mask.astype(float), None, "type float64: give True where"),
            (lambda mask: ~mask & mask, None, "every pixel of every frame is clouded"),
        ],
    )
    def test_masks(self, mask, mask_type, told, cube, net, scene):
        given = mask(cube.copy(data=scene.qm).drop_attrs())
        with pytest.raises(ValueError, match=told):
            super_resolve(cube, net, mask=given, mask_type=mask_type)

    def test_one_date_is_enough(self, cube, net, scene):
        result = super_resolve(cube[:1], net, return_std=True)
        assert result.shape == (48, 48) and (result.n_clear == 1).all()
        assert result.attrs["time_coverage_start"] == result.attrs["time_coverage_end"]
        assert np.isfinite(result["std"]).all()
