"""`probav benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..benchmark import describe_estimates, estimate_benchmark, run_benchmark
from ._options import PATH, common_options, output_option
from ._output import print_json


def _split_names(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> Any:
    """All names, given one by one or separated by commas."""
    names = [part.strip() for value in values for part in value.split(",") if part.strip()]
    return "all" if names == ["all"] else names


@click.command()
@click.argument("root", type=PATH)
@output_option(
    "FOLDER",
    "Folder for the table, and for weights, history, submission and picture of each row.",
)
@click.option(
    "--configurations",
    multiple=True,
    default=["all"],
    show_default="all",
    callback=_split_names,
    metavar="all|NAME,NAME",
    help="Rows of the table, such as srcnn-stack-concat,fusionnet.",
)
@click.option(
    "--epochs",
    "max_epochs",
    type=click.IntRange(min=1),
    help="Epochs of each training.  [default: as published; 20 for fine-tuning; with --residual "
    "as many as 4,000 patches take]",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Samples per step.  [default: as published; 16 with --residual; 4 for fine-tuning]",
)
@click.option(
    "--micro-batch-size",
    type=click.IntRange(min=1),
    help="Samples computed at a time.  [default: as many as fit half of the free memory]",
)
@click.option(
    "--patch-size",
    type=click.IntRange(min=1),
    help="LR pixels.  [default: whole frames, as published; 32 with --residual; 48 for "
    "fine-tuning]",
)
@click.option(
    "--residual",
    is_flag=True,
    help="Train the study's nets on patches, to predict the residual of the upscaled mean frame: "
    "minutes instead of days.",
)
@click.option("--k", type=click.IntRange(min=1), default=9, show_default=True, help="Frames.")
@click.option(
    "--quick", is_flag=True, help="One epoch on patches of at most 24 scenes, as a trial."
)
@click.option("--dry-run", is_flag=True, help="Estimate time and memory, and train nothing.")
@common_options("device", "seed", "overwrite")
def benchmark(
    root: Path,
    output: Path,
    micro_batch_size: int | None,
    dry_run: bool,
    seed: int,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Train and score the published study's configurations, and write their table.

    ROOT is the folder of a data set, or ESA's zip of it. The rows are the challenge's baseline, the
    twelve configurations of the study, and FusionNet with and without fine-tuning.

    Estimates of time and memory are printed first. The same call resumes a stopped run after its
    last epoch.
    """
    options |= {
        "micro_batch_size": micro_batch_size or "auto",
        "random_state": seed,
        "verbose": 0 if quiet else 1,
    }
    if dry_run:
        estimates = estimate_benchmark(root, output, **options)
        if as_json:
            total = sum(estimate.seconds for estimate in estimates)
            print_json({"seconds": total, "rows": [e._asdict() for e in estimates]})
        else:
            click.echo("\n".join(describe_estimates(estimates)))
        return
    try:
        result = run_benchmark(root, output, **options)
    except KeyboardInterrupt:
        click.echo(f"Finished work is kept in {output}: the same call resumes", err=True)
        raise
    if as_json:
        print_json({"output": str(result.output), "rows": result.rows})
    else:
        click.echo(result.table, nl=False)
