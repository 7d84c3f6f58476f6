"""Blocks of images in a folder, from which an interrupted call is resumed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from joblib import Parallel, cpu_count, delayed

from ..files import replace_file
from ..imaging import Alignment, Copies, PsfEstimate
from ._block_predictors import BandPlan
from ._encoding import ImageBlock
from ._site import make_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..scenes import Scene
    from ._block_predictors import BlockPredictor
    from ._site import Site, SitePlan

__all__ = ["BlockStore", "BlockStoreError", "Failure", "OtherBlocksError", "compute_blocks"]

_RECORD = "settings.json"

# All that a folder of blocks holds; partial files are left by a process that was killed.
_OURS = (_RECORD, "block-*.npz", "block-*.error", ".*.partial")

# Settings that list files, each with its size and modification time.
_FILES = ("files", "masks")


class BlockStoreError(OSError):
    """A block cannot be written, or is damaged."""


class OtherBlocksError(ValueError):
    """A folder holds blocks of other settings.

    Parameters
    ----------
    folder : Path
    differing : list of str
        Settings that differ.
    """

    def __init__(self, folder: Path, differing: Sequence[str]) -> None:
        #: The error without the remedy.
        self.reason = (
            f"{folder} holds blocks that were made with other settings, which are "
            f"{', '.join(differing)}"
        )
        super().__init__(
            f"{self.reason}: repeat the call as it was, or pass resume=False to make all blocks "
            "again"
        )


@dataclass
class BlockStore:
    """Folder of blocks, and of the settings and registration that all of them share.

    Parameters
    ----------
    folder : Path
    outputs : tuple of str
        Which of "image", "std" and "n_clear" are kept of each block.
    settings : mapping
        What the blocks depend on, as JSON.
    """

    folder: Path
    outputs: tuple[str, ...]
    settings: Mapping[str, Any]

    def __post_init__(self) -> None:
        # Worker processes may work in another folder: joblib keeps them from earlier calls.
        self.folder = self.folder.absolute()
        text = json.dumps(self.settings)
        self.settings = json.loads(text)
        # Part of the name of each block: those of two calls with other settings never mix.
        self._key = blake2b(text.encode(), digest_size=6).hexdigest()

    def open(self, *, resume: bool) -> bool:
        """Look for blocks of an earlier call, and return whether there is a record of one.

        Parameters
        ----------
        resume : bool
            False: all blocks are removed.

        Raises
        ------
        OtherBlocksError
            If there are blocks of other settings. Input files that could not be read may differ.
        ValueError
            If there are files that are no blocks.
        """
        if not resume:
            self.remove()
        record = self._read_record()
        differing = ["not known any more"]
        if record is not None:
            differing = self._differing(record.get("settings", {}))
            if not differing:
                # That of the first call, before damaged files were replaced.
                self._key = record["key"]
                return True
        if any(self.folder.glob("block-*.npz")):
            raise OtherBlocksError(self.folder, differing)
        return False

    def begin(self, plan: SitePlan) -> None:
        """Make the folder, and record the settings and the registration for other processes."""
        path = self.folder / _RECORD
        record = {"key": self._key, "settings": self.settings, "plan": _plan_as_json(plan)}
        text = json.dumps(record, default=_array_as_json)
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return
        try:
            self.folder.mkdir(exist_ok=True)
            with replace_file(path) as partial:
                partial.write_text(text, encoding="utf-8")
        except OSError as error:
            raise self._not_writable(error) from error

    def load_plan(self, scenes: Mapping[str, Scene]) -> dict[str, BandPlan] | None:
        """Registration of the bands, if an earlier call recorded it."""
        record = self._read_record()
        if record is None or record["plan"] is None:
            return None
        return {
            band: BandPlan(scene, _alignment_of(known["alignment"]), known["reference"])
            for (band, scene), known in zip(scenes.items(), record["plan"], strict=True)
        }

    def _not_writable(self, error):
        return BlockStoreError(
            f"{self.folder} cannot be written to ({error.strerror or error}): make room, and "
            "repeat the call, which resumes from the blocks that are made"
        )

    def _read_record(self):
        path = self.folder / _RECORD
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8"), object_hook=_array_of_json)
        if self.folder.is_dir() and (others := self._not_ours()):
            raise ValueError(
                f"{self.folder} is where blocks are written, and it holds {others[0].name}: move "
                "it away, or give the image another name"
            )
        return None

    def _differing(self, recorded):
        """Settings that differ from the recorded ones, in words."""
        damaged = self._failure_messages()
        differing = []
        for key in sorted(self.settings.keys() | recorded.keys()):
            old, new = recorded.get(key), self.settings.get(key)
            if key in _FILES and old is not None and new is not None and len(old) == len(new):
                changed = [
                    one[0]
                    for one, two in zip(old, new, strict=True)
                    if one != two and (one[0] != two[0] or one[0] not in damaged)
                ]
                if changed:
                    differing.append(f"{key} ({changed[0]} has changed)")
            elif old != new:
                short = all(isinstance(value, str | int | None) for value in (old, new))
                differing.append(f"{key} ({old} then, {new} now)" if short else key)
        return differing

    def _failure_messages(self):
        """Messages of all failed blocks, which name the files that could not be read."""
        messages = ""
        for path in self.folder.glob("block-*.error"):
            # Another machine may make the block meanwhile.
            with suppress(FileNotFoundError):
                messages += path.read_text(encoding="utf-8") + "\n"
        return messages

    def _not_ours(self):
        return [
            path
            for path in sorted(self.folder.iterdir())
            if not any(path.match(pattern) for pattern in _OURS)
        ]

    def size(self) -> int:
        """Bytes of the folder."""
        if not self.folder.is_dir():
            return 0
        total = 0
        for path in self.folder.iterdir():
            # Another process may replace a file meanwhile.
            with suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    def missing(self, numbers: Iterable[int]) -> list[int]:
        """Which of some blocks are still to be made."""
        return [number for number in numbers if not self._path(number).exists()]

    def save(self, number: int, block: Mapping[str, ImageBlock]) -> None:
        """Write a block of all bands, as a whole or not at all."""
        arrays = {
            f"{band}_{output}": getattr(image, output)
            for band, image in enumerate(block.values())
            for output in self.outputs
        }
        try:
            with replace_file(self._path(number)) as partial, partial.open("wb") as stream:
                np.savez(stream, **arrays)
            self._failure_path(number).unlink(missing_ok=True)
        except OSError as error:
            raise self._not_writable(error) from error

    def record_failure(self, failure: Failure) -> None:
        """Note why a block failed: the files that the message names may be replaced."""
        self._failure_path(failure.number).write_text(failure.message, encoding="utf-8")

    def load(self, number: int, band: int, output: str) -> NDArray[Any]:
        """One array of a block."""
        path = self._path(number)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return arrays[f"{band}_{output}"]
        except (BadZipFile, EOFError, KeyError, OSError, ValueError) as error:
            raise BlockStoreError(
                f"{path} is damaged: remove it and repeat the call, which makes it again"
            ) from error

    def remove(self) -> None:
        """Remove all blocks, and the folder if it holds nothing else."""
        if not self.folder.is_dir():
            return
        for pattern in _OURS:
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    def _path(self, number):
        return self.folder / f"block-{self._key}-{number:06d}.npz"

    def _failure_path(self, number):
        return self._path(number).with_suffix(".error")


def _plan_as_json(plan):
    """Registration of all bands; None of an estimator that does not register them."""
    bands = plan.bands.values()
    if any(band.alignment is None for band in bands):
        return None
    return [
        {
            "alignment": vars(band.alignment),
            "reference": None if band.reference is None else int(band.reference),
        }
        for band in bands
    ]


def _alignment_of(known):
    psf, copies = PsfEstimate(*known["psf"]), Copies(*known["copies"])
    return Alignment(**known | {"psf": psf, "nodes": tuple(known["nodes"]), "copies": copies})


def _array_as_json(array):
    return {"dtype": array.dtype.str, "shape": array.shape, "values": array.ravel().tolist()}


def _array_of_json(found):
    if found.keys() == {"dtype", "shape", "values"}:
        return np.array(found["values"], found["dtype"]).reshape(found["shape"])
    return found


class Failure(NamedTuple):
    """A block that could not be made.

    Attributes
    ----------
    number : int
    message : str
    """

    number: int
    message: str


def compute_blocks(
    site: Site,
    plan: SitePlan,
    predictor: BlockPredictor,
    store: BlockStore,
    numbers: Sequence[int],
    *,
    batch_size: int = 1,
    workers: int = 1,
    advance: Callable[..., None] = lambda: None,
) -> list[Failure]:
    """Make blocks and write them to a store.

    Parameters
    ----------
    site : Site
    plan : SitePlan
    predictor : BlockPredictor
    store : BlockStore
    numbers : list of int
        Which blocks.
    batch_size : int, default=1
        Blocks in a batch.
    workers : int, default=1
        Processes, which share the cores.
    advance : callable
        Called after each block.

    Returns
    -------
    list of Failure
        Blocks that failed twice; all others are written.

    Raises
    ------
    BlockStoreError
        If a block cannot be written.
    """
    batches = [numbers[start : start + batch_size] for start in range(0, len(numbers), batch_size)]
    given = (site, plan, predictor, store)
    failures: list[Failure] = []
    if workers == 1 or len(batches) < 2:
        results: Iterable[list[Failure]] = (_make_batch(*given, batch) for batch in batches)
    else:
        threads = max(1, cpu_count() // workers)
        results = Parallel(n_jobs=workers, return_as="generator")(
            delayed(_make_batch)(*given, batch, threads) for batch in batches
        )
    for batch, failed in zip(batches, results, strict=True):
        for failure in failed:
            store.record_failure(failure)
        failures += failed
        for _ in batch:
            advance()
    return sorted(failures)


def _make_batch(site, plan, predictor, store, numbers, threads=None):
    """Make and write a batch; if it fails, try again block by block."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    given = (site, plan, predictor, store)
    if _try_blocks(*given, numbers) is None:
        return []
    tried = ((number, _try_blocks(*given, [number])) for number in store.missing(numbers))
    return [Failure(number, message) for number, message in tried if message is not None]


def _try_blocks(site, plan, predictor, store, numbers):
    """Make and write blocks; returns the message of an error or None."""
    try:
        _make_together(site, plan, predictor, store, numbers)
    except BlockStoreError:
        # The others could not be written either.
        raise
    except Exception as error:
        return str(error) or type(error).__name__
    return None


def _make_together(site, plan, predictor, store, numbers):
    blocks = [plan.blocks[number] for number in numbers]
    made = make_blocks(predictor, plan.bands, site.encodings, blocks)
    for number, block in zip(numbers, made, strict=True):
        store.save(number, block)
