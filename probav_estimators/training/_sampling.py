"""Torch dataset, batches and augmentation of composed scenes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler, default_collate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..scenes import Scene
    from ._fusion_sampling import FusionDataset

__all__ = ["BatchPlan", "SampleRequest", "SceneDataset"]


@dataclass(frozen=True)
class SampleRequest:
    """What a data loader asks a :class:`SceneDataset` for.

    Parameters
    ----------
    sample : int
        Which sample.
    seed : int or None
        Seed of the patch's place and of its augmentation. Because it travels with the request, a
        sample does not depend on the worker process that makes it.
    """

    sample: int
    seed: int | None = None


class SceneDataset(Dataset):
    """Samples of scenes: every view of a scene that is used is one.

    Parameters
    ----------
    scenes : list of Scene
        Composed by InputComposer.
    scale : int
        HR pixels for each LR pixel.
    with_mean : bool
        Whether samples hold the upscaled mean frame.
    with_truth : bool
        Whether samples hold HR image and status map.
    patch_size : int, default=None
        Samples are random patches of this many LR pixels along each axis. None: whole frames.
    augment : bool, default=False
        Whether samples are flipped and turned by quarters at random.
    training : bool, default=False
        True: all views of each scene are used. False: those whose predictions are averaged.
    """

    def __init__(
        self,
        scenes: Sequence[Scene],
        scale: int,
        *,
        with_mean: bool,
        with_truth: bool,
        patch_size: int | None = None,
        augment: bool = False,
        training: bool = False,
    ) -> None:
        self.scenes = scenes
        self.scale = scale
        self.with_mean = with_mean
        self.with_truth = with_truth
        self.patch_size = patch_size
        self.augment = augment
        all_inputs: list[Any] = [scene.inputs for scene in scenes]
        views: list[Any] = [
            range(inputs.n_views) if training else inputs.averaged_views for inputs in all_inputs
        ]
        #: How many samples each scene gives.
        self.n_views = [len(numbers) for numbers in views]
        self._scene_of = np.repeat(np.arange(len(scenes)), self.n_views)
        self._view_of = np.concatenate(views)

    def __len__(self) -> int:
        return len(self._scene_of)

    def shape_of(self, sample: int) -> tuple[int, int]:
        """(h, w) of a sample in LR pixels."""
        if self.patch_size is not None:
            return self.patch_size, self.patch_size
        return self.scenes[self._scene_of[sample]].shape

    def __getitem__(self, request: SampleRequest) -> tuple[dict[str, Any], dict[str, Any]]:
        request = request if isinstance(request, SampleRequest) else SampleRequest(request)
        number, view = int(self._scene_of[request.sample]), int(self._view_of[request.sample])
        scene = self.scenes[number]
        rng = np.random.default_rng(request.seed)
        window = None
        if self.patch_size is not None:
            window = random_window(scene, self.patch_size, rng)
        inputs: Any = scene.inputs
        images: dict[str, Any] = {"inputs": inputs.read_view(view, window)}
        if self.with_mean:
            images["mean"] = inputs.read_mean(view, self.scale, window)[None]
        if self.with_truth:
            images["truth"] = np.stack(scene.read_truth(window), dtype=np.float32, casting="unsafe")
        if self.augment:
            turn, flip = random_symmetry(self.shape_of(request.sample), rng)
            images = {key: turn_and_flip(image, turn, flip) for key, image in images.items()}
        images = {key: torch.from_numpy(np.ascontiguousarray(x)) for key, x in images.items()}
        target: dict[str, Any] = {"scene": number}
        if self.with_truth:
            target["truth"] = images.pop("truth")
        return images, target


def random_window(scene: Scene, patch_size: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """Rows and columns of a random patch, in LR pixels.

    Raises
    ------
    ValueError
        If the frames of the scene are smaller.
    """
    if min(scene.shape) < patch_size:
        raise ValueError(
            f"patch_size={patch_size} is larger than {scene.label}, whose frames have shape "
            f"{scene.shape}: choose a smaller patch"
        )
    starts = [int(rng.integers(length - patch_size + 1)) for length in scene.shape]
    rows, columns = (slice(start, start + patch_size) for start in starts)
    return rows, columns


def random_symmetry(shape: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    """Quarter turns and flips that an image of this shape may have: (turn, flip)."""
    # A rectangle turned by a quarter would no longer fit into its batch.
    turn = rng.integers(4) if shape[0] == shape[1] else 2 * rng.integers(2)
    return int(turn), int(rng.integers(2))


def turn_and_flip(images: Any, turn: int, flip: int) -> Any:
    """Turn an array or tensor (..., h, w) by quarters, then flip it left to right if `flip`."""
    library = torch if isinstance(images, torch.Tensor) else np
    images = library.rot90(images, turn, (-2, -1))
    return library.flip(images, (-1,)) if flip else images


class BatchPlan(Sampler):
    """Batches of samples that have one size.

    Parameters
    ----------
    dataset : SceneDataset
    batch_size : int
    seed : callable, default=None
        Called at the start of every epoch for the seed of its order, patches and augmentations.
        None: samples come in order.
    """

    def __init__(
        self,
        dataset: SceneDataset | FusionDataset,
        batch_size: int,
        seed: Callable[[], int | list[int]] | None = None,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        shapes: dict[tuple[int, int], list[int]] = {}
        for sample in range(len(dataset)):
            shapes.setdefault(dataset.shape_of(sample), []).append(sample)
        self._groups = list(shapes.values())

    def __len__(self) -> int:
        return sum(-(-len(group) // self.batch_size) for group in self._groups)

    def __iter__(self) -> Iterator[list[SampleRequest]]:
        if self.seed is None:
            yield from (
                [SampleRequest(sample) for sample in batch] for batch in self._split(self._groups)
            )
            return
        rng = np.random.default_rng(self.seed())
        batches = self._split([rng.permutation(group).tolist() for group in self._groups])
        for position in rng.permutation(len(batches)):
            yield [SampleRequest(sample, int(rng.integers(2**63))) for sample in batches[position]]

    def _split(self, groups):
        return [
            group[start : start + self.batch_size]
            for group in groups
            for start in range(0, len(group), self.batch_size)
        ]


def collate(
    samples: Sequence[tuple[dict[str, Any], dict[str, Any]]],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Batch of samples.

    Inputs come channels-last, the order of memory that convolutions are fastest with, right from
    the samples: to stack them first and to turn them then takes three times as long.

    Parameters
    ----------
    samples : list of (dict, dict)
        Items of a :class:`SceneDataset`.

    Returns
    -------
    images : dict of tensors
    targets : dict of tensors
    """
    images, targets = zip(*samples, strict=True)
    inputs = [image.pop("inputs") for image in images]
    batch = torch.empty((len(inputs), *inputs[0].shape), memory_format=torch.channels_last)
    for place, sample in zip(batch, inputs, strict=True):
        place.copy_(sample)
    return {"inputs": batch, **default_collate(list(images))}, default_collate(list(targets))


class ViewAverager:
    """Averages the predictions of the views of each scene, as batches of them come in.

    Parameters
    ----------
    n_views : sequence of int
        How many views each scene of the dataset has that the batches come from.
    """

    def __init__(self, n_views: Sequence[int]) -> None:
        self._n_views = n_views
        self._sums: dict[int, tuple[Any, int]] = {}

    def add(
        self, numbers: Sequence[int], images: NDArray[np.float32]
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Take in a batch and yield what it completes.

        Parameters
        ----------
        numbers : sequence of int
            Which scene each prediction belongs to.
        images : array of shape (n, H, W)

        Yields
        ------
        number : int
        image : array of shape (H, W)
        """
        for number, image in zip(numbers, images, strict=True):
            total, count = self._sums.pop(number, (0, 0))
            total, count = total + image, count + 1
            if count == self._n_views[number]:
                yield number, total / count
            else:
                self._sums[number] = (total, count)
