"""Training against a discriminator: learning, copies, and its effect on images."""

import io
import pickle
from copy import deepcopy

import numpy as np
import pytest
import torch
from _helpers import weights_of
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from probav_estimators import (
    AdversarialLoss,
    CPSNRLoss,
    FusionNet,
    Scene,
    make_scenes,
    probav_scorer,
)
from probav_estimators.architectures import orientation_of
from probav_estimators.losses._adversarial import _SpectralConv2d
from probav_estimators.scenes import align_scene
from probav_estimators.training import turn_and_flip


@pytest.fixture(scope="module")
def clouded():
    """Scenes that lie as FusionNet predicts them, as trainings without augmentation do not turn.

    They have no true shifts, so that losses tolerate shifts as scores do.
    """
    scenes = make_scenes(4, size=32, n_frames=(6, 9), random_state=31)
    turned = []
    for scene in scenes:
        way = orientation_of(align_scene(scene))
        images = scene.lr, scene.qm, scene.hr, scene.sm
        turned.append(Scene(*(np.array(turn_and_flip(x, *way)) for x in images), name=scene.name))
    return turned


def batch(seed, size=24):
    """Images that require gradients, and truths that are clear everywhere."""
    image = torch.rand(2, 1, size, size, generator=torch.Generator().manual_seed(seed))
    truth = torch.cat([image.flip(2), torch.ones_like(image)], dim=1)
    return image.requires_grad_(), truth


def train(loss, seeds):
    """Values and gradients of some training steps of the discriminator."""
    values = []
    for seed in seeds:
        image, truth = batch(seed)
        value = loss(image, truth)
        value.backward()
        values += [value.item(), *image.grad.flatten().tolist()]
    return values


def discriminator_of(loss):
    state = loss.get_extra_state()["discriminator"]
    return {name: value.clone() for name, value in state.items()}


def differs(first, second):
    return any(not torch.equal(first[name], second[name]) for name in first)


def by_pickle(loss):
    return pickle.loads(pickle.dumps(loss))


def by_torch_save(loss):
    file = io.BytesIO()
    torch.save(loss, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def by_state(loss):
    """Copy by the state dict alone, loaded without running code."""
    file = io.BytesIO()
    torch.save(loss.state_dict(), file)
    file.seek(0)
    fresh = AdversarialLoss()
    fresh.load_state_dict(torch.load(file, weights_only=True))
    return fresh


class TestCopies:
    @pytest.mark.parametrize("copied_by", [deepcopy, by_pickle, by_torch_save, by_state])
    def test_a_copy_goes_on_training_as_the_original_does_and_alone(self, copied_by):
        original = AdversarialLoss()
        train(original, range(2))
        copy = copied_by(original)
        before = discriminator_of(original)
        values = train(copy, range(9, 11))
        assert differs(discriminator_of(copy), before)
        assert not differs(discriminator_of(original), before)
        assert train(original, range(9, 11)) == values
        assert not differs(discriminator_of(copy), discriminator_of(original))

    def test_the_moments_go_to_the_device_of_the_weights(self):
        loss = AdversarialLoss()
        train(loss, [0])
        loss._adversary._move_to(torch.device("meta"))
        assert loss.get_extra_state()["optimizer"]["param_groups"][0]["lr"] == 2e-4
        moments = loss.get_extra_state()["optimizer"]["state"].values()
        assert {moment["exp_avg"].device.type for moment in moments} == {"meta"}


class TestSpectralNormalisation:
    @pytest.fixture
    def pair(self):
        """The same layer, ours and by torch's parametrization."""
        layers = []
        for make in (_SpectralConv2d, lambda *sizes: spectral_norm(nn.Conv2d(*sizes))):
            torch.manual_seed(3)
            layers.append(make(4, 8, 3))
        return layers

    def test_it_is_that_of_torch(self, pair):
        ours, theirs = pair
        optimizers = [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in pair]
        for seed in range(4):
            image = torch.rand(1, 4, 9, 9, generator=torch.Generator().manual_seed(seed))
            # Twice, as a discriminator evaluates two images before the backward pass.
            outputs = [layer(image) + layer(image.flip(2)).square() for layer in pair]
            torch.testing.assert_close(*outputs)
            for output, optimizer in zip(outputs, optimizers, strict=True):
                optimizer.zero_grad()
                output.mean().backward()
                optimizer.step()
        torch.testing.assert_close(ours.weight, theirs.parametrizations.weight.original)

    def test_evaluation_leaves_it_as_it_is(self, pair):
        layer = pair[0].eval()
        before = deepcopy(layer.state_dict())
        layer(torch.rand(1, 4, 9, 9))
        assert not differs(before, layer.state_dict())


class TestLearning:
    def test_the_discriminator_learns_in_training_only(self):
        loss = AdversarialLoss()
        start = discriminator_of(loss)
        image, truth = batch(0)
        with torch.no_grad():
            loss(image.detach(), truth)
        assert not differs(start, discriminator_of(loss))
        loss(image, truth).backward()
        assert differs(start, discriminator_of(loss))
        assert image.grad.abs().sum() > 0

    def test_the_discriminator_comes_to_tell_images_from_truths(self):
        loss = AdversarialLoss(adversarial_weight=1.0, perceptual_weight=0.0, lr=1e-3)
        generator = torch.Generator().manual_seed(0)
        hinges = []
        for _ in range(60):
            hr = torch.rand(4, 1, 30, 30, generator=generator)
            smooth = nn.functional.avg_pool2d(hr, 3, stride=1, padding=1).requires_grad_()
            truth = torch.cat([hr, torch.ones_like(hr)], dim=1)
            score = CPSNRLoss(border=3)(smooth, truth)
            hinges.append((loss(smooth, truth) - score).item())
        # The discriminator's output for an image starts at about 0 and ends at about -1.
        assert abs(np.mean(hinges[:3])) < 0.3
        assert np.mean(hinges[-3:]) > 0.7

    def test_an_image_that_is_mostly_clouded_is_not_judged(self):
        image, truth = batch(0)
        truth[:, 1, 6:] = 0
        loss = AdversarialLoss()
        start = discriminator_of(loss)
        assert loss(image, truth).item() == CPSNRLoss(border=3)(image, truth).item()
        assert not differs(start, discriminator_of(loss))


class TestInNets:
    def test_it_changes_what_is_learned(self, clouded):
        plain = tuned(clouded)
        sharp = tuned(clouded, criterion=AdversarialLoss)
        losses = sharp.history[:, "train_loss"]
        assert losses[-1] < losses[0] - 0.005
        assert not torch.equal(weights_of(plain), weights_of(sharp))
        before = FusionNet.from_pretrained(compute_dtype="float32")
        scores = {net: -probav_scorer(net, clouded) for net in (before, plain, sharp)}
        # In two epochs the score falls by 0.005; the discriminator costs little of that.
        assert scores[plain] < scores[before] - 0.003
        assert abs(scores[sharp] - scores[plain]) < 0.001


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"norm": 0},
            {"clearance_weight": -1},
            {"border": -1},
            {"adversarial_weight": -0.1},
            {"perceptual_weight": float("nan")},
            {"lr": 0},
        ],
    )
    def test_parameters_out_of_range(self, wrong):
        ((name, value),) = wrong.items()
        with pytest.raises(ValueError, match=f"'{name}' parameter of Adver.* Got {value}"):
            AdversarialLoss(**wrong)

    def test_images_that_are_too_small_to_be_judged(self):
        with pytest.raises(ValueError, match=r"4 x 4 pixels.* got 3 x 3 inside border=3"):
            AdversarialLoss()(*batch(0, size=9))


def tuned(scenes, **params):
    quick = {
        "max_epochs": 2,
        "random_state": 0,
        "verbose": 0,
        "compute_dtype": "float32",
        "train_split": None,
    }
    return FusionNet.from_pretrained("simulated-x3", **{**quick, **params}).fit(scenes)
