"""Dates and other labels of frames, by which masks, scales and offsets are matched with them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["in_order_of_frames", "label_list", "labels_of", "match_labels", "warn_of_position"]

# Labels that a message lists.
_MOST = 30


def labels_of(values: NDArray[Any], name: str) -> NDArray[Any] | None:
    """Return labels as datetime64, UTC, if they are dates, numbers as they are, or None.

    Dates may be text, objects of `datetime`, with or without time zones, or of cftime. `name` is
    what a ValueError calls them if they are none of these.
    """
    if values.dtype.kind not in "OUT":
        return values if values.dtype.kind in "Miuf" else None
    import pandas

    text = [str(value) for value in values]
    try:
        try:
            found = pandas.to_datetime(text, format="ISO8601", utc=True)
        except ValueError:
            found = pandas.to_datetime(text, format="mixed", utc=True)
    except ValueError as error:
        raise ValueError(
            f"{name} has times that are no dates, such as {values[0]!r}: make them numpy's, "
            'cube.assign_coords(time=...), or leave them out, cube.drop_vars("time")'
        ) from error
    times: NDArray[np.datetime64] = found.tz_localize(None).values
    return times


def match_labels(known: NDArray[Any], wanted: NDArray[Any]) -> list[int] | None:
    """Return the number of each label that is wanted, or None unless each is there once.

    Dates are the same to the second, or by the day where days are different.
    """
    units = ("s", "D") if known.dtype.kind == "M" else (None,)
    for unit in units:
        own, others = (
            (labels if unit is None else labels.astype(f"datetime64[{unit}]")).tolist()
            for labels in (known, wanted)
        )
        if own == others:
            return list(range(len(own)))
        if len(set(own)) == len(own) and set(others) <= set(own):
            return [own.index(label) for label in others]
    return None


def label_list(labels: NDArray[Any]) -> str:
    """Return labels as text, those of many in part."""
    shown = labels.astype("datetime64[s]") if labels.dtype.kind == "M" else labels
    text = [str(label).removesuffix("T00:00:00") for label in shown[:_MOST]]
    return ", ".join(text) + (f" and {len(shown) - _MOST} more" if len(shown) > _MOST else "")


def warn_of_position(name: str, what: str) -> None:
    """Warn that something without dates is matched with frames that have some, or vice versa."""
    warnings.warn(
        f"{name} and the frames do not both have dates, so {what} by position: give both their "
        "dates, as coordinates or in the names of files, or check that they have one order",
        stacklevel=5,
    )


def in_order_of_frames(value: Any, frames: NDArray[Any] | None, n_frames: int, name: str) -> Any:
    """Return numbers of frames in their order, if they have labels.

    Parameters
    ----------
    value : any
        A Series of pandas or a one-dimensional DataArray is put in order by its labels: dates, or
        the numbers of frames. All else is returned as it is.
    frames : array of shape (t,) or None
        Labels of the frames.
    n_frames : int
    name : str
        What messages call `value`.

    Returns
    -------
    array of shape (t,), or `value`

    Raises
    ------
    ValueError
        If labels do not match.
    """
    own = _own_labels(value)
    if own is None or len(own) < 2:
        return value
    values = np.asarray(value)
    numbers = own.dtype.kind in "iu"
    if numbers and sorted(own.tolist()) == list(range(n_frames)):
        return values[np.argsort(own)]
    if frames is None or (frames.dtype.kind == "M") != (own.dtype.kind == "M"):
        if len(own) == n_frames and not numbers:
            warn_of_position(name, "its values are taken")
        return values
    if (order := match_labels(own, frames)) is None:
        raise ValueError(
            f"{name} has the labels {label_list(own)}, and the frames {label_list(frames)}: give "
            "one number for each frame, with its date, or a list in the order of the frames"
        )
    return values[order]


def _own_labels(value):
    """Labels of a Series or a DataArray, or None."""
    if hasattr(value, "dims") and hasattr(value, "coords"):
        known = len(value.dims) == 1 and value.dims[0] in value.coords
        labels = value.coords[value.dims[0]].values if known else None
    else:
        labels = getattr(getattr(value, "index", None), "values", None)
    if labels is None:
        return None
    try:
        return labels_of(np.asarray(labels), "index")
    except ValueError:
        return None
