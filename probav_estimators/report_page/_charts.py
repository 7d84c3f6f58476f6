"""Charts of a report: displays as pictures, for which matplotlib is needed."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..displays import CalibrationDisplay, ScoreDisplay, SpectrumDisplay
from ..metrics import coverage
from ..scoring import standardized_errors
from ._pictures import Picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..scenes import Scene

# Inches: narrow enough for words to be read on a phone.
_SIZE = (4.8, 3.7)

# CSS pixels for each inch of an SVG.
_DOTS = 96


class Chart(NamedTuple):
    """A chart, what it is called, and what it shows in words."""

    title: str
    picture: Picture
    alt: str


class Covered(NamedTuple):
    """How many errors of a scene there are, and what part of them deviations cover."""

    n_errors: int
    parts: NDArray[np.floating]


def can_draw() -> bool:
    """Whether matplotlib is there."""
    try:
        import matplotlib.pyplot  # noqa: F401
    except ImportError:
        return False
    return True


def cover(image: NDArray[Any], deviation: NDArray[Any], scene: Scene) -> Covered:
    """What a calibration chart is to know of an image with its standard deviations."""
    errors = standardized_errors(image, deviation, scene)
    levels = CalibrationDisplay.default_levels
    return Covered(len(errors), coverage(errors, np.ones_like(errors), levels))


def score_chart(name: str, records: Sequence[Mapping[str, Any]]) -> Chart | None:
    """Scores of an estimator by scene; None if no scene has one, or all are the baseline's."""
    known = [record for record in records if np.isfinite(record["score"])]
    if all(record["score"] == 1 for record in known):
        return None
    scores = np.array([record["score"] for record in known])
    display = ScoreDisplay(
        scores=scores,
        norms=scores * [record["cpsnr"] for record in known],
        bands=[record["band"] for record in known],
        names=[record["name"] for record in known],
        estimator_name=name,
    )
    alt = (
        f"Scores of {name} over the baseline's cPSNR: {scores.min():.3f} to {scores.max():.3f}, "
        f"{np.sum(scores < 1)} of {len(scores)} better than the baseline"
    )
    (picture,) = _draw(lambda ax: display.plot(ax=ax))
    return Chart(f"{name}, scores", picture, alt)


def calibration_chart(covered: Mapping[str, Sequence[Covered]]) -> Chart | None:
    """What standard deviations cover, estimator by estimator; None if none gives any."""
    known = {name: scenes for name, scenes in covered.items() if scenes}
    if not known:
        return None
    nominal = np.array(CalibrationDisplay.default_levels)
    displays, told = [], []
    for name, scenes in known.items():
        parts = np.stack([scene.parts for scene in scenes])
        # Each pixel has the same weight.
        observed = np.average(parts, axis=0, weights=[scene.n_errors for scene in scenes])
        told.append(f"{name} covers {100 * np.interp(0.9, nominal, observed):.0f} %")
        displays.append(
            CalibrationDisplay(
                nominal=nominal, observed=observed, observed_by_scene=parts, estimator_name=name
            )
        )
    (picture,) = _draw(lambda ax: [display.plot(ax=ax) for display in displays])
    alt = f"Errors that standard deviations cover; where they should cover 90 %, {', '.join(told)}"
    return Chart("Standard deviations, coverage", picture, alt)


def spectrum_charts(scene: Scene, images: Mapping[str, NDArray[Any]]) -> list[Chart]:
    """Power and coherence of the images of a scene; none without truth."""
    if not scene.has_hr or not can_draw():
        return []
    power, coherence = _draw(
        lambda *axes: SpectrumDisplay.from_predictions(scene, images, baseline=False, ax=axes),
        n_charts=2,
    )
    names = ", ".join(images)
    return [
        Chart("Power by frequency", power, f"Power of {names} over that of the truth by frequency"),
        Chart(
            "Coherence by frequency",
            coherence,
            f"Coherence of {names} with the truth by frequency",
        ),
    ]


def _draw(plot: Callable[..., Any], n_charts: int = 1) -> list[Picture]:
    """Figures that are nobody else's, in matplotlib's own style, as SVG."""
    from matplotlib import rc_context, style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context("default"), rc_context({"svg.hashsalt": "chart", "font.size": 9}):
        figures = [Figure(_SIZE, layout="constrained") for _ in range(n_charts)]
        for figure in figures:
            FigureCanvasAgg(figure)
        plot(*(figure.subplots() for figure in figures))
        return [_svg(figure) for figure in figures]


def _svg(figure):
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=dict.fromkeys(["Date", "Creator", "Format"]))
    # What stands before it names a document type by its address.
    svg = text.getvalue()
    data = base64.b64encode(svg[svg.index("<svg") :].encode()).decode("ascii")
    width, height = (round(_DOTS * inches) for inches in figure.get_size_inches())
    return Picture(f"data:image/svg+xml;base64,{data}", width, height)
