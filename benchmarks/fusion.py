"""FusionNet with the weights that ship: quality, uncertainty, speed, memory.

Scenes are simulated with seeds that the pretraining does not use. If PROBAV_SAMPLES is the folder
of sample data, its scenes with real texture are scored too.
"""

import os
import subprocess
import sys
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch
from skimage.registration import phase_cross_correlation

from probav_estimators import FusionNet, load_scenes, make_scenes
from probav_estimators.architectures import _fusion_layers as fusion_layers
from probav_estimators.architectures._data_consistency import (
    DataConsistency,
    LinearEstimate,
)
from probav_estimators.architectures._deviation_model import DeviationModel
from probav_estimators.architectures._winograd import Conv3x3
from probav_estimators.imaging import register_frames
from probav_estimators.processes import free_cores
from probav_estimators.training import resolve_dtype

from ._measure import Figure, call_in_fresh_process, interleave, peak_mib, resident_mib
from ._scores import describe_coverage, mean_score

_WEIGHTS = "simulated-x3"

# Settings of torch's and Numba's compiled code for a CPU without AVX-512.
_AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+avx,+avx2,+bmi,+bmi2,+f16c,+fma,+lzcnt,+movbe,+popcnt,+sse4.2",
}


# Registration


def benchmark_registration(n_scenes=20):
    """Errors of estimated shifts of simulated frames, and time per frame."""
    scenes = make_scenes(n_scenes, random_state=11, n_jobs=-1)
    stacks = [(scene.lr, scene.qm, scene.true_shifts) for scene in scenes]
    sides = {
        "here": _register,
        "phase correlation": _phase_correlation,
        "with masks": _masked_phase_correlation,
    }
    _register(*stacks[0][:2])
    errors, seconds = {name: [] for name in sides}, {name: [] for name in sides}
    for lr, qm, true_shifts in stacks:
        for name, register in sides.items():
            start = perf_counter()
            shifts = register(lr, qm)
            seconds[name].append((perf_counter() - start) / len(lr))
            # Relative to the mean, so that a wrong shift of the reference counts once.
            error = shifts - true_shifts
            errors[name].append(np.hypot(*(error - np.median(error, axis=0)).T))
    errors = {name: np.concatenate(values) for name, values in errors.items()}
    milliseconds = {name: 1e3 * median(values) for name, values in seconds.items()}
    found = {
        name: f"{np.median(error):.3f}, {np.quantile(error, 0.95):.3f} pixels, "
        f"{milliseconds[name]:.1f} ms"
        for name, error in errors.items()
    }
    within = np.median(errors["here"]) <= 0.05 and np.quantile(errors["here"], 0.95) <= 0.2
    yield Figure(
        f"`FrameRegistrar`, {len(errors['here'])} frames: error, median and 95 %, time a frame",
        f"`phase_cross_correlation` to 1/20 pixel {found['phase correlation']}; with both masks "
        f"{found['with masks']}",
        "0.05, 0.2 LR pixels, 10 ms",
        found["here"],
        within and milliseconds["here"] < 10,
    )


def _register(lr, qm):
    return register_frames(lr, qm).shifts


def _phase_correlation(lr, qm):
    reference = lr[qm.sum(axis=(1, 2)).argmax()]
    options = {"upsample_factor": 20}
    return np.array([-phase_cross_correlation(reference, frame, **options)[0] for frame in lr])


def _masked_phase_correlation(lr, qm):
    clearest = qm.sum(axis=(1, 2)).argmax()
    return np.array(
        [
            -phase_cross_correlation(
                lr[clearest], frame, reference_mask=qm[clearest], moving_mask=clear
            )[0]
            for frame, clear in zip(lr, qm, strict=True)
        ]
    )


# Quality


def benchmark_quality():
    """Challenge scores of the weights that ship."""
    net = FusionNet.from_pretrained(_WEIGHTS)
    folder = os.environ.get("PROBAV_SAMPLES")
    if folder:
        scenes = load_scenes(Path(folder, "real_texture"))
        yield _quality(net, scenes, f"the {len(scenes)} scenes with real texture", 0.915)
    scenes = make_scenes(40, size=128, random_state=0, n_jobs=-1)
    yield _quality(net, scenes, "`make_scenes(40, size=128, random_state=0)`", 0.90)
    for n_augment in (8, 16):
        ensemble = FusionNet.from_pretrained(_WEIGHTS, n_augment=n_augment)
        plain, averaged = (
            mean_score(each.predict(scenes[:10]), scenes[:10]) for each in (net, ensemble)
        )
        yield Figure(
            f"`n_augment={n_augment}`, 10 of these scenes",
            f"off: {plain:.4f}",
            "better",
            f"{averaged:.4f}",
            averaged < plain,
        )


def _quality(net, scenes, name, goal):
    score = mean_score(net.predict(scenes), scenes)
    return Figure(
        f"mean N / cPSNR, {name}", "baseline 1.0", f"{goal}", f"{score:.4f}", score <= goal
    )


@lru_cache(maxsize=1)
def scenes_of_24(n_scenes=16):
    return make_scenes(n_scenes, n_frames=24, random_state=12, n_jobs=-1)


# Uncertainty


def benchmark_uncertainty():
    """Coverage of one and two standard deviations."""
    net = FusionNet.from_pretrained(_WEIGHTS)
    scenes = make_scenes(16, random_state=13, n_jobs=-1)
    images, deviations = net.predict(scenes, return_std=True)
    covered, is_calibrated = describe_coverage(images, deviations, scenes, least_of_two=0.92)
    yield Figure(
        "errors within one and two standard deviations, 16 simulated scenes",
        "a Gaussian: 68.3 %, 95.4 %",
        "60 to 76 %, 92 to 98 %",
        covered,
        is_calibrated,
    )


# Cost


def benchmark_cost(rounds=5):
    """Seconds and memory for one scene of 24 frames."""
    net = FusionNet.from_pretrained(_WEIGHTS)
    scenes = [[scene] for scene in scenes_of_24()[: rounds + 1]]
    net.predict(scenes[0])
    seconds = []
    for scene in scenes[1:]:
        start = perf_counter()
        net.predict(scene)
        seconds.append(perf_counter() - start)
    yield Figure(
        "`FusionNet.predict`, one scene of 24 frames of 128x128",
        "",
        "at most 0.5 s",
        f"{median(seconds):.2f} s (median of {rounds})",
        median(seconds) <= 0.5,
    )
    before, peak = call_in_fresh_process(memory_of_prediction)
    yield Figure(
        "memory for that, in a fresh process",
        f"{before:.0f} MiB once everything is imported",
        "under 1024 MiB more",
        f"{peak - before:.0f} MiB more",
        peak - before < 1024,
    )

    with_layer, without = seconds_with_and_without_layer(scenes[0], rounds)
    yield Figure(
        "the same in float32 on one core, processor time",
        f"without the data-consistency layer and its deviations, {without:.2f} s",
        "at most 1.15 times",
        f"{with_layer / without:.2f} times, {with_layer:.2f} s (least of {rounds})",
        with_layer <= 1.15 * without,
    )


def seconds_with_and_without_layer(scenes, rounds):
    """Least processor time of a prediction with the data-consistency layer, and without."""
    net = FusionNet.from_pretrained(_WEIGHTS, compute_dtype="float32", device="cpu", verbose=0)

    def predict():
        start = process_time()
        net.predict(scenes)
        return process_time() - start

    def predict_without():
        with (
            mock.patch.object(DataConsistency, "match_variance", return_value=torch.zeros(1)),
            mock.patch.object(DataConsistency, "posterior", _no_posterior),
            mock.patch.object(DeviationModel, "forward", lambda _, prior, *__: prior.deviation),
            mock.patch.object(fusion_layers, "linear_estimate", _no_estimate),
            mock.patch.object(fusion_layers, "_upscaled_mean", return_value=None),
        ):
            return predict()

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    sides = {"with": predict, "without": predict_without}
    results = interleave(sides, rounds + 1)
    torch.set_num_threads(n_threads)
    return [min(results[name][1:]) for name in sides]


def _no_posterior(_, image, deviation, *__):
    return SimpleNamespace(mean=image, deviation=deviation)


def _no_estimate(mean, *_):
    nothing = torch.zeros_like(mean[:, :1])
    return LinearEstimate(mean, nothing, nothing)


def memory_of_prediction():
    """Memory of a process before it predicts a scene, and its peak, in MiB."""
    (scene,) = make_scenes(1, n_frames=24, random_state=0)
    net = FusionNet.from_pretrained(_WEIGHTS)
    before = resident_mib()
    net.predict([scene])
    return before, peak_mib()


def benchmark_layers(n_frames=24, rounds=5):
    """Processor time of the learned layers, with torch's convolutions and Winograd's algorithm."""
    environments = {"AVX2": _AVX2 | {"OMP_NUM_THREADS": "1"}}
    if torch.backends.cpu.get_cpu_capability() == "AVX512":
        environments["AVX-512"] = {"OMP_NUM_THREADS": "1"}
    for name, environment in environments.items():
        seconds, difference = call_in_fresh_process(
            seconds_of_layers,
            name == "AVX-512" and resolve_dtype("auto", "cpu") == torch.bfloat16,
            n_frames,
            rounds,
            environment=environment,
        )
        plain, fast = seconds["plain"], seconds["fast"]
        against = f"convolutions of torch, {plain:.3f} s"
        if "bfloat16" in seconds:
            against += f"; in bfloat16 {seconds['bfloat16']:.3f} s"
        yield Figure(
            f"learned layers of FusionNet, {n_frames} frames of 128x128, one core with {name}, "
            "float32, processor time",
            against,
            "at most 0.55 of the time",
            f"{fast / plain:.2f} times, {fast:.3f} s; images differ by at most {difference:.1e} of "
            "the standard deviation of the frames",
            fast <= 0.55 * plain,
        )


def seconds_of_layers(in_bfloat16, n_frames, rounds):
    """Least processor time of each kind of layers, and the greatest difference of images."""
    (scene,) = make_scenes(1, n_frames=n_frames, random_state=0)
    seconds = []

    def begin(*_):
        seconds.append(-process_time())

    def end(*_):
        seconds[-1] += process_time()

    def run(kind):
        dtype = kind if kind == "bfloat16" else "float32"
        net = FusionNet.from_pretrained(_WEIGHTS, compute_dtype=dtype, device="cpu", verbose=0)
        for stage in net.module_.stages:
            stage.register_forward_pre_hook(begin)
            stage.register_forward_hook(end)
        seconds.clear()
        if kind != "plain":
            return net.predict([scene]), sum(seconds)
        with mock.patch.object(Conv3x3, "_is_fast", return_value=False):
            return net.predict([scene]), sum(seconds)

    kinds = ["plain", "fast", *["bfloat16"] * in_bfloat16]
    sides = {kind: lambda kind=kind: run(kind) for kind in kinds}
    results = interleave(sides, rounds + 1)
    images = {kind: runs[0][0] for kind, runs in results.items()}
    difference = np.abs(images["fast"] - images["plain"]).max() / scene.lr.std()
    least = {kind: min(time for _, time in runs[1:]) for kind, runs in results.items()}
    return least, float(difference)


def benchmark_busy(n_busy=4, n_frames=12, rounds=3, size=128):
    """One scene beside busy processes: the least time with a thread for each core or free one."""
    with busy_processes(n_busy):
        sides = {
            kind: lambda kind=kind: call_in_fresh_process(seconds_of_a_scene, kind, n_frames, size)
            for kind in ("every", "free")
        }
        every, free = (min(found) for found in interleave(sides, rounds).values())
    yield Figure(
        f"`FusionNet.predict`, one scene of {n_frames} frames of {size}x{size} beside {n_busy} "
        "busy processes, a thread for each free core (`processes.free_cores`)",
        "a thread for each core",
        "no more time",
        f"{free / every:.2f} times ({free:.1f} and {every:.1f} s)",
        free <= every,
    )


def seconds_of_a_scene(kind, n_frames, size):
    """Seconds of a prediction with a thread for "every" core, or for each "free" one."""
    if kind == "free":
        torch.set_num_threads(min(torch.get_num_threads(), free_cores()))
    (scene,) = make_scenes(1, size=size, n_frames=n_frames, random_state=0)
    net = FusionNet.from_pretrained(_WEIGHTS, verbose=0)
    net.predict([scene])
    start = perf_counter()
    net.predict([scene])
    return perf_counter() - start


@contextmanager
def busy_processes(n):
    """Processes that compute until the block ends."""
    loop = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(loop) for _ in range(n)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
