"""The page of a report: tables, sections of scenes, legend."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import date
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from ..imaging import grey_limits
from ..report import FIGURES, QualityReport
from ..version import __version__
from ._charts import calibration_chart, can_draw, score_chart
from ._legend import NOT_PROVED
from ._pictures import (
    deviation_bar,
    deviation_picture,
    error_bar,
    error_picture,
    grey_picture,
    map_limit,
)

if TYPE_CHECKING:
    from ._charts import Chart, Covered
    from ._pictures import Picture
    from ._views import SceneView

_ARROWS = {"more": "↑", "less": "↓", "one": "→ 1", "": ""}

# Letters of an estimator as it prints.
_MAX_PRINTED = 2000

_NOWHERE = "&ndash;"


class Page:
    """What is known of a report's scenes, without their pictures.

    Parameters
    ----------
    title : str
    estimators : dict of fitted estimators by name
    """

    def __init__(self, title: str, estimators: Mapping[str, Any]) -> None:
        self._title = title
        self._estimators = estimators
        self._records: dict[str, list[dict[str, Any]]] = {name: [] for name in estimators}
        self._covered: dict[str, list[Covered]] = {name: [] for name in estimators}
        self._n_truths = 0

    def add(self, view: SceneView) -> None:
        """Take a scene into the tables."""
        for shown in view.estimators:
            self._records[shown.name].append({**shown.figures, "name": view.name})
            if shown.covered is not None:
                self._covered[shown.name].append(shown.covered)
        self._n_truths += view.truth is not None

    def before_pictures(self) -> str:
        """The page up to the first scene's section."""
        return self._filled(0)

    def after_pictures(self) -> str:
        """The page from the last scene's section on."""
        return self._filled(1)

    def _filled(self, half):
        style, script = _asset("page.css"), _asset("page.js")
        # Only the part before the pictures has charts, and they take a moment.
        charts = self._charts() if half == 0 else ""
        parts = {
            "policy": _policy(style, script),
            "generator": escape(f"probav_estimators {__version__}"),
            "title": escape(self._title),
            "style": style,
            "script": script,
            "about": self._about(),
            "summary": self._summary(),
            "estimators": self._in_full(),
            "charts": charts,
            "scenes": self._scene_table(),
            "legend": _legend(),
            "footer": escape(f"Written by probav_estimators {__version__} on {date.today()}."),
        }
        return Template(_asset("page.html").split("$pictures")[half]).substitute(parts)

    def _about(self):
        n_scenes = len(next(iter(self._records.values())))
        truths = {0: "without HR images", n_scenes: "with HR images"}.get(
            self._n_truths, f"{self._n_truths} of them with an HR image"
        )
        estimators = _count(len(self._records), "estimator")
        return f"{estimators} on {_count(n_scenes, 'scene')}, {truths}."

    def _charts(self):
        if not can_draw():
            return (
                '<p class="about">Charts are left out: matplotlib, which draws them, is not '
                "installed. <code>pip install probav_estimators[plot]</code> brings it.</p>"
            )
        if not self._n_truths:
            return '<p class="about">Charts need HR images, which these scenes have not.</p>'
        charts = [score_chart(*item) for item in self._records.items()]
        charts.append(calibration_chart(self._covered))
        return _chart_figures(charts) or '<p class="about">All scores are the baseline\'s.</p>'

    def _in_full(self):
        parts = []
        for name, estimator in self._estimators.items():
            printed = " ".join(repr(estimator).split())
            if len(printed) > _MAX_PRINTED:
                printed = f"{printed[:_MAX_PRINTED]} …"
            parts.append(f"<dt>{escape(name)}</dt><dd><code>{escape(printed)}</code></dd>")
        return "".join(parts)

    def _summary(self):
        reports = {name: QualityReport(name, records) for name, records in self._records.items()}
        known = [key for key in FIGURES if any(r.count[key] for r in reports.values())]
        best = {key: _best(reports, key) for key in known}
        rows = []
        for name, report in reports.items():
            cells = [_mean_cell(report, key, name in best[key]) for key in known]
            rows.append([f'<th scope="row">{_name(name)}</th>', *cells])
        caption = (
            "Means over the scenes, each with the same weight; n: how many, where not all have it."
        )
        if len(reports) > 1:
            caption += " Bold: the best of its column, however small the lead."
        missing = [escape(FIGURES[key].title) for key in FIGURES if key not in known]
        note = f'<p class="about">Not to be had: {", ".join(missing)}.</p>' if missing else ""
        return _table("summary-table", caption, ["estimator"], known, rows) + note

    def _scene_table(self):
        known = [
            key
            for key in FIGURES
            if any(np.isfinite(r[key]) for records in self._records.values() for r in records)
        ]
        rows = []
        for number, records in enumerate(zip(*self._records.values(), strict=True), 1):
            for name, record in zip(self._records, records, strict=True):
                link = f'<a href="#scene-{number}">{_name(record["name"])}</a>'
                about = [record["band"] or "", str(record["n_frames"]), name]
                cells = [f'<td class="text">{_name(text)}</td>' for text in about]
                cells += [f"<td>{_number(record[key], key)}</td>" for key in known]
                rows.append([f'<th scope="row">{link}</th>', *cells])
        caption = "Each scene and estimator; a scene's name leads to its pictures."
        return _table("scene-table", caption, ["scene", "band", "frames", "estimator"], known, rows)


def scene_section(number: int, view: SceneView) -> str:
    """The section of a scene, with all of its pictures.

    Parameters
    ----------
    number : int
        Of the scene, from 1 on.
    view : SceneView
    """
    low, high = grey_limits(_clear_pixels(view))
    images = _images(view, low, high)
    maps, scales = _maps(view)
    grey = f"Grey: black {_value(view, low)}, white {_value(view, high)} {escape(view.unit)}"
    figures = [_figure(image, "image", place) for place, image in enumerate(images)]
    figures += [_figure(image, "map", len(images) + place) for place, image in enumerate(maps)]
    # The divider parts the frame and the last estimator, until the reader chooses.
    right = figures.pop(len(view.estimators))
    about = ", ".join([*([view.band] if view.band else []), _count(view.n_frames, "frame")])
    parts = {
        "id": f"scene-{number}",
        "name": escape(view.name),
        "about": escape(about),
        "extent": _extent(view),
        "left": figures.pop(0),
        "right": right,
        "scales": "\n".join(f"<li>{scale}</li>" for scale in [grey, *scales]),
        "gallery": "\n".join(figures),
        "charts": _chart_figures(view.charts, f" of {view.name}"),
    }
    return Template(_asset("scene.html")).substitute(parts)


def _clear_pixels(view):
    """What the grey scale is to show; clouds would make everything else dark."""
    yield view.frame[view.clear] if view.clear.any() else view.frame
    for shown in view.estimators:
        yield shown.image
    if view.truth is not None and view.truth_clear.any():
        yield view.truth[view.truth_clear]


def _images(view, low, high):
    """(name, picture, alternative text, what is told below) of the grey pictures, frame first."""
    clear = f"{100 * view.clear.mean():.0f} % clear"
    drawn = [("Clearest frame", view.frame, f"Clearest frame of {view.name}, upscaled", clear)]
    for shown in view.estimators:
        alt = f"{shown.name}: super-resolved image of {view.name}"
        drawn.append((shown.name, shown.image, alt, _in_short(shown.figures)))
    if view.truth is not None:
        drawn.append(("Truth", view.truth, f"Truth: HR image of {view.name}", "HR image"))
    return [(name, grey_picture(pixels, low, high), alt, told) for name, pixels, alt, told in drawn]


def _maps(view):
    """The same of maps, and what is said of their scales."""
    maps, scales = [], []
    errors = [shown for shown in view.estimators if shown.error is not None]
    if errors:
        limit = map_limit(shown.error for shown in errors)
        value = _difference(view, limit)
        bar = _bar(error_bar(), "from blue over white to red")
        scales.append(
            f"Error, truth less image: &minus;{value}{bar}{value} {escape(view.unit)}; "
            "hatched: clouded, or too near to the edge"
        )
        for shown in errors:
            alt = f"Error of {shown.name} on {view.name}: truth less image, blue where it is less"
            maps.append((f"{shown.name}, error", error_picture(shown.error, limit), alt, ""))
    deviations = [shown for shown in view.estimators if shown.deviation is not None]
    if deviations:
        limit = map_limit(shown.deviation for shown in deviations)
        bar = _bar(deviation_bar(), "from dark blue over green to yellow")
        value = _difference(view, limit)
        scales.append(f"Standard deviation: 0{bar}{value} {escape(view.unit)}")
        for shown in deviations:
            alt = f"Standard deviation of {shown.name} on {view.name}, bright where it is large"
            picture = deviation_picture(shown.deviation, limit)
            maps.append((f"{shown.name}, standard deviation", picture, alt, ""))
    return maps, scales


def _figure(image, kind, place):
    name, picture, alt, told = image
    below = f' <span class="about">{escape(told)}</span>' if told else ""
    return (
        f'<figure class="{kind}" data-place="{place}" data-name="{escape(name)}">'
        f"{_img(picture, alt)}"
        f"<figcaption><strong>{escape(name)}</strong>{below}</figcaption></figure>"
    )


def _chart_figures(charts: Sequence[Chart | None], of_what: str = "") -> str:
    """Charts side by side, as many as there is room for."""
    figures = [
        f'<figure class="chart">{_img(chart.picture, chart.alt + of_what)}'
        f"<figcaption><strong>{escape(chart.title)}</strong></figcaption></figure>"
        for chart in charts
        if chart is not None
    ]
    return '<div class="charts">\n' + "\n".join(figures) + "\n</div>" if figures else ""


def _img(picture: Picture, alt: str, more: str = ' decoding="async"') -> str:
    size = f'width="{picture.width}" height="{picture.height}"'
    return f'<img src="{picture.uri}" {size} alt="{escape(alt)}"{more}>'


def _bar(picture, alt):
    return _img(picture, alt, ' class="bar"')


def _in_short(figures):
    """The one or two figures that stand below a picture."""
    keys = ["cpsnr", "score"] if np.isfinite(figures["cpsnr"]) else ["consistency"]
    return ", ".join(
        f"{FIGURES[key].title.removesuffix(' (dB)')} {_number(figures[key], key)}"
        + (" dB" if key == "cpsnr" else "")
        for key in keys
    )


def _extent(view):
    shown, whole = ("{} &times; {}".format(*size) for size in (view.shown, view.whole))
    if shown == whole:
        return f"The pictures show the whole scene, {whole} pixels."
    return f"The pictures show the middle {shown} of {whole} pixels."


def _value(view, pixel):
    return _rounded(view.low + (view.high - view.low) * pixel, 4)


def _difference(view, pixel):
    return _rounded((view.high - view.low) * pixel, 3)


def _rounded(value, digits):
    """To significant digits, without an exponent where the number is short enough."""
    return f"{float(f'{value:.{digits}g}'):g}"


def _best(reports, key):
    """Names of the estimators with the best mean; none where there is nothing to choose."""
    means = {name: report.mean[key] for name, report in reports.items() if report.count[key]}
    # Means over different scenes are not compared.
    counts = {reports[name].count[key] for name in means}
    if len(means) < 2 or len(counts) > 1 or not FIGURES[key].better:
        return set()
    cost = {"more": lambda x: -x, "less": lambda x: x, "one": lambda x: abs(x - 1)}
    costs = {name: cost[FIGURES[key].better](mean) for name, mean in means.items()}
    return {name for name in costs if costs[name] == min(costs.values())}


def _mean_cell(report, key, best):
    count = report.count[key]
    few = f' <span class="about">n = {count}</span>' if 0 < count < len(report.scenes) else ""
    mark = ' class="best"' if best else ""
    return f"<td{mark}>{_number(report.mean[key], key)}{few}</td>"


def _title(key):
    """With an arrow that stays beside the last word."""
    figure = FIGURES[key]
    arrow = f"&nbsp;{_ARROWS[figure.better]}" if figure.better else ""
    return f"{escape(figure.title)}{arrow}".replace("→ 1", "→&nbsp;1")


def _name(text):
    return f'<span class="name">{escape(text)}</span>'


def _number(value, key):
    return f"{value:.{FIGURES[key].digits}f}" if np.isfinite(value) else _NOWHERE


def _table(name, caption, about, known, rows):
    """A table that scrolls in itself, also by keyboard."""
    head = "".join(f'<th scope="col" class="text">{text}</th>' for text in about)
    for key in known:
        figure = FIGURES[key]
        told = f"{figure.meaning}. It does not prove: {NOT_PROVED[key]}"
        title = _title(key)
        head += f'<th scope="col"><a href="#figure-{key}" title="{escape(told)}">{title}</a></th>'
    body = "".join(f"<tr>{''.join(cells)}</tr>\n" for cells in rows)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{name}-caption">'
        f'<table id="{name}"><caption id="{name}-caption"><span>{caption}</span></caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def _legend():
    parts = []
    for key, figure in FIGURES.items():
        title = _title(key)
        parts.append(
            f'<div id="figure-{key}"><dt>{title}</dt><dd>{escape(figure.meaning)}. '
            f'<span class="about"><em>Does not prove:</em> {escape(NOT_PROVED[key])}</span></dd>'
            "</div>\n"
        )
    return "".join(parts)


def _count(number, noun):
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _policy(style, script):
    """No network at all, and no script or style but the page's own."""
    return (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text):
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"


@cache
def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
