"""Files of weights that the authors of a network published."""

from __future__ import annotations

import os
import pickletools
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from ._initial_weights import empty_module

__all__ = ["PublishedWeights", "read_published", "read_state_dict"]

# Where training was spread over devices, torch puts this before every name.
_PARALLEL = "module."

# Start of a zip file, and number of the pickles in those that torch wrote before.
_ZIP, _PICKLES_OF_OLD_FILES = b"PK\x03\x04", 5

# What state dicts consist of. torch.load makes more, such as bytearrays of any length.
_OF_TENSORS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor|tensor_v2|parameter)"
    r"|torch(\.cuda|\.storage)? \w+Storage"
)

_BAND = re.compile(r"(?:^|_)(RED|NIR)(?:$|_)", re.IGNORECASE)


class PublishedWeights(NamedTuple):
    """Names in the authors' file of weights, and the settings that they ran it with.

    Attributes
    ----------
    source : str
        Origin of the file, for errors.
    names : dict of str to str
        Authors' prefixes of weights' names, by those of this package.
    params : dict of str to value
        Parameters of the estimator, `scale` among them.
    level, std : float, default=0 and 1
        Subtracted from pixel values in [0, 1], and divisor of the difference.
    prefixes : tuple of str, default=()
        Optional prefixes of the authors' names.
    """

    source: str
    names: Mapping[str, str]
    params: Mapping[str, Any]
    level: float = 0.0
    std: float = 1.0
    prefixes: tuple[str, ...] = ()

    def name_of(self, ours: str) -> str:
        """The authors' name of a weight that this package calls `ours`."""
        for start, theirs in self.names.items():
            if f"{ours}.".startswith(f"{start}."):
                return theirs + ours.removeprefix(start)
        return ours


def read_published(
    path: str | os.PathLike[str],
    published: PublishedWeights,
    build: Callable[[], nn.Module],
    owner: str,
) -> dict[str, torch.Tensor]:
    """Read a file of an authors' weights; nothing in it is run.

    Parameters
    ----------
    path : path-like
        A `state_dict` that `torch.save` wrote.
    published : PublishedWeights
        Names in the file.
    build : callable
        Makes the module; called for names and shapes alone.
    owner : str
        Name of the estimator, for errors.

    Returns
    -------
    dict of str to tensor
        With the names and types of this package.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read as weights, or weights are missing, too many, of another shape or not
        finite.
    """
    path = Path(path)
    remedy = f"{owner}.from_published takes a file that you have, of {published.source}"
    state = _without_prefix(read_state_dict(path, remedy), published.prefixes)
    wanted = empty_module(build).state_dict()
    names = {name: published.name_of(name) for name in wanted}
    for ours, theirs in names.items():
        shape, found = tuple(wanted[ours].shape), state.get(theirs)
        if found is None or tuple(found.shape) != shape:
            got = "is missing" if found is None else f"has shape {tuple(found.shape)}"
            raise ValueError(
                f"{path} does not hold weights of {owner}: {theirs} {got}, where "
                f"{published.source} has shape {shape}: give that file"
            )
    if unknown := state.keys() - names.values():
        raise ValueError(
            f"{path} does not hold weights of {owner}: {published.source} has no "
            f"{min(unknown)[:80]!r}: give that file"
        )
    weights = {ours: state[theirs].to(wanted[ours].dtype) for ours, theirs in names.items()}
    for ours, value in weights.items():
        check_finite(value, names[ours], path)
    return weights


def check_finite(value: torch.Tensor, name: str, path: Path) -> None:
    """Raise a ValueError that names a weight and its file if it holds NaN or infinity."""
    if not value.isfinite().all():
        raise ValueError(
            f"{path}: {name} holds NaN or infinity, the file may be damaged: fetch it again"
        )


def band_of_path(path: str | os.PathLike[str]) -> str | None:
    """Spectral band that the name of a file, or of its folder, ends with; None if none."""
    path = Path(os.path.abspath(path))
    found = (_BAND.search(name) for name in (path.stem, path.parent.name))
    return next((match[1].upper() for match in found if match), None)


def read_state_dict(path: str | os.PathLike[str], remedy: str) -> dict[str, torch.Tensor]:
    """Read a state dict that `torch.save` wrote; nothing in it is run.

    Parameters
    ----------
    path : path-like
    remedy : str
        End of errors.

    Returns
    -------
    dict of str to tensor

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read, holds something else, or would become larger than it is.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: {remedy}")
    try:
        with path.open("rb") as file:
            _check_pickles(file)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises what its unpickler happens to meet
        raise ValueError(
            f"{path} cannot be read as a state dict of torch ({type(error).__name__}): it may be "
            f"truncated, a pointer of Git LFS, or of another kind; {remedy}"
        ) from error
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(x, torch.Tensor) for name, x in state.items()
    ):
        raise ValueError(
            f"{path} holds a {type(state).__name__} that is no state dict, a mapping of names to "
            f"tensors: {remedy}"
        )
    return dict(state)


def _check_pickles(file):
    """Raise an error if a file unpacks to more than it is large, or names other than tensors."""
    pickles = _PICKLES_OF_OLD_FILES * [file]
    if file.read(4) == _ZIP:
        archive = zipfile.ZipFile(file)
        parts = archive.infolist()
        if sum(part.file_size for part in parts) > os.fstat(file.fileno()).st_size:
            raise ValueError("compressed")
        pickles = [archive.open(part) for part in parts if part.filename.endswith(".pkl")]
    else:
        file.seek(0)
    for stream in pickles:
        for opcode, name, _ in pickletools.genops(stream):
            if opcode.name == "GLOBAL" and not _OF_TENSORS.fullmatch(name):
                raise ValueError(f"it names {name}")


def _without_prefix(state, prefixes):
    """The weights without prefixes of their names."""
    for prefix in (_PARALLEL, *prefixes):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state
