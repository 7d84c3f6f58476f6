"""A site: bands of frames on one grid, their registration, and prediction block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from ..imaging import Placement, plan_blocks
from ..version import __version__
from ._frame_metadata import check_reference, frame_of
from ._memory import release_memory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..imaging import Block
    from ..scenes import Scene
    from ._block_predictors import BandPlan, BlockPredictor
    from ._encoding import Encoding, ImageBlock
    from ._frame_metadata import Reference
    from ._grid import Grid

__all__ = [
    "BLOCK_SIZE",
    "Site",
    "SitePlan",
    "check_plan_options",
    "describe",
    "make_blocks",
    "plan_site",
]

#: Default size of a block along each axis, in LR pixels: the larger, the smaller the share of the
#: halo. With 24 frames a process takes up to 1.4 GiB.
BLOCK_SIZE = 320


@dataclass
class Site:
    """Bands of one site.

    Attributes
    ----------
    scenes : dict of Scene
        By the names of the bands; they have the same frames.
    encodings : dict of Encoding
        Of their images.
    grid : Grid
        Of the frames.
    times : datetime64 array of shape (t,) or None
    resampled : bool array of shape (t,), default=None
        Which frames were resampled to the grid by nearest neighbour. None: none.
    """

    scenes: dict[str, Scene]
    encodings: dict[str, Encoding]
    grid: Grid
    times: NDArray[np.datetime64] | None
    resampled: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class SitePlan:
    """Registration and blocks of a site; each block depends on this and on its frames alone.

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
    """Register the frames of a site and divide it into blocks.

    Parameters
    ----------
    site : Site
    predictor : BlockPredictor
    tile_size : int or None
        LR pixels of a block along each axis. None: 320.
    reference : {"middle", "clearest"}, int or date
        Frame that the images show where the land changes.
    known : dict of BandPlan, default=None
        Registration by an earlier call.

    Returns
    -------
    SitePlan

    Raises
    ------
    ValueError
        If no pixel is clear, or the frames do not fit the estimator.
    """
    check_plan_options(predictor, tile_size, reference)
    blocks = plan_blocks(site.grid.shape, tile_size or BLOCK_SIZE)
    if known is None:
        label = next(iter(site.scenes.values())).label
        plans = predictor.plan(site.scenes, frame_of(reference, site.times, label))
        known = {band: predictor.match_psf(plan, band, len(blocks)) for band, plan in plans.items()}
    return SitePlan(known, blocks, predictor.scale)


def check_plan_options(
    predictor: BlockPredictor, tile_size: int | None, reference: Reference
) -> None:
    """Raise a ValueError for arguments of :func:`plan_site` that are not valid."""
    if tile_size is not None and not (isinstance(tile_size, int | np.integer) and tile_size >= 16):
        raise ValueError(f"tile_size is {tile_size!r}: give 16 LR pixels or more, or None")
    check_reference(reference)
    predictor.check_reference(reference)


def make_blocks(
    predictor: BlockPredictor,
    plans: Mapping[str, BandPlan],
    encodings: Mapping[str, Encoding],
    blocks: Sequence[Block],
    *,
    parts: bool = False,
) -> list[dict[str, ImageBlock]]:
    """Predict blocks of the images of all bands of a site; `parts`: with measured detail."""
    made: list[dict[str, ImageBlock]] = [{} for _ in blocks]
    for band, plan in plans.items():
        release_memory()
        for number, fused in enumerate(predictor.fuse(plan, band, blocks, parts=parts)):
            made[number][band] = encodings[band].encode(fused, predictor.scale)
    return made


def describe(site: Site, plan: SitePlan, predictor: BlockPredictor, call: str) -> dict[str, Any]:
    """Return attributes of the images: times and shifts of the frames, model and history.

    Parameters
    ----------
    site : Site
    plan : SitePlan
    predictor : BlockPredictor
    call : str
        Name of the call, for the history.

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
    if site.resampled is not None and site.resampled.any():
        about["frames_resampled"] = " ".join(map(str, np.flatnonzero(site.resampled)))
    alignments = [band.alignment for band in plan.bands.values() if band.alignment is not None]
    if alignments:
        shifts = np.full((n_frames, 2), np.nan)
        placement = n_frames * ["no_clear_pixel"]
        for alignment in alignments:
            used = ~alignment.fills
            shifts[alignment.index[used]] = alignment.shifts[used]
            for number, known in zip(alignment.index, alignment.placement, strict=True):
                placement[number] = Placement(known).name.lower()
        about |= {
            "n_frames_used": int(np.isfinite(shifts[:, 0]).sum()),
            "frame_placement": " ".join(placement),
            "registered_to": "the mean place of all frames",
            "frame_shifts_down": shifts[:, 0].round(4),
            "frame_shifts_right": shifts[:, 1].round(4),
            "frame_shifts_units": "pixels of the frames",
        }
    return about


def _ends(times):
    known = times[~np.isnat(times)]
    return known.min(), known.max()
