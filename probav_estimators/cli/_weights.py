"""`probav weights`."""

from __future__ import annotations

import re
from typing import Any

import click

from ..training import load_weights, shipped_weights
from ._options import common_options
from ._output import print_json, print_table


@click.command()
@common_options(quiet=False)
def weights(as_json: bool) -> None:
    """List the weights that ship with the package."""
    described = [_describe(name) for name in shipped_weights()]
    if as_json:
        print_json({"weights": described})
        return
    columns = ["name", "scale", "megabytes", "parameters", "card"]
    print_table(columns, [[f"{d[column]}" for column in columns] for d in described])


def _describe(name: str) -> dict[str, Any]:
    found = load_weights(name)
    path = found.path
    assert path is not None  # shipped weights are files
    learned = [x for key, x in found.state.items() if key.endswith((".weight", ".bias"))]
    n_parameters = sum(value.numel() for value in learned)
    return {
        "name": name,
        "architecture": found.architecture,
        "scale": found.config["scale"],
        "megabytes": round(path.stat().st_size / 1e6, 2),
        "parameters": n_parameters,
        "card": _first_line(path.with_suffix(".md").read_text(encoding="utf-8")),
        "path": str(path),
    }


def _first_line(card):
    """First line of a model card below its heading, up to a full stop or colon."""
    paragraph = card.split("\n\n")[1]
    return re.split(r"[:.](?:\s|$)", " ".join(paragraph.split()))[0].replace("`", "")
