"""A scene, what estimators made of it, and where they err."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from scipy.ndimage import uniform_filter

from ..baseline import BicubicBaseline
from ..imaging import error_map, select_clearest
from ..prediction import predict_scene
from ..scenes import ValueScale
from ..scoring import scene_cpsnr, scene_score
from ._drawing import (
    colour_bar,
    grey_scale,
    panels,
    require_matplotlib,
    set_title,
    shade_clouds,
    show_image,
    show_map,
    size_in_points,
    unknown_patch,
    wrap_text,
)
from ._predictions import by_name, images_by_name, one_scene

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..scenes import Scene

__all__ = ["ComparisonDisplay"]

# The detail is this part of the image along each axis, and has at least so many HR pixels.
_DETAIL_PART = 1 / 4
_LEAST_DETAIL = 16

# Greatest shift that the error forgives, in HR pixels, as the score does.
_BORDER = 3

# Inches along each axis of a square panel; others are as large. None is wider than the greatest.
_PANEL = 2.0
_WIDEST_PANEL = 3.6
# Inches of the title and the scale of a row of maps, and of each further line; points of a scale.
_MAP_WORDS = 0.85
_LINE = 0.155
_SCALE_HEIGHT = 42

_BASELINE = "BicubicBaseline"
_ERROR = "error"


class ComparisonDisplay:
    """The clearest frame of a scene, images of it, and the truth; their errors and deviations.

    Make one by `from_estimator` or `from_predictions`. All parameters are stored as attributes.

    Parameters
    ----------
    frame : array of shape (h, w)
        The clearest frame, in values of `unit`, as all images are.
    frame_clear : bool array of shape (h, w)
        Where it is clear.
    n_clear : int array of shape (h, w)
        How many frames are clear at each pixel.
    n_frames : int
        Number of frames.
    images : dict of str to array of shape (H, W)
        Images by name.
    truth : array of shape (H, W), default=None
        HR image.
    truth_clear : bool array of shape (H, W), default=None
        Where the truth is clear.
    errors : dict of str to array of shape (H, W), default=None
        Truth less image, without bias and shift; NaN where nothing is compared.
    deviations : dict of str to array of shape (H, W), default=None
        Standard deviations of some of the images.
    scores : dict of str to (float, float), default=None
        The cPSNR in dB and the challenge score of each image.
    detail : tuple of two slices, default=None
        Rows and columns in HR pixels that are drawn once more, enlarged. None: those with most
        detail.
    unit : str, default="16-bit counts"
        Of the values.
    title : str, default=None
        Of the whole.

    Attributes
    ----------
    axes_ : array of Axes of shape (rows, columns)
        Images, details, and, where there are any, errors and standard deviations. Columns: frame,
        images, truth if there is one. The standard deviations of one image alone stand beside the
        errors, below the truth.
    bounding_ax_ : Axes or None
        The axes that the panels were drawn in the bounds of.
    figure_ : Figure
        The figure.

    See Also
    --------
    ScoreDisplay : Scores of many scenes.

    Notes
    -----
    Images and details have one grey scale, from the first to the 99th percentile of all that is
    clear. Clouds are shaded. Pixels that the error does not compare are hatched: those that are
    clouded in the truth, or within three pixels of the edge.

    Examples
    --------
    >>> from probav_estimators import BicubicBaseline, make_scenes
    >>> from probav_estimators.displays import ComparisonDisplay
    >>> (scene,) = make_scenes(1, size=32, random_state=0)
    >>> display = ComparisonDisplay.from_estimator(BicubicBaseline(), scene)
    >>> display.axes_.shape
    (3, 3)
    """

    def __init__(
        self,
        *,
        frame: NDArray[Any],
        frame_clear: NDArray[np.bool_],
        n_clear: NDArray[np.integer],
        n_frames: int,
        images: Mapping[str, NDArray[Any]],
        truth: NDArray[Any] | None = None,
        truth_clear: NDArray[np.bool_] | None = None,
        errors: Mapping[str, NDArray[Any]] | None = None,
        deviations: Mapping[str, NDArray[Any]] | None = None,
        scores: Mapping[str, tuple[float, float]] | None = None,
        detail: tuple[slice, slice] | None = None,
        unit: str = "16-bit counts",
        title: str | None = None,
    ) -> None:
        self.frame = frame
        self.frame_clear = frame_clear
        self.n_clear = n_clear
        self.n_frames = n_frames
        self.images = images
        self.truth = truth
        self.truth_clear = truth_clear
        self.errors = errors
        self.deviations = deviations
        self.scores = scores
        self.detail = detail
        self.unit = unit
        self.title = title

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        scene: Scene,
        *,
        baseline: bool = True,
        detail: tuple[slice, slice] | None = None,
        unit: str | None = None,
        ax: Any = None,
    ) -> Self:
        """Predict a scene and draw what comes of it.

        Parameters
        ----------
        estimator : fitted estimator, or dict of str to fitted estimator
            One, called by its class, or several by name. Those whose `predict` takes `return_std`
            are asked for standard deviations.
        scene : Scene
            With or without HR image.
        baseline : bool, default=True
            Whether to draw the challenge's baseline too.
        detail : tuple of two slices, default=None
            Rows and columns in HR pixels to enlarge. None: those with most detail.
        unit : str, default=None
            Of the scene's values. None: 16-bit counts, or the scene's `value_range`.
        ax : Axes or array of Axes, default=None
            Axes to draw in the bounds of, or one for each panel. None: a new figure.

        Returns
        -------
        ComparisonDisplay

        Raises
        ------
        ValueError
            If an estimator does not give one image of the scene.
        """
        require_matplotlib(f"{cls.__name__}.from_estimator")
        scene = one_scene(scene, cls.__name__)
        images, deviations = {}, {}
        for name, one in by_name(estimator).items():
            images[name], deviation = predict_scene(one, scene, return_std=True)
            if deviation is not None:
                deviations[name] = deviation
        options: dict[str, Any] = {"detail": detail, "unit": unit, "ax": ax}
        return cls.from_predictions(
            scene, images, deviations=deviations, baseline=baseline, **options
        )

    @classmethod
    def from_predictions(
        cls,
        scene: Scene,
        images: Any,
        *,
        deviations: Mapping[str, NDArray[Any]] | None = None,
        baseline: bool = True,
        detail: tuple[slice, slice] | None = None,
        unit: str | None = None,
        ax: Any = None,
    ) -> Self:
        """Draw images of a scene.

        Parameters
        ----------
        scene : Scene
            With or without HR image.
        images : dict of str to array of shape (H, W), or one such array
            Images by name, pixels in [0, 1].
        deviations : dict of str to array of shape (H, W), default=None
            Standard deviations of some of them, in pixels.
        baseline : bool, default=True
            Whether to draw the challenge's baseline too.
        detail : tuple of two slices, default=None
            Rows and columns in HR pixels to enlarge. None: those with most detail.
        unit : str, default=None
            Of the scene's values. None: 16-bit counts, or the scene's `value_range`.
        ax : Axes or array of Axes, default=None
            Axes to draw in the bounds of, or one for each panel. None: a new figure.

        Returns
        -------
        ComparisonDisplay

        Raises
        ------
        ValueError
            If images are not of the size that the scene's have.
        """
        require_matplotlib(f"{cls.__name__}.from_predictions")
        scene = one_scene(scene, cls.__name__)
        given = images_by_name(images, scene)
        if baseline and _BASELINE not in given:
            scale = next(iter(given.values())).shape[0] // scene.shape[0]
            given = {_BASELINE: BicubicBaseline(scale).predict([scene])[0]} | given
        display = cls(
            **_of_frames(scene, unit),
            **_of_images(scene, given, deviations or {}, unit),
            detail=detail,
            title=", ".join(filter(None, [scene.label, scene.band])),
        )
        return display.plot(ax=ax)

    def plot(self, *, ax: Any = None) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : Axes or array of Axes, default=None
            Axes to draw in the bounds of, or one for each panel. None: a new figure.

        Returns
        -------
        ComparisonDisplay
            Itself.
        """
        grid = _Grid.of(self)
        axes, self.figure_, self.bounding_ax_ = panels(
            ax, grid.arrange, f"{type(self).__name__}.plot", grid.figsize, "compressed"
        )
        self.axes_ = np.array(axes, dtype=object).reshape(-1, grid.columns)
        titles = self._draw_images(*self.axes_[:2]) | self._draw_maps(self.axes_[2:])
        self._write_titles(titles, makes_room=ax is None)
        if self.errors:
            explained = [axes for axes, (line, *_) in titles.items() if line.startswith(_ERROR)]
            _explain("cloud or edge", explained)
        if self.title and ax is None:
            self.figure_.suptitle(self.title)
        elif self.title:
            first = self.axes_[0, 0]
            first.set_ylabel(wrap_text(self.title, size_in_points(first)[1], 9), fontsize=9)
        return self

    def _draw_images(self, wholes, details):
        """Draw images and details; the titles of panels."""
        titles = {}
        shape = next(iter(self.images.values())).shape
        masks = {"truth": self.truth_clear, "frame": self.frame_clear}
        pictures = {"frame": self.frame} | {f"image {k}": v for k, v in self.images.items()}
        if self.truth is not None:
            pictures["truth"] = self.truth
        grey = grey_scale(
            image[masks[name]] if masks.get(name) is not None else image
            for name, image in pictures.items()
        )
        rows_, columns = self._detail()
        for name, picture, whole, part in zip(
            pictures, pictures.values(), wholes, details, strict=True
        ):
            for axes in (whole, part):
                drawn = show_image(axes, picture, shape, **grey)
                if masks.get(name) is not None:
                    shade_clouds(axes, masks[name], shape)
            part.set_xlim(columns.start - 0.5, columns.stop - 0.5)
            part.set_ylim(rows_.stop - 0.5, rows_.start - 0.5)
            _mark(whole, rows_, columns)
            shaded = masks.get(name) is not None and not masks[name].all()
            titles[whole] = (*self._captions(name), "shaded: clouded" if shaded else "")
            if whole is wholes[-1]:
                colour_bar(drawn, whole, self.unit, side="right")
        details[0].set_ylabel("detail", fontsize=9)
        return titles

    def _write_titles(self, titles, *, makes_room):
        """Write what stands above panels; lines make a figure higher and not its panels smaller."""
        if makes_room:
            # How wide panels are, and titles may be, is known once the layout is.
            self.figure_.get_layout_engine().execute(self.figure_)
        for axes, lines in titles.items():
            set_title(axes, *lines)
        if makes_room:
            breaks = sum(max(axes.get_title().count("\n") for axes in row) for row in self.axes_)
            self.figure_.set_figheight(self.figure_.get_figheight() + breaks * _LINE)

    def _captions(self, name):
        if name == "frame":
            return (f"clearest of {self.n_frames} frames",)
        if name == "truth":
            return ("HR image",)
        name = name.removeprefix("image ")
        if self.scores is None or name not in self.scores:
            return (name,)
        cpsnr, score = self.scores[name]
        return name, f"{cpsnr:.2f} dB, score {score:.4f}"

    def _map_rows(self):
        """What stands in each panel below the details: (kind, name of the image) or nothing."""
        errors, deviations = self.errors or {}, self.deviations or {}
        below_truth = [] if self.truth is None else [None]
        rows = [
            [None, *((kind, name) if name in maps else None for name in self.images), *below_truth]
            for kind, maps in (("errors", errors), ("deviations", deviations))
            if maps
        ]
        if len(rows) == 2 and below_truth and len(deviations) == 1:
            # A row of its own would be empty otherwise.
            rows = [[*rows[0][:-1], ("deviations", next(iter(deviations)))]]
        return rows

    def _draw_maps(self, rows):
        """Draw errors and deviations, each on one scale, and counts of frames; their titles."""
        shape = next(iter(self.images.values())).shape
        scales = {}
        if self.errors:
            scales["errors"] = _symmetric(self.errors)
        if self.deviations:
            scales["deviations"] = _positive(self.deviations)
        titles = {}
        without_bar = set(scales)
        for axes, cell in zip(rows.ravel(), chain.from_iterable(self._map_rows()), strict=True):
            if cell is None:
                axes.set_axis_off()
                continue
            kind, name = cell
            drawn = show_map(axes, getattr(self, kind)[name], shape, **scales[kind])
            titles[axes] = (f"{_ERROR if kind == 'errors' else 'standard deviation'} of {name}",)
            if kind in without_bar:
                without_bar.remove(kind)
                colour_bar(drawn, axes, ("HR - SR, " if kind == "errors" else "") + self.unit)
        if rows.size:
            titles[rows[0, 0]] = ("clear frames",)
            self._draw_counts(rows[0, 0])
        return titles

    def _draw_counts(self, ax):
        """How many frames show each pixel."""
        shape = next(iter(self.images.values())).shape
        ax.set_axis_on()
        drawn = show_image(ax, self.n_clear, shape, cmap="cividis", vmin=0, vmax=self.n_frames)
        colour_bar(drawn, ax, f"of {self.n_frames}")

    def _detail(self):
        if self.detail is not None:
            height, width = next(iter(self.images.values())).shape
            rows, columns = (
                slice(*part.indices(length))
                for part, length in zip(self.detail, (height, width), strict=True)
            )
            return rows, columns
        if self.truth is not None:
            return _most_detail(self.truth, self.truth_clear)
        *_, last = self.images.values()
        return _most_detail(last, None)


class _Grid(NamedTuple):
    """Rows and columns of the panels of a comparison, and the size of a figure for them."""

    columns: int
    n_maps: int
    shape: tuple[int, int]
    detail: tuple[int, int]

    @classmethod
    def of(cls, display):
        columns = 1 + len(display.images) + (display.truth is not None)
        shape = next(iter(display.images.values())).shape
        detail = tuple(part.stop - part.start for part in display._detail())
        return cls(columns, len(display._map_rows()), shape, detail)

    def _heights(self):
        """Of the rows, for a panel of width 1."""
        (height, width), (part_height, part_width) = self.shape, self.detail
        whole = height / width
        return [whole, part_height / part_width, *[whole] * self.n_maps]

    def arrange(self, spec):
        heights = self._heights()
        grid = spec.subgridspec(len(heights), self.columns, height_ratios=heights)
        return [grid[number] for number in range(len(heights) * self.columns)]

    @property
    def figsize(self):
        height, width = self.shape
        inches = min(_PANEL * np.sqrt(width / height), _WIDEST_PANEL)
        height = sum(self._heights()) * inches + 0.8 + self.n_maps * _MAP_WORDS
        return self.columns * (inches + 0.08) + 0.9, height


def _of_frames(scene, unit):
    """What a display says of a scene's frames."""
    values = ValueScale.of(scene, unit)
    clear = scene.qm
    (clearest,) = select_clearest(clear.sum(axis=(1, 2)), 1)
    return {
        "frame": values.values(scene.frames.read_lr([clearest])[0]),
        "frame_clear": clear[clearest],
        "n_clear": clear.sum(axis=0),
        "n_frames": len(scene),
        "unit": values.unit,
    }


def _of_images(scene, images, deviations, unit):
    """What a display says of images, and of their truth where that is known."""
    values = ValueScale.of(scene, unit)
    about: dict[str, Any] = {
        "images": {name: values.values(image) for name, image in images.items()},
        "deviations": {name: values.differences(x) for name, x in deviations.items()} or None,
    }
    if not scene.has_hr:
        return about
    hr, sm = scene.read_truth()
    errors = {}
    for name, image in images.items():
        error = error_map(image, hr, sm, border=_BORDER, data_range=scene.data_range)
        errors[name] = values.differences(np.pad(error, _BORDER, constant_values=np.nan))
    return about | {
        "truth": values.values(hr),
        "truth_clear": sm,
        "errors": errors,
        "scores": {
            name: (scene_cpsnr(image, scene), scene_score(image, scene))
            for name, image in images.items()
        },
    }


def _most_detail(image, clear):
    """Rows and columns of the part, shaped as the whole, whose clear pixels have most slope."""
    part = min(max(_DETAIL_PART, _LEAST_DETAIL / min(image.shape)), 1)
    height, width = (round(part * length) for length in image.shape)
    clear = np.ones(image.shape, bool) if clear is None else clear
    down, right = np.gradient(np.where(clear, image, 0).astype(np.float64))
    # Along the border of a cloud there is nothing but the cloud.
    known = uniform_filter(clear.astype(np.float64), 3) > 1 - 1e-9
    slopes = np.where(known, down**2 + right**2, 0)
    total = np.pad(slopes.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    below, above = total[height:], total[:-height]
    sums = below[:, width:] - below[:, :-width] - above[:, width:] + above[:, :-width]
    row, column = (int(start) for start in np.unravel_index(sums.argmax(), sums.shape))
    return slice(row, row + height), slice(column, column + width)


def _symmetric(maps):
    limit = float(np.nanpercentile(np.abs(np.stack(list(maps.values()))), 98)) or 1.0
    return {"cmap": "PuOr", "vmin": -limit, "vmax": limit}


def _positive(maps):
    low, high = np.nanpercentile(np.stack(list(maps.values())), [0.5, 99.5])
    return {"cmap": "viridis", "vmin": low, "vmax": max(high, 1.01 * low, 1e-6)}


def _mark(ax, rows, columns):
    from matplotlib.patches import Rectangle

    corner = (columns.start - 0.5, rows.start - 0.5)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    # Dark around bright, to be seen on any ground.
    for width, colour in ((2.6, "k"), (1.2, "w")):
        ax.add_patch(Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=width))


def _explain(text, axes):
    """Legend of hatched pixels, below the second panel or, if there is one, below its scale."""
    panel = axes[min(1, len(axes) - 1)]
    width, height = size_in_points(panel)
    below = 0 if len(axes) > 1 else _SCALE_HEIGHT / height
    panel.legend(
        handles=[unknown_patch(wrap_text(text, width - 24, 8))],
        loc="upper left",
        bbox_to_anchor=(0, -below),
        borderaxespad=0.4,
        borderpad=0,
        handlelength=1.4,
        frameon=False,
        fontsize=8,
    )
