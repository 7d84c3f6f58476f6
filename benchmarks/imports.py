"""Time to import the package and `FusionNet`, against torch alone.

The figure is the least processor time of several new Python processes, minus that of Python itself;
other processes of the machine do not affect it. The net is built on scikit-learn and skorch, so
torch is also imported with both, for comparison.
"""

import resource
import subprocess
import sys

from ._measure import Figure, interleave

_PROGRAMS = {
    "nothing": "pass",
    "package": "import probav_estimators",
    "torch": "import torch",
    "libraries": "import torch, sklearn.base, skorch.callbacks",
    "net": "from probav_estimators import FusionNet",
}


def benchmark(rounds=5):
    sides = {name: lambda program=program: _seconds(program) for name, program in _PROGRAMS.items()}
    least = {name: min(seconds) for name, seconds in interleave(sides, rounds).items()}
    seconds = {name: value - least["nothing"] for name, value in least.items()}
    yield Figure(
        "`import probav_estimators`",
        "-",
        "at most 0.15 s",
        f"{seconds['package']:.3f} s",
        seconds["package"] <= 0.15,
    )
    beyond = seconds["net"] - seconds["torch"]
    yield Figure(
        "`from probav_estimators import FusionNet`",
        f"`import torch`: {seconds['torch']:.2f} s; with sklearn.base and skorch.callbacks: "
        f"{seconds['libraries']:.2f} s",
        "torch and 0.5 s",
        f"{seconds['net']:.2f} s",
        beyond <= 0.5,
    )


def _seconds(program):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
