"""Files of weights: those that ship with the package, and those that users save."""

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..files import replace_file

__all__ = ["Weights", "load_weights", "save_weights", "shipped_weights"]


class Weights(NamedTuple):
    """Weights of a net and what they belong to.

    Attributes
    ----------
    state : dict of str to tensor
    architecture : str
        Class of the estimator.
    layout : dict
        Parameters that the estimator needs for the weights to fit, and "scale".
    """

    state: dict
    architecture: str
    layout: dict


def shipped_weights():
    """Names of the weights that ship with the package."""
    return sorted(path.stem for path in _folder().iterdir() if path.suffix == ".safetensors")


def load_weights(name):
    """Read weights.

    Parameters
    ----------
    name : str or path-like
        One of :func:`shipped_weights`, or a file that :func:`save_weights` wrote.

    Returns
    -------
    Weights

    Raises
    ------
    FileNotFoundError
        If there are no weights of that name and no such file.
    ValueError
        If the file is truncated or something else than weights of this package.
    """
    path = _folder() / f"{os.fspath(name)}.safetensors"
    if not path.is_file():
        path = Path(name)
    if not path.is_file():
        raise FileNotFoundError(
            f"{os.fspath(name)!r} is neither the name of shipped weights "
            f"({', '.join(shipped_weights())}) nor a file: correct the name"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f"{path} cannot be read as safetensors ({error}): it may be truncated, fetch it again"
        ) from error
    if "architecture" not in metadata:
        raise ValueError(
            f"{path} does not say which net its weights belong to: give a file that "
            "save_pretrained wrote"
        )
    return Weights(state, metadata["architecture"], json.loads(metadata["layout"]))


def save_weights(weights, path):
    """Write weights as safetensors; the file is replaced as a whole or not at all.

    Parameters
    ----------
    weights : Weights
    path : path-like
    """
    state = {key: value.detach().cpu().contiguous() for key, value in weights.state.items()}
    metadata = {"architecture": weights.architecture, "layout": json.dumps(weights.layout)}
    with replace_file(path) as partial:
        # safetensors' own save_file makes files that others must not read.
        partial.write_bytes(save(state, metadata))


def _folder():
    return files(__package__.partition(".")[0]) / "weights"
