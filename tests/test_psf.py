"""Estimation and modelling of point spread functions and of distortion."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from probav_estimators import Sensor, make_scenes
from probav_estimators.imaging import PsfEstimate, estimate_distortion, estimate_psf
from probav_estimators.losses import SensorModel
from probav_estimators.scenes import align_scene
from probav_estimators.training import read_sample


def stack_of_frames(rng, sigmas, size=96, noise=0.0):
    """Frames of one image without shifts, blurred by each (down, right) sigma in LR pixels."""
    spectrum = np.fft.rfft2(rng.standard_normal((4 * size, 4 * size)))
    radius = np.hypot(np.fft.fftfreq(4 * size)[:, None], np.fft.rfftfreq(4 * size))
    land = np.fft.irfft2(spectrum / np.maximum(radius, 1 / size))
    land = (land - land.mean()) / land.std()
    frames = [ndimage.gaussian_filter(land, 4 * np.array(sigma))[::4, ::4] for sigma in sigmas]
    frames = np.stack(frames).astype(np.float32)
    return frames + noise * rng.standard_normal(frames.shape, dtype=np.float32)


def everywhere(frames):
    return np.ones(frames.shape, bool), np.zeros((len(frames), 2), np.float32)


class TestPsf:
    def test_frames_that_are_blurred_differently_are_told_apart(self):
        sigmas = np.random.default_rng(0).uniform(0.5, 0.8, (12, 2))
        frames = stack_of_frames(np.random.default_rng(1), sigmas, noise=0.02)
        found = estimate_psf(frames, *everywhere(frames)).differences
        true = sigmas**2 - (sigmas**2).mean(axis=0)
        # Measured: 0.021; the true differences have a standard deviation of 0.11.
        assert np.sqrt(np.mean((found - true) ** 2)) < 0.03

    def test_frames_of_one_sensor_are_not(self):
        sensor = Sensor.preset("plain", psf_variation=0)
        for scene in make_scenes(3, size=96, sensor=sensor, random_state=3):
            assert np.abs(align_scene(scene).psf.differences).max() < 0.03

    def test_what_is_hidden_does_not_matter(self):
        rng = np.random.default_rng(0)
        frames = stack_of_frames(rng, rng.uniform(0.5, 0.8, (8, 2)))
        clear, fractions = everywhere(frames)
        clear[2, 10:50, 20:60] = False
        found = estimate_psf(frames * clear, clear, fractions)
        exact = estimate_psf(frames, *everywhere(frames))
        np.testing.assert_allclose(found.differences, exact.differences, atol=0.04)

    @pytest.mark.parametrize("n_frames", [1, 2])
    def test_of_few_frames_nothing_is_known(self, n_frames):
        frames = stack_of_frames(np.random.default_rng(0), [(0.5, 0.5)] * n_frames)
        found = estimate_psf(frames, *everywhere(frames))
        assert found.variance is None
        assert not found.differences.any()


class TestSigma:
    differences = np.array([[0.05, -0.05], [-0.05, 0.05]], np.float32)

    def test_what_is_seen_well_counts_more(self):
        well, badly = (PsfEstimate(0.25, e, self.differences).mean_variance() for e in (0.001, 10))
        assert well == (pytest.approx(0.25, abs=1e-3), pytest.approx(0.001, abs=1e-4))
        assert badly == (pytest.approx(0.11, abs=1e-3), pytest.approx(0.085, abs=1e-3))

    def test_sample_says_what_was_given(self):
        (scene,) = make_scenes(1, size=32, n_frames=4, random_state=0)
        sample = read_sample(scene, align_scene(scene), psf_sigma=0.2)
        np.testing.assert_allclose(sample["blur"], [0.04, 0], atol=1e-6)
        assert sample["psf"].square().mean().item() == pytest.approx(0.04, abs=0.003)


class TestSensorModel:
    def test_kernels_of_each_frame_and_axis(self):
        fractions = torch.tensor([[[0.2, -0.3], [0.0, 0.5]]])
        model = SensorModel(3)
        sigma = torch.tensor([[[0.4, 0.4], [0.2, 0.3]]])
        kernels = model.kernels(fractions, sigma=sigma)
        first = model.kernels(fractions, sigma=0.4)[:, 0]
        torch.testing.assert_close(kernels[:, 0], first)
        # The blur along one axis does not affect the other.
        down, right = (model.kernels(fractions, sigma=s)[0, 1] for s in (0.2, 0.3))
        assert kernels[0, 1].sum(dim=(0, 2)).ndim == 1
        torch.testing.assert_close(_profile(kernels[0, 1], 0), _profile(down, 0))
        torch.testing.assert_close(_profile(kernels[0, 1], 1), _profile(right, 1))


def _profile(kernel, axis):
    """Return the profile (15,) along one axis of a (9, 5, 5) kernel."""
    image = torch.nn.functional.pixel_shuffle(kernel[None], 3)[0, 0]
    return image.sum(dim=1 - axis)


class TestDistortion:
    def test_is_found(self):
        sensor = Sensor.preset("plain", psf_sigma=0.8, distortion=0.3)
        with_it, without = (
            self.misfit(make_scenes(1, size=96, n_frames=20, sensor=each, random_state=5)[0])
            for each in (sensor, Sensor.preset("plain", psf_sigma=0.8))
        )
        assert with_it > 3 * without

    @staticmethod
    def misfit(scene):
        return float(np.sqrt(np.mean(align_scene(scene).distortion ** 2)))

    def test_shift_of_a_part(self):
        """Half of one frame is shifted down by 0.2 pixels."""
        rng = np.random.default_rng(0)
        land = ndimage.gaussian_filter(rng.standard_normal((80, 88)), 1.5)
        land = 0.5 * (land / land.std()).astype(np.float32)
        frames = np.stack([land] * 6)
        frames += 0.01 * rng.standard_normal(frames.shape, dtype=np.float32)
        frames[2, :, 44:] = ndimage.shift(frames[2], (0.2, 0))[:, 44:]
        field = estimate_distortion(frames, *everywhere(frames))
        assert field.shape == (6, 2, 10, 11)
        # Measured: 0.13, because the estimate is shrunk.
        assert 0.1 < field[2, 0, 2:-2, 8:].mean() < 0.21
        assert np.abs(field[2, 0, 2:-2, :3]).max() < 0.05
        assert np.abs(field[[0, 1, 3, 4, 5]]).max() < 0.05
        assert np.abs(field[2, 1]).max() < 0.05

    @pytest.mark.parametrize("n_frames", [1, 2, 5])
    def test_frames_that_say_nothing_are_not_distorted(self, n_frames):
        frames = np.zeros((n_frames, 20, 12), np.float32)
        clear, fractions = everywhere(frames)
        assert not estimate_distortion(frames, clear, fractions).any()
        frames[:] = np.random.default_rng(0).standard_normal(frames.shape)
        assert np.isfinite(estimate_distortion(frames, ~clear, fractions)).all()
