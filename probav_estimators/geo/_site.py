"""A place: the bands of its frames on one grid, and the images that are made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from ..imaging import plan_blocks
from ..version import __version__
from ._memory import release_memory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..imaging import Block
    from ..scenes import Scene
    from ._block_predictors import BandPlan, BlockPredictor, Reference
    from ._grid import Grid
    from ._images import ImageBlock, ImageType

__all__ = ["BLOCK_SIZE", "Site", "SitePlan", "describe", "make_blocks", "plan_site"]

#: LR pixels of a block along each axis, if nothing else is asked for: the larger, the less is
#: computed twice. With 24 frames a process takes up to 1.4 GiB.
BLOCK_SIZE = 320


@dataclass
class Site:
    """Bands of one place.

    Attributes
    ----------
    scenes : dict of Scene
        By the names of the bands; they have the same frames.
    types : dict of ImageType
        What their images are to be.
    grid : Grid
        Of the frames.
    times : datetime64 array of shape (t,) or None
    label : str
        What messages call it.
    """

    scenes: dict[str, Scene]
    types: dict[str, ImageType]
    grid: Grid
    times: NDArray[np.datetime64] | None
    label: str


@dataclass(frozen=True)
class SitePlan:
    """What is found out once of a place; each block depends on this and on its frames alone.

    Attributes
    ----------
    bands : dict of BandPlan
    blocks : list of Block
    scale : int
    """

    bands: Mapping[str, BandPlan]
    blocks: Sequence[Block]
    scale: int


def plan_site(
    site: Site,
    predictor: BlockPredictor,
    *,
    tile_size: int | None,
    reference: Reference,
    known: Mapping[str, BandPlan] | None = None,
) -> SitePlan:
    """Register the frames of a place and divide it into blocks.

    Parameters
    ----------
    site : Site
    predictor : BlockPredictor
    tile_size : int or None
        LR pixels of a block along each axis. None: 320.
    reference : {"middle", "clearest"} or int
        Which date the images show where the land changes.
    known : dict of BandPlan, default=None
        What an earlier call found out. None: it is found out.

    Returns
    -------
    SitePlan

    Raises
    ------
    ValueError
        If nothing is clear, or the estimator cannot take the frames.
    """
    if tile_size is not None and not (isinstance(tile_size, int | np.integer) and tile_size >= 16):
        raise ValueError(f"tile_size is {tile_size!r}: give 16 LR pixels or more, or None")
    if reference not in ("middle", "clearest") and not isinstance(reference, int | np.integer):
        raise ValueError(
            f"reference is {reference!r}: give 'middle', 'clearest' or the number of a frame"
        )
    if known is None:
        known = predictor.plan(site.scenes, reference)
    return SitePlan(known, plan_blocks(site.grid.shape, tile_size or BLOCK_SIZE), predictor.scale)


def make_blocks(
    predictor: BlockPredictor,
    plans: Mapping[str, BandPlan],
    types: Mapping[str, ImageType],
    blocks: Sequence[Block],
) -> list[dict[str, ImageBlock]]:
    """Make some blocks of the images of a place, of all of its bands."""
    made: list[dict[str, ImageBlock]] = [{} for _ in blocks]
    for band, plan in plans.items():
        release_memory()
        for number, fused in enumerate(predictor.fuse(plan, band, blocks)):
            made[number][band] = types[band].encode(fused, predictor.scale)
    return made


def describe(site: Site, plan: SitePlan, predictor: BlockPredictor, call: str) -> dict[str, Any]:
    """Attributes of the images: when the frames were taken, how they lie, and what made this.

    Parameters
    ----------
    site : Site
    plan : SitePlan
    predictor : BlockPredictor
    call : str
        What was called, for the history.

    Returns
    -------
    dict
        By CF's names where it has one.
    """
    n_frames = len(next(iter(site.scenes.values())))
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    about: dict[str, Any] = {
        "n_frames": n_frames,
        "model": predictor.name,
        "model_version": __version__,
        "history": f"{now} probav_estimators {__version__}: {call}",
    }
    if site.times is not None and not np.isnat(site.times).all():
        first, last = (str(ends.astype("datetime64[s]")) for ends in _ends(site.times))
        about |= {"time_coverage_start": f"{first}Z", "time_coverage_end": f"{last}Z"}
    alignments = [band.alignment for band in plan.bands.values() if band.alignment is not None]
    if alignments:
        shifts = np.full((n_frames, 2), np.nan)
        for alignment in alignments:
            shifts[alignment.index] = alignment.shifts
        about |= {
            "n_frames_used": int(np.isfinite(shifts[:, 0]).sum()),
            "registered_to": "the mean place of all frames",
            "frame_shifts_down": shifts[:, 0].round(4),
            "frame_shifts_right": shifts[:, 1].round(4),
            "frame_shifts_units": "pixels of the frames",
        }
    return about


def _ends(times):
    known = times[~np.isnat(times)]
    return known.min(), known.max()
