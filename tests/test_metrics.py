"""cPSNR and challenge score: the published scene, a slow reference, and properties."""

import math

import numpy as np
import pytest
from _helpers import slow_cpsnr
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from probav_estimators import cpsnr, probav_score
from probav_estimators.imaging import mean_level, shift_to_level

DB_TOLERANCE = 1e-4


def smooth_image(rng, shape):
    """Random image in [0.3, 0.7] with correlated neighbours."""
    image = rng.random(shape)
    for _ in range(4):
        image = sum(np.roll(image, shift, axis) for shift in (-1, 0, 1) for axis in (0, 1)) / 6
    return 0.3 + 0.4 * (image - image.min()) / np.ptp(image)


@st.composite
def image_pairs(draw, border=None):
    """SR, HR, SM and border: a smooth scene, noise of some strength, a bias, a shift, clouds."""
    border = draw(st.integers(0, 4)) if border is None else border
    shape = tuple(4 * border + draw(st.integers(4, 30)) for _ in range(2))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    hr = smooth_image(rng, shape)
    shift = draw(st.tuples(*[st.integers(-border, border)] * 2))
    noise = draw(st.sampled_from([0.0005, 0.005, 0.05]))
    sr = np.roll(hr, shift, (0, 1)) + rng.normal(0, noise, shape) + draw(st.floats(-0.1, 0.1))
    sm = rng.random(shape) < draw(st.sampled_from([0.3, 0.8, 1.0]))
    # Clear in every window: with a single clear pixel, the bias would cancel the error.
    sm[2 * border : 2 * border + 4, 2 * border : 2 * border + 4] = True
    return np.clip(sr, 0, 1).astype(np.float32), hr.astype(np.float32), sm, border


def read_values(path):
    return np.asarray(Image.open(path))


class TestPublishedScene:
    """imgset0594 of the challenge, with the baseline image that was published for it."""

    def test_baseline_has_the_published_cpsnr(self, samples):
        sr, hr = (
            read_values(samples / "probav_imgset0594" / name) for name in ("bicubic.png", "HR.png")
        )
        assert cpsnr(sr, hr) == pytest.approx(50.0459, abs=5e-5)
        assert cpsnr(sr, hr) == pytest.approx(
            slow_cpsnr(sr / 65535, hr / 65535, np.ones(hr.shape, bool)), abs=1e-6
        )

    def test_baseline_has_the_published_score(self, samples):
        sr, hr = (
            read_values(samples / "probav_imgset0594" / name) for name in ("bicubic.png", "HR.png")
        )
        lines = (samples / "probav_norm.csv").read_text().splitlines()
        norm = float(dict(line.split() for line in lines)["imgset0594"])
        assert norm == pytest.approx(50.0739, abs=5e-5)
        assert probav_score(sr, hr, norm=norm) == pytest.approx(1.00056, abs=5e-6)


@settings(deadline=None, max_examples=80)
@given(image_pairs())
def test_cpsnr_is_that_of_the_slow_obvious_version(pair):
    sr, hr, sm, border = pair
    assert cpsnr(sr, hr, sm, border=border) == pytest.approx(
        slow_cpsnr(sr, hr, sm, border), abs=DB_TOLERANCE
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(-3, 3), st.integers(-3, 3))
def test_a_shift_of_hr_by_up_to_three_pixels_changes_nothing(seed, down, right):
    rng = np.random.default_rng(seed)
    image = rng.random((18, 21))
    hr, sm = np.pad(image, 6, mode="reflect"), np.pad(rng.random(image.shape) < 0.8, 6)
    sr = np.clip(hr + rng.normal(0, 0.01, hr.shape), 0, 1)
    shifted = [np.roll(array, (down, right), (0, 1)) for array in (hr, sm)]
    assert cpsnr(sr, *shifted) == pytest.approx(cpsnr(sr, hr, sm), abs=DB_TOLERANCE)


def test_a_shift_beyond_the_border_costs_decibels(scenes):
    hr = scenes[0].hr
    assert cpsnr(np.roll(hr, 3, 0), hr) == np.inf
    assert cpsnr(np.roll(hr, 4, 0), hr) < 60
    assert cpsnr(np.roll(hr, 4, 0), hr, border=4) == np.inf


def test_identical_images_have_infinite_cpsnr_and_score_zero(scenes):
    for scene in scenes:
        assert cpsnr(scene.hr, scene.hr, scene.sm) == np.inf
        assert probav_score(scene.hr, scene.hr, scene.sm, norm=46.5) == 0.0


def test_a_known_error_has_its_decibels():
    """Chequerboard of errors of +0.01 and -0.01: cMSE 1e-4, 40 dB, for any bias."""
    chequerboard = 0.01 * (-1.0) ** np.add.outer(np.arange(20), np.arange(20))
    hr = np.full((20, 20), 0.5)
    assert cpsnr(hr + chequerboard, hr) == pytest.approx(40, abs=DB_TOLERANCE)
    assert cpsnr(hr + chequerboard + 0.3, hr) == pytest.approx(40, abs=DB_TOLERANCE)


def test_faint_errors_on_a_bright_image_keep_their_decibels():
    rng = np.random.default_rng(0)
    hr = 0.9 + 1e-3 * rng.random((96, 96))
    sr = hr + 1e-4 * rng.standard_normal(hr.shape) - 0.5
    hr, sr = hr.astype(np.float32), sr.astype(np.float32)
    sm = rng.random(hr.shape) < 0.5
    assert cpsnr(sr, hr, sm) == pytest.approx(slow_cpsnr(sr, hr, sm), abs=DB_TOLERANCE)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
def test_every_pixel_type_is_scored_on_its_own_scale(dtype):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (2, 20, 20))
    full_scale = {np.uint8: 255, np.uint16: 65535}.get(dtype, 1)
    sr, hr = (values if full_scale > 1 else values / 255).astype(dtype)
    expected = slow_cpsnr(
        sr / np.float64(full_scale), hr / np.float64(full_scale), np.ones((20, 20), bool)
    )
    assert cpsnr(sr, hr) == pytest.approx(expected, abs=DB_TOLERANCE)


def test_score_is_norm_over_cpsnr(make_scene):
    scene = make_scene(size=(10, 12))
    sr = scene.hr[::-1]
    assert probav_score(sr, scene.hr, scene.sm, norm=46.5, border=2) == pytest.approx(
        46.5 / slow_cpsnr(sr, scene.hr, scene.sm, border=2), rel=1e-6
    )


def test_an_image_that_is_moved_to_a_level_scores_the_same(make_scene):
    hr, sm = make_scene().hr, make_scene().sm
    image = 0.7 + 0.2 * make_scene(seed=1).hr
    level = hr[sm].mean(dtype=np.float64)
    moved = shift_to_level(image, level, sm)
    assert moved.dtype == np.float32
    assert moved[sm].mean(dtype=np.float64) == pytest.approx(level, abs=1e-6)
    assert cpsnr(moved, hr, sm) == pytest.approx(cpsnr(image, hr, sm), abs=1e-4)
    assert mean_level(moved, sm) == pytest.approx(level, abs=1e-6)
    assert shift_to_level(image, 0.5).mean(dtype=np.float64) == pytest.approx(0.5, abs=1e-6)


def test_an_image_without_a_clear_pixel_keeps_its_level():
    image, hidden = np.full((4, 4), 0.25), np.zeros((4, 4), bool)
    assert math.isnan(mean_level(image, hidden))
    np.testing.assert_array_equal(shift_to_level(image, 0.5, hidden), image)


class TestBadInput:
    def test_images_of_different_shapes_are_named(self):
        with pytest.raises(ValueError, match=r"sr has shape \(12, 13\) and hr has \(12, 12\)"):
            cpsnr(np.zeros((12, 13)), np.zeros((12, 12)))
        with pytest.raises(ValueError, match=r"sm has shape \(12, 13\)"):
            cpsnr(np.zeros((12, 12)), np.zeros((12, 12)), np.ones((12, 13), bool))

    def test_a_stack_of_images_is_refused(self):
        with pytest.raises(ValueError, match=r"\(H, W\)"):
            cpsnr(np.zeros((2, 12, 12)), np.zeros((2, 12, 12)))

    @pytest.mark.parametrize(("name", "value"), [("sr", np.nan), ("hr", 1.01)])
    def test_a_value_that_is_no_pixel_is_refused(self, name, value):
        images = {"sr": np.zeros((12, 12)), "hr": np.zeros((12, 12))}
        images[name][5, 5] = value
        with pytest.raises(ValueError, match=f"{name} has"):
            cpsnr(**images)

    def test_a_mask_without_clear_pixels_is_refused(self):
        with pytest.raises(ValueError, match="no clear pixel"):
            cpsnr(np.zeros((12, 12)), np.ones((12, 12)), np.zeros((12, 12), bool))

    def test_a_mask_that_is_clear_where_nothing_is_compared_still_scores_what_it_sees(self):
        """One clear corner pixel meets one pixel of the crop, where the bias cancels the error."""
        sm = np.zeros((12, 12), bool)
        sm[0, 0] = True
        assert cpsnr(np.zeros((12, 12)), np.ones((12, 12)), sm) == np.inf

    @pytest.mark.parametrize("border", [-1, 6])
    def test_a_border_that_leaves_nothing_is_refused(self, border):
        with pytest.raises(ValueError, match=f"border={border}"):
            cpsnr(np.zeros((12, 12)), np.zeros((12, 12)), border=border)

    @pytest.mark.parametrize("norm", [None, 0, np.nan])
    def test_a_norm_that_is_no_positive_number_is_refused(self, norm):
        with pytest.raises(ValueError, match="norm must be a positive number of dB"):
            probav_score(np.zeros((12, 12)), np.ones((12, 12)), norm=norm)
