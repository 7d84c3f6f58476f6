"""`probav report`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click

from ..baseline import BicubicBaseline
from ..report import write_report
from ..scenes import Scene, load_scenes
from ._options import (
    bands_option,
    debug_option,
    device_option,
    folder_argument,
    json_option,
    overwrite_option,
    quiet_option,
)
from ._output import check_output, print_json, show_progress
from ._scenes import BASELINE, SceneFailure, load_estimators, load_net, told_by_scene


@click.command()
@folder_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="HTML",
    help="The page to write, such as report.html.",
)
@click.option(
    "--estimator",
    "names",
    multiple=True,
    metavar="NAME|FILE",
    help="baseline, the name of shipped weights, or a file of weights or of a model; again for "
    "others.  "
    "[default: baseline and the weights that ship for the scenes' scale]",
)
@bands_option
@click.option("--max-scenes", type=click.IntRange(min=1), help="Take the first scenes alone.")
@device_option
@overwrite_option
@json_option
@quiet_option
@debug_option
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

    The page is one HTML file that needs no network. Scenes without HR images are measured by their
    frames alone.
    """
    check_output(output, overwrite=overwrite)
    scenes = load_scenes(folder, bands=bands)[:max_scenes]
    estimators = _load(names, scenes, device)
    n_images = len(scenes) * len(estimators)
    with show_progress("measuring", n_images, quiet=quiet) as advance:
        told = {name: _Told(one, scenes, advance) for name, one in estimators.items()}
        title = f"Quality of {', '.join(told)} on {folder.resolve().name}"
        try:
            write_report(told, scenes, output, title=title)
        except (ValueError, FileNotFoundError) as error:
            # What was given is checked by now: a scene cannot be read or measured.
            raise SceneFailure(str(error)) from error
    if as_json:
        shown = {"output": str(output), "n_scenes": len(scenes), "estimators": list(estimators)}
        print_json(shown)
    else:
        click.echo(f"{output}: {', '.join(estimators)} on {len(scenes)} scenes")


def _load(names: Sequence[str], scenes: Sequence[Scene], device: str) -> dict[str, Any]:
    """Estimators by the names that the page gives them."""
    if names:
        return load_estimators(names, scenes, device)
    net = load_net(None, scenes, device=device)
    return {BASELINE: BicubicBaseline(scale=net.scale_), str(net.weights): net}


class _Told:
    """An estimator that tells of each scene, and names one that fails."""

    def __init__(
        self, estimator: Any, scenes: Sequence[Scene], advance: Callable[[], object]
    ) -> None:
        self._estimator = estimator
        known = set(map(id, scenes))

        @wraps(estimator.predict)
        def predict(asked: Sequence[Scene], **options: Any) -> Any:
            (scene,) = asked
            with told_by_scene(scene):
                images = estimator.predict(asked, **options)
            # A scene of some of its frames is another scene.
            if id(scene) in known:
                advance()
            return images

        self.predict = predict

    def __repr__(self) -> str:
        return repr(self._estimator)
