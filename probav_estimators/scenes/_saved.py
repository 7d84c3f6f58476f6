"""Scenes from and to folders."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections import Counter
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np

from ..files import hold_lock, move_into_place, partial_path
from ..imaging import as_finite_pixels, to_uint16
from ._layout import (
    NORMS_NAME,
    VALUES_NAME,
    add_norm,
    band_of,
    can_name_folder,
    find_named,
    find_norms,
    find_scene_folders,
)
from ._png import write_png
from ._scene import Scene, check_scenes

__all__ = ["load_scenes", "load_truth", "save_scenes"]


def load_scenes(
    root: str | os.PathLike[str], *, bands: str | Sequence[str] | None = None
) -> list[Scene]:
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
        If no scenes are found, a band is not there, two scenes have one name, a scene's files are
        incomplete, or some are no PNGs.

    See Also
    --------
    fetch_probav : Download the PROBA-V data set.
    save_scenes : Write this layout.

    Notes
    -----
    Images are grey PNGs of 16 or 8 bits, the frames of one scene of either, with at most 8192 x
    8192 pixels: they are decoded as a whole. Make larger scenes from arrays or memory maps. Pixels
    of scenes with a `value_range` are in .npy files, as :func:`save_scenes` writes them.

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
    folders = find_scene_folders(root)
    if not folders:
        raise ValueError(
            f"{root} holds no scenes: give the root of a data set, one split (train/) or one "
            "band (train/RED/), so that scene folders with LR000.png, ... lie below"
        )
    norms = find_norms(root)
    listed = [Scene._list_dir(str(folder), norm=norms.get(folder.name)) for folder in folders]
    for (scene, _), folder in zip(listed, folders, strict=True):
        # Below a root the layout names the band, even where its name is not written like one.
        scene.band = band_of(folder, root) or scene.band
    scenes = _of_bands([scene for scene, _ in listed], bands, root)
    _check_names(scenes, root)
    loaded = {scene.name for scene in scenes}
    unmapped = [scene.name for scene, n_maps in listed if not n_maps and scene.name in loaded]
    if unmapped:
        warnings.warn(
            f"{len(unmapped)} scenes of {root} have no quality maps ({unmapped[0]} is one): every "
            "pixel is taken as clear",
            stacklevel=2,
        )
    return scenes


def load_truth(
    root: str | os.PathLike[str], *, bands: str | Sequence[str] | None = None
) -> list[Scene]:
    """Load the scenes of a data set that have HR images, at least one; warn of others."""
    scenes = load_scenes(root, bands=bands)
    known = [scene for scene in scenes if scene.has_hr]
    if not known:
        raise ValueError(
            f"no scene of {root} has an HR image to compare with: give scenes of the training split"
        )
    if len(known) < len(scenes):
        warnings.warn(
            f"{len(scenes) - len(known)} of {len(scenes)} scenes of {root} have no HR image and "
            "are left out",
            stacklevel=3,
        )
    return known


def save_scenes(
    scenes: Sequence[Scene], root: str | os.PathLike[str], *, split: str = "train"
) -> None:
    """Write scenes in the data set's layout, with norm.csv.

    Parameters
    ----------
    scenes : list of Scene
        Frames and maps are written as they are after selection and registration. A scene without
        a name gets the next free "imgsetNNNN"; one without a band is saved directly in the split.
    root : path-like
        Folder of the data set; made if it does not exist. Scenes that are there stay.
    split : str, default="train"

    Raises
    ------
    ValueError
        If two scenes have one name, a name or band is not fit to name a folder, pixels are NaN or
        infinite, or a PNG would have more than 8192 x 8192 pixels.
    FileExistsError
        If a scene of that name is there already, in any band or split.

    Notes
    -----
    Pixels in [0, 1] are rounded to 16 bits and written as PNGs. A scene with a `value_range`, or
    with pixels outside [0, 1], such as frames that were resampled, has float32 pixels in .npy files
    and its range in values.json: it is loaded as it was.

    A scene's folder appears once it is whole. norm.csv gets every norm that is known or can be
    computed, in full precision. Several processes may save into one root.
    """
    scenes = check_scenes(scenes, "save_scenes")
    root = Path(root)
    names = _names_for(scenes, root)
    _check_names(scenes, root)
    targets = []
    for scene, name in zip(scenes, names, strict=True):
        parts = [split, *filter(None, [scene.band]), name]
        for part in parts:
            if not can_name_folder(part):
                raise ValueError(f"scene {name}: {part!r} cannot name a folder, rename it")
        _check_free(root, name)
        targets.append(root.joinpath(*parts))
    root.mkdir(parents=True, exist_ok=True)
    for scene, name, target in zip(scenes, names, targets, strict=True):
        _save_scene(scene, name, root, target)


def _save_scene(scene, name, root, target):
    # Where a broken link leads.
    target = Path(os.path.realpath(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(target)
    partial.mkdir()
    try:
        _write_images(scene, name, partial)
        norm, norms = scene.norm, root / NORMS_NAME
        with hold_lock(norms):
            _check_free(root, name)
            move_into_place(partial, target)
            if norm is not None:
                add_norm(norms, name, float(norm))
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_images(scene, name, folder):
    pixels = {f"LR{number:03d}": frame for number, frame in enumerate(scene.lr)}
    if scene.has_hr:
        pixels["HR"] = scene.hr
    masks = {f"QM{number:03d}": mask for number, mask in enumerate(scene.qm)}
    if scene.sm is not None:
        masks["SM"] = scene.sm
    bounded = scene.value_range is None and all(
        frame.min() >= 0 and frame.max() <= 1 for frame in pixels.values()
    )
    for stem, frame in pixels.items():
        about = f"scene {name}: {stem}"
        if bounded:
            write_png(folder / f"{stem}.png", to_uint16(frame, about))
        else:
            np.save(folder / f"{stem}.npy", as_finite_pixels(frame, about))
    for stem, mask in masks.items():
        write_png(folder / f"{stem}.png", mask)
    if not bounded:
        text = json.dumps({"value_range": scene.value_range})
        (folder / VALUES_NAME).write_text(text + "\n", encoding="utf-8")


def _check_free(root, name):
    if (there := find_named(root, name)) is not None:
        raise FileExistsError(f"{there} is there already: remove it, or rename the scene")


def _of_bands(scenes, bands, root):
    if bands is None:
        return scenes
    bands = {bands} if isinstance(bands, str) else set(bands)
    there = {scene.band for scene in scenes}
    if not bands or not bands <= there:
        raise ValueError(
            f"{root} has no scenes of bands={sorted(bands - there)}: choose among "
            f"{', '.join(sorted(map(str, there)))}, or pass None for all"
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


def _names_for(scenes, root):
    taken = {scene.name for scene in scenes}
    candidates = (name for name in map("imgset{:04d}".format, count()) if name not in taken)
    free = (name for name in candidates if find_named(root, name) is None)
    return [scene.name if scene.name is not None else next(free) for scene in scenes]
