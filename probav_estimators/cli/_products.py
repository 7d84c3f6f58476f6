"""Products as the input of `probav super-resolve`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from ..geo import is_product, items_path, super_resolve_files, super_resolve_products
from ._output import check_output

__all__ = ["ProductsCommand", "fusing_call", "products_options"]


class ProductsCommand(click.Command):
    """Command whose --bands takes names up to the next option, and boxes numbers with commas."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse arguments in the form that click knows."""
        return super().parse_args(ctx, list(_in_plain_form(args)))


def _in_plain_form(args):
    args = [*args]
    while args:
        arg = args.pop(0)
        if arg == "--bands":
            while args and not args[0].startswith("-") and not os.path.exists(args[0]):
                for name in args.pop(0).split(","):
                    yield from ("--band", name)
        elif arg in ("--bbox", "--bounds") and args and "," in args[0]:
            yield from (arg, *args.pop(0).split(","))
        else:
            yield arg


def products_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options by which products are found and chosen."""
    for option in (
        click.option(
            "--stac",
            metavar="JSON|URL",
            help="STAC catalog, items or item collection in JSON, or the address of a STAC API.",
        ),
        click.option("--collection", help="Collection of the catalog or API, for --stac."),
        click.option(
            "--datetime",
            metavar="DATE[/DATE]",
            help="Only products of these dates: 2026-06-21, 2026-06/2026-08, 2026-06-01/..",
        ),
        click.option(
            "--max-cloud",
            type=click.FloatRange(0, 100),
            help="Only products of at most this cloud cover, in percent.",
        ),
        click.option(
            "--max-dates",
            type=click.IntRange(min=1),
            help="Only so many dates: those on which most of the area is clear.",
        ),
    )[::-1]:
        command = option(command)
    return command


def fusing_call(
    files: Sequence[str],
    image: Path,
    overwrite: bool,
    *,
    stac: str | None,
    **limits: Any,
) -> tuple[Sequence[str], Callable[..., Any]]:
    """Return what to fuse and the function that does: files, or products.

    Raises
    ------
    ValueError
        If there is nothing to fuse, or files and products at once.
    """
    products = [file for file in files if is_product(file)]
    if stac is None and not products:
        if not files:
            raise ValueError("FILES are missing: give raster files, products, or --stac")
        if given := [name for name, value in limits.items() if value is not None]:
            option = given[0].replace("_", "-")
            raise ValueError(f"--{option} chooses products, and {files[0]} is none: leave it out")
        return files, super_resolve_files
    if others := [file for file in files if file not in products]:
        raise ValueError(
            f"{others[0]} is no product, and {products[0] if products else stac} is one: give "
            "either products or the files of their bands"
        )
    check_output(items_path(image), overwrite=overwrite)
    sources = [*products, *([stac] if stac else [])]
    return sources, partial(super_resolve_products, chosen=_show, **limits)


def _show(lines):
    for line in lines:
        click.echo(line, err=True)
