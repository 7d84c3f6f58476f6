"""Device, precision and threads of nets."""

import os
from collections.abc import Callable

import torch

if hasattr(os, "register_at_fork"):
    # A forked process has none of the threads of OpenMP, and would wait for them for ever.
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def check_device(device: str | torch.device) -> None:
    """Check that a `device` parameter is a device of this machine.

    Parameters
    ----------
    device : str or torch.device

    Raises
    ------
    ValueError
        If torch does not know it, or finds no such device.
    """
    if device == "auto":
        return
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ValueError(
            f'device={device!r} is no device of torch: give "auto", "cpu" or "cuda"'
        ) from error
    there: dict[str, Callable[[], bool]] = {
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
    }
    if kind in there and not there[kind]():
        raise ValueError(
            f"device={device!r}, but torch finds no such device on this machine: give "
            '"auto" or "cpu", or install a build of torch and a driver for it'
        )


def resolve_device(device: str | torch.device) -> str | torch.device:
    """Resolve a `device` parameter; "auto" is cuda, else mps, else cpu."""
    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def resolve_dtype(compute_dtype: str, device: str | torch.device) -> torch.dtype:
    """Resolve a `compute_dtype` parameter on a device.

    "auto" is bfloat16 where torch reports that the hardware computes in it, else float32.

    Parameters
    ----------
    compute_dtype : {"auto", "float32", "bfloat16"}
    device : str or torch.device

    Returns
    -------
    torch.dtype
    """
    if compute_dtype != "auto":
        return DTYPES[compute_dtype]
    kind = torch.device(device).type
    if kind == "cuda":
        computes_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    elif kind == "cpu":
        # Torch before 2.11 does not know the capabilities of CPUs.
        capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        computes_bfloat16 = any(
            capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16")
        )
    else:
        computes_bfloat16 = False
    return torch.bfloat16 if computes_bfloat16 else torch.float32
