"""FusionNet's settings: reference date, PSF, scale, and calibrated standard deviations."""

import hashlib

import numpy as np
import pytest
import torch
from _helpers import weights_of
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from probav_estimators import FusionNet, Scene, make_scenes, probav_scorer
from probav_estimators.imaging import error_map

# LR rows and columns of the field that changes, and by how much.
FIELD = np.s_[12:36, 14:38]
CHANGE = 0.005
SCENE = {"size": 48, "n_frames": 30, "random_state": 21}


@pytest.fixture(scope="module")
def net():
    return FusionNet.from_pretrained(scale=3, compute_dtype="float32")


@pytest.fixture(scope="module")
def scenes():
    return make_scenes(3, size=48, n_frames=10, random_state=21)


@pytest.fixture(scope="module")
def changing():
    """Ten clear frames with a field that is brighter from the sixth on."""
    frames = [(lr, qm) for s in make_scenes(1, **SCENE) for lr, qm in zip(s.lr, s.qm, strict=True)]
    lr = np.stack([lr for lr, qm in frames if qm.all()][:10])
    assert len(lr) == 10
    lr[5:][(slice(None), *FIELD)] += CHANGE
    qm = np.ones(lr.shape, bool)
    qm[:, :3] = False
    qm[7] = True
    return Scene(lr, qm, name="changing")


def with_params(net, **params):
    return clone(net).set_params(**params).initialize()


def level_of_field(image, inner=4):
    rows, columns = (slice(3 * (s.start + inner), 3 * (s.stop - inner)) for s in FIELD)
    return float(image[rows, columns].mean())


class TestReference:
    @pytest.mark.parametrize("number", [1, 8])
    def test_image_shows_the_date_of_the_frame(self, net, changing, number):
        level = level_of_field(with_params(net, reference=number).predict([changing])[0])
        inside = tuple(slice(part.start + 4, part.stop - 4) for part in FIELD)
        assert level == pytest.approx(changing.lr[number][inside].mean(), abs=0.15 * CHANGE)

    def test_middle_is_the_mean_of_the_dates(self, net, changing):
        level = level_of_field(net.predict([changing])[0])
        inside = tuple(slice(part.start + 4, part.stop - 4) for part in FIELD)
        expected = changing.lr[(slice(None), *inside)].mean()
        assert level == pytest.approx(expected, abs=0.15 * CHANGE)

    def test_clearest(self, net, changing):
        clearest, seventh = (
            with_params(net, reference=reference).predict([changing])
            for reference in ("clearest", 7)
        )
        np.testing.assert_array_equal(clearest, seventh)

    def test_number_goes_with_the_frame(self, net, changing):
        order = np.random.default_rng(0).permutation(len(changing))
        moved = Scene(changing.lr[order], changing.qm[order], name="moved")
        number = int(np.flatnonzero(order == 2)[0])
        expected = with_params(net, reference=2).predict([changing])
        found = with_params(net, reference=number).predict([moved])
        np.testing.assert_allclose(found, expected, atol=1e-4)

    def test_frame_that_is_not_there(self, net, changing):
        with pytest.raises(ValueError, match=r"changing.*frame 10 .*reference='clearest'"):
            with_params(net, reference=10).predict([changing])

    def test_frame_that_is_clouded(self, net, changing):
        qm = changing.qm.copy()
        qm[4] = False
        with pytest.raises(ValueError, match="frame 4 cannot be the reference"):
            with_params(net, reference=4).predict([Scene(changing.lr, qm)])

    @pytest.mark.parametrize("reference", ["newest", -1, 1.5, None])
    def test_what_is_no_reference(self, net, reference):
        with pytest.raises(ValueError, match="reference"):
            with_params(net, reference=reference)


class TestPsf:
    def test_what_is_told_changes_the_image(self, net, scenes):
        sharp, blurred = (
            with_params(net, psf_sigma=sigma).predict(scenes[:1])[0] for sigma in (0.15, 0.5)
        )
        # A wider PSF means more sharpening.
        roughness = [np.diff(image, axis=0).std() for image in (sharp, blurred)]
        assert roughness[0] < roughness[1]

    @pytest.mark.parametrize("psf_sigma", [0, -0.3, 1.1, "wide"])
    def test_what_is_no_point_spread_function(self, psf_sigma):
        with pytest.raises(ValueError, match="psf_sigma"):
            FusionNet.from_pretrained(psf_sigma=psf_sigma)

    def test_training_is_told_too(self, scenes):
        net = FusionNet(width=4, depth=1, psf_sigma=0.2, verbose=0)
        dataset = net.make_dataset(scenes, training=True)
        np.testing.assert_allclose(dataset[0][0]["blur"], [0.04, 0], atol=1e-6)


class TestCalibrate:
    def test_one_standard_deviation_covers_two_thirds(self, net, scenes):
        spoilt = with_params(net)
        spoilt.module_.calibration *= 4
        assert spoilt.calibrate(scenes) is spoilt
        # With only three scenes, the calibration adds a margin for new ones.
        assert self.coverage(spoilt, scenes) == pytest.approx(0.6827 * 4 / 3, abs=0.02)

    def test_errors_of_scenes_without_contrast_are_those_of_rounding(self, net, scenes):
        calm = np.full((3, 12, 12), 6000, np.uint16)
        truth = np.random.default_rng(0).integers(5999, 6002, (36, 36), dtype=np.uint16)
        calibrated = with_params(net).calibrate([*scenes, Scene(calm, calm > 0, truth)])
        # One count is 3.46 standard deviations of rounding.
        factor = calibrated.module_.calibration / net.module_.calibration
        assert 0.5 < float(factor) < 3.5

    @staticmethod
    def coverage(net, scenes):
        parts = []
        for scene in scenes:
            (image,), (deviation,) = net.predict([scene], return_std=True)
            error = error_map(image, scene.hr, scene.sm) / deviation[3:-3, 3:-3]
            parts.append(np.mean(np.abs(error[np.isfinite(error)]) < 1))
        return np.mean(parts)

    def test_file_keeps_it(self, net, scenes, tmp_path):
        calibrated = with_params(net).calibrate(scenes[:1])
        calibrated.save_pretrained(tmp_path / "mine.safetensors", dtype="bfloat16")
        loaded = FusionNet.from_pretrained(tmp_path / "mine.safetensors")
        assert loaded.module_.calibration == calibrated.module_.calibration

    def test_scenes_without_truth(self, net, scenes):
        bare = Scene(scenes[0].lr, scenes[0].qm, name="bare")
        with pytest.raises(ValueError, match=r"bare.*HR"):
            net.calibrate([bare])

    def test_net_that_is_not_fitted(self, scenes):
        with pytest.raises(NotFittedError):
            FusionNet(scale=3).calibrate(scenes)


class TestScales:
    @pytest.mark.parametrize("scale", [2, 3, 4])
    def test_weights_ship_for_it(self, scale):
        net = FusionNet.from_pretrained(scale=scale)
        assert (net.scale_, net.weights) == (scale, f"simulated-x{scale}")
        scenes = make_scenes(2, size=48, scale=scale, n_frames=9, random_state=4)
        assert -probav_scorer(net, scenes) < 0.95

    def test_no_weights_ship_for_it(self):
        with pytest.raises(ValueError, match=r"scale 7 .*simulated-x2.*FusionNet\(scale=7\)"):
            FusionNet.from_pretrained(scale=7)


class TestFiles:
    def test_halves_are_half_as_large(self, net, scenes, tmp_path):
        paths = [tmp_path / dtype for dtype in ("float32", "bfloat16")]
        for path in paths:
            net.save_pretrained(path, dtype=path.name)
        whole, half = (path.stat().st_size for path in paths)
        assert half < 0.55 * whole
        loaded = FusionNet.from_pretrained(paths[1], compute_dtype="float32")
        assert all(p.dtype == torch.float32 for p in loaded.module_.parameters())
        np.testing.assert_allclose(loaded.predict(scenes[:1]), net.predict(scenes[:1]), atol=1e-3)

    def test_is_read_once_and_again_when_it_has_changed(self, tmp_path, monkeypatch):
        path = tmp_path / "w"
        first, second = (
            FusionNet(scale=2, width=2, depth=1, random_state=seed).initialize() for seed in (0, 1)
        )
        first.save_pretrained(path)
        # Each reading verifies a checksum.
        read, sha256 = [], hashlib.sha256
        monkeypatch.setattr("hashlib.sha256", lambda *args: read.append(args) or sha256(*args))
        loaded = FusionNet.from_pretrained(path)
        assert len(read) == 1
        assert torch.equal(weights_of(clone(loaded).initialize()), weights_of(first))
        assert len(read) == 1
        second.save_pretrained(path)
        assert torch.equal(weights_of(clone(loaded).initialize()), weights_of(second))
        path.unlink()
        assert torch.equal(weights_of(clone(loaded).initialize()), weights_of(first))
