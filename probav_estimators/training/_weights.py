"""Files of weights: those that ship with the package, and those that users save."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..files import replace_file
from ..version import __version__

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Weights", "load_module", "load_weights", "save_weights", "shipped_weights"]

# Format of the files that this version writes, and the newest that it reads. 0 has no number.
_FORMAT = 1

# What a net's parameters and buffers may be.
_DTYPES = {
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
}

_PACKAGE = __package__.partition(".")[0]


class Weights(NamedTuple):
    """Weights of a net and what they belong to.

    Attributes
    ----------
    state : dict of str to tensor
        Parameters and buffers, all of them finite.
    architecture : str
        Class of the estimator.
    layout : dict of str to str, int, float, bool or None
        Parameters that the estimator needs for the weights to fit, and "scale".
    package_version : str or None, default=None
        Version of this package that wrote the file which they were read from, if it says so.
    path : pathlib.Path or None, default=None
        That file.
    """

    state: dict[str, torch.Tensor]
    architecture: str
    layout: dict[str, Any]
    package_version: str | None = None
    path: Path | None = None


def shipped_weights() -> list[str]:
    """Names of the weights that ship with the package.

    Returns
    -------
    list of str
        Sorted; see :func:`load_weights`.
    """
    return sorted(path.stem for path in _folder().iterdir() if path.suffix == ".safetensors")


def load_weights(name: str | os.PathLike[str]) -> Weights:
    """Read weights.

    Parameters
    ----------
    name : str or path-like
        A string that is one of :func:`shipped_weights` means those, even if there is a file of
        that name. Everything else is the path of a file that :func:`save_weights` wrote, taken as
        it is: ``pathlib.Path("simulated-x3")`` and ``"./simulated-x3"`` are files.

    Returns
    -------
    Weights

    Raises
    ------
    FileNotFoundError
        If there are no weights of that name and no such file.
    ValueError
        If the file is truncated or damaged, something else than weights of this package, of a
        format that only newer versions of this package know, or holds NaN or infinity.

    Warns
    -----
    UserWarning
        If a string names both weights that ship and a file.

    Notes
    -----
    A file is data: nothing in it is run, and no more memory is used than it is large. Since format
    1 a checksum finds damage. Files without a format number, from before there was one, are read.
    """
    path = _find(name)
    with _opened(path) as file:
        metadata = file.metadata() or {}
        version = _format_of(metadata, path)
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        # Inside: torch may not be able to look at a tensor that safetensors could read.
        _check_values(state, path)
        stated = metadata.pop("checksum", None)
        if (version or stated) and stated != _checksum(state, metadata):
            raise ValueError(f"{path} is damaged, its checksum does not fit: fetch it again")
    return Weights(
        state,
        metadata["architecture"],
        _parse_layout(metadata["layout"], path),
        metadata.get("package_version"),
        path,
    )


def save_weights(weights: Weights, path: str | os.PathLike[str]) -> None:
    """Write weights as safetensors; the file is replaced as a whole or not at all.

    Parameters
    ----------
    weights : Weights
        `package_version` and `path` are not looked at.
    path : path-like

    Raises
    ------
    ValueError
        If the weights hold NaN or infinity, or the layout something else than plain values.
    """
    state = {key: value.detach().cpu().contiguous() for key, value in weights.state.items()}
    _check_values(state, "the net")
    layout = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in weights.layout.items()
    }
    if not _is_plain(layout):
        raise ValueError(f"layout must hold numbers, strings, True, False or None, got {layout}")
    metadata = {
        "format_version": str(_FORMAT),
        "package_version": __version__,
        "architecture": weights.architecture,
        "layout": json.dumps(layout),
    }
    metadata["checksum"] = _checksum(state, metadata)
    with replace_file(path) as partial:
        # safetensors' own save_file makes files that others must not read.
        partial.write_bytes(save(state, metadata))


def load_module(build: Callable[[], nn.Module], weights: Weights) -> nn.Module:
    """Module with given weights, which have to fit it.

    Parameters
    ----------
    build : callable
        Makes the module. If the weights are those of a file, it is called for the shapes alone
        first, so that a layout which the file does not keep asks for no memory.
    weights : Weights

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    ValueError
        If parameters or buffers are missing, too many or of another shape, or integers stand for
        floats.
    """
    with nullcontext() if weights.path is None else torch.device("meta"):
        module = build()
    expected = _kinds_of(module.state_dict())
    found = _kinds_of(weights.state)
    if found != expected:
        name = next(n for n in {**expected, **found} if found.get(n) != expected.get(n))
        raise ValueError(
            f"{weights.path or 'the weights'} do not fit the net: {name} is "
            f"{found.get(name, 'missing')} there and {expected.get(name, 'missing')} here; their "
            f"layout is {weights.layout}: make the net with that, or fetch the file again"
        )
    if weights.path is not None:
        module = build()
    module.load_state_dict(weights.state)
    return module


def _find(name):
    shipped = shipped_weights()
    if isinstance(name, str) and name in shipped:
        if os.path.isfile(name):
            warnings.warn(
                f"{name!r} is the name of shipped weights, which are taken, and of a file here: "
                f"give pathlib.Path({name!r}) for the file",
                stacklevel=3,
            )
        return _folder() / f"{name}.safetensors"
    # Unlike Path.is_file, this is False for what cannot be the name of a file.
    if not os.path.isfile(name):
        raise FileNotFoundError(
            f"{os.fspath(name)!r} is neither the name of shipped weights, as a string "
            f"({', '.join(shipped)}), nor a file: correct the name or the path"
        )
    return Path(name)


@contextmanager
def _opened(path):
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, RuntimeError) as error:  # torch's, of shapes that cannot be
        raise ValueError(
            f"{path} cannot be read as safetensors ({error}): it may be truncated or of another "
            "kind, fetch it again"
        ) from error


def _format_of(metadata, path):
    """Number of the format, once the file says what this version needs to know."""
    stated = metadata.get("format_version", "0")
    # Longer numbers are no versions, and take their time.
    version = int(stated) if stated.isdecimal() and len(stated) < 10 else None
    if version is None:
        raise ValueError(f"{path} has the format version {stated[:40]!r}: fetch it again")
    if version > _FORMAT:
        raise ValueError(
            f"{path} has format version {version}, written by {_PACKAGE} "
            f"{metadata.get('package_version', 'of a later version')}, and {_PACKAGE} "
            f"{__version__} reads up to version {_FORMAT}: upgrade {_PACKAGE}"
        )
    for key in ("architecture", "layout"):
        if key not in metadata:
            raise ValueError(
                f"{path} does not say which net its weights belong to, {key} is missing: give a "
                "file that save_pretrained wrote"
            )
    return version


def _checksum(state, metadata):
    """Of names, types, shapes and values."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _check_values(state, owner):
    for name, value in state.items():
        if value.dtype not in _DTYPES:
            raise ValueError(f"{name} of {owner} is of {value.dtype}: save it as torch.float32")
        if not value.isfinite().all():
            raise ValueError(
                f"{name} of {owner} holds NaN or infinity: the training has diverged, train again "
                "with a smaller lr"
            )


def _parse_layout(text, path):
    try:
        layout = json.loads(text)
    except (ValueError, RecursionError):
        layout = None
    if not _is_plain(layout):
        raise ValueError(
            f"{path} has the layout {text[:60]!r}, which is no JSON object of plain values: fetch "
            "it again"
        )
    return layout


def _is_plain(layout):
    return isinstance(layout, dict) and all(
        isinstance(name, str) and isinstance(value, str | int | float | None)
        for name, value in layout.items()
    )


def _kinds_of(state):
    return {
        name: f"{'float' if value.is_floating_point() else 'integer'} of shape {tuple(value.shape)}"
        for name, value in state.items()
        if torch.is_tensor(value)
    }


def _folder():
    return files(_PACKAGE) / "weights"
