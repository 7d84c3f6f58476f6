"""The scene simulator follows the rules of the data set and reports the true shifts."""

import numpy as np
import pytest

from probav_estimators.simulation import simulate_scene


def simulate(seed, **options):
    return simulate_scene(np.random.default_rng(seed), **options)


@pytest.fixture(scope="module")
def scenes():
    """Twelve scenes of 64 pixels, alternating RED and NIR."""
    return [simulate(seed, size=64, band=("RED", "NIR")[seed % 2]) for seed in range(12)]


@pytest.mark.parametrize(
    ("size", "scale", "n_frames"),
    [(32, 3, 9), ((20, 37), 3, 2), (33, 2, 3), (17, 5, 1), (np.int64(16), np.int32(7), (2, 2))],
)
def test_shapes_follow_size_and_scale(size, scale, n_frames):
    scene = simulate(3, size=size, scale=scale, n_frames=n_frames, band=None)
    height, width = size if isinstance(size, tuple) else (size, size)
    assert scene.lr.shape == scene.qm.shape == (np.max(n_frames), height, width)
    assert scene.hr.shape == scene.sm.shape == (scale * height, scale * width)
    assert scene.true_shifts.shape == (np.max(n_frames), 2)
    assert scene.hr.std() > 10


def test_frame_count_stays_in_its_range():
    counts = {len(simulate(seed, size=16, n_frames=(2, 4)).lr) for seed in range(30)}
    assert counts == {2, 3, 4}


def test_every_frame_is_at_least_60_percent_clear(scenes):
    assert min(scene.qm.mean((1, 2)).min() for scene in scenes) >= 0.60


def test_hr_is_at_least_75_percent_clear():
    clearances = [simulate(seed, size=16, n_frames=1).sm.mean() for seed in range(60)]
    assert min(clearances) >= 0.75
    assert 0.7 < np.mean(np.equal(clearances, 1)) < 1


def test_about_half_of_the_frames_have_clouds(scenes):
    clearances = np.concatenate([scene.qm.mean((1, 2)) for scene in scenes])
    assert 0.35 < np.mean(clearances == 1) < 0.65
    assert np.ptp(clearances) > 0.3


def test_same_seed_same_scene_whatever_the_global_state():
    np.random.seed(1)
    first = simulate(5, size=24)
    np.random.seed(2)
    again = simulate(5, size=24)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.hr, simulate(6, size=24).hr)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_shifts_are_about_half_an_lr_pixel_at_any_scale(scale):
    shifts = [simulate(s, size=8, scale=scale, n_frames=30).true_shifts for s in range(10)]
    # 1.6 HR pixels at scale 3; 600 draws are within 10 %.
    assert np.std(shifts) == pytest.approx(1.6 / 3, rel=0.1)
    assert abs(np.mean(shifts)) < 0.08


def test_gain_offset_and_noise_differ_between_frames():
    scene = simulate(1, size=32, n_frames=20)
    means = [frame[clear].mean() for frame, clear in zip(scene.lr, scene.qm, strict=True)]
    assert 0.01 < np.std(means) / np.mean(means) < 0.15


def test_no_scene_is_flat_and_brightness_varies(scenes):
    spreads = [scene.hr.std() for scene in scenes]
    means = [scene.hr.mean() for scene in scenes]
    assert min(spreads) > 60
    assert max(means) > 1.5 * min(means)
    assert 500 < np.mean(means) < 6000


def test_band_changes_how_vegetation_looks():
    red = np.mean([simulate(seed, size=16, n_frames=1, band="RED").hr.mean() for seed in range(12)])
    nir = np.mean([simulate(seed, size=16, n_frames=1, band="NIR").hr.mean() for seed in range(12)])
    assert nir > 1.15 * red


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"size": 4}, "size"),
        ({"size": (16, 16, 16)}, "size"),
        ({"size": 20.5}, "size"),
        ({"scale": 1}, "scale"),
        ({"scale": 2.5}, "scale"),
        ({"n_frames": 0}, "n_frames"),
        ({"n_frames": (5, 3)}, "n_frames"),
        ({"n_frames": 2.5}, "n_frames"),
        ({"texture": -0.1}, "texture"),
        ({"texture": (0.3, 0.1)}, "texture"),
        ({"texture": 2}, "texture"),
        ({"texture": "rough"}, "texture"),
    ],
)
def test_bad_arguments_are_named(options, name):
    with pytest.raises(ValueError, match=name):
        simulate(0, **options)


@pytest.mark.parametrize("sensor", ["static", "any"])
def test_texture_lies_over_the_same_land(sensor):
    options = {"size": 48, "n_frames": 3, "sensor": sensor}
    plain, again = simulate(4, **options), simulate(4, texture=0, **options)
    textured = [simulate(4, texture=strength, **options) for strength in (0.05, 0.5)]
    np.testing.assert_array_equal(plain.hr, again.hr)
    for scene in textured:
        np.testing.assert_array_equal(scene.qm, plain.qm)
        np.testing.assert_array_equal(scene.true_shifts, plain.true_shifts)
    differences = [np.std(scene.hr - plain.hr.astype(float)) for scene in textured]
    assert 0 < 5 * differences[0] < differences[1]
    # A texture layer changes the radiance by at most half.
    assert differences[1] < plain.hr.mean()


def test_strength_of_the_texture_is_drawn_from_a_range():
    def detail(seed):
        scene = simulate(seed, size=32, n_frames=1, texture=(0, 0.6))
        plain = simulate(seed, size=32, n_frames=1)
        return np.std(scene.hr - plain.hr.astype(float)) / plain.hr.mean()

    details = [detail(seed) for seed in range(8)]
    assert max(details) > 4 * min(details)


def test_wider_point_spread_function_is_smoother():
    def roughness(sigma):
        rng = np.random.default_rng(3)
        lr = simulate_scene(rng, size=48, n_frames=3, psf_sigma=(sigma, sigma)).lr.astype(float)
        return np.abs(np.diff(lr, axis=2)).mean()

    assert roughness(3.0) < 0.9 * roughness(0.5)


@pytest.mark.parametrize("psf_sigma", [(0, 1), (2, 1), (-1, -1)])
def test_point_spread_function_must_have_a_width(psf_sigma):
    with pytest.raises(ValueError, match="psf_sigma"):
        simulate_scene(np.random.default_rng(0), psf_sigma=psf_sigma)
