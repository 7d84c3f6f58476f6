"""HTML page of a report, written scene by scene: tables, charts, and a section of each scene."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from ..files import check_target, replace_file
from ..names import printable
from ..prediction import Predictor, class_name, takes_return_std
from ..scenes import Scene, check_scenes
from ..version import __version__
from ._figures import FIGURES
from ._pictures import Chart, calibration_chart, can_draw, score_chart
from ._quality_report import QualityReport, check_max_scenes
from ._scene_view import SceneView, side_of_pictures, view_scene
from ._templates import asset, render, stream

# Longest representation of an estimator, in letters.
_LONGEST = 2000

# Letters of sections that are copied at a time.
_CHUNK = 2**20


def write_report(
    estimators: Predictor | Mapping[str, Predictor] | Sequence[Predictor],
    scenes: Sequence[Scene],
    path: str | os.PathLike[str],
    *,
    max_scenes: int | None = None,
    title: str | None = None,
) -> None:
    """Write the quality report of several estimators as an HTML page with pictures.

    The page is one file that loads nothing from elsewhere. It has tables of the estimators and of
    the scenes, and for each scene the clearest frame, the images, the truth, maps of errors and
    standard deviations as far as they are available, and a slider between two pictures. With a
    truth, charts show scores, coverage and spectra. They need matplotlib; without it, the page
    has a note instead.

    Parameters
    ----------
    estimators : fitted estimator, dict of such by name, or list of such
        Those of a list are named by their class; a pipeline, by that of its last step.
    scenes : list of Scene
        With or without HR images; not those of the training.
    path : path-like
        The HTML file. An existing file is replaced as a whole or not at all.
    max_scenes : int, default=None
        Only the first scenes. None: all.
    title : str, default=None
        Of the page. None: it names the estimators.

    Raises
    ------
    ValueError
        If there are no estimators or no scenes, `max_scenes` is less than 1, an estimator does not
        predict one image per scene, of a multiple of the frames' size, or a scene is clouded
        everywhere.
    FileNotFoundError, IsADirectoryError
        If the folder of `path` does not exist, or `path` is a folder.

    See Also
    --------
    probav_estimators.quality_report : The figures and their limits.

    Notes
    -----
    All pictures of a scene show the same ground in the same grey scale, from the first to the 99th
    percentile of the clear pixels. If levels differ too much for a common scale, images are shifted
    to the level of the truth; without truth, each picture has a scale of its own.

    Pictures show the middle of a scene, pixel by pixel, and less of it the more there are: a report
    of 20 scenes takes about 15 MB at most, unless less than 128 pixels of each picture would be
    left. One scene is in memory at a time.

    Examples
    --------
    >>> import tempfile
    >>> from probav_estimators import BicubicBaseline, make_scenes
    >>> from probav_estimators import write_report
    >>> scenes = make_scenes(1, size=32, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report({"baseline": BicubicBaseline()}, scenes, f"{folder}/report.html")
    """
    for _ in report_in_turn(estimators, scenes, path, max_scenes=max_scenes, title=title):
        pass


def report_in_turn(
    estimators: Predictor | Mapping[str, Predictor] | Sequence[Predictor],
    scenes: Sequence[Scene],
    path: str | os.PathLike[str],
    *,
    max_scenes: int | None = None,
    title: str | None = None,
) -> Iterator[Scene]:
    """Write the page of :func:`write_report`, and yield each scene once it is measured."""
    named = _by_name(estimators)
    scenes = check_scenes(scenes, "write_report")
    check_max_scenes(max_scenes)
    path = Path(path)
    check_target(path)
    return _write(named, scenes[:max_scenes], path, title or f"Quality of {', '.join(named)}")


def _write(named, scenes, path, title):
    side = side_of_pictures(
        len(scenes),
        len(named),
        n_stds=sum(map(takes_return_std, named.values())),
        truth=any(scene.has_hr for scene in scenes),
    )
    page = _Page(title, named)
    with (
        replace_file(path) as partial_file,
        # Sections wait here for the tables above them, which need the figures of all scenes.
        tempfile.TemporaryFile("w+", dir=path.parent, encoding="utf-8", newline="") as sections,
    ):
        for number, scene in enumerate(scenes, 1):
            view = view_scene(named, scene, side)
            page.add(view)
            # Beside the clearest frame comes the last estimator, until the reader chooses.
            options = {"view": view, "right": len(view.records)}
            sections.write(render("scene.html", id=f"scene-{number}", **options))
            yield scene
        sections.seek(0)
        with partial_file.open("w", encoding="utf-8", newline="") as file:
            file.writelines(page.text(iter(partial(sections.read, _CHUNK), "")))


def _by_name(estimators: Any) -> dict[str, Any]:
    """Estimators by the names that they have on the page."""
    if isinstance(estimators, Mapping):
        pairs = list(estimators.items())
    else:
        several = isinstance(estimators, (list, tuple, np.ndarray))
        pairs = [(class_name(one), one) for one in (estimators if several else [estimators])]
    named: dict[str, Any] = {}
    for name, estimator in pairs:
        named[_free(printable(name) or "unnamed", named)] = estimator
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
    """The name, or the name with the first free number."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} {number}"
    return free


class _Page:
    """Figures of a report's scenes, without their pictures."""

    def __init__(self, title: str, estimators: Mapping[str, Any]) -> None:
        self._title = title
        self._estimators = estimators
        self._reports = {name: QualityReport(name, []) for name in estimators}
        self._coverages: dict[str, list[Any]] = {name: [] for name in estimators}
        self._n_truths = 0

    def add(self, view: SceneView) -> None:
        """Add the figures of a scene."""
        for name, record in view.records.items():
            self._reports[name].scenes.append({**record, "name": view.name})
        for name, coverage in view.coverages.items():
            self._coverages[name].append(coverage)
        self._n_truths += view.scene.has_hr

    def text(self, sections: Iterable[str]) -> Iterator[str]:
        """Yield the text of the page, with the sections of its scenes."""
        style, script = asset("page.css"), asset("page.js")
        reports = self._reports
        figures = {
            key: figure
            for key, figure in FIGURES.items()
            if any(key in report.available for report in reports.values())
        }
        return stream(
            "page.html",
            policy=_policy(style, script),
            style=style,
            script=script,
            version=__version__,
            date=date.today(),
            title=self._title,
            estimators={name: _printed(one) for name, one in self._estimators.items()},
            reports=reports,
            n_scenes=len(next(iter(reports.values())).scenes),
            n_truths=self._n_truths,
            figures=figures,
            all_figures=FIGURES,
            best={key: _best(reports, key) for key in figures},
            can_draw=can_draw(),
            charts=self._charts(),
            sections=map(Markup, sections),
        )

    def _charts(self) -> list[Chart]:
        if not can_draw() or not self._n_truths:
            return []
        charts = [score_chart(name, report.scenes) for name, report in self._reports.items()]
        return [chart for chart in [*charts, calibration_chart(self._coverages)] if chart]


def _printed(estimator):
    printed = " ".join(repr(estimator).split())
    return printed if len(printed) <= _LONGEST else f"{printed[:_LONGEST]} …"


def _best(reports, key):
    """Names of the estimators with the best mean; none if there is nothing to compare."""
    counts = {name: report.count[key] for name, report in reports.items() if report.count[key]}
    # Means over different scenes are not compared.
    if len(counts) < 2 or len(set(counts.values())) > 1 or not FIGURES[key].better:
        return set()
    costs = {name: FIGURES[key].cost(reports[name].mean[key]) for name in counts}
    return {name for name in costs if costs[name] == min(costs.values())}


def _policy(style, script):
    """Content security policy: no network, and no script or style but the page's own."""
    return (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text):
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"
