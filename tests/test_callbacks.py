"""Progress and log of a training, and skorch's own callbacks on the challenge score."""

import io
import re
from contextlib import redirect_stderr
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from _helpers import (
    QUICK,
    quick_srcnn,
    slow_cpsnr,
    slow_score,
    weights_of,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import make_scorer, mean_squared_error
from skorch.callbacks import (
    BatchScoring,
    Callback,
    EpochScoring,
)
from skorch.helper import predefined_split
from skorch.history import History

from probav_estimators import FusionNet, HighResNet, cpsnr, cpsnr_scorer, probav_scorer
from probav_estimators.training import PlateauSchedule


class PredictionAfterEachEpoch(Callback):
    """Records the net's prediction for these scenes after each epoch."""

    def __init__(self, scenes):
        self.scenes = scenes

    def on_train_begin(self, net, **kwargs):
        self.images_ = []

    def on_epoch_end(self, net, **kwargs):
        self.images_.append(net.predict(self.scenes))


def test_the_score_of_every_epoch_is_that_of_its_own_weights(train, valid):
    watch = PredictionAfterEachEpoch(valid)
    net = quick_srcnn(
        max_epochs=4, lr=1e-2, train_split=predefined_split(valid), callbacks=[watch]
    ).fit(train)
    expected = [slow_score(images, valid) for images in watch.images_]
    np.testing.assert_allclose(net.history[:, "valid_score"], expected, rtol=1e-5)


def rates_of_keras(scores, lr, patience, min_delta):
    """Learning rate of each epoch by the rule of Keras' ReduceLROnPlateau without cooldown."""
    best, wait, rates = np.inf, 0, []
    for score in scores:
        rates.append(lr)
        if score < best - min_delta:
            best, wait = score, 0
            continue
        wait += 1
        if wait >= patience and lr > 1e-9:
            lr, wait = max(0.5 * lr, 1e-9), 0
    return rates


def rates_of_schedule(schedule, scores, lr):
    """Learning rate of each epoch of a training with these validation scores."""
    weight = torch.nn.Parameter(torch.zeros(1))
    net = SimpleNamespace(history=History(), optimizer_=torch.optim.SGD([weight], lr=lr))
    schedule.initialize().on_train_begin(net)
    for score in scores:
        net.history.new_epoch()
        net.history.record("valid_score", score)
        schedule.on_epoch_end(net)
    return net.history[:, "event_lr"]


class TestPlateaus:
    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(
        scores=st.lists(st.integers(0, 12).map(lambda n: 0.9 + n * 4e-5), min_size=1, max_size=40),
        patience=st.integers(1, 6),
        lr=st.sampled_from([1e-3, 3e-9, 1e-9]),
    )
    @example(scores=[1.0] * 7, patience=5, lr=1e-3)
    @example(scores=[1.0] * 6, patience=1, lr=3e-9)
    def test_with_an_absolute_threshold_are_those_of_keras(self, scores, patience, lr):
        schedule = PlateauSchedule(patience, threshold_mode="abs")
        expected = rates_of_keras(scores, lr, patience, 1e-4)
        assert rates_of_schedule(schedule, scores, lr) == expected

    def test_halve_the_rate_after_as_many_epochs_as_the_patience(self):
        rates = rates_of_schedule(PlateauSchedule(), [1.0] * 12, 0.8)
        assert rates == [0.8] * 6 + [0.4] * 5 + [0.2]

    @pytest.mark.parametrize(
        ("mode", "expected"), [("rel", [0.8, 0.8, 0.8]), ("abs", [0.8, 0.8, 0.4])]
    )
    def test_have_a_relative_or_an_absolute_threshold(self, mode, expected):
        schedule = PlateauSchedule(1, threshold=0.1, threshold_mode=mode)
        assert rates_of_schedule(schedule, [0.1, 0.05, 0.01], 0.8) == expected

    @pytest.mark.parametrize(
        ("params", "expected"),
        [
            ({}, [1, 1, 1, 0.5, 0.5, 0.25]),
            ({"callbacks__lr_schedule__patience": 4}, [1, 1, 1, 1, 1, 0.5]),
            (
                {
                    "callbacks__lr_schedule__threshold_mode": "abs",
                    "callbacks__lr_schedule__threshold": -1.0,
                },
                [1] * 6,
            ),
        ],
    )
    def test_of_a_net_are_set_by_its_parameters(self, train, valid, params, expected):
        params = {"callbacks__lr_schedule__patience": 2} | params
        split = predefined_split(valid)
        net = quick_srcnn(max_epochs=6, lr=1e-6, train_split=split, **params).fit(train)
        rates = np.array(net.history[:, "event_lr"]) / 1e-6
        np.testing.assert_allclose(rates, expected)

    @pytest.mark.parametrize(("name", "wrong"), [("patience", 0), ("threshold_mode", "max")])
    def test_of_a_net_with_wrong_parameters_are_refused(self, train, name, wrong):
        with pytest.raises(ValueError, match=f"'{name}' parameter of PlateauSchedule"):
            quick_srcnn(**{f"callbacks__lr_schedule__{name}": wrong}).fit(train)


@pytest.mark.parametrize("name", ["lr_shedule", "lr_shedule__patience"])
def test_parameters_of_unknown_callbacks_are_refused(train, name):
    with pytest.raises(ValueError, match=r"no callback lr_shedule .*choose among .*lr_schedule"):
        quick_srcnn(**{f"callbacks__{name}": None}).fit(train)


def mean_cpsnr(images, scenes):
    pairs = zip(images, scenes, strict=True)
    return np.mean([slow_cpsnr(image, scene.hr, scene.sm) for image, scene in pairs])


NETS = {
    "SRCNN": lambda **params: quick_srcnn(patch_size=8, **params),
    "FusionNet": lambda **params: FusionNet(width=4, depth=1, **QUICK | params),
    "HighResNet": lambda **params: HighResNet(n_features=4, n_blocks=1, **QUICK | params),
}


class TestEpochScoring:
    """skorch's own callback for scores."""

    @pytest.mark.parametrize(
        ("kind", "on_train", "use_caching"),
        [("SRCNN", True, False), ("FusionNet", False, True), ("HighResNet", True, True)],
    )
    def test_records_the_score_of_the_scenes(self, train, valid, kind, on_train, use_caching):
        scored = train if on_train else valid
        watch = PredictionAfterEachEpoch(scored)
        options = {"on_train": on_train, "use_caching": use_caching, "lower_is_better": False}
        callbacks = [
            watch,
            EpochScoring(probav_scorer, name="x", **options),
            EpochScoring(cpsnr_scorer, **options),
            EpochScoring(None, **options),
        ]
        params = {"max_epochs": 2, "lr": 1e-2, "train_split": predefined_split(valid)}
        net = NETS[kind](callbacks=callbacks, **params).fit(train)
        history = net.history
        expected = [-slow_score(images, scored) for images in watch.images_]
        np.testing.assert_allclose(history[:, "x"], expected, rtol=1e-5)
        expected = [mean_cpsnr(images, scored) for images in watch.images_]
        np.testing.assert_allclose(history[:, "cpsnr_scorer"], expected, rtol=1e-5)
        assert history[:, "score"] == history[:, "cpsnr_scorer"]
        assert history[:, "x_best"] == [True, history[1, "x"] > history[0, "x"]]

    @pytest.mark.parametrize(
        ("kind", "scoring"),
        [
            (EpochScoring, "r2"),
            (BatchScoring, make_scorer(cpsnr)),
            (EpochScoring, mean_squared_error),
        ],
    )
    def test_names_scorers_that_need_a_y_before_training(self, train, scoring, kind):
        watch = PredictionAfterEachEpoch(train)
        net = quick_srcnn(callbacks=[watch, ("mine", kind(scoring, name="x"))])
        with pytest.raises(ValueError, match=r"callback mine .*give scoring=probav_scorer"):
            net.fit(train)
        assert not hasattr(watch, "images_")


def test_callbacks_can_be_switched_off(train):
    silent = quick_srcnn(verbose=1, callbacks__print_log=None).fit(train)
    disabled = quick_srcnn(callbacks="disable").fit(train)
    assert torch.equal(weights_of(silent), weights_of(disabled))


class Terminal(io.StringIO):
    def isatty(self):
        return True


class TestBar:
    def shown(self, train, **params):
        with redirect_stderr(Terminal()) as terminal:
            quick_srcnn(batch_size=2, **params).fit(train)
        return terminal.getvalue()

    def test_shows_the_training_batches_of_an_epoch(self, train, valid):
        shown = self.shown(train, verbose=1, train_split=predefined_split(valid))
        assert re.search(r"0%\|.*0/2 ", shown)

    def test_is_closed_by_an_interruption(self, train):
        class AtOnce(Callback):
            def on_batch_end(self, net, **kwargs):
                raise KeyboardInterrupt

        net = quick_srcnn(verbose=1, callbacks=[AtOnce()])
        with redirect_stderr(Terminal()) as terminal, pytest.raises(KeyboardInterrupt):
            net.fit(train)
        # A closed bar is erased.
        assert re.search(r"\r +\r$", terminal.getvalue())


class TestLog:
    def test_is_a_table_with_a_line_for_each_epoch(self, train, valid, capsys):
        net = quick_srcnn(max_epochs=3, verbose=1, train_split=predefined_split(valid)).fit(train)
        captured = capsys.readouterr()
        header, rule, *lines = captured.err.splitlines()
        assert header.split() == ["epoch", "train_loss", "valid_loss", "valid_score", "lr", "dur"]
        assert set(rule) <= {"-", " "}
        keys = ["epoch", "train_loss", "valid_loss", "valid_score", "event_lr"]
        for line, row in zip(lines, net.history, strict=True):
            expected = [row[key] for key in keys]
            shown = [float(value) for value in line.split()]
            np.testing.assert_allclose(shown[:-1], expected, rtol=1e-4)
        assert captured.out == ""

    def test_begins_with_the_score_of_the_initial_weights(self, train, valid, capsys):
        net = quick_srcnn(train_split=predefined_split(valid)).fit(train)
        net.set_params(verbose=1).partial_fit(train)
        first = capsys.readouterr().err.splitlines()[0]
        assert first == f"SRCNN before training: score {net.history[0, 'valid_score']:.5g}"


def test_without_verbosity_nothing_is_printed(train, valid, capsys):
    quick_srcnn(verbose=0, train_split=predefined_split(valid)).fit(train).predict(valid)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
