"""The page of a report: tables and charts of all scenes, and a section of each."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from ..version import __version__
from ._charts import calibration_chart, can_draw, score_chart
from ._figures import FIGURES
from ._quality_report import QualityReport
from ._templates import asset, render, stream

if TYPE_CHECKING:
    from ._charts import Chart
    from ._scene_view import SceneView

__all__ = ["Page", "scene_section"]

# Longest representation of an estimator, in letters.
_LONGEST = 2000


class Page:
    """Figures of a report's scenes, without their pictures.

    Parameters
    ----------
    title : str
    estimators : dict of fitted estimators by name
    """

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


def scene_section(number: int, view: SceneView) -> str:
    """HTML of the section of a scene, counted from 1."""
    # Beside the clearest frame comes the last estimator, until the reader chooses.
    return render("scene.html", id=f"scene-{number}", view=view, right=len(view.records))


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
