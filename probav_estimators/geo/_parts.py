"""Blocks of images in a folder, where a work that was stopped goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from joblib import Parallel, cpu_count, delayed

from ..files import replace_file
from ..imaging import Alignment, PsfEstimate
from ._fusing import BandPlan
from ._images import ImageBlock
from ._place import make_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..scenes import Scene
    from ._fusing import Fuser
    from ._place import Place, PlacePlan

__all__ = ["Failure", "Parts", "PartsError", "compute_parts"]

_SETTINGS = "settings.json"
_PLAN = "plan.npz"

# What a folder of blocks holds, besides what a process left half-written that was killed.
_OURS = (_SETTINGS, _PLAN, "block-*.npz", "block-*.error", ".*.partial")

# Settings that list files: each with its name and what tells whether it is still the same.
_FILES = ("files", "masks")


class PartsError(OSError):
    """Blocks cannot be written, or what was written is damaged."""


@dataclass(frozen=True)
class Parts:
    """A folder with what is known of a place and with the blocks that are made.

    Attributes
    ----------
    folder : Path
    wanted : tuple of str
        Which of "image", "std" and "n_clear" are kept of each block.
    """

    folder: Path
    wanted: tuple[str, ...] = ("image",)

    def open(self, settings: Mapping[str, Any], *, resume: bool) -> bool:
        """See whether there is something to go on with.

        Parameters
        ----------
        settings : mapping
            What the blocks depend on, as JSON has it.
        resume : bool
            Whether blocks that are there are kept, if their settings are the same.

        Returns
        -------
        bool
            Whether blocks of these settings, or a plan for them, are there.

        Raises
        ------
        ValueError
            If blocks of other settings are there, or files that are no blocks. Files that could not
            be read may have been mended.
        """
        mine = json.loads(json.dumps(settings))
        if not resume:
            self.remove()
        theirs = self._read_settings()
        known = theirs is not None and not self._differing(theirs, mine)
        if not known and any(self.folder.glob("block-*.npz")):
            what = self._differing(theirs, mine) if theirs is not None else ["not known any more"]
            raise ValueError(
                f"{self.folder} holds blocks that were made with other settings, which are "
                f"{', '.join(what)}: repeat the call as it was, or begin anew with --no-resume"
            )
        return known

    def begin(self, settings: Mapping[str, Any], plan: PlacePlan | None) -> None:
        """Make the folder, and keep what other processes and calls must know.

        Parameters
        ----------
        settings : mapping
            What the blocks depend on.
        plan : PlacePlan or None
            What was found out of the place; None: that is kept already.
        """
        try:
            self.folder.mkdir(exist_ok=True)
            if plan is not None:
                if self._read_settings() != json.loads(json.dumps(settings)):
                    # A plan is never found with settings that it is not of.
                    (self.folder / _SETTINGS).unlink(missing_ok=True)
                self._save_plan(plan)
            with replace_file(self.folder / _SETTINGS) as partial:
                partial.write_text(json.dumps(settings, indent=1), encoding="utf-8")
        except OSError as error:
            raise self._not_writable(error) from error

    def _not_writable(self, error):
        return PartsError(
            f"{self.folder} cannot be written to ({error.strerror or error}): make room, and "
            "repeat the call, which goes on with the blocks that are made"
        )

    def _read_settings(self):
        path = self.folder / _SETTINGS
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8"))
        if self.folder.is_dir() and self._not_ours():
            raise ValueError(
                f"{self.folder} is where blocks are written, and it holds "
                f"{self._not_ours()[0].name}: move it away, or give the image another name"
            )
        return None

    def _differing(self, theirs, mine):
        """What settings differ in, in words; files that could not be read may have been mended."""
        damaged = ""
        for path in self.folder.glob("block-*.error"):
            # Another machine may make the block meanwhile.
            with suppress(FileNotFoundError):
                damaged += path.read_text(encoding="utf-8") + "\n"
        differing = []
        for key in sorted(mine.keys() | theirs.keys()):
            old, new = theirs.get(key), mine.get(key)
            if key in _FILES and old is not None and new is not None and len(old) == len(new):
                pairs = zip(old, new, strict=True)
                changed = [
                    one[0]
                    for one, two in pairs
                    if one != two and (one[0] != two[0] or one[0] not in damaged)
                ]
                if changed:
                    differing.append(f"{key} ({changed[0]} has changed)")
            elif old != new:
                short = all(isinstance(value, str | int | None) for value in (old, new))
                differing.append(f"{key} ({old} then, {new} now)" if short else key)
        return differing

    def _not_ours(self):
        return [
            path
            for path in sorted(self.folder.iterdir())
            if not any(path.match(pattern) for pattern in _OURS)
        ]

    def size(self) -> int:
        """Bytes of what is there."""
        if not self.folder.is_dir():
            return 0
        total = 0
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    def missing(self, numbers: Iterable[int]) -> list[int]:
        """Which of some blocks are not there yet."""
        return [number for number in numbers if not self._path(number).exists()]

    def save(self, number: int, made: Mapping[str, ImageBlock]) -> None:
        """Write a block of all bands; it is there as a whole or not at all."""
        arrays = {
            f"{place}_{part}": getattr(block, part)
            for place, block in enumerate(made.values())
            for part in self.wanted
        }
        try:
            with replace_file(self._path(number)) as partial, partial.open("wb") as stream:
                np.savez(stream, **arrays)
            self._mark(number).unlink(missing_ok=True)
        except OSError as error:
            raise self._not_writable(error) from error

    def fail(self, failure: Failure) -> None:
        """Note that a block could not be made: files that are named may be mended."""
        self._mark(failure.number).write_text(failure.message, encoding="utf-8")

    def load(self, number: int, band: int, part: str) -> NDArray[Any]:
        """One array of a block."""
        path = self._path(number)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return arrays[f"{band}_{part}"]
        except (BadZipFile, EOFError, KeyError, OSError, ValueError) as error:
            raise PartsError(
                f"{path} is damaged: remove it and repeat the call, which makes it anew"
            ) from error

    def _save_plan(self, plan):
        arrays: dict[str, Any] = {}
        for place, band in enumerate(plan.bands.values()):
            if band.alignment is None:
                (self.folder / _PLAN).unlink(missing_ok=True)
                return
            for key, value in _to_arrays(band.alignment, band.reference).items():
                arrays[f"{place}_{key}"] = value
        with replace_file(self.folder / _PLAN) as partial, partial.open("wb") as stream:
            np.savez(stream, **arrays)

    def load_plan(self, scenes: Mapping[str, Scene]) -> dict[str, BandPlan] | None:
        """What was found out of the place, if it was kept."""
        path = self.folder / _PLAN
        if not path.exists():
            return None
        plans = {}
        with np.load(path, allow_pickle=False) as arrays:
            for place, (band, scene) in enumerate(scenes.items()):
                own = {
                    key.removeprefix(f"{place}_"): arrays[key]
                    for key in arrays
                    if key.startswith(f"{place}_")
                }
                plans[band] = BandPlan(scene, *_from_arrays(own))
        return plans

    def remove(self) -> None:
        """Remove the blocks, and the folder if nothing else is in it."""
        if not self.folder.is_dir():
            return
        for pattern in _OURS:
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    def _path(self, number):
        return self.folder / f"block-{number:06d}.npz"

    def _mark(self, number):
        return self._path(number).with_suffix(".error")


def _to_arrays(alignment, reference):
    variance = alignment.psf.variance
    return {
        "index": alignment.index,
        "shifts": alignment.shifts,
        "gains": alignment.gains,
        "offsets": alignment.offsets,
        "level_std": np.array([alignment.level, alignment.std]),
        "psf": np.array([np.nan if variance is None else variance, alignment.psf.error]),
        "psf_differences": alignment.psf.differences,
        "distortion": alignment.distortion,
        "node_rows": alignment.nodes[0],
        "node_columns": alignment.nodes[1],
        "reference": np.array(-1 if reference is None else reference),
    }


def _from_arrays(arrays):
    variance, error = arrays["psf"].tolist()
    psf = PsfEstimate(None if np.isnan(variance) else variance, error, arrays["psf_differences"])
    level, std = arrays["level_std"].tolist()
    alignment = Alignment(
        index=arrays["index"],
        shifts=arrays["shifts"],
        gains=arrays["gains"],
        offsets=arrays["offsets"],
        level=level,
        std=std,
        psf=psf,
        distortion=arrays["distortion"],
        nodes=(arrays["node_rows"], arrays["node_columns"]),
    )
    reference = int(arrays["reference"])
    return alignment, None if reference < 0 else reference


class Failure(NamedTuple):
    """A block that could not be made.

    Attributes
    ----------
    number : int
    message : str
    """

    number: int
    message: str


def compute_parts(
    place: Place,
    plan: PlacePlan,
    fuser: Fuser,
    parts: Parts,
    numbers: Sequence[int],
    *,
    batch_size: int = 1,
    workers: int = 1,
    advance: Callable[..., None] = lambda: None,
) -> list[Failure]:
    """Make blocks and write them.

    Parameters
    ----------
    place : Place
    plan : PlacePlan
    fuser : Fuser
    parts : Parts
    numbers : list of int
        Which blocks.
    batch_size : int, default=1
        Blocks that are computed together.
    workers : int, default=1
        Processes, which share the cores.
    advance : callable
        Is called after each block.

    Returns
    -------
    list of Failure
        Blocks that failed twice; all others are written.

    Raises
    ------
    PartsError
        If a block cannot be written.
    """
    batches = [numbers[start : start + batch_size] for start in range(0, len(numbers), batch_size)]
    given = (place, plan, fuser, parts)
    failures: list[Failure] = []
    if workers == 1 or len(batches) < 2:
        results: Iterable[list[Failure]] = (_make(*given, batch) for batch in batches)
    else:
        threads = max(1, cpu_count() // workers)
        results = Parallel(n_jobs=workers, return_as="generator")(
            delayed(_make)(*given, batch, threads) for batch in batches
        )
    for failed in results:
        for failure in failed:
            parts.fail(failure)
        failures += failed
        for _ in range(batch_size):
            advance()
    return sorted(failures)


def _make(place, plan, fuser, parts, numbers, threads=None):
    """Make and write some blocks; each that fails is tried again by itself."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    try:
        _make_together(place, plan, fuser, parts, numbers)
    except PartsError:
        # The others could not be written either.
        raise
    except Exception:
        return [
            failure
            for number in parts.missing(numbers)
            if (failure := _try_again(place, plan, fuser, parts, number))
        ]
    return []


def _try_again(place, plan, fuser, parts, number):
    try:
        _make_together(place, plan, fuser, parts, [number])
    except PartsError:
        raise
    except Exception as error:
        return Failure(number, str(error) or type(error).__name__)
    return None


def _make_together(place, plan, fuser, parts, numbers):
    blocks = [plan.blocks[number] for number in numbers]
    made = make_blocks(fuser, plan.bands, place.types, blocks)
    for number, one in zip(numbers, made, strict=True):
        parts.save(number, one)
