"""Metrics of values of any range, with any fill values under the masks."""

import numpy as np
import pytest
import torch
from _helpers import slow_cpsnr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from probav_estimators import (
    BicubicBaseline,
    CPSNRLoss,
    MaskedMSELoss,
    Scene,
    cpsnr,
    load_scenes,
    metrics,
    probav_score,
    probav_scorer,
    save_scenes,
)
from probav_estimators.imaging import error_map
from probav_estimators.scoring import standardized_errors

SCALE = 3
SHAPE = (36, 45)

FILLS = st.sampled_from([np.nan, np.inf, -np.inf, 1e30, -np.finfo(float).max, -9999.0])


def smooth(rng, shape, sigma=1.0):
    image = ndimage.gaussian_filter(rng.standard_normal(shape), sigma)
    return image / image.std()


def ground(seed):
    """Image, truth, their mask, frames, their masks and shifts: contrast 1 around 0."""
    rng = np.random.default_rng(seed)
    truth = smooth(rng, SHAPE)
    image = truth + 0.1 * smooth(rng, SHAPE)
    clear = np.ones(SHAPE, bool)
    row, column = rng.integers(6, 20, 2)
    clear[row : row + 7, column : column + 9] = False
    shifts = rng.uniform(-0.5, 0.5, (5, 2))
    frames = np.stack([metrics.see_frame(truth, SCALE, shift)[0] for shift in shifts])
    frames += 0.01 * rng.standard_normal(frames.shape)
    frames_clear = rng.random(frames.shape) < 0.9
    return image, truth, clear, frames, frames_clear, shifts


def of_truth(image, truth, clear, unit):
    """Metrics of an image against its truth that depend on neither unit nor level."""
    return {
        "cpsnr": cpsnr(image, truth, clear, data_range=4 * unit),
        "score": probav_score(image, truth, clear, norm=45.0, data_range=4 * unit),
        "errors": error_map(image, truth, clear, data_range=4 * unit),
        "spectra": metrics.fourier_ring_correlation(image, truth, clear)[1],
        "transfer": metrics.transfer_function(image, truth, clear)[1],
        "resolution": metrics.resolution(image, truth, 0.5, clear),
        "mtf": metrics.effective_mtf(image, truth, SCALE, clear),
        "shift": metrics.image_shift(image, truth, clear),
        "aligned": metrics.image_shift(metrics.align_image(image, truth, clear), truth, clear),
    }


def of_frames(image, frames, clear, shifts, unit):
    """The same for metrics of an image against its frames."""
    return {
        "consistency": metrics.consistency(image, frames, clear, shifts),
        "noise": metrics.estimate_noise(frames, clear, shifts, scale=SCALE) / unit,
        "place": metrics.spatial_shift(image, frames, clear, shifts),
    }


def assert_same(found, expected, **tolerance):
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, **tolerance, err_msg=name)


@settings(deadline=None, max_examples=6)
@given(st.integers(0, 2**32 - 1), FILLS, FILLS)
def test_hidden_pixels_have_no_part(seed, first, second):
    image, truth, clear, frames, frames_clear, shifts = ground(seed)
    one, other = np.where(clear, image, first), np.where(clear, truth, second)
    expected, found = (of_truth(*pair, clear, 1) for pair in ((image, truth), (one, other)))
    assert_same(found, expected, rtol=1e-6, atol=1e-6)
    frame = frames[0]
    lr_clear = clear.reshape(SHAPE[0] // SCALE, SCALE, -1, SCALE).any(axis=(1, 3))
    expected, found = (
        metrics.correctness(*triple, clear, border=6)
        for triple in ((image, frame, truth), (one, np.where(lr_clear, frame, first), other))
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    # In [0, 1], where similarity and other errors than of hidden pixels are told.
    pixels = [0.5 + image / 16, 0.5 + truth / 16]
    hidden = [np.where(clear, x, fill) for x, fill in zip(pixels, (first, second), strict=True)]
    for metric in (cpsnr, metrics.cssim):
        assert metric(*hidden, clear) == pytest.approx(metric(*pixels, clear), rel=1e-6)
    expected, found = (
        of_frames(image, x, frames_clear, shifts, 1)
        for x in (frames, np.where(frames_clear, frames, first))
    )
    assert_same(found, expected, rtol=1e-6, atol=1e-6)


@settings(deadline=None, max_examples=6)
@given(st.integers(0, 2**32 - 1), st.integers(-30, 30), st.sampled_from([0, -3.0, 1e4, 1e6]))
def test_metrics_depend_on_neither_unit_nor_level(seed, exponent, level):
    """Level in units of the contrast: float64 holds ten more digits at a million."""
    image, truth, clear, frames, frames_clear, shifts = ground(seed)
    unit = 10.0**exponent

    def moved(values):
        return unit * (values + level)

    expected = of_truth(image, truth, clear, 1)
    found = of_truth(moved(image), moved(truth), clear, unit)
    assert_same(found, expected, rtol=1e-4, atol=1e-5)
    expected = of_frames(image, frames, frames_clear, shifts, 1)
    found = of_frames(moved(image), moved(frames), frames_clear, shifts, unit)
    assert_same(found, expected, rtol=2e-2, atol=1e-3)
    errors, deviations = truth, 1 + np.abs(image)
    for metric, factor in ((metrics.sharpness, unit), (metrics.error_retention, 1)):
        given_ = (errors, deviations)[-1:] if metric is metrics.sharpness else (errors, deviations)
        assert metric(*(unit * x for x in given_)) == pytest.approx(factor * metric(*given_))
    assert metrics.coverage(unit * errors, unit * deviations) == pytest.approx(
        metrics.coverage(errors, deviations)
    )


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.floats(-9, 9), st.sampled_from([0, 1e3, 1e5]), st.booleans())
def test_small_errors_keep_their_decibels_at_any_level(seed, exponent, level, whole):
    rng = np.random.default_rng(seed)
    shape = (70, 66) if whole else (20, 22)
    hr = smooth(rng, shape)
    sr, sm = hr + 1e-3 * rng.standard_normal(shape), rng.random(shape) < 0.8
    expected = slow_cpsnr(sr, hr, sm)
    unit = 10**exponent
    found = cpsnr(unit * (sr + level), unit * (hr + level), sm, data_range=unit)
    assert found == pytest.approx(expected, abs=1e-4)


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(["u2", "i2", "f4"]), st.integers(-30000, 30000), st.floats(3, 300))
def test_pixels_of_narrow_ranges_keep_the_steps_of_their_values(kind, low, span):
    low = abs(low) if kind == "u2" else low
    values = (low + np.arange(64) % 16).reshape(1, 8, 8).astype(kind)
    scene = Scene(values, np.ones(values.shape, bool), value_range=(low + 0.3, low + span))
    expected = (values.astype(np.float64) - (low + 0.3)) / (span - 0.3)
    np.testing.assert_allclose(scene.lr, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("fill", [np.nan, 1e30])
def test_fill_values_under_a_status_map_enter_no_loss(fill):
    scene = wide_scene()
    sm = np.random.default_rng(0).random(scene.hr.shape) < 0.7
    hidden = Scene(scene.lr, scene.qm, np.where(sm, scene.hr, fill), sm, value_range=(0, 1))
    truth = torch.from_numpy(np.stack([hidden.hr, hidden.sm])[None].astype("f4"))
    image = torch.from_numpy(0.9 * scene.hr)[None, None]
    clear = torch.from_numpy(np.stack([scene.hr, sm])[None].astype("f4"))
    for loss in (CPSNRLoss(), CPSNRLoss(border=2), MaskedMSELoss()):
        assert loss(image, truth).item() == pytest.approx(loss(image, clear).item(), rel=1e-5)


class Fixed(BicubicBaseline):
    def __init__(self, images=None):
        self.images = images

    def predict(self, X):
        return self.images


def wide_scene(seed=0, contrast=0.2):
    """Values in [0, 1], and such as clouds and water have beyond."""
    rng = np.random.default_rng(seed)
    hr = 0.5 + contrast * smooth(rng, (24, 24), 3)
    lr = np.stack([hr.reshape(8, 3, 8, 3).mean(axis=(1, 3))] * 3)
    return Scene(lr, np.ones(lr.shape, bool), hr, name="imgset0000", value_range=(0, 1))


class TestScoreBelowZeroDecibels:
    @settings(deadline=None, max_examples=20)
    @given(st.lists(st.floats(-8, 8), min_size=2, max_size=6, unique=True))
    def test_a_greater_error_always_has_a_worse_score(self, exponents):
        scene = wide_scene()
        error = smooth(np.random.default_rng(1), (24, 24), 0)
        images = [scene.hr + 10.0**power * error for power in sorted(exponents)]
        scores = [-probav_scorer(Fixed([image]), [scene]) for image in images]
        assert (np.diff(scores) >= 0).all() and np.isfinite(scores).all() and min(scores) > 0
        # Far apart, they are told apart.
        far = [-probav_scorer(Fixed([scene.hr + 10.0**p * error]), [scene]) for p in (-2, 0, 2)]
        assert far[0] < far[1] < far[2]

    def test_score_and_loss_are_one_function(self):
        hr = torch.zeros(1, 1, 16, 16)
        hr[..., ::2] = 1
        truth = torch.cat([hr, torch.ones_like(hr)], dim=1)
        for size in (1e-3, 0.1, 0.4, 1.5, 30.0):
            image = hr + size * (2 * hr - 1)
            score = probav_score(
                image[0, 0].numpy(), hr[0, 0].numpy(), norm=46.5, border=0, data_range=1.0
            )
            assert CPSNRLoss()(image, truth).item() == pytest.approx(score, rel=1e-4)

    def test_a_baseline_below_zero_decibels_scores_one_and_is_saved(self, tmp_path):
        scene = wide_scene(contrast=1.0)
        noise = 40 * np.random.default_rng(0).standard_normal((3, 8, 8))
        bad = Scene(scene.lr + noise, scene.qm, scene.hr, name="imgset0000", value_range=(0, 1))
        assert bad.norm > 0
        assert probav_scorer(BicubicBaseline(), [bad]) == pytest.approx(-1)
        assert probav_scorer(Fixed([bad.hr]), [bad]) > -0.2
        save_scenes([bad], tmp_path)
        assert load_scenes(tmp_path)[0].norm == bad.norm


@pytest.mark.parametrize("unit", [1e-12, 1e-3, 1e6])
def test_standardized_errors_do_not_depend_on_the_unit(unit):
    image, truth, clear, frames, frames_clear, _ = ground(0)
    deviation = np.full(SHAPE, 0.1)

    def errors(unit):
        scene = Scene(unit * frames, frames_clear, unit * truth, clear, value_range=(0, 1))
        return standardized_errors(unit * image, unit * deviation, scene)

    np.testing.assert_allclose(errors(unit), errors(1.0), rtol=1e-3, atol=1e-5)
