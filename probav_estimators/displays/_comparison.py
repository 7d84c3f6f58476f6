"""A scene, what estimators made of it, and where they err."""

from __future__ import annotations

from collections.abc import Mapping
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
_PANEL = 2.7
_WIDEST_PANEL = 4.5

_BASELINE = "BicubicBaseline"


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
        images, truth if there is one.
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
        self.axes_ = np.array(axes, dtype=object).reshape(len(grid.rows), grid.columns)
        self._draw_images(dict(zip(grid.rows, self.axes_, strict=True)))
        for kind, row in zip(grid.rows[2:], self.axes_[2:], strict=True):
            self._draw_maps(kind, row)
        if len(self.axes_) > 2:
            self._draw_counts(self.axes_[2, 0])
        if self.title and ax is None:
            self.figure_.suptitle(self.title)
        elif self.title:
            first = self.axes_[0, 0]
            first.set_ylabel(wrap_text(self.title, size_in_points(first)[1], 9), fontsize=9)
        return self

    def _draw_images(self, rows):
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
            pictures, pictures.values(), rows["images"], rows["detail"], strict=True
        ):
            for axes in (whole, part):
                drawn = show_image(axes, picture, shape, **grey)
                if masks.get(name) is not None:
                    shade_clouds(axes, masks[name], shape)
            part.set_xlim(columns.start - 0.5, columns.stop - 0.5)
            part.set_ylim(rows_.stop - 0.5, rows_.start - 0.5)
            _mark(whole, rows_, columns)
            shaded = masks.get(name) is not None and not masks[name].all()
            set_title(whole, *self._captions(name), "shaded: clouded" if shaded else "")
            if whole is rows["images"][-1]:
                colour_bar(drawn, whole, "", self.unit)
        rows["detail"][0].set_ylabel("detail", fontsize=9)

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

    def _draw_maps(self, kind, row):
        """Errors or standard deviations of the images, on one scale."""
        maps: Any = self.errors if kind == "errors" else self.deviations
        shape = next(iter(self.images.values())).shape
        scale = _symmetric(maps) if kind == "errors" else _positive(maps)
        label = "HR - SR" if kind == "errors" else "standard deviation"
        drawn_in = []
        for name, axes in zip(["", *self.images, ""], row, strict=False):
            if name in maps:
                drawn = show_map(axes, maps[name], shape, **scale)
                drawn_in.append(axes)
            else:
                axes.set_axis_off()
        # Beside an empty panel there is room enough.
        last = drawn_in[-1]
        colour_bar(drawn, last, label, self.unit, makes_room=last is row[-1])
        if kind == "errors":
            _explain(drawn_in[0], "cloud or edge")

    def _draw_counts(self, ax):
        """How many frames show each pixel."""
        shape = next(iter(self.images.values())).shape
        ax.set_axis_on()
        drawn = show_image(ax, self.n_clear, shape, cmap="cividis", vmin=0, vmax=self.n_frames)
        colour_bar(drawn, ax, "clear frames", side="left")

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

    rows: list[str]
    columns: int
    shape: tuple[int, int]
    detail: tuple[int, int]

    @classmethod
    def of(cls, display):
        rows = ["images", "detail"]
        rows += [name for name in ("errors", "deviations") if getattr(display, name)]
        columns = 1 + len(display.images) + (display.truth is not None)
        shape = next(iter(display.images.values())).shape
        detail = tuple(part.stop - part.start for part in display._detail())
        return cls(rows, columns, shape, detail)

    def _heights(self):
        """Of the rows, for a panel of width 1."""
        (height, width), (part_height, part_width) = self.shape, self.detail
        whole = height / width
        return [part_height / part_width if row == "detail" else whole for row in self.rows]

    def arrange(self, spec):
        grid = spec.subgridspec(len(self.rows), self.columns, height_ratios=self._heights())
        return [grid[number] for number in range(len(self.rows) * self.columns)]

    @property
    def figsize(self):
        height, width = self.shape
        inches = min(_PANEL * np.sqrt(width / height), _WIDEST_PANEL)
        return self.columns * inches + 1.2, sum(self._heights()) * inches + 1.0


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
    limit = float(np.nanpercentile(np.abs(np.stack(list(maps.values()))), 99.5)) or 1.0
    return {"cmap": "PuOr", "vmin": -limit, "vmax": limit}


def _positive(maps):
    low, high = np.nanpercentile(np.stack(list(maps.values())), [0.5, 99.5])
    return {"cmap": "viridis", "vmin": low, "vmax": high if high > low else low + 1e-6}


def _mark(ax, rows, columns):
    from matplotlib.patches import Rectangle

    corner = (columns.start - 0.5, rows.start - 0.5)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    # Dark around bright, to be seen on any ground.
    for width, colour in ((2.6, "k"), (1.2, "w")):
        ax.add_patch(Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=width))


def _explain(ax, text):
    """Legend of hatched pixels, below a panel and no wider than it."""
    patch = unknown_patch(wrap_text(text, size_in_points(ax)[0] - 24, 8))
    ax.legend(
        handles=[patch],
        loc="upper left",
        bbox_to_anchor=(0, 0),
        borderaxespad=0.4,
        borderpad=0,
        handlelength=1.4,
        frameon=False,
        fontsize=8,
    )
