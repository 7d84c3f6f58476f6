"""Training by left-out frames."""

import numpy as np
import pytest
import torch
from _helpers import weights_of
from scipy import ndimage

from probav_estimators import (
    FusionNet,
    ReprojectionLoss,
    Scene,
    Sensor,
    make_scenes,
    probav_scorer,
)
from probav_estimators.losses import SensorModel
from probav_estimators.scenes import estimate_psf_sigma
from probav_estimators.simulation import simulate_scene
from probav_estimators.training import AlignedReader, SceneDataset, collate_frames

pytestmark = pytest.mark.any_version


@pytest.fixture(scope="module")
def clouded():
    return make_scenes(4, size=32, n_frames=(6, 9), random_state=31)


@pytest.fixture(scope="module")
def bare(clouded):
    """The scenes of `clouded` without truth."""
    return [Scene(scene.lr, scene.qm, name=scene.name) for scene in clouded]


def tuned(scenes, **params):
    quick = {"max_epochs": 2, "random_state": 0, "verbose": 0, "compute_dtype": "float32"}
    return FusionNet.from_pretrained("simulated-x3", **{**quick, **params}).fit(scenes)


exact = ReprojectionLoss(psf_sigma=0.5, placement_error=0, image_sigma=None)


class TestReprojection:
    @pytest.fixture
    def sample(self):
        """An image, and frames degraded from it exactly."""
        generator = torch.Generator().manual_seed(0)
        image = torch.rand(2, 1, 36, 36, generator=generator)
        fractions = torch.rand(2, 3, 2, generator=generator) - 0.5
        sensor = SensorModel(3)
        frames = sensor.degrade(
            torch.nn.functional.pixel_unshuffle(image, 3), sensor.kernels(fractions, sigma=0.5)
        )
        return image, {
            "frames": frames,
            "weights": torch.ones_like(frames),
            "fractions": fractions,
            "left_out": torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]),
            "level": torch.zeros(2, 1),
            "std": torch.ones(2, 1),
        }

    def test_image_that_explains_the_frames_costs_nothing(self, sample):
        image, frames = sample
        assert exact(image, frames) < 1e-5
        assert ReprojectionLoss(0.3, placement_error=0, image_sigma=None)(image, frames) > 1e-3

    def test_image_that_lies_anywhere_is_expected_smoother(self, sample):
        image, frames = sample
        kernel = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])[None, None] / 16
        padded = torch.nn.functional.pad(image, (1, 1, 1, 1), mode="replicate")
        smooth = torch.nn.functional.conv2d(padded, kernel)
        anywhere = ReprojectionLoss(0.5, placement_error=1.0, image_sigma=None)
        assert exact(smooth, frames) > exact(image, frames)
        assert anywhere(smooth, frames) < anywhere(image, frames)

    @pytest.mark.parametrize("psf_sigma", [0.3, 2.2])
    def test_image_that_is_wanted_is_that_of_a_camera(self, psf_sigma):
        ground = np.random.default_rng(0).random((144, 144), np.float32)
        ground = ndimage.gaussian_filter(ground, 1)

        def sampled(sigma, pixel, shift=(0, 0)):
            moved = ndimage.shift(ground, np.multiply(pixel, shift), order=3, mode="mirror")
            n = 144 // pixel
            blurred = ndimage.gaussian_filter(moved, sigma)
            return blurred.reshape(n, pixel, n, pixel).mean(axis=(1, 3))

        fractions = np.random.default_rng(1).uniform(-0.5, 0.5, (6, 2)).astype(np.float32)
        frames = [sampled(2 * psf_sigma, 6, shift) for shift in fractions]
        sample = {
            "frames": torch.from_numpy(np.stack(frames))[None],
            "weights": torch.ones(1, 6, 24, 24),
            "fractions": torch.from_numpy(fractions)[None],
            "left_out": torch.ones(1, 6),
            "level": torch.zeros(1, 1),
            "std": torch.ones(1, 1),
        }
        loss = ReprojectionLoss(psf_sigma / 3, placement_error=0)
        costs = [
            loss(torch.from_numpy(sampled(sigma, 2))[None, None], sample)
            for sigma in (0.4, 1.0, 1.6)
        ]
        assert costs[1] < min(costs[0], costs[2])

    @pytest.mark.parametrize(
        "wrong", [{"psf_sigma": -0.1}, {"psf_sigma": 1.4}, {"placement_error": -1}]
    )
    def test_parameters_out_of_range(self, wrong):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ReprojectionLoss(**wrong)

    def test_offsets_cost_nothing(self, sample):
        image, frames = sample
        frames["frames"] = frames["frames"] + torch.arange(3.0)[None, :, None, None]
        assert exact(image, frames) < 1e-5

    def test_only_clear_pixels_of_left_out_frames_count(self, sample):
        image, frames = sample
        frames["frames"][0, 0] = 5
        frames["frames"][0, 1, 4:6, 4:6] = 7
        frames["weights"][0, 1, 4:6, 4:6] = 0
        assert exact(image, frames) < 1e-5

    def test_a_quarter_of_the_frames_is_left_out(self, bare):
        dataset = SceneDataset(bare, AlignedReader(), with_truth=False, left_out=0.25)
        for number, scene in enumerate(bare):
            images, _ = dataset[number]
            assert images["left_out"].sum() == max(1, round(len(scene) / 4))

    def test_left_out_frames_have_no_part_in_the_image(self, bare):
        net = FusionNet.from_pretrained(compute_dtype="float32")
        images, target = collate_frames(
            [SceneDataset(bare, AlignedReader(), with_truth=False, left_out=0.25)[0]]
        )
        changed = dict(images)
        changed["frames"] = images["frames"] + 9 * images["left_out"][..., None, None]
        first, second = (net.evaluation_step((each, target)) for each in (images, changed))
        torch.testing.assert_close(first, second)

    @pytest.mark.parametrize("sigma", [0.5, 1.2, 2.2])
    def test_point_spread_function_is_found(self, sigma):
        scenes = []
        for seed in range(6):
            rng = np.random.default_rng([7, seed])
            made = simulate_scene(rng, size=72, n_frames=12, psf_sigma=(sigma, sigma))
            scenes.append(Scene(made.lr, made.qm))
        assert estimate_psf_sigma(scenes) ** 2 == pytest.approx((sigma / 3) ** 2, abs=0.12)

    def test_point_spread_function_needs_clear_frames(self, bare):
        hidden = [Scene(s.lr, np.zeros_like(s.qm), name=s.name) for s in bare]
        with pytest.raises(ValueError, match="give psf_sigma"):
            estimate_psf_sigma(hidden)

    def test_fit_needs_no_truth(self):
        """With a wider PSF than any that the weights were trained for."""
        blurry = Sensor.preset("plain", psf_sigma=2.2)
        scenes = make_scenes(4, size=32, n_frames=(6, 9), sensor=blurry, random_state=31)
        before = FusionNet.from_pretrained(compute_dtype="float32")
        net = tuned(
            [Scene(scene.lr, scene.qm, name=scene.name) for scene in scenes],
            criterion=ReprojectionLoss(),
        )
        assert not torch.equal(weights_of(net), weights_of(before))
        assert "valid_loss" in net.history[-1]
        assert "valid_score" not in net.history[-1]
        # Measured: 0.0095.
        assert -probav_scorer(net, scenes) < -probav_scorer(before, scenes) - 0.004

    def test_truth_is_not_looked_at(self, bare, clouded):
        short = {"criterion": ReprojectionLoss(), "max_epochs": 1, "patch_size": 16}
        ours, theirs = (tuned(scenes, **short) for scenes in (bare, clouded))
        torch.testing.assert_close(weights_of(ours), weights_of(theirs))

    def test_scene_with_a_single_frame(self, bare):
        single = Scene(bare[0].lr[:1], bare[0].qm[:1], name="imgset0099")
        with pytest.raises(ValueError, match=r"imgset0099.*two frames"):
            tuned([single, *bare], criterion=ReprojectionLoss())
