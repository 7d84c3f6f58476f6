"""The pretraining script: training, resuming after a kill, and the saved weights."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.pretrain import SENSORS, Land, draw_scene, draw_sensor, simulate, take_layers
from probav_estimators import FusionNet, Sensor, make_scenes
from probav_estimators.training import load_weights

ROOT = Path(__file__).parents[1]


def start(folder, minutes, **more):
    options = {
        "--minutes": minutes,
        "--out": folder,
        "--width": 4,
        "--depth": 1,
        "--patch-size": 16,
        "--batch-size": 2,
        "--pool": 4,
        "--burst": 2,
        "--workers": 1,
        "--validate": 1,
        "--calibrate": 2,
        "--save-every": 0.01,
    } | {f"--{name}": value for name, value in more.items()}
    arguments = [str(part) for pair in options.items() for part in pair]
    environment = {k: v for k, v in os.environ.items() if k != "PROBAV_SAMPLES"}
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.pretrain", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def steps_of(folder):
    path = folder / "log.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line)["step"] for line in lines]


def is_gone(group):
    """Whether all processes of a group have ended, after a short wait."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_killed_pretraining_goes_on_and_ends_in_weights(tmp_path):
    process = start(tmp_path, minutes=60)
    try:
        for _ in range(600):
            if len(steps_of(tmp_path)) >= 2:
                break
            assert process.poll() is None
            time.sleep(0.2)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert is_gone(process.pid), "worker processes outlive the one that was killed"
    before = steps_of(tmp_path)
    assert len(before) >= 2
    # The time limit covers all runs together, so little is left for this one.
    assert start(tmp_path, minutes=0.03).wait(timeout=120) == 0
    after = steps_of(tmp_path)
    assert after[: len(before)] == before
    assert all(np.diff(after) > 0)
    net = FusionNet.from_pretrained(tmp_path / "weights.safetensors")
    scenes = make_scenes(1, size=16, n_frames=3, random_state=0)
    assert np.isfinite(net.predict(scenes)).all()


def test_pretraining_goes_on_from_given_weights(tmp_path):
    begun = FusionNet(scale=3, width=6, depth=1, random_state=0)
    given = tmp_path / "given.safetensors"
    begun.initialize().save_pretrained(given)
    assert start(tmp_path, minutes=0.01, weights=given, lr=0).wait(timeout=120) == 0
    net = FusionNet.from_pretrained(tmp_path / "weights.safetensors")
    for name, value in net.module_.state_dict().items():
        if name != "calibration":
            # Saved weights have 8 significant bits.
            np.testing.assert_allclose(value, begun.module_.state_dict()[name], rtol=2**-8)


def test_pretraining_begins_with_the_body_of_another_scale(tmp_path):
    begun = FusionNet(scale=3, width=4, depth=1, random_state=0).initialize()
    begun.save_pretrained(tmp_path / "given")
    process = start(tmp_path, minutes=0.01, body=tmp_path / "given", scale=2, lr=0, burst=0)
    assert process.wait(timeout=120) == 0
    net = FusionNet.from_pretrained(tmp_path / "weights.safetensors")
    assert net.scale_ == 2
    ours, theirs = net.module_.state_dict(), begun.module_.state_dict()
    name = "stages.1.blocks.0.first.weight"
    np.testing.assert_allclose(ours[name], theirs[name], rtol=0.01)


def test_layers_of_fewer_inputs_are_taken(tmp_path):
    """Weights of a network with two input channels fewer per stage can be loaded."""
    net = FusionNet(scale=3, width=4, depth=1, random_state=0).initialize()
    other = FusionNet(scale=3, width=4, depth=1, random_state=1).initialize()
    other.save_pretrained(tmp_path / "other")
    weights = load_weights(tmp_path / "other")
    n_inputs = weights.state["stages.0.enter.weight"].shape[1]
    for number in range(3):
        name = f"stages.{number}.enter.weight"
        kept = [n for n in range(weights.state[name].shape[1]) if not 0 < n_inputs - n <= 2]
        weights.state[name] = weights.state[name][:, kept]
    take_layers(net.module_, weights)
    for name, value in net.module_.state_dict().items():
        expected = other.module_.state_dict()[name].clone()
        if name.endswith("enter.weight"):
            expected[:, n_inputs - 2 : n_inputs] = 0
        np.testing.assert_array_equal(value, expected, err_msg=name)


def test_blocks_that_a_deeper_net_has_more_begin_by_adding_nothing(tmp_path):
    given = FusionNet(scale=3, width=4, depth=1, random_state=0).initialize()
    given.save_pretrained(tmp_path / "given")
    deeper = FusionNet(scale=3, width=4, depth=3, random_state=1).initialize()
    take_layers(deeper.module_, load_weights(tmp_path / "given"))
    scenes = make_scenes(1, size=16, n_frames=3, random_state=0)
    for ours, theirs in zip(
        deeper.predict(scenes, return_std=True), given.predict(scenes, return_std=True), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_every_sensor_can_be_simulated():
    for name in SENSORS:
        scene, alignment, psf_sigma = simulate([1, 2], 3, [name])
        assert len(alignment.index) <= len(scene)
        assert psf_sigma is None or 0.05 <= psf_sigma <= 0.55


def test_point_spread_function_is_told_in_lr_pixels():
    rng = np.random.RandomState(0)
    for scale in (2, 4):
        sensor, psf_sigma = draw_sensor(rng, "wide", scale)
        assert isinstance(sensor, Sensor)
        assert sensor.psf_sigma == scale * psf_sigma


@pytest.fixture
def folder_of_land(tmp_path):
    """Two images of each of three places, and one that is too small."""
    rng = np.random.default_rng(0)
    for place, size in [("ALP", 300), ("BAY", 400), ("CAPE", 300), ("DELTA", 90)]:
        values = rng.integers(300, 3000, (size, size + 10), np.uint16)
        Image.fromarray(values).save(tmp_path / f"{place}_RED_01.png")
        np.save(tmp_path / f"{place}_NIR_01.npy", values.astype(np.float32)[None])
    return tmp_path


def test_places_of_real_land_are_held_out(folder_of_land):
    train, held = Land.of_folder(folder_of_land, 3)
    names = [{land.path.name.partition("_")[0] for land in part} for part in (train, held)]
    assert names == [{"ALP", "CAPE"}, {"BAY"}]
    assert (len(train), len(held)) == (4, 2)
    with pytest.raises(ValueError, match="has images of 1 places with at least 384 pixels"):
        Land.of_folder(folder_of_land, 4)


def test_a_part_of_the_scenes_has_real_land(folder_of_land):
    train, _ = Land.of_folder(folder_of_land, 2)
    for part in (0, 1):
        scene, _ = draw_scene([3], 2, ["static"], train, part)
        roughness = np.abs(np.diff(scene.hr)).mean() / scene.hr.mean()
        # No drawn land is as rough as this noise.
        assert (roughness > 0.08) == bool(part)


def test_pretraining_on_real_land_logs_its_score(folder_of_land, tmp_path):
    out = tmp_path / "out"
    assert start(out, minutes=0.02, land=folder_of_land).wait(timeout=180) == 0
    (line, *_) = (out / "log.jsonl").read_text().splitlines()
    assert 0.3 < json.loads(line)["land"] < 2
