"""Imagery of one site: dates and bands on one grid, whatever they were opened from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from ..scenes import MaskStack, PositionPrior, Stack
from ._encoding import POSITION_STD, encoding_of, scene_of_stack
from ._frame_metadata import label_list, match_labels, warn_of_position
from ._masks import clear_of, has_value, match_mask
from ._site import Site

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..scenes import Scene
    from ._encoding import Encoding
    from ._grid import Grid
    from ._value_ranges import LearnedRange

    #: Kind of masks, see :func:`clear_of`.
    MaskType = str | Callable[[NDArray[Any]], NDArray[np.bool_]] | None

__all__ = ["BandStack", "Imagery", "check_mask_type", "mask_stack", "match_dates", "site_of"]

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
    times : datetime64 array of shape (t,), default=None
        None: not known.
    numbers : array of shape (t,), default=None
        Labels of the dates that are numbers. None: there are none.
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
    times: NDArray[np.datetime64] | None = None
    numbers: NDArray[Any] | None = None
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
    def is_of_several_grids(self) -> bool:
        """Whether any date was on another grid, of which it may cover a part."""
        return any(one is not None and bool(one.any()) for one in (self.fractions, self.resampled))

    def scene(
        self,
        band: str,
        masks: MaskStack | None,
        value_range: tuple[float, float] | LearnedRange | None = None,
        position_std: float = POSITION_STD,
    ) -> Scene:
        """Return the lazy scene of a band; warn of values that look like fill."""
        own = self.valid.get(band)
        if own is not None:
            masks = own if masks is None else MaskStack(own.stack, own.convert, other=masks)
        return scene_of_stack(
            self.bands[band],
            self.encodings[band],
            masks,
            self.labels[band],
            name=self.name,
            band=band if self.named else None,
            value_range=value_range,
            prior=self.prior(position_std),
        )

    def prior(self, position_std: float) -> PositionPrior:
        """Return the prior of the dates' positions by their georeferencing.

        `position_std` is its standard deviation in pixels.
        """
        # In pixels further down, content is further up.
        shifts = np.zeros((len(self), 2)) if self.fractions is None else -self.fractions
        std = np.full(len(self), float(position_std))
        if self.resampled is not None:
            std[self.resampled] = np.hypot(position_std, _NEAREST_ERROR)
        return PositionPrior(shifts, std)


def site_of(
    imagery: Imagery,
    masks: MaskStack | None,
    *,
    dtype: Any = None,
    nodata: float | None = None,
    range_of: Callable[[str], tuple[float, float] | LearnedRange | None],
    position_std: float,
) -> Site:
    """Return the scenes of all bands, and the encodings of images of `dtype` and `nodata`.

    `range_of` gives the value range of a band by its name, see :func:`scene_of_stack`;
    `position_std` is the standard deviation of the georeferencing in pixels.
    """
    imagery.grid.check_usable(imagery.label)
    scenes = {
        band: imagery.scene(band, masks, range_of(band), position_std) for band in imagery.bands
    }
    encodings = {band: encoding_of(scene).of_image(dtype, nodata) for band, scene in scenes.items()}
    return Site(scenes, encodings, imagery.grid, imagery.times, imagery.resampled)


def check_mask_type(mask_type: MaskType) -> None:
    """Raise a ValueError for an unknown kind of masks."""
    if not callable(mask_type):
        clear_of(np.empty(0, np.uint8), mask_type, "mask")


def mask_stack(masks: Imagery, mask_type: MaskType, imagery: Imagery) -> MaskStack:
    """Return the quality maps of the frames, matched by date and place.

    There is one mask for all frames, or one for each, matched by date where the dates of both are
    known, else by their order. Pixels of masks are as large as those of the frames or cover a whole
    number of them, and masks may cover a larger area. A ValueError names those that do not fit.
    """
    check_mask_type(mask_type)
    if len(masks.bands) > 1:
        raise ValueError(
            f"{masks.label} has the bands {', '.join(masks.bands)}, and a mask has one: give the "
            'one to use, such as mask.sel(band="...") of a cube or by gdal_translate -b 1'
        )
    numbers = match_dates(masks, imagery)
    stack = masks.first.take(numbers)
    repeat, origin = _match_grids(masks, imagery)
    nodata = next((one.nodata for one in masks.encodings.values()), None)
    if nodata is not None and has_value(mask_type, nodata):
        nodata = None
    clear = partial(_clear, mask_type=mask_type, nodata=nodata)
    # Pixels beyond a mask are not clear.
    known = None
    for own in masks.valid.values():
        shown: Any = own.stack
        known = MaskStack(shown.take(numbers), own.convert, repeat, origin)
    return MaskStack(stack, clear, repeat, origin, known)


def _clear(values, name, mask_type, nodata):
    if nodata is None:
        return clear_of(values, mask_type, name)
    known = values != nodata
    return clear_of(np.where(known, values, values.dtype.type(0)), mask_type, name) & known


def match_dates(masks: Imagery, imagery: Imagery) -> list[int]:
    """Return the number of the mask of each frame; a ValueError names those without one."""
    n_masks, n_frames = len(masks), len(imagery)
    if n_masks == 1:
        return [0] * n_frames
    counts = f"mask has {n_masks} dates and there are {n_frames} frames"
    for own, wanted in ((masks.times, imagery.times), (masks.numbers, imagery.numbers)):
        if own is not None and wanted is not None:
            if (numbers := match_labels(own, wanted)) is None:
                raise ValueError(
                    f"{counts}, and {_unmatched(own, wanted, imagery)}: give one mask for each "
                    "frame, such as mask.sel(time=cube.time) of a cube, or one for all; masks are "
                    f"of {label_list(own)}, and frames of {label_list(wanted)}"
                )
            return numbers
    if n_masks != n_frames:
        longer, what = (masks, "frame") if n_masks > n_frames else (imagery, "mask")
        raise ValueError(
            f"{counts}, {longer.first.where(min(n_masks, n_frames))} is the first without a "
            f"{what}: give one mask for each frame, in the same order, or one for all"
        )
    if (masks.times is None) != (imagery.times is None):
        warn_of_position(masks.label, "masks are matched")
    return list(range(n_frames))


def _unmatched(own, wanted, imagery):
    """The first frame without a mask of its own, or the first that has several."""
    if own.dtype.kind == "M":
        own, wanted = own.astype("datetime64[D]"), wanted.astype("datetime64[D]")
    counts = [(own == label).sum() for label in wanted]
    number = next((i for i, count in enumerate(counts) if count != 1), 0)
    found = "several have" if counts[number] else "none has"
    label = imagery.numbers if imagery.times is None else imagery.times
    return f"{found} the date of {imagery.first.where(number)}, {label_list(label[[number]])}"


def _match_grids(masks, imagery):
    """Frame pixels a mask pixel covers, and the row and column of these where frames start."""
    mask, image = masks.whole, imagery.grid
    if not (mask.placed and imagery.whole.placed):
        return match_mask(mask.shape, imagery.whole.shape, masks.label)[0], imagery.origin
    image.check_same(replace(image, crs=mask.crs), imagery.label, masks.label)
    times = mask.pixel_size[0] / image.pixel_size[0]
    repeat = max(1, round(times))
    if abs(times - repeat) * max(mask.shape) > 0.01:
        raise ValueError(
            f"{masks.label} has pixels of {mask.pixel_size[0]:.9g} and {imagery.label} of "
            f"{image.pixel_size[0]:.9g}: each pixel of a mask covers a whole number of the "
            "image's, put it on the image's grid, such as by gdalwarp -r near -tr or rioxarray's "
            "mask.rio.reproject_match(cube)"
        )
    fine = mask.finer(repeat)
    a, _, c, _, e, f = fine.transform
    row, column = round((image.transform[5] - f) / e), round((image.transform[2] - c) / a)
    (h, w), (mask_h, mask_w) = image.shape, fine.shape
    if min(row, column) < 0 or row + h > mask_h or column + w > mask_w:
        raise ValueError(
            f"{masks.label} lies within {mask.bounds} and does not cover the part of "
            f"{imagery.label} that is used, {image.bounds}: give the masks of these frames, such "
            "as by rioxarray's mask.rio.reproject_match(cube), or a window that they cover"
        )
    part = fine.window(slice(row, row + h), slice(column, column + w))
    image.check_same(part, imagery.label, masks.label)
    return repeat, (row, column)
