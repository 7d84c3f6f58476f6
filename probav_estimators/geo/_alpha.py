"""Alpha bands, which tell where the other bands have data."""

from __future__ import annotations

import re
import warnings
from collections.abc import Container, Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from ._encoding import sample_numbers, sample_windows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..scenes import Stack

__all__ = ["above_zero", "find_alpha"]

_NAME = re.compile(r"alpha([ _-]?(band|channel))?|data[ _]?mask", re.IGNORECASE)

# Names of bands that have none of their own.
_NUMBER = re.compile(r"(band[ _]?)?\d+", re.IGNORECASE)

# Values of opaque pixels, besides the greatest of a type of integers.
_OPAQUE = {255, 65535}


def find_alpha(
    bands: Mapping[str, Stack],
    texts: Mapping[str, Iterable[Any]],
    nodata: Mapping[str, float | None],
    label: str,
    wanted: Container[str] = (),
) -> str | None:
    """Return the name of the alpha band, or None; bands that are `wanted` are none.

    Its name or one of its texts says so. Where bands have numbers alone, as libraries leave of
    colour interpretations, it is the last one if, in a sample, it is 0 or one greatest value, and
    the others are 0 or no data where it is 0; a warning says so.
    """
    if len(bands) < 2:
        return None
    said = {
        band: [text for text in (band, *texts[band]) if text and isinstance(text, str)]
        for band in bands
    }
    for band, own in said.items():
        if any(map(_NAME.fullmatch, own)):
            return None if band in wanted else band
    *others, last = bands
    if last in wanted or not all(map(_NUMBER.fullmatch, chain(*said.values()))):
        return None
    if not _is_like_alpha(bands[last], [(bands[band], nodata[band]) for band in others]):
        return None
    warnings.warn(
        f"{label}: band {last} is 0 or the greatest value everywhere, and the other bands are 0 "
        "where it is 0: it is taken as an alpha band, which tells where they have data; give the "
        "bands names if it is one to fuse",
        stacklevel=4,
    )
    return last


def _is_like_alpha(alpha, others):
    """Whether a band is 0 where the others are, and one greatest value elsewhere, in a sample."""
    opaque = {*_OPAQUE, int(np.iinfo(alpha.dtype).max)} if alpha.dtype.kind in "iu" else _OPAQUE
    found = set()
    for window in sample_windows(alpha.shape):
        for number in sample_numbers(alpha.shape):
            values = alpha.read([number], window)
            found.update(np.unique(values).tolist())
            if len(found - {0}) > 1 or not found <= {0, *opaque}:
                return False
            hidden = values == 0
            if hidden.any() and any(
                _has_data(stack.read([number], window)[hidden], nodata) for stack, nodata in others
            ):
                return False
    return bool(found - {0})


def _has_data(values, nodata):
    without = [0] if nodata is None else [0, *np.ravel(nodata)]
    return bool((~np.isin(values, without) & (values == values)).any())


def above_zero(values: NDArray[Any], name: str) -> NDArray[np.bool_]:
    """Where pixels have data, by the values of an alpha band or a mask."""
    return values > 0
