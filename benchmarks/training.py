"""A training step of `fit`, against a hand-written loop and between precisions; memory of an epoch.

The time of a step is that between the ends of two consecutive batches, so loading, the step itself
and all callbacks count. Epochs of `fit` alternate with runs of the other side, and the median step
of all rounds counts. The hand-written loop has the same net, optimizer, loss, precision and
channels-last format, and its batches are tensors in memory before the clock starts.

"On disk" is a folder that fits into the package's cache of decoded files, which is filled in the
first epoch, not timed. Memory is the peak of a process with one epoch of SRCNN on patches and its
default validation on whole frames.
"""

from itertools import pairwise
from statistics import median
from time import perf_counter
from typing import NamedTuple

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
    FusionNet,
    HighResNet,
    InputComposer,
    PIUNet,
    load_scenes,
)
from probav_estimators.training import resolve_dtype

from ._measure import Figure, call_in_fresh_process, interleave, peak_mib
from ._scenes import folder_of_scenes, simulated_scenes
from .fusion import scenes_of_24

_DEVICE = "cpu"
_STEPS = 3
_NETWORK_BATCH = 4
_NETWORK_PATCH = 16
_BY_HAND = "the same in a PyTorch loop by hand, batches ready in memory"


class _Load(NamedTuple):
    name: str
    batch_size: int
    patch_size: int | None


_LOADS = (
    _Load("32 patches of 32 LR pixels", batch_size=32, patch_size=32),
    _Load("4 whole frames", batch_size=4, patch_size=None),
)


class _StepClock(Callback):
    """Duration of each training step of the last epoch, including loading and callbacks."""

    def on_epoch_begin(self, net, **kwargs):
        self.seconds_, self.last_ = [], perf_counter()

    def on_batch_end(self, net, training=None, **kwargs):
        if training:
            now = perf_counter()
            self.seconds_.append(now - self.last_)
            self.last_ = now


class _ByFit:
    """Trains a net on each call and returns the seconds of the last epoch's steps.

    Frames are selected and registered, and files decoded, in the first epoch of a fit: nets with
    more than one epoch are timed without that.
    """

    def __init__(self, net, scenes):
        self.scenes, self.clock = scenes, _StepClock()
        options = {"train_split": None, "random_state": 0, "verbose": 0}
        self.net = net.set_params(callbacks=[self.clock], **options).fit(scenes)

    def __call__(self):
        self.net.partial_fit(self.scenes)
        return self.clock.seconds_

    def batches(self):
        dataset, _ = self.net.get_split_datasets(self.scenes)
        return list(self.net.get_iterator(dataset, training=True))


def _loop_by_hand(module, batches, loss_of, lr=1e-3):
    """Function that trains a module on all batches and returns the seconds of the steps."""
    optimizer = torch.optim.NAdam(module.parameters(), lr=lr)

    def train():
        seconds = [perf_counter()]
        for images, target in batches:
            optimizer.zero_grad()
            loss_of(images, target).backward()
            optimizer.step()
            seconds.append(perf_counter())
        return [after - before for before, after in pairwise(seconds)]

    # The first round is slower than the others.
    train()
    return train


def _srcnn(load, compute_dtype, scenes):
    params = {"batch_size": load.batch_size, "patch_size": load.patch_size, "max_epochs": 1}
    net = SRCNN(compute_dtype=compute_dtype, device=_DEVICE, **params)
    return _ByFit(net, make_pipeline(*_composition()).fit_transform(scenes))


def _composition():
    return ClearanceSelector(k=9), InputComposer(mode="concat"), BicubicUpscaler(scale=3)


def _srcnn_by_hand(side, compute_dtype):
    # An untrained net with the layers of the estimator.
    net = side.net
    layers = net.build_layers(net.n_channels_in_, 2, net.scale_).to(
        memory_format=torch.channels_last
    )
    criterion = CPSNRLoss()
    in_bfloat16 = resolve_dtype(compute_dtype, _DEVICE) == torch.bfloat16

    def loss_of(inputs, truth):
        with torch.autocast(_DEVICE, torch.bfloat16, enabled=in_bfloat16):
            features = layers[:-1](inputs)
        # The last layer in float32, as in the estimator's net.
        return criterion(torch.sigmoid(layers[-1](features.float())), truth)

    batches = [
        (images["inputs"].contiguous(memory_format=torch.channels_last), target["truth"])
        for images, target in side.batches()
    ]
    return _loop_by_hand(layers, batches, loss_of)


def _network_by_hand(side):
    module, criterion = side.net.build_module(), CPSNRLoss(border=3)
    if all(weight.ndim < 5 for weight in module.parameters()):
        module = module.to(memory_format=torch.channels_last)

    def loss_of(images, target):
        return criterion(module(**images)[:, :1], target["truth"])

    return _loop_by_hand(module, side.batches(), loss_of)


class _PIUNet(PIUNet):
    """Without the likelihood, as the loop by hand."""

    likelihood_weight = 0.0


_NETWORKS = (HighResNet, MISRGRU, TRMISR, RAMS, _PIUNet)


def benchmark_networks(rounds=4):
    """The published networks against the loop by hand."""
    scenes = _scenes_in_memory(_STEPS * _NETWORK_BATCH)
    params = {"batch_size": _NETWORK_BATCH, "patch_size": _NETWORK_PATCH, "max_epochs": 3}
    for kind in _NETWORKS:
        side = _ByFit(kind(compute_dtype="float32", device=_DEVICE, **params), scenes)
        sides = {"fit": side, "by hand": _network_by_hand(side)}
        yield _overhead(
            f"a training step of `{kind.__name__.lstrip('_')}.fit`, {_NETWORK_BATCH} patches of "
            f"{_NETWORK_PATCH} LR pixels, scenes in memory, float32",
            *_median_steps(interleave(sides, rounds)).values(),
        )


def benchmark_overhead(rounds=4):
    """The estimator against the loop by hand."""
    for load in _LOADS:
        n_scenes = _STEPS * load.batch_size
        in_memory = _scenes_in_memory(n_scenes)
        with folder_of_scenes(n_scenes) as root:
            for compute_dtype in ("auto", "float32"):
                sides = {
                    "in memory": _srcnn(load, compute_dtype, in_memory),
                    "on disk": _srcnn(load, compute_dtype, load_scenes(root)),
                }
                by_hand = _srcnn_by_hand(sides["in memory"], compute_dtype)
                steps = _median_steps(interleave({**sides, "by hand": by_hand}, rounds))
                dtype = str(resolve_dtype(compute_dtype, _DEVICE)).removeprefix("torch.")
                dtype = f"auto ({dtype})" if compute_dtype == "auto" else dtype
                for place in sides:
                    what = f"a training step of `SRCNN.fit`, {load.name}, scenes {place}, {dtype}"
                    yield _overhead(what, steps[place], steps["by hand"])


def _overhead(what, by_fit, by_hand):
    overhead = by_fit / by_hand - 1
    return Figure(
        what,
        _BY_HAND,
        "at most 10 % slower",
        f"{100 * overhead:+.1f} % ({1e3 * by_fit:.0f} ms, {1e3 * by_hand:.0f} ms; medians)",
        overhead <= 0.1,
    )


def benchmark_precision(rounds=4):
    """bfloat16 against float32, both through the estimator, which makes both channels-last."""
    for load in _LOADS:
        scenes = _scenes_in_memory(_STEPS * load.batch_size)
        sides = {dtype: _srcnn(load, dtype, scenes) for dtype in ("bfloat16", "float32")}
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


def benchmark_fusion_net(rounds=4, n_steps=4, batch_size=8, patch_size=48):
    """Gradient steps of FusionNet, against the loop by hand."""
    options = {"max_epochs": 2, "batch_size": batch_size, "patch_size": patch_size}
    net = FusionNet.from_pretrained("simulated-x3", **options)
    side = _ByFit(net, (scenes_of_24() * 2)[: batch_size * n_steps])

    def loss_of(images, target):
        return net.get_loss(net.infer(images), target)

    by_hand = _loop_by_hand(net.module_, side.batches(), loss_of, lr=1e-4)
    steps = _median_steps(interleave({"fit": side, "by hand": by_hand}, rounds))
    ratio = steps["by hand"] / steps["fit"]
    yield Figure(
        f"gradient steps a second of `FusionNet.fit`, {batch_size} patches of {patch_size} LR "
        "pixels, 24 frames",
        "the same in a loop by hand, batches ready in memory",
        "at least 0.9 times as many",
        f"{ratio:.2f} times ({1e3 * steps['fit']:.0f} ms, {1e3 * steps['by hand']:.0f} ms)",
        ratio >= 0.9,
    )


def benchmark_memory(few=100, many=1000, size=128):
    """Peak memory of an epoch on few and on many scenes on disk, each in a process of its own."""
    peaks = {}
    for n_scenes in (few, many):
        with folder_of_scenes(n_scenes, size) as root:
            peaks[n_scenes] = call_in_fresh_process(peak_of_training, str(root))
    growth = peaks[many] / peaks[few] - 1
    yield Figure(
        f"peak memory of an epoch on {many:,} scenes on disk",
        f"on {few:,} scenes",
        "they differ by under 10 %",
        f"{100 * growth:+.1f} % ({peaks[many]:.0f} MiB, {peaks[few]:.0f} MiB)",
        abs(growth) < 0.1,
    )


def peak_of_training(root):
    """Runs in the fresh process."""
    params = {"max_epochs": 1, "batch_size": 32, "patch_size": 32}
    net = SRCNN(device=_DEVICE, random_state=0, verbose=0, **params)
    make_pipeline(*_composition(), net).fit(load_scenes(root))
    return peak_mib()


def _median_steps(rounds_of):
    return {
        name: median(step for steps in rounds for step in steps)
        for name, rounds in rounds_of.items()
    }


def _scenes_in_memory(n_scenes):
    scenes = simulated_scenes()
    return [scenes[number % len(scenes)] for number in range(n_scenes)]
