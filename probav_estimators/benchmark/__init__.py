"""The published study as one run that can be stopped: data set in, table of all rows out."""

from ._running import (
    BenchmarkResult,
    describe_estimates,
    estimate_benchmark,
    run_benchmark,
)
from ._step_cost import RowEstimate

__all__ = [
    "BenchmarkResult",
    "RowEstimate",
    "describe_estimates",
    "estimate_benchmark",
    "run_benchmark",
]
