"""Configurations of the original study."""

import random

import numpy as np
import pytest
import torch
from sklearn.model_selection import train_test_split
from torch.nn.functional import binary_cross_entropy, conv2d, interpolate

from probav_estimators import Scene, make_scenes, probav_scorer, published_configurations
from probav_estimators.published import PublishedSplit

PUBLISHED = {
    "SRCNN single lr": 0.99625,
    "SRCNN single combine": 0.99896,
    "SRCNN single concat": 0.99745,
    "SRCNN stack lr": 0.98961,
    "SRCNN stack combine": 0.99229,
    "SRCNN stack concat": 0.99143,
    "SRCNNEx stack lr": 0.99000,
    "SRCNNEx stack concat": 0.98896,
    "FSRCNN stack lr": 0.99134,
    "FSRCNN stack concat": 0.99201,
    "SRVGG16 stack lr": 0.98996,
    "SRVGG16 stack concat": 0.98886,
}


def test_all_twelve_rows_are_there_with_their_scores():
    pipelines, param_grid, scores = published_configurations()
    assert scores == PUBLISHED
    assert [name for name, _ in pipelines] == list(PUBLISHED)
    assert len(param_grid) == 12


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_configuration_is_what_its_name_says(name):
    architecture, frames, mode = name.split()
    pipe = dict(published_configurations(k=5).pipelines)[name]
    assert type(pipe["sr"]).__name__ == architecture
    assert (pipe["compose"].frames, pipe["compose"].mode) == (frames, mode)
    assert pipe["select"].k == ("max" if frames == "single" else 5)
    assert (pipe["upscale"] == "passthrough") == (architecture == "FSRCNN")
    # As published: final sigmoid, whole frames, NAdam and the in-place loss.
    assert pipe["sr"].get_params()["residual"] is False
    assert pipe["sr"].patch_size is None


class TestSplit:
    """The study sorts by band (NIR first) and name, and splits by scikit-learn."""

    @pytest.fixture
    def challenge(self):
        """Scenes with the names and bands of the challenge's 1,160, shuffled."""
        frames = np.zeros((1, 2, 2), np.uint16)
        bands = ["RED"] * 594 + ["NIR"] * 566
        scenes = [
            Scene(frames, np.ones_like(frames, bool), name=f"imgset{number:04d}", band=band)
            for number, band in enumerate(bands)
        ]
        random.Random(0).shuffle(scenes)
        return scenes

    def test_the_same_116_scenes_validate(self, challenge):
        ordered = sorted(scene.name for scene in challenge)
        ordered = ordered[594:] + ordered[:594]
        expected = train_test_split(ordered, test_size=0.1, shuffle=True, random_state=42)
        train, valid = PublishedSplit()(challenge)
        assert [len(train), len(valid)] == [1044, 116]
        assert [[scene.name for scene in part] for part in (train, valid)] == expected

    def test_a_training_uses_it_whatever_the_order_of_its_scenes(self):
        scenes = make_scenes(12, size=8, n_frames=9, random_state=1)
        _, valid = PublishedSplit()(scenes)
        weights = []
        for order in (scenes, scenes[::-1]):
            pipe = published_configurations(max_epochs=1, verbose=0).pipelines[3][1]
            pipe.set_params(sr__random_state=0).fit(order)
            best = pipe[-1].history[-1, "valid_score"]
            assert best == pytest.approx(-probav_scorer(pipe, list(valid)), rel=1e-5)
            weights.append(pipe[-1].module_.head.weight.detach())
        torch.testing.assert_close(*weights, rtol=0, atol=1e-6)


class TestTraining:
    """`fit` against a reimplementation of the study's training."""

    @staticmethod
    def inputs_of(scene, mode):
        """Inputs (c, H, W): the nine clearest frames by argsort()[::-1], cubic by OpenCV."""
        clearance = scene.qm.sum(axis=(1, 2))
        order = np.argsort(clearance, kind="stable")[::-1]
        while len(order) < 9:
            order = np.concatenate([order, order])
        lr, qm = scene.lr[order[:9]], scene.qm[order[:9]].astype(np.float32)
        stack = {"lr": lr, "combine": lr * qm, "concat": np.concatenate([lr, qm])}[mode]
        stack = torch.from_numpy(stack)[None].double()
        return interpolate(stack, scale_factor=3, mode="bicubic")[0].float()

    @staticmethod
    def predict(weights, inputs):
        for number, (kernel, bias) in enumerate(weights):
            if number:
                inputs = inputs.relu()
            inputs = conv2d(inputs, kernel, bias, padding=kernel.shape[-1] // 2)
        return inputs.sigmoid()

    @staticmethod
    def loss(prediction, truth):
        """Mean over samples of 46.5 / cPSNR + 0.5 cross-entropy."""
        sr, sr_clear = prediction[:, 0], prediction[:, 1]
        hr, clear = truth[:, 0], truth[:, 1]
        count = clear.sum(dim=(1, 2))
        bias = ((hr - sr) * clear).sum(dim=(1, 2)) / count
        error = ((hr - sr - bias[:, None, None]) * clear).square().sum(dim=(1, 2)) / count
        entropy = binary_cross_entropy(sr_clear, clear, reduction="none").mean(dim=(1, 2))
        return (46.5 / (-10 * error.log10()) + 0.5 * entropy).mean()

    @staticmethod
    def nadam(parameters, gradients, state, *, lr=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-7):
        """Take one step of Keras' Nadam, with its momentum schedule."""
        t = state["t"] = state.get("t", 0) + 1
        now, after = (beta1 * (1 - 0.5 * 0.96 ** (0.004 * step)) for step in (t, t + 1))
        product = state["product"] = state.get("product", 1.0) * now
        for number, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
            m, v = state.get(number, (torch.zeros_like(parameter), torch.zeros_like(parameter)))
            m, v = beta1 * m + (1 - beta1) * gradient, beta2 * v + (1 - beta2) * gradient**2
            state[number] = m, v
            m_hat, v_hat = m / (1 - product * after), v / (1 - beta2**t)
            step = (1 - now) * gradient / (1 - product) + after * m_hat
            parameter.data -= lr * step / (v_hat.sqrt() + epsilon)

    @pytest.mark.parametrize("mode", ["lr", "combine", "concat"])
    def test_weights_after_some_steps_are_those_of_the_study(self, mode):
        scenes = make_scenes(5, size=8, n_frames=(5, 12), sensor="any", random_state=3)
        settings = {"train_split": None, "random_state": 0, "verbose": 0, "device": "cpu"}

        def fitted(**params):
            published = published_configurations(**settings, **params).pipelines
            return dict(published)[f"SRCNN stack {mode}"].fit(scenes)[-1].module_

        # One batch holds all scenes, so their order has no effect.
        first, last = fitted(max_epochs=1, lr=1e-30), fitted(max_epochs=4)
        parameters = [p.detach().clone().requires_grad_() for p in first.parameters()]
        inputs = torch.stack([self.inputs_of(scene, mode) for scene in scenes])
        truth = torch.from_numpy(np.stack([np.stack([s.hr, s.sm]) for s in scenes]).astype("f4"))
        state = {}
        for _ in range(4):
            pairs = list(zip(parameters[::2], parameters[1::2], strict=True))
            loss = self.loss(self.predict(pairs, inputs), truth)
            self.nadam(parameters, torch.autograd.grad(loss, parameters), state)
        sides = (p.detach() for p in parameters), last.parameters(), first.parameters()
        for one, other, begin in zip(*sides, strict=True):
            moved = float((other - begin).detach().abs().max())
            assert moved > 1e-3
            torch.testing.assert_close(one, other.detach(), rtol=0, atol=0.02 * moved)
