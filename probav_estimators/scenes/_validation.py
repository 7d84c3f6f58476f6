"""Validation of lists of scenes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ._scene import Scene


def check_scenes(scenes: Sequence[Scene], caller: str, *, truth: bool = False) -> Sequence[Scene]:
    """Return `scenes` as a list, or raise an error.

    Parameters
    ----------
    scenes : sequence of Scene, or a dataset whose attribute `scenes` is one
    caller : str
        Name of the caller, for the error.
    truth : bool, default=False
        Whether every scene must have an HR image.

    Returns
    -------
    list of Scene

    Raises
    ------
    ValueError
        If the list is empty or holds anything else, if it is a table, a generator or joined
        columns, or if truth is missing.
    """
    scenes = _as_list(scenes, caller)
    if not scenes:
        raise ValueError(f"{caller} got an empty list: give at least one scene")
    for position, scene in enumerate(scenes):
        if not isinstance(scene, Scene):
            raise ValueError(
                f"{caller} takes a list of scenes, got {type(scene).__name__} at position "
                f"{position}: make a Scene of it first"
            )
        if truth and not scene.has_hr:
            raise ValueError(
                f"{caller} needs the truth, and {scene.label} has no HR image (position "
                f"{position}): leave it out, or pass scenes of the training split"
                f"{_without_truth(caller)}"
            )
    return scenes


def _as_list(scenes, caller):
    kind = type(scenes).__name__
    expected = f"{caller} takes a list of scenes"
    if isinstance(scenes, Scene):
        raise ValueError(f"{expected}, got one Scene: wrap it, [scene]")
    if isinstance(scenes, Iterator):
        raise ValueError(f"{expected}, got a {kind}, which can be read only once: pass a list")
    if hasattr(scenes, "columns"):
        raise ValueError(
            f"{expected}, got a {kind}: scenes are no table, pass the column that holds them, as "
            "list(table[column])"
        )
    # Scorers that are callbacks of skorch are given the dataset of the training.
    scenes = getattr(scenes, "scenes", scenes)
    if _is_joined(scenes):
        raise ValueError(
            f"{expected}, got an array in which every scene repeats, with other frames or inputs: "
            "FeatureUnion joins columns, and scenes have none, make a Pipeline of the transformers"
        )
    try:
        return list(scenes)
    except TypeError:
        raise ValueError(
            f"{expected}, got {kind}: make one with load_scenes or make_scenes"
        ) from None


def _is_joined(scenes):
    """Whether FeatureUnion concatenated the outputs of several transformers."""
    if not isinstance(scenes, np.ndarray) or scenes.dtype != object or scenes.ndim != 1:
        return False
    truths = [id(getattr(scene, "_truth", scene)) for scene in scenes]
    if truths[:1] * 2 != [x for x in truths if x == truths[0]][:2]:
        return False
    period = truths.index(truths[0], 1)
    repeats = truths == truths[:period] * (len(truths) // period)
    # A bootstrap sample repeats the same objects.
    return repeats and any(scene is not scenes[i % period] for i, scene in enumerate(scenes))


def _without_truth(caller):
    # Scores always need HR images.
    if caller == "scoring":
        return ""
    return "; FusionNet(criterion=ReprojectionLoss()) is trained without HR images"
