"""Base of displays: their axes, and the docstrings that they share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from inspect import isfunction
from textwrap import indent
from typing import Any, Self

import numpy as np

# Texts that replace ``{key}`` in the docstrings of displays; ``{display}`` is the class.
_SHARED = {
    "returns": """Returns
-------
{display}""",
    "ax": """ax : Axes, default=None
    Axes to draw in; several panels are drawn in their bounds. None: a new figure.""",
    "ax_": """ax_ : Axes
    The axes.
figure_ : Figure
    The figure.""",
    "panels_": """bounding_ax_ : Axes or None
    The axes that the panels were drawn in the bounds of.
figure_ : Figure
    The figure.""",
    "name": """name : str, default=None
    Of the estimator. None: its class.""",
    "estimator_name": """name : str, default=None
    Of the estimator. None: `estimator_name`.""",
    "estimators": """estimator : fitted estimator, or dict of str to fitted estimator
    One, named by its class, or several by name.""",
    "images": """images : dict of str to array of shape (H, W), or one such array
    Images by name, pixels in [0, 1].""",
    "images_of_scenes": """images : array of shape (n, H, W) or list of arrays
    One image for each scene, in [0, 1].""",
    "baseline": """baseline : bool, default=True
    Whether to draw the challenge's baseline too.""",
    "grey_scale": """grey_scale : {"auto", "common", "own", "truth"}, default="auto"
    See the parameters of the class.""",
    "detail": """detail : tuple of two slices, default=None
    Rows and columns in HR pixels to enlarge. None: those with most detail.""",
    "to_plot": """**kwargs : dict
    Passed to :meth:`plot`.""",
    "to_predictions": """**kwargs : dict
    Passed to :meth:`from_predictions`.""",
}


class Display:
    """Base of displays."""

    figure_: Any

    def __init_subclass__(cls) -> None:
        members = (getattr(member, "__func__", member) for member in vars(cls).values())
        for documented in (cls, *filter(isfunction, members)):
            if documented.__doc__:
                documented.__doc__ = _filled(documented.__doc__, cls.__name__)

    def plot(self, *, ax: Any = None) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : Axes, default=None
            Axes to draw in; several panels are drawn in their bounds. None: a new figure.

        Returns
        -------
        self
        """
        raise NotImplementedError

    @classmethod
    def _require_matplotlib(cls, method: str) -> Any:
        """Return matplotlib's pyplot; raise an ImportError that names the extra for it."""
        try:
            import matplotlib.pyplot as pyplot
        except ImportError as error:
            raise ImportError(
                f"{cls.__name__}.{method} needs matplotlib: pip install probav_estimators[plot]"
            ) from error
        return pyplot

    def _single_axes(self, ax: Any, figsize: tuple[float, float]) -> Any:
        """Set `ax_` and `figure_` to the given axes or those of a new figure."""
        pyplot = self._require_matplotlib("plot")
        self.ax_ = pyplot.subplots(figsize=figsize, layout="constrained")[1] if ax is None else ax
        self.figure_ = self.ax_.figure
        return self.ax_

    def _panels(
        self,
        ax: Any,
        arrange: Callable[[Any], Sequence[Any]],
        figsize: tuple[float, float],
        layout: str = "constrained",
    ) -> Any:
        """Return an array of axes, in a new figure or within the bounds of `ax`.

        `arrange` divides a SubplotSpec into those of the panels.
        """
        pyplot = self._require_matplotlib("plot")
        from matplotlib.gridspec import GridSpec

        self.bounding_ax_ = ax
        if ax is None:
            self.figure_ = pyplot.figure(figsize=figsize)
            # Names are wrapped before the layout runs, so panels start near their final positions.
            self.figure_.subplots_adjust(0.03, 0.1, 0.95, 0.92, wspace=0.05, hspace=0.1)
            self.figure_.set_layout_engine(layout)
            spec = GridSpec(1, 1, figure=self.figure_)[0]
        else:
            self.figure_ = ax.figure
            ax.set_axis_off()
            # Axes of `add_axes` are in no grid.
            box = ax.get_position()
            bounds = {"left": box.x0, "right": box.x1, "bottom": box.y0, "top": box.y1}
            spec = ax.get_subplotspec() or GridSpec(1, 1, figure=ax.figure, **bounds)[0]
        return np.array([self.figure_.add_subplot(part) for part in arrange(spec)], dtype=object)


def _filled(doc: str, display: str) -> str:
    def shared(place: re.Match[str]) -> str:
        return indent(_SHARED[place[2]].replace("{display}", display), place[1])

    return re.sub(r"^( *)\{(\w+)\}$", shared, doc, flags=re.MULTILINE)
