"""`probav info`."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click
import torch

from ..training import resolve_device, resolve_dtype
from ..version import __version__
from ._options import common_options
from ._output import print_json, print_table

_NEEDED = ("torch", "numpy", "scikit-learn", "skorch")
_OPTIONAL = ("rasterio", "xarray", "rioxarray", "dask", "zarr")

_REMEDY = "not installed: pip install probav_estimators[geo]"


@click.command()
@common_options(quiet=False)
def info(as_json: bool) -> None:
    """Show versions, the device and the threads that are used."""
    facts = _facts()
    if as_json:
        print_json(facts)
        return
    missing = dict.fromkeys(_OPTIONAL, _REMEDY)
    print_table(
        ["", ""],
        [
            *((name, number or missing[name]) for name, number in facts.pop("versions").items()),
            *((name.replace("_", " "), str(fact)) for name, fact in facts.items()),
        ],
    )


def _facts() -> dict[str, Any]:
    device = str(resolve_device("auto"))
    return {
        "versions": {
            "probav_estimators": __version__,
            "python": platform.python_version(),
            **{name: _version_of(name) for name in (*_NEEDED, *_OPTIONAL)},
        },
        "device": device,
        "device_name": torch.cuda.get_device_name() if device == "cuda" else platform.machine(),
        "compute_dtype": str(resolve_dtype("auto", device)).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "platform": platform.platform(),
    }


def _version_of(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None
