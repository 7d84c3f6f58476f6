"""Training and validation scenes."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

from skorch.dataset import Dataset as SkorchDataset
from skorch.dataset import ValidSplit
from torch.utils.data import Dataset

from ..scenes import check_scenes
from ._settings import describe

if TYPE_CHECKING:
    from ..scenes import Scene

__all__ = ["split_scenes"]


def split_scenes(
    scenes: Sequence[Scene], splitter: Any, seed: int, *, truth: bool
) -> tuple[Sequence[Scene], Sequence[Scene] | None]:
    """Split scenes into training and validation scenes; views of one scene stay together.

    Parameters
    ----------
    scenes : list of Scene
    splitter : float, callable or None
        The parameter `train_split` of nets.
    seed : int
        Of the split, where `splitter` is a fraction.
    truth : bool
        Whether scenes must have HR images.

    Returns
    -------
    train : list of Scene
    valid : list of Scene or None

    Raises
    ------
    ValueError
        If `splitter` returns something else than scenes, or scenes with other steps than those of
        `scenes`.

    Notes
    -----
    Transformers that were applied to all of `scenes` are applied to scenes of
    ``predefined_split(scenes)`` here, if the net is in a pipeline.
    """
    if isinstance(splitter, Real):
        alone = len(scenes) == 1
        splitter = None if alone else ValidSplit(float(splitter), random_state=seed)
    if splitter is None:
        return scenes, None
    parts = splitter(_SceneList(scenes))
    steps = _common_steps(scenes)
    train, valid = (None if part is None else _scenes_of(part, steps, truth) for part in parts)
    return train, valid  # type: ignore[return-value]


class _SceneList(Dataset):
    """Dataset with an item for each scene, for splitters of skorch."""

    def __init__(self, scenes):
        self.scenes = scenes

    def __len__(self):
        return len(self.scenes)

    def __getitem__(self, number):
        return self.scenes[number]


def _scenes_of(part, steps, truth):
    scenes = check_scenes(_items_of(part), "train_split", truth=truth)
    return scenes if steps is None else [_apply_missing_steps(scene, steps) for scene in scenes]


def _items_of(part):
    if isinstance(part, SkorchDataset):
        # Its items are not those of X.
        return part.X
    if hasattr(part, "scenes"):
        return part.scenes
    items = (part[number] for number in range(len(part)))
    # Items of datasets are pairs of scene and target.
    return [item[0] if isinstance(item, tuple) else item for item in items]


def _common_steps(scenes):
    """Transformers that were applied to all scenes; None if they differ."""
    steps = scenes[0].steps
    return steps if all(_are_same(scene.steps, steps) for scene in scenes) else None


def _apply_missing_steps(scene, steps):
    """Apply the steps of the training scenes that were not applied to the scene."""
    done = scene.steps
    if _are_same(done, steps[: len(done)]):
        for step in steps[len(done) :]:
            scene = step.transform_scene(scene)
        return scene.with_steps(steps)
    kinds = iter([type(step) for step in done])
    if all(type(step) in kinds for step in steps):
        # Transformed by the user, with other parameters or further steps.
        return scene
    raise ValueError(
        f"train_split has {scene.label}, which was transformed by {_names_of(done)}, and the "
        f"training scenes were transformed by {_names_of(steps)}: pass validation scenes as they "
        "were loaded, and the steps of the pipeline are applied to them, or apply all of these "
        "steps before"
    )


def _are_same(some, others):
    if some is others:
        return True
    return len(some) == len(others) and all(
        a is b or _described(a) == _described(b) for a, b in zip(some, others, strict=True)
    )


def _described(step):
    return describe((type(step), step.get_params(deep=False)))


def _names_of(steps):
    return ", ".join(repr(step) for step in steps)
