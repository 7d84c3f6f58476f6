"""A training that is killed goes on as if it had not been."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from _helpers import composed, quick_srcnn, small_scenes, weights_of
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from probav_estimators import SRCNN, SRCNNEx

CHECKPOINT = "checkpoint.pt"

# With validation, augmentation and a schedule that moves, so that everything has to come back.
RESUMABLE = {
    "residual": True,
    "patch_size": 8,
    "augment": True,
    "train_split": 0.25,
    "lr_patience": 1,
    "random_state": 0,
}

SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from _helpers import composed, quick_srcnn, small_scenes
from test_checkpoint import RESUMABLE
quick_srcnn(max_epochs=10_000, resume={folder!r}, **RESUMABLE).fit(composed(small_scenes(8)))
"""


@pytest.fixture(scope="module")
def scenes():
    return composed(small_scenes(8))


def assert_same_training(net, other):
    torch.testing.assert_close(weights_of(net), weights_of(other), rtol=0, atol=1e-6)
    for key in ("train_loss", "valid_score", "event_lr"):
        assert net.history[:, key] == pytest.approx(other.history[:, key], abs=1e-6)
    ours, theirs = (n.optimizer_.state_dict()["state"] for n in (net, other))
    for number, state in ours.items():
        for name, value in state.items():
            torch.testing.assert_close(value, theirs[number][name], rtol=0, atol=1e-6)


def test_a_killed_training_ends_like_an_undisturbed_one(scenes, tmp_path):
    script = SCRIPT.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", script])
    checkpoint = tmp_path / CHECKPOINT
    try:
        give_up = time.monotonic() + 120
        while not checkpoint.exists() or _finished_epochs(checkpoint) < 3:
            assert process.poll() is None, "the training ended by itself"
            assert time.monotonic() < give_up, "no checkpoint appeared"
            time.sleep(0.01)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    epochs = _finished_epochs(checkpoint) + 4
    resumed = quick_srcnn(max_epochs=epochs, resume=tmp_path, **RESUMABLE).fit(scenes)
    undisturbed = quick_srcnn(max_epochs=epochs, **RESUMABLE).fit(scenes)
    assert len(resumed.history) == epochs
    assert_same_training(resumed, undisturbed)


def _finished_epochs(checkpoint):
    return torch.load(checkpoint, weights_only=True)["history"].count('"epoch"')


def test_a_finished_training_is_not_repeated(scenes, tmp_path):
    first = quick_srcnn(max_epochs=3, resume=tmp_path, **RESUMABLE).fit(scenes)
    again = quick_srcnn(max_epochs=3, resume=tmp_path, **RESUMABLE).fit(scenes)
    assert_same_training(again, first)


def test_a_training_may_go_on_with_a_schedule_that_it_did_not_have(scenes, tmp_path):
    parameters = RESUMABLE | {"resume": tmp_path}
    quick_srcnn(max_epochs=1, **(parameters | {"lr_patience": None})).fit(scenes)
    net = quick_srcnn(max_epochs=2, **parameters).fit(scenes)
    assert len(net.history) == 2
    assert "event_lr" in net.history[-1]


def test_a_checkpoint_is_whole_or_not_there(scenes, tmp_path, monkeypatch):
    quick_srcnn(max_epochs=1, resume=tmp_path, **RESUMABLE).fit(scenes)
    before = (tmp_path / CHECKPOINT).read_bytes()

    def break_off(state, path):
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", break_off)
    with pytest.raises(OSError, match="disk full"):
        quick_srcnn(max_epochs=2, resume=tmp_path, **RESUMABLE).fit(scenes)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_a_checkpoint_of_another_architecture_is_refused(scenes, tmp_path):
    quick_srcnn(resume=tmp_path).fit(scenes)
    other = SRCNNEx(max_epochs=1, resume=tmp_path, verbose=0)
    with pytest.raises(ValueError, match=r"checkpoint\.pt is of another training.*SRCNN there"):
        other.fit(scenes)


def test_a_checkpoint_of_other_scenes_is_refused(scenes, tmp_path):
    quick_srcnn(resume=tmp_path).fit(scenes)
    with pytest.raises(ValueError, match=r"scenes: 8 scenes.* there, 7 scenes.* here"):
        quick_srcnn(resume=tmp_path).fit(scenes[1:])


def test_a_truncated_checkpoint_is_named(scenes, tmp_path):
    quick_srcnn(resume=tmp_path).fit(scenes)
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"checkpoint\.pt cannot be read as a checkpoint"):
        quick_srcnn(resume=tmp_path).fit(scenes)


class TestBestWeights:
    def test_are_those_of_the_best_validation_score(self, scenes):
        net = quick_srcnn(max_epochs=6, lr=0.02, **RESUMABLE).fit(scenes)
        scores = net.history[:, "valid_score"]
        best = int(np.argmin(scores))
        # A training that ends with the best epoch has its weights.
        shorter = quick_srcnn(max_epochs=best + 1, lr=0.02, **RESUMABLE).fit(scenes)
        torch.testing.assert_close(weights_of(net), weights_of(shorter), rtol=0, atol=0)

    def test_early_stopping_is_a_switch(self, scenes):
        # At such a rate nothing gets better for long.
        parameters = RESUMABLE | {"max_epochs": 60, "lr": 0.5, "lr_patience": None}
        net = quick_srcnn(early_stopping=2, **parameters).fit(scenes)
        scores = net.history[:, "valid_score"]
        assert len(scores) < 60
        assert min(scores[-2:]) >= min(scores[:-2])


class TestSchedule:
    def test_the_rate_halves_after_epochs_without_a_better_score(self, scenes):
        parameters = RESUMABLE | {"max_epochs": 12, "lr": 0.3, "lr_patience": 1}
        rates = quick_srcnn(**parameters).fit(scenes).history[:, "event_lr"]
        assert rates[0] == 0.3
        assert {round(np.log2(0.3 / rate)) for rate in rates} > {0, 1}

    def test_the_rate_stays_without_patience(self, scenes):
        net = quick_srcnn(max_epochs=3, lr_patience=None, lr=0.3).fit(scenes)
        assert net.optimizer_.param_groups[0]["lr"] == 0.3

    def test_without_validation_the_training_loss_is_watched(self, scenes):
        net = quick_srcnn(max_epochs=2, train_split=None, lr_patience=1).fit(scenes)
        assert "event_lr" in net.history[-1]


def test_history_is_a_csv_file_on_demand(scenes, tmp_path):
    path = tmp_path / "runs" / "history.csv"
    net = quick_srcnn(max_epochs=2, history_csv=path, **RESUMABLE).fit(scenes)
    rows = list(csv.DictReader(path.open()))
    assert [int(row["epoch"]) for row in rows] == [1, 2]
    assert float(rows[-1]["valid_score"]) == net.history[-1, "valid_score"]


def test_history_goes_to_tensorboard_on_demand(scenes, tmp_path):
    pytest.importorskip("tensorboard")
    quick_srcnn(max_epochs=2, tensorboard=tmp_path, **RESUMABLE).fit(scenes)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path)).Reload()
    assert len(events.Scalars("Loss/train_loss")) == 2


class TestFineTuning:
    def test_begins_with_the_weights_of_the_fitted_net(self, scenes):
        fitted = quick_srcnn(residual=True).fit(scenes)
        tuned = quick_srcnn(residual=True, start_from=fitted, lr=1e-12).fit(scenes[:3])
        torch.testing.assert_close(weights_of(tuned), weights_of(fitted), rtol=0, atol=1e-6)
        assert tuned.std_ == fitted.std_

    def test_survives_cloning_when_frozen(self, scenes):
        fitted = quick_srcnn().fit(scenes)
        tuned = clone(quick_srcnn(start_from=FrozenEstimator(fitted), lr=1e-12)).fit(scenes)
        torch.testing.assert_close(weights_of(tuned), weights_of(fitted), rtol=0, atol=1e-6)

    def test_needs_the_same_channels(self, scenes):
        fitted = quick_srcnn().fit(scenes)
        others = composed(small_scenes(2), k=4)
        with pytest.raises(ValueError, match=r"start_from has channels of input 3 .* has 4"):
            quick_srcnn(start_from=fitted).fit(others)

    def test_needs_the_same_class_and_a_fitted_net(self, scenes):
        with pytest.raises(ValueError, match="start_from has class SRCNN and this SRCNNEx"):
            SRCNNEx(start_from=quick_srcnn().fit(scenes), verbose=0).fit(scenes)
        with pytest.raises(ValueError, match="start_from is not fitted"):
            quick_srcnn(start_from=SRCNN()).fit(scenes)
