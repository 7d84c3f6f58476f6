"""The data set's layout: split/BAND/imgset0000/{LR000,QM000,...,HR,SM}.png and norm.csv."""

import os
import re
import shutil
import tempfile
import warnings
from collections import Counter
from itertools import count
from pathlib import Path

from .._pixels import to_uint16
from .._png import write_png
from .._validation import check_scenes
from ..scene import Scene
from ._norms import find_norms, update_norms

__all__ = ["load_scenes", "save_scenes"]

_SPLIT_ORDER = {"train": 0, "val": 1, "test": 2}
_FOLDER_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*")


def load_scenes(root, *, bands=None):
    """Scenes of a data set on disk.

    Folders are listed, pixels are not read.

    Parameters
    ----------
    root : path-like
        The data set's root (holds train/ and test/: scenes of all splits are listed, train
        first), one split (holds RED/ and NIR/) or one band (holds imgset0000/, ...).
    bands : str or list of str, default=None
        Which bands. None: all.

    Returns
    -------
    list of Scene
        Ordered by split, then by name. `norm` comes from the norm.csv of the root; a scene that
        it does not name computes its norm when it is asked for.

    Raises
    ------
    FileNotFoundError
        If `root` does not exist.
    ValueError
        If no scenes are found, a band is not there, two scenes have one name, or a scene's files
        are incomplete.

    See Also
    --------
    fetch_probav : Download the PROBA-V data set.
    save_scenes : Write this layout.

    Examples
    --------
    >>> from probav_estimators import load_scenes, make_scenes, save_scenes
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as root:
    ...     save_scenes(make_scenes(2, size=16, random_state=0), root)
    ...     [scene.name for scene in load_scenes(root, bands="NIR")]
    ['imgset0001']
    """
    root = Path(os.path.abspath(root))
    if not root.is_dir():
        raise FileNotFoundError(
            f"{root} is no folder: give the root of a data set, which holds train/ and norm.csv; "
            "fetch_probav() downloads one"
        )
    folders = _find_scene_folders(root)
    if not folders:
        raise ValueError(
            f"{root} holds no scenes: give the root of a data set, one split (train/) or one "
            "band (train/RED/), so that scene folders with LR000.png, ... lie below"
        )
    norms = find_norms(root)
    listed = [Scene._list_dir(str(folder), norm=norms.get(folder.name)) for folder in folders]
    scenes = _of_bands([scene for scene, _ in listed], bands, root)
    _check_names(scenes, root)
    unmapped = [scene.name for scene, n_maps in listed if not n_maps]
    if unmapped:
        warnings.warn(
            f"{len(unmapped)} scenes of {root} have no quality maps ({unmapped[0]} is one): every "
            "pixel is taken as clear",
            stacklevel=2,
        )
    return scenes


def save_scenes(scenes, root, *, split="train"):
    """Write scenes in the data set's layout, with norm.csv.

    Parameters
    ----------
    scenes : list of Scene
        Frames and maps are written as they are after selection and registration. A scene without
        a name gets the next free "imgsetNNNN"; one without a band lies right in the split.
    root : path-like
        Folder of the data set; made if it does not exist. Scenes that are there stay.
    split : str, default="train"

    Raises
    ------
    ValueError
        If two scenes have one name, or a name or band is not fit to name a folder.
    FileExistsError
        If a scene of that name is there already.

    Notes
    -----
    A scene's folder appears once it is whole. norm.csv gets every norm that is known or can be
    computed, in full precision.
    """
    scenes = check_scenes(scenes, "save_scenes")
    root = Path(root)
    names = _names_for(scenes)
    _check_names(scenes, root)
    targets = []
    for scene, name in zip(scenes, names, strict=True):
        for part in filter(None, (name, scene.band, split)):
            if not _FOLDER_NAME.fullmatch(part):
                raise ValueError(f"scene {name}: {part!r} cannot name a folder, rename it")
        target = root.joinpath(split, *filter(None, [scene.band]), name)
        if target.exists():
            raise FileExistsError(f"{target} is there already: remove it, or rename the scene")
        targets.append(target)
    norms = {}
    for scene, name, target in zip(scenes, names, targets, strict=True):
        _save_scene(scene, target)
        if scene.norm is not None:
            norms[name] = float(scene.norm)
    update_norms(root, norms)


def _save_scene(scene, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        for number, (frame, mask) in enumerate(zip(scene.lr, scene.qm, strict=True)):
            write_png(staging / f"LR{number:03d}.png", to_uint16(frame))
            write_png(staging / f"QM{number:03d}.png", mask)
        if scene.has_hr:
            write_png(staging / "HR.png", to_uint16(scene.hr))
        if scene.sm is not None:
            write_png(staging / "SM.png", scene.sm)
        staging.chmod(0o755)
        staging.rename(target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _find_scene_folders(root):
    for depth in range(3):
        pattern = "/".join(["*"] * (depth + 1))
        folders = [
            folder
            for folder in root.glob(pattern)
            if folder.is_dir() and not folder.name.startswith(".") and _has_frames(folder)
        ]
        if folders:
            return sorted(folders, key=lambda folder: _split_then_name(folder, root))
    return []


def _has_frames(folder):
    with os.scandir(folder) as entries:
        return any(re.fullmatch(r"LR\d+\.png", entry.name) for entry in entries)


def _split_then_name(folder, root):
    parents = folder.relative_to(root).parts[:-1]
    split = parents[0] if len(parents) == 2 else ""
    return _SPLIT_ORDER.get(split, len(_SPLIT_ORDER)), split, folder.name, parents


def _of_bands(scenes, bands, root):
    if bands is None:
        return scenes
    bands = {bands} if isinstance(bands, str) else set(bands)
    there = {scene.band for scene in scenes}
    if not bands <= there:
        raise ValueError(
            f"{root} has no scenes of band {', '.join(sorted(bands - there))}: it has "
            f"{', '.join(sorted(map(str, there)))}"
        )
    return [scene for scene in scenes if scene.band in bands]


def _check_names(scenes, root):
    names = Counter(scene.name for scene in scenes if scene.name is not None)
    name, times = names.most_common(1)[0] if names else (None, 1)
    if times > 1:
        raise ValueError(
            f"{root}: {times} scenes are named {name}: names must differ in all bands and splits, "
            "because norm.csv and submissions go by them"
        )


def _names_for(scenes):
    taken = {scene.name for scene in scenes}
    free = (name for name in map("imgset{:04d}".format, count()) if name not in taken)
    return [scene.name if scene.name is not None else next(free) for scene in scenes]
