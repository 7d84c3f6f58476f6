"""`probav simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..datasets import make_scenes
from ..files import replace_folders
from ..scenes import find_scene_folders, save_scenes
from ..simulation import PRESETS
from ._call_record import CallRecord
from ._options import common_options, folder_argument, seed_option
from ._output import print_json, show_progress

_SENSORS = ["static", *PRESETS]


@click.command()
@folder_argument
@click.option("--n-scenes", type=int, default=8, show_default=True)
@click.option("--size", type=int, default=128, show_default=True, help="LR pixels along each axis.")
@click.option("--scale", type=int, default=3, show_default=True, help="HR pixels per LR pixel.")
@click.option(
    "--n-frames",
    type=(int, int),
    default=None,
    metavar="LEAST MOST",
    help="Frames of a scene.  [default: 9 30; probav-challenge: 9 to 35, 19 on average]",
)
@click.option(
    "--sensor",
    type=click.Choice(_SENSORS),
    default="static",
    show_default=True,
    help="static: no resampling, land hardly changes. any: a wide range, for training. "
    "probav-challenge: number and clearance of frames as in the challenge's data set.",
)
@click.option(
    "--texture",
    type=float,
    default=0.0,
    show_default=True,
    help="Grain, clumps and creases over the land, relative to the radiance: 0.2 is much.",
)
@click.option(
    "--bands",
    metavar="RED,NIR",
    default="RED,NIR",
    show_default=True,
    help="Bands that scenes take in turn; of images, their names or numbers.",
)
@click.option(
    "--images",
    multiple=True,
    metavar="PATTERN",
    help="Images of real land in place of drawn landscapes: files, folders, or patterns in quotes; "
    "may be given several times.",
)
@click.option(
    "--reduction",
    type=float,
    default=1.0,
    show_default=True,
    help="Pixels of the images along each side of an HR pixel.",
)
@click.option(
    "--value-range",
    type=float,
    nargs=2,
    metavar="LOW HIGH",
    help="Values of the images that are reflectances of 0 and 1.  [default: unknown, by their "
    "medians]",
)
@click.option("--nodata", type=float, help="Nodata value of the images.")
@click.option("--split", default="train", show_default=True)
@seed_option
@click.option("--jobs", type=int, default=1, show_default=True, help="Processes; -1: one a core.")
@common_options("overwrite")
def simulate(
    folder: Path,
    n_scenes: int,
    n_frames: tuple[int, int] | None,
    bands: str,
    images: tuple[str, ...],
    split: str,
    seed: int,
    jobs: int,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Simulate scenes, in the challenge's layout.

    FOLDER becomes the root of a data set. Its scenes of other names are kept. The same call resumes
    a stopped one.
    """
    names = {f"imgset{number:04d}" for number in range(n_scenes)}
    there = [path for path in _scenes_in(folder) if path.name in names]
    given = click.get_current_context().params
    depends_on = given.keys() - {"folder", "jobs", "overwrite", "as_json", "quiet"}
    call = {"command": "simulate"} | {name: given[name] for name in depends_on}
    record = CallRecord(folder, call, overwrite)
    if there and not (overwrite or record.resumes):
        raise FileExistsError(f"{there[0]} is there already: give another folder, or --overwrite")
    if n_frames is not None:
        options["n_frames"] = n_frames
    with show_progress("simulating", None, quiet=quiet):
        scenes = make_scenes(
            n_scenes,
            bands=[band.strip() for band in bands.split(",")],
            images=images or None,
            random_state=seed,
            n_jobs=jobs,
            **options,
        )
        with record.keep(), replace_folders(there):
            save_scenes(scenes, folder, split=split)
    if as_json:
        listed = [{"scene": s.name, "band": s.band, "n_frames": len(s)} for s in scenes]
        print_json({"folder": str(folder), "split": split, "n_scenes": n_scenes, "scenes": listed})
    else:
        click.echo(f"{n_scenes} scenes in {folder / split}")


def _scenes_in(folder):
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file: give the name of a folder")
    return find_scene_folders(folder) if folder.is_dir() else []
