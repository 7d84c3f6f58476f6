"""Time and memory of a training, from one step of it, and the samples that fit into memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import torch
from sklearn.base import clone

from ..prediction import composed_scenes
from ..scenes import Scene
from ..training import SampleRequest
from ._rows import Row

# Seconds after which a first step is not repeated without what it does only once.
_SLOW = 20.0

# Tensors of the size of the largest that a backward pass holds beside what was saved for it.
_TEMPORARY = 3

# Part of the memory at hand that a training may take: scenes and libraries need some, too.
_SHARE = 0.5

_CGROUP = Path("/sys/fs/cgroup")


class RowEstimate(NamedTuple):
    """Time and memory of a training.

    Attributes
    ----------
    name : str
        Of the row.
    seconds : float
        Of all epochs that are left, with validation.
    epochs : int
        That are left.
    n_samples : int
        Of an epoch.
    seconds_per_sample : float
        Of training.
    sample_bytes : int
        Memory of a training step of one sample.
    batch_size : int
    micro_batch_size : int or None
        Samples that are computed at a time; None: all of the batch.
    """

    name: str
    seconds: float
    epochs: int
    n_samples: int
    seconds_per_sample: float
    sample_bytes: int
    batch_size: int
    micro_batch_size: int | None


def estimate_row(
    row: Row,
    scenes: Sequence[Scene],
    *,
    epochs_done: int = 0,
    micro_batch_size: int | str | None = "auto",
) -> RowEstimate:
    """Compute one training step of a row's largest sample, and multiply.

    `micro_batch_size` "auto": as many samples as half of the memory at hand suffices for.
    """
    composed = composed_scenes(row.estimator, scenes)
    net = _ready(row.net, composed)
    train, valid = net.get_split_datasets(composed)
    seconds, n_bytes = _measure_step(net, train, 1)
    part = _micro_batch_size(micro_batch_size, net, n_bytes)
    if seconds < _SLOW or _on_gpu(net):
        # A GPU is not busy with a single sample.
        n_samples = (part or net.batch_size) if _on_gpu(net) else 1
        seconds = _measure_step(net, train, n_samples)[0] / n_samples
    epochs = max(row.net.max_epochs - epochs_done, 0)
    per_epoch = len(train) * seconds
    if valid is not None:
        per_epoch += len(valid) * _time_validation(net, valid)
    return RowEstimate(
        name=row.name,
        seconds=epochs * per_epoch,
        epochs=epochs,
        n_samples=len(train),
        seconds_per_sample=seconds,
        sample_bytes=n_bytes,
        batch_size=net.batch_size,
        micro_batch_size=part,
    )


def _micro_batch_size(asked, net, sample_bytes):
    if asked != "auto":
        return asked
    return choose_micro_batch_size(net.batch_size, sample_bytes, available_memory(net.device))


def _ready(net, scenes):
    """A copy that is ready to train, and that writes nothing."""
    net = clone(net).set_params(resume=None, micro_batch_size=None, verbose=0)
    net.learn_layout(scenes)
    return net.initialize()


def _measure_step(net, dataset, n_samples):
    """Seconds, with reading, and bytes of forward and backward pass."""
    largest = _largest_of(dataset)
    _synchronize(net)
    start = perf_counter()
    batch = _batch_of(net, dataset, largest, n_samples)
    measure = _Peak(net.device) if _on_gpu(net) else _SavedTensors()
    with measure:
        net.train_step_single(batch)
        _synchronize(net)
    return perf_counter() - start, measure.n_bytes


def _time_validation(net, dataset):
    batch = _batch_of(net, dataset, _largest_of(dataset), 1)
    _synchronize(net)
    start = perf_counter()
    net.validation_step(batch)
    _synchronize(net)
    return perf_counter() - start


def _largest_of(dataset):
    """Number of the largest sample."""
    return max(range(len(dataset)), key=lambda sample: _n_pixels(dataset.shape_of(sample)))


def _batch_of(net, dataset, sample, n_samples):
    """Batch of one sample, several times."""
    return net.collate([dataset[SampleRequest(sample, seed)] for seed in range(n_samples)])


def _n_pixels(shape):
    return shape[0] * shape[1]


def _on_gpu(net):
    return torch.device(net.device).type == "cuda"


def _synchronize(net):
    if _on_gpu(net):
        torch.cuda.synchronize(net.device)


class _SavedTensors(torch.autograd.graph.saved_tensors_hooks):
    """Memory of the tensors saved for the backward pass, and of that pass's temporaries."""

    def __init__(self):
        self._storages = {}
        super().__init__(self._note, lambda tensor: tensor)

    def _note(self, tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        self._storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    @property
    def n_bytes(self):
        sizes = self._storages.values()
        return sum(sizes) + _TEMPORARY * max(sizes, default=0)


class _Peak:
    """Peak of the memory of a GPU."""

    def __init__(self, device):
        self._device = device

    def __enter__(self):
        torch.cuda.reset_peak_memory_stats(self._device)
        self._before = torch.cuda.memory_allocated(self._device)
        return self

    def __exit__(self, *exception):
        self.n_bytes = torch.cuda.max_memory_allocated(self._device) - self._before


def available_memory(device: str | torch.device) -> int | None:
    """Available memory of a device, or of the machine or control group, in bytes; None: unknown."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    known = [size for size in (_of_machine(), _of_control_group()) if size is not None]
    return min(known, default=None)


def choose_micro_batch_size(
    batch_size: int, sample_bytes: int, available: int | None
) -> int | None:
    """Samples that are computed at a time, so that half of the memory at hand suffices.

    At least 1; None if the whole batch fits, or the available memory is not known.
    """
    if available is None or batch_size * sample_bytes <= _SHARE * available:
        return None
    fitting = max(1, int(_SHARE * available // sample_bytes))
    # As many parts as are needed, and of about one size.
    n_parts = -(-batch_size // fitting)
    return -(-batch_size // n_parts)


def _of_machine():
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return _of_sysconf()
    values = dict(line.split(":", 1) for line in lines)
    return int(values["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in values else None


def _of_sysconf():
    for name in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"):
        if name in getattr(os, "sysconf_names", {}):
            return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
    return None


def _of_control_group():
    try:
        limit, used = (
            int((_CGROUP / name).read_text(encoding="ascii"))
            for name in ("memory.max", "memory.current")
        )
    except (OSError, ValueError):  # "max": without a limit
        return None
    return max(limit - used, 0)
