"""FusionNet: invariances, refused input, and training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

import probav_estimators
from probav_estimators import (
    ClearanceSelector,
    FrameRegistrar,
    FusionNet,
    Scene,
    cpsnr,
    make_scenes,
    probav_scorer,
)
from probav_estimators.imaging import error_map, upscale_bicubic
from probav_estimators.losses import SensorModel
from probav_estimators.scenes import align_scene
from probav_estimators.training import (
    collate_frames,
    read_sample,
    shipped_weights,
    turn_and_flip,
    turn_sample,
)

STEP = 1 / 65535

# An epoch on patches.
SHORT = {"max_epochs": 1, "patch_size": 16, "compute_dtype": "float32", "verbose": 0}


@pytest.fixture(scope="module")
def net():
    return FusionNet.from_pretrained("simulated-x3", compute_dtype="float32")


@pytest.fixture(scope="module")
def clouded():
    return make_scenes(3, size=48, n_frames=(9, 12), random_state=21)


@pytest.fixture(scope="module")
def scene(clouded):
    return clouded[0]


def with_frames(scene, lr, qm, **truth):
    return Scene(lr, qm, name=scene.name, band=scene.band, **truth)


def quick_net(**params):
    quick = {
        "width": 8,
        "depth": 1,
        "max_epochs": 2,
        "batch_size": 2,
        "compute_dtype": "float32",
        "random_state": 0,
        "verbose": 0,
    }
    return FusionNet(**{**quick, **params})


class TestSensorModel:
    @pytest.mark.parametrize("scale", [2, 3])
    def test_weights_of_a_pixel_sum_to_one(self, scale):
        kernels = SensorModel(scale).kernels(torch.rand(2, 3, 2) - 0.5, sigma=0.4)
        assert kernels.shape == (2, 3, scale**2, 5, 5)
        torch.testing.assert_close(kernels.sum(dim=(2, 3, 4)), torch.ones(2, 3))

    def test_back_projection_is_the_adjoint_of_see(self):
        generator = torch.Generator().manual_seed(0)
        sensor = SensorModel(3)
        kernels = sensor.kernels(torch.rand(2, 4, 2, generator=generator) - 0.5, sigma=0.4)
        image = torch.randn(2, 9, 12, 14, generator=generator)
        frames = torch.zeros(2, 4, 12, 14)
        frames[..., 2:-2, 2:-2] = torch.randn(2, 4, 8, 10, generator=generator)
        ours = (sensor.degrade(image, kernels) * frames).sum()
        torch.testing.assert_close(ours, (image * sensor.back_project(frames, kernels)).sum())


class TestWhatDoesNotMatter:
    def test_order_of_the_frames(self, net, scene):
        order = np.random.default_rng(0).permutation(len(scene))
        reordered = with_frames(scene, scene.lr[order], scene.qm[order])
        np.testing.assert_allclose(net.predict([reordered]), net.predict([scene]), atol=2 * STEP)

    def test_gains_and_offsets_of_frames(self, net, scene):
        rng = np.random.default_rng(0)
        gains = rng.normal(1, 0.08, (len(scene), 1, 1))
        offsets = rng.normal(0, 0.004, (len(scene), 1, 1))
        lr = (scene.lr * gains / gains.mean() + offsets - offsets.mean()).astype(np.float32)
        plain, changed = net.predict([scene, with_frames(scene, lr.clip(0, 1), scene.qm)])
        assert cpsnr(changed, plain, border=0) > 65

    def test_other_scenes_in_the_list(self, net, clouded):
        together = net.predict(clouded)
        for alone, scene in zip(together, clouded, strict=True):
            np.testing.assert_array_equal(net.predict([scene])[0], alone)

    def test_who_registered_the_frames(self, net, clouded):
        registered = make_pipeline(ClearanceSelector(k=None), FrameRegistrar(apply=False), net)
        np.testing.assert_allclose(registered.predict(clouded), net.predict(clouded), atol=2 * STEP)

    def test_resampled_frames_are_not_moved_again(self, net, clouded):
        resampled = FrameRegistrar(apply=True).transform(clouded)
        assert not align_scene(resampled[0]).shifts.any()
        gains = [
            cpsnr(image, scene.hr, scene.sm) - scene.norm
            for image, scene in zip(net.predict(resampled), clouded, strict=True)
        ]
        # 2.0 dB when written, and 5.9 dB for frames that were not smoothed before.
        assert np.mean(gains) > 1.4


class TestShapes:
    @pytest.mark.parametrize("n_frames", [1, 64])
    def test_any_number_of_frames(self, net, n_frames):
        (scene,) = make_scenes(1, size=16, n_frames=n_frames, random_state=0)
        assert net.predict([scene]).shape == (1, 48, 48)

    def test_different_sizes_in_one_list(self, net):
        scenes = [make_scenes(1, size=size, random_state=0)[0] for size in ((16, 25), (9, 14))]
        images, deviations = net.predict(scenes, return_std=True)
        assert [image.shape for image in images] == [(48, 75), (27, 42)]
        assert [deviation.shape for deviation in deviations] == [(48, 75), (27, 42)]

    def test_image_larger_than_memory(self, net, scene, tmp_path):
        out = np.memmap(tmp_path / "image", np.float32, "w+", shape=(2, 144, 144))
        assert net.predict_into(scene, out) is out
        np.testing.assert_array_equal(out[0].clip(0, 1), net.predict([scene])[0])

    @pytest.mark.parametrize("scale", [2, 4])
    def test_other_scales_can_be_trained(self, scale):
        scenes = make_scenes(3, size=16, scale=scale, n_frames=4, random_state=0)
        assert quick_net().fit(scenes).predict(scenes).shape == (3, 16 * scale, 16 * scale)


class TestQuality:
    def test_beats_the_baseline(self, net, clouded):
        scores = [
            scene.norm / cpsnr(image, scene.hr, scene.sm)
            for image, scene in zip(net.predict(clouded), clouded, strict=True)
        ]
        # 0.887 when written, and 0.872 to 0.890 with other scenes.
        assert np.mean(scores) < 0.9
        assert -probav_scorer(net, clouded) == pytest.approx(np.mean(scores))

    def test_single_frame_beats_its_bicubic_upscaling(self, net, clouded):
        gains = []
        for scene in clouded:
            best = int(scene.qm.sum(axis=(1, 2)).argmax())
            alone = with_frames(scene, scene.lr[[best]], scene.qm[[best]])
            bicubic = upscale_bicubic(scene.lr[best], 3).clip(0, 1)
            images = net.predict([alone])[0], bicubic
            gains.append(np.subtract(*(cpsnr(x, scene.hr, scene.sm) for x in images)))
        # 1.5 dB when written.
        assert np.mean(gains) > 1

    def test_standard_deviations_fit_the_errors(self, net, clouded):
        images, deviations = net.predict(clouded, return_std=True)
        errors = [
            error_map(image, scene.hr, scene.sm) / deviation[3:-3, 3:-3]
            for image, deviation, scene in zip(images, deviations, clouded, strict=True)
        ]
        errors = np.abs(np.concatenate([error[np.isfinite(error)] for error in errors]))
        # 0.79 and 0.97: fitted to real land, where errors are larger. Gaussian: 0.68 and 0.95.
        assert 0.65 < np.mean(errors < 1) < 0.83
        assert 0.91 < np.mean(errors < 2) < 0.985

    def test_self_ensemble_is_close_and_no_worse(self, net, clouded):
        ensemble = FusionNet.from_pretrained(n_augment=4, compute_dtype="float32")
        plain, averaged = (-probav_scorer(each, clouded) for each in (net, ensemble))
        assert averaged == pytest.approx(plain, abs=0.005)
        assert averaged < plain + 0.001

    def test_weights_ship_small(self):
        files = Path(probav_estimators.__file__).parent.glob("weights/*.safetensors")
        sizes = {file.stem: file.stat().st_size for file in files}
        assert sorted(sizes) == sorted(shipped_weights())
        assert sum(sizes.values()) <= 8 * 2**20
        assert sum(p.numel() for p in FusionNet.from_pretrained().module_.parameters()) < 2e6


class TestSampling:
    @pytest.mark.parametrize(("turn", "flip"), [(1, 0), (2, 1), (3, 1)])
    def test_turned_frames_make_the_turned_image(self, scene, turn, flip):
        """An untrained net is a plain fusion of the frames, without a preferred direction."""
        sample = read_sample(scene, align_scene(scene))
        layers = quick_net(width=4, scale=3).initialize().module_
        images = []
        for each in (sample, turn_sample(sample, turn, flip)):
            batch, _ = collate_frames([(each, {})])
            with torch.inference_mode():
                images.append(layers(**batch)[0, 0])
        expected = turn_and_flip(images[0], turn, flip)
        torch.testing.assert_close(images[1], expected, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("block", [(20, 28, 24, 30), (0, 9, 40, 48)])
    def test_block_is_a_part_of_the_image(self, scene, block):
        """Random weights, so that each pixel affects its whole receptive field."""
        layers = quick_net(width=4, scale=3).initialize().module_
        rng = torch.Generator().manual_seed(0)
        for weights in layers.parameters():
            torch.nn.init.normal_(weights, std=0.2, generator=rng)
        batch, _ = collate_frames([(read_sample(scene, align_scene(scene)), {})])
        with torch.inference_mode():
            whole, part = layers(**batch), layers(**batch, block=torch.tensor(block))
        top, bottom, left, right = (3 * end for end in block)
        wanted = whole[..., top:bottom, left:right]
        assert part.shape == wanted.shape
        assert ((part - wanted).abs() <= 1e-3 * wanted.std(dim=(2, 3), keepdim=True)).all()

    def test_frames_of_no_weight_change_nothing(self, net, clouded):
        dataset = net.get_dataset(clouded)
        together = net.evaluation_step(collate_frames([dataset[0], dataset[1]]))
        alone = net.evaluation_step(collate_frames([dataset[0]]))
        torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-3)


class TestTraining:
    def test_learns(self, clouded):
        net = quick_net(max_epochs=6, train_split=None, batch_size=3, lr=2e-3).fit(clouded)
        losses = net.history[:, "train_loss"]
        assert losses[-1] < losses[0] - 0.03
        # 0.960 to 0.962 for three seeds; the baseline's score is 1.
        assert -probav_scorer(net, clouded) < 0.97

    def test_clones_and_cross_validation_begin_with_pretrained_weights(self, clouded):
        net = FusionNet.from_pretrained(lr=1e-6, train_split=None, **SHORT)
        assert repr(clone(net)) == repr(net)
        scores = -cross_val_score(net, clouded, cv=2, scoring=probav_scorer)
        assert scores.mean() < 0.9

    def test_weights_survive_a_file(self, clouded, tmp_path):
        net = quick_net(max_epochs=1, train_split=None).fit(clouded)
        net.save_pretrained(tmp_path / "mine.safetensors")
        loaded = FusionNet.from_pretrained(tmp_path / "mine.safetensors", compute_dtype="float32")
        assert (loaded.width, loaded.depth) == (8, 1)
        np.testing.assert_array_equal(loaded.predict(clouded), net.predict(clouded))
        assert [path.name for path in tmp_path.iterdir()] == ["mine.safetensors"]


class TestBadInput:
    def test_nothing_but_clouds(self, net, scene):
        hidden = with_frames(scene, scene.lr, np.zeros_like(scene.qm))
        with pytest.raises(ValueError, match=f"{scene.name}.*clouded"):
            net.predict([hidden])

    def test_some_frames_are_nothing_but_clouds(self, net, scene):
        qm = scene.qm.copy()
        qm[::2] = False
        halved = with_frames(scene, scene.lr, qm)
        expected = with_frames(scene, scene.lr[1::2], scene.qm[1::2])
        np.testing.assert_allclose(net.predict([halved]), net.predict([expected]), atol=1e-6)

    @pytest.mark.parametrize("value", [0.0, 0.25])
    def test_constant_frames_make_a_constant_image(self, net, value):
        scene = Scene(np.full((3, 16, 16), value, np.float32), np.ones((3, 16, 16), bool))
        images, deviations = net.predict([scene], return_std=True)
        np.testing.assert_allclose(images, value, atol=1e-3)
        assert np.isfinite(deviations).all()

    def test_another_scale_than_the_weights(self, net):
        scenes = make_scenes(2, size=16, scale=2, n_frames=3, random_state=0)
        for use in (net.predict, net.fit):
            with pytest.raises(ValueError, match=r"scale 2|2 times.*") as error:
                use(scenes)
            assert "3" in str(error.value)

    @pytest.mark.parametrize(
        "params", [{"width": 0}, {"n_augment": 0}, {"tile_size": 3}, {"scale": 1}]
    )
    def test_parameters_are_checked(self, params, clouded):
        with pytest.raises(ValueError, match=next(iter(params))):
            quick_net(**params).fit(clouded)
