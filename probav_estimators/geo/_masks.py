"""Masks of clear pixels, of the products that come with satellite images."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..imaging import as_mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MASK_TYPES", "clear_of", "match_mask", "warn_of_no_mask"]

# Greatest value of each kind, and the one beyond it that stands for no data.
_GREATEST = {
    "scl": (11, None),
    "qa_pixel": (65535, None),
    "fmask": (255, None),
    "omnicloudmask": (3, 255),
    "probav": (255, None),
}

#: Kinds of masks that :func:`clear_of` knows by name.
MASK_TYPES = tuple(_GREATEST)


def clear_of(
    values: NDArray[Any],
    mask_type: str | Callable[[NDArray[Any]], NDArray[np.bool_]] | None,
    name: str,
) -> NDArray[np.bool_]:
    """Return where pixels are clear, by the values of a mask.

    Parameters
    ----------
    values : array
        Whole numbers of any type, or a mask. NaN, which xarray makes of no data, is not clear.
    mask_type : str, callable or None
        What the values mean:

        - None: a mask, True or 1 where it is clear.
        - "scl": scene classification of Sentinel-2. Hides 0 no data, 1 saturated, 3 cloud shadow,
          8 and 9 cloud, 10 cirrus; shows 2 dark, 4 vegetation, 5 bare, 6 water, 7 unclassified, 11
          snow.
        - "qa_pixel": QA_PIXEL of Landsat Collection 2. Hides bits 0 fill, 1 dilated cloud,
          2 cirrus, 3 cloud, 4 cloud shadow.
        - "fmask": Fmask of HLS v2. Hides bits 1 cloud, 2 next to cloud or shadow, 3 cloud shadow,
          and 255 fill; shows snow (4), water (5) and every amount of aerosol (6 and 7). Bit 0 is
          not in use.
        - "omnicloudmask": OmniCloudMask. Hides 1 thick cloud, 2 thin cloud, 3 cloud shadow, and 255
          no data; shows 0.
        - "probav": status map SM of PROBA-V. Shows where bits 0 to 2 are 0 clear, and not 1 shadow,
          2 undefined, 3 cloud or 4 ice, and bits 4 to 7 say of one band at least that its
          radiometry is good; where none is, there are no data.
        - callable: takes the values, returns a bool array of their shape, True = clear.
    name : str
        What the values are, for the error.

    Returns
    -------
    bool array of the same shape

    Raises
    ------
    ValueError
        For an unknown kind, values that are none of that kind, and what a callable must not return.
    """
    values = np.asarray(values)
    if not (mask_type is None or callable(mask_type) or mask_type in MASK_TYPES):
        raise ValueError(
            f"mask_type is {mask_type!r}: give one of {_kinds()}, a function, or None for a mask"
        )
    known = ~np.isnan(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
    if callable(mask_type):
        return _checked(mask_type(values), values.shape, name) & known
    filled = values if known.all() else np.where(known, values, 0)
    if mask_type is None:
        return as_mask(filled, name) & known
    return _RULES[mask_type](_as_classes(filled, mask_type, name)) & known


def warn_of_no_mask(frames: Iterable[Any], name: str) -> None:
    """Warn if nothing tells which pixels of frames are clear.

    Parameters
    ----------
    frames : iterable of ValueFrames
        The bands of a place.
    name : str
        What messages call it.
    """
    if all(band.masks is None and band.shows_all for band in frames):
        warnings.warn(
            f"{name} has neither a mask nor a nodata value: every pixel is taken as clear, clouds "
            "and borders too; pass mask or nodata to say which are",
            stacklevel=3,
        )


def _kinds():
    return ", ".join(repr(kind) for kind in MASK_TYPES)


def _checked(clear, shape, name):
    clear = np.asarray(clear)
    if clear.dtype != bool or clear.shape != shape:
        raise ValueError(
            f"mask_type made of {name}, an array of shape {shape}, one of type {clear.dtype} and "
            f"shape {clear.shape}: return a bool array of the same shape, True = clear"
        )
    return clear


def _as_classes(values, kind, name):
    """The values as whole numbers, if they can be of that kind."""
    if values.dtype.kind not in "uif":
        raise ValueError(
            f"{name} has values of type {values.dtype}, and mask_type is {kind!r}, which has "
            "numbers; leave mask_type out for a mask, True = clear"
        )
    greatest, fill = _GREATEST[kind]
    wrong = (values < 0) | (values > greatest)
    if values.dtype.kind == "f":
        wrong |= values != np.floor(values)
    if fill is not None:
        wrong &= values != fill
    if wrong.any():
        found = np.unique(values[wrong])
        shown = ", ".join(f"{value:g}" for value in found[:8]) + (", ..." if len(found) > 8 else "")
        raise ValueError(
            f"{name} has the values {shown}, which mask_type={kind!r} has not: give the kind that "
            f"it is, one of {_kinds()}, a function, or None for a mask"
        )
    return values if values.dtype.kind in "ui" else values.astype(np.int32)


def _clear_in_probav(values):
    return ((values & 0b111) == 0) & ((values & 0b1111_0000) != 0)


_RULES: dict[str, Callable[[NDArray[Any]], NDArray[np.bool_]]] = {
    "scl": lambda values: ~np.isin(values, [0, 1, 3, 8, 9, 10]),
    "qa_pixel": lambda values: (values & 0b1_1111) == 0,
    # All bits of fill are set, also those of clouds.
    "fmask": lambda values: (values & 0b1110) == 0,
    "omnicloudmask": lambda values: values == 0,
    "probav": _clear_in_probav,
}


def match_mask(
    mask_shape: tuple[int, int], image_shape: tuple[int, int], name: str
) -> tuple[int, int]:
    """Return how many rows and columns of an image each pixel of its mask covers.

    Parameters
    ----------
    mask_shape, image_shape : tuple of two ints
        (h, w).
    name : str
        What the mask is, for the error.

    Returns
    -------
    tuple of two ints
        (1, 1) for a mask of the image's size, (2, 2) for one in 20 m pixels of an image in 10 m.

    Raises
    ------
    ValueError
        If that is no whole number, or not the same along both axes.
    """
    times = max(1, image_shape[0] // max(1, mask_shape[0]))
    if (times * mask_shape[0], times * mask_shape[1]) == tuple(image_shape):
        return times, times
    raise ValueError(
        f"{name} has {mask_shape[0]}x{mask_shape[1]} pixels and the image "
        f"{image_shape[0]}x{image_shape[1]}: a mask has as many, or each of its pixels covers a "
        "whole number of the image's along both axes; put it on the image's grid, such as by "
        "rioxarray's mask.rio.reproject_match(cube)"
    )
