"""`probav predict`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..datasets import write_submission
from ..files import digest_of_json, file_state, replace_file
from ..imaging import check_pixels, to_uint16
from ..prediction import Predictor, predict_scene, takes_return_std
from ..scenes import Scene, find_scene_folders, load_scenes
from ._call_record import CallRecord
from ._options import PATH, bands_option, common_options, folder_argument, output_option
from ._output import check_output, print_json, show_progress
from ._scenes import SceneFailure, load_estimator, scene_errors


@click.command()
@folder_argument
@output_option("OUT", "Folder for the images; with --submission, a .zip file.")
@click.option(
    "--weights",
    metavar="NAME|FILE",
    help="Name of shipped weights, or a file of weights or of a model.  [default: shipped weights "
    "of the scenes' scale, 3 if it is unknown]",
)
@click.option("--split", help="Split of the data set.  [default: test, if FOLDER has it, else all]")
@bands_option
@click.option(
    "--std",
    type=PATH,
    metavar="FOLDER",
    help="Folder for standard deviations, in the images' units.",
)
@click.option(
    "--submission",
    is_flag=True,
    help="Write the challenge's zip, images at the level of their frames.",
)
@common_options("device", "overwrite")
def predict(
    folder: Path,
    output: Path,
    weights: str | None,
    split: str | None,
    bands: list[str] | None,
    std: Path | None,
    submission: bool,
    device: str,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Super-resolve scenes to 16-bit PNGs, or to a submission.

    Images are named after their scenes, imgset0000.png, .... If a scene is damaged, the images of
    the others are written and the exit code is 1; a submission is written with all scenes or not at
    all. The same call resumes a stopped one.
    """
    if submission and std is not None:
        raise click.UsageError("a submission has no standard deviations: leave --std out")
    folder = _split_of(folder, split)
    scenes = load_scenes(folder, bands=bands)
    record = CallRecord(output, _describe_call(folder, weights, bands, std), overwrite)
    if submission:
        check_output(output, overwrite=overwrite)
    else:
        _check_folders(output, std, scenes, overwrite=overwrite or record.resumes)
    net = load_estimator(weights, scenes, device)
    if std is not None and not takes_return_std(net):
        raise ValueError(f"{weights} gives no standard deviations: leave --std out")
    failed: list[dict[str, str]] = []
    with show_progress("predicting", len(scenes), quiet=quiet) as advance:
        if submission:
            write_submission(_predict_in_turn(net, scenes, advance), scenes, output)
        else:
            with record.keep():
                failed = _write_images(net, scenes, output, std, advance, record.resumes)
    n_written = len(scenes) - len(failed)
    if as_json:
        print_json({"output": str(output), "n_written": n_written, "failed": failed})
    elif n_written:
        click.echo(f"{n_written} images in {output}")
    if failed:
        raise click.ClickException(f"{len(failed)} of {len(scenes)} scenes failed, see above")


def _split_of(folder, split):
    if split is None:
        return folder / "test" if (folder / "test").is_dir() else folder
    if not (folder / split).is_dir():
        raise FileNotFoundError(
            f"{folder} has no split {split}: give the root of a data set that has it, or leave "
            "--split out"
        )
    return folder / split


def _describe_call(folder, weights, bands, std):
    """Input files and options of the images: a stopped call is resumed if they are the same."""
    files = [path for scene in find_scene_folders(folder) for path in sorted(scene.iterdir())]
    return {
        "command": "predict",
        "files": digest_of_json([[str(path), *file_state(path)] for path in files]),
        "weights": [weights, *file_state(weights or "")],
        "bands": bands,
        "std": None if std is None else str(std.resolve()),
    }


def _check_folders(output, std, scenes, *, overwrite):
    """Check that no image would be replaced, and make the folders."""
    if std is not None and std.resolve() == output.resolve():
        raise ValueError(f"{std} cannot hold both images and standard deviations: give two folders")
    folders = [output] if std is None else [output, std]
    for folder in folders:
        if folder.suffix == ".zip" or (folder.exists() and not folder.is_dir()):
            raise ValueError(
                f"{folder} is no folder for images: give one, or --submission to write a zip"
            )
        there = [path for path in _paths(folder, scenes) if path.exists()]
        if there and not overwrite:
            raise FileExistsError(
                f"{there[0]} is there already: give another folder, or --overwrite"
            )
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)


def _paths(folder, scenes):
    return [folder / f"{scene.name}.png" for scene in scenes]


def _write_images(
    net: Predictor,
    scenes: Sequence[Scene],
    output: Path,
    std: Path | None,
    advance: Callable[[], object],
    resumes: bool,
) -> list[dict[str, str]]:
    """Write an image of each scene, and return the scenes that failed, with their errors."""
    failed = []
    for scene in scenes:
        if resumes and (output / f"{scene.name}.png").exists():
            # Written last.
            advance()
            continue
        try:
            with scene_errors(scene):
                image, stds = predict_scene(net, scene, return_std=std is not None)
                check_pixels(image, f"{scene.label}: the image")
        except SceneFailure as failure:
            click.echo(f"Error: {failure.message}", err=True)
            failed.append({"scene": str(scene.name), "error": failure.message})
        else:
            if std is not None and stds is not None:
                _write_png(std / f"{scene.name}.png", np.minimum(stds, 1))
            _write_png(output / f"{scene.name}.png", image)
        advance()
    return failed


def _write_png(path, pixels):
    with replace_file(path) as partial:
        Image.fromarray(to_uint16(pixels, str(path))).save(partial, format="PNG")


def _predict_in_turn(
    net: Predictor, scenes: Sequence[Scene], advance: Callable[[], object]
) -> Iterator[NDArray[np.float32]]:
    """Yield the image of each scene."""
    for scene in scenes:
        with scene_errors(scene):
            image = net.predict([scene])[0]
        advance()
        yield image
