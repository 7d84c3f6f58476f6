"""Nets on every device of this machine: training, saving and prediction as on the CPU."""

import numpy as np
import pytest
import torch
from _helpers import REGRESSORS, composed, cpsnr_of_every_shift, weights_of
from conftest import devices

from probav_estimators import (
    MISRGRU,
    RAMS,
    TRMISR,
    AdversarialLoss,
    BicubicBaseline,
    CPSNRLoss,
    FusionNet,
    HighResNet,
    PIUNet,
    ReprojectionLoss,
    make_scenes,
    probav_scorer,
)
from probav_estimators.losses import batch_cpsnr, best_shifts

# Different order of summation: a few units in float32's last place, in each of many layers.
CLOSE = {"rtol": 1e-3, "atol": 2e-4}
QUICK = {
    "max_epochs": 2,
    "batch_size": 2,
    "compute_dtype": "float32",
    "train_split": None,
    "random_state": 0,
    "verbose": 0,
}


@pytest.fixture(scope="module")
def few_scenes():
    return make_scenes(3, size=24, n_frames=(4, 6), random_state=8)


def quick_fusion_net(device, **params):
    return FusionNet(**{"width": 8, "depth": 1, "device": device, **QUICK, **params})


def where(net):
    return {weight.device.type for weight in net.module_.parameters()}


def on_each_device(kinds):
    """Each kind on each accelerator; on the CPU, which is compared with itself, the first alone."""
    pairs = [
        (device, kind) for device in devices() for kind in (kinds[:1] if device == "cpu" else kinds)
    ]
    return pytest.mark.parametrize(("device", "kind"), pairs)


class TestNets:
    @on_each_device(REGRESSORS)
    def test_net_learns_and_predicts_as_on_the_cpu(self, device, kind, few_scenes):
        scenes = composed(few_scenes, scale=None if kind.upscales else 3)
        params = QUICK | {"max_epochs": 1, "batch_size": 3, "lr": 1e-5}
        nets = [kind(device=each, **params).fit(scenes) for each in (device, "cpu")]
        assert where(nets[0]) == {device}
        losses = [net.history[-1, "train_loss"] for net in nets]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)
        np.testing.assert_allclose(*(net.predict(scenes) for net in nets), atol=2e-3)

    @on_each_device([HighResNet, MISRGRU, TRMISR, RAMS, PIUNet])
    def test_published_networks_learn_and_predict_as_on_the_cpu(self, device, kind, few_scenes):
        params = QUICK | {"max_epochs": 1, "batch_size": 3, "lr": 1e-5, "n_features": 8}
        nets = [kind(device=each, **params).fit(few_scenes) for each in (device, "cpu")]
        assert where(nets[0]) == {device}
        np.testing.assert_allclose(*(net.predict(few_scenes) for net in nets), atol=2e-3)

    def test_what_is_left_out_at_random_is_the_same_again(self, device, few_scenes):
        params = QUICK | {"device": device, "n_features": 8, "dropout": 0.5}
        nets = [TRMISR(**params).fit(few_scenes) for _ in range(2)]
        torch.testing.assert_close(*map(weights_of, nets), **CLOSE)

    def test_net_moves_to_the_cpu(self, device, few_scenes):
        net = quick_fusion_net(device).fit(few_scenes)
        there = net.predict(few_scenes)
        net.set_params(device="cpu")
        net.module_.to("cpu")
        np.testing.assert_allclose(net.predict(few_scenes), there, **CLOSE)

    @pytest.mark.parametrize("criterion", [CPSNRLoss, AdversarialLoss])
    def test_resumed_training_ends_as_an_undisturbed_one(
        self, device, criterion, few_scenes, tmp_path
    ):
        params = {"criterion": criterion, "patch_size": 16, "augment": True}
        whole = quick_fusion_net(device, **params).fit(few_scenes)
        quick_fusion_net(device, max_epochs=1, resume=tmp_path, **params).fit(few_scenes)
        resumed = quick_fusion_net(device, resume=tmp_path, **params).fit(few_scenes)
        torch.testing.assert_close(weights_of(resumed), weights_of(whole), **CLOSE)

    def test_training_that_was_broken_off_goes_on_on_the_cpu(self, device, few_scenes, tmp_path):
        quick_fusion_net(device, max_epochs=1, resume=tmp_path).fit(few_scenes)
        resumed = quick_fusion_net("cpu", resume=tmp_path).fit(few_scenes)
        assert len(resumed.history) == 2
        whole = quick_fusion_net("cpu").fit(few_scenes)
        torch.testing.assert_close(weights_of(resumed), weights_of(whole), rtol=0.01, atol=2e-3)

    def test_half_precision_is_close(self, device, few_scenes):
        images = [
            FusionNet.from_pretrained("simulated-x3", device=device, compute_dtype=dtype).predict(
                few_scenes
            )
            for dtype in ("float32", "bfloat16")
        ]
        assert np.abs(np.subtract(*images)).max() < 0.01
        assert np.abs(np.subtract(*images)).mean() < 0.0005


class TestFusionNet:
    def test_weights_that_ship_predict_as_on_the_cpu(self, device, few_scenes):
        nets = [
            FusionNet.from_pretrained("simulated-x3", device=each, compute_dtype="float32")
            for each in (device, "cpu")
        ]
        for ours, theirs in zip(
            *(net.predict(few_scenes, return_std=True) for net in nets), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
        ours, theirs = (probav_scorer(net, few_scenes) for net in nets)
        assert ours == pytest.approx(theirs, abs=1e-4)
        assert ours > probav_scorer(BicubicBaseline().fit(few_scenes), few_scenes)

    def test_it_learns_without_truth(self, device, few_scenes):
        nets = [
            quick_fusion_net(each, criterion=ReprojectionLoss(psf_sigma=0.4)).fit(few_scenes)
            for each in (device, "cpu")
        ]
        losses = [net.history[:, "train_loss"] for net in nets]
        np.testing.assert_allclose(*losses, rtol=5e-3)
        assert where(nets[0]) == {device}


class TestLosses:
    @pytest.fixture
    def images(self):
        generator = torch.Generator().manual_seed(0)
        hr = torch.rand(3, 20, 24, generator=generator)
        clear = (torch.rand(hr.shape, generator=generator) < 0.8).float()
        moves = [(0, 0), (1, -2), (-2, 2)]
        sr = torch.stack([image.roll(move, (0, 1)) for image, move in zip(hr, moves, strict=True)])
        return sr + 0.05 * torch.rand(hr.shape, generator=generator), hr, clear

    def test_best_shifts_are_those_of_the_obvious_search(self, device, images):
        found = best_shifts(*(image.to(device) for image in images), 2)
        expected = [
            np.unravel_index(cpsnr_of_every_shift(*each, 2).argmax(), (5, 5))
            for each in zip(*images, strict=True)
        ]
        assert list(zip(*found, strict=True)) == expected

    def test_cpsnr_and_its_gradient_are_those_of_the_cpu(self, device, images):
        values, gradients = [], []
        for each in (device, "cpu"):
            sr, hr, clear = (image.to(each) for image in images)
            sr.requires_grad_()
            value = batch_cpsnr(sr, hr, clear)
            value.sum().backward()
            values.append(value.detach().cpu())
            gradients.append(sr.grad.cpu())
        torch.testing.assert_close(*values)
        torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)
