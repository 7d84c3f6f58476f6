"""Training and validation scenes."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

from skorch.dataset import ValidSplit
from torch.utils.data import Dataset

from ..scenes import check_scenes

if TYPE_CHECKING:
    from ..scenes import Scene

__all__ = ["split_scenes"]


def split_scenes(
    scenes: Sequence[Scene], splitter: Any, seed: int, *, truth: bool
) -> tuple[Sequence[Scene], Sequence[Scene] | None]:
    """Split scenes into those to train on and those to validate with.

    Whole scenes are split: views of one scene must not be on both sides.

    Parameters
    ----------
    scenes : list of Scene
    splitter : float, callable or None
        What the nets' `train_split` may be.
    seed : int
        Of the split, where `splitter` is a fraction.
    truth : bool
        Whether scenes must have HR images.

    Returns
    -------
    train : list of Scene
    valid : list of Scene or None
    """
    if isinstance(splitter, Real):
        alone = len(scenes) == 1
        splitter = None if alone else ValidSplit(float(splitter), random_state=seed)
    if splitter is None:
        return scenes, None
    parts = splitter(_SceneList(scenes))
    train, valid = (None if part is None else _scenes_of(part, truth) for part in parts)
    return train, valid  # type: ignore[return-value]


class _SceneList(Dataset):
    """Scenes as splitters of skorch want them: a dataset with one item for each."""

    def __init__(self, scenes):
        self.scenes = scenes

    def __len__(self):
        return len(self.scenes)

    def __getitem__(self, number):
        return self.scenes[number]


def _scenes_of(part, truth):
    return check_scenes([part[number] for number in range(len(part))], "train_split", truth=truth)
