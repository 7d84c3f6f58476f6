"""Training from existing weights: fine-tuning, partial_fit, warm_start, pickles."""

import copy
import pickle

import numpy as np
import pytest
import torch
from _helpers import composed, quick_srcnn, slow_score, small_scenes, weights_of
from skorch.callbacks import Callback, LRScheduler
from skorch.helper import predefined_split

from probav_estimators import FusionNet, ReprojectionLoss


@pytest.fixture(scope="module")
def others():
    return composed(small_scenes(2, first_seed=20))


@pytest.fixture(scope="module")
def fitted(train, valid):
    return quick_srcnn(
        max_epochs=8, lr=1e-2, residual=True, train_split=predefined_split(valid)
    ).fit(train)


# With this learning rate and duration, the score does not improve.
SPOILING = {"max_epochs": 3, "lr": 0.3, "callbacks__divergence": None}


def callback_of(net, name):
    return dict(net.callbacks_)[name]


class TestEpochZero:
    def test_fine_tuning_that_makes_nothing_better_changes_nothing(self, fitted, train, others):
        net = quick_srcnn(
            residual=True, weights=fitted, train_split=predefined_split(others), **SPOILING
        ).fit(train)
        before = slow_score(fitted.predict(others), others)
        assert min(net.history[:, "valid_score"]) > before
        assert torch.equal(weights_of(net), weights_of(fitted))
        assert callback_of(net, "starting_score").start_score_ == pytest.approx(before, rel=1e-5)
        assert net.history[:, "epoch"] == [1, 2, 3]

    def test_a_better_epoch_wins(self, fitted, train, valid):
        start = quick_srcnn(residual=True).fit(train)
        net = quick_srcnn(
            max_epochs=5, residual=True, weights=start, train_split=predefined_split(valid)
        ).fit(train)
        scores = net.history[:, "valid_score"]
        assert min(scores) < callback_of(net, "starting_score").start_score_
        assert slow_score(net.predict(valid), valid) == pytest.approx(min(scores), rel=1e-5)

    def test_is_not_repeated_by_resume(self, fitted, train, others, tmp_path):
        params = {
            "residual": True,
            "weights": fitted,
            "train_split": predefined_split(others),
            **SPOILING,
        }
        quick_srcnn(**params | {"max_epochs": 1}, resume=tmp_path).fit(train)
        resumed = quick_srcnn(**params, resume=tmp_path).fit(train)
        assert torch.equal(weights_of(resumed), weights_of(fitted))
        undisturbed = quick_srcnn(**params).fit(train)
        for net in (resumed, undisturbed):
            assert callback_of(net, "starting_score").start_score_ is not None
        assert resumed.history[:, "valid_score"] == undisturbed.history[:, "valid_score"]

    def test_without_truth_frames_that_are_left_out_judge(self):
        scenes = small_scenes(4, truth=False, clouds=False)
        net = FusionNet.from_pretrained(
            max_epochs=2,
            lr=0.01,
            criterion=ReprojectionLoss(psf_sigma=0.4),
            train_split=predefined_split(scenes[2:]),
            random_state=0,
            verbose=0,
            callbacks__divergence=None,
        )
        before = weights_of(net).clone()
        net.fit(scenes[:2])
        start = callback_of(net, "starting_score").start_score_
        assert 0 < start < min(net.history[:, "valid_loss"])
        assert torch.equal(weights_of(net), before)


class TestPerCall:
    def test_the_best_of_other_scenes_is_not_asked_for(self, fitted, train, others):
        net = copy.deepcopy(fitted)
        net.set_params(train_split=predefined_split(others), lr=1e-4, max_epochs=4)
        net.partial_fit(train)
        scores = net.history[8:, "valid_score"]
        best_yet = [score == min(scores[: number + 1]) for number, score in enumerate(scores)]
        assert net.history[8:, "valid_score_best"] == best_yet
        start = callback_of(net, "starting_score").start_score_
        expected = min(start, *scores)
        assert slow_score(net.predict(others), others) == pytest.approx(expected, rel=1e-5)


class Rates(Callback):
    """Records the schedule's count of epochs without improvement, at the start of each epoch."""

    def on_train_begin(self, net, **kwargs):
        self.bad_ = []

    def on_epoch_begin(self, net, **kwargs):
        schedule = callback_of(net, "lr_schedule").lr_scheduler_
        self.bad_.append((schedule.num_bad_epochs, net.optimizer_.param_groups[0]["lr"]))


class TestSchedule:
    def test_goes_on_with_the_same_optimizer(self, train, valid):
        rates = Rates()
        net = quick_srcnn(
            max_epochs=3,
            lr=1e-12,
            callbacks__lr_schedule__patience=4,
            train_split=predefined_split(valid),
            callbacks=[rates],
        )
        # The rate is too low to change anything: no epoch after the first is an improvement.
        net.fit(train)
        assert rates.bad_ == [(0, 1e-12), (0, 1e-12), (1, 1e-12)]
        schedule = callback_of(net, "lr_schedule").lr_scheduler_
        net.set_params(max_epochs=2).partial_fit(train)
        assert callback_of(net, "lr_schedule").lr_scheduler_ is schedule
        assert [bad for bad, _ in rates.bad_] == [2, 3]


class TestPickles:
    def size_of_weights(self, net):
        return sum(x.numel() * x.element_size() for x in net.module_.state_dict().values())

    def test_of_a_long_training_hold_little_more_than_the_weights(self):
        scenes = composed(small_scenes(4), k=9, mode="concat")
        net = quick_srcnn(max_epochs=2, train_split=0.25).fit(scenes)
        net.history_.extend(copy.deepcopy(net.history[1]) for _ in range(148))
        for kept in (net, copy.deepcopy(net)):
            assert len(kept.history) == 150
            assert len(pickle.dumps(kept)) < 1.1 * self.size_of_weights(kept)

    @pytest.mark.parametrize("own_schedule", [False, True])
    def test_go_on_with_a_new_optimizer(self, train, valid, own_schedule):
        step = LRScheduler(torch.optim.lr_scheduler.StepLR, step_size=100, gamma=0.5)
        net = quick_srcnn(
            max_epochs=3,
            train_split=predefined_split(valid),
            callbacks=[step] if own_schedule else None,
            lr=1e-3,
            **({"callbacks__lr_schedule": None} if own_schedule else {}),
        ).fit(train)
        net.optimizer_.param_groups[0]["lr"] = 1e-5
        loaded = pickle.loads(pickle.dumps(net)).partial_fit(train)
        assert loaded.history[3, "event_lr"] == 1e-3
        assert len(loaded.history) == 6
        assert np.isfinite(loaded.history[:, "valid_score"]).all()
