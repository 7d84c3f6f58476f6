"""Images of a scene side by side, with their scores and errors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..baseline import BicubicBaseline
from ..imaging import (
    MAX_CPSNR,
    Picture,
    challenge_score,
    check_grey_scale,
    check_norm,
    error_map,
    finite_cpsnr,
    scale_greys,
    select_clearest,
)
from ..names import printable
from ..prediction import last_step, predict_parts, predict_scene, takes_return_parts
from ..scenes import COUNTS, Scene, Values
from ._arguments import by_name, find_detail, images_by_name, one_scene, read_images
from ._base import Display
from ._drawing import (
    colour_bar,
    label_text,
    mark_window,
    positive_scale,
    set_title,
    shade_clouds,
    show_image,
    show_map,
    size_in_points,
    symmetric_scale,
)

ImageOrPath: TypeAlias = NDArray[Any] | str | os.PathLike[str]

_BASELINE = "BicubicBaseline"

# Greatest shift between image and truth, in HR pixels, as in the score.
_BORDER = 3

# Size of a square panel in inches; other panels have the same area, up to a greatest width.
_PANEL = 2.0
_WIDEST_PANEL = 3.6
# Height of the title and the colour bar of a row of maps, and of a further line, in inches.
_MAP_MARGIN = 0.85
_LINE_HEIGHT = 0.155

_MAP_TITLES = {
    "n_clear": "clear frames",
    "errors": "error of {}",
    "deviations": "standard deviation of {}",
    "measured_shares": "measured share of {}",
}


@dataclass(kw_only=True, eq=False, repr=False)
class ComparisonDisplay(Display):
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
    measured_shares : dict of str to array of shape (H, W), default=None
        Share of the prior's variance that the frames took away, from 0 (supposed) to 1 (measured),
        of some of the images.
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
        Images, details, and, where there are any, errors, standard deviations and measured shares.
        Columns: frame if there is one, images, truth if there is one. The standard deviations of
        one image alone are beside the errors, below the truth.
    {panels_}

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
    measured_shares: Mapping[str, NDArray[Any]] | None = None
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
        measured_share: bool = False,
        grey_scale: str = "auto",
        **kwargs: Any,
    ) -> Self:
        """Predict a scene and draw the images.

        Parameters
        ----------
        {estimators}
            Those whose `predict` takes `return_std` also give standard deviations.
        scene : Scene
            With or without HR image.
        {baseline}
            No second one is drawn beside a `BicubicBaseline`, or a pipeline that ends in one.
        measured_share : bool, default=False
            Whether to draw the measured shares of estimators whose `predict` takes `return_parts`.
        {grey_scale}
        {to_predictions}

        {returns}

        Raises
        ------
        ValueError
            If an estimator does not give one image of the scene, or `measured_share` is True and
            none gives measured shares.
        """
        cls._require_matplotlib("from_estimator")
        scene = one_scene(scene, cls.__name__)
        check_grey_scale(grey_scale, truth=scene.has_hr)
        estimators = by_name(estimator)
        if measured_share and not any(map(takes_return_parts, estimators.values())):
            raise ValueError(
                f"none of {', '.join(map(printable, estimators))} gives measured shares: leave "
                "measured_share out, or add a FusionNet"
            )
        images, deviations = {}, {}
        shares: dict[str, NDArray[Any]] = {}
        for name, one in estimators.items():
            if measured_share:
                images[name], deviation, parts = predict_parts(one, scene, return_std=True)
                if parts is not None:
                    shares[name] = parts.measured_share
            else:
                images[name], deviation = predict_scene(one, scene, return_std=True)
            if deviation is not None:
                deviations[name] = deviation
        if any(isinstance(last_step(one), BicubicBaseline) for one in estimators.values()):
            baseline = False
        kwargs |= {"deviations": deviations, "measured_shares": shares}
        kwargs |= {"baseline": baseline, "grey_scale": grey_scale}
        return cls.from_predictions(scene, images, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        scene: Scene,
        images: Any,
        *,
        deviations: Mapping[str, NDArray[Any]] | None = None,
        measured_shares: Mapping[str, NDArray[Any]] | None = None,
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
        {images}
        deviations : dict of str to array of shape (H, W), default=None
            Standard deviations of some of the images.
        measured_shares : dict of str to array of shape (H, W), default=None
            Measured shares of some of the images, as of
            :class:`~probav_estimators.architectures.ImageParts`.
        {baseline}
            No second one is drawn beside an image that equals it, or has the name
            "BicubicBaseline".
        {grey_scale}
        {detail}
        unit : str, default=None
            Of the scene's values. None: 16-bit counts, or the scene's `value_range`.
        {ax}

        {returns}

        Raises
        ------
        ValueError
            If images do not have the size of the scene's images.
        """
        scene = one_scene(scene, cls.__name__)
        given = images_by_name(images, scene)
        values = Values.of(scene)
        clear = scene.qm
        (clearest,) = select_clearest(clear.sum(axis=(1, 2)), 1)
        display = cls._compare(
            _with_baseline(given, scene) if baseline else given,
            scene.read_truth() if scene.has_hr else None,
            values,
            norm=scene.norm,
            data_range=scene.data_range,
            frame=values.to_physical(scene.frames.read_pixels([clearest])[0]),
            frame_clear=clear[clearest],
            n_clear=clear.sum(axis=0),
            n_frames=len(scene),
            deviations=deviations
            and {name: values.span * np.asarray(std) for name, std in deviations.items()},
            measured_shares=measured_shares,
            unit=unit or values.unit,
            grey_scale=grey_scale,
            detail=detail,
            title=", ".join(str(part) for part in (scene.label, scene.band) if part),
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
        {grey_scale}
        {detail}
        {ax}

        {returns}

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
        check_grey_scale(grey_scale, truth=hr is not None)
        if hr is None and (sm is not None or norm is not None or errors):
            raise ValueError("sm, norm and errors need the HR image: give hr too, or none of them")
        given, truth = read_images(images, hr, sm)
        display = cls._compare(
            given, truth, Values(COUNTS), norm=norm, grey_scale=grey_scale, detail=detail
        )
        if not errors:
            display.errors = None
        return display.plot(ax=ax)

    @classmethod
    def _compare(cls, images, truth, values, *, norm, data_range=None, **given):
        """Compare images with pixels in [0, 1] with the HR image and status map, or None."""
        if truth is not None:
            if norm is not None:
                check_norm(norm)
            hr, sm = truth
            options = {"border": _BORDER, "data_range": data_range}
            scores, errors = {}, {}
            for name, image in images.items():
                cpsnr = finite_cpsnr(image, hr, sm, **options)
                scores[name] = cpsnr, None if norm is None else _score(norm, cpsnr)
                error = error_map(image, hr, sm, **options)
                errors[name] = values.span * np.pad(error, _BORDER, constant_values=np.nan)
            given |= {"truth": values.to_physical(hr), "truth_clear": sm}
            given |= {"scores": scores, "errors": errors}
        return cls(
            images={name: values.to_physical(image) for name, image in images.items()}, **given
        )

    def plot(self, *, ax: Any = None) -> Self:
        check_grey_scale(self.grey_scale, truth=self.truth is not None)
        columns, maps, detail = self._columns(), _map_rows(self), _find_window(self)
        height, width = next(iter(self.images.values())).shape
        # Heights of the rows, for panels of width 1.
        whole = height / width
        part = np.divide(*(window.stop - window.start for window in detail))
        heights = [whole, part, *[whole] * len(maps)]

        def arrange(spec):
            grid = spec.subgridspec(len(heights), len(columns), height_ratios=heights)
            return [grid[number] for number in range(len(heights) * len(columns))]

        inches = min(_PANEL / np.sqrt(whole), _WIDEST_PANEL)
        figsize = (
            len(columns) * (inches + 0.08) + 0.9,
            sum(heights) * inches + 0.8 + len(maps) * _MAP_MARGIN,
        )
        axes = self._panels(ax, arrange, figsize, "compressed")
        self.axes_ = axes.reshape(len(heights), len(columns))
        self._draw_images(columns, detail)
        self._draw_maps([cell for row in maps for cell in row])
        if ax is None:
            # Titles of several lines make the figure higher instead of the panels smaller.
            breaks = sum(max(axes.get_title().count("\n") for axes in row) for row in self.axes_)
            self.figure_.set_figheight(self.figure_.get_figheight() + breaks * _LINE_HEIGHT)
        if self.title and ax is None:
            width = 60 * self.figure_.get_figwidth()
            self.figure_.suptitle(label_text(self.title, width=width, fontsize=12))
        elif self.title:
            first = self.axes_[0, 0]
            text = label_text(self.title, width=size_in_points(first)[1], fontsize=9)
            first.set_ylabel(text, fontsize=9)
        return self

    def _columns(self):
        """Title and picture of each column."""
        columns = []
        if self.frame is not None:
            title = f"clearest of {self.n_frames} frames"
            columns.append(([title], Picture(self.frame, self.frame_clear)))
        for name, image in self.images.items():
            title = [name]
            if self.scores and name in self.scores:
                cpsnr, score = self.scores[name]
                title.append(f"{cpsnr:.2f} dB" + ("" if score is None else f", score {score:.4f}"))
            columns.append((title, Picture(image)))
        if self.truth is not None:
            columns.append((["HR image"], Picture(self.truth, self.truth_clear)))
        return columns

    def _draw_images(self, columns, detail):
        shape = next(iter(self.images.values())).shape
        titles, pictures = zip(*columns, strict=True)
        truth = pictures[-1] if self.truth is not None else None
        greys = scale_greys(pictures, self.grey_scale, truth, self.unit)
        wholes, parts = self.axes_[:2]
        for title, (_, clear), grey, whole, part in zip(
            titles, pictures, greys, wholes, parts, strict=True
        ):
            for axes in (whole, part):
                drawn = show_image(axes, grey.image, shape, **grey.options)
                if clear is not None:
                    shade_clouds(axes, clear, shape)
            rows, columns = detail
            part.set_xlim(columns.start - 0.5, columns.stop - 0.5)
            part.set_ylim(rows.stop - 0.5, rows.start - 0.5)
            mark_window(whole, rows, columns)
            shaded = clear is not None and not clear.all()
            set_title(whole, *title, grey.note, "shaded: clouded" if shaded else "")
        if len({grey.limits for grey in greys}) == 1:
            colour_bar(drawn, wholes[-1], self.unit, side="right")
        parts[0].set_ylabel("detail", fontsize=9)

    def _draw_maps(self, cells):
        """Draw counts of frames, and each kind of map on one scale."""
        shape = next(iter(self.images.values())).shape
        styles = {"n_clear": {"cmap": "cividis", "vmin": 0, "vmax": self.n_frames}}
        if self.errors:
            styles["errors"] = symmetric_scale(self.errors.values())
        if self.deviations:
            styles["deviations"] = positive_scale(self.deviations.values())
        if self.measured_shares:
            styles["measured_shares"] = {"cmap": "viridis", "vmin": 0, "vmax": 1}
        labels = {
            "n_clear": f"of {self.n_frames}",
            "errors": f"HR - SR, {self.unit}; hatched: cloud or edge",
            "deviations": self.unit,
            "measured_shares": "0: supposed, 1: measured",
        }
        for axes, cell in zip(self.axes_[2:].flat, cells, strict=True):
            if cell is None:
                axes.set_axis_off()
                continue
            kind, name = cell
            values = getattr(self, kind)
            drawn = show_map(axes, values if name is None else values[name], shape, **styles[kind])
            set_title(axes, _MAP_TITLES[kind].format(printable(name)))
            if kind in labels:
                # One colour bar for each kind.
                colour_bar(drawn, axes, labels.pop(kind))


def _map_rows(display):
    """Cells below the details: (kind, name of the image), or None if a panel stays empty."""
    below_frame = [] if display.frame is None else [None]
    below_truth = [] if display.truth is None else [None]
    rows = []
    for kind in ("errors", "deviations", "measured_shares"):
        maps = getattr(display, kind) or {}
        cells = [(kind, name) if name in maps else None for name in display.images]
        if maps:
            rows.append([*below_frame, *cells, *below_truth])
    if display.errors and below_truth and len(display.deviations or ()) == 1:
        # Beside the errors, instead of a row for one map.
        rows[:2] = [[*rows[0][:-1], ("deviations", next(iter(display.deviations)))]]
    if rows and below_frame:
        rows[0][0] = ("n_clear", None)
    return rows


def _find_window(display):
    """Rows and columns of the detail."""
    if display.detail is None:
        if display.truth is not None:
            return find_detail(display.truth, display.truth_clear)
        return find_detail(list(display.images.values())[-1])
    shape = next(iter(display.images.values())).shape
    pairs = zip(display.detail, shape, strict=True)
    return tuple(slice(*part.indices(length)) for part, length in pairs)


def _with_baseline(images, scene):
    """Add the baseline in front of images of a scene, unless one of them is the baseline."""
    if _BASELINE in images:
        return images
    scale = next(iter(images.values())).shape[0] // scene.shape[0]
    baseline = BicubicBaseline(scale).predict([scene])[0]
    # A baseline that was read from a 16-bit file is rounded.
    if any(np.abs(image - baseline).max() < 1 / 65535 for image in images.values()):
        return images
    return {_BASELINE: baseline} | images


def _score(norm, cpsnr):
    """Score of an image, with that of an image equal to the truth finite."""
    return float(challenge_score(min(norm, MAX_CPSNR), cpsnr))
