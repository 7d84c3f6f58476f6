"""Data sets: the download of PROBA-V, simulated scenes, and the challenge's submission."""

from ._fetch import fetch_probav, unpack_data_set
from ._simulated import make_scenes
from ._submission import can_be_submitted, write_submission

__all__ = [
    "can_be_submitted",
    "fetch_probav",
    "make_scenes",
    "unpack_data_set",
    "write_submission",
]
