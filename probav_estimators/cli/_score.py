"""`probav score`."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from PIL import Image, UnidentifiedImageError

from ._options import (
    bands_option,
    debug_option,
    device_option,
    folder_argument,
    json_option,
    quiet_option,
)
from ._output import print_json, print_table, show_progress
from ._scenes import load_estimator, load_truth, mean_of, score_scenes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..scenes import Scene


@click.command()
@folder_argument
@click.option(
    "--estimator",
    metavar="NAME|FILE",
    help="baseline, the name of shipped weights, or a file of weights.  "
    "[default: weights that ship for the scenes' scale]",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    metavar="FOLDER|ZIP",
    help="Score these, imgset0000.png, ..., instead of an estimator.",
)
@bands_option
@device_option
@json_option
@quiet_option
@debug_option
def score(
    folder: Path,
    estimator: str | None,
    images: Path | None,
    bands: list[str] | None,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Score an estimator, or images, on scenes with HR images.

    The challenge score is the mean of N / cPSNR, where N is the baseline's cPSNR of a scene: lower
    is better, 1.0 is the baseline.
    """
    if estimator is not None and images is not None:
        raise click.UsageError("--estimator and --images exclude each other: give one of them")
    scenes = load_truth(folder, bands=bands)
    if images is None:
        predictor = load_estimator(estimator, scenes, device)
        image_of = lambda scene: predictor.predict([scene])[0]  # noqa: E731
    else:
        image_of = _Images(images, scenes).read
    with show_progress("scoring", len(scenes), quiet=quiet) as advance:
        rows = score_scenes(image_of, scenes, advance)
    mean = mean_of(rows)
    if as_json:
        print_json({"folder": str(folder), "n_scenes": len(rows), **mean, "scenes": rows})
        return
    print_table(
        ["scene", "band", "norm, dB", "cPSNR, dB", "norm / cPSNR"],
        [
            *(
                (r["scene"], r["band"] or "", *_numbers(r["norm"], r["cpsnr"], r["score"]))
                for r in rows
            ),
            ("mean", "", *_numbers(None, mean["cpsnr"], mean["score"])),
        ],
    )


def _numbers(norm, cpsnr, score):
    return "" if norm is None else f"{norm:.3f}", f"{cpsnr:.3f}", f"{score:.5f}"


class _Images:
    """PNGs of scenes in a folder or a zip, each looked at before the first is scored.

    Parameters
    ----------
    path : pathlib.Path
    scenes : list of Scene
        With HR images.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or file, or it has no image of a scene.
    ValueError
        If it is no zip, or an image is no 16-bit grey PNG of the HR image's size.
    """

    def __init__(self, path: Path, scenes: Sequence[Scene]) -> None:
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist: give a folder of PNGs, or their zip")
        if not path.is_dir() and not zipfile.is_zipfile(path):
            raise ValueError(f"{path} is no folder and no zip: give one that holds PNGs")
        self._path = path
        for scene in scenes:
            with self._opened(scene) as image:
                self._check(image, scene)

    def read(self, scene: Scene) -> NDArray[np.float32]:
        """Image of a scene in [0, 1]."""
        with self._opened(scene) as image:
            return np.asarray(image, np.uint16).astype(np.float32) / np.float32(65535)

    @contextmanager
    def _opened(self, scene):
        name = f"{scene.name}.png"
        try:
            with Image.open(io.BytesIO(self._bytes_of(name)), formats=["PNG"]) as image:
                yield image
        except (FileNotFoundError, KeyError):
            raise FileNotFoundError(
                f"{self._path} has no {name}: give an image of each scene, or choose scenes by "
                "their folder or by --bands"
            ) from None
        except UnidentifiedImageError:
            raise ValueError(f"{self._path}: {name} is no PNG: write it anew") from None

    def _bytes_of(self, name):
        if self._path.is_dir():
            return (self._path / name).read_bytes()
        with zipfile.ZipFile(self._path) as archive:
            return archive.read(name)

    def _check(self, image, scene):
        # 16-bit grey has a mode for each order of bytes.
        if not image.mode.startswith("I;16"):
            raise ValueError(
                f"{self._path}: {scene.name}.png has the mode {image.mode}: save 16-bit grey PNGs, "
                "pixels times 65535"
            )
        height, width = (scene.scale * length for length in scene.shape)
        if image.size != (width, height):
            raise ValueError(
                f"{self._path}: {scene.name}.png has {image.height} x {image.width} pixels and the "
                f"HR image {height} x {width}: give images of that size"
            )
