"""Simulated scenes."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import numpy as np
from joblib import delayed

from ..processes import run_in_parallel
from ..random_numbers import as_random_state
from ..scenes import Scene
from ..simulation import DEFAULT_N_FRAMES, Sensor, simulate_scene

__all__ = ["make_scenes"]


def make_scenes(
    n_scenes: int = 8,
    *,
    size: int | tuple[int, int] = 128,
    scale: int = 3,
    n_frames: int | tuple[int, int] = DEFAULT_N_FRAMES,
    bands: Sequence[str] = ("RED", "NIR"),
    sensor: Sensor | str | None = None,
    texture: float | tuple[float, float] = 0.0,
    random_state: int | np.random.RandomState | None = None,
    n_jobs: int | None = None,
) -> list[Scene]:
    """Simulate scenes with the rules and statistics of the PROBA-V data set.

    Landscapes are rendered at high resolution and degraded by a point spread function, area
    sampling, sub-pixel shifts, gain, offset, noise, and clouds with quality maps; see
    :mod:`probav_estimators.simulation`.

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
    bands : sequence of str, default=("RED", "NIR")
        Bands that scenes take in turn.
    sensor : str or Sensor, default=None
        None or "static": no resampling, and land that hardly changes. Else a `Sensor` or a preset,
        see `Sensor.preset`: "plain", "proba-v", "probav-challenge" (number and clearance of frames
        as in the data set), "sentinel-2", "landsat-8", "any" (a wide range, for training).
    texture : float or (float, float), default=0
        Strength of added grain, clumps, specks and creases of random size, for training: greatest
        standard deviation relative to the radiance, at most 1, or a range to draw it from for each
        scene.
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
        If a number is out of range or `sensor` is unknown.

    See Also
    --------
    Sensor : Properties of the sensors.

    Examples
    --------
    >>> from probav_estimators import make_scenes
    >>> scenes = make_scenes(2, size=32, n_frames=9, random_state=0)
    >>> scenes[0].lr.shape, scenes[0].hr.shape
    ((9, 32, 32), (96, 96))
    >>> scenes = make_scenes(2, size=32, sensor="sentinel-2", random_state=0)
    """
    if not isinstance(n_scenes, Integral) or n_scenes < 1:
        raise ValueError(f"n_scenes must be an integer of at least 1, got {n_scenes!r}")
    bands = [bands] if isinstance(bands, str) else list(bands)
    if not bands:
        raise ValueError("bands is empty: name at least one")
    entropy = as_random_state(random_state).randint(2**31, size=4)
    seeds = np.random.SeedSequence(entropy.tolist()).spawn(n_scenes)
    # The default is recognised by identity, which is lost in processes of joblib.
    given = {} if n_frames is DEFAULT_N_FRAMES else {"n_frames": n_frames}
    calls = (
        delayed(_make_scene)(
            number,
            seed,
            band=bands[number % len(bands)],
            size=size,
            scale=scale,
            sensor=sensor,
            texture=texture,
            **given,
        )
        for number, seed in enumerate(seeds)
    )
    return run_in_parallel(calls, n_jobs)


def _make_scene(number, seed, *, band, **options):
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
