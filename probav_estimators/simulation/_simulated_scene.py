"""Simulation of one scene."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._clouds import CLEARANCES, DEFAULT_N_FRAMES, MIN_CLEAR, draw_n_frames, observed_sky
from ._ground_sampling import digitize, sample_ground, see_truth
from ._imaged_land import imaged_land
from ._landscape import CELLS, draw_land
from ._product import see_product
from ._season import DAYS, ChangingGround, SlowChange
from ._sensors import Sensor, checked_range, sensor_of


class SimulatedScene(NamedTuple):
    """Images, masks and true shifts of one scene.

    Attributes
    ----------
    lr : ndarray of shape (t, h, w), uint16
        Frames in order of time, 14-bit values, 0 to 16383.
    qm : ndarray of shape (t, h, w), bool
        Quality maps, True = clear.
    hr : ndarray of shape (H, W), uint16
        The high-resolution image, 14-bit values; ``H = scale * h``.
    sm : ndarray of shape (H, W), bool
        Status map, True = clear.
    true_shifts : ndarray of shape (t, 2), float32
        Shift (down, right) of each frame's content against the HR grid, in LR pixels.
    """

    lr: np.ndarray
    qm: np.ndarray
    hr: np.ndarray
    sm: np.ndarray
    true_shifts: np.ndarray


def simulate_scene(
    rng: np.random.Generator,
    *,
    size: int | tuple[int, int] = 128,
    scale: int = 3,
    n_frames: int | tuple[int, int] = DEFAULT_N_FRAMES,
    band: str = "RED",
    psf_sigma: tuple[float, float] | None = None,
    sensor: Sensor | str | None = None,
    texture: float | tuple[float, float] = 0.0,
    land: NDArray[np.floating] | None = None,
) -> SimulatedScene:
    """Simulate one scene by the rules of the PROBA-V super-resolution data set.

    A random landscape is drawn on a grid finer than the HR image, or `land` takes its place. Each
    frame is blurred, shifted by a sub-pixel distance, sampled and given a gain, an offset and
    noise, while the land changes slowly over 30 days. About half of the frames have clouds with
    shadows. The HR image is from a sharper and less noisy sensor. For the same state of `rng`, all
    sensors of one `clearance`, but "static", have the same land, clouds and days.

    Parameters
    ----------
    rng : numpy.random.Generator
        The same state gives the same scene.
    size, scale, n_frames, sensor, texture : optional
        As of :func:`probav_estimators.make_scenes`.
    band : str, default="RED"
        "NIR" has brighter vegetation; unknown bands are between "RED" and "NIR".
    psf_sigma : (float, float), default=None
        Least and greatest standard deviation of the frames' point spread function, in HR pixels.
        None: the sensor's, (0.9, 1.5) where it is "static".
    land : array of shape (H, W) or (t, H, W), default=None
        Radiance of real land, 14-bit counts of HR pixels, in place of a drawn landscape; of several
        dates, spread over the 30 days. Its middle becomes the scene. Around the HR image,
        8 LR pixels are used, and mirrored where there are less.

    Returns
    -------
    SimulatedScene

    Raises
    ------
    ValueError
        If `size`, `scale`, `n_frames`, `psf_sigma` or `texture` is out of range, `sensor` is
        unknown, or `land` is smaller than the HR image or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from probav_estimators.simulation import simulate_scene
    >>> scene = simulate_scene(np.random.default_rng(0), size=32, n_frames=9)
    >>> scene.lr.shape, scene.hr.shape
    ((9, 32, 32), (96, 96))
    """
    frame_shape = check_size(size)
    frame_limits = _check_n_frames(n_frames)
    scale = check_scale(scale)
    texture = checked_range("texture", texture, 0.0, 1.0, "parts of the radiance")
    if land is not None:
        _check_land(land, tuple(scale * n for n in frame_shape))
    land_of = partial(_land_of, land, band, texture)
    seen_by = sensor_of(sensor, scale)
    if seen_by is None or n_frames is not DEFAULT_N_FRAMES:
        t = draw_n_frames(rng, frame_limits)
    else:
        t = CLEARANCES[seen_by.clearance].n_frames(rng)
    if seen_by is None:
        psf_sigma = _check_psf((0.9, 1.5) if psf_sigma is None else psf_sigma)
        return SimulatedScene(*_see_static(rng, frame_shape, scale, t, land_of, psf_sigma))
    if psf_sigma is not None:
        seen_by = replace(seen_by, psf_sigma=psf_sigma)
    return SimulatedScene(*see_product(rng, frame_shape, scale, t, land_of, seen_by))


def _see_static(rng, shape, scale, t, land_of, psf_sigma):
    """Simulate a "static" scene: slow drift only, and no resampling."""
    hr_shape = tuple(scale * n for n in shape)
    # 1.6 HR pixels at scale 3, and the same in LR pixels at other scales.
    true_shifts = rng.normal(0, 1.6 / 3, (t, 2)).clip(-2.5, 2.5).astype(np.float32)
    margin = CELLS * (int(np.ceil(2.5 * scale)) + 6)
    cells = tuple(CELLS * n + 2 * margin for n in hr_shape)
    ground = ChangingGround(land_of(rng, cells))
    blur, noise = rng.uniform(*psf_sigma), rng.uniform(12, 35)
    drift = SlowChange(rng)

    frames = []
    for day, shift in zip(np.sort(rng.uniform(0, DAYS, t)), true_shifts, strict=True):
        radiance = sample_ground(
            ground.on(day),
            shape,
            pixel=CELLS * scale,
            sigma=CELLS * blur * rng.normal(1, 0.02),
            shift=shift,
            margin=margin,
        )
        radiance *= drift.at(day, shape)
        frames.append(_observe_frame(rng, radiance, noise))
    lr, qm = (np.stack(stack) for stack in zip(*frames, strict=True))
    hr, sm = see_truth(
        rng, ground.on, hr_shape, scale=scale, margin=margin, drift=drift, noise=noise / 2
    )
    return lr, qm, hr, sm, true_shifts


def _land_of(images, band, texture, rng, cells, season=None):
    """Draw land, or take that of images, which does not have the seasons of drawn land."""
    if images is None:
        return draw_land(rng, cells, band, season, texture)
    return imaged_land(rng, images, cells, texture)


def _check_land(land, hr_shape):
    shape = np.shape(land)
    if len(shape) not in (2, 3) or min(np.subtract(shape[-2:], hr_shape)) < 0 or 0 in shape:
        raise ValueError(
            f"land has the shape {shape}: give an array (h, w) or (t, h, w) of at least "
            f"{hr_shape[0]} x {hr_shape[1]} HR pixels"
        )
    if not np.isfinite(land).all():
        raise ValueError("land has NaN or infinite values: give a part without them")


def check_scale(scale: int) -> int:
    """Return a scale, or raise a ValueError."""
    if int(scale) != scale or scale < 2:
        raise ValueError(f"scale must be an integer of at least 2, got {scale!r}")
    return int(scale)


def check_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """Return a size as (h, w), or raise a ValueError."""
    shape: Any = (size, size) if np.ndim(size) == 0 else size
    shape = tuple(shape)
    if len(shape) != 2 or any(int(n) != n or n < 8 for n in shape):
        raise ValueError(f"size must be one or two integers of at least 8 LR pixels, got {size!r}")
    return int(shape[0]), int(shape[1])


def _check_n_frames(n_frames):
    limits = (n_frames, n_frames) if np.ndim(n_frames) == 0 else tuple(n_frames)
    if len(limits) != 2 or any(int(n) != n for n in limits) or not 1 <= limits[0] <= limits[1]:
        raise ValueError(
            "n_frames must be a positive integer or a pair (least, greatest) of them, "
            f"got {n_frames!r}"
        )
    return int(limits[0]), int(limits[1])


def _check_psf(psf_sigma):
    least, greatest = psf_sigma
    if not 0 < least <= greatest:
        raise ValueError(
            "psf_sigma must be a pair (least, greatest) of positive numbers of HR pixels, got "
            f"{psf_sigma!r}"
        )
    return least, greatest


def _observe_frame(rng, radiance, noise):
    sky, clear = None, np.ones(radiance.shape, bool)
    if rng.uniform() < 0.5:
        sky, clear = observed_sky(rng, radiance.shape, MIN_CLEAR)
    seen = radiance if sky is None else sky.cover(radiance)
    gain, offset = rng.normal(1, 0.04), rng.normal(0, 80)
    return digitize(rng, seen, noise, gain=gain, offset=offset), clear
