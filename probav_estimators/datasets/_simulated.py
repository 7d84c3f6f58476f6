"""Simulated scenes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from joblib import delayed
from numpy.typing import NDArray

from ..processes import run_in_parallel
from ..random_numbers import as_random_state
from ..scenes import Scene
from ..simulation import (
    DEFAULT_N_FRAMES,
    MARGIN,
    Sensor,
    check_scale,
    check_size,
    checked_range,
    simulate_scene,
)
from ._land_images import open_land

Image = str | os.PathLike[str] | NDArray[Any]
Images = Image | Sequence[Image]


def make_scenes(
    n_scenes: int = 8,
    *,
    size: int | tuple[int, int] = 128,
    scale: int = 3,
    n_frames: int | tuple[int, int] = DEFAULT_N_FRAMES,
    bands: Sequence[str | int] = ("RED", "NIR"),
    sensor: Sensor | str | None = None,
    texture: float | tuple[float, float] = 0.0,
    images: Images | None = None,
    reduction: float | tuple[float, float] = 1,
    value_range: tuple[float, float] | None = None,
    nodata: float | None = None,
    random_state: int | np.random.RandomState | None = None,
    n_jobs: int | None = None,
) -> list[Scene]:
    """Simulate scenes with the rules and statistics of the PROBA-V data set.

    Landscapes are rendered at high resolution, or taken from images of real land, and degraded by
    a point spread function, area sampling, sub-pixel shifts, gain, offset, noise, and clouds with
    quality maps; see :mod:`probav_estimators.simulation`.

    Parameters
    ----------
    n_scenes : int, default=8
    size : int or tuple of int, default=128
        LR pixels along each axis, or (h, w).
    scale : int, default=3
        HR pixels for each LR pixel, 2 or more.
    n_frames : int or tuple of int, default=(9, 30)
        Number of frames, or the least and the greatest. By default the sensor "probav-challenge"
        draws 9 to 35, 19 on average.
    bands : sequence of str or int, default=("RED", "NIR")
        Bands that scenes take in turn. Of `images` with several bands: names or numbers, from 1, of
        those to use. Scenes of images with one band have the first as their `band`.
    sensor : str or Sensor, default=None
        None or "static": no resampling, and land that hardly changes. Else a `Sensor` or a preset,
        see `Sensor.preset`: "plain", "proba-v", "probav-challenge" (number and clearance of frames
        as in the data set), "sentinel-2", "landsat-8", "any" (a wide range, for training).
    texture : float or (float, float), default=0
        Strength of added grain, clumps, specks and creases of random size, for training: greatest
        standard deviation relative to the radiance, at most 1, or a range to draw it from for each
        scene.
    images : array, path or sequence of these, default=None
        Images of real land, in place of drawn landscapes; scenes take them in turn, and a random
        window of each. Arrays are one band, (y, x), or several dates of it, (time, y, x), up to
        four of which are spread over the days of a scene; masked arrays and those of xarray too.
        Paths are files (GeoTIFF and other rasters, grey PNG, .npy), patterns or folders.
    reduction : float or (float, float), default=1
        Pixels of the images along each side of an HR pixel, or a range to draw it from for each
        scene: they are reduced by area. Use 2 or more for images that are not sharp at their own
        pixel.
    value_range : (float, float), default=None
        Values of the images that are reflectances of 0 and 1, of 0 and 10000 counts. None: an
        unknown unit, and the median of each image has 2500 counts, as is usual for drawn land.
    nodata : float, default=None
        Nodata value of the images, in addition to NaN, masks and the nodata values of files.
        Windows without such pixels are taken.
    random_state : int, RandomState instance or None, default=None
        The first n scenes of a larger call with the same int are the same scenes.
    n_jobs : int, default=None
        Parallel processes, as in joblib.

    Returns
    -------
    list of Scene
        Held in memory, 14-bit values in 16 bits, named imgset0000, ...; `true_shifts` is set.

    Raises
    ------
    ValueError
        If a number is out of range, `sensor` is unknown, or an image cannot be used.
    FileNotFoundError
        If a file does not exist, or a folder or pattern has no images.

    See Also
    --------
    Sensor : Properties of the sensors.

    Notes
    -----
    Real land changes only as its dates do: the fields of `Sensor` on change are those of drawn
    land. Around the HR image, 8 LR pixels of land are used, and mirrored where an image ends or
    has no data.

    Examples
    --------
    >>> from probav_estimators import make_scenes
    >>> scenes = make_scenes(2, size=32, n_frames=9, random_state=0)
    >>> scenes[0].lr.shape, scenes[0].hr.shape
    ((9, 32, 32), (96, 96))
    >>> scenes = make_scenes(2, size=32, sensor="sentinel-2", random_state=0)

    An image of your own takes the place of drawn land:

    >>> import numpy as np
    >>> land = np.random.default_rng(0).integers(500, 3000, (200, 300))
    >>> scenes = make_scenes(2, size=32, images=[land], value_range=(0, 10000), random_state=0)
    """
    if not isinstance(n_scenes, Integral) or n_scenes < 1:
        raise ValueError(f"n_scenes must be an integer of at least 1, got {n_scenes!r}")
    bands = [bands] if isinstance(bands, str | Integral) else list(bands)
    if not bands:
        raise ValueError("bands is empty: name at least one")
    windows = _land_windows(images, bands, value_range, nodata, reduction, size, scale)
    entropy = as_random_state(random_state).randint(2**31, size=4)
    seeds = np.random.SeedSequence(entropy.tolist()).spawn(n_scenes)
    # The default is recognised by identity, which is lost in processes of joblib.
    given: dict[str, Any] = {} if n_frames is DEFAULT_N_FRAMES else {"n_frames": n_frames}
    calls = (
        delayed(_make_scene)(
            number,
            seed,
            **windows(number, seed),
            size=size,
            scale=scale,
            sensor=sensor,
            texture=texture,
            **given,
        )
        for number, seed in enumerate(seeds)
    )
    return run_in_parallel(calls, n_jobs)


def _land_windows(images, bands, value_range, nodata, reduction, size, scale):
    """Function from number and seed of a scene to its band and, of images, a window of land."""
    if images is None:
        options = ("reduction", reduction, 1), ("value_range", value_range, None)
        for name, value, default in (*options, ("nodata", nodata, None)):
            if value != default:
                raise ValueError(f"{name} is of images, and there are none: pass images too")
        return lambda number, _: {"band": bands[number % len(bands)]}
    scale = check_scale(scale)
    shape = tuple(scale * n for n in check_size(size))
    reduction = checked_range("reduction", reduction, 1.0, 100.0, "image pixels an HR pixel")
    limits = np.broadcast_to(reduction, 2)
    land = open_land(
        images,
        bands=bands,
        value_range=value_range,
        nodata=nodata,
        least=tuple(int(np.ceil(n * limits[1])) for n in shape),
    )

    def window_of(number, seed):
        image = land[number % len(land)]
        # A stream of its own: the sensor's stay as they are for drawn land.
        rng = np.random.default_rng(seed.spawn(1)[0])
        window = image.draw_window(rng, shape, MARGIN * scale, float(rng.uniform(*limits)))
        return {"band": str(bands[0]) if image.band is None else image.band, "window": window}

    return window_of


def _make_scene(number, seed, *, band, window=None, **options):
    if window is not None:
        options["land"] = window.read()
    simulated = simulate_scene(np.random.default_rng(seed), band=band, **options)
    scene = Scene(
        simulated.lr,
        simulated.qm,
        simulated.hr,
        simulated.sm,
        name=f"imgset{number:04d}",
        band=band,
    )
    return scene.with_frames(scene.frames.with_true_shifts(simulated.true_shifts))
