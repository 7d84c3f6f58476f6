"""A killed training, once resumed, gives the result of an uninterrupted one."""

import csv
import multiprocessing
import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from _helpers import composed, quick_srcnn, small_scenes, weights_of
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import EarlyStopping, LRScheduler, TensorBoard
from skorch.helper import predefined_split

from probav_estimators import (
    CPSNRLoss,
    FusionNet,
    HistoryCSV,
    MaskedMSELoss,
    Scene,
    SRCNNEx,
    TimeLimit,
    make_scenes,
)
from probav_estimators.state_file import read_state, write_state
from probav_estimators.version import __version__

CHECKPOINT = "checkpoint.safetensors"

# Validation, augmentation and an active schedule, so that all state must be restored.
RESUMABLE = {
    "residual": True,
    "patch_size": 8,
    "augment": True,
    "train_split": 0.25,
    "callbacks__lr_schedule__patience": 1,
    "random_state": 0,
}

# A loss that depends on every weight: cPSNR does not depend on the last bias, whose gradient is
# rounding error that optimizers turn into steps of full size.
KILLED = RESUMABLE | {"criterion": MaskedMSELoss}


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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_killed_training_ends_like_an_undisturbed_one(scenes, tmp_path):
    killed = quick_srcnn(max_epochs=10_000, resume=tmp_path, **KILLED)
    process = multiprocessing.get_context("fork").Process(target=killed.fit, args=(scenes,))
    process.start()
    checkpoint = tmp_path / CHECKPOINT
    try:
        give_up = time.monotonic() + 120
        while not checkpoint.exists() or _finished_epochs(checkpoint) < 3:
            assert process.is_alive(), "the training ended by itself"
            assert time.monotonic() < give_up, "no checkpoint appeared"
            time.sleep(0.01)
    finally:
        process.kill()
        process.join()
    epochs = _finished_epochs(checkpoint) + 4
    resumed = quick_srcnn(max_epochs=epochs, resume=tmp_path, **KILLED).fit(scenes)
    undisturbed = quick_srcnn(max_epochs=epochs, **KILLED).fit(scenes)
    assert len(resumed.history) == epochs
    assert_same_training(resumed, undisturbed)


def _finished_epochs(checkpoint):
    return len(read_state(checkpoint, "checkpoint").config["dict"]["history"])


def test_a_resumed_training_is_the_undisturbed_one_to_the_bit(scenes, tmp_path):
    quick_srcnn(max_epochs=2, resume=tmp_path, **RESUMABLE).fit(scenes)
    resumed = quick_srcnn(max_epochs=4, resume=tmp_path, **RESUMABLE).fit(scenes)
    undisturbed = quick_srcnn(max_epochs=4, **RESUMABLE).fit(scenes)
    assert torch.equal(weights_of(resumed), weights_of(undisturbed))


FREE = {
    "callbacks": [TimeLimit(1000)],
    "device": "cpu",
    "micro_batch_size": 1,
}


@pytest.mark.parametrize("name", FREE)
def test_a_training_may_go_on_under_other_circumstances(scenes, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    quick_srcnn(max_epochs=1, resume="run", **RESUMABLE).fit(scenes)
    params = {"max_epochs": 2, "resume": tmp_path / "run", **RESUMABLE, name: FREE[name]}
    assert len(quick_srcnn(**params).fit(scenes).history) == 2


OTHER_SETTINGS = {
    "lr": (1e-3, 1.0),
    "optimizer": (torch.optim.NAdam, torch.optim.Adam),
    "optimizer__weight_decay": (0.0, 0.1),
    "criterion__border": (0, 1),
    "augment": (False, True),
    "iterator_train__batch_size": (4, 2),
    "train_split": (None, 0.5),
    "random_state": (0, 1),
    "predict_clearance": (False, True),
}


@pytest.mark.parametrize("name", OTHER_SETTINGS)
def test_a_checkpoint_of_other_settings_is_refused_by_name(scenes, tmp_path, name):
    there, here = OTHER_SETTINGS[name]
    quick_srcnn(resume=tmp_path, **{name: there}).fit(scenes)
    with pytest.raises(ValueError, match=rf"\({name}: .* there, .* here\).*folder of its own"):
        quick_srcnn(resume=tmp_path, **{name: here}).fit(scenes)


class LossOfKind(CPSNRLoss):
    """Has a setting that its repr does not show, and one that may be a function without a name."""

    def __init__(self, kind, function=None):
        super().__init__()
        self._kind, self.function = kind, function


@pytest.mark.parametrize(
    ("there", "here"),
    [
        (lambda: LossOfKind("a"), lambda: LossOfKind("b")),
        (lambda: LossOfKind("a", lambda x: x + 1), lambda: LossOfKind("a", lambda x: x + 2)),
    ],
)
def test_losses_are_told_apart_by_what_they_are_made_of(scenes, tmp_path, there, here):
    quick_srcnn(resume=tmp_path, criterion=there()).fit(scenes)
    again = quick_srcnn(resume=tmp_path, criterion=there()).fit(scenes)
    assert len(again.history) == 1
    with pytest.raises(ValueError, match=r"another training \(criterion: "):
        quick_srcnn(resume=tmp_path, criterion=here()).fit(scenes)


def test_splitters_are_told_apart_by_their_scenes(scenes, tmp_path):
    def fit(valid):
        return quick_srcnn(resume=tmp_path, train_split=predefined_split(valid)).fit(scenes[:4])

    fit(scenes[4:6])
    assert len(fit(composed(small_scenes(2, first_seed=4))).history) == 1
    with pytest.raises(ValueError, match=r"another training \(train_split: "):
        fit(scenes[5:7])


def test_scenes_are_told_apart_by_their_pixels(scenes, tmp_path):
    quick_srcnn(resume=tmp_path).fit(scenes)
    others = composed(small_scenes(8, first_seed=100))
    renamed = [Scene(s.lr, s.qm, s.hr, s.sm, name=f"imgset{i:04d}") for i, s in enumerate(others)]
    with pytest.raises(ValueError, match=r"another training \(scenes: 8 scenes, imgset0000 first"):
        quick_srcnn(resume=tmp_path).fit(composed(renamed))


def test_the_weights_that_a_training_began_with_count(scenes, tmp_path):
    first, second = (quick_srcnn(random_state=seed).fit(scenes) for seed in range(2))
    quick_srcnn(resume=tmp_path, weights=first).fit(scenes)
    same = quick_srcnn(resume=tmp_path, weights=FrozenEstimator(first)).fit(scenes)
    assert len(same.history) == 1
    with pytest.raises(ValueError, match=r"\(initial weights: checksum \w+ there, checksum"):
        quick_srcnn(resume=tmp_path, weights=second).fit(scenes)


def test_a_search_does_not_take_one_result_for_all(scenes, tmp_path):
    search = GridSearchCV(
        quick_srcnn(resume=tmp_path), {"lr": [1e-3, 1e-2]}, cv=2, error_score="raise"
    )
    with pytest.raises(ValueError, match="each candidate of a search"):
        search.fit(scenes)


def test_callbacks_of_skorch_go_on_too(scenes, tmp_path):
    def fit(max_epochs, **params):
        callbacks = [
            LRScheduler(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0.5),
            EarlyStopping(monitor="valid_score", patience=4, threshold=1.0),
        ]
        params = RESUMABLE | {"callbacks": callbacks} | params
        del params["callbacks__lr_schedule__patience"]
        params["callbacks__lr_schedule"] = None
        return quick_srcnn(max_epochs=max_epochs, **params).fit(scenes)

    fit(3, resume=tmp_path)
    resumed, undisturbed = fit(9, resume=tmp_path), fit(9)
    assert len(resumed.history) == len(undisturbed.history) == 5
    assert_same_training(resumed, undisturbed)


def test_a_checkpoint_is_whole_or_not_there(scenes, tmp_path, monkeypatch):
    quick_srcnn(max_epochs=1, resume=tmp_path, **RESUMABLE).fit(scenes)
    before = (tmp_path / CHECKPOINT).read_bytes()

    def break_off(path, content):
        path.open("wb").write(content[:100])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", break_off)
    with pytest.raises(OSError, match="disk full"):
        quick_srcnn(max_epochs=2, resume=tmp_path, **RESUMABLE).fit(scenes)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert os.listdir(tmp_path) == [CHECKPOINT]


def test_a_checkpoint_of_another_architecture_is_refused(scenes, tmp_path):
    quick_srcnn(resume=tmp_path).fit(scenes)
    other = SRCNNEx(max_epochs=1, resume=tmp_path, verbose=0)
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors is of another .*SRCNN there"):
        other.fit(scenes)


def test_what_shapes_predictions_alone_may_change(tmp_path):
    scenes = make_scenes(3, size=16, n_frames=3, random_state=0)
    parameters = {"width": 4, "depth": 1, "resume": tmp_path, "verbose": 0, "random_state": 0}
    FusionNet(max_epochs=1, **parameters).fit(scenes)
    net = FusionNet(max_epochs=2, n_augment=2, tile_size=64, **parameters).fit(scenes)
    assert len(net.history) == 2


def test_a_checkpoint_that_lacks_something_is_named(scenes, tmp_path):
    quick_srcnn(resume=tmp_path).fit(scenes)
    config, tensors, version = read_state(tmp_path / CHECKPOINT, "checkpoint")
    assert version == __version__
    for name in config["dict"]:
        rest = {key: value for key, value in config["dict"].items() if key != name}
        write_state(tmp_path / CHECKPOINT, "checkpoint", {"dict": rest}, tensors)
        with pytest.raises(ValueError, match=rf"{tmp_path / CHECKPOINT} cannot .*remove it"):
            quick_srcnn(resume=tmp_path).fit(scenes)


def test_a_checkpoint_of_an_earlier_version_is_refused_by_name(scenes, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"zip")
    with pytest.raises(ValueError, match=r"checkpoint\.pt was written by an earlier version"):
        quick_srcnn(resume=tmp_path).fit(scenes)


def test_a_checkpoint_of_another_version_is_read_with_a_warning(scenes, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("probav_estimators.state_file.__version__", "0.0.1")
        quick_srcnn(resume=tmp_path).fit(scenes)
    with pytest.warns(UserWarning, match=r"checkpoint\.safetensors was written by version 0\.0\.1"):
        quick_srcnn(resume=tmp_path).fit(scenes)


def test_the_best_weights_are_those_of_the_best_validation_score(scenes):
    net = quick_srcnn(max_epochs=6, lr=0.02, **RESUMABLE).fit(scenes)
    scores = net.history[:, "valid_score"]
    best = int(np.argmin(scores))
    # A training that stops at the best epoch must have the same weights.
    shorter = quick_srcnn(max_epochs=best + 1, lr=0.02, **RESUMABLE).fit(scenes)
    torch.testing.assert_close(weights_of(net), weights_of(shorter), rtol=0, atol=0)


def test_history_is_a_csv_file_on_demand(scenes, tmp_path):
    path = tmp_path / "runs" / "history.csv"
    net = quick_srcnn(max_epochs=2, callbacks=[HistoryCSV(path)], **RESUMABLE).fit(scenes)
    rows = list(csv.DictReader(path.open()))
    assert [int(row["epoch"]) for row in rows] == [1, 2]
    assert float(rows[-1]["valid_score"]) == net.history[-1, "valid_score"]


def test_history_goes_to_tensorboard_on_demand(scenes, tmp_path):
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    board = TensorBoard(SummaryWriter(tmp_path))
    net = quick_srcnn(max_epochs=2, callbacks=[board], **RESUMABLE).fit(scenes)
    assert len(pickle.loads(pickle.dumps(net)).history) == 2
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path)).Reload()
    assert len(events.Scalars("Loss/train_loss")) == 2
