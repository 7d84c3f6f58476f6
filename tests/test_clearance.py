"""Number and clearance of frames in simulated scenes, as in the PROBA-V challenge's data set.

Published values are from the rules of the data set and HighRes-net's notebook; see
docs/simulator.md.
"""

import numpy as np
import pytest

from probav_estimators import (
    ClearanceSelector,
    InputComposer,
    Sensor,
    make_scenes,
)
from probav_estimators.simulation import simulate_scene

pytestmark = pytest.mark.any_version

PRESET = "probav-challenge"
SMALL = {"size": 16, "scale": 2}


@pytest.fixture(scope="module")
def scenes():
    return make_scenes(48, sensor=PRESET, random_state=0, **SMALL)


def clear_parts(scene):
    return scene.qm.mean((1, 2))


def test_scenes_have_9_to_35_frames_and_19_on_average(scenes):
    counts = [len(scene) for scene in scenes]
    assert min(counts) >= 9
    assert max(counts) <= 35
    # The standard deviation of 4.9 frames gives a standard error of 0.7 for 48 scenes.
    assert np.mean(counts) == pytest.approx(19, abs=2.1)
    assert np.std(counts) > 3


def test_every_frame_and_every_truth_is_as_clear_as_the_rules_ask_for(scenes):
    assert min(clear_parts(scene).min() for scene in scenes) >= 0.60
    assert min(scene.sm.mean() for scene in scenes) >= 0.75


def test_in_6_of_10_scenes_some_frames_are_fully_clear_and_in_the_others_none(scenes):
    share = np.mean([clear_parts(scene).max() == 1 for scene in scenes])
    # 37 of the 60 published scenes; three standard errors of 48 scenes are 0.21.
    assert share == pytest.approx(37 / 60, abs=0.21)


def test_mean_and_spread_of_the_clear_parts_are_those_published(scenes):
    means = [clear_parts(scene).mean() for scene in scenes]
    spreads = [clear_parts(scene).std() for scene in scenes]
    assert np.mean(means) == pytest.approx(0.929, abs=0.015)
    assert np.mean(spreads) == pytest.approx(0.090, abs=0.012)
    assert np.std(means) > 0.02


def test_frames_hide_the_same_parts_whatever_their_size():
    small, large = (
        make_scenes(4, size=size, scale=2, sensor=PRESET, random_state=1) for size in (16, 40)
    )
    for one, other in zip(small, large, strict=True):
        # Half a pixel of rounding on both sides, and at least one pixel in each cloud.
        assert clear_parts(one) == pytest.approx(clear_parts(other), abs=1.5 / 16**2)


def composed(scene, mode):
    steps = ClearanceSelector(k="max"), InputComposer(mode, frames="single")
    transformed = [scene]
    for step in steps:
        transformed = step.fit(transformed).transform(transformed)
    return transformed[0].inputs.read()


def test_masked_inputs_differ_from_others_where_no_frame_is_fully_clear(scenes):
    differ = [
        not np.array_equal(composed(scene, "lr"), composed(scene, "combine")) for scene in scenes
    ]
    assert differ == [clear_parts(scene).max() < 1 for scene in scenes]
    assert np.mean(differ) > 0.2


def test_clouds_are_where_the_quality_maps_hide_pixels():
    quiet = {"noise": 0, "gain": 0, "offset": 0, "psf_variation": 0, "geolocation_error": 0}
    sensor = Sensor.preset("plain", clearance=PRESET, **quiet)
    hidden, shown = [], []
    for seed in range(6):
        scene = simulate_scene(np.random.default_rng(seed), size=32, n_frames=12, sensor=sensor)
        error = np.abs(scene.lr - np.median(scene.lr, axis=0))
        hidden.append(error[~scene.qm])
        shown.append(error[scene.qm])
    hidden, shown = np.concatenate(hidden), np.concatenate(shown)
    assert np.median(hidden) > 20 * np.median(shown)
    # The land drifts, and clouds too thin to be detected remain.
    assert np.quantile(shown, 0.95) < 0.5 * np.median(hidden)


def test_any_sensor_takes_the_clearance():
    sensor = Sensor(clearance=PRESET)
    assert repr(sensor) == "Sensor(clearance='probav-challenge')"
    (scene,) = make_scenes(1, sensor=sensor, random_state=0, **SMALL)
    (preset,) = make_scenes(1, sensor=PRESET, random_state=0, **SMALL)
    assert np.array_equal(scene.qm, preset.qm)
    assert not np.array_equal(scene.lr, preset.lr)


@pytest.mark.parametrize("value", ["cloudy", None, 0.9, ["half"]])
def test_unknown_clearances_are_refused_with_the_names_of_the_known(value):
    with pytest.raises(ValueError, match="clearance must be 'half' or 'probav-challenge'"):
        Sensor(clearance=value)


# Frame count, clear pixels and pixel sums, recorded before sensors had a clearance.
NOTED = {
    "any": (10, 2191, 5823368, 5134101),
    "plain": (10, 2191, 5793490, 5113906),
    "proba-v": (10, 2191, 5801383, 5120978),
    "sentinel-2": (10, 2191, 5799656, 5121166),
    "landsat-8": (10, 2191, 5798189, 5121223),
}


@pytest.mark.parametrize("sensor", NOTED)
def test_other_sensors_make_the_scenes_that_they_made(sensor):
    (scene,) = make_scenes(1, size=16, sensor=sensor, random_state=7)
    n_frames, clear, frames, truth = NOTED[sensor]
    assert len(scene) == n_frames
    assert scene.qm.sum() == clear
    # Other processors may round single pixels differently.
    assert 65535 * scene.lr.sum(dtype=float) == pytest.approx(frames, rel=1e-5)
    assert 65535 * scene.hr.sum(dtype=float) == pytest.approx(truth, rel=1e-5)
