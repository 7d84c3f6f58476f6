"""`cpsnr`: its speed against the usual Numba loop, and its error.

Both sides get the same float32 images and the same status map, on one thread, in alternating
calls; the best call of each counts, without compilation.

The usual loop allocates arrays for every shift. In a new process their memory comes from the
kernel, page by page; a process that has held large arrays can reuse it. So there are two figures,
each from a process of its own: one with the default allocator, as in a script that scores images,
and one in which the allocator (glibc's) never returns memory.
"""

import tempfile
from pathlib import Path

import numpy as np
from numba import njit
from threadpoolctl import threadpool_limits

from probav_estimators import BicubicBaseline, cpsnr

from ._measure import Figure, call_in_fresh_process, interleave, seconds_of

_BORDER = 3

_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**33)}


@njit(cache=True)
def usual_loop(sr, hr, sm):
    """The usual implementation: NaN at clouded pixels, `nanmean` twice for each shift, double."""
    hr = np.where(sm, hr.astype(np.float64), np.nan)
    height, width = hr.shape[0] - 2 * _BORDER, hr.shape[1] - 2 * _BORDER
    sr = sr.astype(np.float64)[_BORDER : _BORDER + height, _BORDER : _BORDER + width]
    best = -np.inf
    for u in range(2 * _BORDER + 1):
        for v in range(2 * _BORDER + 1):
            error = hr[u : u + height, v : v + width] - sr
            bias = np.nanmean(error)
            best = max(best, -10 * np.log10(np.nanmean((error - bias) ** 2)))
    return best


def benchmark(size=128, rounds=30, n_scenes=8):
    # Imported here, so that the fresh processes do not import the simulator.
    from ._scenes import simulated_scenes

    scenes = sorted(simulated_scenes(size), key=lambda scene: scene.sm.mean())[:n_scenes]
    images = BicubicBaseline().fit(scenes).predict(scenes)
    yield from _speed(images[0], scenes[0].hr, scenes[0].sm, rounds)
    yield _accuracy(images, scenes)


def _speed(sr, hr, sm, rounds):
    with tempfile.TemporaryDirectory(prefix="probav-benchmark-") as folder:
        file = str(Path(folder, "images.npz"))
        np.savez(file, sr=sr, hr=hr, sm=sm)
        for state, environment in (
            ("memory as a process starts", {}),
            ("memory at hand", _KEEP_MEMORY),
        ):
            ours, usual = call_in_fresh_process(best_seconds, file, rounds, environment=environment)
            yield Figure(
                f"`cpsnr`, {hr.shape[0]}x{hr.shape[1]}, {100 * (1 - sm.mean()):.0f} % clouded, "
                f"49 shifts, one thread; {state}",
                "the usual Numba loop (NaN at clouded pixels, `nanmean`, double)",
                "60 times as fast",
                f"{usual / ours:.3g} times ({1e3 * ours:.2f} ms, {1e3 * usual:.3g} ms; "
                f"best of {rounds})",
                usual >= 60 * ours,
            )


def best_seconds(file, rounds):
    """Best time of `cpsnr` and of the usual loop; runs in the fresh process."""
    with np.load(file) as images:
        sr, hr, sm = (images[name] for name in ("sr", "hr", "sm"))
    with threadpool_limits(1):
        for function in (cpsnr, usual_loop):
            function(sr, hr, sm)
        times = interleave(
            {
                "ours": lambda: seconds_of(cpsnr, sr, hr, sm),
                "usual": lambda: seconds_of(usual_loop, sr, hr, sm),
            },
            rounds,
        )
    return min(times["ours"]), min(times["usual"])


def _accuracy(images, scenes):
    differences = []
    for image, scene in zip(images, scenes, strict=True):
        hr, sm = scene.hr, scene.sm
        nearly_right = np.clip(hr + np.float32(1e-4) * (image - image.mean()), 0, 1)
        for sr in (image, nearly_right, image + np.float32(0.5), nearly_right + np.float32(0.5)):
            differences.append(abs(cpsnr(sr, hr, sm) - usual_loop(sr, hr, sm)))
    return Figure(
        f"`cpsnr` of {len(scenes)} scenes: baseline and a nearly right image, without and with a "
        "bias of 0.5",
        "float64, two passes for each shift",
        "within 1e-4 dB",
        f"at most {max(differences):.1e} dB",
        max(differences) <= 1e-4,
    )
