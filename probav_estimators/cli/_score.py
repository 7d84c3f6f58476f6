"""`probav score`."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from ..datasets import BAD_ARCHIVE, open_entry
from ..imaging import as_pixels
from ..scenes import HEADER_BYTES, Scene, decode_png, load_truth, png_header
from ._options import PATH, bands_option, common_options, estimators_option, folder_argument
from ._output import print_json, print_table, show_progress
from ._scenes import load_estimator, load_estimators, mean_of, score_scenes


@click.command()
@folder_argument
@estimators_option("shipped weights of the scenes' scale")
@click.option(
    "--images",
    type=PATH,
    metavar="FOLDER|ZIP",
    help="Score these, imgset0000.png, ..., instead of an estimator.",
)
@bands_option
@common_options("device")
def score(
    folder: Path,
    names: tuple[str, ...],
    images: Path | None,
    bands: list[str] | None,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Score estimators, or images, on scenes with HR images.

    The challenge score is the mean of N / cPSNR, where N is the baseline's cPSNR of a scene: lower
    is better, 1.0 is the baseline.
    """
    if names and images is not None:
        raise click.UsageError("--estimator and --images exclude each other: give one of them")
    scenes = load_truth(folder, bands=bands)
    sources = _sources(names, images, scenes, device)
    with show_progress("scoring", len(sources) * len(scenes), quiet=quiet) as advance:
        rows = {name: score_scenes(of, scenes, advance) for name, of in sources.items()}
    if as_json:
        results = [
            {"estimator": name, **mean_of(scored), "scenes": scored}
            for name, scored in rows.items()
        ]
        about = {"folder": str(folder), "n_scenes": len(scenes)}
        print_json(about | (results[0] if len(results) == 1 else {"estimators": results}))
        return
    _print(rows)


def _sources(
    names: Sequence[str], images: Path | None, scenes: Sequence[Scene], device: str
) -> dict[str | None, Callable[[Scene], NDArray[Any]]]:
    """Functions from scene to image, by name of the estimator; None for given images."""
    if images is not None:
        return {None: _Images(images, scenes).read}
    if not names:
        return {None: _predicting(load_estimator(None, scenes, device))}
    estimators = load_estimators(names, scenes, device)
    return {name: _predicting(one) for name, one in estimators.items()}


def _predicting(estimator):
    return lambda scene: estimator.predict([scene])[0]


def _print(rows):
    """Print scores of scenes and their mean, with a column of estimators if there are several."""
    several = len(rows) > 1
    table = []
    for name, scored in rows.items():
        mean = mean_of(scored)
        lines = [
            (row["scene"], row["band"] or "", *_numbers(row["norm"], row["cpsnr"], row["score"]))
            for row in scored
        ]
        lines.append(("mean", "", *_numbers(None, mean["cpsnr"], mean["score"])))
        table += [(name, *line) for line in lines] if several else lines
    head = ["scene", "band", "norm, dB", "cPSNR, dB", "norm / cPSNR"]
    print_table(["estimator", *head] if several else head, table)


def _numbers(norm, cpsnr, score):
    return "" if norm is None else f"{norm:.3f}", f"{cpsnr:.3f}", f"{score:.5f}"


class _Images:
    """PNG files of scenes in a folder or a zip, checked before the first is scored.

    Raises FileNotFoundError if there is no image of a scene, and ValueError if an image is not a
    16-bit grey PNG of the HR image's size.
    """

    def __init__(self, path: Path, scenes: Sequence[Scene]) -> None:
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist: give a folder of PNGs, or their zip")
        if not path.is_dir() and not zipfile.is_zipfile(path):
            raise ValueError(f"{path} is no folder and no zip: give one that holds PNGs")
        self._path = path
        for scene in scenes:
            header = png_header(self._read(scene, HEADER_BYTES), self._label(scene))
            if header.bits != 16:
                raise ValueError(
                    f"{self._label(scene)} has {header.bits} bits for each value: save 16-bit grey "
                    "PNGs, pixels times 65535"
                )
            if header.shape != (wanted := _size(scene)):
                raise ValueError(
                    f"{self._label(scene)} has {_times(header.shape)} pixels and the HR image "
                    f"{_times(wanted)}: give images of that size"
                )

    def read(self, scene: Scene) -> NDArray[np.float32]:
        """Image of a scene in [0, 1]."""
        content = self._read(scene, _most_bytes(scene))
        return as_pixels(decode_png(content, self._label(scene)), self._label(scene))

    def _read(self, scene, n_bytes):
        """First bytes of the image of a scene, which is not larger than an image of its size."""
        name, most = f"{scene.name}.png", _most_bytes(scene)
        try:
            with self._open(name, most) as stream:
                return stream.read(n_bytes)
        except (FileNotFoundError, KeyError):
            raise FileNotFoundError(
                f"{self._path} has no {name}: give an image of each scene, or choose scenes by "
                "their folder or by --bands"
            ) from None
        except BAD_ARCHIVE as error:
            raise ValueError(f"{self._path} cannot be read: {error}; write it again") from error

    def _open(self, name, most):
        if not self._path.is_dir():
            with zipfile.ZipFile(self._path) as archive:
                return open_entry(archive, name, most)
        path = self._path / name
        if (size := path.stat().st_size) > most:
            raise ValueError(f"{name} has {size:,} bytes, more than {most:,}")
        return path.open("rb")

    def _label(self, scene):
        return f"{self._path}: {scene.name}.png"


def _size(scene):
    return tuple(scene.scale * length for length in scene.shape)


def _most_bytes(scene):
    """Bytes of a 16-bit image that does not compress, with metadata."""
    height, width = _size(scene)
    return 3 * height * width + 2**20


def _times(shape):
    return f"{shape[0]} x {shape[1]}"
