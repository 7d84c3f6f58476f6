"""Training and test scenes of a data set's folder or archive."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..datasets import can_be_submitted, unpack_data_set
from ..scenes import Scene, load_scenes, load_truth


class DataSet(NamedTuple):
    """Scenes of one scale: training scenes with HR images, and those to submit, if any."""

    train: list[Scene]
    test: list[Scene]
    scale: int


def open_data_set(
    root: str | os.PathLike[str],
    unpacked: Path,
    *,
    max_scenes: int | None = None,
    quiet: bool = False,
) -> DataSet:
    """List the scenes of a data set; pixels are not read.

    `root` is the folder of a data set, of a split or of a band, or a zip in the layout of the
    challenge, which is unpacked to `unpacked`. Of each split, `max_scenes` are chosen evenly.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or file.
    ValueError
        If no scene has an HR image, scenes have different scales, or a zip cannot be unpacked.
    """
    root = Path(root)
    if root.is_file():
        root = unpack_data_set(root, unpacked, quiet=quiet)
    whole = (root / "train").is_dir()
    train = _choose(load_truth(root / "train" if whole else root), max_scenes)
    has_test = whole and (root / "test").is_dir()
    test = _choose(load_scenes(root / "test"), max_scenes) if has_test else []
    if not can_be_submitted(test):
        warnings.warn(
            f'{root / "test"} has scenes that are not named like "imgset0594": no submissions are '
            "written",
            stacklevel=3,
        )
        test = []
    return DataSet(train, test, _scale_of(train))


def _choose(scenes, max_scenes):
    if max_scenes is None or len(scenes) <= max_scenes:
        return scenes
    chosen = np.linspace(0, len(scenes) - 1, max_scenes).round().astype(int)
    return [scenes[number] for number in chosen]


def _scale_of(scenes):
    for scene in scenes:
        if scene.scale != scenes[0].scale:
            raise ValueError(
                f"{scene.label} has scale {scene.scale} and {scenes[0].label} scale "
                f"{scenes[0].scale}: benchmark the scenes of one scale at a time"
            )
    return scenes[0].scale
