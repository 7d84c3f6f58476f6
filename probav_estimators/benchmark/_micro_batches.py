"""Available memory, and the number of samples that fit into it."""

from __future__ import annotations

import os
from pathlib import Path

import torch

__all__ = ["available_memory", "choose_micro_batch_size"]

# Part of the memory at hand that a training may take: scenes and libraries need some, too.
_SHARE = 0.5

_CGROUP = Path("/sys/fs/cgroup")


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
