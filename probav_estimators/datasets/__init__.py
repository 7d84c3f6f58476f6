"""Scenes in and out: the data set's files, its download, and simulated scenes."""

from ._fetch import fetch_probav
from ._layout import load_scenes, save_scenes
from ._simulated import make_scenes

__all__ = ["fetch_probav", "load_scenes", "make_scenes", "save_scenes"]
