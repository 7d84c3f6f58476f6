"""The benchmarks run, on little: what they measure is for a quiet machine."""

import pytest

from benchmarks import cpsnr, reading, simulator
from benchmarks._scenes import simulated_scenes

SIZE = 16


@pytest.mark.parametrize(
    ("benchmark", "options"),
    [
        (reading, {"rounds": 1, "n_scenes": 3}),
        (simulator, {"n_scenes": 3}),
    ],
)
def test_figures_are_rows_of_the_table(benchmark, options):
    for figure in benchmark.benchmark(size=SIZE, **options):
        assert str(figure).count("|") == 6
        assert "nan" not in figure.measured


def test_usual_loop_and_exact_value_agree():
    scene = simulated_scenes(SIZE)[0]
    images = scene.hr * 0.9, scene.hr, scene.sm
    assert cpsnr.usual_loop(*images) == pytest.approx(cpsnr.exact_cpsnr(*images), abs=1e-9)
