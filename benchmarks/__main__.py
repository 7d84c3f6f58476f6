"""Prints the table of figures: ``python -m benchmarks [NAME ...]``."""

import argparse
import os
import platform
from importlib.metadata import version
from pathlib import Path

from . import (
    cpsnr,
    files_entered,
    fine_tuning,
    folders,
    fusion,
    imagery,
    imports,
    invariances,
    land,
    realism,
    robustness,
    scales,
    search,
    simulator,
    training,
)
from ._measure import TABLE_HEAD

BENCHMARKS = {
    "cpsnr": cpsnr.benchmark,
    "training": training.benchmark_overhead,
    "networks": training.benchmark_networks,
    "precision": training.benchmark_precision,
    "reading": folders.benchmark_reading,
    "listing": folders.benchmark_listing,
    "imports": imports.benchmark,
    "entered": files_entered.benchmark,
    "memory": training.benchmark_memory,
    "simulator": simulator.benchmark,
    "search": search.benchmark,
    "registration": fusion.benchmark_registration,
    "fusion": fusion.benchmark_quality,
    "robustness": robustness.benchmark,
    "invariances": invariances.benchmark,
    "land": land.benchmark,
    "land_networks": land.benchmark_networks,
    "scales": scales.benchmark,
    "displacement": scales.benchmark_displacement,
    "realism": realism.benchmark,
    "clearance": simulator.benchmark_clearance,
    "uncertainty": fusion.benchmark_uncertainty,
    "cost": fusion.benchmark_cost,
    "layers": fusion.benchmark_layers,
    "busy": fusion.benchmark_busy,
    "steps": training.benchmark_fusion_net,
    "files": imagery.benchmark_memory,
    "blocks": imagery.benchmark_throughput,
    "workers": imagery.benchmark_workers,
    "cluster": imagery.benchmark_cluster,
    "tile": imagery.benchmark_tile,
    "reprojection": fine_tuning.benchmark_reprojection,
    "adversarial": fine_tuning.benchmark_adversarial,
}


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument(
        "--published",
        type=Path,
        metavar="FOLDER",
        help="with published weights (land_networks, realism)",
    )
    options = parser.parse_args()
    names = options.names or list(BENCHMARKS)
    if unknown := set(names) - BENCHMARKS.keys():
        parser.error(f"{', '.join(sorted(unknown))}: choose from {', '.join(BENCHMARKS)}")
    print(f"{_machine()}\n\n{TABLE_HEAD}", flush=True)
    for name in names:
        given = {"published": options.published} if name in ("land_networks", "realism") else {}
        for figure in BENCHMARKS[name](**given):
            print(figure, flush=True)


def _machine():
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "numba"))
    return f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {packages}"


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor() or platform.machine()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
