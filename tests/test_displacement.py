"""Correction of displaced images: FusionNet's are registered to the centre of their frames."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

from benchmarks._scores import displacement, displacement_of_layers
from benchmarks.pretrain import correct_displacement
from probav_estimators import (
    CPSNRLoss,
    FusionNet,
    Scene,
    cpsnr,
    load_model,
    make_scenes,
    save_model,
)
from probav_estimators.architectures import orientation_of
from probav_estimators.losses import mean_shift
from probav_estimators.metrics import image_shift, move_image
from probav_estimators.scenes import align_scene
from probav_estimators.training import (
    AlignedReader,
    SceneDataset,
    collate_frames,
    load_weights,
    read_sample,
    shipped_weights,
    turn_vector,
)

pytestmark = pytest.mark.any_version

# HR pixels.
LIMIT = 0.1
DOWN_RIGHT = (0.6, -0.9)


def scenes_of(scale, n_scenes=4, size=40):
    """Scenes that no weights were trained on, with few frames for speed."""
    return make_scenes(n_scenes, size=size, scale=scale, n_frames=9, random_state=25)


def pretrained(name, **params):
    return FusionNet.from_pretrained(
        name, device="cpu", compute_dtype="float32", verbose=0, **params
    )


def small_net(**params):
    """Net with practically untrained layers, whose image is the plain fusion of the frames."""
    small = {"width": 4, "depth": 1, "scale": 3, "random_state": 0, "device": "cpu"}
    small["data_consistency"] = False
    quick = {"max_epochs": 1, "lr": 1e-12, "train_split": None, "compute_dtype": "float32"}
    return FusionNet(**small | quick | {"verbose": 0} | params)


@pytest.fixture(scope="module")
def scenes():
    return scenes_of(4)


@pytest.fixture(scope="module")
def net():
    """Pretrained net with a displacement."""
    return pretrained("simulated-x4")


@pytest.fixture
def uncorrected():
    """Learned layers alone: data consistency would take away a part of the displacement."""
    net = pretrained("simulated-x4", data_consistency=False)
    net.displacement_ = (0.0, 0.0)
    return net


@pytest.fixture
def displaced():
    net = small_net().initialize()
    net.displacement_ = DOWN_RIGHT
    return net


class TestWhereImagesLie:
    @pytest.mark.parametrize("name", shipped_weights())
    def test_shipped_weights_put_them_in_the_middle_of_the_frames(self, name):
        net = pretrained(name)
        scenes = scenes_of(net.scale_)
        assert np.abs(displacement(net.predict(scenes), scenes)).max() < LIMIT

    def test_without_the_correction_they_would_not_lie_there(self, uncorrected, scenes):
        down, _ = displacement_of_layers(uncorrected, scenes)
        assert down < -0.8

    def test_correction_is_the_opposite_of_the_displacement(self, displaced):
        scenes = scenes_of(3, n_scenes=1)
        (moved,) = displaced.predict(scenes)
        (image,) = small_net().initialize().predict(scenes)
        found = turn_vector(*image_shift(moved, image), *orientation_of(align_scene(scenes[0])))
        np.testing.assert_allclose(found, np.negative(DOWN_RIGHT), atol=0.06)

    def test_self_ensemble_lies_there_too(self, net, scenes):
        ensemble = clone(net).set_params(n_augment=8).initialize()
        found = displacement(ensemble.predict(scenes[:2]), scenes[:2])
        assert np.abs(found).max() < LIMIT


class TestWhatKeepsTheDisplacement:
    def test_file_of_weights(self, displaced, tmp_path):
        scenes = scenes_of(3, n_scenes=1, size=24)
        for dtype in ("float32", "bfloat16"):
            displaced.save_pretrained(tmp_path / dtype, dtype=dtype)
            assert pretrained(tmp_path / dtype).displacement_ == DOWN_RIGHT
        loaded = pretrained(tmp_path / "float32", data_consistency=False)
        np.testing.assert_array_equal(loaded.predict(scenes), displaced.predict(scenes))

    def test_file_without_one_is_as_it_was(self, tmp_path):
        small_net().initialize().save_pretrained(tmp_path / "w")
        config = load_weights(tmp_path / "w").config
        assert config.keys() == {"scale", "width", "depth", "data_consistency"}
        assert pretrained(tmp_path / "w").displacement_ == (0, 0)

    @pytest.mark.parametrize("way", ["pickle", "save_model"])
    def test_model_and_pickle(self, displaced, tmp_path, way):
        scenes = scenes_of(3, n_scenes=1, size=24)
        if way == "pickle":
            loaded = pickle.loads(pickle.dumps(displaced))
        else:
            save_model(displaced, tmp_path / "model")
            loaded = load_model(tmp_path / "model")
        assert loaded.displacement_ == DOWN_RIGHT
        np.testing.assert_array_equal(loaded.predict(scenes), displaced.predict(scenes))

    def test_training_that_begins_with_the_weights(self, displaced, tmp_path):
        scenes = scenes_of(3, n_scenes=2, size=24)
        displaced.save_pretrained(tmp_path / "w")
        of_file = small_net(weights=tmp_path / "w")
        of_net = small_net(weights=displaced)
        for net in (clone(of_file).fit(scenes), of_net.fit(scenes)):
            assert net.displacement_ == DOWN_RIGHT
            found, expected = net.predict(scenes), displaced.predict(scenes)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)

    def test_loss_is_that_of_corrected_images(self, net, uncorrected, scenes, monkeypatch):
        training = {"criterion": CPSNRLoss(border=0), "train_split": None}
        training |= {"lr": 1e-12, "max_epochs": 1}
        monkeypatch.setattr(FusionNet, "likelihood_weight", 0)
        monkeypatch.setattr(FusionNet, "shift_weight", 0)
        trained = pretrained("simulated-x4", **training).fit(without_shifts(scenes[:2]))
        expected, other = (
            np.mean(
                [
                    46.5 / cpsnr(image_as_it_lies(one, scene), scene.hr, scene.sm, border=0)
                    for scene in scenes[:2]
                ]
            )
            for one in (net, uncorrected)
        )
        assert trained.history[0, "train_loss"] == pytest.approx(expected, rel=1e-4)
        assert other != pytest.approx(expected, rel=1e-3)


def image_as_it_lies(net, scene):
    """Image of a scene that is not turned to the orientation of predictions."""
    batch, _ = collate_frames([(read_sample(scene, align_scene(scene)), {})])
    return net.compute(batch)[0, 0].numpy()


def without_shifts(scenes):
    """The scenes without their true shifts."""
    return [Scene(scene.lr, scene.qm, scene.hr, scene.sm, name=scene.name) for scene in scenes]


class TestTruthsInPlace:
    """Trainings put images in the place of their truths, known or unknown."""

    def test_mean_shift_is_found_to_a_fraction_of_a_pixel(self, scenes):
        shift = (0.7, -1.9)
        hr = torch.from_numpy(np.stack([scene.hr for scene in scenes]))
        moved = np.float32([move_image(image, shift) for image in hr.numpy()])
        images = torch.from_numpy(moved).requires_grad_()
        found = mean_shift(images, hr, torch.ones_like(hr), 3)
        np.testing.assert_allclose(found.detach(), shift, atol=0.1)
        found.sum().backward()
        assert torch.isfinite(images.grad).all()
        assert images.grad.any()

    def test_mean_shift_without_a_clear_pixel_or_contrast_is_0(self):
        images = torch.rand(2, 12, 12)
        for hr, clear in [(torch.rand(2, 12, 12), 0.0), (torch.full((2, 12, 12), 0.5), 1.0)]:
            found = mean_shift(images, hr, torch.full_like(hr, clear), 2)
            np.testing.assert_array_equal(found, 0)

    def test_loss_of_an_image_in_place_tolerates_no_shift(self, scenes):
        hr = torch.from_numpy(scenes[0].hr)[None]
        truth = torch.stack([hr, torch.ones_like(hr)], dim=1)
        moved, loss = truth[:, :1].roll(1, dims=2), CPSNRLoss(border=3)
        tolerated = loss.compare(moved, {"truth": truth}, {})
        in_place = loss.compare(moved, {"truth": truth, "in_place": torch.tensor([True])}, {})
        expected = CPSNRLoss()(moved[..., 3:-3, 3:-3], truth[..., 3:-3, 3:-3])
        assert in_place.item() == pytest.approx(expected.item(), rel=1e-5)
        assert in_place > 1.5 * tolerated

    def test_frames_are_registered_to_truths_of_known_position(self, net, scenes):
        registered, plain = (
            SceneDataset(scenes, AlignedReader(truths_in_place=on), with_truth=True, training=True)
            for on in (True, False)
        )
        apart = []
        for dataset in (registered, plain):
            batch, target = collate_frames([dataset[number] for number in range(len(scenes))])
            assert target["in_place"].tolist() == len(scenes) * [dataset is registered]
            images = net.compute(net.add_displacement(batch))[:, 0].numpy()
            truths = target["truth"][:, 0].numpy()
            found = [image_shift(*pair) for pair in zip(images, truths, strict=True)]
            apart.append(np.abs(found).max())
        assert apart[0] < 0.2 < 0.5 < apart[1]

    def test_training_puts_displaced_images_there(self, uncorrected, scenes, monkeypatch):
        training = without_shifts(make_scenes(8, size=40, scale=4, n_frames=9, random_state=5))
        before = displacement_of_layers(uncorrected, scenes)
        options = {"lr": 5e-4, "max_epochs": 6, "batch_size": 8, "patch_size": 24}
        found = []
        for weight in (FusionNet.shift_weight, 0):
            monkeypatch.setattr(FusionNet, "shift_weight", weight)
            net = clone(uncorrected).set_params(**options, train_split=None, random_state=0)
            net.initialize().displacement_ = (0.0, 0.0)
            found.append(np.hypot(*displacement_of_layers(net.partial_fit(training), scenes)))
        after, without = np.array(found) / np.hypot(*before)
        assert after < 0.5 < 0.9 < without


class TestMeasuring:
    def test_pretraining_finds_it_and_adds_what_is_left(self, uncorrected, scenes):
        stated = pretrained("simulated-x4").displacement_
        correct_displacement(uncorrected, scenes)
        np.testing.assert_allclose(uncorrected.displacement_, stated, atol=0.06)
        uncorrected.displacement_ = (stated[0], 0.5)
        correct_displacement(uncorrected, scenes)
        np.testing.assert_allclose(uncorrected.displacement_, stated, atol=0.06)


@pytest.mark.parametrize("values", [(3.0, 0.0), (float("nan"), 0.0), ("1", 0.0), (0.5,)])
def test_model_file_of_a_displacement_that_no_net_has_is_refused(displaced, tmp_path, values):
    displaced.displacement_ = values
    save_model(displaced, tmp_path / "model")
    with pytest.raises(ValueError, match=r"model cannot be made an estimator .*displacement_"):
        load_model(tmp_path / "model")
