"""A report is written scene by scene, and appears as a whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files import replace_file
from ..prediction import class_name, takes_return_std
from ..scenes import check_scenes
from ._page import Page, scene_section
from ._views import side_of_pictures, view_scene

if TYPE_CHECKING:
    from ..prediction import Predictor
    from ..scenes import Scene

__all__ = ["write_report"]


def write_report(
    estimators: Predictor | Mapping[str, Predictor] | Sequence[Predictor],
    scenes: Sequence[Scene],
    path: str | os.PathLike[str],
    *,
    max_scenes: int | None = None,
    title: str | None = None,
) -> None:
    """Write what :func:`~probav_estimators.quality_report` finds, with pictures, to an HTML page.

    The page is one file without scripts, fonts or pictures from elsewhere. It has a table of the
    estimators, one of the scenes, and of each scene its clearest frame, the images, the truth, maps
    of errors and standard deviations where they can be had, and two pictures under a divider. Where
    there is a truth it has charts too: scores, what standard deviations cover, and spectra. They
    need matplotlib; without it, the page says so in their place.

    Parameters
    ----------
    estimators : fitted estimator, dict of such by name, or list of such
        Without names they are called by their class; a pipeline, by that of its last step.
    scenes : list of Scene
        With or without HR images; none that an estimator was trained on.
    path : path-like
        The HTML file. One that is there is replaced as a whole or not at all.
    max_scenes : int, default=None
        How many scenes to take, from the first on. None: all.
    title : str, default=None
        Of the page. None: it names the estimators.

    Raises
    ------
    ValueError
        If there are no estimators or no scenes, `max_scenes` is less than 1, an estimator does not
        give one image for each scene, of a size that is a multiple of the frames', or a scene is
        clouded everywhere.
    FileNotFoundError, IsADirectoryError
        If the folder of `path` does not exist, or `path` is a folder.

    See Also
    --------
    probav_estimators.quality_report : The figures, and what they don't prove.

    Notes
    -----
    All pictures of a scene show the same ground in the same grey scale, from the first to the 99th
    percentile of what is clear. They show the middle of a scene, pixel by pixel, and less of it the
    more there are: a report of 20 scenes takes about 15 MB at most, unless there are so many
    pictures that less than 128 pixels of each would be left. One scene is in memory at a time.

    Examples
    --------
    >>> import tempfile
    >>> from probav_estimators import BicubicBaseline, make_scenes
    >>> from probav_estimators import write_report
    >>> scenes = make_scenes(1, size=32, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report({"baseline": BicubicBaseline()}, scenes, f"{folder}/report.html")
    """
    named = _by_name(estimators)
    scenes = check_scenes(scenes, "write_report")
    if max_scenes is not None and max_scenes < 1:
        raise ValueError(f"max_scenes must be at least 1, got {max_scenes!r}")
    path = Path(path)
    _check_place(path)
    scenes = scenes[:max_scenes]
    side = side_of_pictures(
        len(scenes),
        len(named),
        n_deviations=sum(map(takes_return_std, named.values())),
        truth=any(scene.has_hr for scene in scenes),
    )
    page = Page(title or f"Quality of {', '.join(named)}", named)
    with (
        replace_file(path) as partial,
        # What stands above the pictures is known once the last of them is drawn.
        tempfile.TemporaryFile("w+", dir=path.parent, encoding="utf-8", newline="") as pictures,
    ):
        for number, scene in enumerate(scenes, 1):
            view = view_scene(named, scene, side)
            page.add(view)
            pictures.write(scene_section(number, view))
        pictures.seek(0)
        with partial.open("w", encoding="utf-8", newline="") as file:
            file.write(page.before_pictures())
            shutil.copyfileobj(pictures, file)
            file.write(page.after_pictures())


def _check_place(path):
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the name of a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is no folder: make it first, or give another path")


def _by_name(estimators: Any) -> dict[str, Any]:
    """Estimators by name, which the page tells them by."""
    if isinstance(estimators, Mapping):
        named = {str(name): estimator for name, estimator in estimators.items()}
    elif isinstance(estimators, (list, tuple, np.ndarray)):
        named = {}
        for estimator in estimators:
            named[_free(class_name(estimator), named)] = estimator
    else:
        named = {class_name(estimators): estimators}
    if not named:
        raise ValueError("write_report got no estimator: give at least one")
    for name, estimator in named.items():
        if not hasattr(estimator, "predict"):
            raise ValueError(
                f"{name!r} is a {type(estimator).__name__}, which has no predict: give fitted "
                "estimators"
            )
    return named


def _free(name, taken):
    """The name, or the name with the first number that nobody has."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} {number}"
    return free
