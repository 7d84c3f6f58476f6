"""Scenes of a training: their value range, split, data sets and data loaders."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from skorch import NeuralNet
from skorch.dataset import Dataset as SkorchDataset
from skorch.dataset import ValidSplit
from torch.utils.data import Dataset

from ..processes import end_with_parent
from ..scenes import COUNTS, check_scenes
from ._sampling import BatchPlan, SceneDataset
from ._settings import describe

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from ..losses import SceneLoss
    from ..scenes import Scene

__all__ = ["MIXED", "DataLoadingMixin", "ValueRangeMixin", "split_scenes"]

# Whole frames that are predicted at a time: more need more memory and are not faster.
_PREDICTION_BATCH = 4

#: Value range of a net whose training scenes have several.
MIXED = "mixed"


class DataLoadingMixin(NeuralNet):
    """Mixin of nets whose samples are read by `make_reader()` and collated by `collate`."""

    def make_dataset(
        self, scenes: Sequence[Scene], *, loss: SceneLoss | None = None, training: bool = False
    ) -> SceneDataset:
        """Return the dataset of samples.

        Parameters
        ----------
        scenes : list of Scene
        loss : SceneLoss, default=None
            Samples hold HR images if it `needs_truth`, and leave frames out if it has `left_out`.
            None: samples are for a prediction.
        training : bool, default=False
            Whether samples are patches of `patch_size`, may be augmented, and are all views of a
            scene instead of those whose predictions are averaged.

        Returns
        -------
        SceneDataset
        """
        return SceneDataset(
            scenes,
            self.make_reader(),
            with_truth=loss is not None and loss.needs_truth,
            left_out=0.0 if loss is None else loss.left_out,
            patch_size=self.patch_size if training else None,
            augment=self.augment and training,
            training=training,
        )

    def get_dataset(self, X: Sequence[Scene], y: object = None) -> Dataset[Any]:
        return self.make_dataset(X)

    def get_split_datasets(
        self, X: Sequence[Scene], y: object = None, **fit_params: Any
    ) -> tuple[Dataset[Any], Dataset[Any] | None]:
        train, valid = split_scenes(X, self.train_split, self.seed_, truth=self._needs_truth)
        self.check_inputs(valid or [])
        loss = self.criterion_
        loss.prepare(X)
        dataset_train = self.make_dataset(train, loss=loss, training=True)
        return dataset_train, self.make_dataset(valid, loss=loss) if valid else None

    def get_iterator(self, dataset: Any, training: bool = False) -> DataLoader[Any]:
        kind = "iterator_train" if training else "iterator_valid"
        options = self.get_params_for(kind)
        batch_size = options.pop(
            "batch_size",
            self.batch_size if training else min(self.batch_size, _PREDICTION_BATCH),
        )
        on_gpu = torch.device(self.device).type == "cuda"
        # Workers of joblib and Dask must not start processes of their own.
        alone = multiprocessing.parent_process() is None
        options.setdefault(
            "num_workers", min(8, (os.cpu_count() or 1) // 2) if on_gpu and alone else 0
        )
        options.setdefault("persistent_workers", training and options["num_workers"] > 0)
        options.setdefault("pin_memory", on_gpu)
        options.setdefault("collate_fn", self.collate)
        options.setdefault("worker_init_fn", end_with_parent)
        plan = BatchPlan(dataset, batch_size, seed=self._epoch_seed if training else None)
        # A generator of its own keeps the loader from drawing on torch's global one.
        return getattr(self, kind)(
            dataset, batch_sampler=plan, generator=torch.Generator(), **options
        )

    def _epoch_seed(self):
        return [self.seed_, len(self.history)]


class ValueRangeMixin(NeuralNet):
    """Mixin of nets that keep the value range of their training scenes."""

    #: Whether predictions depend on the unit of pixel values.
    depends_on_unit: ClassVar[bool] = True

    # For nets without a training, and those of versions without it.
    value_range_: tuple[float, float] | str | None = None

    def _learn_value_range(self, scenes):
        ranges = {_range_of(scene) for scene in scenes}
        self.value_range_ = ranges.pop() if len(ranges) == 1 else MIXED

    def _check_value_ranges(self, scenes: Sequence[Scene]) -> None:
        """Raise a ValueError if equal values of a scene and of the training are other pixels."""
        if not self.depends_on_unit or self.value_range_ in (None, MIXED):
            return
        for scene in scenes:
            if (_range_of(scene) or COUNTS) != self.value_range_:
                raise ValueError(
                    f"{type(self).__name__} learned from scenes of value_range="
                    f"{self.value_range_}, and that of {scene.label} is {scene.value_range}: equal "
                    "values would be other pixels. Make it with that value_range, and values in "
                    "the unit of the training scenes"
                )


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


def _range_of(scene):
    if scene.value_range is None:
        return None
    low, high = scene.value_range
    return float(low), float(high)
