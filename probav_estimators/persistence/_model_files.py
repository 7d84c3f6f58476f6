"""Fitted estimators in one file, without pickle."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import torch

from ..state_file import is_state, read_state, write_state
from ..version import warn_of_other_version
from ._estimator_values import EstimatorDecoder, EstimatorEncoder

__all__ = ["is_model_file", "load_model", "save_model"]


def save_model(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator or pipeline of this package to one file, without pickle.

    Parameters
    ----------
    estimator : estimator
        A net, a BicubicBaseline, a PerBand, a SceneEnsemble, or a Pipeline of these and of
        transformers. Of a search save the `best_estimator_`.
    path : path-like
        A safetensors file; it is replaced as a whole or not at all.

    Raises
    ------
    ValueError
        If a class is not known, a parameter that predictions depend on is something else than plain
        values, or the training has diverged. Nothing is written then.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.

    Warns
    -----
    UserWarning
        If parameters of the training are left out because a file cannot hold them, such as a
        callable `train_split`, callbacks, options of data loaders or a path in `weights`.

    See Also
    --------
    load_model : Reads it.
    export_onnx : For programs without this package.

    Notes
    -----
    The file holds constructor parameters, fitted attributes, weights, and the history of epochs,
    but not the optimizer's state: after loading, `partial_fit` starts with a new one and with the
    parameter `lr`. Parameters of the machine (`device`, `resume`, `memory`, `n_jobs`) are left out
    without a warning. A loaded net has the defaults of the others, which its `left_out_` lists as
    text, and so does :func:`model_card`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from probav_estimators import FusionNet, make_scenes
    >>> from probav_estimators import load_model, save_model
    >>> scenes = make_scenes(1, size=32, n_frames=4, random_state=0)
    >>> net = FusionNet.from_pretrained("simulated-x3")
    >>> with TemporaryDirectory() as folder:
    ...     save_model(net, Path(folder) / "model.safetensors")
    ...     loaded = load_model(Path(folder) / "model.safetensors")
    >>> bool(np.all(loaded.predict(scenes) == net.predict(scenes)))
    True
    """
    encoder = EstimatorEncoder()
    config = encoder.encode_fitted(estimator)
    write_state(path, "model", config, encoder.tensors)
    if encoder.left_out:
        warnings.warn(
            f"{path} does not hold {', '.join(encoder.left_out)}: the format cannot, and no "
            "prediction needs it. A loaded estimator has the defaults: give them again before it "
            "is trained",
            stacklevel=2,
        )


def load_model(path: str | os.PathLike[str], *, device: str | torch.device | None = None) -> Any:
    """Read an estimator that :func:`save_model` wrote.

    Parameters
    ----------
    path : path-like
    device : str or torch.device, default=None
        Where its nets compute. None: "auto".

    Returns
    -------
    estimator
        Fitted; predicts what the saved one did, bit by bit on the same device. `fit` and
        `partial_fit` work as after any other fit, but with a new optimizer.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is truncated, damaged or no model, names an unknown class or a parameter that a file
        must not set, holds values that don't fit each other, or is of another format.

    Warns
    -----
    UserWarning
        If another version of this package wrote it.

    See Also
    --------
    save_model : Writes it.

    Notes
    -----
    A file is data: nothing in it is run, only classes of this package, scikit-learn's pipelines and
    torch's optimizers and losses are made, and parameters with paths, processes, devices or
    callables are refused. The memory that it takes is at most some times its size and 80 MB.
    """
    path = Path(path)
    state = read_state(path, "model")
    decoder = EstimatorDecoder(state.tensors, path, "auto" if device is None else device)
    try:
        estimator = decoder.decode_whole(state.config)
    except Exception as error:  # whatever constructors raise of values that they cannot take
        text = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{path} cannot be made an estimator ({text[:200]}): it may be damaged or made by "
            "another program, fetch it again"
        ) from error
    warn_of_other_version(state.package_version, str(path))
    return estimator


def is_model_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file holds what :func:`save_model` writes: weights of a net alone are no model."""
    return is_state(path, "model")
