"""Only fields, water and shadows change, by the requested amount."""

import numpy as np
import pytest
from scipy import ndimage

from probav_estimators.simulation import _landscape
from probav_estimators.simulation._landscape import draw_land, draw_landscape
from probav_estimators.simulation._season import (
    DAYS,
    BlurredGround,
    ChangingGround,
    Season,
)

SHAPE = (300, 360)


def land(seed, *, change=0.0, part=0.0, water=0.0, shadow=0.0):
    season = Season(np.random.default_rng(100 + seed), change, part, water, shadow)
    return draw_land(np.random.default_rng(seed), SHAPE, ("RED", "NIR")[seed % 2], season)


def relative_change(ground):
    return ground.on(DAYS) / ground.on(0) - 1


@pytest.fixture(scope="module")
def harvested():
    """Lands with changes in fields only."""
    return [land(seed, change=0.3, part=0.5) for seed in range(14)]


def test_a_land_that_changes_is_the_same_land(harvested):
    for seed, one in enumerate(harvested[:6]):
        band = ("RED", "NIR")[seed % 2]
        static = draw_landscape(np.random.default_rng(seed), SHAPE, band)
        assert np.array_equal(one.states[0], static)


def test_fields_change_by_no_more_than_asked_for_and_some_by_nearly_that(harvested):
    greatest = []
    for one in harvested:
        ratio = one.states[1] / one.states[0] - 1
        greatest.append(np.abs(ratio).max())
    # Tolerance for rounding of a sum of float32 radiances.
    assert max(greatest) <= 0.3 + 1e-3
    assert max(greatest) > 0.25


def test_only_fields_change(harvested, monkeypatch):
    assert sum(one.change.any() for one in harvested) >= 5
    for painter in ("_fields", "_pivots"):
        monkeypatch.setattr(_landscape, painter, lambda *land: None)
    assert not any(land(seed, change=0.3, part=1.0).change.any() for seed in range(14))


def test_whole_fields_change_at_once():
    # One district of axis-aligned, uniform fields on flat land: the change is constant in a field.
    season = Season(np.random.default_rng(1), 0.3, 0.5, 0.0, 0.0)
    flat = _landscape.Land(np.full(SHAPE, 2000, np.float32), season)
    palette = _landscape.Palette.draw(np.random.default_rng(0), "RED")
    _landscape._paint_parcels(np.random.default_rng(0), flat, palette)
    ground = ChangingGround(flat)
    ratio = ground.on(DAYS) / ground.on(0)
    changed = np.abs(ratio - 1) > 1e-3
    assert 0.2 < changed.mean() < 0.8
    spread = ndimage.maximum_filter(ratio, 3) - ndimage.minimum_filter(ratio, 3)
    # Neighbours agree within 1e-4 except at field borders.
    assert (spread < 1e-4).mean() > 0.6


def test_the_part_of_the_fields_that_changes_is_the_part_asked_for():
    season = Season(np.random.default_rng(0), 0.3, 0.25, 0.0, 0.0)
    palette = type("Palette", (), {"soil": 3000.0, "vegetation": 900.0})()
    growth, courses = season.plan_fields(4000, palette)
    assert (growth != 1).mean() == pytest.approx(0.25, abs=0.03)
    assert np.array_equal(growth != 1, courses > 0)


@pytest.mark.parametrize(("soil", "vegetation", "sign"), [(3000.0, 900.0, 1), (2000.0, 3500.0, -1)])
def test_harvest_goes_to_the_side_of_soil_and_greening_to_that_of_vegetation(
    soil, vegetation, sign
):
    season = Season(np.random.default_rng(0), 0.2, 1.0, 0.0, 0.0)
    palette = type("Palette", (), {"soil": soil, "vegetation": vegetation})()
    growth, courses = season.plan_fields(200, palette)
    greening = courses == Season.GREENING
    assert (np.sign(growth[greening] - 1) == -sign).all()
    assert (np.sign(growth[~greening] - 1) == sign).all()


def test_harvest_is_quick_and_greening_slow():
    weights = np.array(
        [Season(np.random.default_rng(3), 0.2, 1, 0, 0).weights(day) for day in np.arange(0, 30.5)]
    )
    steps = np.diff(weights, axis=0)
    for harvest in Season.HARVESTS:
        assert steps[:, harvest - 1].max() > 0.4
    assert steps[:, Season.GREENING - 1].max() < 0.05
    assert (weights >= 0).all()
    assert (weights <= 1).all()


def test_water_rises_or_falls_along_its_banks_only(monkeypatch):
    seen = 0
    for seed in range(14):
        one = land(seed, water=0.3)
        moved = ChangingGround(one).on(DAYS) != ChangingGround(one).on(0)
        assert set(np.unique(one.courses)) <= {0, Season.WATER}
        assert not (moved & (one.courses == 0)).any()
        seen += moved.any()
    assert seen >= 3
    for painter in ("_river", "_lakes_or_coast"):
        monkeypatch.setattr(_landscape, painter, lambda *land: None)
    assert not any(land(seed, water=0.3).change.any() for seed in range(14))


def test_shadows_change_where_slopes_and_trees_are_and_by_the_sun_s_height():
    seen = 0
    for seed in range(8):
        one = land(seed, shadow=0.3)
        ratio = relative_change(ChangingGround(one))
        # Shading is at most 0.45 and shadows are 0.5, times 0.3.
        assert np.abs(ratio).max() < 0.5
        assert not ratio[one.shading == 0].any()
        seen += ratio.any()
    assert seen >= 4


def test_a_ground_that_does_not_change_is_the_same_on_every_day():
    ground = ChangingGround(draw_land(np.random.default_rng(0), SHAPE, "RED"))
    assert np.array_equal(ground.on(3.0), ground.on(28.0))


@pytest.mark.parametrize("widths", [(2.0, 2.0), (1.9, 2.1), (1.5, 2.5)])
def test_optics_between_two_widths_blur_by_the_variance_asked_for(widths):
    spot = draw_land(np.random.default_rng(0), (81, 81), "RED")
    spot.states = np.zeros((1, 81, 81), np.float32)
    spot.states[0, 40, 40] = 1
    variances = np.square(widths)
    blurred = BlurredGround(ChangingGround(spot), variances)
    for variance in np.linspace(*variances, 4):
        seen = blurred.on(5.0, variance).astype(float)
        spread = (seen.sum(0) * (np.arange(81) - 40) ** 2).sum() / seen.sum()
        # The spot is one cell wide, which adds 1/12.
        assert spread + 1 / 12 == pytest.approx(variance, rel=0.02)
