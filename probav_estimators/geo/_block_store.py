"""Blocks of images in a folder, from which an interrupted call is resumed."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from ..files import digest_of_json, file_state, read_json, replace_file, write_json
from ..imaging import Alignment, Copies, PsfEstimate
from ..processes import map_in_processes
from ._block_predictors import BandPlan
from ._encoding import ImageBlock
from ._imagery import make_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..scenes import Scene
    from ._block_predictors import BlockPredictor
    from ._imagery import Site, SitePlan

__all__ = ["BlockStore", "BlockStoreError", "Failure", "compute_blocks"]

_RECORD = "settings.json"

# All that a folder of blocks holds; partial files are of processes that were killed. The record is
# removed last: without it, the call does not know its own outputs.
_OURS = ("block-*.npz", "block-*.error", ".*.partial", _RECORD)

# Settings that list files, each with its size and modification time.
_FILES = ("files", "masks")


class BlockStoreError(OSError):
    """A block cannot be written, or is damaged."""


class Failure(NamedTuple):
    """Number of a block that could not be made, and the message of its error."""

    number: int
    message: str


@dataclass
class BlockStore:
    """Folder of blocks, with a record of the settings and the registration that they share.

    Each block is named and marked by the fingerprint of the settings: blocks of another call may be
    in the folder, and are never read.

    Parameters
    ----------
    folder : Path
    outputs : tuple of str
        Which of "image", "std", "n_clear" and "parts" are kept of each block.
    settings : mapping
        What the blocks depend on, as JSON.
    resume : bool
        Whether blocks of an earlier call are kept.
    """

    folder: Path
    outputs: tuple[str, ...]
    settings: Mapping[str, Any]
    resume: bool = True

    def __post_init__(self) -> None:
        # Worker processes may work in another folder.
        self.folder = self.folder.absolute()
        self.settings = json.loads(json.dumps(self.settings))
        self._key = digest_of_json(self.settings)
        self._plan: Any = None
        self._written: dict[str, list[int]] = {}

    def open(self) -> None:
        """Read the record of an earlier call, and warn if its settings were others.

        Input files that could not be read may have changed since. A ValueError is raised for files
        that are no blocks.
        """
        self._check_contents()
        record = self._read_record()
        if record is None:
            return
        differing = self._differing(record["settings"])
        if not differing:
            self._written = record["written"]
            if self.resume:
                # The key is that of the first call, before damaged files were replaced.
                self._key, self._plan = record["key"], record["plan"]
        elif self.resume and any(self.folder.glob("block-*.npz")):
            warnings.warn(
                f"{self.folder} holds blocks of a call with other settings, which are "
                f"{', '.join(differing)}: all blocks are made again; to resume that call, stop "
                "this one and repeat the other as it was",
                stacklevel=4,
            )

    def begin(self, plan: SitePlan) -> None:
        """Make the folder, and record the settings and the registration for other processes."""
        self._plan = _plan_as_json(plan)
        try:
            self.folder.mkdir(exist_ok=True)
            if not self.resume:
                self._remove_files()
            self._write_record()
        except OSError as error:
            raise self._not_writable(error) from error

    def load_plan(self, scenes: Mapping[str, Scene]) -> dict[str, BandPlan] | None:
        """Registration of the bands, if an earlier call recorded it."""
        if self._plan is None:
            return None
        plan = json.loads(json.dumps(self._plan), object_hook=_array_of_json)
        return {
            band: BandPlan(scene, _alignment_of(known["alignment"]), known["reference"])
            for (band, scene), known in zip(scenes.items(), plan, strict=True)
        }

    def record_outputs(self, partials: Mapping[Path, Path]) -> None:
        """Record the complete files that are about to be renamed to the outputs."""
        self._written = {
            str(path.absolute()): file_state(partial) for path, partial in partials.items()
        }
        self._write_record()

    def has_written(self, path: Path) -> bool:
        """Whether a file is as a call with the same settings wrote it, before it was killed."""
        return path.exists() and self._written.get(str(path.absolute())) == file_state(path)

    def size(self) -> int:
        """Bytes of the blocks that this call uses or replaces."""
        total = 0
        for path in self.folder.glob(f"block-{self._key if self.resume else ''}*.npz"):
            # Another process may replace a file meanwhile.
            with suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    def missing(self, numbers: Iterable[int]) -> list[int]:
        """Which of some blocks are still to be made."""
        return [number for number in numbers if not self._path(number).exists()]

    def save(self, number: int, block: Mapping[str, ImageBlock]) -> None:
        """Write a block of all bands, as a whole or not at all."""
        path = self._path(number)
        arrays = {
            f"{band}_{output}": getattr(image, output)
            for band, image in enumerate(block.values())
            for output in self.outputs
        }
        try:
            with replace_file(path) as partial, partial.open("wb") as stream:
                np.savez(stream, name=path.stem, **arrays)
            path.with_suffix(".error").unlink(missing_ok=True)
        except OSError as error:
            raise self._not_writable(error) from error

    def record_failure(self, failure: Failure) -> None:
        """Note why a block failed: the files that the message names may be replaced."""
        path = self._path(failure.number).with_suffix(".error")
        path.write_text(failure.message, encoding="utf-8")

    def load(self, number: int, band: int, output: str) -> NDArray[Any]:
        """One array of a block."""
        path = self._path(number)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                if str(arrays["name"]) != path.stem:
                    raise ValueError(f"it is {arrays['name']}")
                return arrays[f"{band}_{output}"]
        except (BadZipFile, EOFError, KeyError, OSError, ValueError) as error:
            raise BlockStoreError(
                f"{path} is damaged ({error}): remove it and repeat the call, which makes it again"
            ) from error

    def remove(self) -> None:
        """Remove all blocks, and the folder if it holds nothing else."""
        self._remove_files()
        with suppress(OSError):
            self.folder.rmdir()

    def _remove_files(self):
        for pattern in _OURS:
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)

    def _path(self, number):
        return self.folder / f"block-{self._key}-{number:06d}.npz"

    def _check_contents(self):
        for path in sorted(self.folder.glob("*")):
            if not any(path.match(pattern) for pattern in _OURS):
                raise ValueError(
                    f"{self.folder} is where blocks are written, and it holds {path.name}: move it "
                    "away, or give the image another name"
                )

    def _read_record(self):
        try:
            return read_json(self.folder / _RECORD, "the frames are registered again")
        except ValueError as error:
            warnings.warn(str(error), stacklevel=5)

    def _write_record(self):
        record = {"key": self._key, "settings": self.settings, "plan": self._plan}
        write_json(self.folder / _RECORD, record | {"written": self._written})

    def _differing(self, recorded):
        """Settings that differ from the recorded ones, in words."""
        damaged = self._failure_messages()
        differing = []
        for key in sorted(self.settings.keys() | recorded.keys()):
            old, new = recorded.get(key), self.settings.get(key)
            if old == new:
                continue
            if key in _FILES and [file[0] for file in old or ()] == [file[0] for file in new or ()]:
                pairs = zip(old, new, strict=True)
                changed = [one[0] for one, two in pairs if one != two and one[0] not in damaged]
                if changed:
                    differing.append(f"{key} ({changed[0]} has changed)")
            else:
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

    def _not_writable(self, error):
        if not self.folder.is_dir():
            return BlockStoreError(
                f"{self.folder} was removed meanwhile, by a call that wrote the image of that name "
                "or by hand: look whether the image is there, else repeat the call"
            )
        reason = os.strerror(error.errno) if error.errno else error
        return BlockStoreError(
            f"{self.folder} cannot be written to ({reason}): make room, and repeat the call, "
            "which resumes from the blocks that are made"
        )


def _plan_as_json(plan):
    """Registration of all bands; None of an estimator that does not register them."""
    bands = plan.bands.values()
    if any(band.alignment is None for band in bands):
        return None
    registered = [
        {
            "alignment": vars(band.alignment),
            "reference": None if band.reference is None else int(band.reference),
        }
        for band in bands
    ]
    return json.loads(json.dumps(registered, default=_array_as_json))


def _alignment_of(known):
    psf, copies = PsfEstimate(*known["psf"]), Copies(*known["copies"])
    return Alignment(**known | {"psf": psf, "nodes": tuple(known["nodes"]), "copies": copies})


def _array_as_json(array):
    return {"dtype": array.dtype.str, "shape": array.shape, "values": array.ravel().tolist()}


def _array_of_json(found):
    if found.keys() == {"dtype", "shape", "values"}:
        return np.array(found["values"], found["dtype"]).reshape(found["shape"])
    return found


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
    """Make blocks, in batches and processes, and write them to a store.

    `advance` is called after each block. Returns the blocks that failed twice; all others are
    written. A BlockStoreError is raised if a block cannot be written.
    """
    batches = [numbers[start : start + batch_size] for start in range(0, len(numbers), batch_size)]
    make = partial(_make_batch, site, plan, predictor, store)
    if workers == 1 or len(batches) < 2:
        results = (make(batch) for batch in batches)
    else:
        results = map_in_processes(make, batches, workers)
    failures: list[Failure] = []
    with closing(results):
        for batch, failed in zip(batches, results, strict=True):
            for failure in failed:
                store.record_failure(failure)
            failures += failed
            for _ in batch:
                advance()
    return sorted(failures)


def _make_batch(site, plan, predictor, store, numbers):
    """Make and write a batch; if it fails, try again block by block."""
    make = partial(_make_together, site, plan, predictor, store)
    if _failure_of(make, numbers) is None:
        return []
    tried = ((number, _failure_of(make, [number])) for number in store.missing(numbers))
    return [Failure(number, message) for number, message in tried if message is not None]


def _failure_of(make, numbers):
    """Make and write blocks; returns the message of an error or None."""
    try:
        make(numbers)
    except BlockStoreError:
        # The others could not be written either.
        raise
    except Exception as error:
        return str(error) or type(error).__name__
    return None


def _make_together(site, plan, predictor, store, numbers):
    blocks = [plan.blocks[number] for number in numbers]
    parts = "parts" in store.outputs
    made = make_blocks(predictor, plan.bands, site.encodings, blocks, parts=parts)
    for number, block in zip(numbers, made, strict=True):
        store.save(number, block)
