"""The data set's layout: split/BAND/imgset0000/{LR000,QM000,...,HR,SM}.png and norm.csv.

A scene whose pixels are not all in [0, 1] has values.json with its value range, and its pixels as
float32 in LR000.npy, ... and HR.npy. Lines of norm.csv are "name N", the baseline's cPSNR.
"""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import NamedTuple

from ..files import replace_file
from ..imaging import as_value_range

__all__ = ["SceneFiles", "list_scene_files"]

NORMS_NAME = "norm.csv"
VALUES_NAME = "values.json"
_MAX_VALUES_BYTES = 1000

# norm.csv is in the data set's root, scenes are three folders below: root/train/RED/imgset0000.
DEPTH = 3

_SPLIT_ORDER = {"train": 0, "val": 1, "test": 2}
_FOLDER_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*")
_BAND_FOLDER = re.compile(r"[A-Z][A-Z0-9]*")
_FRAME_NAME, _MAP_NAME = r"LR\d+", r"QM\d+"

# Images of a scene, also where they were saved as something else, or in other letters.
_IMAGE_NAME = re.compile(
    r"(LR\d+|QM\d+|HR|SM)\.(png|tiff?|jp2|j2k|jpe?g|bmp|gif|webp|img|npy|npz|hdf|h5|nc)", re.I
)

_NUMBER = re.compile(r"\+?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

# A norm.csv of hundreds of thousands of scenes.
_MAX_NORMS_BYTES = 2**24


class SceneFiles(NamedTuple):
    """Paths of one scene's images.

    Attributes
    ----------
    frames : list of str
        In order of their numbers.
    maps : list of str
        One for each frame, or none.
    hr, sm : str or None
    bounded : bool
        Whether pixels are PNGs, in [0, 1], else float32 arrays.
    value_range : tuple of two floats or None
    """

    frames: list[str]
    maps: list[str]
    hr: str | None
    sm: str | None
    bounded: bool
    value_range: tuple[float, float] | None


def list_scene_files(folder: str | os.PathLike[str]) -> SceneFiles:
    """List the images of one scene.

    Parameters
    ----------
    folder : path-like

    Returns
    -------
    SceneFiles

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If it holds no frames, some frames have a quality map and others don't, an image is there in
        another format alone, or values.json is damaged.
    """
    path = os.fspath(folder)
    try:
        names = set(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"{path} is no folder: give the folder of one scene, which holds LR000.png, ..."
        ) from None
    bounded = VALUES_NAME not in names
    value_range = None if bounded else _read_value_range(os.path.join(path, VALUES_NAME))
    kind = ".png" if bounded else ".npy"
    if (other := _find_other_image(names, kind)) is not None:
        raise ValueError(
            f"{path} has {other}, which is not read: save it as a 16-bit grey PNG (masks: 8-bit), "
            f"{other.split('.')[0].upper()}.png, or make a Scene of arrays, Scene(lr, qm, hr, sm)"
        )
    frames, maps = _numbered(names, _FRAME_NAME, kind), _numbered(names, _MAP_NAME, ".png")
    if not frames:
        raise ValueError(
            f"{path} has no frames (LR000{kind}, ...): restore them or remove the scene; the root "
            "of a data set is for load_scenes"
        )
    unpaired = set(frames) ^ set(maps)
    if maps and unpaired:
        number = min(unpaired)
        lr, qm = f"LR{number}{kind}", f"QM{number}.png"
        missing, other = (qm, lr) if number in frames else (lr, qm)
        raise ValueError(
            f"{path} has no {missing}, while other frames of the scene have both: restore it, or "
            f"remove {other}"
        )

    def path_of(name):
        return os.path.join(path, name) if name in names else None

    return SceneFiles(
        [os.path.join(path, f"LR{number}{kind}") for number in frames],
        [os.path.join(path, f"QM{number}.png") for number in maps],
        path_of(f"HR{kind}"),
        path_of("SM.png"),
        bounded,
        value_range,
    )


def _numbered(names, pattern, kind):
    """Numbers of images, as written; LR1000 comes after LR999."""
    found = [
        name[2 : -len(kind)] for name in names if re.fullmatch(pattern + re.escape(kind), name)
    ]
    return sorted(found, key=lambda number: (len(number), number))


def _read_value_range(path):
    """Value range of a values.json; None of pixels that have none."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.loads(file.read(_MAX_VALUES_BYTES))["value_range"]
        limits = as_value_range(found)
        if found is None or limits is not None:
            return limits
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise ValueError(
        f'{path} is damaged: restore it; it holds {{"value_range": [low, high]}}, the values of '
        "pixels of 0 and 1, or null"
    )


def _find_other_image(names, kind):
    """First image that has no file of its name beside it that is read, or None."""

    def is_read(name):
        stem = name.split(".")[0].upper()
        return f"{stem}{kind if stem[:2] in ('LR', 'HR') else '.png'}" in names

    others = (name for name in names if _IMAGE_NAME.fullmatch(name) and not is_read(name))
    return min(others, default=None)


def can_name_folder(name: object) -> bool:
    """Whether a split, a band or a scene can be called so."""
    return isinstance(name, str) and _FOLDER_NAME.fullmatch(name) is not None


def band_by_name(folder: str) -> str | None:
    """Band that a folder is named after, or None if the name is not written like one."""
    return folder if _BAND_FOLDER.fullmatch(folder) else None


def find_scene_folders(root: Path) -> list[Path]:
    """Folders of scenes below a data set's root, a split or a band; by split, then by name."""
    scene_folders: list[Path] = []
    others = [root]
    for _ in range(DEPTH):
        folders = [folder for other in others for folder in _list_folders(other)]
        others = [folder for folder in folders if not _has_images(folder)]
        scene_folders += set(folders).difference(others)
    return sorted(scene_folders, key=lambda folder: _split_then_name(folder, root))


def _list_folders(folder):
    with os.scandir(folder) as entries:
        return [Path(e.path) for e in entries if e.is_dir() and not e.name.startswith(".")]


def _has_images(folder):
    with os.scandir(folder) as entries:
        return any(_IMAGE_NAME.fullmatch(entry.name) for entry in entries)


def find_named(root: Path, name: str) -> Path | None:
    """Folder of a scene in any band of any split, or None."""
    return next((folder for depth in ("*", "*/*") for folder in root.glob(f"{depth}/{name}")), None)


def _split_then_name(folder, root):
    parents = folder.relative_to(root).parts[:-1]
    has_split = len(parents) == 2 or (len(parents) == 1 and parents[0] in _SPLIT_ORDER)
    split = parents[0] if has_split else ""
    return _SPLIT_ORDER.get(split, len(_SPLIT_ORDER)), split, folder.name, parents


def band_of(folder: Path, root: Path) -> str | None:
    """Band by the folders between `root` and a scene's folder, or None."""
    parents = folder.relative_to(root).parts[:-1]
    return parents[-1] if parents and parents[-1] not in _SPLIT_ORDER else None


def read_norms(path: str | os.PathLike[str]) -> dict[str, float]:
    """Read a norm.csv.

    Returns
    -------
    dict of str to float
        N in dB by scene name.

    Raises
    ------
    ValueError
        If a line is not a name and a positive number, a name comes twice, or the file is no text.
    """
    norms = {}
    if (size := Path(path).stat().st_size) > _MAX_NORMS_BYTES:
        raise ValueError(
            f'{path} has {size:,} bytes, more than any list of "name N": restore it, or remove it'
        )
    try:
        # With or without the mark that some editors put in front.
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text file ({error}): restore it, or remove it") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, *values = line.replace(",", " ").split()
        norm = _as_norm(values)
        if norm is None or not can_name_folder(name):
            raise ValueError(
                f'{path}, line {number} is {line!r}: it must be "name N", with N a positive '
                "number of dB; without its line, a scene's N is computed"
            )
        if name in norms:
            raise ValueError(f"{path}, line {number}: {name} is there twice, remove one line")
        norms[name] = norm
    return norms


def find_norms(folder: str | os.PathLike[str]) -> dict[str, float]:
    """Read the nearest norm.csv in `folder` or above it, as far as a data set is deep.

    Returns
    -------
    dict of str to float
        Empty if there is none.
    """
    folder = Path(folder)
    for place in [folder, *folder.parents][: DEPTH + 1]:
        if (place / NORMS_NAME).is_file():
            return read_norms(place / NORMS_NAME)
    return {}


def add_norm(path: Path, name: str, norm: float) -> None:
    """Add a line to a norm.csv, which is replaced as a whole; others must not write it."""
    merged = (read_norms(path) if path.exists() else {}) | {name: norm}
    with replace_file(path) as partial:
        lines = (f"{name} {norm!r}\n" for name, norm in sorted(merged.items()))
        partial.write_text("".join(lines), "utf-8")


def _as_norm(values):
    # float() would take underscores and digits of any script.
    if len(values) != 1 or not _NUMBER.fullmatch(values[0]):
        return None
    norm = float(values[0])
    return norm if math.isfinite(norm) and norm > 0 else None
