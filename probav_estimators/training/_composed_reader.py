"""Samples of composed scenes, and their batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import default_collate

from ._sampling import SampleReader

if TYPE_CHECKING:
    from ..scenes import Scene

__all__ = ["ComposedReader", "collate_composed"]


@dataclass(frozen=True)
class ComposedReader(SampleReader):
    """Reads what InputComposer composes: each view of a scene is a sample.

    Parameters
    ----------
    scale : int
        HR pixels for each LR pixel.
    with_mean : bool, default=False
        Whether samples hold the upscaled mean frame.
    """

    scale: int
    with_mean: bool = False

    def views(self, scene: Scene, training: bool) -> Sequence[int]:
        inputs: Any = scene.inputs
        return range(inputs.n_views) if training else inputs.averaged_views

    def read(
        self, scene: Scene, choice: int, window: tuple[slice, slice] | None = None
    ) -> dict[str, torch.Tensor]:
        inputs: Any = scene.inputs
        sample = {"inputs": torch.from_numpy(inputs.read_view(choice, window))}
        if self.with_mean:
            mean = inputs.read_mean(choice, self.scale, window)
            sample["mean"] = torch.from_numpy(mean)[None]
        return sample


def collate_composed(
    samples: Sequence[tuple[dict[str, Any], dict[str, Any]]],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Batch of samples with inputs in channels-last order, as convolutions prefer."""
    images, targets = zip(*samples, strict=True)
    inputs = [image.pop("inputs") for image in images]
    shape = len(inputs), *inputs[0].shape
    batch = torch.empty(shape, dtype=inputs[0].dtype, memory_format=torch.channels_last)
    for place, sample in zip(batch, inputs, strict=True):
        place.copy_(sample)
    return {"inputs": batch, **default_collate(list(images))}, default_collate(list(targets))
