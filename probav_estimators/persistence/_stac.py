"""Models in STAC catalogues."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from typing import Any

import torch

from ..files import replace_file
from ..version import __version__
from ._graph import inputs_of, nets_of, outputs_of, split_estimator

__all__ = ["write_stac_mlm"]

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_.-]+[a-zA-Z0-9]")

_EXTENSION = "https://stac-extensions.github.io/mlm/v1.5.2/schema.json"

_ARTIFACTS = {".safetensors": "safetensors.torch.save_file", ".onnx": "onnx"}

# What the specification calls our axes.
_AXES = {"frames": "time", "hr_height": "height", "hr_width": "width"}


def write_stac_mlm(
    estimator: Any,
    path: str | os.PathLike[str],
    *,
    name: str,
    href: str = "./model.safetensors",
    description: str = "",
    license: str = "BSD-3-Clause",
    bbox: tuple[float, float, float, float] = (-180.0, -90.0, 180.0, 90.0),
) -> None:
    """Write a STAC item of a fitted estimator, with the fields of the MLM extension.

    Parameters
    ----------
    estimator : estimator
    path : path-like
        A JSON file; it is replaced as a whole or not at all.
    name : str
        Of the model; letters, digits, dots, hyphens and underscores.
    href : str, default="./model.safetensors"
        Where the model's file lies. Of an ONNX graph the inputs are its tensors, else those of
        `predict`.
    description : str, default=""
    license : str, default="BSD-3-Clause"
        SPDX identifier.
    bbox : tuple of four floats
        West, south, east and north of where the model may be used, in degrees. The default is the
        world.

    Raises
    ------
    ValueError
        If the name or the suffix of `href` is not valid, or an ONNX graph has no single net.

    References
    ----------
    .. [1] STAC machine learning model extension, version 1.5.2,
       https://github.com/stac-extensions/mlm
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"name must be letters, digits, '.', '-' and '_', got {name!r}")
    suffix = os.path.splitext(href)[1]
    if suffix not in _ARTIFACTS:
        raise ValueError(f"href must end in {' or '.join(_ARTIFACTS)}, got {href!r}")
    nets = list(nets_of(estimator))
    inputs, outputs = _graph_io(estimator) if suffix == ".onnx" else _scene_io()
    west, south, east, north = bbox
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [_EXTENSION],
        "id": name,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": list(bbox),
        "properties": {
            "datetime": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "description": description or f"{name}: multi-image super-resolution",
            "license": license,
            **_model_fields(estimator, nets, name),
            "mlm:input": inputs,
            "mlm:output": outputs,
        },
        "links": [],
        "assets": {
            "model": {
                "href": href,
                "type": "application/octet-stream",
                "roles": ["mlm:model"],
                "mlm:artifact_type": _ARTIFACTS[suffix],
            }
        },
    }
    with replace_file(path) as partial:
        partial.write_text(json.dumps(item, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _model_fields(estimator, nets, name):
    weights = [value for net in nets for value in net.module_.state_dict().values()]
    sources = sorted({str(w) for net in nets if (w := getattr(net, "weights", None)) is not None})
    fields: dict[str, Any] = {
        "mlm:name": name,
        "mlm:architecture": "+".join(sorted({type(net).__name__ for net in nets}))
        or type(estimator).__name__,
        "mlm:tasks": ["super-resolution"],
        "mlm:framework": "PyTorch" if nets else "scikit-learn",
        "mlm:total_parameters": sum(p.numel() for n in nets for p in n.module_.parameters()),
        "mlm:memory_size": sum(value.numel() * value.element_size() for value in weights),
        "mlm:pretrained": bool(sources),
        "mlm:pretrained_source": ", ".join(sources) or None,
        "mlm:accelerator": None,
        "mlm:hyperparameters": {
            "estimator": " ".join(repr(estimator).split()),
            "package_version": __version__,
            "scale": sorted({net.scale_ for net in nets}),
        },
    }
    if nets:
        fields["mlm:framework_version"] = str(torch.__version__)
    return fields


def _scene_io():
    """Inputs and outputs of `predict`."""
    stack = ["batch", "time", "height", "width"]
    return (
        [
            _input("frames", stack, "float32", "frames of one band and place, pixel values"),
            _input("quality_maps", stack, "uint8", "1 where a frame is clear, else 0"),
        ],
        [_output("image", ["batch", "height", "width"], "image at HR size, in the frames' unit")],
    )


def _graph_io(estimator):
    _, net = split_estimator(estimator)
    return (
        [_input(t.name, _names(t), "float32", t.description, t.axes) for t in inputs_of(net)],
        [_output(t.name, _names(t), t.description) for t in outputs_of(net)],
    )


def _names(tensor):
    """Names of the axes, each once; those of fixed length are numbered."""
    return [
        _AXES.get(axis, axis) if isinstance(axis, str) else f"channel-{'abcdef'[i]}"
        for i, axis in enumerate(tensor.axes)
    ]


def _structure(axes, dtype, lengths=None):
    lengths = axes if lengths is None else lengths
    shape = [length if isinstance(length, int) else -1 for length in lengths]
    return {"shape": shape, "dim_order": axes, "data_type": dtype}


def _input(name, axes, dtype, description, lengths=None):
    structure = _structure(axes, dtype, lengths)
    return {"name": name, "description": description, "bands": [], "input": structure}


def _output(name, axes, description):
    return {
        "name": name,
        "description": description,
        "tasks": ["super-resolution"],
        "result": _structure(axes, "float32"),
    }
