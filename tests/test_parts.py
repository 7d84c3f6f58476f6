"""What in an image was measured and what is supposed, on textures of a known power spectrum."""

import numpy as np
import pytest
from _helpers import bicubic, small_scene
from scipy.ndimage import gaussian_filter, shift
from scipy.stats import spearmanr

from probav_estimators import BicubicBaseline, FusionNet, Scene
from probav_estimators.architectures import ImageParts
from probav_estimators.prediction import predict_parts, takes_return_parts

MARGIN = 6
INNER = (slice(9, -9),) * 2


def texture(seed, side):
    """Isotropic texture whose amplitude falls with the 1.3rd power of the frequency."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    frequency[0, 0] = np.inf
    spectrum = np.fft.fft2(rng.standard_normal((side, side))) * frequency**-1.3
    land = np.fft.ifft2(spectrum).real
    return land / land.std()


def sharp_scene(n_frames, *, size=40, scale=2, seed=0):
    """Frames that are area means of the texture, hardly blurred, with noise of 0.5 %."""
    rng = np.random.default_rng(seed)
    land = texture(seed, scale * size + 2 * MARGIN)
    shifts = rng.uniform(-scale, scale, (n_frames, 2))
    inside = (slice(MARGIN, -MARGIN),) * 2
    frames = []
    for one in shifts - shifts.mean(axis=0):
        seen = gaussian_filter(shift(land, one, order=5, mode="mirror"), 0.15 * scale)[inside]
        means = seen.reshape(size, scale, size, scale).mean(axis=(1, 3))
        frames.append(means + rng.normal(0, 0.005, means.shape))
    frames, truth = (
        np.clip(0.4 + 0.05 * np.asarray(values), 0, 1).astype(np.float32)
        for values in (frames, land[inside])
    )
    everywhere = np.ones(frames.shape, bool), np.ones(truth.shape, bool)
    return Scene(frames, everywhere[0], truth, everywhere[1], name=f"texture{seed}")


@pytest.fixture(scope="module")
def net():
    return FusionNet.from_pretrained("simulated-x2", device="cpu", verbose=0)


def predicted(net, scene):
    """Image, standard deviations and parts of one scene."""
    images, stds, parts = net.predict([scene], return_std=True, return_parts=True)
    return images[0], stds[0], ImageParts(*(part[0] for part in parts))


def error_of(image, scene):
    error = (scene.hr - image)[INNER]
    return np.abs(error - np.median(error))


class TestMeasuredShare:
    def test_of_one_frame_is_one_number_for_each_block_of_pixels(self, net):
        _, _, parts = predicted(net, sharp_scene(1))
        share = parts.measured_share
        # A frame tells one of the scale ** 2 numbers of its pixel.
        assert 0.15 < share.mean() < 0.27 and share.max() < 0.3 and share.min() >= 0

    def test_of_many_sharp_frames_is_nearly_all(self, net):
        _, _, parts = predicted(net, sharp_scene(40))
        assert 0.93 < parts.measured_share.mean() < 1 and parts.measured_share.max() <= 1
        measured, supposed = (detail[INNER].std() for detail in parts[1:])
        assert measured > 8 * supposed

    def test_errors_are_smaller_where_it_is_greater(self):
        """By rank: of errors in units of the prior, and of errors between few and many frames."""
        in_units_of_prior, alone = [], []
        net = FusionNet.from_pretrained("simulated-x2", device="cpu", verbose=0)
        # Leaves the standard deviations of the posterior, from which those of the prior follow.
        net.module_.deviations.coefficients.zero_()
        for seed in (1, 2):
            scene = sharp_scene(40, seed=seed)
            image, std, parts = predicted(net, scene)
            share = parts.measured_share
            prior = std / np.sqrt(1 - share)
            found = spearmanr(share[INNER].ravel(), (error_of(image, scene) / prior[INNER]).ravel())
            in_units_of_prior.append(found.statistic)
            clear = scene.qm.copy()
            clear[1:, :, :20] = False
            scene = Scene(scene.lr, clear, scene.hr, scene.sm, name="half")
            image, _, parts = predicted(net, scene)
            share = parts.measured_share
            assert share[:, :34].mean() < 0.4 < 0.8 < share[:, 46:].mean()
            found = spearmanr(share[INNER].ravel(), error_of(image, scene).ravel())
            alone.append(found.statistic)
        assert np.mean(in_units_of_prior) < -0.08, in_units_of_prior
        assert np.mean(alone) < -0.1, alone


class TestDetail:
    def test_of_one_frame_adds_up_to_the_image_less_bicubic(self, net):
        scene = sharp_scene(1, size=24)
        image, _, parts = predicted(net, scene)
        base = bicubic(scene.lr, scale=2)[0]
        rest = image - parts.measured_detail - parts.supposed_detail
        # Gaps are filled from the surroundings, which have a little weight everywhere.
        assert np.std(rest - base) < 0.02 * base.std()
        assert np.std(rest - base) < 0.25 * np.std(image - base)

    def test_of_several_frames_adds_up_to_the_image_less_bicubic_of_their_mean(self):
        net = FusionNet.from_pretrained("simulated-x3", device="cpu", verbose=0)
        scene = small_scene(5, shape=(30, 32), n_frames=6, clouds=False)
        image, _, parts = predicted(net, scene)
        base = bicubic(scene.lr.mean(axis=0)[None])[0]
        rest = image - parts.measured_detail - parts.supposed_detail
        # Outliers have less weight, and gains are not exactly one.
        error = rest - base
        assert np.sqrt(np.mean((error - error.mean()) ** 2)) < 0.1 * np.std(image - base)

    def test_is_in_the_units_of_the_values(self, net):
        scene = sharp_scene(5, size=24)
        _, _, parts = predicted(net, scene)
        thousands = Scene(np.float32(1000 * scene.lr), scene.qm, value_range=(0, 1000))
        _, _, scaled = predicted(net, thousands)
        for one, other in zip(parts, scaled, strict=True):
            assert np.abs(one - other).max() < 2e-2 * one.std()


class TestPredict:
    def test_images_are_those_without_parts(self, net):
        scenes = [sharp_scene(4, size=24, seed=seed) for seed in (3, 4)]
        images, parts = net.predict(scenes, return_parts=True)
        again, stds = net.predict(scenes, return_std=True)
        np.testing.assert_allclose(images, again, atol=1e-6)
        assert isinstance(parts, ImageParts)
        assert all(part.shape == stds.shape and part.dtype == np.float32 for part in parts)

    def test_estimators_without_parts_give_none(self, net):
        scene = sharp_scene(3, size=24)
        assert takes_return_parts(net) and not takes_return_parts(BicubicBaseline())
        image, std, parts = predict_parts(BicubicBaseline(scale=2), scene, return_std=True)
        assert image.shape == (48, 48) and std is None and parts is None
        _, std, parts = predict_parts(net, scene)
        assert std is None and parts.measured_share.shape == (48, 48)
