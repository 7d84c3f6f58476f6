"""Seeds of `random_state` parameters, and random numbers of torch's layers."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils import check_random_state

if TYPE_CHECKING:
    import torch

__all__ = ["TorchRandom", "as_random_state"]

_LOCK = threading.RLock()

if hasattr(os, "register_at_fork"):
    # A forked process must not inherit the lock of a thread that it does not have.
    os.register_at_fork(
        before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release
    )


def as_random_state(random_state: int | np.random.RandomState | None) -> np.random.RandomState:
    """Return the generator of a `random_state` parameter.

    Parameters
    ----------
    random_state : int, RandomState instance or None
        None: a new generator. NumPy's global one, which all threads share, is never used.

    Returns
    -------
    numpy.random.RandomState
    """
    return np.random.RandomState() if random_state is None else check_random_state(random_state)


class TorchRandom:
    """Random numbers of one net, drawn from torch's global generators.

    Layers of torch draw initial weights and dropout from generators that all threads share. In the
    block of :meth:`active` these continue the sequence of this object. Afterwards they are what
    they were before.

    Parameters
    ----------
    seed : int
    device : str or torch.device, default="cpu"
        A CUDA device has a generator of its own, beside that of the CPU.

    Examples
    --------
    >>> import torch
    >>> numbers = TorchRandom(0)
    >>> with numbers.active():
    ...     first = torch.rand(2)
    >>> with numbers.active():
    ...     second = torch.rand(2)
    >>> with TorchRandom(0).active():
    ...     both = torch.rand(4)
    >>> torch.equal(torch.cat([first, second]), both)
    True
    """

    def __init__(self, seed: int, device: str | torch.device = "cpu") -> None:
        import torch

        self._device = torch.device(device)
        kinds = {"cpu", self._device.type} & {"cpu", "cuda"}
        self._states = {kind: torch.Generator(kind).manual_seed(seed).get_state() for kind in kinds}

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let torch's global generators continue this sequence; other threads wait.

        Yields
        ------
        None
        """
        with _LOCK:
            self._exchange()
            try:
                yield
            finally:
                self._exchange()

    def _exchange(self):
        """Exchange the states of the global generators and those that are kept here."""
        import torch

        present = {"cpu": torch.get_rng_state()}
        torch.set_rng_state(self._states["cpu"])
        if "cuda" in self._states:
            present["cuda"] = torch.cuda.get_rng_state(self._device)
            torch.cuda.set_rng_state(self._states["cuda"], self._device)
        self._states = present
