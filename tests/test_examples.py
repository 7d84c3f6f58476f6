"""Examples run as programs, or in the gallery, and show the results that they announce."""

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
from test_site import BUILT, UP_TO_DATE, built

EXAMPLES = Path(__file__).parents[1] / "examples"

# Results that each example prints: pattern, number of matches, and possible range.
SCORE = (0.5, 1.5)
OUTCOMES = {
    "plot_first_pipeline": (r"^(?:baseline|FusionNet|SRCNN) +[\d.]+ +([\d.]+)", 3, SCORE),
    "plot_fusion": (r"^ *\d+ frames: ([\d.]+)$", 6, SCORE),
    "plot_networks": (r"^ *\w+(?:, \w+)? +([\d.]+) +[\d,]+ ", 6, SCORE),
    "plot_search": (r"^ *(?:stack|single) +\w+ +([\d.]+)", 6, SCORE),
    "plot_published_table": (r"^ *(?:SRCNN|FSRCNN|SRVGG16)\w* .*? [\d.]+ +([\d.]+)", 12, SCORE),
    # Error of FusionNet at left-out dates, relative to the error of the mean.
    "plot_sentinel2": (r"^left out B\d .* ([\d.]+)$", 4, (0.3, 0.95)),
}


def test_every_example_is_run():
    assert {path.stem for path in EXAMPLES.glob("plot_*.py")} == OUTCOMES.keys()


@pytest.mark.slow
@pytest.mark.skipif(UP_TO_DATE, reason="make docs has run it")
@pytest.mark.parametrize("name", OUTCOMES)
def test_example_runs_and_shows_its_outcome(name, tmp_path):
    finished = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", "--quick"],
        cwd=tmp_path,
        # Few small scenes take less time than a process that makes some of them.
        env=os.environ | {"MPLBACKEND": "agg", "OMP_NUM_THREADS": "1", "LOKY_MAX_CPU_COUNT": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert finished.returncode == 0, finished.stderr
    check_outcome(name, finished.stdout)
    figure = tmp_path / re.findall(r"^figure: (.+)$", finished.stdout, re.MULTILINE)[-1]
    assert figure.read_bytes().startswith(b"\x89PNG")


@built
@pytest.mark.parametrize("name", OUTCOMES)
def test_gallery_shows_the_figure_and_the_outcome_of_an_example(name):
    page = (BUILT / "auto_examples" / f"{name}.html").read_text()
    assert f"_images/sphx_glr_{name}_001.png" in page
    assert "Traceback" not in page
    outputs = re.findall(r'class="sphx-glr-script-out.*?<pre>(.*?)</pre>', page, re.DOTALL)
    check_outcome(name, unescape(re.sub("<[^>]+>", "", "".join(outputs))))


def check_outcome(name, printed):
    pattern, least_rows, (low, high) = OUTCOMES[name]
    values = [float(value) for value in re.findall(pattern, printed, re.MULTILINE)]
    assert len(values) >= least_rows, printed
    assert all(low < value < high for value in values), printed
