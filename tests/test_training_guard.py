"""Training recovers from divergence, or ends with the best weights."""

import warnings

import numpy as np
import pytest
import torch
from _helpers import quick_srcnn, slow_score, weights_of
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback
from skorch.helper import predefined_split

from probav_estimators import CPSNRLoss


class SpoiledLoss(CPSNRLoss):
    """Loss multiplied by a factor in the given training steps."""

    def __init__(self, steps=(), factor=1.0):
        super().__init__()
        self.steps, self.factor, self.step = steps, factor, 0

    def forward(self, prediction, truth):
        loss = super().forward(prediction, truth)
        if not prediction.requires_grad:
            return loss
        self.step += 1
        return loss * self.factor if self.step in self.steps else loss


class Collapse(Callback):
    """Set useless weights in the given epochs."""

    def __init__(self, epochs):
        self.epochs = epochs

    def on_batch_end(self, net, training=None, **kwargs):
        if training and len(net.history) in self.epochs:
            with torch.no_grad():
                noise = torch.Generator().manual_seed(0)
                for weight in net.module_.parameters():
                    weight.copy_(100 * torch.randn(weight.shape, generator=noise))
                    # Kernels that sum to 0 act as edge filters.
                    weight.sub_(
                        weight.mean(dim=(1, 2, 3), keepdim=True) if weight.ndim == 4 else weight
                    )


class Gradients(Callback):
    """Record gradient norms at the optimizer and the weights after each epoch."""

    def on_train_begin(self, net, **kwargs):
        self.norms_, self.weights_ = [], []

    def on_grad_computed(self, net, named_parameters, **kwargs):
        parts = [p.grad.norm() for _, p in named_parameters if p.grad is not None]
        self.norms_.append(float(torch.stack(parts).norm()) if parts else None)

    def on_epoch_end(self, net, **kwargs):
        self.weights_.append(weights_of(net).clone())


def guard_of(net):
    return dict(net.callbacks_)["divergence"]


class TestSteps:
    @pytest.mark.parametrize("residual", [False, True])
    def test_of_a_normal_training_are_left_alone(self, train, valid, residual):
        params = {"max_epochs": 5, "train_split": predefined_split(valid), "residual": residual}
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            guarded = quick_srcnn(**params).fit(train)
        free = quick_srcnn(callbacks__divergence=None, **params).fit(train)
        assert torch.equal(weights_of(guarded), weights_of(free))
        assert guard_of(guarded).n_clipped_ == guard_of(guarded).n_skipped_ == 0

    @pytest.mark.parametrize("factor", [np.nan, np.inf])
    def test_that_are_not_finite_change_no_weight(self, train, factor):
        watch = Gradients()
        # Two steps per epoch.
        spoiled = SpoiledLoss(steps=(3, 6), factor=factor)
        params = {"max_epochs": 4, "batch_size": 2, "criterion": spoiled}
        with pytest.warns(ConvergenceWarning, match=r"SRCNN: in epoch 2 .*not finite") as caught:
            net = quick_srcnn(callbacks=[watch], **params).fit(train)
        assert len(caught) == 1
        assert guard_of(net).n_skipped_ == 2
        assert [norm is None for norm in watch.norms_] == [step in (3, 6) for step in range(1, 9)]
        assert torch.isfinite(weights_of(net)).all()

    def test_that_are_all_skipped_change_no_weight(self, train):
        watch = Gradients()
        spoiled = SpoiledLoss(steps=range(1, 9), factor=np.nan)
        with pytest.warns(ConvergenceWarning, match="ends after 3 such returns"):
            net = quick_srcnn(max_epochs=9, batch_size=2, criterion=spoiled, callbacks=[watch]).fit(
                train
            )
        assert len(net.history) == 3
        assert torch.equal(watch.weights_[0], watch.weights_[2])

    def test_are_those_of_plain_optimization_without_clipping(self, train, valid):
        # The third step has a gradient far above the mean.
        steep = {
            "max_epochs": 5,
            "criterion": SpoiledLoss(steps=(3,), factor=1000.0),
            "lr": 1e-9,
            "optimizer": "SGD",
            "train_split": predefined_split(valid),
            "callbacks__best_weights": None,
        }
        free = quick_srcnn(callbacks__divergence=None, **steep).fit(train)
        nets = {
            clip: quick_srcnn(callbacks__divergence__clip=clip, **steep).fit(train)
            for clip in (None, 10.0)
        }
        assert torch.equal(weights_of(nets[None]), weights_of(free))
        assert not torch.equal(weights_of(nets[10.0]), weights_of(free))
        assert [guard_of(net).n_clipped_ for net in nets.values()] == [0, 1]

    def test_with_a_gradient_far_above_the_mean_are_scaled_down(self, train):
        watch, free = Gradients(), Gradients()
        params = {"max_epochs": 3, "criterion": SpoiledLoss(steps=(3,), factor=1000.0), "lr": 1e-9}
        net = quick_srcnn(callbacks=[watch], **params).fit(train)
        quick_srcnn(callbacks=[free], callbacks__divergence=None, **params).fit(train)
        assert watch.norms_[:2] == free.norms_[:2]
        assert free.norms_[2] > 500 * free.norms_[1]
        mean = 0.95 * free.norms_[0] + 0.05 * free.norms_[1]
        assert watch.norms_[2] == pytest.approx(10 * mean, rel=1e-4)
        assert guard_of(net).n_clipped_ == 1


class TestCollapse:
    def test_goes_back_to_the_best_weights_with_half_the_rate(self, train, valid):
        watch = Gradients()
        with pytest.warns(
            ConvergenceWarning, match=r"SRCNN: epoch 4 has valid_score .* of epoch 3.* rate 0.0005"
        ):
            net = quick_srcnn(
                max_epochs=6,
                train_split=predefined_split(valid),
                callbacks=[Collapse([4]), watch],
            ).fit(train)
        scores = net.history[:, "valid_score"]
        assert scores[3] > 1.5 * scores[2]
        assert torch.equal(watch.weights_[3], watch.weights_[2])
        assert max(scores[4:]) < scores[2]
        assert net.history[:, "event_lr"] == pytest.approx([1e-3] * 4 + [5e-4] * 2)
        assert slow_score(net.predict(valid), valid) == pytest.approx(min(scores), rel=1e-5)

    def test_that_comes_again_and_again_ends_the_training(self, train, valid):
        with pytest.warns(ConvergenceWarning, match="ends after 3 such returns"):
            net = quick_srcnn(
                max_epochs=30,
                train_split=predefined_split(valid),
                callbacks=[Collapse(range(3, 30))],
            ).fit(train)
        scores = net.history[:, "valid_score"]
        assert len(scores) == 5
        assert slow_score(net.predict(valid), valid) == pytest.approx(scores[1], rel=1e-5)

    def test_is_seen_without_validation(self, train):
        with pytest.warns(ConvergenceWarning, match="has train_loss"):
            net = quick_srcnn(
                max_epochs=5, batch_size=1, criterion=MeanSquaredError, callbacks=[Collapse([3])]
            ).fit(train)
        assert net.history[-1, "train_loss"] < 4 * net.history[1, "train_loss"]

    def test_in_the_first_epoch_goes_back_to_the_beginning(self, train, valid):
        class NoNumbers(Callback):
            def on_batch_end(self, net, training=None, **kwargs):
                if training and len(net.history) == 1:
                    with torch.no_grad():
                        next(net.module_.parameters()).fill_(float("nan"))

        with pytest.warns(ConvergenceWarning, match="returns to the initial weights"):
            net = quick_srcnn(
                max_epochs=3, train_split=predefined_split(valid), callbacks=[NoNumbers()]
            ).fit(train)
        assert np.isfinite(net.history[1:, "valid_score"]).all()


class MeanSquaredError(torch.nn.Module):
    def forward(self, prediction, truth):
        return (prediction[:, 0] - truth[:, 0]).square().mean()


def test_a_resumed_training_knows_what_the_guard_knew(train, valid, tmp_path):
    params = {
        "train_split": predefined_split(valid),
        "callbacks": [Collapse([2, 4])],
        "lr": 1e-3,
    }
    with pytest.warns(ConvergenceWarning):
        quick_srcnn(max_epochs=3, resume=tmp_path, **params).fit(train)
    with pytest.warns(ConvergenceWarning):
        resumed = quick_srcnn(max_epochs=6, resume=tmp_path, **params).fit(train)
    with pytest.warns(ConvergenceWarning):
        undisturbed = quick_srcnn(max_epochs=6, **params).fit(train)
    assert torch.equal(weights_of(resumed), weights_of(undisturbed))
    ours, theirs = guard_of(resumed), guard_of(undisturbed)
    assert ours.mean_norm_ == theirs.mean_norm_
    assert ours.best_ == theirs.best_
