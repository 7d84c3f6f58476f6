"""The data set's layout: split/BAND/imgset0000/{LR000,QM000,...,HR,SM}.png and norm.csv."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

__all__ = ["SceneFiles", "list_scene_files"]

HR_NAME, SM_NAME = "HR.png", "SM.png"
NORMS_NAME = "norm.csv"

# norm.csv is in the data set's root, scenes are three folders below: root/train/RED/imgset0000.
DEPTH = 3

_SPLIT_ORDER = {"train": 0, "val": 1, "test": 2}
_FOLDER_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*")
_BAND_FOLDER = re.compile(r"[A-Z][A-Z0-9]*")
_FRAME_NAME, _MAP_NAME = re.compile(r"LR\d+\.png"), re.compile(r"QM\d+\.png")

# Images of a scene, also where they were saved as something else, or in other letters.
_IMAGE_NAME = re.compile(
    r"(LR\d+|QM\d+|HR|SM)\.(png|tiff?|jp2|j2k|jpe?g|bmp|gif|webp|img|npy|npz|hdf|h5|nc)", re.I
)


class SceneFiles(NamedTuple):
    """Paths of one scene's images.

    Attributes
    ----------
    frames : list of str
        In order of their numbers.
    maps : list of str
        One for each frame, or none.
    hr, sm : str or None
    """

    frames: list[str]
    maps: list[str]
    hr: str | None
    sm: str | None


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
        If it holds no frames, some frames have a quality map and others don't, or an image is
        there in another format alone.
    """
    path = os.fspath(folder)
    try:
        names = set(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"{path} is no folder: give the folder of one scene, which holds LR000.png, ..."
        ) from None
    frames, maps = (
        sorted(filter(kind.fullmatch, names), key=_length_then_name)
        for kind in (_FRAME_NAME, _MAP_NAME)
    )
    if (other := _find_other_image(names)) is not None:
        raise ValueError(
            f"{path} has {other}, which is not read: save it as a 16-bit grey PNG (masks: 8-bit), "
            f"{other.split('.')[0].upper()}.png, or make a Scene of arrays, Scene(lr, qm, hr, sm)"
        )
    if not frames:
        raise ValueError(
            f"{path} has no frames (LR000.png, ...): restore them or remove the scene; the root of "
            "a data set is for load_scenes"
        )
    unpaired = {name[2:] for name in frames} ^ {name[2:] for name in maps}
    if maps and unpaired:
        number = min(unpaired)
        missing = ("QM" if f"LR{number}" in names else "LR") + number
        raise ValueError(
            f"{path} has no {missing}, while other frames of the scene have both: restore it, or "
            f"remove {'LR' if missing.startswith('QM') else 'QM'}{number}"
        )
    hr, sm = (os.path.join(path, name) if name in names else None for name in (HR_NAME, SM_NAME))
    frames, maps = ([os.path.join(path, name) for name in kind] for kind in (frames, maps))
    return SceneFiles(frames, maps, hr, sm)


def _find_other_image(names):
    """First image that has no PNG of its name beside it, or None."""
    return min(
        (
            name
            for name in names
            if _IMAGE_NAME.fullmatch(name) and f"{name.split('.')[0].upper()}.png" not in names
        ),
        default=None,
    )


def _length_then_name(name):
    # LR1000 comes after LR999.
    return len(name), name


def frame_name(number: int) -> str:
    return f"LR{number:03d}.png"


def map_name(number: int) -> str:
    return f"QM{number:03d}.png"


def can_name_folder(name: str) -> bool:
    """Whether a split, a band or a scene can be called so."""
    return _FOLDER_NAME.fullmatch(name) is not None


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
