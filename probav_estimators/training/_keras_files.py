"""Files of weights that Keras wrote, in HDF5."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from ._initial_weights import empty_module
from ._torch_files import check_finite

__all__ = ["KerasModel", "KerasWeights", "read_keras"]

# A file must not ask for more channels than frames and quality maps can be.
_MOST_CHANNELS = 1024

# No layer has more weights, and no name more parts.
_MOST_WEIGHTS = 16

# Filters of HDF5 that are part of it: deflate, shuffle and a checksum. Others are plugins.
_FILTERS = {1, 2, 3}

# Names of weights in torch and in Keras, by the class of the layer.
_KERNEL = {"weight": "kernel", "bias": "bias"}
_NAMES: dict[type[nn.Module], dict[str, str]] = {
    nn.Conv2d: _KERNEL,
    nn.ConvTranspose2d: _KERNEL,
    nn.Linear: _KERNEL,
    nn.BatchNorm2d: {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    },
}

# Axes of Keras in the order of torch's, by their number: kernels of convolutions are (h, w, in,
# out) and become (out, in, h, w), transposed ones are (h, w, out, in) and become (in, out, h, w).
_AXES = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}


class KerasModel(NamedTuple):
    """Names of a Keras model's layers, in the order of this package's.

    Attributes
    ----------
    layers : tuple of str
        Names of the layers with weights.
    clearance_layers : tuple of str, default=()
        Names of those that follow if the model predicts clearance. Without any, the last layer then
        has a second filter.
    params : dict of str to value, default={}
        Parameters of the estimator that the model has, where these are not the default.
    input_axis : int, default=2
        Axis of the first kernel whose length is the number of channels in: 3 if that layer is
        transposed.
    """

    layers: tuple[str, ...]
    clearance_layers: tuple[str, ...] = ()
    params: Mapping[str, Any] = {}
    input_axis: int = 2


class KerasWeights(NamedTuple):
    """Weights of a file, with the numbers of its channels.

    Attributes
    ----------
    state : dict of str to tensor
        With the names of this package.
    n_channels : int
        Channels of the input.
    predict_clearance : bool
        Whether the model has a second output.
    """

    state: dict[str, torch.Tensor]
    n_channels: int
    predict_clearance: bool


def read_keras(
    path: str | os.PathLike[str],
    model: KerasModel,
    build: Callable[[int, bool], nn.Module],
    owner: str,
) -> KerasWeights:
    """Read the weights of a file that Keras wrote; nothing in it is run.

    Parameters
    ----------
    path : path-like
        Written by `model.save`, `model.save_weights` or `ModelCheckpoint` of Keras 2. Its
        description of the model is ignored, and links to other files are not followed.
    model : KerasModel
    build : callable
        Makes the module of a number of channels in, with or without clearance; called for names and
        shapes alone, before weights are read.
    owner : str
        Name of the estimator, for errors.

    Returns
    -------
    KerasWeights

    Raises
    ------
    ImportError
        If h5py is missing.
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read, or layers are missing, unknown, of another shape or not finite.
    """
    path = Path(path)
    with _opened(path, owner) as root:
        file = _File(path, owner, root)
        n_channels, clearance = file.measure(model)
        layers = model.layers + (model.clearance_layers if clearance else ())
        module = empty_module(partial(build, n_channels, clearance))
        wanted = _weights_of(module, layers, file)
        file.check_layers(layers)
        # All shapes are compared before the first values are read.
        found = {ours: file.find(name, tuple(shape)) for ours, (name, shape) in wanted.items()}
        state = {ours: file.read(wanted[ours][0], dataset) for ours, dataset in found.items()}
        counts = {
            name: torch.zeros((), dtype=torch.long)
            for name in module.state_dict()
            if name.endswith("num_batches_tracked")
        }
    return KerasWeights(state | counts, n_channels, clearance)


def _weights_of(module, layers, file):
    """(layer, weight) in Keras and its shape there, by the name of the weight here."""
    own = [
        (name, part)
        for name, part in module.named_modules()
        if next(part.parameters(recurse=False), None) is not None
    ]
    if len(own) != len(layers) or any(type(part) not in _NAMES for _, part in own):
        raise ValueError(
            f"{file.owner} has {len(own)} layers with weights, and files of Keras have the "
            f"{len(layers)} of its default settings: {file.path} can be read with those"
        )
    return {
        f"{name}.{ours}": ((layer, theirs), _shape_in_keras(getattr(part, ours).shape))
        for (name, part), layer in zip(own, layers, strict=True)
        for ours, theirs in _NAMES[type(part)].items()
    }


def _shape_in_keras(shape):
    axes = _AXES[len(shape)]
    return tuple(shape[axes.index(number)] for number in range(len(shape)))


class _File:
    """An open file, or what it holds of a model."""

    def __init__(self, path, owner, root):
        self.path, self.owner = path, owner
        with self._read_errors():
            # ModelCheckpoint writes a group of weights; for weights alone it is the root.
            group = _child(root, "model_weights")
            # A dataset has no names in it, and would hand out its values.
            self.root = group if hasattr(group, "keys") else root
            layers = list(self.root)
            self.weights = {layer: _paths_of_weights(self.root, layer) for layer in layers}

    def measure(self, model):
        """Channels in, and whether clearance is predicted, by the first and the last kernel."""
        n_channels = self._find(model.layers[0], "kernel").shape[model.input_axis]
        n_out = self._find(model.layers[-1], "bias", n_axes=1).shape[0]
        clearance = n_out == 2
        if model.clearance_layers:
            clearance = bool(self.weights.get(model.clearance_layers[0]))
        if not (1 <= n_channels <= _MOST_CHANNELS and n_out in (1, 2)):
            raise self._refusal(f"has {n_channels} channels in and {n_out} out")
        return n_channels, clearance

    def check_layers(self, layers):
        """Raise a ValueError if another layer has weights."""
        unknown = [layer for layer, weights in self.weights.items() if weights]
        unknown = sorted(set(unknown) - set(layers))
        if unknown:
            raise self._refusal(f"has a layer {unknown[0][:80]!r}, which that model does not have")

    def find(self, name, shape):
        """Dataset of a weight, of the shape that it has in Keras."""
        dataset = self._find(*name, n_axes=len(shape))
        if dataset.shape != shape:
            text = "/".join(name)
            raise self._refusal(f"has {text} of shape {dataset.shape} instead of {shape}")
        return dataset

    def read(self, name, dataset):
        """Values of a dataset as torch has them."""
        with self._read_errors():
            values = np.asarray(dataset[()], np.float32)
        value = torch.from_numpy(values).permute(_AXES[values.ndim]).contiguous()
        check_finite(value, "/".join(name), self.path)
        if name[1] == "moving_variance" and (value < 0).any():
            raise ValueError(
                f"{self.path}: {'/'.join(name)} holds negative variances, the file may be damaged: "
                "fetch it again"
            )
        return value

    def _find(self, layer, kind, n_axes=4):
        path = self.weights.get(layer, {}).get(kind)
        if path is None:
            raise self._refusal(f"has no {layer}/{kind}")
        with self._read_errors():
            dataset = _child(self.root, f"{layer}/{path}")
            plain = dataset is not None and _is_plain(dataset, n_axes)
        if not plain:
            raise self._refusal(
                f"has {layer}/{kind} not as an array of floats with {n_axes} axes in the file "
                "itself"
            )
        return dataset

    def _refusal(self, what):
        return ValueError(
            f"{self.path} does not hold Keras weights of {self.owner}, as "
            f"Shiro-LK/Super-Resolution-ProbaV defines that model: it {what}; give a file of it, "
            f"with the parameters of {self.owner} that it was trained with"
        )

    @contextmanager
    def _read_errors(self):
        try:
            yield
        except Exception as error:  # h5py raises what HDF5 happens to meet
            raise _unreadable(self.path, error) from error


def _paths_of_weights(root, layer):
    """Paths of a layer's weights below its group, by kind; empty if there are none."""
    group = _child(root, layer)
    attributes = getattr(group, "attrs", {})
    if "weight_names" not in attributes:
        return {}
    # Its size, before it is read.
    if math.prod(attributes.get_id("weight_names").shape) > _MOST_WEIGHTS:
        return {}
    names = [
        name.decode() if isinstance(name, bytes) else str(name)
        for name in np.ravel(attributes["weight_names"])
    ]
    # "conv1/kernel:0", with a number of TensorFlow's.
    return {name.rsplit("/", 1)[-1].split(":")[0]: name for name in names}


def _child(group, path):
    """Object at a path inside the file; None if there is none, or a link to another file."""
    import h5py

    parts = path.split("/")
    if len(parts) > _MOST_WEIGHTS:
        return None
    for part in parts:
        link = group.get(part, getlink=True) if isinstance(group, h5py.Group) and part else None
        if not isinstance(link, h5py.HardLink):
            return None
        group = group[part]
    return group


def _is_plain(dataset, n_axes):
    """Whether a dataset is floats, stored in the file itself and not larger there than it says."""
    import h5py

    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        return False
    filters = dataset.id.get_create_plist()
    known = {filters.get_filter(number)[0] for number in range(filters.get_nfilters())}
    chunks = dataset.chunks or dataset.shape
    return (
        dataset.ndim == n_axes
        and dataset.dtype.kind == "f"
        and not dataset.external
        and not dataset.is_virtual
        and known <= _FILTERS
        and all(part <= length for part, length in zip(chunks, dataset.shape, strict=True))
    )


@contextmanager
def _opened(path: Path, owner: str) -> Iterator[Any]:
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            f"{owner}.from_published reads files of Keras with h5py: pip install "
            '"probav_estimators[keras]"'
        ) from error
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: {owner}.from_published takes a file that you have, of a model "
            "of Shiro-LK/Super-Resolution-ProbaV"
        )
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:
        yield file


def _unreadable(path, error):
    return ValueError(
        f"{path} cannot be read as a file of Keras weights, HDF5 ({type(error).__name__}): it may "
        "be truncated, a pointer of Git LFS, or of another kind; fetch it again"
    )
