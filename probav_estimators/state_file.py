"""State files: tensors and a config in one safetensors file with a checksum.

Weights, models and checkpoints are kinds of this file. Its metadata are strings: `format`,
`package_version`, `kind`, `config` (JSON) and `checksum` (SHA-256 of the metadata and the tensors).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from .files import replace_file
from .version import __version__

# Format that this version reads and writes; 1 and older had other metadata.
_FORMAT = 2

_KEYS = ("kind", "config", "package_version", "checksum")

# Types of a net's parameters and buffers.
_DTYPES = {
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
}

# JSON values need up to 130 bytes of memory each: a file of others must not fill it.
_MOST_VALUES = 300_000


class _Kind(NamedTuple):
    """Description for errors, and limits: finite tensors, JSON values."""

    writer: str
    remedy: str
    finite: bool = True
    most_values: float = _MOST_VALUES


_KINDS = {
    "weights": _Kind("save_pretrained", "fetch it again"),
    "model": _Kind("save_model", "fetch it again"),
    "checkpoint": _Kind(
        "resume", "remove it to start over", finite=False, most_values=float("inf")
    ),
}


class State(NamedTuple):
    """Contents of a state file.

    Attributes
    ----------
    config : value of JSON
    tensors : dict of str to tensor
    package_version : str
        Version of this package that wrote it.
    """

    config: Any
    tensors: dict[str, torch.Tensor]
    package_version: str


def write_state(
    path: str | os.PathLike[str], kind: str, config: Any, tensors: Mapping[str, torch.Tensor]
) -> None:
    """Write a state file; it is replaced as a whole or not at all.

    Parameters
    ----------
    path : path-like
    kind : {"weights", "model", "checkpoint"}
    config : value of JSON
    tensors : dict of str to tensor

    Raises
    ------
    ValueError
        If a tensor is of an unknown type or, unless it is a checkpoint, holds NaN or infinity.
    """
    # Clones, because safetensors refuses tensors that share memory.
    tensors = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }
    _check_tensors(tensors, "the net", _KINDS[kind])
    text = json.dumps(config, allow_nan=False)
    _check_length(text, f"the {kind}", _KINDS[kind])
    metadata = {
        "format": str(_FORMAT),
        "package_version": __version__,
        "kind": kind,
        "config": text,
    }
    metadata["checksum"] = _checksum(tensors, metadata)
    with replace_file(path) as partial:
        # safetensors' own save_file makes files that others must not read.
        partial.write_bytes(save(tensors, metadata))


def read_state(path: str | os.PathLike[str], kind: str) -> State:
    """Read a state file. Nothing in it is run.

    Parameters
    ----------
    path : path-like
    kind : {"weights", "model", "checkpoint"}

    Returns
    -------
    State

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is truncated, damaged, of another kind, of an earlier or newer format or, unless it is
        a checkpoint, holds NaN or infinity.
    """
    path, about = Path(path), _KINDS[kind]
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file: give one that {about.writer} wrote")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            _check_metadata(metadata, path, kind)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            _check_tensors(tensors, path, about)
    except (SafetensorError, RuntimeError) as error:  # torch's, of impossible shapes
        raise ValueError(
            f"{path} cannot be read as safetensors ({error}): it may be truncated or of another "
            f"kind, {about.remedy}"
        ) from error
    if metadata.pop("checksum") != _checksum(tensors, metadata):
        raise ValueError(f"{path} is damaged, its checksum does not fit: {about.remedy}")
    return State(_parse(metadata["config"], path, about), tensors, metadata["package_version"])


def kind_of_file(path: str | os.PathLike[str]) -> str | None:
    """Kind of a state file; None of anything else."""
    # Unlike Path.is_file, this is False for what cannot be the name of a file.
    if not os.path.isfile(path):
        return None
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("kind")
    except SafetensorError:
        return None


def _check_metadata(metadata, path, kind):
    about = _KINDS[kind]
    version = metadata.get("package_version", "without a version")
    if "architecture" in metadata and "format" not in metadata:
        raise ValueError(
            f"{path} was written by an earlier version of probav_estimators ({version[:40]}), "
            "whose format is no longer read: load it with that version, or train again"
        )
    stated = metadata.get("format")
    if stated is None:
        raise ValueError(
            f"{path} was not written by probav_estimators: give a file that {about.writer} wrote"
        )
    # Longer numbers are no formats, and slow to parse.
    if not (stated.isdecimal() and len(stated) < 10):
        raise ValueError(f"{path} has the format {stated[:40]!r}: {about.remedy}")
    if int(stated) != _FORMAT:
        raise ValueError(
            f"{path} has format {int(stated)}, written by probav_estimators {version[:40]}, and "
            f"probav_estimators {__version__} reads format {_FORMAT}: upgrade probav_estimators"
        )
    for key in _KEYS:
        if key not in metadata:
            raise ValueError(f"{path} is damaged, {key} is missing: {about.remedy}")
    if metadata["kind"] != kind:
        raise ValueError(
            f"{path} holds a state of kind {metadata['kind'][:40]!r} and no {kind}: give a file "
            f"that {about.writer} wrote"
        )
    _check_length(metadata["config"], path, about)


def _check_length(text, owner, about):
    if sum(map(text.count, ",[{")) > about.most_values:
        raise ValueError(
            f"{owner} has a config of more than {about.most_values:,} values, too many to be read: "
            "shorten its history, net.history_ = net.history[-1000:], before it is saved"
        )


def _check_tensors(tensors, owner, about):
    for name, value in tensors.items():
        if value.dtype not in _DTYPES:
            raise ValueError(f"{name} of {owner} is of {value.dtype}: save it as torch.float32")
        if about.finite and not value.isfinite().all():
            raise ValueError(
                f"{name} of {owner} holds NaN or infinity: the training has diverged, train again "
                "with a smaller lr"
            )


def _checksum(tensors, metadata):
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _parse(text, path, about):
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} has a config that is no JSON: {about.remedy}") from error


def _refuse_constant(text):
    raise ValueError(f"{text} is no value of JSON")
