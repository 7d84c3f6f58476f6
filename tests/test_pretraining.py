"""The pretraining script: training, resuming after a kill, and the saved weights."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import pretrain
from benchmarks._land import Land
from benchmarks.pretrain import (
    SENSORS,
    add_noise,
    draw_scene,
    draw_sensor,
    lost_row,
    simulate,
    take_layers,
)
from probav_estimators import FusionNet, Sensor, make_scenes, save_model
from probav_estimators.training import load_weights

pytestmark = pytest.mark.any_version

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def small_scenes_of_threads(monkeypatch):
    """Scenes of 96 pixels by workers that start anew are left to the process that is killed."""
    kind = "fork" if hasattr(os, "fork") else "spawn"
    context = SimpleNamespace(get_context=lambda _: multiprocessing.get_context(kind))
    monkeypatch.setattr(pretrain, "multiprocessing", context)
    monkeypatch.setattr(pretrain, "SCENE_SIZE", 32)
    monkeypatch.setattr(pretrain, "ProcessPoolExecutor", lambda n, *_, **__: ThreadPoolExecutor(n))


def arguments(folder, minutes, **more):
    options = {
        "--minutes": minutes,
        "--out": folder,
        "--width": 4,
        "--depth": 1,
        "--patch-size": 16,
        "--batch-size": 2,
        "--pool": 2,
        "--burst": 1,
        "--workers": 1,
        "--validate": 1,
        "--calibrate": 2,
        "--save-every": 0.01,
    } | {f"--{name}": value for name, value in more.items()}
    return [str(part) for pair in options.items() for part in pair]


def start(folder, minutes, **more):
    environment = {k: v for k, v in os.environ.items() if k != "PROBAV_SAMPLES"}
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.pretrain", *arguments(folder, minutes, **more)],
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
    process = start(tmp_path, minutes=60, validate=0)
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
    pretrain.main(arguments(tmp_path, 0.03, validate=0))
    after = steps_of(tmp_path)
    assert after[: len(before)] == before
    assert all(np.diff(after) > 0)
    net = FusionNet.from_pretrained(tmp_path / "weights.safetensors")
    scenes = make_scenes(1, size=16, n_frames=3, random_state=0)
    assert np.isfinite(net.predict(scenes)).all()


@pytest.fixture
def scored(monkeypatch):
    """Scores of one row in turn, in place of those of all rows; the last one is repeated."""
    scores = [0.9]

    class OneRow:
        def __init__(self, *args):
            self.scores = iter(scores)

        def score(self, net):
            self.last = next(self.scores, None) or self.last
            return {"row": self.last}, [0.0, 0.0], None

    monkeypatch.setattr(pretrain, "Rows", OneRow)
    return scores


def test_pretraining_begins_with_the_body_of_another_scale(tmp_path, scored):
    begun = FusionNet(scale=3, width=4, depth=1, random_state=0).initialize()
    begun.save_pretrained(tmp_path / "given")
    pretrain.main(arguments(tmp_path, 0.01, body=tmp_path / "given", scale=2, lr=0, burst=0))
    net = FusionNet.from_pretrained(tmp_path / "weights.safetensors")
    assert net.scale_ == 2
    ours, theirs = net.module_.state_dict(), begun.module_.state_dict()
    name = "stages.1.blocks.0.first.weight"
    np.testing.assert_allclose(ours[name], theirs[name], rtol=0.01)


def test_training_ends_with_the_last_good_state_when_a_row_is_lost(tmp_path, scored, capsys):
    scored[:] = [0.9, 0.9029, 0.9031]
    pretrain.main(arguments(tmp_path, 60))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["rows"]["row"] for line in lines] == scored
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert (state["step"], state["ended"]) == (lines[1]["step"], True)
    saved = load_weights(tmp_path / "weights.safetensors").state["consistency.residual_factor"]
    # It is learned.
    assert saved != 4
    assert saved == state["average"]["module.consistency.residual_factor"]
    printed = capsys.readouterr().out
    assert "| row | 0.9000 | 0.9029 | +0.0029 |" in printed
    assert "ended with the state before: lost row" in printed


@pytest.mark.parametrize(
    ("now", "lost"),
    [
        ({"a": 0.9029, "b": 0.8}, None),
        ({"a": 0.9031, "b": 0.8}, "a"),
        ({"a": 0.9031, "b": 0.798}, "a"),
        ({"a": 0.9031, "b": 0.796}, None),
        ({"a": 0.9031, "b": 0.81}, "b"),
    ],
)
def test_a_row_is_lost_unless_another_gains_more(now, lost):
    assert lost_row({"a": 0.9, "b": 0.8}, now) == lost


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


def test_pretraining_on_real_land_logs_its_score(folder_of_land, tmp_path, monkeypatch):
    monkeypatch.delenv("PROBAV_SAMPLES", raising=False)
    names = {"PSF of 0.5", "preset 'any'", "24 frames of the default sensor"}
    few = [row for row in pretrain.rows(1, 32, 3, 0) if row.name in names]
    monkeypatch.setattr(pretrain, "rows", lambda *sizes: few)
    monkeypatch.setattr(pretrain, "MUCH_NOISE", pretrain.MUCH_NOISE[:1])
    out = tmp_path / "out"
    options = {"land": folder_of_land, "save-every": 10}
    pretrain.main(arguments(out, 0.02, **options))
    first, *_, last = (json.loads(line) for line in (out / "log.jsonl").read_text().splitlines())
    assert (first["step"], last["step"] > 0) == (0, True)
    assert names | {"real land"} < first["rows"].keys() == last["rows"].keys()
    assert all(0.3 < score < 2 for score in last["rows"].values())


def test_noise_is_that_of_the_land_and_true_shifts_stay():
    (scene,) = make_scenes(1, size=48, n_frames=3, random_state=0)
    ratios = []
    for seed in range(40):
        noisy = add_noise(scene, np.random.RandomState(seed))
        np.testing.assert_array_equal(noisy.true_shifts, scene.true_shifts)
        ratios.append((noisy.lr - scene.lr).std() / scene.hr.std())
    # Those of speckle are greater where the land is bright.
    assert 0.001 < min(ratios) < 0.02
    assert 1 < np.quantile(ratios, 0.9) < 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"weights": "simulated-x3", "scale": 2}, "scale 2 and the weights .* have scale 3"),
        ({"body": "simulated-x3", "width": 4}, "--body simulated-x3 has width 64"),
        ({"body": "model"}, "are of SRCNN and not of FusionNet|of kind 'model'"),
        ({"in-place": 1.5}, "--in-place is a share from 0 to 1, not 1.5"),
    ],
)
def test_wrong_options_are_refused_in_one_sentence(tmp_path, monkeypatch, wrong, message):
    monkeypatch.chdir(tmp_path)
    save_model(FusionNet(scale=3, width=4, depth=1).initialize(), "model")
    with pytest.raises(SystemExit, match=f"^pretrain: .*{message}") as refused:
        pretrain.main(arguments(tmp_path / "out", 1, **wrong))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()
