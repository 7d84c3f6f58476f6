"""Raster files and cubes of any size: memory, time against single tiles, processes and clusters.

The files contain smooth noise that is shifted by fractions of a pixel from date to date, int16 with
a scene classification at half the resolution, as Sentinel-2 products. Some of the blocks are
computed, and the cost of all blocks is scaled from them.
"""

import tempfile
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from time import perf_counter

import numpy as np

from probav_estimators import FusionNet, Scene, open_scene
from probav_estimators.geo import BLOCK_SIZE, Outputs, super_resolve_files
from probav_estimators.imaging import plan_blocks

from ._measure import Figure, call_in_fresh_process, interleave, peak_mib

# Mean and standard deviation of the land, in digital numbers.
_LEVEL, _SPREAD = 1500, 300

_GIB = 1024


def benchmark_memory(n_frames=24, size=4096, n_blocks=4):
    """Peak memory of a process that registers all frames and computes some blocks."""
    with folder_of_dates(n_frames, size) as folder:
        peak = call_in_fresh_process(peak_of_files, str(folder), size, n_blocks)
    yield Figure(
        f"super-resolving {n_frames} GeoTIFFs of {size}x{size}: memory of the process at its peak",
        f"registered as a whole, {n_blocks} blocks",
        "at most 1536 MiB",
        f"{peak:.0f} MiB",
        peak <= 1.5 * _GIB,
    )


def peak_of_files(folder, size, n_blocks):
    """Peak memory in MiB of a call that computes a few blocks."""
    n_all = len(plan_blocks((size, size), BLOCK_SIZE))
    _super_resolve(Path(folder), share=(1, max(1, n_all // n_blocks)))
    return peak_mib()


def benchmark_throughput(n_frames=24, size=1024, tile=128, rounds=2):
    """An image in blocks against the same number of pixels in separate scenes."""
    with folder_of_dates(n_frames, size) as folder:
        net = FusionNet.from_pretrained("simulated-x3", verbose=0)
        whole = open_scene(str(folder / "*_B04.tif"), mask=str(folder / "*_SCL.tif"))
        image = _in_memory(whole, (slice(0, size), slice(0, size)))
        one = _in_memory(whole, (slice(0, tile), slice(0, tile)))
        net.predict_into(one)
        sides = {
            "image": lambda: _seconds_of_pixels(net, image),
            "tile": lambda: min(_seconds_of_pixels(net, one) for _ in range(4)),
        }
        times = {name: min(values) for name, values in interleave(sides, rounds).items()}
    ratio = times["tile"] / times["image"]
    yield Figure(
        f"pixels per second for an image of {size}x{size}, {n_frames} frames",
        f"scenes of {tile}x{tile}, each predicted by itself",
        "at least 0.9 times",
        f"{ratio:.2f} times ({1e6 * times['image']:.1f} and {1e6 * times['tile']:.1f} s for each "
        "million pixels)",
        ratio >= 0.9,
    )


def benchmark_workers(n_frames=12, size=1100):
    """One process with all cores against processes with one core each."""
    with folder_of_dates(n_frames, size) as folder:
        seconds = {
            workers: call_in_fresh_process(seconds_of_files, str(folder), workers)
            for workers in (1, 2)
        }
    yield Figure(
        f"`--workers 2` on {n_frames} GeoTIFFs of {size}x{size}",
        "`--workers 1`, whose process has all cores",
        "none",
        f"{seconds[2] / seconds[1]:.2f} times the time ({seconds[2]:.0f} and {seconds[1]:.0f} s)",
        True,
    )


def seconds_of_files(folder, workers):
    """Seconds for the blocks of a call, including the start of its processes."""
    start = perf_counter()
    _super_resolve(Path(folder), workers=workers)
    return perf_counter() - start


def benchmark_cluster(n_frames=12, size=800, tile_size=200):
    """Two workers of dask.distributed against one, each with one thread."""
    with folder_of_dates(n_frames, size) as folder:
        seconds = {
            workers: call_in_fresh_process(seconds_of_cluster, str(folder), workers, tile_size)
            for workers in (1, 2)
        }
    ratio = seconds[2] / seconds[1]
    yield Figure(
        f"a dask cube of {n_frames} frames of {size}x{size} on two workers",
        "on one worker; each has one thread",
        "at most 0.6 times the time",
        f"{ratio:.2f} times ({seconds[2]:.0f} and {seconds[1]:.0f} s)",
        ratio <= 0.6,
    )


def seconds_of_cluster(folder, workers, tile_size):
    """Seconds in which the blocks of a cube are computed by dask's workers."""
    import dask
    import rioxarray
    import xarray
    from distributed import Client, LocalCluster

    from probav_estimators import super_resolve

    files = sorted(Path(folder).glob("*_B04.tif"))
    dates = [rioxarray.open_rasterio(file, chunks=512).squeeze("band") for file in files]
    cube = xarray.concat(dates, dim="time")
    dask.config.set({"distributed.worker.daemon": False})
    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None, memory_limit=None
        ) as cluster,
        Client(cluster) as client,
    ):
        image = super_resolve(cube, "simulated-x3", tile_size=tile_size)
        # Not timed: imports, and loading of compiled functions.
        client.run(_warm_up)
        start = perf_counter()
        image.compute()
        return perf_counter() - start


def _warm_up():
    scene = Scene(np.random.default_rng(0).random((3, 64, 64)), np.ones((3, 64, 64), bool))
    FusionNet.from_pretrained("simulated-x3", verbose=0).predict([scene])


def benchmark_tile(n_frames=12, size=1536, side=10980, n_bands=4):
    """Time for a whole Sentinel-2 tile, scaled from a part."""
    with folder_of_dates(n_frames, size) as folder:
        seconds = call_in_fresh_process(seconds_of_files, str(folder), 1)
    hours = n_bands * seconds * (side / size) ** 2 / 3600
    yield Figure(
        f"a Sentinel-2 tile of {side}x{side}, {n_frames} dates, {n_bands} bands",
        f"scaled from {size}x{size} of one band, {seconds:.0f} s",
        "none",
        f"{hours:.1f} hours",
        True,
    )


def _in_memory(scene, window):
    part = scene.crop(window)
    lr, qm = part.frames.read()
    return Scene(lr, qm, value_range=(0, 1))


def _seconds_of_pixels(net, scene):
    start = perf_counter()
    net.predict_into(scene)
    return (perf_counter() - start) / np.prod(scene.shape)


def _super_resolve(folder, **options):
    with tempfile.TemporaryDirectory() as out:
        return super_resolve_files(
            [str(folder / "*_B04.tif")],
            Outputs(Path(out) / "image.tif", std=Path(out) / "std.tif"),
            mask=str(folder / "*_SCL.tif"),
            **options,
        )


@contextmanager
def folder_of_dates(n_frames, size):
    """Folder with files of one band and of its scene classification."""
    import rasterio

    with tempfile.TemporaryDirectory() as folder:
        land = _land(size + 8)
        rng = np.random.default_rng(0)
        profile = {
            "driver": "GTiff",
            "count": 1,
            "crs": "EPSG:32634",
            "tiled": True,
            "blockxsize": 256,
            "blockysize": 256,
            "compress": "deflate",
            "zlevel": 1,
        }
        for number in range(n_frames):
            down, right = rng.uniform(0, 1, 2)
            seen = _shifted(land, down, right)[:size, :size]
            values = _LEVEL + _SPREAD * seen + rng.normal(0, 10, (size, size)).astype(np.float32)
            classes = np.full((size // 2, size // 2), 4, np.uint8)
            start = rng.integers(0, size // 2, 2)
            classes[start[0] : start[0] + size // 8, start[1] : start[1] + size // 8] = 9
            date = f"{2021 + number // 12}{1 + number % 12:02d}15"
            for name, image, width in (("B04", values.astype(np.int16), 10), ("SCL", classes, 20)):
                grid = rasterio.transform.from_origin(500_000, 5_200_000, width, width)
                kind = {"height": len(image), "width": len(image), "dtype": image.dtype.name}
                with rasterio.open(
                    Path(folder) / f"T34_{date}_{name}.tif", "w", transform=grid, **kind, **profile
                ) as file:
                    file.write(image, 1)
        yield Path(folder)


@lru_cache(maxsize=1)
def _land(size):
    """Smooth noise of many sizes, float32."""
    from scipy.ndimage import gaussian_filter, zoom

    rng = np.random.default_rng(1)
    land = np.zeros((size, size), np.float32)
    for step in (1, 4, 16):
        coarse = rng.standard_normal((size // step + 2,) * 2).astype(np.float32)
        smooth = gaussian_filter(coarse, 0.8)
        land += zoom(smooth, step, order=1)[:size, :size] if step > 1 else smooth[:size, :size]
    return land / land.std()


def _shifted(land, down, right):
    """Shift by linear interpolation."""
    rows = (1 - down) * land[:-1] + down * land[1:]
    return (1 - right) * rows[:, :-1] + right * rows[:, 1:]
