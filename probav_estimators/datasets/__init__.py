"""Scenes in and out: the data set's files, its download, simulated scenes, and the submission."""

from ._fetch import fetch_probav
from ._layout import load_scenes, save_scenes
from ._simulated import make_scenes
from ._submission import write_submission

__all__ = ["fetch_probav", "load_scenes", "make_scenes", "save_scenes", "write_submission"]
