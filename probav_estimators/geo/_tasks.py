"""Images of dask cubes: a task for each block, with the frames of its window alone."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..scenes import ValueFrames, is_dask
from ._encoding import ImageBlock
from ._site import make_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..imaging import Block
    from ._block_predictors import BlockPredictor
    from ._site import Site, SitePlan

__all__ = ["image_tasks"]

# LR pixels that are read around the window of a block, besides the greatest shift.
_MARGIN = 16

# Pixels along each axis of the chunks of masks that are no dask array.
_CHUNK = 1024


def image_tasks(
    site: Site, plan: SitePlan, predictor: BlockPredictor, *, parts: bool = False
) -> dict[str, ImageBlock]:
    """Images of dask arrays, a task for each block of each band.

    Parameters
    ----------
    site : Site
        Its frames are dask arrays.
    plan : SitePlan
    predictor : BlockPredictor
    parts : bool, default=False
        Whether to add what in the images was measured.

    Returns
    -------
    dict of ImageBlock
        Of the whole, by the names of the bands.
    """
    import dask.array as da
    from dask.delayed import delayed

    # Sent once to each worker.
    sent = delayed(predictor, pure=True, traverse=False)
    images = {}
    for band, whole in plan.bands.items():
        frames: Any = site.scenes[band].frames
        known: Any = _FramesMetadata(frames)
        template = delayed(whole.on(known), pure=True, traverse=False)
        reach = _MARGIN + whole.reach
        masks = None if frames.masks is None else _as_dask(frames.masks.stack.values)
        rows: dict[int, list[Any]] = {}
        for block in plan.blocks:
            lr, mask = _cut(frames, masks, block, reach)
            shape = tuple(part.stop - part.start for part in block.place(plan.scale))
            wanted = site.encodings[band].arrays_of(shape, parts=parts)
            made = delayed(_make_block, nout=len(wanted), pure=True)(
                sent, template, band, site.encodings[band], block, lr, mask, parts
            )
            arrays = [da.from_delayed(one, *kind) for one, kind in zip(made, wanted, strict=True)]
            rows.setdefault(block.rows.start, []).append(arrays)
        images[band] = ImageBlock(
            *(
                da.block([[arrays[number] for arrays in row] for row in rows.values()])
                for number in range(len(wanted))
            )
        )
    return images


class _FramesMetadata:
    """Metadata of the frames of a band, without their pixels."""

    def __init__(self, frames: ValueFrames) -> None:
        self.shape = frames.stack.shape
        self.values = frames.values
        self.empty = frames.empty
        self.position_prior = frames.position_prior
        self.masks = frames.masks
        if frames.masks is not None:
            self.masks = replace(frames.masks, stack=_WindowStack(None, self.shape, "mask"))

    def frames(self, lr: _WindowValues, mask: _WindowValues | None) -> ValueFrames:
        """Return frames that have the pixels of a window."""
        masks = None
        if self.masks is not None and mask is not None:
            masks = replace(self.masks, stack=_WindowStack(mask, self.shape, "mask"))
        stack = _WindowStack(lr, self.shape, "frame")
        frames = ValueFrames(stack, self.values, masks, self.position_prior)
        frames._empty = self.empty
        return frames


class _WindowValues:
    """Values of a window, and its origin."""

    def __init__(self, values: Any, origin: tuple[int, int]) -> None:
        self.values = values
        self.origin = origin


class _WindowStack:
    """Stack that has the values of a window."""

    def __init__(self, part: _WindowValues | None, shape: tuple[int, int, int], name: str) -> None:
        self.part = part
        self.shape = shape
        self.name = name

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._values.values.dtype

    @property
    def _values(self) -> _WindowValues:
        assert self.part is not None, "a task has the frames of its window"
        return self.part

    def read(self, index: Sequence[int], window: tuple[slice, slice]) -> NDArray[Any]:
        rows, columns = (
            slice(part.start - start, part.stop - start)
            for part, start in zip(window, self._values.origin, strict=True)
        )
        return self._values.values[list(index), rows, columns]

    def where(self, number: int) -> str:
        return f"{self.name} {number} of the cube"


def _as_dask(values: Any) -> Any:
    """Masks as a dask array; a graph holds its chunks once."""
    import dask.array as da

    return values if is_dask(values) else da.from_array(values, chunks=(-1, _CHUNK, _CHUNK))


def _cut(frames: Any, masks: Any, block: Block, reach: int) -> tuple[Any, Any]:
    """Frames and masks in the window of a block, as dask arrays."""
    rows, columns = (
        slice(max(part.start - reach, 0), min(part.stop + reach, length))
        for part, length in zip(block.window, frames.shape, strict=True)
    )
    lr = (frames.stack.values[:, rows, columns], (rows.start, columns.start))
    if masks is None:
        return lr, None
    rows, columns = frames.masks.stored_window((rows, columns))
    return lr, (masks[:, rows, columns], (rows.start, columns.start))


def _make_block(predictor, template, band, kind, block, lr, mask, parts):
    """Predict a block of a band, in a task."""
    known = template.scene.frames
    while not isinstance(known, _FramesMetadata):
        known = known.source
    frames = known.frames(_WindowValues(*lr), None if mask is None else _WindowValues(*mask))
    with _slots():
        plans, kinds = {band: template.on(frames)}, {band: kind}
        (made,) = make_blocks(predictor, plans, kinds, [block], parts=parts)
    return tuple(made[band])


_SLOTS: threading.Semaphore | None = None
_LOCK = threading.Lock()


def _slots() -> threading.Semaphore:
    """Limit of the blocks that this process computes at a time."""
    global _SLOTS
    import torch
    from joblib import cpu_count

    with _LOCK:
        if _SLOTS is None:
            _SLOTS = threading.Semaphore(max(1, cpu_count() // torch.get_num_threads()))
    return _SLOTS
