"""Scenes with values of any type and range, read by window."""

import pickle
import tracemalloc

import dask.array as da
import numpy as np
import pandas
import pytest
from _helpers import composed, quick_srcnn, small_scenes
from skorch.helper import predefined_split

from probav_estimators import (
    SRCNN,
    BicubicBaseline,
    FusionNet,
    HighResNet,
    Scene,
    cpsnr,
    cpsnr_scorer,
    make_scenes,
    probav_scorer,
)


@pytest.fixture(scope="module")
def scene():
    return make_scenes(1, size=24, n_frames=4, random_state=0)[0]


@pytest.fixture(scope="module")
def net():
    return FusionNet.from_pretrained("simulated-x3", verbose=0)


class TestTypes:
    @pytest.mark.parametrize(
        ("kind", "value_range"),
        [
            ("int32", (-50000, 150000)),
            ("float32", (250.0, 320.0)),
            ("float64", (0.0, 1e-9)),
        ],
    )
    def test_pixels_are_parts_of_the_range(self, scene, kind, value_range):
        low, high = value_range
        values = (low + scene.lr.astype(np.float64) * (high - low)).astype(kind)
        own = Scene(values, scene.qm, value_range=value_range)
        expected = (values.astype(np.float64) - low) / (high - low)
        np.testing.assert_allclose(own.lr, expected, atol=1e-6)
        assert own.lr.dtype == np.float32
        assert own.value_range == value_range
        np.testing.assert_array_equal(own.qm, scene.qm)

    def test_signed_integers_need_a_range(self):
        with pytest.raises(ValueError, match=r"type int16.*value_range=\(0, 10000\)"):
            Scene(np.zeros((2, 4, 4), np.int16), np.ones((2, 4, 4), bool))

    @pytest.mark.parametrize("kind", [np.array, lambda v: pandas.Series(v, index=[7, 8])])
    def test_it_may_be_an_array(self, scene, kind):
        limits = kind([0, 200.0])
        own = Scene(100 * scene.lr, scene.qm, 100 * scene.hr, scene.sm, value_range=limits)
        assert own.value_range == (0, 200) and isinstance(own.value_range, tuple)
        source = Scene.from_frames(own.frames, 100 * scene.hr, value_range=limits)
        assert source.value_range == (0, 200)
        with pytest.raises(ValueError, match="value_range must be two finite numbers"):
            Scene.from_frames(own.frames, 100 * scene.hr, value_range=(5, 1))

    @pytest.mark.parametrize("bad", [(0, 0), (0, np.nan), 5, ("0", "1")])
    def test_a_range_has_two_ends(self, bad):
        with pytest.raises(ValueError, match="scene lake: value_range must be two finite numbers"):
            Scene(np.zeros((2, 4, 4)), name="lake", value_range=bad)

    @pytest.mark.parametrize("kind", ["complex64", "bool"])
    def test_other_types_are_refused(self, kind):
        with pytest.raises(ValueError, match="lr has values of type"):
            Scene(np.zeros((2, 4, 4)).astype(kind), value_range=(0, 1))


class TestBeyondTheRange:
    def test_clouds_and_water_keep_their_values(self, net):
        rng = np.random.default_rng(0)
        lr = np.float32(rng.normal(0.5, 0.5, (16, 16)) + rng.normal(0, 0.02, (4, 16, 16)))
        own = Scene(lr, np.ones(lr.shape, bool), value_range=(0, 1))
        np.testing.assert_allclose(own.lr, lr, atol=1e-6)
        assert net.predict([own]).max() > 1
        assert net.predict([own]).min() < 0

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_what_is_no_number_is_clouded(self, scene, net, bad):
        lr, qm = scene.lr, scene.qm
        lr[1, :12], qm[1, :12] = bad, True
        own = Scene(lr, qm, value_range=(0, 1))
        assert not own.qm[1, :12].any()
        assert not own.lr[1, :12].any()
        hidden = Scene(np.nan_to_num(lr, posinf=0), np.isfinite(lr) & qm)
        np.testing.assert_allclose(net.predict([own]), net.predict([hidden]), atol=1e-5)

    def test_a_frame_of_zeros_is_no_data(self, scene):
        lr = np.uint16(scene.lr * 65535)
        lr[2] = 0
        own = Scene(lr, value_range=(0, 65535))
        assert own.qm.any(axis=(1, 2)).tolist() == [True, True, False, True]

    def test_truth_may_lie_beyond_it_too(self, scene):
        hr, sm = 3 * scene.hr - 1, scene.sm
        hr[:2], sm[:2] = np.nan, False
        own = Scene(3 * scene.lr - 1, scene.qm, hr, sm, value_range=(0, 1))
        assert own.hr.min() < 0
        image = BicubicBaseline().predict([own])[0]
        expected = cpsnr(image, np.nan_to_num(hr), sm, data_range=1)
        assert cpsnr_scorer(BicubicBaseline(), [own]) == pytest.approx(expected)
        # The value range is three times that of the scene, and so is the error.
        plain = cpsnr((image + 1) / 3, np.where(sm, scene.hr, 0), sm)
        assert expected == pytest.approx(plain - 20 * np.log10(3), abs=1e-3)
        with pytest.raises(ValueError, match=r"hr has NaN.*hide them by sm"):
            Scene(scene.lr, scene.qm, hr, value_range=(0, 1))

    def test_nets_of_composed_inputs_do_not_clip(self, scene):
        wide = Scene(2 * scene.lr, scene.qm, 2 * scene.hr, scene.sm, value_range=(0, 1))
        scenes = composed([wide, wide])
        net = quick_srcnn(residual=True, max_epochs=1, lr=1e-9).fit(scenes)
        assert isinstance(net, SRCNN)
        assert np.isfinite(net.predict(scenes)).all()
        bright = Scene(2 + scene.lr, scene.qm, 2 + scene.hr, scene.sm, value_range=(0, 1))
        assert net.predict(composed([bright])).min() > 1


class TestLaziness:
    def test_a_memory_map_is_neither_read_nor_copied(self, tmp_path):
        shape = (6, 1024, 1024)
        stack = np.memmap(tmp_path / "lr", np.uint16, "w+", shape=shape)
        maps = np.memmap(tmp_path / "qm", np.uint8, "w+", shape=shape)
        stack[:, 40:44, 80:88], maps[:] = 5000, 1
        for kind in (np.uint16, np.int16):
            tracemalloc.start()
            own = Scene(stack.view(kind), maps, value_range=(0, 10000))
            lr, qm = own.frames.read([3, 1], (slice(40, 44), slice(80, 88)))
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert (lr == 0.5).all() and qm.all()
            assert peak < 2**20 * 2

    def test_of_a_dask_array_windows_are_computed(self):
        def block(block_info=None):
            place = block_info[None]["array-location"]
            assert place[1:] == [(0, 32), (32, 64)], "only this one is asked for"
            return np.full((2, 32, 32), 100, np.int16)

        values = da.map_blocks(block, chunks=((2, 2), (32, 32), (32, 32)), dtype=np.int16)
        own = Scene(values, da.ones(values.shape, dtype=bool, chunks=32), value_range=(0, 200))
        assert (len(own), own.shape) == (4, (64, 64))
        own.frames._empty = []
        lr, qm = own.frames.read(None, (slice(5, 9), slice(40, 44)))
        assert lr.shape == (4, 4, 4) and (lr == 0.5).all() and qm.all()

    def test_a_dask_array_without_range_has_the_rules_of_others(self, scene):
        values = da.from_array(np.uint16(scene.lr * 65535 + 0.5), chunks=8)
        own = Scene(values, scene.qm)
        np.testing.assert_allclose(own.lr, scene.lr, atol=1e-6)
        with pytest.raises(ValueError, match="type int16"):
            Scene(values.astype("int16"), scene.qm)

    def test_pickles(self, scene):
        own = Scene(scene.lr, scene.qm, value_range=(0, 2))
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(own)).lr, own.lr)


class TestCrop:
    @pytest.mark.parametrize("value_range", [None, (0, 2)])
    def test_a_part_is_that_of_the_whole(self, scene, value_range):
        whole = Scene(scene.lr, scene.qm, scene.hr, scene.sm, value_range=value_range)
        part = whole.crop((slice(4, 20), slice(3, None)))
        assert (part.shape, part.scale, len(part)) == ((16, 21), 3, 4)
        np.testing.assert_array_equal(part.lr, whole.lr[:, 4:20, 3:])
        np.testing.assert_array_equal(part.qm, whole.qm[:, 4:20, 3:])
        np.testing.assert_array_equal(part.hr, whole.hr[12:60, 9:])
        np.testing.assert_array_equal(part.sm, whole.sm[12:60, 9:])
        np.testing.assert_array_equal(
            part.frames.read_pixels([2], (slice(1, 3), slice(2, 4))), whole.lr[[2], 5:7, 5:7]
        )
        assert part.fingerprint() != whole.fingerprint()

    def test_a_scene_without_truth_too(self, scene):
        part = Scene(scene.lr, scene.qm).crop((slice(0, 8), slice(0, 8)))
        assert part.hr is None and part.shape == (8, 8)


def in_units(scenes, gain, offset, value_range):
    """The same scenes with pixels gain * pixel + offset, which may leave [0, 1]."""
    low, high = value_range
    span = high - low
    return [
        Scene(
            low + span * (gain * scene.lr + offset),
            scene.qm,
            low + span * (gain * scene.hr + offset),
            scene.sm,
            name=scene.name,
            value_range=value_range,
        )
        for scene in scenes
    ]


class TestValidation:
    @pytest.mark.parametrize(
        ("kind", "gain", "offset", "value_range"),
        [
            ("single", 1, -0.3, (0, 1)),
            ("stack", 0.5, 0.9, (0, 10000)),
            ("frames", -1, 0.1, (200.0, 300.0)),
        ],
    )
    def test_the_best_recorded_score_is_that_of_the_fitted_net(
        self, kind, gain, offset, value_range
    ):
        scenes = in_units(small_scenes(5), gain, offset, value_range)
        if kind == "frames":
            net = HighResNet(n_features=4, n_blocks=1, criterion__border=2)
        else:
            scenes = composed(scenes, frames=kind)
            net = SRCNN(residual=True)
        net.set_params(
            max_epochs=3,
            batch_size=2,
            patch_size=12,
            compute_dtype="float32",
            train_split=predefined_split(scenes[3:]),
            verbose=0,
            random_state=0,
        ).fit(scenes[:3])
        recorded = net.history[:, "valid_score"]
        assert min(recorded) == pytest.approx(-probav_scorer(net, scenes[3:]), rel=1e-5)
        assert len(set(recorded)) == 3
