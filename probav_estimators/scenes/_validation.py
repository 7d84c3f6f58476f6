"""Validation of lists of scenes."""

from __future__ import annotations

from collections.abc import Sequence

from ._scene import Scene


def check_scenes(scenes: Sequence[Scene], caller: str, *, truth: bool = False) -> Sequence[Scene]:
    """Return `scenes` as a list, or say what is wrong with it.

    Parameters
    ----------
    scenes : sequence of Scene
    caller : str
        Who asks, for the error.
    truth : bool, default=False
        Whether every scene must have an HR image.

    Returns
    -------
    list of Scene

    Raises
    ------
    ValueError
        If there are none, if something else is among them, or if truth is missing.
    """
    if isinstance(scenes, Scene):
        raise ValueError(f"{caller} takes a list of scenes, got one Scene: wrap it, [scene]")
    try:
        scenes = list(scenes)
    except TypeError:
        raise ValueError(
            f"{caller} takes a list of scenes, got {type(scenes).__name__}: make one with "
            "load_scenes or make_scenes"
        ) from None
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


def _without_truth(caller):
    # Scores have no other way.
    if caller == "scoring":
        return ""
    return "; FusionNet(criterion=ReprojectionLoss()) is trained without HR images"
