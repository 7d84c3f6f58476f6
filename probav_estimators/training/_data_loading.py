"""Data sets and data loaders of nets."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from skorch import NeuralNet

from ..processes import end_with_parent
from ._sampling import BatchPlan, SceneDataset
from ._splitting import split_scenes

if TYPE_CHECKING:
    from torch.utils.data import DataLoader, Dataset

    from ..losses import SceneLoss
    from ..scenes import Scene

__all__ = ["DataLoadingMixin"]

# Whole frames that are predicted at a time: more need more memory and are not faster.
_PREDICTION_BATCH = 4


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
