"""Benchmarks on few and small scenes: they run, and their numbers are possible.

Neither times nor goals are asserted, as they need a quiet machine. Numbers that don't depend on
the clock must be close to their goals.
"""

import json
import re
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import dask
import distributed
import numpy as np
import pytest
import torch
from distributed import LocalCluster
from skimage import io

from benchmarks import (
    __main__,
    _land,
    _scenes,
    cpsnr,
    files_entered,
    fine_tuning,
    folders,
    fusion,
    imagery,
    imports,
    invariances,
    land,
    realism,
    robustness,
    scales,
    search,
    simulator,
    training,
)
from benchmarks._measure import Figure, interleave
from probav_estimators import make_scenes

SIZE = 16

RATIO = (0.001, 1000)
SECONDS = (0, 300)
MIB = (1, 20_000)
SCORE = (0.7, 1.3)
DB = (30, 70)
PERCENT = (0, 100)
PIXELS = (-0.5, 0.5)


def small(module, name, monkeypatch, **options):
    """Make `module` use fewer and smaller scenes."""

    @lru_cache
    def make(n_scenes=2, **asked):
        return make_scenes(min(n_scenes, 2), **asked | options)

    monkeypatch.setattr(module, name, make)


@lru_cache
def few_scenes(size=128):
    """Shared scenes, small unless a size is asked for."""
    return make_scenes(4, size=SIZE if size == 128 else size, random_state=0)


@pytest.fixture
def little(monkeypatch):
    """Reduce the sizes that benchmarks take from constants, and make scenes in this process."""
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    small(fusion, "make_scenes", monkeypatch, size=SIZE, n_frames=5)
    small(robustness, "make_scenes", monkeypatch, n_frames=9)
    small(scales, "make_scenes", monkeypatch, n_frames=9)
    small(fine_tuning, "make_scenes", monkeypatch, size=24, n_frames=4)
    patch = monkeypatch.setattr
    for module in (_scenes, training):
        patch(module, "simulated_scenes", few_scenes)
    # `listing` starts the one process of its own.
    for module in (cpsnr, fusion, imagery, training):
        patch(module, "call_in_fresh_process", timed_in_this_process)
    for module in (distributed, search):
        patch(module, "LocalCluster", cluster_in_this_process)
    patch(fine_tuning, "_TRAINING", fine_tuning._TRAINING | {"patch_size": 16})
    patch(fine_tuning, "_scenes_of_sensor", scenes_of_sensor)
    for name in ("torch", "libraries"):
        monkeypatch.setitem(imports._PROGRAMS, name, "pass")
    patch(invariances, "_SIZE", 24)
    patch(invariances, "_MARGIN", 4)
    patch(_land, "SCENE_SIZE", 16)
    # Other sensors and networks are measured as these.
    some = ("PSF of 0.8", "PSF of 0.8, stripes")
    patch(robustness, "_SENSORS", {name: robustness._SENSORS[name] for name in some})
    patch(robustness, "_PRESETS", ("any",))
    patch(scales, "_SENSORS", ("plain", "any"))
    patch(training, "_NETWORKS", training._NETWORKS[::4])
    patch(training, "_STEPS", 1)
    patch(training, "_NETWORK_BATCH", 2)
    patch(training, "_NETWORK_PATCH", 8)
    loads = (training._Load("2 patches", 2, 8), training._Load("2 whole frames", 2, None))
    patch(training, "_LOADS", loads)
    patch(search, "_LEARNING_RATES", (1e-3,))
    fusion.scenes_of_24.cache_clear()
    yield
    fusion.scenes_of_24.cache_clear()


def timed_in_this_process(function, *arguments, environment=None):
    """Call a function here: a process of its own takes seconds to import torch."""
    n_threads = torch.get_num_threads()
    try:
        # Ends with the block, though a benchmark sets it for good.
        with dask.config.set({"distributed.worker.daemon": False}):
            return function(*json.loads(json.dumps(arguments)))
    finally:
        torch.set_num_threads(n_threads)


def cluster_in_this_process(**options):
    """A Dask cluster whose workers are threads; test_dask.py has one of processes."""
    return LocalCluster(**options | {"processes": False, "protocol": "tcp"})


def scenes_of_sensor(n_scenes, psf_sigma):
    return make_scenes(n_scenes, size=32, n_frames=5, random_state=3)


def of_drawn_land(benchmark=land.benchmark, **options):
    """A benchmark of land, on drawn land in place of real one."""
    with TemporaryDirectory() as folder:
        for number, scene in enumerate(make_scenes(3, size=24, n_frames=1, random_state=0)):
            values = np.uint16(scene.hr * 65535)
            io.imsave(Path(folder, f"PLACE{number}_RED.png"), values, check_contrast=False)
        yield from benchmark(folder=Path(folder), **options)


# Lowest and highest possible value of each number, by row; a single row applies to all.
CASES = {
    "cpsnr": (
        lambda: cpsnr.benchmark(size=SIZE, rounds=1, n_scenes=2),
        [[RATIO, SECONDS], [RATIO, SECONDS], [(0, 1e-4)]],
    ),
    "training": (lambda: training.benchmark_overhead(rounds=1), [[(-99, 1e4), (0, 1e5), (0, 1e5)]]),
    "networks": (lambda: training.benchmark_networks(rounds=1), [[(-99, 1e4), (0, 1e5), (0, 1e5)]]),
    "precision": (lambda: training.benchmark_precision(rounds=1), [[RATIO, SECONDS, SECONDS]]),
    "reading": (
        lambda: folders.benchmark_reading(rounds=1, n_scenes=3, size=SIZE),
        [[RATIO, SECONDS, SECONDS]],
    ),
    "listing": (
        lambda: folders.benchmark_listing(n_scenes=4, size=SIZE),
        [[(-1, 1000), MIB, MIB, SECONDS]],
    ),
    "imports": (
        lambda: imports.benchmark(rounds=1),
        [[(-1, 5)], [SECONDS]],
    ),
    "entered": (files_entered.benchmark, [[(10, 80)]]),
    "memory": (
        lambda: training.benchmark_memory(few=4, many=6, size=2 * SIZE),
        [[(-60, 60), MIB, MIB]],
    ),
    "simulator": (
        lambda: simulator.benchmark(n_scenes=3, size=SIZE),
        [[SECONDS], [DB, (0, 15), (5, 5), DB, (95, 95), DB]],
    ),
    "search": (
        lambda: search.benchmark(rounds=1, n_scenes=4, size=2 * SIZE, max_epochs=1),
        [[RATIO, SECONDS, SECONDS, SECONDS]],
    ),
    "registration": (
        lambda: fusion.benchmark_registration(n_scenes=2),
        [[(0, 0.5), (0, 1.5), (0, 1e4)]],
    ),
    "busy": (
        lambda: fusion.benchmark_busy(n_busy=1, n_frames=2, rounds=1, size=32),
        [[RATIO, SECONDS, SECONDS]],
    ),
    "fusion": (fusion.benchmark_quality, [[SCORE]]),
    "robustness": (
        lambda: robustness.benchmark(n_scenes=1, size=24, n_epochs=1),
        [[SCORE, PERCENT, PERCENT]],
    ),
    "scales": (
        lambda: scales.benchmark(minutes=0.01, n_scenes=2, n_training=2, size=24),
        [[SCORE], *[[SCORE, PERCENT, PERCENT, PIXELS, PIXELS]] * 2] * 2,
    ),
    "displacement": (
        lambda: scales.benchmark_displacement(n_scenes=1, size=48),
        [[(-0.1, 0.1), (-0.1, 0.1)]],
    ),
    "invariances": (
        lambda: invariances.benchmark(n_scenes=1),
        [[(0, 3), (0, 0.2)]],
    ),
    "land": (
        lambda: of_drawn_land(n_scenes=4),
        [*[[SCORE, (0, 40)]] * 3, *[[(-5, 30)]] * 4, [(0, 0.5), (-1, 1)]],
    ),
    "land_networks": (
        lambda: of_drawn_land(land.benchmark_networks, n_scenes=3, n_epochs=1),
        [[SCORE, PERCENT, PERCENT]],
    ),
    "realism": (
        lambda: realism.benchmark(n_scenes=2, size=24),
        [[SCORE, *[(0, 4)] * 4, *[(-1, 1)] * 4]],
    ),
    "clearance": (
        lambda: simulator.benchmark_clearance(n_scenes=3, size=SIZE),
        2
        * [
            [(9, 35)],
            [(9, 35), (9, 35)],
            [(60, 100)],
            [PERCENT] * 3,
            [(0, 40)] * 3,
            [PERCENT],
            [(60, 100)] * 3,
            [PERCENT] * 5,
        ],
    ),
    "uncertainty": (fusion.benchmark_uncertainty, [[(40, 95), (70, 100)]]),
    "cost": (
        lambda: fusion.benchmark_cost(rounds=1),
        [[SECONDS], [(0, 2000)], [RATIO, SECONDS]],
    ),
    "layers": (
        lambda: fusion.benchmark_layers(n_frames=2, rounds=1),
        [[RATIO, SECONDS, (0, 1e-4)]],
    ),
    "steps": (
        lambda: training.benchmark_fusion_net(rounds=1, n_steps=1, batch_size=2, patch_size=SIZE),
        [[RATIO, (0, 1e5), (0, 1e5)]],
    ),
    "files": (lambda: imagery.benchmark_memory(n_frames=3, size=64, n_blocks=1), [[MIB]]),
    "blocks": (
        lambda: imagery.benchmark_throughput(n_frames=3, size=64, tile=32, rounds=1),
        [[RATIO, (0, 1e6), (0, 1e6)]],
    ),
    "workers": (
        lambda: imagery.benchmark_workers(n_frames=3, size=64),
        [[RATIO, SECONDS, SECONDS]],
    ),
    "cluster": (
        lambda: imagery.benchmark_cluster(n_frames=3, size=64, tile_size=32),
        [[RATIO, SECONDS, SECONDS]],
    ),
    "tile": (lambda: imagery.benchmark_tile(n_frames=3, size=64, side=128), [[(0, 1000)]]),
    "reprojection": (
        lambda: fine_tuning.benchmark_reprojection(n_train=2, n_test=1, epochs=1),
        [[SCORE, (0, 4)]],
    ),
    "adversarial": (
        lambda: fine_tuning.benchmark_adversarial(n_train=1, n_test=1, epochs=1),
        [[SCORE, DB, (0.05, 2)]],
    ),
}


def test_every_benchmark_is_run():
    assert CASES.keys() == __main__.BENCHMARKS.keys()


@pytest.mark.slow
@pytest.mark.no_cover  # Tracing takes half as long again, and covers nothing more.
@pytest.mark.usefixtures("little")
@pytest.mark.parametrize("name", CASES)
def test_benchmark_measures_what_is_possible(name, monkeypatch):
    monkeypatch.delenv("PROBAV_SAMPLES", raising=False)
    run, bounds = CASES[name]
    figures = list(run())
    assert figures
    for number, figure in enumerate(figures):
        limits = bounds[number] if len(bounds) > 1 else bounds[0]
        measured = re.sub(
            r"(best of|median of|medians of|mean of|in \d+ of) \d+", "", figure.measured
        )
        values = [float(value) for value in NUMBER.findall(measured)]
        assert len(values) >= len(limits), figure.measured
        for value, (low, high) in zip(values, limits, strict=False):
            assert low <= value <= high, figure.measured


NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def test_figure_is_a_row_of_the_table():
    row = str(Figure("what", "against", "goal", "1.2 s", met=False))
    assert row == "| what | against | goal | 1.2 s | **no** |"


def test_sides_take_turns():
    calls = []
    sides = {name: lambda name=name: calls.append(name) or len(calls) for name in "ab"}
    assert interleave(sides, 2) == {"a": [1, 3], "b": [2, 4]}
    assert calls == ["a", "b", "a", "b"]


def test_exponent_of_a_power_law_is_found():
    spectrum = np.fft.rfft2(np.random.default_rng(0).standard_normal((512, 512)))
    frequency = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.rfftfreq(512))
    field = np.fft.irfft2(spectrum * np.maximum(frequency, 1e-3) ** (-2.5 / 2))
    assert realism.power_exponent(field, (0.04, 0.08), (0.2, 0.3)) == pytest.approx(-2.5, abs=0.1)


def test_a_folder_without_published_weights_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="MISR-GRU") as error:
        realism.find_published(tmp_path)
    assert str(tmp_path) in str(error.value)
