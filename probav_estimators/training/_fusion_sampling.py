"""Torch dataset, batches and augmentation of aligned frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import pad
from torch.utils.data import Dataset, default_collate

from ..scenes import align_scene, read_aligned
from ._sampling import SampleRequest, random_symmetry, random_window, turn_and_flip

if TYPE_CHECKING:
    from ..imaging import Alignment
    from ..scenes import Scene

__all__ = ["FusionDataset", "collate_frames", "read_sample", "turn_sample"]

# What tells how far the content of frames lies down and to the right.
_MOVES = ("fractions", "distortion")

# Samples of an augmented training that have fewer frames, or holes in their masks.
_FEWER_FRAMES = 0.25
_HOLES = 0.15


def read_sample(
    scene: Scene,
    alignment: Alignment,
    window: tuple[slice, slice] | None = None,
    *,
    psf_sigma: float | None = None,
) -> dict[str, torch.Tensor]:
    """Frames of a scene, brought together: what `read_aligned` gives, as tensors."""
    images = read_aligned(scene, alignment, window, psf_sigma=psf_sigma)
    return {key: torch.from_numpy(image) for key, image in images.items()}


def turn_sample(sample: dict[str, torch.Tensor], turn: int, flip: int) -> dict[str, torch.Tensor]:
    """Frames that are turned by quarters and then flipped left to right, with their shifts."""
    turned = dict(sample)
    for key in ("frames", "weights", "distortion"):
        turned[key] = turn_and_flip(sample[key], turn, flip).contiguous()
    for key in _MOVES:
        down, right = turned[key].unbind(dim=1)
        for _ in range(turn):
            down, right = -right, down
        turned[key] = torch.stack([down, -right if flip else right], dim=1)
    if turn % 2:
        turned["psf"] = turned["psf"].flip(1)
    return turned


class FusionDataset(Dataset):
    """Samples of scenes for multi-frame fusion: every scene is one.

    Parameters
    ----------
    scenes : list of Scene
    with_truth : bool
        Whether samples hold HR image and status map.
    left_out : float, default=0
        Part of the frames of each sample that are to be compared with the result instead of being
        fused; if it is not 0, "left_out" (t,) says which.
    patch_size : int, default=None
        Samples are random patches of this many LR pixels along each axis. None: whole frames.
    augment : bool, default=False
        Whether samples are flipped and turned by quarters at random, and some of them lose frames
        or pixels.
    alignments : list of Alignment, default=None
        How the frames of each scene lie, where that is known.
    psf_sigma : float, default=None
        Of the sensor's point spread function in LR pixels. None: estimated for each scene.
    """

    def __init__(
        self,
        scenes: Sequence[Scene],
        *,
        with_truth: bool,
        left_out: float = 0.0,
        patch_size: int | None = None,
        augment: bool = False,
        alignments: Sequence[Alignment] | None = None,
        psf_sigma: float | None = None,
    ) -> None:
        self.scenes = scenes
        self.with_truth = with_truth
        self.left_out = left_out
        self.patch_size = patch_size
        self.augment = augment
        self.psf_sigma = psf_sigma
        #: How many samples each scene gives.
        self.n_views = [1] * len(scenes)
        # What a scene was found to be, so that its patches don't find it out again.
        self._alignments = dict(enumerate(alignments or ()))

    def __len__(self) -> int:
        return len(self.scenes)

    def shape_of(self, sample: int) -> tuple[int, int]:
        """(h, w) of a sample in LR pixels."""
        if self.patch_size is not None:
            return self.patch_size, self.patch_size
        return self.scenes[sample].shape

    def __getitem__(self, request: SampleRequest) -> tuple[dict[str, Any], dict[str, Any]]:
        request = request if isinstance(request, SampleRequest) else SampleRequest(request)
        scene, alignment = self.scenes[request.sample], self._alignment_of(request.sample)
        rng = np.random.default_rng(request.seed)
        left_out = np.zeros(0, int)
        if self.left_out:
            if len(alignment.index) < 2:
                raise ValueError(
                    f"{scene.label} has no two frames that could be placed, and a training "
                    "without HR images leaves one out to compare with: remove the scene"
                )
            alignment, left_out = _leave_out(alignment, self.left_out, request, rng)
        elif self.augment and rng.random() < _FEWER_FRAMES:
            alignment = _lose_frames(alignment, rng)
        window = None
        if self.patch_size is not None:
            window = random_window(scene, self.patch_size, rng)
        images = read_sample(scene, alignment, window, psf_sigma=self.psf_sigma)
        target: dict[str, Any] = {"scene": request.sample}
        if self.with_truth:
            truth = np.stack(scene.read_truth(window), dtype=np.float32, casting="unsafe")
            target["truth"] = torch.from_numpy(truth)
        if self.augment:
            if rng.random() < _HOLES:
                _pierce(images, rng)
            turn, flip = random_symmetry(self.shape_of(request.sample), rng)
            images = turn_sample(images, turn, flip)
            if self.with_truth:
                target["truth"] = turn_and_flip(target["truth"], turn, flip).contiguous()
        if self.left_out:
            images["left_out"] = torch.zeros(len(alignment.index))
            images["left_out"][left_out] = 1
        return images, target

    def _alignment_of(self, sample):
        if sample not in self._alignments:
            self._alignments[sample] = align_scene(self.scenes[sample])
        return self._alignments[sample]


def _leave_out(alignment, part, request, rng):
    """Alignment in the middle of the frames that are fused, and which frames are not."""
    t = len(alignment.index)
    if request.seed is None:
        rng = np.random.default_rng(request.sample)
    order = rng.permutation(t)
    left_out, fused = np.split(order, [max(1, round(part * t))])
    return alignment.choose(slice(None), centre=fused), left_out


def _lose_frames(alignment, rng):
    """Alignment of a few frames; as often of 1 to 3 as of 3 to 9 or 9 to 27."""
    t = len(alignment.index)
    kept = int(np.exp(rng.uniform(0, np.log(t)))) if t > 1 else 1
    return alignment.choose(rng.permutation(t)[: max(kept, 1)])


def _pierce(images, rng):
    """Hide pixels of every frame at random."""
    seen = rng.random(images["weights"].shape, np.float32) > rng.uniform(0, 0.5)
    for key in ("weights", "frames"):
        images[key] *= torch.from_numpy(seen)


def collate_frames(
    samples: Sequence[tuple[dict[str, Any], dict[str, Any]]],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Batch of samples; those with fewer frames get frames of no weight."""
    if len(samples) == 1:
        # Nothing is copied: a large scene's frames are hundreds of megabytes.
        (one, target) = samples[0]
        return {key: x[None] for key, x in one.items()}, default_collate([target])
    images, targets = zip(*samples, strict=True)
    most = max(len(sample["frames"]) for sample in images)
    padded = [
        {key: _pad_frames(x, most) if key in _PER_FRAME else x for key, x in sample.items()}
        for sample in images
    ]
    return default_collate(padded), default_collate(list(targets))


_PER_FRAME = {"frames", "weights", "fractions", "distortion", "psf", "left_out"}


def _pad_frames(values, most):
    return pad(values, (0, 0) * (values.ndim - 1) + (0, most - len(values)))
