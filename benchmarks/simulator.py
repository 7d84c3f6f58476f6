"""Simulator: seconds per full-size scene on one core, and the baseline's cPSNR of its scenes."""

from time import perf_counter

import numpy as np
from threadpoolctl import threadpool_limits

from probav_estimators import make_scenes

from ._measure import Figure

# Tolerance of the percentiles, 40 and 53 dB.
_NEAR = 1.5


def benchmark(n_scenes=100, size=128):
    with threadpool_limits(1):
        make_scenes(1, size=size, random_state=1)
        start = perf_counter()
        scenes = make_scenes(n_scenes, size=size, random_state=0)
        seconds = (perf_counter() - start) / n_scenes
    yield Figure(
        f"`make_scenes`, one scene of size {size}, one core",
        "-",
        "under 0.5 s",
        f"{seconds:.2f} s (mean of {n_scenes})",
        seconds < 0.5,
    )
    yield _calibration(np.array([scene.norm for scene in scenes]))


def _calibration(norms):
    mean, spread = norms.mean(), norms.std()
    low, high = np.quantile(norms, [0.05, 0.95])
    return Figure(
        f"baseline's cPSNR of {len(norms)} simulated scenes",
        "norm.csv of the real ones",
        "mean 45 to 48 dB, standard deviation 3 to 5, 5 % and 95 % near 40 and 53 "
        f"(within {_NEAR})",
        f"mean {mean:.1f}, standard deviation {spread:.1f}, 5 % {low:.1f}, 95 % {high:.1f}",
        45 <= mean <= 48 and 3 <= spread <= 5 and max(abs(low - 40), abs(high - 53)) <= _NEAR,
    )
