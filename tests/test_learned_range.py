"""Nets keep the value range that they learned in: equal values are equal pixels everywhere."""

import numpy as np
import pytest
from _helpers import QUICK, composed, quick_srcnn, small_scenes
from _rasters import write
from click.testing import CliRunner
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from skorch.helper import predefined_split

from probav_estimators import (
    BicubicUpscaler,
    ClearanceSelector,
    HighResNet,
    InputComposer,
    Scene,
    SceneEnsemble,
    open_scene,
    save_model,
    super_resolve,
)
from probav_estimators.cli import probav
from probav_estimators.geo import Outputs, super_resolve_files
from probav_estimators.meta import PerBand

xr = pytest.importorskip("xarray")
rasterio = pytest.importorskip("rasterio")
pytest.importorskip("rioxarray")
da = pytest.importorskip("dask.array")

RANGE = (0, 10000)


def with_range(scene, value_range=RANGE, kind="int16", **params):
    """The scene with values of a type and range."""
    low, high = value_range or (0, 65535)
    lr, hr = (np.asarray(low + (high - low) * x).astype(kind) for x in (scene.lr, scene.hr))
    return Scene(lr, scene.qm, hr, scene.sm, name=scene.name, value_range=value_range, **params)


def values_of(scene):
    return scene.frames.stack.read(range(len(scene)), (slice(0, 16), slice(0, 16)))


def cube_of(values, **attrs):
    dims = ("time", "y", "x")
    coords = {"y": -10.0 * np.arange(16), "x": 10.0 * np.arange(16)}
    return xr.DataArray(values, dims=dims, coords=coords, attrs=attrs)


def files_of(folder, values):
    for number, frame in enumerate(values):
        write(folder / f"a_2024010{number + 1}_B04.tif", frame)
    return f"{folder}/*_B04.tif"


@pytest.fixture(scope="module")
def raw():
    return small_scenes(3, clouds=False)


@pytest.fixture(scope="module")
def scenes(raw):
    return [with_range(scene) for scene in raw]


def frame_net(**params):
    return HighResNet(
        n_features=4, n_blocks=1, criterion__border=2, **{**QUICK, "patch_size": 12, **params}
    )


def pipeline():
    steps = ClearanceSelector(k=3), InputComposer(), BicubicUpscaler()
    return make_pipeline(*steps, quick_srcnn(patch_size=12, residual=True))


@pytest.fixture(scope="module", params=[frame_net, pipeline])
def fitted(request, scenes):
    return request.param().fit(scenes)


class TestRoads:
    """Each road from the same values to an image."""

    @pytest.fixture(scope="class")
    def values(self, scenes):
        return values_of(scenes[0])

    @pytest.fixture
    def expected(self, fitted, scenes):
        return 10000 * fitted.predict(scenes[:1])[0]

    @pytest.mark.parametrize("kind", ["int16", "float32"])
    def test_cubes_of_all_types(self, fitted, values, expected, kind):
        image = super_resolve(cube_of(values.astype(kind)), fitted)
        np.testing.assert_allclose(image, expected, atol=0.51 if kind != "float32" else 0.05)

    def test_scale_and_offset_are_applied_first(self, fitted, values, expected):
        cube = cube_of((values / 2 + 100).astype("float32"), scale_factor=2.0, add_offset=-200.0)
        image = super_resolve(cube, fitted)
        np.testing.assert_allclose(2 * image - 200, expected, atol=0.2)

    def test_datasets_of_dask_arrays_with_a_net_for_each_band(self, fitted, raw, values, expected):
        of_band = [with_range(scene, band="B04") for scene in raw]
        model = PerBand(fitted).fit(of_band)  # a clone with the same random_state
        cube = xr.Dataset({"B04": cube_of(da.from_array(values, chunks=8))})
        np.testing.assert_allclose(super_resolve(cube, model)["B04"], expected, atol=0.51)

    def test_files_and_scenes_of_files(self, fitted, values, expected, tmp_path):
        paths = files_of(tmp_path, values)
        scene = open_scene(paths, value_range=RANGE)
        np.testing.assert_allclose(10000 * fitted.predict([scene])[0], expected, atol=0.01)
        super_resolve_files([paths], Outputs(tmp_path / "out.tif"), fitted)
        with rasterio.open(tmp_path / "out.tif") as file:
            np.testing.assert_allclose(file.read(1), expected, atol=0.51)

    def test_the_command_line_converts_and_refuses(self, fitted, values, expected, tmp_path):
        save_model(fitted, tmp_path / "m.safetensors")
        call = ["super-resolve", files_of(tmp_path, values), "-o", f"{tmp_path}/out.tif"]
        call += ["--weights", f"{tmp_path}/m.safetensors"]
        refused = CliRunner().invoke(probav, [*call, "--value-range", "0", "32767"])
        assert refused.exit_code and "value_range=(0.0, 10000.0)" in refused.output
        assert CliRunner().invoke(probav, call).exit_code == 0
        with rasterio.open(tmp_path / "out.tif") as file:
            np.testing.assert_allclose(file.read(1), expected, atol=0.51)


class TestDifferences:
    @pytest.mark.parametrize("value_range", [(0, 32767), None])
    def test_a_scene_of_another_range_is_refused(self, fitted, raw, value_range):
        other = with_range(raw[0], value_range, "float32" if value_range else "uint16")
        message = rf"value_range=\(0.0, 10000.0\), and that of {other.label} is"
        for call in (
            fitted.predict,
            fitted.score,
            SceneEnsemble([("a", FrozenEstimator(fitted))]).fit([other]).predict,
        ):
            with pytest.raises(ValueError, match=message):
                call([other])
        with pytest.raises(ValueError, match=message):
            fitted_net(fitted).partial_fit(composed([other]))

    def test_a_cube_in_another_unit_is_refused(self, fitted, scenes):
        values = values_of(scenes[0])
        for cube in (
            cube_of(values / np.float32(10000)),
            cube_of(values, scale_factor=1e-4),
            cube_of(values * 100.0),
        ):
            with pytest.raises(ValueError, match=r"cube has values from .* scale_factor"):
                super_resolve(cube, fitted)
        image = super_resolve(cube_of(values / np.float32(10000)), fitted, scale_factor=10000)
        expected = fitted.predict(scenes[:1])[0]
        np.testing.assert_allclose(image, expected, atol=1e-4)

    def test_another_range_than_the_learned_one_is_refused(self, fitted, scenes):
        cube = cube_of(values_of(scenes[0]))
        same = super_resolve(cube, fitted, value_range=RANGE)
        np.testing.assert_array_equal(same, super_resolve(cube, fitted))
        with pytest.raises(
            ValueError, match=r"learned from scenes of value_range=\(0.0, 10000.0\)"
        ):
            super_resolve(cube, fitted, value_range=(0, 32767))

    @pytest.mark.parametrize("bad", [(0, np.inf), {"band": (2, 1)}])
    def test_a_range_has_two_numbers_in_order(self, fitted, scenes, bad):
        cube = cube_of(values_of(scenes[0]))
        with pytest.raises(ValueError, match="value_range is"):
            super_resolve(cube, fitted, value_range=bad)
        with pytest.raises(ValueError, match="value_range names the bands B99"):
            super_resolve(cube, fitted, value_range={"B99": RANGE})


class TestLearning:
    def test_a_new_fit_forgets_the_range_and_a_further_one_does_not(self, scenes, raw):
        net = frame_net(warm_start=True).fit(scenes)
        assert net.value_range_ == RANGE
        others = [with_range(scene, (0, 500)) for scene in raw]
        for call in (net.fit, net.partial_fit, frame_net(weights=net).fit):
            with pytest.raises(ValueError, match="learned from scenes of value_range"):
                call(others)
        with pytest.raises(ValueError, match="learned from scenes of value_range"):
            frame_net(train_split=predefined_split(others)).fit(scenes)
        assert frame_net(train_split=None).fit(others).value_range_ == (0, 500)
        assert net.set_params(warm_start=False).fit(others).value_range_ == (0, 500)
        assert clone(net).fit(raw).value_range_ is None
        mixed = clone(net).fit([*scenes, *others])
        assert mixed.value_range_ == "mixed"
        assert mixed.predict([raw[0], scenes[0], others[0]]).shape == (3, 48, 48)

    def test_no_range_is_that_of_counts(self, raw):
        net = frame_net().fit([with_range(scene, (0, 65535), "uint16") for scene in raw])
        assert net.predict([with_range(raw[0], None, "uint16")]).shape == (1, 48, 48)

    @pytest.mark.parametrize("kind", ["int16", "float32"])
    def test_without_a_range_values_are_counts_in_cubes_of_all_types(self, raw, kind):
        net = pipeline().fit(raw)
        values = np.uint16(32000 * raw[0].lr)
        expected = 65535 * net.predict([Scene(values, raw[0].qm, raw[0].hr)])[0]
        image = super_resolve(cube_of(values.astype(kind)), net)
        np.testing.assert_allclose(image, expected, atol=0.6)


def fitted_net(estimator):
    return estimator[-1] if hasattr(estimator, "steps") else estimator
