"""Data sets: the download of PROBA-V, simulated scenes, and the challenge's submission."""

from ._archives import BAD_ARCHIVE, open_entry
from ._fetch import fetch_probav, unpack_data_set
from ._simulated import make_scenes
from ._submission import can_be_submitted, write_submission

__all__ = [
    "BAD_ARCHIVE",
    "can_be_submitted",
    "fetch_probav",
    "make_scenes",
    "open_entry",
    "unpack_data_set",
    "write_submission",
]
