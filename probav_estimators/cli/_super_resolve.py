"""`probav super-resolve`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import click

from ..geo import (
    MASK_TYPES,
    FilesResult,
    Outputs,
    check_reference,
    is_product,
    items_path,
    super_resolve_files,
    super_resolve_products,
)
from ._options import PATH, common_options
from ._output import check_output, print_json, show_progress


class _Command(click.Command):
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


def _share(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    if value is None:
        return None
    match = re.fullmatch(r"(\d+)/(\d+)", value)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise click.BadParameter(f"{value!r} is no share: give 3/16, the third of 16", ctx, param)
    return int(match[1]), int(match[2])


def _numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    """One number, or one for each frame."""
    if value is None:
        return None
    try:
        numbers = [float(part) for part in value.split(",")]
    except ValueError:
        raise click.BadParameter(
            f"{value!r}: give one number, or one for each file, separated by commas", ctx, param
        ) from None
    return numbers[0] if len(numbers) == 1 else numbers


def _reference(ctx: click.Context, param: click.Parameter, value: str) -> Any:
    """A rule, the number of a file, or a date, which may be of digits alone: 20210702."""
    if value.isdigit() and len(value) < 8:
        return int(value)
    try:
        check_reference(value)
    except ValueError:
        raise click.BadParameter(
            f"{value!r}: give middle, clearest, the number of a file, counted from 0, or its date",
            ctx,
            param,
        ) from None
    return value


def _path_option(*names: str, help: str, **options: Any) -> Any:
    return click.option(*names, type=PATH, help=help, **options)


@click.command(cls=_Command)
@click.argument("files", nargs=-1)
@_path_option(
    "-o", "--output", required=True, metavar="OUT.tif", help="The image, in the format of its name."
)
@click.option("--mask", metavar="PATTERN", help="Files that tell where the frames are clear.")
@click.option(
    "--mask-type",
    metavar="KIND",
    help=f"What they hold: {', '.join(MASK_TYPES)}.  [default: by their names, else 1 = clear]",
)
@click.option(
    "--band",
    "--bands",
    "bands",
    multiple=True,
    help="Number or name of a band; --bands takes several: --bands red nir.",
)
@click.option(
    "--stac",
    metavar="JSON|URL",
    help="STAC catalog, items or item collection in JSON, or the address of a STAC API.",
)
@click.option("--collection", help="Collection of the catalog or API, for --stac.")
@click.option(
    "--datetime",
    metavar="DATE[/DATE]",
    help="Only products of these dates: 2026-06-21, 2026-06/2026-08, 2026-06-01/..",
)
@click.option(
    "--max-cloud",
    type=click.FloatRange(0, 100),
    help="Only products of at most this cloud cover, in percent.",
)
@click.option(
    "--max-dates",
    type=click.IntRange(min=1),
    help="Only so many dates: those on which most of the area is clear.",
)
@click.option(
    "--weights",
    default="simulated-x3",
    show_default=True,
    metavar="NAME|FILE",
    help="Shipped weights or a file of them: they tell how much finer the image is.",
)
@_path_option("--std", metavar="STD.tif", help="Standard deviations of the error.")
@_path_option(
    "--parts",
    "measured",
    metavar="PARTS.tif",
    help="What in the image was measured: its share, and measured and supposed detail.",
)
@_path_option("--n-clear", metavar="N.tif", help="Numbers of clear frames.")
@_path_option("--preview", metavar="P.png", help="A picture of the image.")
@click.option("--cog", is_flag=True, help="Write cloud-optimised GeoTIFFs.")
@click.option(
    "--bbox",
    type=float,
    nargs=4,
    metavar="LEFT BOTTOM RIGHT TOP",
    help="The part to use, in units of the CRS; of products in degrees. Commas may separate them.",
)
@_path_option(
    "--like", metavar="FILE", help="A raster file whose grid and footprint the frames come onto."
)
@click.option(
    "--bounds",
    type=float,
    nargs=4,
    metavar="LEFT BOTTOM RIGHT TOP",
    help="What the image covers, in the CRS of its grid.  [default: all that the files cover]",
)
@click.option(
    "--resolution",
    type=click.FloatRange(min=0, min_open=True),
    help="Pixels of the frames, in units of the CRS.  [default: those of the first file]",
)
@click.option(
    "--window",
    type=click.IntRange(min=0),
    nargs=4,
    metavar="ROW COLUMN HEIGHT WIDTH",
    help="The part to use, in pixels of the files.",
)
@click.option(
    "--scale-factor", callback=_numbers, help="value = stored * scale-factor + add-offset"
)
@click.option(
    "--add-offset", callback=_numbers, help="One for all files, or one for each: 0,-1000."
)
@click.option("--nodata", type=float, help="Stored value that stands for no data.")
@click.option(
    "--value-range",
    type=float,
    nargs=2,
    metavar="LOW HIGH",
    help="Values of pixels of 0 and 1.  [default: those that the model learned in]",
)
@click.option("--dtype", help="Type of the image.  [default: that of the files]")
@click.option(
    "--reference",
    default="middle",
    show_default=True,
    callback=_reference,
    help="What the image shows where the land changes: middle, clearest, a number, or 2021-07-02.",
)
@click.option(
    "--position-std",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Accuracy of the georeferencing, in pixels of the files.",
)
@click.option("--tile-size", type=click.IntRange(min=16), help="Pixels of a block.  [default: 320]")
@click.option("--batch-size", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes, which share the cores; each takes memory of its own.",
)
@click.option(
    "--tiles",
    "share",
    callback=_share,
    metavar="I/N",
    help="Make the blocks of one of N machines; the same call without --tiles then writes OUT.tif.",
)
@click.option(
    "--resume/--no-resume",
    default=True,
    show_default=True,
    help="Keep the blocks in OUT.tif.parts, or make all again.",
)
@common_options("device", "overwrite")
def super_resolve(
    files: tuple[str, ...],
    output: Path,
    mask: str | None,
    mask_type: str | None,
    bands: tuple[str, ...],
    weights: str,
    std: Path | None,
    measured: Path | None,
    n_clear: Path | None,
    preview: Path | None,
    cog: bool,
    bbox: tuple[float, float, float, float] | None,
    window: tuple[int, int, int, int] | None,
    stac: str | None,
    collection: str | None,
    datetime: str | None,
    max_cloud: float | None,
    max_dates: int | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Fuse raster files or products of several dates into one georeferenced image.

    FILES are of one place, one a date, or a pattern in quotes. Several patterns are of several
    bands, which are registered together: 'dates/*_B04.tif' 'dates/*_B08.tif'. Files of other grids
    come onto that of the first, or of --like.

    FILES may also be products, or --stac names a catalog of them, with --bands: their masks, scale
    and offset are applied. The products that were chosen are shown, and written to
    OUT.tif.items.json.

    The suffix of an output is its format: .tif, .jp2, .png, .nc or .zarr; JPEG 2000 and PNG hold
    integers of 8 or 16 bits in one or three bands.

    The same call resumes an interrupted one.
    """
    outputs = Outputs(
        output,
        std,
        n_clear,
        preview,
        cog,
        made_by="probav super-resolve",
        measured=measured,
    )
    outputs.check()
    for path in outputs.all:
        # A call that was killed between two of its outputs may replace them.
        check_output(path, overwrite=overwrite or outputs.parts.exists())
    sources, fuse = _fusing_call(
        files,
        output,
        overwrite,
        stac=stac,
        collection=collection,
        datetime=datetime,
        max_cloud=max_cloud,
        max_dates=max_dates,
    )
    try:
        with ExitStack() as stack:

            def started(n_blocks: int) -> Any:
                return stack.enter_context(show_progress("super-resolving", n_blocks, quiet=quiet))

            result = fuse(
                sources,
                outputs,
                weights,
                mask=mask,
                mask_type=mask_type,
                bands=[int(band) if band.isdigit() else band for band in bands] or None,
                window=window and _slices(*window),
                bbox=bbox,
                overwrite=overwrite,
                started=started,
                **options,
            )
    except KeyboardInterrupt:
        if outputs.parts.exists():
            click.echo(f"blocks are kept in {outputs.parts}: the same call resumes", err=True)
        raise
    _report(result, outputs, as_json)


def _fusing_call(
    files: Sequence[str],
    image: Path,
    overwrite: bool,
    *,
    stac: str | None,
    **limits: Any,
) -> tuple[Sequence[str], Callable[..., Any]]:
    """Return what to fuse and the function that does: files, or products."""
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
    return sources, partial(super_resolve_products, chosen=_print_lines, **limits)


def _print_lines(lines):
    for line in lines:
        click.echo(line, err=True)


def _slices(row: int, column: int, height: int, width: int) -> tuple[slice, slice]:
    return slice(row, row + height), slice(column, column + width)


def _report(result: FilesResult, outputs: Outputs, as_json: bool) -> None:
    for failure in result.failures:
        click.echo(f"block {failure.number}: {' '.join(failure.message.split())}", err=True)
    if as_json:
        print_json(
            {
                "written": [str(path) for path in result.written],
                "n_blocks": result.n_blocks,
                "n_made": result.n_made,
                "n_missing": result.n_missing,
                "failed": [failure._asdict() for failure in result.failures],
                "n_frames": result.attrs["n_frames"],
                "n_frames_used": result.attrs.get("n_frames_used"),
                "frame_placement": result.attrs.get("frame_placement"),
                "frames_resampled": result.attrs.get("frames_resampled"),
                "model": result.attrs["model"],
            }
        )
    else:
        done = result.n_blocks - result.n_missing
        for path in result.written:
            click.echo(path)
        if not result.written:
            click.echo(f"{done} of {result.n_blocks} blocks are in {outputs.parts}")
    if result.failures:
        raise click.ClickException(
            f"{len(result.failures)} of {result.n_blocks} blocks failed, see above; the others "
            f"are kept in {outputs.parts}: replace the files and repeat the call"
        )
