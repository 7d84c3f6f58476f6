"""Scenes of a training: their split, the dataset of their samples, batches, value range."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from sklearn.utils import gen_batches
from skorch import NeuralNet
from skorch.dataset import Dataset as SkorchDataset
from skorch.dataset import ValidSplit
from torch.utils.data import Dataset, Sampler

from ..processes import end_with_parent
from ..scenes import COUNTS, check_scenes, clip_image
from ._settings import describe

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch.utils.data import DataLoader

    from ..losses import SceneLoss
    from ..scenes import Scene

__all__ = [
    "MIXED",
    "BatchPlan",
    "DataLoadingMixin",
    "SampleReader",
    "SampleRequest",
    "SceneDataset",
    "ValueRangeMixin",
    "ViewAverager",
    "split_scenes",
    "turn_and_flip",
    "turn_back",
    "turn_vector",
]

# Whole frames that are predicted at a time: more need more memory and are not faster.
_PREDICTION_BATCH = 4

#: Value range of a net whose training scenes have several.
MIXED = "mixed"


@dataclass(frozen=True)
class SampleRequest:
    """Index of a :class:`SceneDataset`.

    Parameters
    ----------
    sample : int
    seed : int, default=None
        Seed of patch and augmentation. It travels with the request, so that a sample does not
        depend on the worker process that reads it. None: `sample`.
    """

    sample: int
    seed: int | None = None


class SampleReader:
    """Base of the readers of a :class:`SceneDataset`.

    A subclass overrides :meth:`read`, and the other methods where it needs to. Readers are sent to
    worker processes.
    """

    def views(self, scene: Scene, training: bool) -> Sequence[int]:
        """Return the numbers of the views that are samples: all, or those that are averaged."""
        return (0,)

    def choose(self, scene: Scene, view: int = 0) -> Any:
        """Choose what to read of a view, such as frames and shifts; the dataset caches it."""
        return view

    def vary(
        self,
        scene: Scene,
        choice: Any,
        rng: np.random.Generator,
        *,
        left_out: float = 0.0,
        augment: bool = False,
    ) -> Any:
        """Change a choice at random, and leave out a fraction of its frames, before reading."""
        return choice

    def register_to_truth(self, scene: Scene, choice: Any) -> tuple[Any, bool]:
        """Register a choice to the truth, and tell whether that was possible; here it is not."""
        return choice, False

    def read(
        self, scene: Scene, choice: Any, window: tuple[slice, slice] | None = None
    ) -> dict[str, torch.Tensor]:
        """Read a sample: keyword arguments of the module, without the axis of the batch."""
        raise NotImplementedError

    def perturb(self, sample: dict[str, torch.Tensor], rng: np.random.Generator) -> None:
        """Augment a sample in place, beside turns and flips."""

    def turn(
        self, sample: dict[str, torch.Tensor], turn: int, flip: int
    ) -> dict[str, torch.Tensor]:
        """Turn the images of a sample by quarters, then flip them left to right."""
        return {
            key: turn_and_flip(x, turn, flip).contiguous() if x.ndim > 2 else x
            for key, x in sample.items()
        }


class SceneDataset(Dataset):
    """Samples of scenes: inputs from a reader, truths, random patches and augmentation.

    Parameters
    ----------
    scenes : list of Scene
    reader : SampleReader
    with_truth : bool
        Whether targets hold HR image and status map, "truth", and whether the frames were
        registered to them, "in_place".
    left_out : float, default=0
        Fraction of the frames that a loss compares with instead of the net fusing them.
    patch_size : int, default=None
        Samples are random patches of this many LR pixels along each axis. None: whole frames.
    augment : bool, default=False
        Whether samples are flipped and turned by quarters at random, and perturbed by the reader.
    training : bool, default=False
        True: all views of each scene are samples, and the reader may register frames to truths.
        False: those whose predictions are averaged.
    choices : sequence, default=None
        What the reader chooses of each sample, where it is known.
    """

    def __init__(
        self,
        scenes: Sequence[Scene],
        reader: SampleReader,
        *,
        with_truth: bool,
        left_out: float = 0.0,
        patch_size: int | None = None,
        augment: bool = False,
        training: bool = False,
        choices: Sequence[Any] | None = None,
    ) -> None:
        self.scenes = scenes
        self.reader = reader
        self.with_truth = with_truth
        self.left_out = left_out
        self.patch_size = patch_size
        self.augment = augment
        self.training = training
        views = [reader.views(scene, training) for scene in scenes]
        #: Number of samples of each scene.
        self.n_views = [len(numbers) for numbers in views]
        self._scene_of = np.repeat(np.arange(len(scenes)), self.n_views)
        self._view_of = np.concatenate(views)
        self._choices = dict(enumerate(choices or ()))

    def __len__(self) -> int:
        return len(self._scene_of)

    def shape_of(self, sample: int) -> tuple[int, int]:
        """(h, w) of a sample in LR pixels."""
        if self.patch_size is not None:
            return self.patch_size, self.patch_size
        return self.scenes[self._scene_of[sample]].shape

    def __getitem__(self, request: SampleRequest) -> tuple[dict[str, Any], dict[str, Any]]:
        request = request if isinstance(request, SampleRequest) else SampleRequest(request)
        number = int(self._scene_of[request.sample])
        scene = self.scenes[number]
        # Seeded trainings depend on the order of the draws.
        rng = np.random.default_rng(request.sample if request.seed is None else request.seed)
        choice = self.reader.vary(
            scene,
            self._choice_of(request.sample, scene),
            rng,
            left_out=self.left_out,
            augment=self.augment,
        )
        target: dict[str, Any] = {"scene": number}
        if self.with_truth:
            target["in_place"] = False
            if self.training:
                choice, target["in_place"] = self.reader.register_to_truth(scene, choice)
        window = None
        if self.patch_size is not None:
            window = random_window(scene, self.patch_size, rng)
        sample = self.reader.read(scene, choice, window)
        if self.with_truth:
            truth = np.stack(scene.read_truth(window), dtype=np.float32, casting="unsafe")
            target["truth"] = torch.from_numpy(truth)
        if self.augment:
            self.reader.perturb(sample, rng)
            turn, flip = random_symmetry(self.shape_of(request.sample), rng)
            sample = self.reader.turn(sample, turn, flip)
            if self.with_truth:
                target["truth"] = turn_and_flip(target["truth"], turn, flip).contiguous()
        return sample, target

    def _choice_of(self, sample, scene):
        if sample not in self._choices:
            self._choices[sample] = self.reader.choose(scene, int(self._view_of[sample]))
        return self._choices[sample]


def random_window(scene: Scene, patch_size: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """Draw rows and columns of a patch, in LR pixels."""
    if min(scene.shape) < patch_size:
        raise ValueError(
            f"patch_size={patch_size} is larger than {scene.label}, whose frames have shape "
            f"{scene.shape}: choose a smaller patch"
        )
    starts = [int(rng.integers(length - patch_size + 1)) for length in scene.shape]
    rows, columns = (slice(start, start + patch_size) for start in starts)
    return rows, columns


def random_symmetry(shape: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    """Draw (turn, flip): quarter turns that keep the shape, and whether to flip."""
    # A rectangle turned by a quarter would no longer fit into its batch.
    turn = rng.integers(4) if shape[0] == shape[1] else 2 * rng.integers(2)
    return int(turn), int(rng.integers(2))


def turn_and_flip(images: Any, turn: int, flip: int) -> Any:
    """Turn an array or tensor (..., h, w) by quarters, then flip it left to right if `flip`."""
    library = torch if isinstance(images, torch.Tensor) else np
    images = library.rot90(images, turn, (-2, -1))
    return library.flip(images, (-1,)) if flip else images


def turn_back(images: Any, turn: int, flip: int) -> Any:
    """Undo :func:`turn_and_flip`."""
    return turn_and_flip(turn_and_flip(images, 0, flip), -turn, 0)


def turn_vector(down: Any, right: Any, turn: int, flip: int) -> tuple[Any, Any]:
    """Turn a vector, or maps of both components, as :func:`turn_and_flip` turns images."""
    for _ in range(turn % 4):
        down, right = -right, down
    return down, -right if flip else right


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
        dataset: SceneDataset,
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
            group[part] for group in groups for part in gen_batches(len(group), self.batch_size)
        ]


class ViewAverager:
    """Running mean of the predictions of the views of each scene.

    Parameters
    ----------
    dataset : SceneDataset
    """

    def __init__(self, dataset: SceneDataset) -> None:
        self._dataset = dataset
        self._sums: dict[int, tuple[Any, int]] = {}

    def add(
        self, batch: Any, prediction: torch.Tensor
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Add a batch and yield the images of the scenes that it completes.

        Parameters
        ----------
        batch : tuple of two dicts of tensors
            Samples and targets.
        prediction : float tensor of shape (n, c, H, W)
            Its first channels are clipped and averaged.

        Yields
        ------
        number : int
            Of the scene.
        image : float32 array of shape (H, W)
        """
        # A copy: callbacks get the prediction too.
        images = prediction[:, 0].float().cpu().numpy().copy()
        for number, image in zip(batch[1]["scene"].tolist(), images, strict=True):
            clip_image(image, self._dataset.scenes[number])
            total, count = self._sums.pop(number, (0, 0))
            total, count = total + image, count + 1
            if count == self._dataset.n_views[number]:
                yield number, total / count
            else:
                self._sums[number] = (total, count)


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
        ranges = {scene.value_range for scene in scenes}
        self.value_range_ = ranges.pop() if len(ranges) == 1 else MIXED

    def _check_value_ranges(self, scenes: Sequence[Scene]) -> None:
        """Raise a ValueError if equal values of a scene and of the training are other pixels."""
        if not self.depends_on_unit or self.value_range_ in (None, MIXED):
            return
        for scene in scenes:
            if (scene.value_range or COUNTS) != self.value_range_:
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
