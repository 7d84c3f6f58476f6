"""Displays as pictures of a page; they need matplotlib."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..displays import CalibrationDisplay, ScoreDisplay, SpectrumDisplay
from ..imaging import challenge_score
from ._pictures import EmbeddedImage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..scenes import Scene

__all__ = [
    "Chart",
    "calibration_chart",
    "can_draw",
    "score_chart",
    "spectrum_chart",
]

# Inches of a panel: narrow enough to be read on a phone.
_WIDTH, _HEIGHT = 4.8, 3.7

# CSS pixels per inch of an SVG.
_DOTS = 96

# Identifiers that do not change from run to run.
_SETTINGS: Any = {"svg.hashsalt": "chart", "font.size": 9}


class Chart(NamedTuple):
    """A chart, its title, and its content in words."""

    title: str
    picture: EmbeddedImage
    alt: str


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    try:
        import matplotlib.pyplot  # noqa: F401
    except ImportError:
        return False
    return True


def score_chart(name: str, records: Sequence[Mapping[str, Any]]) -> Chart | None:
    """Draw the scores of an estimator; None if there are none, or all are the baseline's."""
    known = [record for record in records if np.isfinite(record["score"])]
    if all(record["score"] == 1 for record in known):
        return None
    scores = np.array([record["score"] for record in known])
    cpsnrs = np.array([record["cpsnr"] for record in known])
    display = ScoreDisplay(
        scores=scores,
        norms=scores / challenge_score(1, cpsnrs),
        bands=[record["band"] for record in known],
        names=[record["name"] for record in known],
        estimator_name=name,
    )
    alt = (
        f"Scores of {name} over the baseline's cPSNR: {scores.min():.3f} to {scores.max():.3f}, "
        f"{np.sum(scores < 1)} of {len(scores)} better than the baseline"
    )
    return Chart(f"{name}, scores", _draw(lambda ax: display.plot(ax=ax)), alt)


def calibration_chart(coverages: Mapping[str, Sequence[Any]]) -> Chart | None:
    """Draw the coverage of standard deviations by estimator; None if there is none."""
    displays = [
        CalibrationDisplay.from_coverage(scenes, name=name)
        for name, scenes in coverages.items()
        if scenes
    ]
    if not displays:
        return None
    picture = _draw(lambda ax: [display.plot(ax=ax) for display in displays])
    texts = [
        f"{display.estimator_name} covers "
        f"{100 * np.interp(0.9, display.nominal, display.observed):.0f} %"
        for display in displays
    ]
    alt = f"Errors within the standard deviations; of nominal 90 %, {', '.join(texts)}"
    return Chart("Standard deviations, coverage", picture, alt)


def spectrum_chart(scene: Scene, images: Mapping[str, NDArray[Any]]) -> Chart:
    """Draw power and coherence of the images of a scene with an HR image."""
    picture = _draw(
        lambda ax: SpectrumDisplay.from_predictions(scene, images, baseline=False, ax=ax),
        n_panels=2,
    )
    alt = (
        f"Power of {', '.join(images)} over that of the truth, and coherence with it, by frequency"
    )
    return Chart("Power and coherence by frequency", picture, alt)


def _draw(plot: Callable[[Any], Any], n_panels: int = 1) -> EmbeddedImage:
    """Draw into a new figure of panels in one column, in matplotlib's own style, as SVG."""
    from matplotlib import rc_context, style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context("default"), rc_context(_SETTINGS):
        figure = Figure((_WIDTH, n_panels * _HEIGHT), layout="constrained")
        FigureCanvasAgg(figure)
        plot(figure.subplots())
        return _svg(figure)


def _svg(figure):
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=dict.fromkeys(["Date", "Creator", "Format"]))
    # Without the document type in front, which has an address.
    svg = text.getvalue()
    width, height = (round(_DOTS * inches) for inches in figure.get_size_inches())
    return EmbeddedImage.of(svg[svg.index("<svg") :].encode(), "svg+xml", width, height)
