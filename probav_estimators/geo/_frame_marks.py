"""Marks of frames that came onto a grid before they are read: tags of files, coordinates of cubes.

Registration needs to know of both: frames whose pixels are a known fraction of a pixel off the
grid, and frames that were resampled by nearest neighbour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from xarray import DataArray, Dataset

__all__ = ["coordinates_of", "marks_of_cube", "marks_of_tags", "tags_of"]

_RESAMPLED, _OFFSETS = "resampled", ("offset_down", "offset_right")
_RESAMPLED_TAG, _OFFSET_TAG = "FRAME_RESAMPLED", "FRAME_OFFSET"


def coordinates_of(fractions: NDArray[np.float64], resampled: NDArray[np.bool_]) -> dict[str, Any]:
    """Return coordinates of dates for a cube; none where they would say nothing.

    Parameters
    ----------
    fractions : float64 array of shape (t, 2)
        Offset of the pixels of each date from those of the grid: rows down and columns right.
    resampled : bool array of shape (t,)
        Which dates were resampled by nearest neighbour.

    Returns
    -------
    dict
        ``resampled``, ``offset_down`` and ``offset_right`` along time.
    """
    found = {name: ("time", column) for name, column in zip(_OFFSETS, fractions.T, strict=True)}
    found = found if fractions.any() else {}
    return found | ({_RESAMPLED: ("time", resampled)} if resampled.any() else {})


def marks_of_cube(cube: DataArray | Dataset, frames: str) -> dict[str, Any]:
    """Return the `fractions` and `resampled` dates of a cube whose dates are along `frames`."""
    along = {name: array.values for name, array in cube.coords.items() if array.dims == (frames,)}
    found: dict[str, Any] = {}
    if all(name in along and along[name].dtype.kind in "fiu" for name in _OFFSETS):
        found["fractions"] = np.stack([along[name] for name in _OFFSETS], axis=1).astype(np.float64)
    if _RESAMPLED in along and along[_RESAMPLED].dtype.kind == "b":
        found["resampled"] = along[_RESAMPLED]
    return found


def tags_of(fraction: Sequence[float], resampled: bool) -> dict[str, str]:
    """Return the tags of the file of a frame, as of :func:`coordinates_of`."""
    tags = {_OFFSET_TAG: " ".join(map(repr, map(float, fraction)))} if any(fraction) else {}
    return tags | ({_RESAMPLED_TAG: "nearest"} if resampled else {})


def marks_of_tags(tags: Mapping[str, str]) -> tuple[tuple[float, float], bool]:
    """Return the fraction of a pixel by the tags of a file, and whether it was resampled."""
    down, right = map(float, tags.get(_OFFSET_TAG, "0 0").split())
    return (down, right), _RESAMPLED_TAG in tags
