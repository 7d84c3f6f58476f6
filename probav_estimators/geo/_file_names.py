"""Names and tags of raster files: patterns, dates, bands and scenes."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

__all__ = [
    "band_of_name",
    "check_one_band",
    "group_paths",
    "names_of_bands",
    "scene_name",
    "time_of",
    "times_of_folders",
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

# B04 or B8A in a file's name.
_BAND = re.compile(r"(?<![A-Za-z0-9])B\d{1,2}A?(?![A-Za-z0-9])")


def group_paths(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Any]:
    """Group files by band: each pattern is a band, plain paths are all of one."""
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    texts = [os.fspath(path) for path in given]
    if len(texts) == 1:
        return texts
    if any(glob.has_magic(text) and not os.path.exists(text) for text in texts):
        return texts
    return [texts]


def check_one_band(files: Sequence[str]) -> None:
    """Raise a ValueError if a pattern or a folder has the bands of a date as several files."""
    seen: dict[str, str] = {}
    for path in files:
        folder, name = os.path.split(path)
        rest, n_bands = _BAND.subn("", name)
        earlier = seen.setdefault(os.path.join(folder, rest), path)
        if n_bands and earlier != path:
            raise ValueError(
                f"{earlier} and {path} are two bands of one date: give the files of one band, "
                "such as 'dates/*_B04.tif'"
            )


def band_of_name(path: str) -> str | None:
    """Return the band, such as B04, that is the last in the name of a file."""
    found = _BAND.findall(os.path.basename(path))
    return found[-1] if found else None


def names_of_bands(paths: Sequence[str]) -> list[str]:
    """Return names of bands: the words by which the paths of their first files differ."""
    for number, path in enumerate(paths):
        if path in paths[:number]:
            raise ValueError(f"{path} is of two patterns: give one pattern for each band")
    words = [re.split(r"[^A-Za-z0-9]+", os.path.splitext(path)[0]) for path in paths]
    start = _n_common(words)
    words = [one[start:] for one in words]
    end = _n_common([one[::-1] for one in words])
    names = ["_".join(one[: len(one) - end]) for one in words]
    if all(names) and len(set(names)) == len(names):
        return names
    return [str(number) for number in range(1, len(paths) + 1)]


def _n_common(texts):
    """Number of words that all begin with."""
    same = [len(set(words)) == 1 for words in zip(*texts, strict=False)]
    return [*same, False].index(False)


def times_of_folders(paths: Sequence[str]) -> list[datetime | None]:
    """Return acquisition times by the names of the folders of files."""
    times = [_time_in(os.path.basename(os.path.dirname(path))) for path in paths]
    # A date of the folder of all files is not one of a frame.
    return times if len(set(times)) > 1 else [None]


def time_of(tags: Mapping[str, str], path: str) -> datetime | None:
    """Return the acquisition time of a file by its tags and its name."""
    named = _time_in(os.path.basename(path))
    tagged = next((time for tag in _TIME_TAGS if (time := _time_in(tags.get(tag, "")))), None)
    # Tags may hold the time when the file was written; those of the same day tell the hour.
    if tagged is None or (named is not None and tagged.date() != named.date()):
        return named
    return tagged


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


def scene_name(paths: Sequence[str]) -> str | None:
    """Common start of the files' names, without a part of a date, or the name of their folder."""
    stems = [os.path.splitext(os.path.basename(path))[0] for path in paths]
    if len(stems) == 1:
        return stems[0]
    # In the order of their letters, the first and the last differ earliest.
    first, last = min(stems), max(stems)
    same = [one == two for one, two in zip(first, last, strict=False)]
    common = first[: [*same, False].index(False)]
    if first != last:
        common = re.sub(r"[^_\-. ]*$", "", common)
    common = re.sub(r"(?:(?:^|[_\-. ]+)\d*)+$", "", common)
    folder = os.path.commonpath([os.path.dirname(path) for path in paths])
    return common or os.path.basename(folder) or None
