"""State files: tensors and a config in one safetensors file with a checksum.

Weights, models and checkpoints are kinds of this file. Its metadata are strings: `format`,
`package_version`, `kind`, `config` (JSON) and `checksum` (SHA-256 of the metadata and the tensors).
"""

from __future__ import annotations

import hashlib
import io
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

# Most bytes of a value's JSON, with its name, and least values for each object or tensor. In
# memory, a value needs up to 130 bytes and a tensor 1 kB, however few numbers it holds.
_BYTES_OF_VALUE, _VALUES_OF_OBJECT = 60, 5


class _Kind(NamedTuple):
    """Description for errors, and limits: finite tensors, JSON values."""

    writer: str
    remedy: str
    finite: bool = True
    most_values: int = 300_000


_KINDS = {
    "weights": _Kind("save_pretrained", "fetch it again", most_values=30_000),
    "model": _Kind("save_model", "fetch it again"),
    "checkpoint": _Kind("resume", "remove it to start over", finite=False, most_values=1_500_000),
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
    about = _KINDS[kind]
    _check_tensors(tensors, "the net", about)
    metadata = {
        "format": str(_FORMAT),
        "package_version": __version__,
        "kind": kind,
        "config": json.dumps(config, allow_nan=False),
    }
    metadata["checksum"] = _checksum(tensors, metadata)
    # safetensors' own save_file makes files that others must not read.
    content = save(tensors, metadata)
    _check_header(io.BytesIO(content), f"the {kind}", about)
    _check_config(metadata["config"], f"the {kind}", about)
    with replace_file(path) as partial:
        partial.write_bytes(content)


def read_state(path: str | os.PathLike[str], kind: str) -> State:
    """Read a state file. Nothing in it is run, and nothing else is read if its checksum is wrong.

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
        If it is truncated, damaged, of another kind, of an earlier or newer format, has more
        tensors or a longer config than its kind can have or, unless it is a checkpoint, holds NaN
        or infinity.
    """
    path, about = Path(path), _KINDS[kind]
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file: give one that {about.writer} wrote")
    with path.open("rb") as start:
        _check_header(start, path, about)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            _check_format(metadata, path, about)
            _check_config(metadata["config"], path, about)
            # Clones, because the tensors of an open file change with it.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, RuntimeError) as error:  # torch's, of impossible shapes
        raise ValueError(
            f"{path} cannot be read as safetensors ({error}): it may be truncated or of another "
            f"kind, {about.remedy}"
        ) from error
    if metadata.pop("checksum") != _checksum(tensors, metadata):
        raise ValueError(f"{path} is damaged, its checksum does not fit: {about.remedy}")
    if metadata["kind"] != kind:
        raise ValueError(
            f"{path} holds a state of kind {metadata['kind'][:40]!r} and no {kind}: give a file "
            f"that {about.writer} wrote"
        )
    _check_tensors(tensors, path, about)
    return State(_parse(metadata["config"], path, about), tensors, metadata["package_version"])


def is_state(path: str | os.PathLike[str], kind: str) -> bool:
    """Whether a file says that it is a state file of a kind."""
    # Unlike Path.is_file, this is False for what cannot be the name of a file.
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as start:
            _check_header(start, path, _KINDS[kind])
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("kind") == kind
    except (SafetensorError, ValueError):
        return False


def _check_format(metadata, path, about):
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


def _check_header(file, owner, about):
    length, most = int.from_bytes(file.read(8), "little"), _BYTES_OF_VALUE * about.most_values
    header = file.read(min(length, most + 1))
    too_many = len(header) > most or header.count(b"{") > about.most_values // _VALUES_OF_OBJECT
    # Files of other kinds begin otherwise, and have any length here.
    if too_many and header.startswith(b"{"):
        raise _too_large(owner, about)


def _check_config(text, owner, about):
    # A letter that is not ASCII, which JSON escapes, makes four bytes of all others.
    if sum(map(text.count, ",[{")) > about.most_values or not text.isascii():
        raise _too_large(owner, about)


def _too_large(owner, about):
    return ValueError(
        f"{owner} has more than {about.most_values:,} values and tensors, or long texts, too many "
        f"for a file of {about.writer}: {about.remedy}, or shorten the history before it is saved, "
        "net.history_ = net.history[-1000:]"
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
