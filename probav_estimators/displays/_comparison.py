"""Images of a scene side by side, with their scores and errors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias

import numpy as np

from ..baseline import BicubicBaseline
from ..imaging import Picture, check_grey_scale, scale_greys
from ..prediction import last_step, predict_scene
from ..scenes import COUNTS, Values
from ._compared_values import error_maps, frame_values, named_values, truth_values, with_baseline
from ._detail import find_detail
from ._drawing import (
    colour_bar,
    mark_window,
    panels,
    positive_scale,
    require_matplotlib,
    set_title,
    shade_clouds,
    show_image,
    show_map,
    size_in_points,
    symmetric_scale,
    unknown_patch,
    wrap_text,
)
from ._image_files import read_images, read_truth
from ._predictions import by_name, images_by_name, one_scene

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..scenes import Scene

    ImageOrPath: TypeAlias = NDArray[Any] | str | os.PathLike[str]

__all__ = ["ComparisonDisplay"]

# Size of a square panel in inches; other panels have the same area, up to a greatest width.
_PANEL = 2.0
_WIDEST_PANEL = 3.6
# Height of the title and the colour bar of a row of maps, and of a further line, in inches; height
# of a colour bar in points.
_MAP_MARGIN = 0.85
_LINE_HEIGHT = 0.155
_SCALE_HEIGHT = 42

_MAP_TITLES = {
    "n_clear": "clear frames",
    "errors": "error of {}",
    "deviations": "standard deviation of {}",
}


@dataclass(kw_only=True, eq=False, repr=False)
class ComparisonDisplay:
    """Images of a scene beside its clearest frame and its HR image, with errors of the images.

    Make one by `from_estimator`, `from_predictions` or, without frames, `from_images`. All
    parameters are stored as attributes.

    Parameters
    ----------
    images : dict of str to array of shape (H, W)
        Images by name, in values of `unit`, as are frame and truth.
    frame : array of shape (h, w), default=None
        The clearest frame.
    frame_clear : bool array of shape (h, w), default=None
        Where it is clear.
    n_clear : int array of shape (h, w), default=None
        How many frames are clear at each pixel. Needed with `frame`, as is `n_frames`.
    n_frames : int, default=None
        Number of frames.
    truth : array of shape (H, W), default=None
        HR image.
    truth_clear : bool array of shape (H, W), default=None
        Where the truth is clear.
    errors : dict of str to array of shape (H, W), default=None
        Truth minus image, without bias and shift; NaN where nothing is compared.
    deviations : dict of str to array of shape (H, W), default=None
        Standard deviations of some of the images.
    scores : dict of str to (float, float or None), default=None
        The cPSNR in dB and, if known, the challenge score of each image.
    grey_scale : {"auto", "common", "own", "truth"}, default="auto"
        Grey scale of images and details. "common": one for all. "own": one for each. "truth": that
        of the HR image, to whose mean each image is moved by a constant. "auto": "common" if
        levels do not differ; else "truth", or "own" without an HR image. Levels differ if the
        means of two panels are further apart than half of the widest range of a panel.
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
        Images, details, and, where there are any, errors and standard deviations. Columns: frame
        if there is one, images, truth if there is one. The standard deviations of one image alone
        are beside the errors, below the truth.
    bounding_ax_ : Axes or None
        The axes that the panels were drawn in the bounds of.
    figure_ : Figure
        The figure.

    See Also
    --------
    ScoreDisplay : Scores of many scenes.

    Notes
    -----
    A grey scale, and the range of a panel, is from the first to the 99th percentile of the clear
    pixels. Titles give the constant that is added to an image to move it to the truth's mean, and
    the limits of a scale of its own. Clouds are shaded. Pixels that the error does not compare are
    hatched: those that are clouded in the truth, or within three pixels of the edge.

    Examples
    --------
    >>> from probav_estimators import BicubicBaseline, make_scenes
    >>> from probav_estimators.displays import ComparisonDisplay
    >>> (scene,) = make_scenes(1, size=32, random_state=0)
    >>> display = ComparisonDisplay.from_estimator(BicubicBaseline(), scene)
    >>> display.axes_.shape
    (3, 3)
    """

    images: Mapping[str, NDArray[Any]]
    frame: NDArray[Any] | None = None
    frame_clear: NDArray[np.bool_] | None = None
    n_clear: NDArray[np.integer] | None = None
    n_frames: int | None = None
    truth: NDArray[Any] | None = None
    truth_clear: NDArray[np.bool_] | None = None
    errors: Mapping[str, NDArray[Any]] | None = None
    deviations: Mapping[str, NDArray[Any]] | None = None
    scores: Mapping[str, tuple[float, float | None]] | None = None
    grey_scale: str = "auto"
    detail: tuple[slice, slice] | None = None
    unit: str = "16-bit counts"
    title: str | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        scene: Scene,
        *,
        baseline: bool = True,
        grey_scale: str = "auto",
        **kwargs: Any,
    ) -> Self:
        """Predict a scene and draw the images.

        Parameters
        ----------
        estimator : fitted estimator, or dict of str to fitted estimator
            One, named by its class, or several by name. Those whose `predict` takes `return_std`
            also give standard deviations.
        scene : Scene
            With or without HR image.
        baseline : bool, default=True
            Whether to draw the challenge's baseline too. No second one is drawn beside a
            `BicubicBaseline`, or a pipeline that ends in one.
        grey_scale : {"auto", "common", "own", "truth"}, default="auto"
            See the parameters of the class.
        **kwargs : dict
            Passed to :meth:`from_predictions`.

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
        check_grey_scale(grey_scale, truth=scene.has_hr)
        estimators = by_name(estimator)
        images, deviations = {}, {}
        for name, one in estimators.items():
            images[name], deviation = predict_scene(one, scene, return_std=True)
            if deviation is not None:
                deviations[name] = deviation
        if any(isinstance(last_step(one), BicubicBaseline) for one in estimators.values()):
            baseline = False
        kwargs |= {"deviations": deviations, "baseline": baseline, "grey_scale": grey_scale}
        return cls.from_predictions(scene, images, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        scene: Scene,
        images: Any,
        *,
        deviations: Mapping[str, NDArray[Any]] | None = None,
        baseline: bool = True,
        grey_scale: str = "auto",
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
            Whether to draw the challenge's baseline too. No second one is drawn beside an image
            that equals it, or has the name "BicubicBaseline".
        grey_scale : {"auto", "common", "own", "truth"}, default="auto"
            See the parameters of the class.
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
            If images do not have the size of the scene's images.
        """
        require_matplotlib(f"{cls.__name__}.from_predictions")
        scene = one_scene(scene, cls.__name__)
        given = images_by_name(images, scene)
        if baseline:
            given = with_baseline(given, scene)
        values = Values.of(scene)
        about: dict[str, Any] = {"deviations": None}
        if deviations:
            about["deviations"] = {
                name: values.span * np.asarray(x) for name, x in deviations.items()
            }
        if scene.has_hr:
            hr, sm = scene.read_truth()
            about |= truth_values(
                given, hr, sm, values, norm=scene.norm, data_range=scene.data_range
            )
            about["errors"] = error_maps(given, hr, sm, values, data_range=scene.data_range)
        display = cls(
            images=named_values(given, values),
            **frame_values(scene, values, unit),
            **about,
            grey_scale=grey_scale,
            detail=detail,
            title=", ".join(filter(None, [scene.label, scene.band])),
        )
        return display.plot(ax=ax)

    @classmethod
    def from_images(
        cls,
        images: Mapping[str, ImageOrPath],
        *,
        hr: ImageOrPath | None = None,
        sm: ImageOrPath | None = None,
        norm: float | None = None,
        errors: bool = False,
        grey_scale: str = "auto",
        detail: tuple[slice, slice] | None = None,
        ax: Any = None,
    ) -> Self:
        """Draw images or PNG files side by side; no scene and no frames are needed.

        Parameters
        ----------
        images : dict of str to array of shape (H, W) or path
            Images by name: uint16, uint8 or float in [0, 1], or grey PNG files of 8 or 16 bits.
            They are drawn in 16-bit counts.
        hr : array of shape (H, W) or path, default=None
            HR image, which becomes the last panel; the others are given their cPSNR.
        sm : array of shape (H, W) or path, default=None
            Status map, True where `hr` is clear. None: everywhere.
        norm : float, default=None
            N in dB, to give the challenge score N / cPSNR too.
        errors : bool, default=False
            Whether to draw maps of the errors too.
        grey_scale : {"auto", "common", "own", "truth"}, default="auto"
            See the parameters of the class.
        detail : tuple of two slices, default=None
            Rows and columns in HR pixels to enlarge. None: those with most detail.
        ax : Axes or array of Axes, default=None
            Axes to draw in the bounds of, or one for each panel. None: a new figure.

        Returns
        -------
        ComparisonDisplay

        Raises
        ------
        FileNotFoundError
            If a file does not exist.
        ValueError
            If a file is not a grey PNG, values are no pixels, sizes differ, or `sm`, `norm`,
            `errors` or ``grey_scale="truth"`` is given without `hr`.

        Examples
        --------
        >>> import numpy as np
        >>> from probav_estimators.displays import ComparisonDisplay
        >>> hr = np.random.default_rng(0).integers(5000, 9000, (48, 48)).astype(np.uint16)
        >>> display = ComparisonDisplay.from_images({"bright": hr + np.uint16(40000)}, hr=hr)
        >>> display.axes_.shape
        (2, 2)
        """
        require_matplotlib(f"{cls.__name__}.from_images")
        check_grey_scale(grey_scale, truth=hr is not None)
        given = read_images(images)
        values = Values(COUNTS)
        about: dict[str, Any] = {}
        if hr is not None:
            truth = read_truth(hr, sm, given)
            about = truth_values(given, *truth, values, norm=norm)
            about["errors"] = error_maps(given, *truth, values) if errors else None
        elif sm is not None or norm is not None or errors:
            raise ValueError("sm, norm and errors need the HR image: give hr too, or none of them")
        display = cls(
            images=named_values(given, values), **about, grey_scale=grey_scale, detail=detail
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
        check_grey_scale(self.grey_scale, truth=self.truth is not None)
        grid = _Grid.of(self)
        axes, self.figure_, self.bounding_ax_ = panels(
            ax, grid.arrange, f"{type(self).__name__}.plot", grid.figsize, "compressed"
        )
        self.axes_ = np.array(axes, dtype=object).reshape(-1, grid.columns)
        titles = self._draw_images(*self.axes_[:2]) | self._draw_maps(self.axes_[2:])
        self._write_titles(titles, makes_room=ax is None)
        if self.errors:
            cells = zip(chain.from_iterable(_map_rows(self)), self.axes_[2:].flat, strict=True)
            explained = [axes for cell, axes in cells if cell and cell[0] == "errors"]
            _explain("cloud or edge", explained)
        if self.title and ax is None:
            self.figure_.suptitle(self.title)
        elif self.title:
            first = self.axes_[0, 0]
            first.set_ylabel(wrap_text(self.title, size_in_points(first)[1], 9), fontsize=9)
        return self

    def _draw_images(self, wholes, details):
        """Draw images and details; return the titles of the panels."""
        titles = {}
        shape = next(iter(self.images.values())).shape
        rows, columns = _detail(self)
        captions, pictures = zip(*self._columns(), strict=True)
        truth = pictures[-1] if self.truth is not None else None
        greys = scale_greys(pictures, self.grey_scale, truth, self.unit)
        for caption, (_, clear), grey, whole, part in zip(
            captions, pictures, greys, wholes, details, strict=True
        ):
            for axes in (whole, part):
                drawn = show_image(axes, grey.image, shape, **grey.options)
                if clear is not None:
                    shade_clouds(axes, clear, shape)
            part.set_xlim(columns.start - 0.5, columns.stop - 0.5)
            part.set_ylim(rows.stop - 0.5, rows.start - 0.5)
            mark_window(whole, rows, columns)
            shaded = clear is not None and not clear.all()
            titles[whole] = (*caption, grey.note, "shaded: clouded" if shaded else "")
        if len({grey.limits for grey in greys}) == 1:
            colour_bar(drawn, wholes[-1], self.unit, side="right")
        details[0].set_ylabel("detail", fontsize=9)
        return titles

    def _columns(self):
        """Captions and picture of each column."""
        columns = [(self._captions(name), Picture(image)) for name, image in self.images.items()]
        if self.frame is not None:
            caption = f"clearest of {self.n_frames} frames"
            columns.insert(0, ([caption], Picture(self.frame, self.frame_clear)))
        if self.truth is not None:
            columns.append((["HR image"], Picture(self.truth, self.truth_clear)))
        return columns

    def _write_titles(self, titles, *, makes_room):
        """Write titles; lines make the figure higher instead of the panels smaller."""
        if makes_room:
            # The widths of panels, and of their titles, follow from the layout.
            self.figure_.get_layout_engine().execute(self.figure_)
        for axes, lines in titles.items():
            set_title(axes, *lines)
        if makes_room:
            breaks = sum(max(axes.get_title().count("\n") for axes in row) for row in self.axes_)
            self.figure_.set_figheight(self.figure_.get_figheight() + breaks * _LINE_HEIGHT)

    def _captions(self, name):
        if self.scores is None or name not in self.scores:
            return [name]
        cpsnr, score = self.scores[name]
        return [name, f"{cpsnr:.2f} dB" + ("" if score is None else f", score {score:.4f}")]

    def _draw_maps(self, rows):
        """Draw counts of frames, and errors and standard deviations on one scale each.

        Returns the titles of the panels.
        """
        shape = next(iter(self.images.values())).shape
        styles = {"n_clear": {"cmap": "cividis", "vmin": 0, "vmax": self.n_frames}}
        if self.errors:
            styles["errors"] = symmetric_scale(self.errors.values())
        if self.deviations:
            styles["deviations"] = positive_scale(self.deviations.values())
        labels = {
            "n_clear": f"of {self.n_frames}",
            "errors": f"HR - SR, {self.unit}",
            "deviations": self.unit,
        }
        titles = {}
        for axes, cell in zip(rows.ravel(), chain.from_iterable(_map_rows(self)), strict=True):
            if cell is None:
                axes.set_axis_off()
                continue
            kind, name = cell
            values = getattr(self, kind)
            drawn = show_map(axes, values if name is None else values[name], shape, **styles[kind])
            titles[axes] = (_MAP_TITLES[kind].format(name),)
            if kind in labels:
                # One colour bar for each kind.
                colour_bar(drawn, axes, labels.pop(kind))
        return titles


def _map_rows(display):
    """Cells below the details: (kind, name of the image), or None if a panel stays empty."""
    errors, deviations = display.errors or {}, display.deviations or {}
    below_frame = [] if display.frame is None else [None]
    below_truth = [] if display.truth is None else [None]
    rows = [
        [
            *below_frame,
            *((kind, name) if name in maps else None for name in display.images),
            *below_truth,
        ]
        for kind, maps in (("errors", errors), ("deviations", deviations))
        if maps
    ]
    if len(rows) == 2 and below_truth and len(deviations) == 1:
        # Beside the errors, instead of a row for one map.
        rows = [[*rows[0][:-1], ("deviations", next(iter(deviations)))]]
    if rows and below_frame:
        rows[0][0] = ("n_clear", None)
    return rows


def _detail(display):
    if display.detail is not None:
        height, width = next(iter(display.images.values())).shape
        rows, columns = (
            slice(*part.indices(length))
            for part, length in zip(display.detail, (height, width), strict=True)
        )
        return rows, columns
    if display.truth is not None:
        return find_detail(display.truth, display.truth_clear)
    *_, last = display.images.values()
    return find_detail(last)


class _Grid(NamedTuple):
    """Rows and columns of the panels of a comparison, and the size of a figure for them."""

    columns: int
    n_maps: int
    shape: tuple[int, int]
    detail: tuple[int, int]

    @classmethod
    def of(cls, display):
        columns = len(display._columns())
        shape = next(iter(display.images.values())).shape
        detail = tuple(part.stop - part.start for part in _detail(display))
        return cls(columns, len(_map_rows(display)), shape, detail)

    def _heights(self):
        """Heights of the rows, for panels of width 1."""
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
        height = sum(self._heights()) * inches + 0.8 + self.n_maps * _MAP_MARGIN
        return self.columns * (inches + 0.08) + 0.9, height


def _explain(text, axes):
    """Draw the legend of hatched pixels, below the second panel or below the colour bar of one."""
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
