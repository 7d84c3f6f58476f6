"""Losses and their gradients follow their formulas."""

import numpy as np
import pytest
import torch
from _helpers import (
    QUICK,
    composed,
    cpsnr_of_every_shift,
    quick_srcnn,
    slow_cpsnr,
    small_scenes,
    weights_of,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from probav_estimators import (
    CPSNRLoss,
    FusionNet,
    MaskedMSELoss,
    MSELoss,
)
from probav_estimators.losses import (
    SceneLoss,
    SensorModel,
    _batch_errors,
    _sensor_model,
    uncertainty_loss,
)
from probav_estimators.training import FrameNet


def random_batch(seed=0, n=3, shape=(14, 17), dtype=torch.float32, clear=0.8):
    """Predictions with a clearance channel, and truths with a status map."""
    rng = np.random.default_rng(seed)
    hr = 0.3 + 0.05 * rng.standard_normal((n, *shape))
    sr = hr + 0.04 * rng.standard_normal((n, *shape)) + 0.02
    status = rng.random((n, *shape)) < clear
    probability = rng.uniform(0.05, 0.95, (n, *shape))
    prediction = torch.tensor(np.stack([sr, probability], axis=1), dtype=dtype)
    truth = torch.tensor(np.stack([hr, status], axis=1), dtype=dtype)
    return prediction.clamp(0, 1), truth


def cross_entropy(probability, status):
    """Binary cross-entropy in float64."""
    probability, status = np.asarray(probability, np.float64), np.asarray(status, np.float64)
    return -np.mean(status * np.log(probability) + (1 - status) * np.log(1 - probability))


def slow_loss(prediction, truth, border, norm=46.5, weight=0.5):
    pairs = zip(prediction.numpy(), truth.numpy(), strict=True)
    scores = [norm / slow_cpsnr(p[0], t[0], t[1], border) for p, t in pairs]
    return np.mean(scores) + weight * cross_entropy(prediction[:, 1], truth[:, 1])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 4),
    shape=st.tuples(st.integers(12, 20), st.integers(12, 20)),
    border=st.integers(0, 3),
    clear=st.sampled_from([0.5, 0.8, 1.0]),
)
def test_cpsnr_loss_is_norm_over_cpsnr_plus_half_the_cross_entropy(seed, n, shape, border, clear):
    prediction, truth = random_batch(seed, n, shape, clear=clear)
    loss = CPSNRLoss(border=border)(prediction, truth).item()
    assert loss == pytest.approx(slow_loss(prediction, truth, border), rel=2e-5)


def test_norm_and_clearance_weight_scale_their_terms():
    prediction, truth = random_batch()
    loss = CPSNRLoss(norm=40.0, clearance_weight=2.0)(prediction, truth).item()
    assert loss == pytest.approx(slow_loss(prediction, truth, 0, norm=40.0, weight=2.0), rel=2e-5)


def test_gradient_with_a_border_is_that_of_the_best_shift_alone():
    border = 3
    prediction, truth = random_batch(n=4, dtype=torch.float64)
    prediction.requires_grad_()
    (found,) = torch.autograd.grad(CPSNRLoss(border=border)(prediction[:, :1], truth), prediction)

    total = 0
    for image, (hr, status) in zip(prediction[:, 0], truth, strict=True):
        values = cpsnr_of_every_shift(image.detach(), hr, status, border)
        row, column = np.unravel_index(np.nanargmax(values), values.shape)
        centre = image[border:-border, border:-border]
        window = np.s_[row : row + len(centre), column : column + centre.shape[1]]
        cmse = (hr[window] - centre)[status[window] > 0].var(correction=0)
        total = total + 46.5 / (-10 * torch.log10(cmse))
    (expected,) = torch.autograd.grad(total / len(prediction), prediction)

    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert found[:, 0, :border].abs().max() == 0
    assert found[:, 1].abs().max() == 0


@pytest.mark.parametrize("border", [0, 2])
def test_gradient_agrees_with_finite_differences(border):
    prediction, truth = random_batch(n=2, shape=(7, 8), dtype=torch.float64)
    prediction.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: CPSNRLoss(border=border)(p, truth), (prediction,))


@pytest.mark.parametrize("loss", [CPSNRLoss(), CPSNRLoss(border=3), MaskedMSELoss(), MSELoss()])
def test_without_a_clearance_channel_there_is_no_cross_entropy(loss):
    prediction, truth = random_batch()
    entropy = cross_entropy(prediction[:, 1], truth[:, 1])
    difference = (loss(prediction, truth) - loss(prediction[:, :1], truth)).item()
    assert difference == pytest.approx(0.5 * entropy, rel=1e-4)


@pytest.mark.parametrize("border", [0, 3])
def test_a_sample_that_is_clouded_everywhere_counts_nothing(border):
    prediction, truth = random_batch(n=2)
    truth[1, 1] = 0
    image = prediction[:, :1].clone().requires_grad_()
    loss = CPSNRLoss(border=border)(image, truth)
    alone = CPSNRLoss(border=border)(prediction[:1, :1], truth[:1])
    assert loss.item() == pytest.approx(alone.item() / 2, rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, image)
    assert gradient.isfinite().all()
    assert gradient[0].abs().max() > 0
    assert gradient[1].abs().max() == 0


@pytest.mark.parametrize("loss", [CPSNRLoss(), CPSNRLoss(border=3), MaskedMSELoss()])
def test_a_batch_that_is_clouded_everywhere_has_a_finite_gradient(loss):
    prediction, truth = random_batch(n=2)
    truth[:, 1] = 0
    image = prediction[:, :1].clone().requires_grad_()
    value = loss(image, truth)
    (gradient,) = torch.autograd.grad(value, image)
    assert value.item() == 0
    assert gradient.abs().max() == 0


@pytest.mark.parametrize("border", [0, 3])
def test_a_perfect_image_has_a_finite_loss_and_gradient(border):
    _, truth = random_batch()
    image = truth[:, :1].clone().requires_grad_()
    loss = CPSNRLoss(border=border)(image, truth)
    (gradient,) = torch.autograd.grad(loss, image)
    assert 0 < loss.item() <= 46.5 / 90
    assert gradient.isfinite().all()


def batch_of_cmse(cmse):
    """An image in float64 with errors of this variance, and its truth."""
    rng = np.random.default_rng(0)
    hr, pattern = 0.3 + 0.05 * rng.standard_normal((2, 9, 9))
    pattern = (pattern - pattern.mean()) / pattern.std()
    truth = torch.tensor(np.stack([hr, np.ones_like(hr)]))[None]
    return (truth[:, :1] + torch.tensor(np.sqrt(cmse) * pattern)).requires_grad_(), truth


exponents = st.floats(-10, 4)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(first=exponents, second=exponents)
@example(first=-1e-3, second=1e-3)
@example(first=-1.001, second=-0.999)
def test_a_worse_image_always_costs_more(first, second):
    better, worse = sorted([first, second])
    losses = [CPSNRLoss()(*batch_of_cmse(10**power)).item() for power in (better, worse)]
    # The loss is capped at 100 dB.
    if worse - better > 1e-6 and worse > -10 + 1e-6:
        assert losses[0] < losses[1]
    else:
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(power=st.floats(-9.9, 4))
@example(power=0.0)
@example(power=-1.0)
def test_the_gradient_always_leads_to_a_better_image(power):
    image, truth = batch_of_cmse(10**power)
    loss = CPSNRLoss()(image, truth)
    (gradient,) = torch.autograd.grad(loss, image)
    assert gradient.isfinite().all()
    # By relative size of the errors; not flat below the floor of 10 dB.
    slope = (gradient * (image - truth[:, :1])).sum().item()
    assert slope == pytest.approx(20 / np.log(10) * 46.5 / max(-10 * power, 10) ** 2, rel=1e-6)
    step = 0.01 * np.sqrt(10**power * image.numel()) / gradient.norm()
    assert CPSNRLoss()(image - step * gradient, truth) < loss


@pytest.mark.parametrize("loss", [CPSNRLoss, MSELoss])
@pytest.mark.parametrize("value", [-0.5, float("nan"), "a half"])
def test_a_clearance_weight_that_is_none(loss, value):
    message = f"'clearance_weight' parameter of {loss.__name__}.* Got {value!r}"
    with pytest.raises(ValueError, match=message):
        loss(clearance_weight=value)


@pytest.mark.parametrize(
    ("name", "value"), [("norm", 0), ("norm", -46.5), ("border", -1), ("border", 1.5)]
)
def test_parameters_of_the_score_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"'{name}' parameter of CPSNRLoss.* Got {value}"):
        CPSNRLoss(**{name: value})


@pytest.mark.parametrize("shape", [(6, 9), (9, 5)])
def test_a_border_that_leaves_nothing_of_the_images(shape):
    prediction, truth = random_batch(shape=shape)
    with pytest.raises(ValueError, match=rf"border=3 leaves nothing.* {shape[0]} x {shape[1]} pix"):
        CPSNRLoss(border=3)(prediction, truth)


@pytest.mark.parametrize("border", [0, 2])
def test_likelihood_is_that_of_the_normal_distribution(border):
    prediction, truth = random_batch()
    # With the best shift at zero, the errors can be computed in place.
    images = truth[:, 0] + 0.001 * (prediction[:, 1] - 0.5)
    deviations = 0.0002 + 0.001 * prediction[:, 1]
    loss = uncertainty_loss(torch.stack([images, deviations], dim=1), truth, border).item()
    total, count = 0, 0
    centre = np.s_[border : 14 - border, border : 17 - border]
    for image, deviation, (hr, status) in zip(images, deviations, truth, strict=True):
        clear = status[centre].numpy() > 0
        errors = (hr - image)[centre].double().numpy()[clear]
        sigma = deviation[centre].double().numpy()[clear]
        total -= norm.logpdf(errors - errors.mean(), scale=sigma).sum()
        count += clear.sum()
    assert loss == pytest.approx(total / count - 0.5 * np.log(2 * np.pi), rel=1e-4)


def test_likelihood_asks_nothing_of_the_image_and_bounds_what_an_outlier_counts():
    prediction, truth = random_batch()
    prediction[0, 0, 7, 7], truth[0, 1, 7, 7] = 1e3, 1
    prediction.requires_grad_()
    (gradient,) = torch.autograd.grad(uncertainty_loss(prediction, truth, 0), prediction)
    assert gradient[:, 0].abs().max() == 0
    assert gradient[0, 1, 7, 7] > 0


@pytest.mark.parametrize("clear", [0.0, 0.2])
def test_both_devices_find_the_same_moments(clear):
    prediction, truth = random_batch(n=3, clear=clear)
    images = prediction[:, 0], truth[:, 0], truth[:, 1]
    cmse = []
    for find_moments in (_batch_errors._moments_on_cpu, _batch_errors._moments_on_device):
        count, total, squares = (x.double().reshape(3, 49) for x in find_moments(*images, 3))
        count_or_one = count.clamp_min(1)
        cmse.append((count, squares / count_or_one - (total / count_or_one) ** 2))
    torch.testing.assert_close(cmse[0][0], cmse[1][0], rtol=0, atol=0)
    torch.testing.assert_close(cmse[0][1], cmse[1][1], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(
    ("scale", "n", "t", "shape"), [(2, 2, 4, (12, 14)), (3, 1, 3, (1, 2)), (5, 3, 1, (2, 1))]
)
def test_every_implementation_of_the_sensor_gives_the_same(scale, n, t, shape):
    generator = torch.Generator().manual_seed(0)
    sensor = SensorModel(scale)
    kernels = sensor.kernels(torch.rand(n, t, 2, generator=generator) - 0.5, sigma=0.4)
    image = torch.randn(n, scale**2, *shape, generator=generator)
    frames = sensor.degrade(image, kernels)
    padded = torch.nn.functional.pad(image, (sensor.reach,) * 4, mode="replicate")
    torch.testing.assert_close(_sensor_model._degrade_by_product(padded, kernels), frames)
    back = sensor.back_project(frames, kernels)
    torch.testing.assert_close(_sensor_model._back_project_by_product(frames, kernels), back)
    # Also of leaves that record gradients elsewhere.
    image.requires_grad_()
    with torch.no_grad():
        torch.testing.assert_close(sensor.degrade(image, kernels), frames)
        torch.testing.assert_close(sensor.back_project(frames, kernels), back)


def test_masked_mse_is_the_mean_over_clear_pixels():
    prediction, truth = random_batch()
    sr, hr, clear = (x.double().numpy() for x in (prediction[:, 0], truth[:, 0], truth[:, 1]))
    expected = np.mean((sr - hr)[clear > 0] ** 2) + 0.5 * cross_entropy(prediction[:, 1], clear)
    assert MaskedMSELoss()(prediction, truth).item() == pytest.approx(expected, rel=1e-5)


def test_mse_is_the_mean_over_all_pixels():
    prediction, truth = random_batch()
    difference = prediction[:, 0].double().numpy() - truth[:, 0].double().numpy()
    expected = np.mean(difference**2) + 0.5 * cross_entropy(prediction[:, 1], truth[:, 1])
    assert MSELoss()(prediction, truth).item() == pytest.approx(expected, rel=1e-5)


def test_a_new_loss_states_only_how_images_are_compared():
    class MeanAbsoluteError(SceneLoss):
        def image_loss(self, sr, hr, clear):
            return (sr - hr).abs().mean()

    prediction, truth = random_batch()
    expected = np.abs((prediction - truth)[:, 0].double().numpy()).mean()
    expected += 0.25 * cross_entropy(prediction[:, 1], truth[:, 1])
    loss = MeanAbsoluteError(clearance_weight=0.25)(prediction, truth).item()
    assert loss == pytest.approx(expected, rel=1e-5)


class MeanAbsoluteError(SceneLoss):
    """Mean absolute error of the image alone."""

    def forward(self, prediction, truth):
        return (prediction[:, 0] - truth[:, 0]).abs().mean()


class MeanAbsoluteErrorOfBoth(SceneLoss):
    """Mean absolute error over all pixels of image and clearance."""

    def forward(self, prediction, truth):
        image, clearance = ((prediction - truth).abs()[:, number].mean() for number in (0, 1))
        return (image + clearance) / 2


class ImageAndDeviation(FrameNet):
    """User-defined net: the mean frame, and standard deviations in the second channel."""

    def build_layers(self, scale):
        class Layers(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.upscale = torch.nn.Sequential(
                    torch.nn.Conv2d(1, 2 * scale**2, 3, padding=1), torch.nn.PixelShuffle(scale)
                )

            def forward(self, frames, present):
                image, std = self.upscale(frames.mean(dim=1, keepdim=True)).split(1, dim=1)
                return torch.cat([image, 3 + std.exp()], dim=1)

        return Layers()


class TestLossesOfTorch:
    """They ignore status maps, and would broadcast an image against one."""

    def test_compare_the_image_alone_where_there_is_no_other_channel(self):
        train = composed(small_scenes(4))
        nets = [
            quick_srcnn(predict_clearance=False, criterion=loss, max_epochs=3).fit(train)
            for loss in (torch.nn.L1Loss, MeanAbsoluteError)
        ]
        losses = [net.history[:, "train_loss"] for net in nets]
        np.testing.assert_allclose(*losses, rtol=1e-6)
        torch.testing.assert_close(*map(weights_of, nets), rtol=0, atol=1e-6)

    def test_compare_a_predicted_clearance_too(self):
        train = composed(small_scenes(4))
        nets = [
            quick_srcnn(criterion=loss, max_epochs=3).fit(train)
            for loss in (torch.nn.L1Loss(), MeanAbsoluteErrorOfBoth())
        ]
        losses = [net.history[:, "train_loss"] for net in nets]
        np.testing.assert_allclose(*losses, rtol=1e-6)
        torch.testing.assert_close(*map(weights_of, nets), rtol=0, atol=1e-6)

    @pytest.mark.parametrize(
        "make",
        [
            lambda **params: FusionNet(width=4, depth=1, **params),
            ImageAndDeviation,
        ],
        ids=["FusionNet", "of a user"],
    )
    def test_never_compare_standard_deviations_with_a_status_map(self, make):
        scenes = small_scenes(2)
        nets = [
            make(criterion=loss, **QUICK).fit(scenes)
            for loss in (torch.nn.L1Loss, MeanAbsoluteError)
        ]
        losses = [net.history[-1, "train_loss"] for net in nets]
        np.testing.assert_allclose(*losses, rtol=1e-6)
        torch.testing.assert_close(*map(weights_of, nets), rtol=0, atol=1e-6)
