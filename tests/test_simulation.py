"""The scene simulator follows the rules of the data set and reports the true shifts."""

import warnings

import numpy as np
import pytest
from scipy import ndimage

from probav_estimators.simulation import simulate_scene

MAX_14_BIT = 16383


def simulate(seed, **options):
    return simulate_scene(np.random.default_rng(seed), **options)


@pytest.fixture(scope="module")
def scenes():
    """Twelve scenes of 64 pixels, alternating RED and NIR."""
    return [simulate(seed, size=64, band=("RED", "NIR")[seed % 2]) for seed in range(12)]


def upscale(image, scale):
    return ndimage.zoom(image.astype(float), scale, order=3, mode="nearest", grid_mode=True)


def registered_shift(image, reference, reach):
    """Estimate the (down, right) shift of `image` in pixels by brute force.

    Minimum of the squared difference after removing gain and offset, over whole-pixel shifts, then
    refined by a parabola per axis.
    """
    inner = (slice(reach, -reach),) * 2
    target = reference[inner] - reference[inner].mean()
    moves = np.arange(-reach, reach + 1)
    cost = np.empty((len(moves), len(moves)))
    for i, down in enumerate(moves):
        for j, right in enumerate(moves):
            moved = np.roll(image, (-down, -right), (0, 1))[inner]
            moved = moved - moved.mean()
            cost[i, j] = 1 - (moved * target).sum() ** 2 / (moved**2).sum() / (target**2).sum()
    i, j = np.unravel_index(cost.argmin(), cost.shape)
    assert 0 < i < 2 * reach
    assert 0 < j < 2 * reach
    return moves[i] + _vertex(cost[i - 1 : i + 2, j]), moves[j] + _vertex(cost[i, j - 1 : j + 2])


def _vertex(values):
    left, middle, right = values
    return 0.5 * (left - right) / (left - 2 * middle + right)


def baseline(scene, scale):
    clear = scene.qm.sum((1, 2))
    return np.mean([upscale(f, scale) for f in scene.lr[clear == clear.max()]], 0) / 65535


def slow_cpsnr(sr, hr, sm, border=3):
    height, width = (n - 2 * border for n in hr.shape)
    cropped = sr[border:-border, border:-border]
    best = -np.inf
    for row in range(2 * border + 1):
        for column in range(2 * border + 1):
            window = (slice(row, row + height), slice(column, column + width))
            best = max(best, -10 * np.log10(np.var((hr[window] - cropped)[sm[window]])))
    return best


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


def test_arrays_have_the_types_of_the_files():
    scene = simulate(0, size=16, n_frames=2)
    assert [array.dtype for array in scene] == [np.uint16, bool, np.uint16, bool, np.float32]


def test_frame_count_stays_in_its_range():
    counts = {len(simulate(seed, size=16, n_frames=(2, 4)).lr) for seed in range(30)}
    assert counts == {2, 3, 4}


def test_default_scenes_have_9_to_30_frames_and_about_19_on_average():
    counts = [len(simulate(seed, size=8).lr) for seed in range(40)]
    assert min(counts) >= 9
    assert max(counts) <= 30
    assert 16.5 < np.mean(counts) < 22.5


def test_values_fit_in_14_bits(scenes):
    assert all(max(scene.lr.max(), scene.hr.max()) <= MAX_14_BIT for scene in scenes)


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


def test_true_shifts_say_where_the_content_lies():
    scale, errors, lengths = 3, [], []
    for seed in range(6):
        scene = simulate(seed, size=48, n_frames=6)
        reference = ndimage.gaussian_filter(scene.hr.astype(float), 1.2)
        for frame, clear, shift in zip(scene.lr, scene.qm, scene.true_shifts, strict=True):
            if clear.all() and scene.sm.all():
                found = registered_shift(upscale(frame, scale), reference, reach=9)
                errors.append(np.divide(found, scale) - shift)
                lengths.append(shift)
    assert len(errors) > 5
    assert np.std(lengths) > 0.3
    assert np.median(np.abs(errors)) < 0.1


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


def test_baseline_scores_are_in_the_range_of_the_real_data_set(scenes):
    scores = [slow_cpsnr(baseline(s, 3), s.hr / 65535, s.sm) for s in scenes]
    # The real norm.csv has mean 46.4 and standard deviation 3.8; the tolerance is for 12 scenes.
    assert 43 < np.mean(scores) < 50
    assert 1.5 < np.std(scores) < 7
    assert min(scores) > 32
    assert max(scores) < 64


def test_band_changes_how_vegetation_looks():
    red = np.mean([simulate(seed, size=16, n_frames=1, band="RED").hr.mean() for seed in range(12)])
    nir = np.mean([simulate(seed, size=16, n_frames=1, band="NIR").hr.mean() for seed in range(12)])
    assert nir > 1.15 * red


def test_simulation_raises_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(15):
            simulate(seed, size=(16, 24), n_frames=3)


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
