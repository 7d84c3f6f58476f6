"""Worker processes end with the process that started them, however that ends."""

import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from joblib import cpu_count

from probav_estimators.cli import main
from probav_estimators.processes import free_cores, map_in_processes

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="signals of POSIX"),
    pytest.mark.any_version,
]

ENDS = [
    ("map_in_processes", signal.SIGKILL),
    ("map_in_processes", signal.SIGTERM),
    pytest.param("map_in_processes", signal.SIGINT, marks=pytest.mark.slow),
    pytest.param("run_in_parallel", signal.SIGKILL, marks=pytest.mark.slow),
]

# Workers write their numbers, and work on for a minute.
PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from joblib import delayed
from probav_estimators.processes import map_in_processes, run_in_parallel

signal.signal(signal.SIGINT, signal.default_int_handler)

def work(number):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(60)

{call}
"""

CALLS = {
    "map_in_processes": "list(map_in_processes(work, range(4), 2))",
    # One of three processes would have nothing to do.
    "run_in_parallel": "run_in_parallel([delayed(work)(0), delayed(work)(1)], 3)",
}


def is_running(pid):
    """Whether a process is there and no zombie."""
    status = Path(f"/proc/{pid}/status")
    if Path("/proc").exists():
        return status.exists() and "State:\tZ" not in status.read_text()
    return subprocess.run(["ps", "-p", str(pid)], capture_output=True).returncode == 0


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def identify(number):
    return number, os.getpid()


class TestWorkers:
    @pytest.mark.parametrize(("call", "moment"), ENDS)
    def test_end_when_a_signal_ends_their_parent(self, tmp_path, call, moment):
        program = PROGRAM.format(call=CALLS[call])
        parent = subprocess.Popen(
            [sys.executable, "-c", program, tmp_path], stderr=subprocess.DEVNULL
        )
        wait_until(lambda: len(os.listdir(tmp_path)) == 2 or parent.poll() is not None)
        workers = [int(name) for name in os.listdir(tmp_path)]
        assert len(workers) == 2 and all(map(is_running, workers))
        parent.send_signal(moment)
        parent.wait(60)
        wait_until(lambda: not any(map(is_running, workers)))

    def test_end_with_the_call_and_give_results_in_order(self):
        tasks = list(np.arange(5))
        numbers, workers = zip(*map_in_processes(identify, tasks, 2), strict=True)
        assert list(numbers) == tasks
        assert os.getpid() not in workers
        # Kept ones would work in the folder of an earlier call.
        wait_until(lambda: not any(map(is_running, workers)))

    def test_end_when_a_task_fails(self, tmp_path):
        def fail(number):
            (tmp_path / str(os.getpid())).touch()
            if number == 0:
                raise OSError(f"task {number}")
            time.sleep(60)

        with pytest.raises(OSError, match="task 0"):
            list(map_in_processes(fail, range(2), 2))
        wait_until(lambda: not any(is_running(name) for name in os.listdir(tmp_path)))

    def test_that_is_killed_is_told_with_the_remedy(self):
        def end(number):
            os.kill(os.getpid(), signal.SIGKILL)

        with pytest.raises(ChildProcessError, match="fewer workers"):
            list(map_in_processes(end, range(2), 2))


@pytest.fixture
def handlers():
    """Signals that end a process, whose handlers are restored."""
    numbers = [signal.SIGTERM, signal.SIGHUP]
    before = [signal.getsignal(number) for number in numbers]
    yield numbers
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


class TestCommandLine:
    def run(self):
        with pytest.raises(SystemExit):
            main(["--version"])

    def test_takes_signals_that_end_it_for_ctrl_c(self, handlers):
        self.run()
        for number in handlers:
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
            # A second one ends it at once.
            assert signal.getsignal(number) is signal.SIG_DFL

    def test_ignores_signals_that_the_shell_ignores(self, handlers):
        for number in handlers:
            signal.signal(number, signal.SIG_IGN)
        self.run()
        assert [signal.getsignal(number) for number in handlers] == [signal.SIG_IGN] * 2

    def test_alone_handles_signals(self, handlers):
        import_module("probav_estimators.geo")
        assert [signal.getsignal(number) for number in handlers] == [signal.SIG_DFL] * 2


def test_a_core_is_free_beside_busy_processes_and_none_more():
    loop = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(loop) for _ in range(os.cpu_count() + 1)]
    try:
        time.sleep(0.5)
        assert free_cores() == 1
    finally:
        for process in busy:
            process.kill()
            process.wait()


def test_free_cores_are_among_those_of_this_process(monkeypatch):
    assert 1 <= free_cores() <= os.cpu_count()
    # Without the number of running processes, the load counts.
    monkeypatch.setattr(Path, "read_text", lambda path: "")
    monkeypatch.setattr(os, "getloadavg", lambda: (0.2, 9.0, 9.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert free_cores() == cpu_count()
    monkeypatch.setattr(os, "getloadavg", lambda: (63.4, 0.0, 0.0))
    assert free_cores() == 1
