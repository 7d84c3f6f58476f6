"""Samples of aligned frames, for multi-frame fusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from ..scenes import align_scene, read_aligned
from ._sampling import SampleReader, turn_and_flip

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..imaging import Alignment
    from ..scenes import Scene

__all__ = ["AlignedChoice", "AlignedReader", "read_sample", "turn_sample"]

# Vectors (down, right) of each frame.
_VECTORS = ("fractions", "distortion")

# Fractions of augmented samples that have fewer frames, or holes in their masks.
_FEWER_FRAMES = 0.25
_HOLES = 0.15


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
    """

    psf_sigma: float | None = None

    def choose(self, scene: Scene, view: int = 0) -> AlignedChoice:
        return AlignedChoice(align_scene(scene))

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
                    f"{scene.label} has no two frames that could be placed, and a training "
                    "without HR images leaves one out to compare with: remove the scene"
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
        for _ in range(turn):
            down, right = -right, down
        turned[key] = torch.stack([down, -right if flip else right], dim=1)
    if turn % 2:
        turned["psf"] = turned["psf"].flip(1)
    return turned


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
