"""Nets in threads and under other defaults of torch, and what `random_state` promises."""

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from _helpers import composed, quick_srcnn, small_scenes, weights_of
from torch import nn

from probav_estimators import (
    TRMISR,
    AdversarialLoss,
    FusionNet,
    ModuleNet,
    SceneLoss,
    SceneRegressor,
    load_model,
    make_scenes,
    save_model,
)

QUICK = {
    "max_epochs": 1,
    "batch_size": 2,
    "patch_size": 8,
    "compute_dtype": "float32",
    "random_state": 0,
    "verbose": 0,
}


class Dropped(SceneRegressor):
    """Layers with dropout."""

    def build_layers(self, in_channels, out_channels, scale):
        return nn.Sequential(
            nn.Conv2d(in_channels, 8, 3, padding=1), nn.Dropout(0.5), nn.Conv2d(8, out_channels, 1)
        )


class NoisyLoss(SceneLoss):
    """A loss that draws random numbers."""

    def image_loss(self, sr, hr, clear):
        return (torch.rand(len(sr), 1, 1) * (sr - hr).square()).mean()


def noisy_module():
    return nn.Sequential(nn.Conv2d(3, 9, 3, padding=1), nn.RReLU(), nn.PixelShuffle(3))


NETS = {
    "dropout": lambda: Dropped(**QUICK, train_split=None),
    "attention": lambda: TRMISR(
        n_features=4, n_blocks=1, n_heads=1, depth=1, n_frames=3, **QUICK, train_split=None
    ),
    "adversarial": lambda: quick_srcnn(
        **QUICK, residual=True, augment=True, train_split=0.3, criterion=AdversarialLoss
    ),
    "own": lambda: ModuleNet(
        module=noisy_module, n_frames=3, criterion=NoisyLoss, **QUICK, train_split=None
    ),
    "fusion": lambda: FusionNet(width=2, depth=1, **QUICK, train_split=None),
}


@pytest.fixture(scope="module")
def train():
    return composed(small_scenes(4, n_frames=3))


class TestThreads:
    def test_fits_of_all_kinds_at_once_are_those_of_one_after_the_other(self, train):
        before = torch.get_rng_state(), np.random.get_state()[1].copy()
        alone = {name: weights_of(make().fit(train)) for name, make in NETS.items()}
        with ThreadPoolExecutor(3) as pool:
            together = pool.map(lambda name: weights_of(NETS[name]().fit(train)), NETS)
            same = [torch.equal(x, alone[name]) for name, x in zip(NETS, together, strict=True)]
        assert same == [True] * len(NETS)
        assert torch.equal(torch.get_rng_state(), before[0])
        np.testing.assert_array_equal(np.random.get_state()[1], before[1])


class TestRandomState:
    @pytest.mark.parametrize("name", ["dropout", "own"])
    def test_all_random_numbers_of_a_fit_follow_from_it(self, train, name, tmp_path):
        make = NETS[name]
        torch.manual_seed(1)
        first = weights_of(make().set_params(max_epochs=2).fit(train))
        torch.manual_seed(2)
        make().set_params(resume=tmp_path).fit(train)
        resumed = make().set_params(max_epochs=2, resume=tmp_path).fit(train)
        assert torch.equal(weights_of(resumed), first)
        other = make().set_params(max_epochs=2, random_state=1).fit(train)
        assert not torch.equal(weights_of(other), first)

    def test_none_is_another_seed_every_time_whatever_the_global_generators(self, train):
        weights = []
        for _ in range(2):
            np.random.seed(0)
            torch.manual_seed(0)
            net = NETS["dropout"]().set_params(random_state=None)
            weights.append(weights_of(net.fit(train)))
        assert not torch.equal(*weights)
        np.random.seed(0)
        one = make_scenes(1, size=8, n_frames=2)[0].lr
        np.random.seed(0)
        assert not np.array_equal(one, make_scenes(1, size=8, n_frames=2)[0].lr)

    def test_two_fits_with_as_many_threads_are_equal(self, train):
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        torch.use_deterministic_algorithms(True)
        try:
            assert torch.equal(*(weights_of(NETS["attention"]().fit(train)) for _ in range(2)))
        finally:
            torch.use_deterministic_algorithms(False)
            torch.set_num_threads(before)


class TestDefaultType:
    @pytest.fixture
    def to_double(self):
        yield lambda: torch.set_default_dtype(torch.float64)
        torch.set_default_dtype(torch.float32)

    @pytest.mark.parametrize("name", ["adversarial", "fusion"])
    def test_nets_are_in_single_precision_whatever_it_is(self, train, name, to_double, tmp_path):
        fitted = NETS[name]().fit(train)
        save_model(fitted, tmp_path / "model.safetensors")
        expected = fitted.predict(train)
        to_double()
        np.testing.assert_array_equal(fitted.predict(train), expected)
        loaded = load_model(tmp_path / "model.safetensors")
        np.testing.assert_array_equal(loaded.predict(train), expected)
        assert NETS[name]().fit(train).predict(train).dtype == np.float32
        assert {weight.dtype for weight in loaded.module_.parameters()} == {torch.float32}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_fits_and_predicts_after_its_parent_has(train, tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        NETS["attention"]().fit(train).predict(train)
        # Another thread holds the random numbers of torch while the process forks.
        with ThreadPoolExecutor(1) as pool:
            fit = pool.submit(NETS["dropout"]().fit, train)
            child = multiprocessing.get_context("fork").Process(
                target=_fit_and_save, args=(train, tmp_path)
            )
            child.start()
            child.join(60)
            child.kill()
            fit.result()
    finally:
        torch.set_num_threads(before)
    assert child.exitcode == 0
    expected = weights_of(NETS["attention"]().fit(train))
    assert torch.equal(torch.load(tmp_path / "weights"), expected)


def _fit_and_save(train, folder):
    torch.save(weights_of(NETS["attention"]().fit(train)), folder / "weights")
