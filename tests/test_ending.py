"""Ends of a training: early stopping, time limit, Ctrl-C, and errors."""

import os
import signal

import numpy as np
import pytest
import torch
from _helpers import quick_srcnn, slow_score, weights_of
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from skorch.callbacks import Callback, EarlyStopping
from skorch.helper import predefined_split

from probav_estimators import HistoryCSV, TimeLimit


def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


def fail():
    raise RuntimeError("of the device")


class CtrlC(Callback):
    """Sends SIGINT, or does something else, at a given moment of the second epoch."""

    def __init__(self, moment, act=press_ctrl_c):
        self.moment = moment
        self.act = act

    def _press(self, net, moment):
        if moment == self.moment and len(net.history) == 2:
            self.act()

    def on_epoch_begin(self, net, **kwargs):
        self._press(net, "epoch begins")

    def on_batch_begin(self, net, training=None, **kwargs):
        self._press(net, "step" if training else "validation")

    def on_epoch_end(self, net, **kwargs):
        self._press(net, "epoch ends")


class TestCtrlC:
    @pytest.mark.parametrize(
        ("moment", "act", "error"),
        [
            ("epoch begins", press_ctrl_c, KeyboardInterrupt),
            ("step", press_ctrl_c, KeyboardInterrupt),
            ("validation", fail, RuntimeError),
            ("epoch ends", press_ctrl_c, KeyboardInterrupt),
        ],
    )
    def test_or_an_error_is_let_through_and_leaves_the_best_weights(
        self, train, valid, moment, act, error
    ):
        net = quick_srcnn(
            max_epochs=5, train_split=predefined_split(valid), callbacks=[CtrlC(moment, act)]
        )
        with pytest.raises(error):
            net.fit(train)
        scores = [row["valid_score"] for row in net.history if "valid_score" in row]
        assert len(scores) == (2 if moment == "epoch ends" else 1)
        assert slow_score(net.predict(valid), valid) == pytest.approx(min(scores), rel=1e-5)

    def test_passes_partial_fit_and_a_second_call_goes_on(self, train, valid):
        net = quick_srcnn(train_split=predefined_split(valid), callbacks=[CtrlC("step")])
        net.fit(train)
        with pytest.raises(KeyboardInterrupt):
            net.partial_fit(train)
        net.partial_fit(train)
        assert len(net.history) == 3

    def test_ends_a_cross_validation(self, train):
        net = quick_srcnn(max_epochs=3, callbacks=[CtrlC("step")])
        with pytest.raises(KeyboardInterrupt):
            cross_val_score(net, train, cv=2)

    def test_without_a_whole_epoch_leaves_the_weights_as_they_are(self, train, valid):
        class AtOnce(Callback):
            def on_batch_begin(self, net, **kwargs):
                raise KeyboardInterrupt

        net = quick_srcnn(train_split=predefined_split(valid), callbacks=[AtOnce()])
        with pytest.raises(KeyboardInterrupt):
            net.fit(train)
        assert net.predict(valid).shape == (2, 48, 48)


class Disk:
    """Files of this process, which may get no more room."""

    def __init__(self):
        self.resource = pytest.importorskip("resource")
        self.limits = self.resource.getrlimit(self.resource.RLIMIT_FSIZE)

    def fill(self):
        self.resource.setrlimit(self.resource.RLIMIT_FSIZE, (0, self.limits[1]))

    def clear(self):
        self.resource.setrlimit(self.resource.RLIMIT_FSIZE, self.limits)


class TestFullDisks:
    @pytest.fixture
    def disk(self):
        disk = Disk()
        yield disk
        disk.clear()

    @pytest.mark.parametrize("name", ["checkpoint.safetensors", "history.csv"])
    def test_are_named_and_leave_the_best_weights(self, train, valid, tmp_path, disk, name):
        def spoil():
            disk.fill()
            for weight in net.module_.parameters():
                weight.data *= 10

        params = {"callbacks": [CtrlC("validation", spoil)], "resume": tmp_path}
        if name == "history.csv":
            params["callbacks"].append(HistoryCSV(tmp_path / name))
            params["resume"] = None
        split = predefined_split(valid)
        net = quick_srcnn(max_epochs=5, train_split=split, callbacks__divergence=None, **params)
        with pytest.raises(OSError, match=f"make room on its disk.*{tmp_path / name}") as caught:
            net.fit(train)
        # Before pytest writes its own report, perhaps to a file.
        disk.clear()
        assert "of SRCNN" in caught.value.__notes__[0]
        assert [path.name for path in tmp_path.iterdir()] == [name]
        first, second = net.history[:, "valid_score"]
        assert first < second
        assert slow_score(net.predict(valid), valid) == pytest.approx(first, rel=1e-5)

    def test_lose_no_epoch_of_a_training_that_is_resumed(self, train, valid, tmp_path, disk):
        def fit(act, **params):
            split = predefined_split(valid)
            callbacks = [CtrlC("step", act)]
            return quick_srcnn(max_epochs=3, train_split=split, callbacks=callbacks, **params).fit(
                train
            )

        with pytest.raises(OSError, match="make room"):
            fit(disk.fill, resume=tmp_path)
        disk.clear()
        resumed = fit(disk.clear, resume=tmp_path)
        assert len(resumed.history) == 3
        assert torch.equal(weights_of(resumed), weights_of(fit(disk.clear)))


class TestEarlyStopping:
    def test_ends_in_good_order_and_after_all_callbacks(self, train, valid):
        class Epochs(Callback):
            def on_train_begin(self, net, **kwargs):
                self.seen_ = []

            def on_epoch_end(self, net, **kwargs):
                self.seen_.append(net.history[-1, "epoch"])

        stopping = EarlyStopping(monitor="valid_score", patience=2, threshold=1.0)
        epochs = Epochs()
        net = quick_srcnn(
            max_epochs=9, train_split=predefined_split(valid), callbacks=[stopping, epochs]
        ).fit(train)
        assert epochs.seen_ == net.history[:, "epoch"] == [1, 2, 3]

    def test_may_be_asked_for_by_any_callback(self, train):
        class AfterTwo(Callback):
            def on_train_begin(self, net, **kwargs):
                self.ends_training_ = False

            def on_epoch_end(self, net, **kwargs):
                self.ends_training_ = len(net.history) == 2

        assert len(quick_srcnn(max_epochs=9, callbacks=[AfterTwo()]).fit(train).history) == 2

    def test_is_not_undone_by_resume(self, train, valid, tmp_path):
        stopping = EarlyStopping(monitor="valid_score", patience=2, threshold=1.0)
        net = quick_srcnn(
            max_epochs=9,
            train_split=predefined_split(valid),
            resume=tmp_path,
            callbacks=[stopping],
        ).fit(train)
        again = clone(net).fit(train)
        assert len(again.history) == len(net.history) == 3
        assert torch.equal(weights_of(again), weights_of(net))


class Clock:
    """Clock on which every training step takes one minute."""

    def __init__(self):
        self.seconds, self.seconds_of = 0.0, None

    def __call__(self):
        return self.seconds if self.seconds_of is None else next(self.seconds_of)


class OneMinutePerStep(Callback):
    def __init__(self, clock):
        self.clock = clock

    def on_batch_begin(self, net, training=None, **kwargs):
        if training:
            self.clock.seconds += 60


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("probav_estimators.training._callbacks._clock", clock)
    return clock


class TestTimeLimit:
    def test_of_no_time_is_refused(self, train):
        with pytest.raises(ValueError, match="'minutes' parameter of TimeLimit"):
            quick_srcnn(callbacks=[TimeLimit(0)]).fit(train)

    def timed(self, clock, valid, *, minutes=1e9, **params):
        # Two steps per epoch.
        return quick_srcnn(
            **{
                "max_epochs": 9,
                "batch_size": 2,
                "train_split": predefined_split(valid),
                "callbacks": [OneMinutePerStep(clock), TimeLimit(minutes)],
                **params,
            }
        )

    def test_cuts_the_epoch_short_that_is_under_way_and_validates_it(self, train, valid, clock):
        net = self.timed(clock, valid, minutes=5).fit(train)
        assert net.history[:, "train_batch_count"] == [2, 2, 1]
        assert all(np.isfinite(net.history[:, "valid_score"]))
        scores = net.history[:, "valid_score"]
        assert slow_score(net.predict(valid), valid) == pytest.approx(min(scores), rel=1e-5)

    def test_counts_only_the_present_call(self, train, valid, clock):
        net = self.timed(clock, valid, minutes=4).fit(train)
        assert len(net.history) == 2
        net.partial_fit(train)
        assert len(net.history) == 4
        net.set_params(warm_start=True).fit(train)
        assert len(net.history) == 6

    def test_counts_what_a_resumed_training_took_before(self, train, valid, clock, tmp_path):
        self.timed(clock, valid, max_epochs=2, resume=tmp_path).fit(train)
        clock.seconds += 1e6
        net = self.timed(clock, valid, resume=tmp_path, minutes=6).fit(train)
        assert len(net.history) == 3
        again = self.timed(clock, valid, resume=tmp_path, minutes=6).fit(train)
        assert len(again.history) == 3
