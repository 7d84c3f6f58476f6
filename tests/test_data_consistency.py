"""Data-consistency layer of FusionNet, its point spread function, and what it leaves out."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn.functional import pixel_unshuffle

from probav_estimators import FusionNet, Scene, make_scenes
from probav_estimators.architectures._data_consistency import DataConsistency, Evidence
from probav_estimators.losses import SensorModel
from probav_estimators.scenes import align_scene, estimate_psf_sigma

SIZE = 36


def land(seed, size, texture=1.5):
    """Random land of a power-law spectrum, float64, of unit variance."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft2(rng.standard_normal((size, size)))
    radius = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    image = np.fft.irfft2(spectrum / np.maximum(radius, 1 / size) ** texture, (size, size))
    return (image - image.mean()) / image.std()


def frames_over(image, shifts, scale, sigma=0.3, noise=0.0, margin=6):
    """Frames (t, h, w) of an image, blurred by `sigma` LR pixels and moved by HR pixels."""
    rng = np.random.default_rng(0)
    frames = []
    for shift in shifts:
        moved = ndimage.shift(image, shift, order=3, mode="mirror")
        seen = ndimage.gaussian_filter(moved, sigma * scale)[margin:-margin, margin:-margin]
        height, width = (length // scale for length in seen.shape)
        seen = seen.reshape(height, scale, width, scale).mean(axis=(1, 3))
        frames.append(seen + noise * rng.standard_normal(seen.shape))
    return np.stack(frames)


def scene_of(frames, level=3000, contrast=600, **options):
    lr = np.clip(level + contrast * frames, 0, 16383).astype(np.uint16)
    return Scene(lr, np.ones(lr.shape, bool), **options)


def moves(n, scale, seed=1):
    return np.random.default_rng(seed).normal(0, 0.45 * scale, (n, 2)).clip(-4, 4)


def net_of(scale=3, **params):
    options = {"compute_dtype": "float32", "verbose": 0, "device": "cpu"} | params
    return FusionNet.from_pretrained(scale=scale, **options)


@pytest.fixture(scope="module")
def problem():
    """A layer, a true image, frames of it, and a prior that is off."""
    torch.manual_seed(0)
    sensor = SensorModel(2)
    layer = DataConsistency(sensor)
    true = torch.from_numpy(land(0, 2 * SIZE)).float()
    true = pixel_unshuffle(true[None, None], 2)
    fractions = torch.rand(1, 12, 2) - 0.5
    psf = torch.full((1, 12, 2), 0.3)
    kernels = sensor.kernels(fractions, sigma=psf)
    frames = sensor.degrade(true, kernels) + 0.02 * torch.randn(1, 12, SIZE, SIZE)
    evidence = Evidence(frames, torch.ones_like(frames), fractions, psf)
    error = 0.2 * torch.randn_like(true)
    return layer, true, evidence, true + error, torch.full_like(true, 0.2)


class TestPosterior:
    def test_mean_solves_the_normal_equations(self, problem):
        """A dense solution of the same least squares, on a small crop."""
        layer, _, evidence, prior, deviation = problem
        crop = (..., slice(8, 18), slice(8, 18))
        small = Evidence(
            evidence.frames[crop], evidence.weights[crop], evidence.fractions, evidence.psf
        )
        posterior = layer.posterior(prior[crop], deviation[crop], small, torch.tensor([0.09]))
        n = posterior.prior_image.numel()
        unit = torch.eye(n).view(n, *posterior.prior_image.shape[1:])
        kernels = posterior.kernels.expand(n, -1, -1, -1, -1)
        degraded = layer.sensor.degrade(unit, kernels)
        back = layer.sensor.back_project((posterior._precision * degraded), kernels)
        matrix = back.flatten(1).T + torch.diag(posterior._prior_precision.flatten())
        residual = (small.frames - layer.sensor.degrade(prior[crop], posterior.kernels)).flatten()
        adjoint = layer.sensor.back_project(
            posterior._precision * residual.view_as(small.frames), posterior.kernels
        )
        exact = torch.linalg.solve(matrix.double(), adjoint.flatten().double())
        found = (posterior.mean - posterior.prior_image).flatten().double()
        assert (found - exact).norm() < 0.2 * exact.norm()

    def test_it_is_nearer_to_the_truth_and_to_the_frames(self, problem):
        layer, true, evidence, prior, deviation = problem
        posterior = layer.posterior(prior, deviation, evidence, torch.tensor([0.085]))
        inside = (..., slice(4, -4), slice(4, -4))
        before, after = ((x - true)[inside].square().mean() for x in (prior, posterior.mean))
        assert after < 0.8 * before
        residuals = [
            (evidence.frames - layer.sensor.degrade(x, posterior.kernels))[inside].square().mean()
            for x in (prior, posterior.mean)
        ]
        assert residuals[1] < 0.6 * residuals[0]

    def test_without_frames_it_is_the_prior(self, problem):
        layer, _, evidence, prior, deviation = problem
        hidden = evidence._replace(weights=torch.zeros_like(evidence.weights))
        posterior = layer.posterior(prior, deviation, hidden, torch.tensor([0.09]))
        torch.testing.assert_close(posterior.mean, prior)
        assert float(posterior.measured_share.max()) < 1e-3

    def test_gradients_flow_to_image_and_deviation(self, problem):
        layer, _, evidence, prior, deviation = problem
        prior, deviation = prior.clone().requires_grad_(), deviation.clone().requires_grad_()
        layer.posterior(
            prior, deviation, evidence, torch.tensor([0.09])
        ).mean.square().sum().backward()
        for x in (prior, deviation):
            assert torch.isfinite(x.grad).all()
            assert float(x.grad.abs().max()) > 0

    def test_measured_share_rises_with_frames(self, problem):
        layer, _, evidence, prior, deviation = problem
        shares = []
        for n in (1, 4, 12):
            some = evidence._replace(
                weights=evidence.weights * (torch.arange(12) < n)[:, None, None]
            )
            posterior = layer.posterior(prior, deviation, some, torch.tensor([0.09]))
            shares.append(float(posterior.measured_share.mean()))
        assert shares[0] < 0.25 < shares[1] < 0.4 < shares[2]


class TestPsf:
    @pytest.mark.parametrize("variance", [-0.05, 0.3])
    def test_variance_of_exact_frames_is_found(self, problem, variance):
        layer, true, evidence, _, _ = problem
        variance = torch.tensor([variance])
        frames = layer.sensor.degrade(true, layer.kernels(evidence, variance))
        found = layer.match_variance(true, evidence._replace(frames=frames))
        assert float(found) == pytest.approx(float(variance), abs=0.01)

    def test_without_texture_the_prior_decides(self, problem):
        layer, true, evidence, _, _ = problem
        flat = evidence._replace(frames=0.01 * torch.randn_like(evidence.frames))
        assert float(layer.match_variance(torch.zeros_like(true), flat)) == pytest.approx(
            0.05, abs=0.01
        )

    def test_sensor_of_one_scene(self):
        found = []
        for sigma in (0.2, 0.3, 0.45):
            frames = frames_over(land(3, 3 * 48 + 12), moves(10, 3), 3, sigma, noise=0.01)
            found.append(estimate_psf_sigma([scene_of(frames)]))
        np.testing.assert_allclose(found, (0.2, 0.3, 0.45), atol=0.08)
        assert found == sorted(found)

    def test_told_sigma_is_not_searched_for(self):
        (scene,) = make_scenes(1, size=(70, 140), n_frames=3, random_state=2)
        net = net_of(psf_sigma=0.4)
        matched = net.match_psf(scene, align_scene(scene))
        assert net.sensor_variance(matched) == pytest.approx(0.16, abs=1e-4)
        whole, tiled = (net.set_params(tile_size=n).predict([scene]) for n in (None, 64))
        np.testing.assert_allclose(tiled, whole, atol=1e-6)

    def test_blocks_have_it_in_common(self):
        (scene,) = make_scenes(1, size=(80, 140), n_frames=4, random_state=2)
        whole = net_of(tile_size=None).predict_into(scene)
        net = net_of(tile_size=64)
        alignment = net.match_psf(scene, align_scene(scene))
        assert np.isfinite(alignment.psf.from_image)
        tiled = net.predict_into(scene)
        assert np.abs(tiled[0] - whole[0]).max() < 5e-6 * whole[0].std()
        np.testing.assert_allclose(tiled[1], whole[1], rtol=1e-4)


class TestImages:
    @pytest.mark.parametrize("scale", [2, 3])
    def test_they_agree_better_with_the_land(self, scale):
        image = land(5, scale * 40 + 12)
        shifts = moves(12, scale)
        scene = scene_of(frames_over(image, shifts, scale, 0.25, noise=0.015))
        truth = ndimage.shift(image, shifts.mean(axis=0), order=3)[6:-6, 6:-6]
        inside = (slice(8, -8),) * 2
        errors = []
        for consistent in (False, True):
            (found,) = net_of(scale, data_consistency=consistent).predict([scene])
            found = found[inside]
            fit = np.polyfit(found.ravel(), truth[inside].ravel(), 1)
            errors.append(np.std(truth[inside] - np.polyval(fit, found)))
        assert errors[1] < errors[0]

    def test_they_are_no_worse_than_the_mean_of_noisy_frames(self):
        image = ndimage.gaussian_filter(land(6, 3 * 48 + 12), 2)
        image /= image.std()
        shifts = moves(8, 3)
        frames = frames_over(image, shifts, 3, noise=3.0)
        truth = ndimage.shift(image, shifts.mean(axis=0), order=3)[6:-6, 6:-6]
        (found,) = net_of().predict([scene_of(frames, contrast=300)])
        mean = ndimage.zoom(frames.mean(axis=0), 3, order=3, grid_mode=True, mode="nearest")

        def correlation(x):
            return np.corrcoef(x[9:-9, 9:-9].ravel(), truth[9:-9, 9:-9].ravel())[0, 1]

        assert correlation(found) > correlation(mean) - 0.02

    def test_constant_alike_and_single_frames(self):
        one = (3000 + 500 * land(7, 24)).astype(np.uint16)
        stacks = {
            "constant": np.full((4, 24, 24), 2000, np.uint16),
            "alike": np.stack([one] * 5),
            "single": one[None],
            "constant and single": np.stack([np.full_like(one, 2000), one]),
        }
        net = net_of(data_consistency="every stage")
        for name, lr in stacks.items():
            image, std = net.predict([Scene(lr, np.ones(lr.shape, bool))], return_std=True)
            assert np.isfinite(image).all(), name
            assert np.isfinite(std).all(), name
            assert (std > 0).all(), name

    def test_layer_can_be_switched_off_and_on(self):
        scenes = make_scenes(1, size=24, n_frames=4, random_state=0)
        net = net_of()
        with_it = net.predict(scenes)
        without = net.set_params(data_consistency=False).predict(scenes)
        np.testing.assert_array_equal(without, net_of(data_consistency=False).predict(scenes))
        assert np.abs(with_it - without).max() > 1e-4
        np.testing.assert_array_equal(
            net.set_params(data_consistency=True).predict(scenes), with_it
        )

    @pytest.mark.parametrize("consistent", [False, "every stage"])
    def test_file_of_weights_keeps_where_the_layer_is(self, tmp_path, consistent):
        scenes = make_scenes(1, size=24, n_frames=4, random_state=0)
        net = net_of(data_consistency=consistent)
        net.save_pretrained(tmp_path / "own.safetensors")
        loaded = FusionNet.from_pretrained(
            tmp_path / "own.safetensors", verbose=0, device="cpu", compute_dtype="float32"
        )
        assert loaded.data_consistency == consistent
        np.testing.assert_array_equal(loaded.predict(scenes), net.predict(scenes))
        told = FusionNet.from_pretrained(tmp_path / "own.safetensors", data_consistency=False)
        assert told.data_consistency is False

    def test_training_goes_through_every_stage(self):
        scenes = make_scenes(2, size=24, n_frames=4, random_state=0)
        net = FusionNet(
            width=4,
            depth=1,
            max_epochs=1,
            train_split=None,
            random_state=0,
            verbose=0,
            data_consistency="every stage",
            device="cpu",
            compute_dtype="float32",
        ).fit(scenes)
        assert np.isfinite(net.predict(scenes)).all()


def test_older_weights_work_with_a_warning(tmp_path):
    from probav_estimators.training import load_weights, save_weights

    weights = load_weights("simulated-x2")
    older = {
        k: x for k, x in weights.state.items() if not k.startswith(("consistency", "deviations"))
    }
    save_weights(weights._replace(state=older), tmp_path / "older.safetensors")
    with pytest.warns(UserWarning, match=r"older version and lack consistency\.residual_factor"):
        net = FusionNet.from_pretrained(tmp_path / "older.safetensors", verbose=0)
    (scene,) = make_scenes(1, size=24, scale=2, n_frames=3, random_state=0)
    assert np.isfinite(net.predict([scene])).all()
