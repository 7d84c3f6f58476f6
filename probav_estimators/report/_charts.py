"""Displays as pictures of a page; they need matplotlib."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..displays import CalibrationDisplay, ScoreDisplay, SpectrumDisplay
from ..imaging import challenge_score
from ..metrics import coverage
from ..scoring import standardized_errors
from ._pictures import EmbeddedImage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..scenes import Scene

__all__ = [
    "Chart",
    "Coverage",
    "calibration_chart",
    "can_draw",
    "coverage_of",
    "score_chart",
    "spectrum_charts",
]

# Inches: narrow enough to be read on a phone.
_SIZE = (4.8, 3.7)

# CSS pixels per inch of an SVG.
_DOTS = 96

# Identifiers that do not change from run to run, and names with a "$" as text, not as formulas.
_SETTINGS: Any = {"svg.hashsalt": "chart", "font.size": 9, "text.parse_math": False}


class Chart(NamedTuple):
    """A chart, its title, and its content in words."""

    title: str
    picture: EmbeddedImage
    alt: str


class Coverage(NamedTuple):
    """Number of errors of a scene, and fraction within the standard deviations by level."""

    n_errors: int
    fractions: NDArray[np.floating]


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    try:
        import matplotlib.pyplot  # noqa: F401
    except ImportError:
        return False
    return True


def coverage_of(image: NDArray[Any], std: NDArray[Any], scene: Scene) -> Coverage:
    """Compute the coverage of the errors of an image by its standard deviations."""
    errors = standardized_errors(image, std, scene)
    levels = CalibrationDisplay.default_levels
    return Coverage(len(errors), coverage(errors, np.ones_like(errors), levels))


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
    (picture,) = _draw(lambda ax: display.plot(ax=ax))
    return Chart(f"{name}, scores", picture, alt)


def calibration_chart(coverages: Mapping[str, Sequence[Coverage]]) -> Chart | None:
    """Draw the coverage of standard deviations by estimator; None if there is none."""
    nominal = np.array(CalibrationDisplay.default_levels)
    displays, texts = [], []
    for name, scenes in coverages.items():
        if not scenes:
            continue
        fractions = np.stack([scene.fractions for scene in scenes])
        # Each pixel has the same weight.
        observed = np.average(fractions, axis=0, weights=[scene.n_errors for scene in scenes])
        texts.append(f"{name} covers {100 * np.interp(0.9, nominal, observed):.0f} %")
        displays.append(
            CalibrationDisplay(
                nominal=nominal,
                observed=observed,
                observed_by_scene=fractions,
                estimator_name=name,
            )
        )
    if not displays:
        return None
    (picture,) = _draw(lambda ax: [display.plot(ax=ax) for display in displays])
    alt = f"Errors within the standard deviations; of nominal 90 %, {', '.join(texts)}"
    return Chart("Standard deviations, coverage", picture, alt)


def spectrum_charts(scene: Scene, images: Mapping[str, NDArray[Any]]) -> list[Chart]:
    """Draw power and coherence of the images of a scene; none without truth."""
    if not scene.has_hr or not can_draw():
        return []
    power, coherence = _draw(
        lambda *axes: SpectrumDisplay.from_predictions(
            scene, dict(images), baseline=False, ax=axes
        ),
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


def _draw(plot: Callable[..., Any], n_charts: int = 1) -> list[EmbeddedImage]:
    """Draw into new figures, in matplotlib's own style, and return them as SVG."""
    from matplotlib import rc_context, style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context("default"), rc_context(_SETTINGS):
        figures = [Figure(_SIZE, layout="constrained") for _ in range(n_charts)]
        for figure in figures:
            FigureCanvasAgg(figure)
        plot(*(figure.subplots() for figure in figures))
        return [_svg(figure) for figure in figures]


def _svg(figure):
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=dict.fromkeys(["Date", "Creator", "Format"]))
    # Without the document type in front, which has an address.
    svg = text.getvalue()
    width, height = (round(_DOTS * inches) for inches in figure.get_size_inches())
    return EmbeddedImage.of(svg[svg.index("<svg") :].encode(), "svg+xml", width, height)
