"""`probav report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ..baseline import BicubicBaseline
from ..report import report_in_turn
from ..scenes import Scene, load_scenes
from ._options import (
    bands_option,
    common_options,
    estimators_option,
    folder_argument,
    output_option,
)
from ._output import check_output, print_json, show_progress
from ._scenes import BASELINE, load_estimators, load_net, scene_errors


@click.command()
@folder_argument
@output_option("HTML", "Page to write, such as report.html.")
@estimators_option("baseline and the shipped weights of the scenes' scale")
@bands_option
@click.option("--max-scenes", type=click.IntRange(min=1), help="Only the first scenes.")
@common_options("device", "overwrite")
def report(
    folder: Path,
    output: Path,
    names: tuple[str, ...],
    bands: list[str] | None,
    max_scenes: int | None,
    device: str,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write a page on the quality of estimators, with pictures of scenes.

    The page is one HTML file that needs no network. Scenes without HR images are compared with
    their frames only.
    """
    check_output(output, overwrite=overwrite)
    scenes = load_scenes(folder, bands=bands)[:max_scenes]
    estimators = _load(names, scenes, device)
    title = f"Quality of {', '.join(estimators)} on {folder.resolve().name}"
    steps = report_in_turn(estimators, scenes, output, title=title)
    with show_progress("measuring", len(scenes), quiet=quiet) as advance:
        for scene in scenes:
            with scene_errors(scene):
                next(steps)
            advance()
        # The page is written after the last scene.
        next(steps, None)
    if as_json:
        shown = {"output": str(output), "n_scenes": len(scenes), "estimators": list(estimators)}
        print_json(shown)
    else:
        click.echo(f"{output}: {', '.join(estimators)} on {len(scenes)} scenes")


def _load(names: Sequence[str], scenes: Sequence[Scene], device: str) -> dict[str, Any]:
    """Estimators by their names on the page."""
    if names:
        return load_estimators(names, scenes, device)
    net = load_net(None, scenes, device=device)
    return {BASELINE: BicubicBaseline(scale=net.scale_), str(net.weights): net}
