"""Quality metrics: properties, known values, and simple reference implementations."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate, ndimage, stats
from skimage.metrics import structural_similarity

from probav_estimators import metrics
from probav_estimators.losses import SensorModel
from probav_estimators.metrics import (
    align_image,
    consistency,
    correctness,
    correctness_maps,
    coverage,
    cssim,
    effective_mtf,
    error_retention,
    estimate_noise,
    fourier_ring_correlation,
    image_shift,
    move_image,
    resolution,
    see_frame,
    sharpness,
    spatial_shift,
)


def landscape(shape, seed=0, blur=0.7):
    """Noise in about [0.2, 0.4] with power decreasing with frequency, as in landscapes."""
    rng = np.random.default_rng(seed)
    radius = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in shape), indexing="ij"))
    spectrum = np.fft.fft2(rng.standard_normal(shape)) / (radius + 0.02) ** 1.2
    image = ndimage.gaussian_filter(np.fft.ifft2(spectrum).real, blur, mode="wrap")
    return 0.3 + 0.03 * (image - image.mean()) / image.std()


@pytest.fixture(scope="module")
def truth():
    return landscape((144, 144))


@pytest.fixture(scope="module")
def seen(truth):
    """Ten noisy frames of the truth, with their masks, shifts and noise level."""
    rng = np.random.default_rng(1)
    shifts = rng.uniform(-0.8, 0.8, (10, 2))
    gains, offsets = rng.uniform(0.9, 1.1, 10), rng.uniform(-0.01, 0.01, 10)
    frames = np.stack([see_frame(truth, 3, shift)[0] for shift in shifts])
    frames = gains[:, None, None] * frames + offsets[:, None, None]
    frames += rng.normal(0, 0.001, frames.shape)
    return frames, rng.random(frames.shape) < 0.85, shifts, 0.001


class TestSensor:
    def test_it_is_the_model_that_training_goes_by(self):
        image = landscape((30, 36))
        shift, sigma = (0.3, -0.45), (0.4, 0.25)
        model = SensorModel(3)
        kernels = model.kernels(torch.tensor([[shift]]), sigma=torch.tensor([[sigma]]))
        channels = torch.nn.functional.pixel_unshuffle(
            torch.from_numpy(image)[None, None].float(), 3
        )
        expected = model.degrade(channels, kernels)[0, 0].numpy()
        found, inside = see_frame(image, 3, shift, sigma)
        inner = slice(2, -2)
        assert found[inner, inner] == pytest.approx(expected[inner, inner], abs=2e-4)
        assert inside[3:-3, 3:-3].all() and not inside[0].any()

    def test_a_pixel_is_the_mean_over_its_square_of_the_blurred_image(self):
        image = np.zeros((15, 15))
        image[7, :] = 1.0
        sigma = 0.4

        def blurred(y):
            low, high = (stats.norm.cdf((edge / 3 - y) / sigma) for edge in (7, 8))
            return high - low

        expected, _ = integrate.quad(blurred, 2 - 0.2, 3 - 0.2)
        found, _ = see_frame(image, 3, (0.2, 0.0), sigma)
        assert found[2, 2] == pytest.approx(expected, abs=1e-6)


class TestCssim:
    def test_of_whole_images_it_is_that_of_scikit_image(self, truth):
        sr = truth + np.random.default_rng(0).normal(0, 0.01, truth.shape)
        sr += (truth - sr).mean()
        expected = structural_similarity(
            sr,
            truth,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
        )
        assert cssim(sr, truth, border=0) == pytest.approx(expected, abs=1e-6)

    def test_shift_bias_and_clouds_are_forgiven(self, truth):
        sm = np.ones(truth.shape, bool)
        sm[40:60, 50:80] = False
        clouded = np.where(sm, truth, 0.9)
        sr = np.roll(truth, (-2, 3), (0, 1)) + 0.05
        assert cssim(sr, clouded, sm) == pytest.approx(1.0, abs=1e-9)
        assert cssim(np.roll(truth, 4, 0), truth) < 0.99

    def test_with_clouds_it_is_the_slow_obvious_version(self):
        rng = np.random.default_rng(2)
        sr, hr, sm = rng.random((18, 15)), rng.random((18, 15)), rng.random((18, 15)) < 0.7
        assert cssim(sr, hr, sm, border=1) == pytest.approx(slow_cssim(sr, hr, sm, 1), abs=1e-6)

    @pytest.mark.parametrize(
        ("sr", "sm", "match"),
        [
            (np.zeros((20, 21)), None, "shape"),
            (np.zeros((20, 20)), np.zeros((20, 20), bool), "leave this scene out"),
            (np.full((20, 20), np.nan), None, "NaN"),
        ],
    )
    def test_what_cannot_be_compared_is_said(self, sr, sm, match):
        with pytest.raises(ValueError, match=match):
            cssim(sr, np.zeros((20, 20)), sm)


def slow_cssim(sr, hr, sm, border):
    kernel = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    kernel = np.outer(kernel, kernel)
    height, width = (length - 2 * border for length in hr.shape)
    best = -1
    for u in range(2 * border + 1):
        for v in range(2 * border + 1):
            x = sr[border : border + height, border : border + width]
            y, clear = (image[u : u + height, v : v + width] for image in (hr, sm))
            x = x + (y - x)[clear].mean()
            values = []
            for r in range(5, height - 5):
                for c in range(5, width - 5):
                    if not clear[r, c]:
                        continue
                    part = slice(r - 5, r + 6), slice(c - 5, c + 6)
                    w = kernel * clear[part]
                    w = w / w.sum()
                    mx, my = (w * x[part]).sum(), (w * y[part]).sum()
                    sxx = (w * (x[part] - mx) ** 2).sum()
                    syy = (w * (y[part] - my) ** 2).sum()
                    sxy = (w * (x[part] - mx) * (y[part] - my)).sum()
                    light = (2 * mx * my + 1e-4) / (mx**2 + my**2 + 1e-4)
                    values.append(light * (2 * sxy + 9e-4) / (sxx + syy + 9e-4))
            best = max(best, np.mean(values))
    return best


class TestConsistency:
    def test_noise_is_found_from_the_frames_alone(self, seen):
        frames, clear, shifts, noise = seen
        found = estimate_noise(frames, clear, shifts, scale=3)
        assert found == pytest.approx(np.full(10, noise), rel=0.12)
        assert found.mean() == pytest.approx(noise, rel=0.04)

    def test_the_true_image_leaves_the_noise(self, truth, seen):
        frames, clear, shifts, _ = seen
        assert consistency(truth, frames, clear, shifts) == pytest.approx(1, abs=0.05)

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda image: ndimage.gaussian_filter(image, 1.5),
            lambda image: move_image(image, (0.6, 0)),
            lambda image: image + 0.5 * (image - ndimage.gaussian_filter(image, 2)),
        ],
        ids=["blurred", "moved", "sharpened"],
    )
    def test_an_image_that_differs_leaves_more(self, truth, seen, spoil):
        frames, clear, shifts, _ = seen
        assert consistency(spoil(truth), frames, clear, shifts) > 1.2

    def test_gain_and_offset_of_the_image_and_what_clouds_hide_do_not_matter(self, truth, seen):
        frames, clear, shifts, noise = seen
        expected = consistency(truth, frames, clear, shifts, noise=noise)
        clouded = np.where(clear, frames, np.nan)
        found = consistency(3 * truth + 1, clouded, clear, shifts, noise=noise)
        assert found == pytest.approx(expected, rel=1e-6)

    def test_it_is_the_slow_obvious_version(self, truth, seen):
        frames, clear, shifts, noise = seen
        image = ndimage.gaussian_filter(truth, 1)
        ratios = []
        for frame, mask, shift in zip(frames, clear, shifts, strict=True):
            model, inside = see_frame(image, 3, shift)
            used = mask & inside
            line = np.polynomial.Polynomial.fit(model[used], frame[used], 1)
            rest = frame[used] - line(model[used])
            ratios.append(np.sqrt((rest**2).sum() / (used.sum() - 2)) / noise)
        found = consistency(image, frames, clear, shifts, noise=noise)
        assert found == pytest.approx(np.median(ratios), rel=1e-3)

    def test_flat_single_and_clouded_frames_break_nothing(self, truth, seen):
        frames, clear, shifts, noise = seen
        flat = np.full((3, 20, 20), 0.25)
        assert consistency(np.full((60, 60), 0.25), flat) == pytest.approx(0, abs=1e-6)
        assert estimate_noise(flat, scale=3) == pytest.approx(1 / 65535 / np.sqrt(12))
        single = consistency(truth, frames[:1], clear[:1], shifts[:1], noise=noise)
        assert single == pytest.approx(1, abs=0.1)
        assert estimate_noise(frames[:1], clear[:1], scale=3) < 10 * noise
        hidden = clear.copy()
        hidden[2] = False
        assert consistency(truth, frames, hidden, shifts) == pytest.approx(1, abs=0.05)
        assert estimate_noise(frames, hidden, shifts, scale=3)[2] == pytest.approx(noise, rel=0.1)
        assert np.isnan(consistency(truth, frames, np.zeros_like(clear), shifts, noise=noise))


class TestPlacement:
    @pytest.mark.parametrize("shift", [(0.9, -1.5), (-4.0, 2.0)])
    def test_a_shift_against_the_frames_is_found(self, truth, seen, shift):
        frames, clear, shifts, _ = seen
        moved = move_image(truth, shift)
        found = spatial_shift(moved, frames, clear, shifts)
        assert found == pytest.approx(np.array(shift) / 3, abs=0.01)

    def test_an_image_moves_there_and_back_without_blur(self, truth):
        assert move_image(truth, (2, -3))[10:-10, 10:-10] == pytest.approx(
            np.roll(truth, (2, -3), (0, 1))[10:-10, 10:-10]
        )
        moved = move_image(truth, (0.4, 1.3))
        assert image_shift(moved, truth) == pytest.approx([0.4, 1.3], abs=0.05)
        back = align_image(moved, truth)
        assert np.std((back - truth)[10:-10, 10:-10]) < 0.05 * truth.std()


class TestCorrectness:
    @pytest.fixture
    def frame(self, truth):
        return truth.reshape(48, 3, 48, 3).mean(axis=(1, 3))

    @pytest.fixture
    def upscaled(self, frame):
        return ndimage.zoom(frame, 3, order=1, mode="nearest", grid_mode=True)

    def test_the_truth_is_improvement(self, truth, frame):
        found = correctness(truth, frame, truth)
        assert found.improvement > 0.95
        assert sum(found) == pytest.approx(1)

    def test_the_upscaled_frame_is_omission(self, truth, frame, upscaled):
        assert correctness(upscaled, frame, truth).omission > 0.95

    def test_invented_detail_is_hallucination_and_not_omission(self, truth, frame, upscaled):
        detail = landscape(truth.shape, seed=9) - 0.3
        detail -= ndimage.gaussian_filter(detail, 2)
        base = 0.5 * truth + 0.5 * upscaled
        before = correctness(base, frame, truth)
        after = correctness(base + 2 * detail, frame, truth)
        assert after.hallucination > before.hallucination + 0.2
        assert after.omission < before.omission

    def test_shares_are_those_of_the_slow_obvious_version(self, truth, frame):
        def distance(a, b):
            return abs(a - b) / (abs(a) + abs(b) + 1e-8)

        image = landscape(truth.shape, seed=4)
        clear = np.random.default_rng(0).random(truth.shape) < 0.9
        shares = correctness_maps(image, frame, truth, clear, border=20)
        sr, lr, hr, used = metrics._correctness._harmonized(image, frame, truth, clear, 20)
        threshold = np.quantile(distance(lr, hr)[used], 0.75)
        for r, c in np.random.default_rng(1).integers(0, 100, (60, 2)):
            distances = [distance(a[r, c], b[r, c]) for a, b in ((lr, hr), (sr, hr), (sr, lr))]
            if not used[r, c] or max(distances) <= threshold:
                assert np.isnan(shares.improvement[r, c]) and np.isnan(shares.omission[r, c])
                continue
            i, o = distances[1] / distances[0], distances[2] / distances[0]
            excess = np.exp(-0.05 * (i + o - 1))
            cases = i + o * (1 - excess), o + i * (1 - excess), np.exp(-0.05 * i * o)
            weights = np.exp(-np.array(cases) / 0.25)
            assert [share[r, c] for share in shares] == pytest.approx(weights / weights.sum())


class TestSpectra:
    def test_an_image_agrees_with_itself_and_with_its_scaled_copy(self, truth):
        frequencies, correlation = fourier_ring_correlation(truth, 2 * truth + 1)
        assert correlation == pytest.approx(np.ones(72))
        assert frequencies[0] == 1 / 144 and frequencies[-1] == 0.5
        assert resolution(truth, truth) == 2.0

    def test_it_is_the_slow_obvious_version(self):
        first, second = landscape((40, 32), 1), landscape((40, 32), 2)
        window = np.outer(*(np.hanning(length + 2)[1:-1] for length in (40, 32)))
        spectra = [
            np.fft.fft2(window * (image - (window * image).sum() / window.sum()))
            for image in (first, second)
        ]
        _, correlation = fourier_ring_correlation(first, second)
        for k in (1, 5, 16):
            common, energies = 0, [0, 0]
            for i, down in enumerate(np.fft.fftfreq(40)):
                for j, right in enumerate(np.fft.fftfreq(32)):
                    if round(32 * np.hypot(down, right)) == k:
                        a, b = (spectrum[i, j] for spectrum in spectra)
                        common += (a * np.conj(b)).real
                        energies[0] += abs(a) ** 2
                        energies[1] += abs(b) ** 2
            expected = common / np.sqrt(energies[0] * energies[1])
            assert correlation[k - 1] == pytest.approx(expected)

    def test_clouds_hardly_matter(self, truth):
        clear = np.ones(truth.shape, bool)
        clear[50:75, 60:110] = False
        image = ndimage.gaussian_filter(truth, 1) + np.where(clear, 0, 0.5)
        clouded = np.where(clear, truth, np.nan)
        expected = effective_mtf(ndimage.gaussian_filter(truth, 1), truth, 3)
        assert effective_mtf(image, clouded, 3, clear) == pytest.approx(expected, abs=0.06)
        noise = np.random.default_rng(0).standard_normal((2, *truth.shape))
        assert np.abs(fourier_ring_correlation(*noise, clear)[1][40:]).max() < 0.3

    @pytest.mark.parametrize("sigma", [0.5, 1.5])
    def test_a_known_blur_gives_the_known_mtf(self, truth, sigma):
        blurred = np.fft.ifft2(ndimage.fourier_gaussian(np.fft.fft2(truth), sigma)).real
        for scale in (2, 3, 4):
            expected = np.exp(-2 * np.pi**2 * sigma**2 * (0.5 / scale) ** 2)
            assert effective_mtf(blurred, truth, scale) == pytest.approx(expected, abs=0.03)

    def test_wrong_input_is_said(self, truth):
        with pytest.raises(ValueError, match="too small"):
            resolution(truth[:12], truth[:12])
        with pytest.raises(ValueError, match="threshold"):
            resolution(truth, truth, 1.5)
        with pytest.raises(ValueError, match="scale"):
            effective_mtf(truth, truth, 0)
        with pytest.raises(ValueError, match="NaN"):
            fourier_ring_correlation(np.full_like(truth, np.nan), truth)


class TestDeviations:
    def test_gaussian_errors_are_covered_as_promised(self):
        rng = np.random.default_rng(0)
        deviations = rng.uniform(1, 3, 200_000)
        errors = deviations * rng.standard_normal(deviations.shape)
        levels = [0.1, 0.5, 0.6827, 0.9, 0.99]
        assert coverage(errors, deviations, levels) == pytest.approx(levels, abs=0.005)
        half = stats.norm.cdf(0.5) - stats.norm.cdf(-0.5)
        assert coverage(errors, deviations / 2)[0] == pytest.approx(half, abs=0.005)
        assert sharpness(deviations) == pytest.approx(np.sqrt(np.mean(errors**2)), rel=0.01)

    def test_retention_is_the_slow_obvious_version(self):
        rng = np.random.default_rng(0)
        errors, deviations = rng.standard_normal(50), rng.random(50)
        order = np.argsort(deviations)
        kept = [np.sum(errors[order[:n]] ** 2) / 50 for n in range(51)]
        area = sum((a + b) / 2 / 50 for a, b in pairwise(kept))
        expected = area / (np.mean(errors**2) / 2)
        assert error_retention(errors, deviations) == pytest.approx(expected)

    @pytest.mark.parametrize("deviations", [np.zeros(3), np.ones(4), np.full(3, np.inf)])
    def test_what_is_no_deviation_is_said(self, deviations):
        with pytest.raises(ValueError, match="deviation"):
            coverage(np.ones(3), deviations)
        with pytest.raises(ValueError, match="no errors"):
            error_retention(np.full(3, np.nan), np.ones(3))
