"""A training step of `fit`, against a hand-written loop and between precisions.

The time of a step is that between the ends of two consecutive batches, so loading, the step itself
and all callbacks count. Epochs of `fit` alternate with runs of the other side, and the median step
of all rounds counts. The hand-written loop has the same net, optimizer, loss, precision and
channels-last format, and its batches are tensors in memory before the clock starts.

"On disk" is a folder that fits into the package's cache of decoded files, which is filled in the
first epoch, not timed.
"""

from dataclasses import dataclass
from statistics import median
from time import perf_counter

import torch
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback

from probav_estimators import (
    MISRGRU,
    RAMS,
    SRCNN,
    TRMISR,
    BicubicUpscaler,
    ClearanceSelector,
    CPSNRLoss,
    HighResNet,
    InputComposer,
    PIUNet,
    load_scenes,
)
from probav_estimators.training import resolve_dtype

from ._measure import Figure, interleave
from ._scenes import folder_of_scenes, simulated_scenes

_DEVICE = "cpu"
_STEPS = 3
_NETWORK_BATCH = 4
_NETWORK_PATCH = 16


@dataclass(frozen=True)
class _Load:
    name: str
    batch_size: int
    patch_size: int | None

    @property
    def n_scenes(self):
        return _STEPS * self.batch_size


_LOADS = (
    _Load("32 patches of 32 LR pixels", batch_size=32, patch_size=32),
    _Load("4 whole frames", batch_size=4, patch_size=None),
)


class _StepClock(Callback):
    """Records the duration of each training step, including loading and callbacks."""

    def on_epoch_begin(self, net, **kwargs):
        self.seconds_ = []
        self.last_ = perf_counter()

    def on_batch_end(self, net, training=None, **kwargs):
        if training:
            now = perf_counter()
            self.seconds_.append(now - self.last_)
            self.last_ = now


class _EstimatorSide:
    """Trains one epoch per call and returns the seconds of its steps; the first is not timed."""

    def __init__(self, load, compute_dtype, scenes):
        self.scenes = _compose(scenes)
        self.clock = _StepClock()
        self.net = SRCNN(
            max_epochs=1,
            batch_size=load.batch_size,
            patch_size=load.patch_size,
            compute_dtype=compute_dtype,
            device=_DEVICE,
            train_split=None,
            callbacks=[self.clock],
            random_state=0,
            verbose=0,
        ).fit(self.scenes)

    def __call__(self):
        self.net.partial_fit(self.scenes)
        return self.clock.seconds_

    def make_batches(self):
        """Batches of one epoch, in the format of the hand-written loop."""
        dataset, _ = self.net.get_split_datasets(self.scenes)
        return [
            (images["inputs"].contiguous(memory_format=torch.channels_last), target["truth"])
            for images, target in self.net.get_iterator(dataset, training=True)
        ]


class _LoopByHand:
    """Trains on all batches per call and returns the seconds of the steps."""

    def __init__(self, estimator_side, compute_dtype):
        self.batches = estimator_side.make_batches()
        # An untrained net with the layers of the estimator.
        net = estimator_side.net
        layers = net.build_layers(net.n_channels_in_, 2, net.scale_)
        self.module = torch.nn.Sequential(layers, torch.nn.Sigmoid())
        self.module.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.NAdam(self.module.parameters(), lr=1e-3)
        self.criterion = CPSNRLoss()
        self.in_bfloat16 = resolve_dtype(compute_dtype, _DEVICE) == torch.bfloat16

    def __call__(self):
        seconds = []
        last = perf_counter()
        for inputs, truth in self.batches:
            self.optimizer.zero_grad()
            loss = self.criterion(self.predict(inputs), truth)
            loss.backward()
            self.optimizer.step()
            now = perf_counter()
            seconds.append(now - last)
            last = now
        return seconds

    def predict(self, inputs):
        layers, sigmoid = self.module
        with torch.autocast(_DEVICE, torch.bfloat16, enabled=self.in_bfloat16):
            features = layers[:-1](inputs)
        # The last layer in float32, as in the estimator's net.
        return sigmoid(layers[-1](features.float()))


class _NetworkSide:
    """As :class:`_EstimatorSide`, for a multi-image network.

    Frames are selected and registered in the first epoch of a fit only: most of the steps are of
    later epochs, as in any training.
    """

    def __init__(self, kind, scenes):
        self.scenes = scenes
        self.clock = _StepClock()
        # Without PIUnet's likelihood, as in the hand-written loop.
        extra = {"uncertainty_weight": 0} if kind is PIUNet else {}
        self.net = kind(
            **extra,
            max_epochs=3,
            batch_size=_NETWORK_BATCH,
            patch_size=_NETWORK_PATCH,
            compute_dtype="float32",
            device=_DEVICE,
            train_split=None,
            callbacks=[self.clock],
            random_state=0,
            verbose=0,
        ).fit(scenes)

    def __call__(self):
        self.net.partial_fit(self.scenes)
        return self.clock.seconds_


class _NetworkByHand:
    """As :class:`_LoopByHand`, for a multi-image network."""

    def __init__(self, side):
        net = side.net
        dataset, _ = net.get_split_datasets(side.scenes)
        self.batches = list(net.get_iterator(dataset, training=True))
        self.module = net.build_module()
        if all(weight.ndim < 5 for weight in self.module.parameters()):
            self.module = self.module.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.NAdam(self.module.parameters(), lr=1e-3)
        self.criterion = CPSNRLoss(border=3)

    def __call__(self):
        seconds = []
        last = perf_counter()
        for images, target in self.batches:
            self.optimizer.zero_grad()
            self.criterion(self.module(**images)[:, :1], target["truth"]).backward()
            self.optimizer.step()
            now = perf_counter()
            seconds.append(now - last)
            last = now
        return seconds


def benchmark_networks(rounds=4):
    """The published networks against the loop by hand."""
    scenes = _scenes_in_memory(_STEPS * _NETWORK_BATCH)
    for kind in (HighResNet, MISRGRU, TRMISR, RAMS, PIUNet):
        side = _NetworkSide(kind, scenes)
        by_hand = _NetworkByHand(side)
        by_hand()
        steps = _median_steps(interleave({"fit": side, "by hand": by_hand}, rounds))
        overhead = steps["fit"] / steps["by hand"] - 1
        yield Figure(
            f"a training step of `{kind.__name__}.fit`, {_NETWORK_BATCH} patches of "
            f"{_NETWORK_PATCH} LR pixels, scenes in memory, float32",
            "the same in a PyTorch loop by hand, batches ready in memory",
            "at most 10 % slower",
            f"{100 * overhead:+.1f} % ({1e3 * steps['fit']:.0f} ms, "
            f"{1e3 * steps['by hand']:.0f} ms; medians)",
            overhead <= 0.1,
        )


def benchmark_overhead(rounds=4):
    """The estimator against the loop by hand."""
    for load in _LOADS:
        in_memory = _scenes_in_memory(load.n_scenes)
        with folder_of_scenes(load.n_scenes) as root:
            for compute_dtype in ("auto", "float32"):
                sides = {
                    "in memory": _EstimatorSide(load, compute_dtype, in_memory),
                    "on disk": _EstimatorSide(load, compute_dtype, load_scenes(root)),
                }
                by_hand = _LoopByHand(sides["in memory"], compute_dtype)
                by_hand()
                steps = _median_steps(interleave({**sides, "by hand": by_hand}, rounds))
                for place in sides:
                    yield _overhead(load, compute_dtype, place, steps)


def benchmark_precision(rounds=4):
    """bfloat16 against float32, both through the estimator, which makes both channels-last."""
    for load in _LOADS:
        scenes = _scenes_in_memory(load.n_scenes)
        sides = {
            compute_dtype: _EstimatorSide(load, compute_dtype, scenes)
            for compute_dtype in ("bfloat16", "float32")
        }
        steps = _median_steps(interleave(sides, rounds))
        ratio = steps["float32"] / steps["bfloat16"]
        yield Figure(
            f"a training step, {load.name}, bfloat16",
            "float32, both through the estimator and channels-last",
            "1.6 times as fast",
            f"{ratio:.2f} times ({steps['bfloat16']:.2f} s, {steps['float32']:.2f} s; median "
            f"of {_STEPS * rounds})",
            ratio >= 1.6,
        )


def _overhead(load, compute_dtype, place, steps):
    overhead = steps[place] / steps["by hand"] - 1
    dtype = str(resolve_dtype(compute_dtype, _DEVICE)).removeprefix("torch.")
    return Figure(
        f"a training step of `SRCNN.fit`, {load.name}, scenes {place}, "
        + (f"auto ({dtype})" if compute_dtype == "auto" else dtype),
        "the same in a PyTorch loop by hand, batches ready in memory",
        "at most 10 % slower",
        f"{100 * overhead:+.1f} % ({1e3 * steps[place]:.0f} ms, {1e3 * steps['by hand']:.0f} ms; "
        "medians)",
        overhead <= 0.1,
    )


def _median_steps(rounds_of):
    return {
        name: median(step for steps in rounds for step in steps)
        for name, rounds in rounds_of.items()
    }


def _scenes_in_memory(n_scenes):
    scenes = simulated_scenes()
    return [scenes[number % len(scenes)] for number in range(n_scenes)]


def _compose(scenes):
    return make_pipeline(
        ClearanceSelector(k=9), InputComposer(mode="concat"), BicubicUpscaler(scale=3)
    ).fit_transform(scenes)
