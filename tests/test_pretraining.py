"""The pretraining script: it trains, is killed, goes on, and leaves weights."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from probav_estimators import FusionNet, make_scenes

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
        "--workers": 1,
        "--validate": 1,
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
    """Whether all processes of a group have ended, or do so soon."""
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
    # The time of all starts counts, so that this one has little left.
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
            np.testing.assert_array_equal(value, begun.module_.state_dict()[name])
