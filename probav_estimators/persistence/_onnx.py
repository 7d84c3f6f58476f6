"""Nets as ONNX graphs, for programs with neither torch nor this package."""

from __future__ import annotations

import copy
import io
import json
import os
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import pad
from torch.overrides import TorchFunctionMode

from ..files import replace_file
from ..losses import SensorModel
from ..training import fill_frames
from ..version import __version__
from ._graph import split_estimator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..scenes import Scene

__all__ = ["export_onnx", "onnx_inputs"]

# The oldest set of operators that suffices, for many runtimes.
_OPSET = 18

# Key of the metadata.
_KEY = "probav_estimators"

# Lengths of the axes that a graph is traced with, and others that it is tried with: a length that
# became a constant is found.
_TRACED = {"batch": 2, "frames": 3, "height": 19, "width": 22}
_TRIED = {"batch": 3, "frames": 5, "height": 24, "width": 17}

# Greatest difference to the net itself, in units of the image's contrast.
_TOLERANCE = 1e-4


def export_onnx(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write the graph of a fitted net as ONNX, once onnxruntime computes the same with it.

    Parameters
    ----------
    estimator : estimator
        A net, or a pipeline that ends in one.
    path : path-like
        It is replaced as a whole or not at all.

    Raises
    ------
    ImportError
        If onnx or onnxruntime is missing.
    ValueError
        If there is no single net, or what onnxruntime computes differs by more than 1e-4.

    See Also
    --------
    onnx_inputs : The arrays that the graph takes.

    Notes
    -----
    The graph computes in float32 with batch, number of frames (of FusionNet and TRMISR), height and
    width of any length. Names, axes and units of its inputs and outputs, and the steps before
    it, are JSON in its metadata, under "probav_estimators". Selection, registration and
    composition of frames are no part of it, nor are tiles and `n_augment`: it makes one image of
    each sample that it is given. Before version 1.30, onnxruntime computes FusionNet's means over
    squares wrongly at the lower and right border.
    """
    onnx, onnxruntime = _import_onnx()
    steps, net = split_estimator(estimator)
    _check_reference(net)
    graph = _Graph(net)
    model = onnx.load_model_from_string(graph.export())
    about = json.dumps(_describe(steps, net), allow_nan=False)
    model.metadata_props.add(key=_KEY, value=about)
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    graph.check(onnxruntime, content)
    with replace_file(path) as partial:
        partial.write_bytes(content)


def onnx_inputs(estimator: Any, scene: Scene) -> dict[str, NDArray[np.float32]]:
    """The arrays that the graph of an estimator takes for a scene.

    Parameters
    ----------
    estimator : estimator
        As for :func:`export_onnx`.
    scene : Scene
        As `predict` takes it.

    Returns
    -------
    dict of float32 arrays
        By the names of the graph's inputs: save them with ``numpy.savez(path, **arrays)``. Where
        every frame is a sample of its own, the mean over the batch is the image.

    Raises
    ------
    ValueError
        If there is no single net, or it can't take the scene.

    See Also
    --------
    export_onnx : Writes the graph.
    """
    steps, net = split_estimator(estimator)
    _check_reference(net)
    scenes = [scene]
    for step in steps:
        scenes = step.transform(scenes)
    net.check_inputs(scenes)
    images = net.graph_samples(scenes[0])
    return {
        tensor.name: _filled(images[tensor.name], tensor).numpy() for tensor in net.graph_inputs()
    }


def _filled(values, tensor):
    """A stack of frames with as many as the graph takes; those that are missing are zeros."""
    if values.ndim < 2 or not isinstance(tensor.axes[1], int):
        return values
    return fill_frames(values, tensor.axes[1], axis=1)


class _Graph(nn.Module):
    """A net on the CPU whose inputs and outputs have an order, with operators that ONNX has."""

    def __init__(self, net):
        super().__init__()
        self.inputs, self.outputs = net.graph_inputs(), net.graph_outputs()
        self.scale = net.scale_
        self.prepare = getattr(net, "add_displacement", dict)
        self.finish = getattr(net, "finish", None)
        with warnings.catch_warnings():
            # A trace would have no branches.
            warnings.simplefilter("ignore")
            self.turn_back = torch.jit.script(_turn_back)
        self.original = copy.deepcopy(net.module_).cpu().float().eval()
        self.layers = copy.deepcopy(self.original)
        for parent in list(self.layers.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, SensorModel):
                    setattr(parent, name, _PlainSensorModel(child.scale))
        # The exporter gives its parts back the mode that the whole had.
        self.eval()

    def forward(self, *tensors):
        return self._apply(self.layers, tensors)

    def _apply(self, layers, tensors):
        names = (tensor.name for tensor in self.inputs)
        inputs = dict(zip(names, tensors, strict=True))
        orientation = inputs.pop("orientation", None)
        output = layers(**self.prepare(inputs))
        if orientation is not None:
            output = self.turn_back(output, orientation)
        images = [output[:, channel] for channel in range(len(self.outputs))]
        if self.finish is not None:
            images[0] = self.finish(images[0])
        return tuple(images)

    def export(self):
        """Return the graph as bytes."""
        content = io.BytesIO()
        ports = [*self.inputs, *self.outputs]
        named = {
            tensor.name: {i: axis for i, axis in enumerate(tensor.axes) if isinstance(axis, str)}
            for tensor in ports
        }
        with warnings.catch_warnings(), torch.no_grad(), _PlainOperators():
            # torch's newer exporter takes minutes for FusionNet.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                self,
                tuple(self.sample(_TRACED).values()),
                content,
                input_names=[tensor.name for tensor in self.inputs],
                output_names=[tensor.name for tensor in self.outputs],
                dynamic_axes=named,
                opset_version=_OPSET,
                dynamo=False,
            )
        return content.getvalue()

    def check(self, onnxruntime, content):
        """Raise a ValueError if onnxruntime computes something else than the net."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        for lengths in (_TRACED, _TRIED):
            sample = self.sample(lengths)
            with torch.no_grad():
                expected = self._apply(self.original, tuple(sample.values()))
            found = session.run(None, {name: x.numpy() for name, x in sample.items()})
            for ours, theirs in zip(expected, found, strict=True):
                error = float(np.abs(ours.numpy() - theirs).max())
                if not error <= _TOLERANCE * max(1, float(ours.abs().max())):
                    raise ValueError(
                        f"onnxruntime {onnxruntime.__version__} computes something else than the "
                        f"net, by up to {error:.3g}: nothing was written; try another version"
                    )

    def sample(self, lengths):
        """Plausible tensors whose axes have these lengths."""
        large = {f"hr_{axis}": self.scale * lengths[axis] for axis in ("height", "width")}
        lengths = lengths | large
        generator = torch.Generator().manual_seed(0)
        sample = {}
        for tensor in self.inputs:
            shape = [lengths.get(axis, axis) for axis in tensor.axes]
            low, high = _RANGES.get(tensor.name, (0.0, 1.0))
            sample[tensor.name] = low + (high - low) * torch.rand(
                shape, generator=generator, dtype=torch.float32
            )
        for name in ("weights", "clear"):
            if name in sample:
                sample[name] = sample[name].round()
        if "orientation" in sample:
            sample["orientation"] = torch.tensor([[3.0, 1.0]]).repeat(lengths["batch"], 1)
        if "present" in sample:
            # Pixel values as the training scenes had them; the last frame of one scene is missing.
            sample["frames"] = self.original.level + self.original.std * sample["frames"]
            sample["present"] = torch.ones_like(sample["present"])
            sample["present"][0, 1:][-1:] = 0
        return sample


def _turn_back(images: torch.Tensor, orientation: torch.Tensor) -> torch.Tensor:
    turn, flip = orientation[0].unbind(0)
    if bool(flip > 0):
        images = images.flip(-1)
    if bool(turn > 1):
        images = images.flip((-2, -1))
    if bool(turn % 2 > 0):
        images = images.transpose(-2, -1).flip(-1)
    return images


# Values of the tensors of a sample, where these are not in [0, 1].
_RANGES = {
    "frames": (-2.0, 2.0),
    "fractions": (-0.5, 0.5),
    "distortion": (-0.1, 0.1),
    "std": (0.01, 0.1),
    "psf": (0.1, 0.5),
    "blur": (0.01, 0.1),
}


class _PlainSensorModel(SensorModel):
    """The sensor model without convolutions whose kernels are inputs: ONNX fixes their number."""

    def degrade(self, image, kernels):
        padded = pad(image, (self.reach,) * 4, mode="replicate")
        return self._weigh(padded, kernels.flatten(2), image)

    def back_project(self, frames, kernels):
        adjoint = kernels.flip((-2, -1)).transpose(1, 2).flatten(2)
        return self._weigh(pad(frames, (self.reach,) * 4), adjoint, frames)

    def _weigh(self, padded, kernels, images):
        """Weighted sums over the surroundings of each pixel."""
        height, width = images.shape[-2:]
        offsets = range(2 * self.reach + 1)
        # Rows first: a slice for each pair of offsets makes an export half as long again.
        rows = torch.stack([padded[..., i : i + height, :] for i in offsets], dim=2)
        shifted = torch.stack([rows[..., j : j + width] for j in offsets], dim=3)
        return (kernels @ shifted.flatten(1, 3).flatten(2)).unflatten(2, (height, width))


class _PlainOperators(TorchFunctionMode):
    """Replaces operators that ONNX lacks."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.Tensor.diff and kwargs == {"dim": -1}:
            return args[0][..., 1:] - args[0][..., :-1]
        return function(*args, **kwargs)


def _describe(steps, net):
    def ports(tensors):
        return [
            {
                "name": tensor.name,
                "shape": list(tensor.axes),
                "dtype": "float32",
                "description": tensor.description,
            }
            for tensor in tensors
        ]

    return {
        "package_version": __version__,
        "estimator": type(net).__name__,
        "scale": net.scale_,
        "steps": [" ".join(repr(step).split()) for step in steps],
        "inputs": ports(net.graph_inputs()),
        "outputs": ports(net.graph_outputs()),
    }


def _check_reference(net):
    if getattr(net, "reference", "middle") != "middle":
        raise ValueError(
            f"reference={net.reference!r} is chosen scene by scene, which a graph cannot: call "
            'set_params(reference="middle") first'
        )


def _import_onnx():
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            "export_onnx needs onnx and onnxruntime: pip install probav_estimators[onnx]"
        ) from error
    return onnx, onnxruntime
