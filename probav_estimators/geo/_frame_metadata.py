"""Dates and labels of frames, the frame of reference, and marks of frames that were moved.

Masks, scales and offsets are matched with frames by dates or other labels. Registration needs to
know of frames that came onto a grid before they are read: those whose pixels are a known fraction
of a pixel off the grid, and those that were resampled by nearest neighbour.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from xarray import DataArray, Dataset

    #: "middle", "clearest", the number of a frame or its date.
    Reference = Literal["middle", "clearest"] | int | str | date | np.datetime64

__all__ = [
    "are_dates",
    "check_reference",
    "coordinates_of",
    "frame_of",
    "in_order_of_frames",
    "label_list",
    "labels_of",
    "marks_of_cube",
    "marks_of_tags",
    "match_labels",
    "tags_of",
    "time_of_file",
    "times_of_folders",
    "to_unit",
    "warn_of_position",
    "without_date",
]

# Tags of the acquisition time. The last may be the time when the file was written.
_TIME_TAGS = (
    "ACQUISITIONDATETIME",
    "ACQUISITION_DATE",
    "SENSING_TIME",
    "DATE_ACQUIRED",
    "time_coverage_start",
    "TIFFTAG_DATETIME",
)
# Seconds may be missing after a T alone: other numbers of four digits are none of a clock.
_DATE = re.compile(
    r"(?<!\d)(\d{4})([-:_.]?)(\d\d)\2(\d\d)"
    r"(?:T(\d\d):?(\d\d)(?::?(\d\d))?|[ _]?(\d\d):?(\d\d):?(\d\d))?(?!\d)"
)
# HLS and MODIS count the days of the year: 2022063T100031, A2022063.
_YEAR_DAY = re.compile(r"(?<!\d)(\d{4})(\d{3})T(\d\d)(\d\d)(\d\d)(?!\d)")
_YEAR_DAY_ALONE = re.compile(r"(?<![A-Za-z0-9])A(\d{4})(\d{3})(?!\d)")

# Labels that a message lists.
_MOST = 30

# Marks of frames that were moved: coordinates of cubes, tags of files.
_RESAMPLED, _OFFSETS = "resampled", ("offset_down", "offset_right")
_RESAMPLED_TAG, _OFFSET_TAG = "FRAME_RESAMPLED", "FRAME_OFFSET"


def time_of_file(tags: Mapping[str, str], path: str) -> datetime | None:
    """Return the acquisition time of a file by its tags and its name."""
    named = _time_in(os.path.basename(path))
    tagged = next((time for tag in _TIME_TAGS if (time := _time_in(tags.get(tag, "")))), None)
    # Tags may hold the time when the file was written; those of the same day tell the hour.
    if tagged is None or (named is not None and tagged.date() != named.date()):
        return named
    return tagged


def times_of_folders(paths: Sequence[str]) -> list[datetime | None]:
    """Return acquisition times by the names of the folders of files."""
    times = [_time_in(os.path.basename(os.path.dirname(path))) for path in paths]
    # A date of the folder of all files is not one of a frame.
    return times if len(set(times)) > 1 else [None]


def _time_in(text):
    """The first plausible date in a text, or None."""
    found = [
        (match.start(), [match[1], match[3], match[4]], "%Y%m%d", match.groups()[4:])
        for match in _DATE.finditer(text)
    ] + [
        (match.start(), [match[1], match[2]], "%Y%j", match.groups()[2:])
        for pattern in (_YEAR_DAY, _YEAR_DAY_ALONE)
        for match in pattern.finditer(text)
    ]
    for _, day, form, clock in sorted(found, key=lambda match: match[0]):
        known = [part for part in clock if part]
        digits = "".join([*day, *known, *["00"] * (3 - len(known))])
        try:
            time = datetime.strptime(digits, f"{form}%H%M%S")
        except ValueError:
            continue
        if 1972 <= time.year <= 2100:
            return time
    return None


def without_date(text: str) -> str:
    """Return a text without the dates in it."""
    return _DATE.sub("", text)


def labels_of(values: NDArray[Any], name: str) -> NDArray[Any] | None:
    """Return labels as datetime64, UTC, if they are dates, numbers as they are, or None.

    Dates may be text, objects of `datetime`, with or without time zones, or of cftime; of those of
    a calendar with other days, such as 30 February, text is returned. `name` is what a ValueError
    calls them if they are none of these.
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
        if all(hasattr(value, "calendar") for value in values):
            return np.array([value.isoformat() for value in values])
        raise ValueError(
            f"{name} has times that are no dates, such as {values[0]!r}: make them numpy's, "
            'cube.assign_coords(time=...), or leave them out, cube.drop_vars("time")'
        ) from error
    times: NDArray[np.datetime64] = found.tz_localize(None).values
    return times


def are_dates(labels: NDArray[Any] | None) -> bool:
    """Whether labels are dates, and not numbers or unknown."""
    return labels is not None and labels.dtype.kind in "MU"


def to_unit(labels: NDArray[Any], unit: Literal["s", "D"] | None) -> NDArray[Any]:
    """Return dates as text to the second or the day; None: labels as they are."""
    if unit is None:
        return labels
    text = labels if labels.dtype.kind == "U" else np.datetime_as_string(labels, unit="s")
    return text.astype("U10" if unit == "D" else "U19")


def match_labels(known: NDArray[Any], wanted: NDArray[Any]) -> list[int] | None:
    """Return the number of each label that is wanted, or None unless each is there once.

    Dates are the same to the second, or by the day where days are different.
    """
    for unit in ("s", "D") if are_dates(known) else (None,):
        own, others = (to_unit(labels, unit).tolist() for labels in (known, wanted))
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
    """Return a Series of pandas or a DataArray in the order of the frames, by its labels.

    These are dates or numbers of frames, as the labels `frames` are; all else is returned as it
    is. A ValueError, in which `value` is called `name`, is raised if labels do not match.
    """
    own = _own_labels(value)
    if own is None or len(own) < 2:
        return value
    values = np.asarray(value)
    numbers = own.dtype.kind in "iu"
    if numbers and sorted(own.tolist()) == list(range(n_frames)):
        return values[np.argsort(own)]
    if frames is None or are_dates(frames) != are_dates(own):
        if len(own) == n_frames:
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
    labels = np.asarray(labels)
    try:
        return labels_of(labels, "index")
    except ValueError:
        # Names of files may hold dates.
        times = [_time_in(os.path.basename(str(label))) for label in labels]
        return labels.astype(object) if None in times else np.array(times, "datetime64[s]")


def check_reference(reference: Any) -> None:
    """Raise a ValueError if this is neither a rule, nor a number, nor a date."""
    if isinstance(reference, str) and reference in ("middle", "clearest"):
        return
    if not isinstance(reference, int | np.integer) or isinstance(reference, bool):
        _as_time(reference)


def frame_of(reference: Any, times: NDArray[np.datetime64] | None, label: str) -> Any:
    """Return "middle", "clearest" or the number of the frame that a date names.

    A date without a time of day names the only frame of that day. A ValueError is raised if no
    frame or several have the date, or the dates of the frames, `times`, are not known.
    """
    check_reference(reference)
    if isinstance(reference, int | np.integer) or reference in ("middle", "clearest"):
        return reference
    if times is None:
        raise ValueError(
            f"reference is {reference!r}, and the dates of {label} are not known, or of another "
            "calendar: give the number of a frame, counted from 0"
        )
    asked, seconds = _as_time(reference), times.astype("datetime64[s]")
    found = np.flatnonzero(seconds == asked)
    if not len(found) and asked == asked.astype("datetime64[D]"):
        found = np.flatnonzero(seconds.astype("datetime64[D]") == asked.astype("datetime64[D]"))
    if len(found) == 1:
        return int(found[0])
    what = "several frames have that date" if len(found) else "no frame has that date"
    shown = ", ".join(map(str, seconds[found] if len(found) else seconds))
    raise ValueError(
        f"reference is {reference!r}, and {what}: give one of {label}'s, {shown}, or its number"
    )


def _as_time(reference):
    """The time in UTC, to the second."""
    import pandas

    try:
        time = pandas.Timestamp(reference)
        if time is pandas.NaT or not isinstance(reference, str | date | np.datetime64):
            raise ValueError(f"{reference!r} is no date")
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f"reference is {reference!r}: give 'middle', 'clearest', the number of a frame, or its "
            "date, such as '2021-07-02'"
        ) from None
    time = time if time.tzinfo is None else time.tz_convert("UTC").tz_localize(None)
    return np.datetime64(time.to_datetime64(), "s")


def coordinates_of(fractions: NDArray[np.float64], resampled: NDArray[np.bool_]) -> dict[str, Any]:
    """Return coordinates of dates for a cube; none where they would say nothing.

    `fractions`, float64 (t, 2), are the offsets of the pixels of each date from those of the grid,
    rows down and columns right; `resampled`, bool (t,), tells which were resampled.
    """
    found = {name: ("time", column) for name, column in zip(_OFFSETS, fractions.T, strict=True)}
    found = found if fractions.any() else {}
    return found | ({_RESAMPLED: ("time", resampled)} if resampled.any() else {})


def marks_of_cube(cube: DataArray | Dataset) -> dict[str, Any]:
    """Return the `fractions` and `resampled` dates of a cube."""
    along = {name: array.values for name, array in cube.coords.items() if array.dims == ("time",)}
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
