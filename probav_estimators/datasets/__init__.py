"""Data sets: the download of PROBA-V, simulated scenes, and the challenge's submission."""

from ._fetch import fetch_probav
from ._simulated import make_scenes
from ._submission import write_submission

__all__ = ["fetch_probav", "make_scenes", "write_submission"]
