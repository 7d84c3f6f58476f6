"""Tiled prediction of FusionNet with self-ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch

from ..imaging import Block, block_of
from ..scenes import Scene
from ..training import collate_frames, read_sample, turn_and_flip, turn_back, turn_sample
from ._orientation import compose_turns, orientation_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..imaging import Alignment

__all__ = ["BlockPredictor", "FusedBlock", "reference_frame"]

# Fraction of the frames in variants of the self-ensemble beyond flips and turns.
_ENSEMBLE_FRAMES = 0.8

# Rows of quality maps that are read at a time.
_STRIP = 256

# Side of the window in which the point spread function is estimated, in LR pixels.
_SEARCH_SIZE = 128


class FusedBlock(NamedTuple):
    """Block of an image.

    Attributes
    ----------
    image, deviation : float32 arrays of shape (H', W')
        Pixel values, not clipped, and standard deviations of their errors.
    n_clear : uint16 array of shape (h', w')
        Number of clear frames at each LR pixel.
    parts : float32 array of shape (3, H', W') or None
        If asked for: share of the prior's variance that the frames took away, and the measured and
        the supposed part of the detail beyond bicubic upscaling, in pixel values.
    """

    image: NDArray[np.float32]
    deviation: NDArray[np.float32]
    n_clear: NDArray[np.uint16]
    parts: NDArray[np.float32] | None = None


class BlockPredictor:
    """Predicts blocks of a scene with a FusionNet, averaged over a self-ensemble.

    Parameters
    ----------
    net : FusionNet
    scene : Scene
    alignment : Alignment
        Registration of its frames.
    reference : int or None
        Frame that the image shows. None: the mean of all.
    parts : bool, default=False
        Whether to return what in the images was measured.
    """

    def __init__(
        self,
        net: Any,
        scene: Scene,
        alignment: Alignment,
        reference: int | None,
        parts: bool = False,
    ) -> None:
        self.net = net
        self.scene = scene
        self.alignment = alignment
        self.reference = reference
        self.parts = parts

    def predict(self, blocks: Sequence[Block]) -> list[FusedBlock]:
        """Predict blocks; those with windows of one shape are computed as a batch.

        Parameters
        ----------
        blocks : list of Block

        Returns
        -------
        list of FusedBlock
        """
        batches: dict[Any, list[int]] = {}
        for number, block in enumerate(blocks):
            shape = tuple(part.stop - part.start for part in block.window)
            batches.setdefault((shape, _ends(block)), []).append(number)
        fused: dict[int, FusedBlock] = {}
        for numbers in batches.values():
            batch = self._predict_batch([blocks[number] for number in numbers])
            fused |= dict(zip(numbers, batch, strict=True))
        return [fused[number] for number in range(len(blocks))]

    def match(self) -> float:
        """Estimate the PSF variance of the frames relative to the image, in squared LR pixels.

        The mean over the turns and flips of the self-ensemble, if there is one.
        """
        block = block_of(_search_window(self.scene, self.alignment), self.scene.shape)
        sample = self._read(self.alignment, block.window)
        _, turns = next(_variants(self.alignment, self.net.n_augment, self.reference))
        found = []
        for turn, flip in turns:
            inputs, _ = collate_frames([(turn_sample(sample, turn, flip), {})])
            inputs["block"] = inputs["search"] = torch.tensor(_ends(block, turn, flip))
            found.append(float(self.net.compute(inputs, "variance")))
        return float(np.mean(found))

    def _predict_batch(self, blocks):
        """Predict blocks at one position in windows of one shape."""
        sums = 0
        n_clear = []
        inside = blocks[0].inside(1)
        n_augment = self.net.n_augment
        for alignment, turns in _variants(self.alignment, n_augment, self.reference):
            samples = [self._read(alignment, block.window) for block in blocks]
            if not n_clear:
                n_clear = [sample["weights"].sum(dim=0)[inside].numpy() for sample in samples]
            for turn, flip in turns:
                inputs, _ = collate_frames([(turn_sample(x, turn, flip), {}) for x in samples])
                inputs |= self._psf_inputs(blocks, turn, flip)
                inputs["block"] = torch.tensor(_ends(blocks[0], turn, flip))
                outputs = self.net.compute(inputs, "parts" if self.parts else "image").cpu()
                outputs = turn_back(outputs, turn, flip).numpy()
                outputs[:, 1] **= 2
                sums = sums + outputs
        means = sums / n_augment
        means[:, 1] **= 0.5
        return [
            FusedBlock(*fused[:2], clear.astype(np.uint16), fused[2:] if self.parts else None)
            for fused, clear in zip(means, n_clear, strict=True)
        ]

    def _psf_inputs(self, blocks, turn, flip):
        """Inputs for the PSF relative to the image: known, or where the layers search for it."""
        known = self.alignment.psf.from_image
        if known is not None:
            return {"variance": torch.full((len(blocks),), known)}
        whole = tuple(slice(0, length) for length in self.scene.shape)
        if (blocks[0].rows, blocks[0].columns) != whole:
            return {}
        search = Block(0, *_search_window(self.scene, self.alignment), whole)
        return {"search": torch.tensor(_ends(search, turn, flip))}

    def _read(self, alignment, window):
        sample = read_sample(self.scene, alignment, window, psf_sigma=self.net.psf_sigma)
        if self.reference is not None:
            number = alignment.index.tolist().index(self.reference)
            sample["reference"] = torch.tensor(number)
            # Level and contrast of the reference frame.
            gain, offset = alignment.gains[number], alignment.offsets[number]
            sample["level"] = gain * sample["level"] + offset
            sample["std"] = gain * sample["std"]
        return sample


def reference_frame(
    scene: Scene, alignment: Alignment, reference: Literal["middle", "clearest"] | int
) -> int | None:
    """Frame that `reference` selects of a scene; None for "middle"."""
    if reference == "middle":
        return None
    if reference == "clearest":
        used = alignment.index[~alignment.fills]
        return int(used[np.argmax(_clearance(scene, used))])
    if reference not in alignment.index[~alignment.fills]:
        raise ValueError(
            f"{scene.label}: frame {reference} cannot be the reference, as it is missing, "
            "repeated, clouded or not registered: use one of "
            f"{', '.join(map(str, alignment.index[~alignment.fills]))}, or reference='clearest'"
        )
    return reference


def _clearance(scene, index):
    """Clear pixels of frames, counted in strips to limit memory."""
    height, width = scene.shape
    return sum(
        scene.frames.read_clear(index, (slice(row, row + _STRIP), slice(0, width))).sum(axis=(1, 2))
        for row in range(0, height, _STRIP)
    )


def _search_window(scene, alignment):
    """Window in which the PSF is estimated: the clearest of nine, or the whole scene."""
    ends = []
    for length in scene.shape:
        last = max(length - _SEARCH_SIZE, 0)
        ends.append([slice(a, min(a + _SEARCH_SIZE, length)) for a in sorted({0, last // 2, last})])
    windows = list(product(*ends))
    if len(windows) == 1:
        return windows[0]
    clear = [scene.frames.read_clear(alignment.index, window).sum() for window in windows]
    return windows[int(np.argmax(clear))]


def _ends(block, turn=0, flip=0):
    """First and last row and column of a block within its turned and flipped window."""
    mask = np.zeros([part.stop - part.start for part in block.window], bool)
    mask[block.inside(1)] = True
    mask = turn_and_flip(mask, turn, flip)
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _variants(alignment, n_augment, reference):
    """Alignments of the self-ensemble, with the turns and flips of each."""
    rng = np.random.default_rng(0)
    t = len(alignment.index)
    first = orientation_of(alignment)
    turns = [compose_turns(first, (i % 4, i // 4 % 2)) for i in range(n_augment)]
    # One frame has no subsets.
    n_whole = 8 if t > 1 else n_augment
    yield alignment, turns[:n_whole]
    for turn in turns[n_whole:]:
        part = rng.permutation(t)[: max(1, round(_ENSEMBLE_FRAMES * t))]
        part = np.union1d(part, np.flatnonzero(alignment.index == reference))
        # On the grid of all frames.
        yield alignment.choose(part, move=False), [turn]
