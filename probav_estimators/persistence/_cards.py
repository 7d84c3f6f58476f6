"""Model cards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..version import __version__
from ._graph import nets_of

__all__ = ["model_card"]

_LIMITS = (
    "Detail finer than the frames resolve is the most probable landscape and not a measurement. "
    "Sensors, landscapes and scales other than those of the training need a test of their own."
)


def model_card(
    estimator: Any,
    *,
    name: str,
    description: str = "",
    license: str = "bsd-3-clause",
    training_data: str = "",
    scores: Mapping[str, float] | None = None,
    limitations: str = _LIMITS,
    authors: str = "",
) -> str:
    """Describe a fitted estimator in Markdown, with the front matter of Hugging Face.

    Parameters
    ----------
    estimator : estimator
    name : str
        Of the model.
    description : str, default=""
        Model and purpose.
    license : str, default="bsd-3-clause"
        Identifier of the model's license, as Hugging Face has it.
    training_data : str, default=""
        Training scenes.
    scores : dict of str to float, default=None
        Measured scores by name.
    limitations : str
        Limitations, such as unsuitable uses.
    authors : str, default=""

    Returns
    -------
    str
        Contents of a README.md beside the model's file.

    Examples
    --------
    >>> from probav_estimators import BicubicBaseline
    >>> from probav_estimators import model_card
    >>> print(model_card(BicubicBaseline(scale=3), name="baseline")[:28])
    ---
    license: "bsd-3-clause"
    """
    scores = dict(scores or {})
    nets = list(nets_of(estimator))
    front = {
        "license": license,
        "library_name": "probav_estimators",
        "pipeline_tag": "image-to-image",
        "tags": sorted(
            {"remote-sensing", "satellite", "super-resolution"}
            | {type(net).__name__.lower() for net in nets}
        ),
        "metrics": list(scores),
    }
    sections = {
        "": description,
        "Model": _model_section(estimator, nets),
        "Training data": training_data,
        "Scores": _table("measured", "value", {key: f"{x:.4f}" for key, x in scores.items()}),
        "How to use it": _usage(),
        "Limitations": limitations,
        "Authors": authors,
    }
    # JSON is YAML, whatever a name holds.
    lines = ["---", *(f"{key}: {json.dumps(value)}" for key, value in front.items()), "---", ""]
    parts = [f"# {name}"]
    for title, text in sections.items():
        if text:
            parts += [f"## {title}", text] if title else [text]
    return "\n".join(lines) + "\n\n".join(parts) + "\n"


def _model_section(estimator, nets):
    # The constructor call, as scikit-learn prints it.
    parts = [f"```python\n{estimator!r}\n```"]
    for net in nets:
        count = sum(parameter.numel() for parameter in net.module_.parameters())
        parts.append(f"{type(net).__name__}: scale {net.scale_}, {count:,} parameters.")
    parameters = (nets[0] if len(nets) == 1 else estimator).get_params(deep=False)
    parts.append(_table("parameter", "value", {k: f"`{v!r}`" for k, v in parameters.items()}))
    for net in nets:
        left_out = {k: f"`{text}`" for k, text in getattr(net, "left_out_", {}).items()}
        parts.append(_table("parameter of the training, not in the file", "value", left_out))
    parts.append(f"Written by probav_estimators {__version__}.")
    return "\n\n".join(part for part in parts if part)


def _table(left, right, rows):
    if not rows:
        return ""
    lines = [f"| {left} | {right} |", "| --- | --- |"]
    cells = ((str(x).replace("|", "\\|").replace("\n", " ") for x in row) for row in rows.items())
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in cells)])


def _usage():
    return (
        "```python\n"
        "from probav_estimators import load_scenes\n"
        "from probav_estimators import load_model\n\n"
        'images = load_model("model.safetensors").predict(load_scenes("data"))\n'
        "```"
    )
