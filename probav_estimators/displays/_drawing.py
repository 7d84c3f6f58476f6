"""Drawing functions of all displays: images, maps, colours and text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..names import printable

#: Colour-blind safe palette, distinct also in grey (Okabe and Ito, without yellow).
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
#: Markers to go with them, for prints without colours.
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]

# Colour over clouded pixels of an image.
_CLOUD = ("#E69F00", 0.45)
# Style of pixels without a value: a hatch, as no colour of a scale is.
_UNKNOWN: dict[str, Any] = {"facecolor": "0.82", "edgecolor": "0.55", "hatch": "////"}
# Greatest number of lines of a title.
_MAX_LINES = 3
# Colour bar, in points: distance from its panel to its far side, and thickness.
_BAR_DISTANCE = 12
_BAR_THICKNESS = 7
# Width of a letter relative to the size of the font.
_LETTER_WIDTH = 0.62


def label_text(name: object, *, width: float = 150, fontsize: float = 8) -> str:
    """Return a name as text for matplotlib, drawn letter by letter.

    A ``$`` begins no formula, and a name with ``_`` in front is in legends as others are. A name of
    more than `width` points has several lines and ends in an ellipsis.
    """
    from matplotlib import rcParams

    n_letters = max(int(width / (_LETTER_WIDTH * fontsize)), 2)
    lines = textwrap.wrap(printable(name), n_letters, max_lines=_MAX_LINES, placeholder="…")
    text = "\n".join(lines) or "unnamed"
    if rcParams["text.parse_math"]:
        text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def style(defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Options of a line or of points; given ones, under any matplotlib alias, take precedence."""
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.lines import Line2D

    return defaults | normalize_kwargs(given, Line2D)


def show_image(ax: Any, image: NDArray[Any], shape: tuple[int, ...], **options: Any) -> Any:
    """Draw an image without ticks over the whole of `shape`, in pixels."""
    height, width = shape
    ax.set_xticks([])
    ax.set_yticks([])
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    # If there are more pixels than dots, "auto" averages pixels instead of leaving some out.
    return ax.imshow(image, interpolation="auto", extent=extent, **options)


def show_map(ax: Any, values: NDArray[Any], shape: tuple[int, ...], **options: Any) -> Any:
    """Draw a map whose pixels without a value (NaN) are hatched."""
    ax.patch.set(**_UNKNOWN)
    return show_image(ax, np.ma.masked_invalid(values), shape, **options)


def shade_clouds(ax: Any, clear: NDArray[np.bool_], shape: tuple[int, ...]) -> None:
    """Draw a translucent colour over clouded pixels."""
    if clear.all():
        return
    from matplotlib.colors import to_rgba

    overlay = np.zeros((*clear.shape, 4))
    overlay[~clear] = to_rgba(_CLOUD)
    show_image(ax, overlay, shape)


def symmetric_scale(maps: Iterable[NDArray[Any]]) -> dict[str, Any]:
    """One colour scale for maps of errors, with 0 in the middle, as options of a picture."""
    limit = float(np.nanpercentile(np.abs(np.stack(list(maps))), 98)) or 1.0
    return {"cmap": "PuOr", "vmin": -limit, "vmax": limit}


def positive_scale(maps: Iterable[NDArray[Any]]) -> dict[str, Any]:
    """One colour scale for maps of standard deviations, as options of a picture."""
    low, high = np.nanpercentile(np.stack(list(maps)), [0.5, 99.5])
    return {"cmap": "viridis", "vmin": low, "vmax": max(high, 1.01 * low, 1e-6)}


def mark_window(ax: Any, rows: slice, columns: slice) -> None:
    """Draw the outline of a window of an image."""
    from matplotlib.patches import Rectangle

    corner = (columns.start - 0.5, rows.start - 0.5)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    # A dark line around a bright one is visible on dark and on bright images.
    for width, colour in ((2.6, "k"), (1.2, "w")):
        ax.add_patch(Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=width))


def colour_bar(drawn: Any, ax: Any, label: str, *, side: str = "bottom") -> Any:
    """Draw a colour bar as long as its panel; arrows mark values beyond its limits."""
    from matplotlib.ticker import MaxNLocator

    width, height = size_in_points(ax)
    below = {"bottom": True, "right": False}[side]
    if below:
        place = [0, -_BAR_DISTANCE / height, 1, _BAR_THICKNESS / height]
    else:
        place = [1 + (_BAR_DISTANCE - _BAR_THICKNESS) / width, 0, _BAR_THICKNESS / width, 1]
    values = drawn.get_array()
    low, high = drawn.get_clim()
    beyond = {(True, True): "both", (True, False): "min", (False, True): "max"}
    bar = ax.figure.colorbar(
        drawn,
        cax=ax.inset_axes(place),
        orientation="horizontal" if below else "vertical",
        extend=beyond.get((values.min() < low, values.max() > high), "neither"),
    )
    bar.locator = MaxNLocator(4, integer=values.dtype.kind in "iu")
    bar.ax.tick_params(labelsize=8)
    bar.set_label(label_text(label, width=width if below else height), fontsize=8)
    return bar


def set_title(ax: Any, name: object, *lines: str, fontsize: float = 9) -> None:
    """Set a title of a name and further lines, each wrapped to the width of the panel."""
    width = 0.96 * size_in_points(ax)[0]
    shown = [name, *filter(None, lines)]
    wrapped = [label_text(text, width=width, fontsize=fontsize) for text in shown]
    ax.set_title("\n".join(wrapped), fontsize=fontsize)


def size_in_points(ax: Any) -> tuple[float, float]:
    """Width and height of axes or, if they hold an image, of the image."""
    box = ax.get_position()
    if ax.get_aspect() != "auto" and ax.images:
        figure = ax.figure.bbox
        box = box.shrunk_to_aspect(
            ax.get_box_aspect() or ax.get_data_ratio(), box, figure.height / figure.width
        )
    bounds = box.transformed(ax.figure.transSubfigure)
    inch = 72 / ax.figure.dpi
    return bounds.width * inch, bounds.height * inch


def label_points(ax: Any, points: Sequence[tuple[float, float]], labels: Sequence[str]) -> Any:
    """Number points and list their labels in a legend beside the axes; return its texts."""
    from matplotlib.lines import Line2D

    if not points:
        return []
    texts = [f"{i}: {label_text(label)}" for i, label in enumerate(labels, 1)]
    for number, point in enumerate(points, 1):
        ax.annotate(f"{number}", point, (4, 4), textcoords="offset points", fontsize=8)
    legend = ax.legend(
        handles=[Line2D([], [], ls="", label=text) for text in texts],
        loc="upper left",
        bbox_to_anchor=(1, 1),
        frameon=False,
        handlelength=0,
        handletextpad=0,
        fontsize=8,
    )
    # Keep it beside the main legend, and let the layout make room for it.
    ax.add_artist(legend).set_clip_on(False)
    return legend.get_texts()
