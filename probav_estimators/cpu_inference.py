"""Compiled functions for predictions on CPUs: where they can be used, and their threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch

__all__ = ["can_compute", "divide_work"]


def can_compute(tensor: torch.Tensor) -> bool:
    """Whether a compiled function may compute from a tensor: no gradient or trace is recorded."""
    return (
        not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined]
        and type(tensor) is torch.Tensor
        and tensor.device.type == "cpu"
        and tensor.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
    )


def divide_work(function: Callable[[int, int], None], n_items: int, least: int) -> None:
    """Call a function for parts of a number of items, in as many threads as torch uses.

    Parameters
    ----------
    function : callable
        Takes the first and the last item of a part, plus one. It releases the GIL.
    n_items : int
    least : int
        Least number of items of a part.
    """
    n_threads = torch.get_num_threads()
    # More than threads, because some cores may be busy.
    n_parts = 1 if n_threads == 1 else max(1, min(4 * n_threads, n_items // least))
    ends = [n_items * part // n_parts for part in range(n_parts + 1)]
    run = map if n_parts == 1 else _threads(n_threads, os.getpid()).map
    list(run(function, ends[:-1], ends[1:]))


@cache
def _threads(n_threads, pid):
    """Threads of a process: a forked one has none of its parent's."""
    return ThreadPoolExecutor(n_threads)
