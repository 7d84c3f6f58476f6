"""Calibration of standard deviations: observed against nominal coverage of the errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ..metrics import coverage
from ..prediction import class_name, predict_scene, takes_return_std
from ..scenes import Scene, check_scenes
from ..scoring import standardized_errors
from ._base import Display
from ._drawing import COLOURS, label_text, style


@dataclass(kw_only=True, eq=False, repr=False)
class CalibrationDisplay(Display):
    """Part of the errors that standard deviations cover, against what they should cover.

    Make one by `from_estimator` or `from_predictions`. All parameters are stored as attributes.

    Parameters
    ----------
    nominal : array of shape (n,)
        Parts that should be covered.
    observed : array of shape (n,)
        Parts that are covered, of all pixels together.
    observed_by_scene : array of shape (scenes, n), default=None
        The same of each scene.
    estimator_name : str, default=None
        Of the estimator.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The curve.
    spread_ : matplotlib PolyCollection or None
        From the least to the greatest of the scenes.
    {ax_}

    See Also
    --------
    probav_estimators.metrics.coverage : The definition.

    Notes
    -----
    Below the diagonal, deviations are too small: fewer errors are covered than nominal.

    Examples
    --------
    >>> import numpy as np
    >>> from probav_estimators.displays import CalibrationDisplay
    >>> display = CalibrationDisplay(nominal=np.array([0.5, 0.9]), observed=np.array([0.4, 0.8]))
    >>> display.plot().line_.get_ydata()
    array([0.4, 0.8])
    """

    #: Nominal coverages that are drawn by default; the last is that of three standard deviations.
    default_levels: ClassVar[tuple[float, ...]] = (
        *np.arange(0.05, 1, 0.05).round(2).tolist(),
        0.9973,
    )

    nominal: NDArray[np.floating]
    observed: NDArray[np.floating]
    observed_by_scene: NDArray[np.floating] | None = None
    estimator_name: str | None = None

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Sequence[Scene], *, name: str | None = None, **kwargs: Any
    ) -> Self:
        """Predict scenes and draw the coverage of their standard deviations.

        Parameters
        ----------
        estimator : fitted estimator
            Whose `predict` takes `return_std`, as FusionNet's does, or a pipeline that ends in it.
        X : list of Scene
            With HR images; none that the estimator was trained or calibrated on.
        {name}
        {to_plot}

        {returns}

        Raises
        ------
        ValueError
            If the estimator gives no standard deviations, or a scene has no HR image.
        """
        cls._require_matplotlib("from_estimator")
        scenes = check_scenes(X, "scoring", truth=True)
        if not takes_return_std(estimator):
            raise ValueError(
                f"{class_name(estimator)} gives no standard deviations (its predict takes no "
                "return_std): use FusionNet"
            )
        name = class_name(estimator) if name is None else name

        def coverage_of(scene):
            image, std = predict_scene(estimator, scene, return_std=True)
            return cls.coverage_of(image, std, scene)

        return cls.from_coverage(map(coverage_of, scenes), name=name).plot(**kwargs)

    @classmethod
    def from_predictions(
        cls,
        X: Sequence[Scene],
        images: NDArray[Any] | Sequence[NDArray[Any]],
        deviations: NDArray[Any] | Sequence[NDArray[Any]],
        *,
        name: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the coverage of the standard deviations of images.

        Parameters
        ----------
        X : list of Scene
            With HR images.
        {images_of_scenes}
        deviations : array of shape (n, H, W) or list of arrays
            Their standard deviations.
        {name}
        {to_plot}

        {returns}

        Raises
        ------
        ValueError
            If a scene has no HR image, or there is not one image and map for each scene.
        """
        scenes = check_scenes(X, "scoring", truth=True)
        if not len(scenes) == len(images) == len(deviations):
            raise ValueError(
                f"got {len(images)} images and {len(deviations)} maps of deviations of "
                f"{len(scenes)} scenes: give one of each for each scene"
            )
        covered = map(cls.coverage_of, images, deviations, scenes)
        return cls.from_coverage(covered, name=name).plot(**kwargs)

    @classmethod
    def coverage_of(
        cls, image: NDArray[Any], std: NDArray[Any], scene: Scene
    ) -> tuple[NDArray[np.floating], int]:
        """Coverage of the errors of an image at the default levels, and number of errors."""
        errors = standardized_errors(image, std, scene)
        return coverage(errors, np.ones_like(errors), cls.default_levels), len(errors)

    @classmethod
    def from_coverage(
        cls, covered: Iterable[tuple[NDArray[np.floating], int]], *, name: str | None = None
    ) -> Self:
        """Combine the results of `coverage_of` of several scenes, each pixel with one weight."""
        by_scene, n_errors = zip(*covered, strict=True)
        return cls(
            nominal=np.array(cls.default_levels),
            observed=np.average(by_scene, axis=0, weights=n_errors),
            observed_by_scene=np.stack(by_scene),
            estimator_name=name,
        )

    def plot(
        self, *, ax: Any = None, name: str | None = None, ref_line: bool = True, **kwargs: Any
    ) -> Self:
        """Draw the display.

        Parameters
        ----------
        {ax}
        {estimator_name}
        ref_line : bool, default=True
            Whether to draw the diagonal.
        **kwargs : dict
            Passed to matplotlib's `plot`.

        {returns}
        """
        ax = self._single_axes(ax, (5.2, 5.2))
        known = ax.get_legend_handles_labels()[1]
        if ref_line and "calibrated" not in known:
            ax.plot([0, 1], [0, 1], ":", color="0.3", label="calibrated")
        # One colour for each display in the same axes.
        number = len(ax.lines) - ("calibrated" in known or ref_line)
        name = (self.estimator_name if name is None else name) or "observed"
        options = {"color": COLOURS[number % len(COLOURS)], "marker": "o", "markersize": 4}
        options["label"] = label_text(name)
        (self.line_,) = ax.plot(self.nominal, self.observed, **style(options, kwargs))
        self.spread_ = self._draw_spread()
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        ax.set_xlabel("nominal coverage")
        ax.set_ylabel("observed coverage")
        ax.legend(loc="upper left", fontsize=8)
        return self

    def _draw_spread(self):
        scenes = self.observed_by_scene
        if scenes is None or len(scenes) < 2:
            return None
        bounds = scenes.min(axis=0), scenes.max(axis=0)
        options = {"color": self.line_.get_color(), "alpha": 0.15, "lw": 0}
        # One legend entry for the spreads of all displays in the same axes.
        label = f"from least to greatest of {len(scenes)} scenes"
        if label in self.ax_.get_legend_handles_labels()[1]:
            label = "_"
        return self.ax_.fill_between(self.nominal, *bounds, label=label, **options)
