"""Statistics of detector noise."""

import numpy as np
import pytest

from probav_estimators.simulation._detector import Detector

SHAPE = (300, 200)


def read(detector, signal=4000.0, seed=0):
    light = np.full(SHAPE, signal, np.float32)
    return detector.read(np.random.default_rng(seed), light).astype(float)


def test_a_perfect_detector_counts_the_light():
    light = np.arange(60000, dtype=np.float32).reshape(SHAPE) / 4 + 0.2
    counts = Detector().read(np.random.default_rng(0), light)
    assert np.array_equal(counts, np.rint(light))


@pytest.mark.parametrize("signal", [500.0, 2000.0, 8000.0])
def test_shot_noise_has_a_variance_that_is_proportional_to_the_signal(signal):
    noisy = read(Detector(shot_noise=10.0), signal)
    # Rounding adds a variance of 1/12.
    assert noisy.var() == pytest.approx(100 * signal / 1000 + 1 / 12, rel=0.03)
    assert noisy.mean() == pytest.approx(signal, abs=0.5)


def test_read_noise_is_the_same_in_shade_and_light_and_adds_to_shot_noise():
    for signal in (500.0, 8000.0):
        assert read(Detector(noise=20.0), signal).std() == pytest.approx(20, rel=0.02)
    both = read(Detector(noise=20.0, shot_noise=10.0), 4000.0)
    assert both.var() == pytest.approx(20**2 + 4 * 10**2, rel=0.03)


def test_stripes_run_along_the_flight():
    striped = read(Detector(stripes=0.01))
    assert np.ptp(striped, axis=0).max() == 0
    assert striped[0].std() == pytest.approx(40, rel=0.15)


def test_dead_pixels_are_as_many_as_asked_for_and_do_not_see_the_light():
    dead = [read(Detector(dead_pixels=0.01), signal) for signal in (4000.0, 9000.0)]
    wrong = dead[0] != 4000
    assert wrong.mean() == pytest.approx(0.01, rel=0.2)
    assert np.array_equal(dead[0][wrong], dead[1][wrong])


def test_saturation_cuts_what_is_brighter_and_nothing_else():
    light = np.linspace(0, 12000, 60000, dtype=np.float32).reshape(SHAPE)
    counts = Detector(saturation=8000.0).read(np.random.default_rng(0), light)
    assert counts == pytest.approx(np.minimum(light, 8000), abs=0.51)


def test_a_detector_of_12_bits_counts_in_steps_of_4():
    light = np.linspace(0, 12000, 60000, dtype=np.float32).reshape(SHAPE)
    counts = Detector(bits=12).read(np.random.default_rng(0), light)
    assert set(np.unique(counts % 4)) == {0}
    assert np.abs(counts - light).max() <= 2.001


def test_counts_are_never_negative():
    assert read(Detector(noise=100.0), 0.0).min() == 0
