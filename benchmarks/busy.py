"""FusionNet beside busy processes, with a thread for each core and for each free one."""

import subprocess
import sys
from contextlib import contextmanager
from time import perf_counter

import torch

from probav_estimators import FusionNet, make_scenes
from probav_estimators.processes import free_cores

from ._measure import Figure, call_in_fresh_process, interleave

_LOOP = [sys.executable, "-c", "while True: pass"]


def benchmark(n_busy=4, n_frames=12, rounds=3):
    """One scene, the least time of each number of threads."""
    with busy_processes(n_busy):
        sides = {
            kind: lambda kind=kind: call_in_fresh_process(seconds_of_a_scene, kind, n_frames)
            for kind in ("every", "free")
        }
        every, free = (min(found) for found in interleave(sides, rounds).values())
    yield Figure(
        f"`FusionNet.predict`, one scene of {n_frames} frames of 128x128 beside {n_busy} busy "
        "processes, a thread for each free core (`processes.free_cores`)",
        "a thread for each core",
        "no more time",
        f"{free / every:.2f} times ({free:.1f} and {every:.1f} s)",
        free <= every,
    )


def seconds_of_a_scene(kind, n_frames):
    """Seconds of a prediction with a thread for "every" core, or for each "free" one."""
    if kind == "free":
        torch.set_num_threads(min(torch.get_num_threads(), free_cores()))
    (scene,) = make_scenes(1, n_frames=n_frames, random_state=0)
    net = FusionNet.from_pretrained("simulated-x3", verbose=0)
    net.predict([scene])
    start = perf_counter()
    net.predict([scene])
    return perf_counter() - start


@contextmanager
def busy_processes(n):
    """Processes that compute until the block ends."""
    processes = [subprocess.Popen(_LOOP) for _ in range(n)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
