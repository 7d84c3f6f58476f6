"""Helpers of the benchmarks: one row of the table, alternating runs, memory, fresh processes."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

MIB = 2**20


class Figure(NamedTuple):
    """One row of the table."""

    what: str
    against: str
    goal: str
    measured: str
    met: bool

    def __str__(self):
        met = "yes" if self.met else "**no**"
        return f"| {self.what} | {self.against} | {self.goal} | {self.measured} | {met} |"


TABLE_HEAD = "| what | against | goal | measured | met |\n| --- | --- | --- | --- | --- |"


def seconds_of(function, *arguments):
    """Seconds that one call takes."""
    start = perf_counter()
    function(*arguments)
    return perf_counter() - start


def interleave(sides, rounds):
    """Call the functions in turn (A B A B ...), so that the load of the machine affects all alike.

    Returns the results of each function, one per round.
    """
    results = {name: [] for name in sides}
    for _ in range(rounds):
        for name, function in sides.items():
            results[name].append(function())
    return results


def resident_mib():
    """Memory that this process holds, in MiB."""
    return _memory_mib("VmRSS")


def peak_mib():
    """Peak memory of this process, in MiB."""
    # On Linux, ru_maxrss of a child process starts at the peak of its parent.
    return _memory_mib("VmHWM")


def _memory_mib(field):
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except FileNotFoundError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:"))


_CALL = """
import importlib, json, sys
module, function, arguments = json.loads(sys.argv[1])
print(json.dumps(getattr(importlib.import_module(module), function)(*arguments)))
"""


def call_in_fresh_process(function, *arguments, environment=None):
    """Call a function in a new Python process; arguments and result are passed as JSON."""
    call = json.dumps([function.__module__, function.__name__, arguments])
    finished = subprocess.run(
        [sys.executable, "-c", _CALL, call],
        cwd=Path(__file__).parents[1],
        env=os.environ | (environment or {}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(finished.stdout.splitlines()[-1])
