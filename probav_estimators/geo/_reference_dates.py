"""Frame of reference by its number or its date."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    #: "middle", "clearest", the number of a frame or its date.
    Reference = Literal["middle", "clearest"] | int | str | date | np.datetime64

__all__ = ["check_reference", "frame_of"]


def check_reference(reference: Any) -> None:
    """Raise a ValueError if this is neither a rule, nor a number, nor a date."""
    if isinstance(reference, str) and reference in ("middle", "clearest"):
        return
    if not isinstance(reference, int | np.integer) or isinstance(reference, bool):
        _time_of(reference)


def frame_of(reference: Any, times: NDArray[np.datetime64] | None, label: str) -> Any:
    """Return "middle", "clearest" or the number of the frame that a date names.

    Parameters
    ----------
    reference : {"middle", "clearest"}, int, str, date or datetime64
        A date without a time of day names the only frame of that day.
    times : datetime64 array of shape (t,) or None
        Of the frames.
    label : str
        Name of the frames in messages.

    Raises
    ------
    ValueError
        If no frame or several have that date, or dates are not known.
    """
    check_reference(reference)
    if isinstance(reference, int | np.integer) or reference in ("middle", "clearest"):
        return reference
    if times is None:
        raise ValueError(
            f"reference is {reference!r}, and the dates of {label} are not known: give the number "
            "of a frame, counted from 0"
        )
    asked, seconds = _time_of(reference), times.astype("datetime64[s]")
    found = np.flatnonzero(seconds == asked)
    if not len(found) and asked == asked.astype("datetime64[D]"):
        found = np.flatnonzero(seconds.astype("datetime64[D]") == asked.astype("datetime64[D]"))
    if len(found) != 1:
        shown = ", ".join(map(str, seconds if len(found) == 0 else seconds[found]))
        what = "no frame has that date" if len(found) == 0 else "several frames have that date"
        raise ValueError(
            f"reference is {reference!r}, and {what}: give one of {label}'s, {shown}, or its number"
        )
    return int(found[0])


def _time_of(reference):
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
