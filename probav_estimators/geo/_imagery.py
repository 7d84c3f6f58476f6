"""Imagery of one site, its registration, and prediction block by block.

Whatever dates and bands are opened from, they are imagery on one grid. A site is the scenes of its
bands and the encodings of their images; its plan holds what all blocks share.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from ..imaging import Placement, plan_blocks
from ..scenes import MaskStack, PositionPrior, Scene, Stack, ValueFrames
from ..version import __version__
from ._encoding import POSITION_STD, LearnedRange, value_range_of, warn_of_fill
from ._frame_metadata import check_reference, frame_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..imaging import Block
    from ._block_predictors import BandPlan, BlockPredictor
    from ._encoding import Encoding, ImageBlock
    from ._frame_metadata import Reference
    from ._grid import Grid

__all__ = [
    "BLOCK_SIZE",
    "BandStack",
    "Imagery",
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

# Greatest displacement by nearest-neighbour resampling along each axis, in pixels.
_NEAREST_ERROR = 0.5


class BandStack(Stack, Protocol):
    """Images of one band, one for each date."""

    def take(self, numbers: Sequence[int]) -> Self:
        """Some of the images, in this order."""


@dataclass(kw_only=True)
class Imagery:
    """Stored values of a site on one grid, by date, band, row and column, read window by window.

    Parameters
    ----------
    bands : dict of BandStack
        By name: (t, h, w) each, of the same dates.
    encodings : dict of Encoding
        Of the bands.
    valid : dict of MaskStack
        Where bands have data by masks of their own, besides the nodata value.
    grid : Grid
        Of the bands.
    whole : Grid
        Of what was opened, of which `grid` may be a part.
    origin : tuple of two ints, default=(0, 0)
        Row and column of `whole` where `grid` starts.
    dates : array of shape (t,), default=None
        Dates as datetime64, or numbers or text that label them. None: not known.
    label : str
        Name of the imagery in messages.
    labels : dict of str
        Names of the bands in messages.
    name : str, default=None
        Name of its scenes.
    named : bool, default=True
        Whether bands have names of their own.
    fractions : float64 array of shape (t, 2), default=None
        Offset of the pixels of each date from those of the grid: rows down and columns right, at
        most a half. None: 0.
    resampled : bool array of shape (t,), default=None
        Which dates were resampled to the grid by nearest neighbour. None: none.
    """

    bands: dict[str, BandStack]
    encodings: dict[str, Encoding] = field(default_factory=dict)
    valid: dict[str, MaskStack] = field(default_factory=dict)
    grid: Grid
    whole: Grid
    origin: tuple[int, int] = (0, 0)
    dates: NDArray[Any] | None = None
    label: str
    labels: dict[str, str] = field(default_factory=dict)
    name: str | None = None
    named: bool = True
    fractions: NDArray[np.float64] | None = None
    resampled: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return self.first.shape[0]

    @property
    def first(self) -> BandStack:
        """The first band."""
        return next(iter(self.bands.values()))

    @property
    def times(self) -> NDArray[np.datetime64] | None:
        """Acquisition times; None: not known."""
        known = self.dates is not None and self.dates.dtype.kind == "M"
        return self.dates if known else None

    @property
    def is_of_several_grids(self) -> bool:
        """Whether any date was on another grid, of which it may cover a part."""
        return any(one is not None and bool(one.any()) for one in (self.fractions, self.resampled))

    def site(
        self,
        masks: MaskStack | None,
        *,
        dtype: Any = None,
        nodata: float | None = None,
        range_of: Callable[[str], tuple[float, float] | LearnedRange | None],
        position_std: float,
    ) -> Site:
        """Return the scenes of all bands, and the encodings of images of `dtype` and `nodata`.

        `range_of` gives the value range of a band by its name; `position_std` is the standard
        deviation of the georeferencing in pixels.
        """
        self.grid.check_usable(self.label)
        scenes = {
            band: self.scene(band, masks, range_of(band), position_std) for band in self.bands
        }
        encodings = {
            band: _encoding_of(scene).of_image(dtype, nodata) for band, scene in scenes.items()
        }
        return Site(scenes, encodings, self.grid, self.times, self.resampled)

    def scene(
        self,
        band: str,
        masks: MaskStack | None,
        value_range: tuple[float, float] | LearnedRange | None = None,
        position_std: float = POSITION_STD,
    ) -> Scene:
        """Return the lazy scene of a band, whose frames have a value range; warn of likely fill."""
        own, stack, encoding = self.valid.get(band), self.bands[band], self.encodings[band]
        if own is not None:
            masks = own.also(masks)
        warn_of_fill(stack, encoding, masks, self.labels[band])
        if value_range is None or isinstance(value_range, LearnedRange):
            value_range = value_range_of(stack, encoding, masks, value_range, self.labels[band])
        low, high = value_range
        value_range = (float(low), float(high))
        values = replace(encoding, value_range=value_range)
        frames = ValueFrames(stack, values, masks, self.prior(position_std))
        name = band if self.named else None
        return Scene.from_frames(frames, name=self.name, band=name, value_range=value_range)

    def prior(self, position_std: float) -> PositionPrior:
        """Return the prior of the dates' positions by georeferencing of a standard deviation."""
        # In pixels further down, content is further up.
        shifts = np.zeros((len(self), 2)) if self.fractions is None else -self.fractions
        std = np.full(len(self), float(position_std))
        if self.resampled is not None:
            std[self.resampled] = np.hypot(position_std, _NEAREST_ERROR)
        return PositionPrior(shifts, std)


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

    @property
    def stored_encodings(self) -> dict[str, Encoding]:
        """Encodings of the frames, which have value ranges."""
        return {band: _encoding_of(scene) for band, scene in self.scenes.items()}


def _encoding_of(scene):
    return scene.frames.values


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

    `tile_size` are the LR pixels of a block along each axis; `known` is the registration by an
    earlier call. A ValueError is raised if no pixel is clear, or frames do not fit the estimator.
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
        _release_memory()
        for number, fused in enumerate(predictor.fuse(plan, band, blocks, parts=parts)):
            made[number][band] = encodings[band].encode(fused, predictor.scale)
    return made


def _release_memory() -> None:
    """Give freed memory back, where the C library keeps it and can be asked to (glibc).

    Arrays of a block are freed in an order that leaves holes in the heap, which the arrays of the
    next block do not fit in: without this, a process grows by some hundred megabytes.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim():
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None


def describe(site: Site, plan: SitePlan, predictor: BlockPredictor, call: str) -> dict[str, Any]:
    """Return attributes of the images: times and shifts of the frames, model and history.

    `call` is its name for the history. Keys are CF's names where it has one.
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
        known = site.times[~np.isnat(site.times)].astype("datetime64[s]")
        first, last = known.min(), known.max()
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
            for number, kind in zip(alignment.index, alignment.placement, strict=True):
                placement[number] = Placement(kind).name.lower()
        about |= {
            "n_frames_used": int(np.isfinite(shifts[:, 0]).sum()),
            "frame_placement": " ".join(placement),
            "registered_to": "the mean place of all frames",
            "frame_shifts_down": shifts[:, 0].round(4),
            "frame_shifts_right": shifts[:, 1].round(4),
            "frame_shifts_units": "pixels of the frames",
        }
    return about
