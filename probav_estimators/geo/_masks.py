"""Masks of clear pixels: their kinds, and how they are matched with frames by date and grid."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..imaging import as_mask
from ..scenes import MaskStack
from ._frame_metadata import are_dates, label_list, match_labels, to_unit, warn_of_position

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._imagery import Imagery

    #: Kind of masks, see :func:`clear_of`.
    MaskType = str | Callable[[NDArray[Any]], NDArray[np.bool_]] | None

__all__ = [
    "MASK_KINDS",
    "MASK_TYPES",
    "MaskKind",
    "check_mask_type",
    "clear_of",
    "mask_stack",
    "mask_type_of_name",
    "match_dates",
    "match_mask",
    "warn_of_no_mask",
]


@dataclass(frozen=True)
class MaskKind:
    """Quality classes of a product.

    Parameters
    ----------
    product : str
    hidden : str
        Which values are not clear, in words.
    is_clear : callable
        Takes whole numbers, returns a bool array of their shape, True = clear.
    greatest : int
        Largest value of the product.
    fill : int, default=None
        Value of no data beyond `greatest`.
    pattern : str, default=None
        Regular expression for lower-case names of files and bands of this kind.
    asset_pattern : str, default=None
        Of assets of products, if another one.
    no_product : int, default=0
        Value that stands for pixels without a product.
    """

    product: str
    hidden: str
    is_clear: Callable[[NDArray[Any]], NDArray[np.bool_]]
    greatest: int
    fill: int | None = None
    pattern: str | None = None
    asset_pattern: str | None = None
    no_product: int = 0

    def check(self, values: NDArray[Any], name: str, mask_type: str) -> NDArray[Any]:
        """Return values as whole numbers; a ValueError if the product has no such values."""
        if values.dtype.kind not in "uif":
            raise ValueError(
                f"{name} has values of type {values.dtype}, and mask_type is {mask_type!r}, which "
                "has numbers; leave mask_type out for a mask, True = clear"
            )
        wrong = (values < 0) | (values > self.greatest)
        if values.dtype.kind == "f":
            wrong |= values != np.floor(values)
        if self.fill is not None:
            wrong &= values != self.fill
        if wrong.any():
            found = np.unique(values[wrong])
            shown = ", ".join(f"{value:g}" for value in found[:8])
            raise ValueError(
                f"{name} has the values {shown}{', ...' if len(found) > 8 else ''}, which "
                f"mask_type={mask_type!r} has not: give the kind that it is, one of {_names()}, a "
                "function, or None for a mask"
            )
        return values if values.dtype.kind in "ui" else values.astype(np.int32)


#: Kinds of masks by the name that `mask_type` takes.
MASK_KINDS = {
    "scl": MaskKind(
        "Sentinel-2 L2A",
        "0 no data, 1 saturated, 3 shadow, 8 and 9 cloud, 10 cirrus",
        lambda values: ~np.isin(values, [0, 1, 3, 8, 9, 10]),
        greatest=11,
        pattern=r"(?<![a-z])scl(?![a-z])",
    ),
    "qa_pixel": MaskKind(
        "Landsat Collection 2",
        "bits 0 to 4: fill, dilated cloud, cirrus, cloud, shadow",
        lambda values: (values & 0b1_1111) == 0,
        greatest=65535,
        pattern=r"qa_pixel",
        no_product=1,
    ),
    "fmask": MaskKind(
        "HLS",
        "bits 1 to 3: cloud, adjacent to cloud, shadow; 255",
        # All bits of fill are set, also those of clouds.
        lambda values: (values & 0b1110) == 0,
        greatest=255,
        pattern=r"fmask",
        no_product=255,
    ),
    "omnicloudmask": MaskKind(
        "OmniCloudMask",
        "1, 2 cloud, 3 shadow, 255",
        lambda values: values == 0,
        greatest=3,
        fill=255,
        pattern=r"omnicloudmask|(?<![a-z])ocm(?![a-z])",
        no_product=255,
    ),
    "probav": MaskKind(
        "PROBA-V SM",
        "shadow, undefined, cloud, ice, bad radiometry",
        # Bits 4 to 7: the radiometry of a band is good.
        lambda values: ((values & 0b111) == 0) & ((values & 0b1111_0000) != 0),
        greatest=255,
        asset_pattern="^sm$",
        no_product=255,
    ),
}

#: Names of :data:`MASK_KINDS`.
MASK_TYPES = tuple(MASK_KINDS)


def mask_type_of_name(name: str) -> str | None:
    """Return the kind of mask that a file or a band is by its name, or None."""
    for mask_type, kind in MASK_KINDS.items():
        if kind.pattern is not None and re.search(kind.pattern, name.lower()):
            return mask_type
    return None


def clear_of(values: NDArray[Any], mask_type: MaskType, name: str) -> NDArray[np.bool_]:
    """Return where pixels are clear, by the values of a mask.

    Parameters
    ----------
    values : array
        Whole numbers of any type, or a mask. NaN, which xarray makes of no data, is not clear.
    mask_type : str, callable or None
        Name of one of :data:`MASK_KINDS`; or a function that takes the values and returns a bool
        array of their shape, True = clear; or None for a mask, True or 1 where it is clear.
    name : str
        What the values are, for the error.

    Returns
    -------
    bool array of the same shape

    Raises
    ------
    ValueError
        For an unknown kind, values that are none of that kind, and wrong results of a function.
    """
    values = np.asarray(values)
    if not (mask_type is None or callable(mask_type) or mask_type in MASK_KINDS):
        raise ValueError(
            f"mask_type is {mask_type!r}: give one of {_names()}, a function, or None for a mask"
        )
    known = ~np.isnan(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
    if callable(mask_type):
        return _checked(mask_type(values), values.shape, name) & known
    filled = values if known.all() else np.where(known, values, 0)
    if mask_type is None:
        return as_mask(filled, name) & known
    kind = MASK_KINDS[mask_type]
    return kind.is_clear(kind.check(filled, name, mask_type)) & known


def warn_of_no_mask(frames: Iterable[Any], name: str) -> None:
    """Warn if the frames of the bands of a site `name` have neither masks nor a nodata value."""
    if all(band.masks is None and band.shows_all for band in frames):
        warnings.warn(
            f"{name} has neither a mask nor a nodata value: every pixel is taken as clear, clouds "
            "and borders too; pass mask or nodata to say which are",
            stacklevel=3,
        )


def _names():
    return ", ".join(repr(name) for name in MASK_KINDS)


def _checked(clear, shape, name):
    clear = np.asarray(clear)
    if clear.dtype != bool or clear.shape != shape:
        raise ValueError(
            f"mask_type made of {name}, an array of shape {shape}, one of type {clear.dtype} and "
            f"shape {clear.shape}: return a bool array of the same shape, True = clear"
        )
    return clear


def match_mask(
    mask_shape: tuple[int, int], image_shape: tuple[int, int], name: str
) -> tuple[int, int]:
    """Return how many rows and columns of an image each pixel of a mask covers, by their (h, w)."""
    times = max(1, image_shape[0] // max(1, mask_shape[0]))
    if (times * mask_shape[0], times * mask_shape[1]) == tuple(image_shape):
        return times, times
    raise ValueError(
        f"{name} has {mask_shape[0]}x{mask_shape[1]} pixels and the image "
        f"{image_shape[0]}x{image_shape[1]}: a mask has as many, or each of its pixels covers a "
        "whole number of the image's along both axes; put it on the image's grid, such as by "
        "rioxarray's mask.rio.reproject_match(cube)"
    )


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
    if nodata is not None and _has_value(mask_type, nodata):
        nodata = None
    clear = partial(_clear, mask_type=mask_type, nodata=nodata)
    # Pixels beyond a mask are not clear.
    found = MaskStack(stack, clear, repeat, origin)
    known = next(iter(masks.valid.values()), None)
    while known is not None:
        shown: Any = known.stack
        found = MaskStack(shown.take(numbers), known.convert, repeat, origin, found)
        known = known.other
    return found


def _has_value(mask_type, value):
    """Whether a value is a class of a kind of masks, so that as nodata it says nothing more."""
    if callable(mask_type):
        return False
    return 0 <= value <= (1 if mask_type is None else MASK_KINDS[mask_type].greatest)


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
    own, wanted = masks.dates, imagery.dates
    have_times = are_dates(own), are_dates(wanted)
    if own is not None and wanted is not None and have_times[0] == have_times[1]:
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
    if have_times[0] != have_times[1]:
        warn_of_position(masks.label, "masks are matched")
    return list(range(n_frames))


def _unmatched(own, wanted, imagery):
    """The first frame without a mask of its own, or the first that has several."""
    if are_dates(own):
        own, wanted = to_unit(own, "D"), to_unit(wanted, "D")
    counts = [(own == label).sum() for label in wanted]
    number = next((i for i, count in enumerate(counts) if count != 1), 0)
    found = "several have" if counts[number] else "none has"
    label = label_list(imagery.dates[[number]])
    return f"{found} the date of {imagery.first.where(number)}, {label}"


def _match_grids(masks, imagery):
    """Frame pixels a mask pixel covers, and the row and column of these where frames start."""
    image = imagery.grid
    mask = masks.whole.in_crs_of(image)
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
