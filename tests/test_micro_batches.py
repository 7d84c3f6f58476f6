"""Gradients of micro-batches add up to the gradient of the batch."""

import numpy as np
import pytest
import torch
from _helpers import QUICK, composed, quick_srcnn, small_scenes, weights_of
from skorch.callbacks import Callback

from probav_estimators import CPSNRLoss, FusionNet, MSELoss


class Seen(Callback):
    """Records the gradient and result of each step, and the number of samples per forward pass."""

    def on_train_begin(self, net, **kwargs):
        self.gradients, self.losses, self.predictions, self.sizes = [], [], [], []
        net.module_.register_forward_hook(self._count)

    def _count(self, module, args, output):
        if module.training:
            self.sizes.append(len(output))

    def on_grad_computed(self, net, named_parameters, **kwargs):
        grads = [p.grad.flatten().clone() for _, p in named_parameters if p.grad is not None]
        self.gradients.append(torch.cat(grads) if grads else None)

    def on_batch_end(self, net, training=False, loss=None, y_pred=None, **kwargs):
        if training:
            self.losses.append(loss.item())
            self.predictions.append(y_pred.detach().clone())


def srcnn(**params):
    net = quick_srcnn(batch_size=5, residual=True, patch_size=8, augment=True, **params)
    return net.fit(composed(small_scenes(7)))


class _WithoutMeans(FusionNet):
    """Without losses that are means over a batch."""

    likelihood_weight = shift_weight = 0.0


def fusion_net(**params):
    options = {"batch_size": 5, "patch_size": 12, "augment": True, "width": 8, "depth": 1}
    # Scenes with different numbers of frames: batches are padded with frames of zero weight.
    scenes = [*small_scenes(4, n_frames=5), *small_scenes(3, first_seed=4, n_frames=3)]
    return _WithoutMeans(**QUICK | options | params).fit(scenes)


@pytest.mark.parametrize(("train", "size"), [(srcnn, 2), (srcnn, 5), (fusion_net, 1)])
def test_an_epoch_ends_with_the_weights_of_whole_batches(train, size):
    # Rounding errors in SGD's steps scale with the gradients. NAdam's steps of the last bias have
    # full size, although its gradient is rounding error alone.
    options = {"optimizer": "SGD", "lr": 1e-3}
    whole, parts = (
        train(callbacks=[Seen()], micro_batch_size=part, **options) for part in (None, size)
    )
    torch.testing.assert_close(weights_of(parts), weights_of(whole), rtol=0, atol=1e-6)
    expected, seen = (dict(net.callbacks_)["Seen"] for net in (whole, parts))
    assert expected.sizes and sum(seen.sizes) == sum(expected.sizes)
    assert max(seen.sizes) == size
    np.testing.assert_allclose(seen.losses, expected.losses, rtol=1e-5)
    for one, other in zip(seen.predictions, expected.predictions, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("loss", [CPSNRLoss, CPSNRLoss(border=2), MSELoss])
def test_the_first_gradient_is_that_of_the_whole_batch(loss):
    whole, parts = (
        dict(srcnn(callbacks=[Seen()], criterion=loss, micro_batch_size=size).callbacks_)["Seen"]
        for size in (None, 2)
    )
    scale = whole.gradients[0].abs().max()
    torch.testing.assert_close(
        parts.gradients[0] / scale, whole.gradients[0] / scale, rtol=0, atol=1e-5
    )


class SpoiledOnce(CPSNRLoss):
    """NaN for the second micro-batch."""

    def forward(self, prediction, truth):
        self.calls = getattr(self, "calls", 0) + 1
        loss = super().forward(prediction, truth)
        return loss * torch.nan if self.calls == 2 else loss


def test_a_part_that_is_not_finite_costs_its_whole_step_and_no_other():
    with pytest.warns(UserWarning, match="not finite"):
        net = srcnn(callbacks=[Seen()], criterion=SpoiledOnce(), micro_batch_size=1)
    assert dict(net.callbacks_)["divergence"].n_skipped_ == 1
    first, second = dict(net.callbacks_)["Seen"].gradients
    assert first is None and torch.isfinite(second).all()
    assert np.isfinite(losses_of(net)).tolist() == [False, True]
    assert torch.isfinite(weights_of(net)).all()


def losses_of(net):
    return dict(net.callbacks_)["Seen"].losses
