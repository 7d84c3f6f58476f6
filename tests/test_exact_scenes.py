"""Scenes with an exact baseline: the norm and scores are finite, and means stay usable."""

import numpy as np
import pytest
from _helpers import composed, quick_srcnn, small_scenes
from skorch.helper import predefined_split

from probav_estimators import (
    BicubicBaseline,
    Scene,
    cpsnr,
    cpsnr_scorer,
    probav_score,
    probav_scorer,
)
from probav_estimators.scoring import scene_cpsnr, scene_score

# An error uniform over one 16-bit step has the variance step**2 / 12.
CEILING = 10 * np.log10(12 * 65535**2)


def flat_scene(value=5000, shape=(16, 16), name="imgset0100"):
    """Open water: all pixels are equal, so the baseline is exact."""
    lr = np.full((4, *shape), value, np.uint16)
    hr = np.full(tuple(3 * length for length in shape), value, np.uint16)
    return Scene(lr, np.ones(lr.shape, bool), hr, np.ones(hr.shape, bool), name=name)


def with_error(scene, size):
    """The truth plus a chequerboard of amplitude `size`, so with cMSE size**2."""
    rows, columns = np.indices(scene.hr.shape)
    return scene.hr + np.float32(size) * np.where((rows + columns) % 2, 1, -1).astype(np.float32)


def test_the_ceiling_is_what_rounding_to_16_bits_leaves():
    pixels = np.random.default_rng(0).random(1_000_000)
    rounded = np.rint(pixels * 65535) / 65535
    assert pytest.approx(-10 * np.log10(np.mean((rounded - pixels) ** 2)), abs=0.02) == CEILING
    assert flat_scene().norm == pytest.approx(CEILING, abs=1e-9)


@pytest.mark.parametrize("value", [0, 5000, 65535])
def test_an_exact_image_of_an_exact_baseline_scores_one(value):
    scene = flat_scene(value)
    assert scene_score(scene.hr, scene) == 1.0
    assert probav_scorer(BicubicBaseline(), [scene]) == -1.0
    assert cpsnr_scorer(BicubicBaseline(), [scene]) == pytest.approx(CEILING)


@pytest.mark.parametrize("decibels", [30, 60, 90])
def test_a_worse_image_of_an_exact_baseline_scores_the_ceiling_over_its_cpsnr(decibels):
    scene = flat_scene()
    image = with_error(scene, 10 ** (-decibels / 20))
    assert scene_score(image, scene) == pytest.approx(CEILING / decibels, rel=1e-3)
    assert scene_score(image, scene) > 1


def test_an_exact_image_is_not_infinitely_good(scenes):
    """Its score is N over the ceiling, although cpsnr is infinite and probav_score 0."""
    for scene in scenes:
        assert scene_score(scene.hr, scene) == pytest.approx(scene.norm / CEILING)
        assert scene_cpsnr(scene.hr, scene) == pytest.approx(CEILING)
        assert cpsnr(scene.hr, scene.hr, scene.sm) == np.inf
        assert probav_score(scene.hr, scene.hr, scene.sm, norm=scene.norm) == 0


def test_a_validation_with_an_exact_scene_can_tell_epochs_apart():
    """Best weights and schedule follow the score: it must be finite and depend on the weights."""
    flat = flat_scene()
    train, valid = composed(small_scenes(3)), composed([*small_scenes(1, first_seed=10), flat])
    net = quick_srcnn(max_epochs=4, lr=1e-2, train_split=predefined_split(valid)).fit(train)
    scores = net.history[:, "valid_score"]
    assert np.isfinite(scores).all()
    assert len(set(scores)) == 4
    assert -probav_scorer(net, valid) == pytest.approx(min(scores), rel=1e-4)
