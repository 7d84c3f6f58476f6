"""Worker processes, which end when the process that started them has ended, however that was."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from pathlib import Path
from statistics import median
from threading import Thread
from time import sleep
from typing import Any, TypeVar

from joblib import cpu_count, effective_n_jobs
from joblib.externals.loky import ProcessPoolExecutor

__all__ = ["end_with_parent", "free_cores", "map_in_processes", "run_in_parallel"]

Task = TypeVar("Task")
Result = TypeVar("Result")

_SECONDS = 0.5

# Samples of the number of running processes, and seconds between them.
_SAMPLES, _INTERVAL = 9, 0.02


def free_cores() -> int:
    """Count the cores that this process may use and other processes leave free now, at least 1.

    Threads of torch wait for each other in every layer: beside busy processes, one thread for each
    free core is several times as fast as one for each core.

    Returns
    -------
    int

    Examples
    --------
    >>> from probav_estimators.processes import free_cores
    >>> n_threads = free_cores()  # for torch.set_num_threads
    """
    return max(1, min(cpu_count(), (os.cpu_count() or 1) - _n_busy()))


def _n_busy():
    """Number of other running threads of the machine; by its load where that is not known."""
    counts = []
    try:
        for _ in range(_SAMPLES):
            sleep(_INTERVAL)
            running, _, _ = Path("/proc/loadavg").read_text().split()[3].partition("/")
            counts.append(int(running) - 1)
    except (OSError, IndexError, ValueError):
        return round(os.getloadavg()[0]) if hasattr(os, "getloadavg") else 0
    return int(median(counts))


def map_in_processes(
    function: Callable[[Task], Result], tasks: Sequence[Task], n_workers: int
) -> Generator[Result]:
    """Yield the results of tasks, in their order, from processes that share the cores.

    The processes end with the iterator, and are killed if it is not used up.

    Parameters
    ----------
    function : callable
        Also a lambda or a function of a script.
    tasks : list
    n_workers : int
        Number of processes, at most one a task.

    Yields
    ------
    object

    Raises
    ------
    ChildProcessError
        If a process was killed.
    """
    n_workers = min(n_workers, len(tasks))
    # A limit that the user has set holds for workers too.
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, cpu_count() // n_workers)))
    executor = ProcessPoolExecutor(
        n_workers, initializer=_begin_worker, env={"OMP_NUM_THREADS": threads}
    )
    futures = deque(executor.submit(function, task) for task in tasks)
    try:
        while futures:
            yield futures.popleft().result()
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a worker process was killed, as systems do when memory runs out: repeat the call with "
            "fewer workers"
        ) from error
    finally:
        executor.shutdown(kill_workers=bool(futures))


def _begin_worker():
    end_with_parent()
    # Ctrl-C in a shell is sent to workers too: their parent ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def run_in_parallel(calls: Iterable[Any], n_jobs: int | None) -> list[Any]:
    """Results of calls by joblib, in processes of its own if there are several.

    Parameters
    ----------
    calls : iterable of joblib.delayed(function)(...)
    n_jobs : int or None
        As of joblib; processes without a call are not started.

    Returns
    -------
    list
    """
    # Not by every worker: scikit-learn is slow to import.
    from sklearn.utils.parallel import Parallel, delayed

    calls = list(calls)
    n_jobs = min(effective_n_jobs(n_jobs), len(calls))
    return Parallel(n_jobs=n_jobs)(delayed(_run)(os.getpid(), call) for call in calls)


def _run(pid, call):
    parent = multiprocessing.parent_process()
    # Not in workers of clusters, nor in a process that the user started.
    if parent is not None and parent.pid == pid:
        end_with_parent()
    function, args, kwargs = call
    return function(*args, **kwargs)


def end_with_parent(*_: Any) -> None:
    """End this process when its parent has ended, if it is a worker process."""
    _watch(os.getpid())


@cache
def _watch(pid):
    """Watch the parent, once a process: a forked one has no threads."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=_wait_for_end, args=[parent], daemon=True).start()


def _wait_for_end(parent):
    if parent.sentinel is not None:
        parent.join()
    else:
        # Processes of loky.
        while os.getppid() == parent.pid:
            sleep(_SECONDS)
    os._exit(1)
