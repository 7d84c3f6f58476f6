"""Pictures of a page in data URIs: arrays as PNG files, displays as SVG, which need matplotlib."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..displays import CalibrationDisplay, ScoreDisplay, SpectrumDisplay
from ..imaging import challenge_score
from ..scenes import Scene

# Steps of a colour map: with the two greys of the hatching, 15 colours fit into 4 bits.
_N_STEPS = 13

# NaN is hatched: stripes of two greys, 2 pixels wide.
_HATCH = [(105, 105, 105), (150, 150, 150)]
_HATCH_WIDTH = 2

# By matplotlib's names, which is optional here. Both suit colour-blind readers.
_COLOUR_MAPS = {
    "RdBu_r": "2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b",
    "viridis": "440154 482878 3e4989 31688e 26828e 1f9e89 35b779 6ece58 b5de2b fde725",
}

# Least limit of a map, as maps of exact images are 0 everywhere.
_LEAST_LIMIT = 1e-6

# Inches of a panel: narrow enough to be read on a phone.
_WIDTH, _HEIGHT = 4.8, 3.7

# CSS pixels per inch of an SVG.
_DOTS = 96

# Identifiers that do not change from run to run.
_SETTINGS: Any = {"svg.hashsalt": "chart", "font.size": 9}


class EmbeddedImage(NamedTuple):
    """An image file in a page, as a data URI, and its size in pixels."""

    uri: str
    width: int
    height: int

    @classmethod
    def of(cls, data: bytes, kind: str, width: int, height: int) -> EmbeddedImage:
        """Encode the bytes of a file; `kind` as in ``image/png``."""
        return cls(f"data:image/{kind};base64,{base64.b64encode(data).decode()}", width, height)


def map_limit(maps: Iterable[NDArray[Any]]) -> float:
    """Return the 99th percentile of the absolute values of some maps, at least a millionth."""
    values = np.abs(np.concatenate([np.ravel(array) for array in maps]))
    values = values[np.isfinite(values)]
    return max(float(np.percentile(values, 99)), _LEAST_LIMIT) if values.size else _LEAST_LIMIT


def grey_picture(image: NDArray[Any], low: float, high: float) -> EmbeddedImage:
    """Draw an image from black at `low` to white at `high`; NaN is black."""
    levels = np.nan_to_num((image - low) / (high - low)).clip(0, 1)
    return _png(Image.fromarray(np.rint(255 * levels).astype(np.uint8)))


def map_picture(values: NDArray[Any], low: float, high: float, colours: str) -> EmbeddedImage:
    """Draw a map in the colours of a colour map, "RdBu_r" or "viridis"; NaN is hatched."""
    steps = np.nan_to_num((values - low) / (high - low)).clip(0, 1) * (_N_STEPS - 1)
    row, column = np.indices(values.shape)
    hatching = _N_STEPS + (row + column) // _HATCH_WIDTH % len(_HATCH)
    picture = Image.fromarray(np.where(np.isfinite(values), np.rint(steps), hatching).astype("u1"))
    picture.putpalette([level for colour in [*_palette(colours), *_HATCH] for level in colour])
    return _png(picture, bits=4)


def colour_bar(colours: str) -> EmbeddedImage:
    """Draw the colours of a colour map, one pixel each."""
    return map_picture(np.linspace(0, 1, _N_STEPS)[None], 0, 1, colours)


def _palette(colours):
    """Colours in equal steps, interpolated."""
    anchors = np.array([list(bytes.fromhex(colour)) for colour in _COLOUR_MAPS[colours].split()])
    at = np.linspace(0, len(anchors) - 1, _N_STEPS)
    channels = [np.interp(at, range(len(anchors)), channel) for channel in anchors.T]
    return np.rint(np.stack(channels, axis=1)).astype(int).tolist()


def _png(image, **options):
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True, **options)
    return EmbeddedImage.of(data.getvalue(), "png", *image.size)


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
