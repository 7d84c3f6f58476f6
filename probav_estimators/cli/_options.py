"""Options of several commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

# Key in the metadata that the contexts of a call share.
DEBUG = f"{__package__}.debug"


def _remember(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[DEBUG] = True


def _split_at_commas(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    return None if value is None else [part.strip() for part in value.split(",") if part.strip()]


class _NamedPath(click.Path):
    """Path whose name is not empty: Path("") is the present folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the name is empty, as of a variable that is not set: give one", param, ctx)
        return super().convert(value, param, ctx)


PATH = _NamedPath(path_type=Path)

folder_argument = click.argument("folder", type=PATH)

bands_option = click.option(
    "--bands", metavar="RED,NIR", callback=_split_at_commas, help="Only these bands."
)
debug_option = click.option(
    "--debug",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_remember,
    help="Show the traceback of an error.",
)
seed_option = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
_COMMON = {
    "device": click.option(
        "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps."
    ),
    "seed": seed_option,
    "overwrite": click.option(
        "--overwrite", is_flag=True, help="Replace existing files, which is an error otherwise."
    ),
    "json": click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object on stdout, and nothing else."
    ),
    "quiet": click.option("--quiet", is_flag=True, help="Show no progress."),
    "debug": debug_option,
}


def common_options(*names: str, quiet: bool = True) -> Callable[[Any], Any]:
    """Options of a command: those named of "device", "seed" and "overwrite", --json and --debug."""
    chosen = [*names, "json", *["quiet"] * quiet, "debug"]

    def decorate(command: Any) -> Any:
        # The last decorator is the first option in the help.
        for name in reversed(chosen):
            command = _COMMON[name](command)
        return command

    return decorate


def output_option(metavar: str, text: str) -> Callable[[Any], Any]:
    """Option for the path of the output."""
    return click.option("-o", "--output", type=PATH, required=True, metavar=metavar, help=text)


def estimators_option(default: str) -> Callable[[Any], Any]:
    """Option for names of several estimators."""
    return click.option(
        "--estimator",
        "names",
        multiple=True,
        metavar="NAME|FILE",
        help="baseline, the name of shipped weights, or a file of weights or of a model; may be "
        f"given several times.  [default: {default}]",
    )
