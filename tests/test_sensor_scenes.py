"""Scenes of every sensor: rules of the data set, true shifts, and the same land for all."""

import warnings

import numpy as np
import pytest
from scipy import ndimage

from probav_estimators import Sensor
from probav_estimators.simulation import PRESETS, simulate_scene

pytestmark = pytest.mark.any_version

QUIET = {"noise": 0, "gain": 0, "offset": 0, "psf_variation": 0, "geolocation_error": 0}


def simulate(seed, sensor, **options):
    return simulate_scene(np.random.default_rng(seed), sensor=sensor, **options)


def plain(**fields):
    return Sensor.preset("plain", **fields)


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("sensor", PRESETS)
@pytest.mark.parametrize(("size", "scale", "n_frames"), [((20, 37), 2, 3), ((33, 16), 4, 1)])
def test_every_sensor_sees_every_size_and_scale(sensor, size, scale, n_frames):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scene = simulate(3, sensor, size=size, scale=scale, n_frames=n_frames)
    height, width = size
    assert scene.lr.shape == scene.qm.shape == (n_frames, height, width)
    assert scene.hr.shape == scene.sm.shape == (scale * height, scale * width)
    assert [array.dtype for array in scene] == [np.uint16, bool, np.uint16, bool, np.float32]
    assert scene.true_shifts.shape == (n_frames, 2)
    assert max(scene.lr.max(), scene.hr.max()) < 2**14
    assert scene.qm.mean((1, 2)).min() >= 0.6
    assert scene.sm.mean() >= 0.75


def test_sensors_look_at_the_same_land_through_the_same_clouds():
    first = simulate(0, plain(noise=10), size=24, n_frames=6)
    second = simulate(
        0, plain(noise=10, psf_sigma=0.3, resampling="area", distortion=0.3), size=24, n_frames=6
    )
    assert np.array_equal(first.hr, second.hr)
    assert np.array_equal(first.qm, second.qm)
    assert np.array_equal(first.true_shifts, second.true_shifts)
    assert not np.array_equal(first.lr, second.lr)


def test_psf_sigma_of_the_call_goes_before_the_sensor_s():
    given = simulate(0, "plain", size=16, psf_sigma=(0.4, 0.4))
    assert same(given, simulate(0, plain(psf_sigma=0.4), size=16))


def spectrum(image):
    window = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])
    return np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2


def test_frames_are_as_sharp_as_the_point_spread_function_says():
    # On the same land, the spectra of two sensors differ only by the optics.
    sharp, soft = 0.9, 1.6
    powers = []
    for sigma in (sharp, soft):
        sensor = plain(**QUIET, psf_sigma=sigma, resampling="bicubic", raw_pixel=1, raw_rotation=4)
        power = 0
        for seed in range(5):
            scene = simulate(seed, sensor, size=64, n_frames=8)
            clear = scene.qm.all((1, 2))
            power = power + sum(spectrum(frame.astype(float)) for frame in scene.lr[clear])
        powers.append(power)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64)))
    for least, greatest in [(0.1, 0.15), (0.2, 0.25), (0.28, 0.32)]:
        band = (frequency > least) & (frequency < greatest)
        ratio = powers[1][band].sum() / powers[0][band].sum()
        middle = (frequency[band] ** 2 * powers[0][band]).sum() / powers[0][band].sum()
        expected = np.exp(-4 * np.pi**2 * (soft**2 - sharp**2) / 9 * middle)
        # The tolerance covers aliasing, which both have.
        assert ratio == pytest.approx(expected, rel=0.12)


@pytest.mark.parametrize(
    ("scale", "resampling"),
    [(3, "static"), (2, "none"), (4, "nearest"), (3, "bicubic"), (2, "area")],
)
def test_true_shifts_say_where_the_content_of_frames_lies(scale, resampling):
    static = resampling == "static"
    sensor = (
        None
        if static
        else plain(
            **QUIET | {"geolocation_error": 0.5},
            resampling=resampling,
            raw_rotation=(-12, 12),
            raw_pixel=(0.7, 1.0),
        )
    )
    errors = []
    for seed in range(4):
        scene = simulate(
            seed, sensor, size=40, scale=scale, n_frames=4, psf_sigma=(0.4 * scale, 0.4 * scale)
        )
        # The LR response at any shift: a Gaussian with the variance of optics and pixel box.
        width = scale * np.sqrt(0.4**2 + 1 / 12)
        truth = ndimage.gaussian_filter(scene.hr.astype(float), width)
        middles = np.indices((40, 40)) * scale + (scale - 1) / 2
        for frame, clear, shift in zip(scene.lr, scene.qm, scene.true_shifts, strict=True):
            if not (clear.all() and scene.sm.all()):
                continue
            cost = {}
            for dy in (-0.3, 0, 0.3):
                for dx in (-0.3, 0, 0.3):
                    move = scale * (shift + np.array([dy, dx]))
                    seen = ndimage.map_coordinates(truth, middles - move[:, None, None], order=3)
                    cost[dy, dx] = np.var((seen - frame)[5:-5, 5:-5])
            found = [
                0.15 * (cost[low] - cost[high]) / (cost[low] - 2 * cost[0, 0] + cost[high])
                for low, high in [((-0.3, 0), (0.3, 0)), ((0, -0.3), (0, 0.3))]
            ]
            errors.append(found)
    assert len(errors) >= 4
    # Nearest neighbour moves pixels by up to half a raw pixel, without bias.
    assert np.abs(np.median(errors, 0)).max() < (0.1 if static else 0.03)
    assert np.median(np.abs(errors)) < (0.1 if static else 0.05)


def test_quality_maps_fail_in_as_many_of_the_cloudy_frames_as_asked_for():
    cloudy, failed = 0, 0
    for seed in range(12):
        good = simulate(seed, plain(), size=16, n_frames=40)
        bad = simulate(seed, plain(missed_clouds=0.33), size=16, n_frames=40)
        for k in range(40):
            cloudy += not good.qm[k].all()
            differ = (good.qm[k] != bad.qm[k]).any() or (good.lr[k] != bad.lr[k]).any()
            failed += differ
            # A failing map only adds clear pixels, and only cloudy frames change.
            assert (bad.qm[k] | ~good.qm[k]).all()
            assert not differ or not good.qm[k].all()
    # The standard deviation over 240 cloudy frames is 0.03.
    assert failed / cloudy == pytest.approx(0.33, abs=0.09)


def test_distortion_moves_parts_of_a_frame_and_not_its_mean():
    fields = QUIET | {"psf_sigma": 1.2}
    straight = simulate(2, plain(**fields), size=64, n_frames=6)
    bent = simulate(2, plain(**fields, distortion=0.3), size=64, n_frames=6)
    assert np.array_equal(straight.true_shifts, bent.true_shifts)
    lengths, means = [], []
    for frame, moved in zip(straight.lr.astype(float), bent.lr.astype(float), strict=True):
        # Optical flow per block: fit the difference by the gradient.
        slopes = np.stack(np.gradient(frame))[:, 2:-2, 2:-2]
        difference = (frame - moved)[2:-2, 2:-2]
        flows = []
        for rows in np.array_split(np.arange(60), 4):
            for columns in np.array_split(np.arange(60), 4):
                block = np.ix_(rows, columns)
                design = slopes[:, *block].reshape(2, -1).T
                flow = np.linalg.lstsq(design, difference[block].ravel(), rcond=None)[0]
                flows.append(flow)
        lengths.append(np.abs(flows).max())
        means.append(np.mean(flows, 0))
    assert 0.15 < np.median(lengths) < 0.4
    assert np.abs(means).max() < 0.1


@pytest.fixture(scope="module")
def exact():
    """Frames of a perfect detector."""
    return simulate(0, plain(**QUIET), size=64, n_frames=6).lr.astype(float)


def read(**fields):
    """The same frames of a detector that is not perfect."""
    return simulate(0, plain(**QUIET | fields), size=64, n_frames=6).lr.astype(float)


def test_read_noise_is_the_same_in_shade_and_light(exact):
    noise = read(noise=100) - exact
    bright = exact > np.median(exact)
    assert noise[bright].std() == pytest.approx(100, rel=0.04)
    assert noise[~bright].std() == pytest.approx(100, rel=0.04)
    assert np.mean(noise[..., 1:] * noise[..., :-1]) == pytest.approx(0, abs=0.03 * 100**2)


def test_shot_noise_has_a_variance_that_is_proportional_to_the_signal(exact):
    noise = read(shot_noise=100) - exact
    bright = exact > np.median(exact)
    for part in (bright, ~bright):
        assert np.mean(noise[part] ** 2) == pytest.approx(10 * exact[part].mean(), rel=0.05)


def test_noise_of_resampled_frames_is_that_of_the_kernel():
    fields = {"resampling": "bicubic", "raw_pixel": 1, "raw_rotation": 5}
    noise = read(noise=100, **fields) - read(**fields)
    # Noise is added before cubic convolution, which keeps 0.80 of its variance along each axis.
    assert noise.std() == pytest.approx(80, rel=0.04)
    assert np.mean(noise[..., 1:] * noise[..., :-1]) > 0.1 * noise.var()


def test_stripes_run_along_the_flight(exact):
    gains = read(stripes=0.01) / exact
    assert (gains.std(axis=1) < 1e-3).all()
    assert gains.mean(axis=1).std() == pytest.approx(0.01, rel=0.2)


def test_dead_pixels_are_as_many_as_asked_for(exact):
    assert np.mean(read(dead_pixels=0.02) != exact) == pytest.approx(0.02, rel=0.2)


def test_saturation_and_bits_limit_the_counts(exact):
    limit = float(np.median(exact))
    np.testing.assert_array_equal(read(saturation=limit), np.rint(np.minimum(exact, limit)))
    coarse = read(bits=12)
    assert (coarse % 4 == 0).all() and np.abs(coarse - exact).max() <= 2.5


@pytest.mark.parametrize(
    ("fields", "bound"),
    [
        ({"change": 0.3, "changing_fields": 1}, 0.3),
        ({"shadow_change": 0.3}, 0.5),
        ({"water_change": 0.3}, np.inf),
    ],
)
def test_land_changes_by_no_more_than_asked_for(fields, bound):
    changed = False
    for seed in range(4):
        scenes = [simulate(seed, plain(**QUIET | x), size=24, n_frames=6) for x in ({}, fields)]
        clear = scenes[0].qm.all(axis=(1, 2))
        still, moving = (scene.lr[clear].astype(float) for scene in scenes)
        differences = np.abs(moving - still)
        # Counts are rounded, and changes are blurred by the mean point spread function.
        assert (differences <= bound * np.maximum(still, moving) + 2).all()
        changed |= (differences > 2).any()
        if "water_change" in fields:
            # Water rises or falls, while fields change both ways and the sun passes its mean.
            assert (np.diff(differences, axis=0) > -0.05 * differences[1:] - 2).all()
    assert changed
