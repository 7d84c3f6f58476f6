"""Samples of frames of LR size, as they are and aligned, and their batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import pad
from torch.utils.data import default_collate

from ..imaging import select_clearest
from ..scenes import WHOLE, align_scene, count_clear, open_ends, read_aligned, read_moved
from ._sampling import SampleReader, turn_and_flip, turn_vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..imaging import Alignment
    from ..scenes import Scene

__all__ = [
    "AlignedChoice",
    "AlignedReader",
    "FrameChoice",
    "FrameReader",
    "collate_frames",
    "fill_frames",
    "read_sample",
    "turn_sample",
]

# Vectors (down, right) of each frame.
_VECTORS = ("fractions", "distortion")

# Fractions of augmented samples that have fewer frames, or holes in their masks.
_FEWER_FRAMES = 0.25
_HOLES = 0.15


class FrameChoice(NamedTuple):
    """Frames of a scene that a net takes, and their shifts.

    Attributes
    ----------
    numbers : int array of shape (t,)
        Indices of the frames, in the order of the net's input.
    shifts : float32 array of shape (t, 2) or None
        (down, right) in LR pixels. None: frames are not moved.
    """

    numbers: NDArray[np.intp]
    shifts: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class FrameReader(SampleReader):
    """Chooses the frames of a scene for a net, and reads them.

    A net whose paper chooses or registers frames in another way overrides :meth:`order`,
    :meth:`find_shifts` or :meth:`read`.

    Parameters
    ----------
    n_frames : int
        How many frames at most.
    quality_maps : bool, default=False
        Whether samples hold the frames' quality maps.
    zero_outside : bool, default=False
        Padding of a frame that is moved. True: zeros. False: its edge, repeated.
    stable : bool, default=True
        Whether frames that are equally clear keep their order. False: their order is that of
        `numpy.argsort` on this machine, from the end, as in some published code.
    repeat : bool, default=False
        Whether fewer than `n_frames` are repeated in turn, so that there are always as many.
    least_clear : float, default=0.0
        Frames with a larger fraction of clear pixels are taken. If there are none, the clearest
        are.
    """

    n_frames: int
    quality_maps: bool = False
    zero_outside: bool = False
    stable: bool = True
    repeat: bool = False
    least_clear: float = 0.0

    def choose(self, scene: Scene, view: int = 0) -> FrameChoice:
        """Choose the frames of a scene, without those that repeat another."""
        once = np.flatnonzero(~scene.frames.repeats)
        clearance = count_clear(scene.frames, once)
        if self.least_clear:
            enough = self.least_clear * np.prod(scene.shape)
            taken = clearance > min(enough, clearance.max() - 1)
            once, clearance = once[taken], clearance[taken]
        numbers = once[self.order(clearance)]
        return FrameChoice(numbers, self.find_shifts(scene, numbers))

    def order(self, clearance: NDArray[np.intp]) -> NDArray[np.intp]:
        """Positions of the frames to take, clearest first, by their numbers of clear pixels."""
        ordered = select_clearest(clearance, None) if self.stable else np.argsort(clearance)[::-1]
        return np.resize(ordered, self.n_frames) if self.repeat else ordered[: self.n_frames]

    def find_shifts(self, scene: Scene, numbers: NDArray[np.intp]) -> NDArray[np.float32] | None:
        """Find the shifts of the chosen frames.

        Here: those of a FrameRegistrar that did not resample the frames.

        Parameters
        ----------
        scene : Scene
        numbers : int array of shape (t,)

        Returns
        -------
        float32 array of shape (t, 2) or None
            (down, right) in LR pixels. None: frames are not moved.
        """
        if scene.frames.aligned or scene.shifts is None:
            return None
        return scene.shifts[numbers]

    def read(
        self, scene: Scene, choice: FrameChoice, window: tuple[slice, slice] | None = None
    ) -> dict[str, torch.Tensor]:
        """Read the chosen frames.

        Parameters
        ----------
        scene : Scene
        choice : FrameChoice
        window : tuple of two slices, default=None
            Rows and columns in LR pixels. None: all.

        Returns
        -------
        dict of float32 tensors
            "frames" (t, h', w') in pixel values; "present" (t,), 1 for each of them (0 for those
            that fill up a batch); with `quality_maps` "clear" (t, h', w').
        """
        window = open_ends(window or WHOLE, scene.shape)
        if choice.shifts is not None:
            lr, qm = read_moved(
                scene.frames,
                choice.numbers,
                choice.shifts,
                window,
                zero_outside=self.zero_outside,
            )
        elif self.quality_maps:
            lr, qm = scene.frames.read(choice.numbers, window)
        else:
            lr, qm = scene.frames.read_pixels(choice.numbers, window), None
        sample = {
            "frames": torch.from_numpy(lr),
            "present": torch.ones(len(lr), dtype=torch.float32),
        }
        if self.quality_maps:
            sample["clear"] = torch.from_numpy(np.asarray(qm, np.float32))
        return sample


class AlignedChoice(NamedTuple):
    """Frames of a scene with their alignment.

    Attributes
    ----------
    alignment : Alignment
    left_out : int array or None
        Positions of the frames that a loss compares with. None: the loss needs none.
    """

    alignment: Alignment
    left_out: NDArray[np.intp] | None = None


@dataclass(frozen=True)
class AlignedReader(SampleReader):
    """Aligns the frames of a scene and reads them.

    Samples are those of :func:`read_sample`. Frames that are left out are 1 in "left_out" (t,).
    Augmentation drops frames and pixels too.

    Parameters
    ----------
    psf_sigma : float, default=None
        Standard deviation of the sensor's point spread function in LR pixels. None: estimated for
        each scene.
    truths_in_place : bool, default=False
        Whether frames are registered to the truth, where their true shifts are known, and not to
        their mean position.
    """

    psf_sigma: float | None = None
    truths_in_place: bool = False

    def choose(self, scene: Scene, view: int = 0) -> AlignedChoice:
        return AlignedChoice(align_scene(scene))

    def register_to_truth(self, scene: Scene, choice: AlignedChoice) -> tuple[AlignedChoice, bool]:
        true_shifts = scene.true_shifts
        # Frames that were moved are no longer where they were simulated.
        if not self.truths_in_place or true_shifts is None or scene.frames.aligned:
            return choice, False
        alignment = choice.alignment
        # The median, because some frames may be registered wrongly.
        apart = np.median(true_shifts[alignment.index] - alignment.shifts, axis=0)
        shifts = alignment.shifts + apart.astype(np.float32)
        return choice._replace(alignment=replace(alignment, shifts=shifts)), True

    def vary(
        self,
        scene: Scene,
        choice: AlignedChoice,
        rng: np.random.Generator,
        *,
        left_out: float = 0.0,
        augment: bool = False,
    ) -> AlignedChoice:
        alignment = choice.alignment
        if left_out:
            if len(alignment.index) < 2:
                raise ValueError(
                    f"{scene.label} has no two frames that could be registered, and a "
                    "training without HR images leaves one out to compare with: remove the scene"
                )
            return _leave_out(alignment, left_out, rng)
        if augment and rng.random() < _FEWER_FRAMES:
            return AlignedChoice(_drop_frames(alignment, rng))
        return choice

    def read(
        self, scene: Scene, choice: AlignedChoice, window: tuple[slice, slice] | None = None
    ) -> dict[str, torch.Tensor]:
        sample = read_sample(scene, choice.alignment, window, psf_sigma=self.psf_sigma)
        if choice.left_out is not None:
            sample["left_out"] = torch.zeros(len(choice.alignment.index), dtype=torch.float32)
            sample["left_out"][choice.left_out] = 1
        return sample

    def perturb(self, sample: dict[str, torch.Tensor], rng: np.random.Generator) -> None:
        """Mask pixels of every frame at random, in some samples."""
        if rng.random() >= _HOLES:
            return
        kept = rng.random(sample["weights"].shape, np.float32) > rng.uniform(0, 0.5)
        for key in ("weights", "frames"):
            sample[key] *= torch.from_numpy(kept)

    def turn(
        self, sample: dict[str, torch.Tensor], turn: int, flip: int
    ) -> dict[str, torch.Tensor]:
        return turn_sample(sample, turn, flip)


def read_sample(
    scene: Scene,
    alignment: Alignment,
    window: tuple[slice, slice] | None = None,
    *,
    psf_sigma: float | None = None,
) -> dict[str, torch.Tensor]:
    """Read the aligned frames of a scene: the result of `read_aligned` as tensors."""
    images = read_aligned(scene, alignment, window, psf_sigma=psf_sigma)
    return {key: torch.from_numpy(image) for key, image in images.items()}


def turn_sample(sample: dict[str, torch.Tensor], turn: int, flip: int) -> dict[str, torch.Tensor]:
    """Turn aligned frames by quarters and flip them left to right, with their shifts."""
    turned = dict(sample)
    for key in ("frames", "weights", "distortion"):
        turned[key] = turn_and_flip(sample[key], turn, flip).contiguous()
    for key in _VECTORS:
        down, right = turned[key].unbind(dim=1)
        turned[key] = torch.stack(turn_vector(down, right, turn, flip), dim=1)
    if turn % 2:
        turned["psf"] = turned["psf"].flip(1)
    return turned


#: Values of a sample that have an axis of frames.
_PER_FRAME = {"frames", "present", "clear", "weights", "fractions", "distortion", "psf", "left_out"}


def collate_frames(
    samples: Sequence[tuple[dict[str, Any], dict[str, Any]]],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Batch of samples; those with fewer frames are filled up with zeros."""
    images, targets = zip(*samples, strict=True)
    if len(images) == 1:
        # Without a copy: the frames of a large scene are hundreds of megabytes.
        return {key: x[None] for key, x in images[0].items()}, default_collate(list(targets))
    most = max(len(sample["frames"]) for sample in images)
    filled = [
        {key: fill_frames(x, most) if key in _PER_FRAME else x for key, x in sample.items()}
        for sample in images
    ]
    return default_collate(filled), default_collate(list(targets))


def fill_frames(values: torch.Tensor, n_frames: int, axis: int = 0) -> torch.Tensor:
    """Fill up an axis of frames with zeros."""
    missing = n_frames - values.shape[axis]
    if missing <= 0:
        return values
    return pad(values, (0, 0) * (values.ndim - 1 - axis) + (0, missing))


def _leave_out(alignment, fraction, rng):
    """Draw the frames to leave out, and centre the alignment on the others."""
    t = len(alignment.index)
    left_out, fused = np.split(rng.permutation(t), [max(1, round(fraction * t))])
    return AlignedChoice(alignment.choose(slice(None), centre=fused), left_out)


def _drop_frames(alignment, rng):
    """Alignment of a few frames; 1 to 3, 3 to 9 and 9 to 27 are equally probable."""
    t = len(alignment.index)
    kept = int(np.exp(rng.uniform(0, np.log(t)))) if t > 1 else 1
    return alignment.choose(rng.permutation(t)[: max(kept, 1)])
