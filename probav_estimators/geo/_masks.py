"""Masks of clear pixels that come with satellite products."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..imaging import as_mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "MASK_KINDS",
    "MASK_TYPES",
    "MaskKind",
    "clear_of",
    "has_value",
    "mask_type_of_name",
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
    """

    product: str
    hidden: str
    is_clear: Callable[[NDArray[Any]], NDArray[np.bool_]]
    greatest: int
    fill: int | None = None
    pattern: str | None = None

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
    ),
    "fmask": MaskKind(
        "HLS",
        "bits 1 to 3: cloud, adjacent to cloud, shadow; 255",
        # All bits of fill are set, also those of clouds.
        lambda values: (values & 0b1110) == 0,
        greatest=255,
        pattern=r"fmask",
    ),
    "omnicloudmask": MaskKind(
        "OmniCloudMask",
        "1, 2 cloud, 3 shadow, 255",
        lambda values: values == 0,
        greatest=3,
        fill=255,
        pattern=r"omnicloudmask|(?<![a-z])ocm(?![a-z])",
    ),
    "probav": MaskKind(
        "PROBA-V SM",
        "shadow, undefined, cloud, ice, bad radiometry",
        # Bits 4 to 7: the radiometry of a band is good.
        lambda values: ((values & 0b111) == 0) & ((values & 0b1111_0000) != 0),
        greatest=255,
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


def has_value(mask_type: Any, value: float) -> bool:
    """Whether a value is a class of a kind of masks, so that as nodata it says nothing more."""
    if callable(mask_type):
        return False
    return 0 <= value <= (1 if mask_type is None else MASK_KINDS[mask_type].greatest)


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
    """Warn if frames have neither masks nor a nodata value.

    Parameters
    ----------
    frames : iterable of ValueFrames
        Bands of a site.
    name : str
        What messages call it.
    """
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
