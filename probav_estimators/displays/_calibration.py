"""Calibration of standard deviations: observed against nominal coverage of the errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from ..metrics import coverage
from ..prediction import class_name, predict_scene, takes_return_std
from ..scenes import check_scenes
from ..scoring import standardized_errors
from ._drawing import COLOURS, require_matplotlib, single_axes, style

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..scenes import Scene

__all__ = ["CalibrationDisplay"]

#: Nominal coverage that is drawn; the last point is that of three standard deviations.
_LEVELS = (*np.arange(0.05, 1, 0.05).round(2).tolist(), 0.9973)


@dataclass(kw_only=True, eq=False, repr=False)
class CalibrationDisplay:
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
    ax_ : Axes
        Axes with the curve.
    figure_ : Figure
        The figure.

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

    #: Nominal coverages that are drawn by default.
    default_levels: ClassVar[tuple[float, ...]] = _LEVELS

    nominal: NDArray[np.floating]
    observed: NDArray[np.floating]
    observed_by_scene: NDArray[np.floating] | None = None
    estimator_name: str | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Sequence[Scene],
        *,
        name: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Predict scenes and draw the coverage of their standard deviations.

        Parameters
        ----------
        estimator : fitted estimator
            Whose `predict` takes `return_std`, as FusionNet's does, or a pipeline that ends in it.
        X : list of Scene
            With HR images; none that the estimator was trained or calibrated on.
        name : str, default=None
            Of the estimator. None: its class.
        **kwargs : dict
            Passed to :meth:`from_predictions`.

        Returns
        -------
        CalibrationDisplay

        Raises
        ------
        ValueError
            If the estimator gives no standard deviations, or a scene has no HR image.
        """
        require_matplotlib(f"{cls.__name__}.from_estimator")
        scenes = check_scenes(X, "scoring", truth=True)
        if not takes_return_std(estimator):
            raise ValueError(
                f"{class_name(estimator)} gives no standard deviations (its predict takes no "
                "return_std): use FusionNet"
            )
        predictions: Any = [predict_scene(estimator, scene, return_std=True) for scene in scenes]
        images, stds = zip(*predictions, strict=True)
        name = class_name(estimator) if name is None else name
        return cls.from_predictions(scenes, images, stds, name=name, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        X: Sequence[Scene],
        images: NDArray[Any] | Sequence[NDArray[Any]],
        deviations: NDArray[Any] | Sequence[NDArray[Any]],
        *,
        levels: Sequence[float] = _LEVELS,
        name: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the coverage of the standard deviations of images.

        Parameters
        ----------
        X : list of Scene
            With HR images.
        images : array of shape (n, H, W) or list of arrays
            One image for each scene, in [0, 1].
        deviations : array of shape (n, H, W) or list of arrays
            Their standard deviations.
        levels : sequence of float, default=0.05 to 0.95, and 0.9973
            Parts that should be covered, between 0 and 1.
        name : str, default=None
            Of the estimator.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        CalibrationDisplay

        Raises
        ------
        ValueError
            If a scene has no HR image, or there is not one image and map for each scene.
        """
        require_matplotlib(f"{cls.__name__}.from_predictions")
        scenes = check_scenes(X, "scoring", truth=True)
        if not len(scenes) == len(images) == len(deviations):
            raise ValueError(
                f"got {len(images)} images and {len(deviations)} maps of deviations of "
                f"{len(scenes)} scenes: give one of each for each scene"
            )
        triples = zip(images, deviations, scenes, strict=True)
        errors = [standardized_errors(*triple) for triple in triples]

        def covered(values):
            return coverage(values, np.ones_like(values), levels)

        display = cls(
            nominal=np.asarray(levels, np.float64),
            observed=covered(np.concatenate(errors)),
            observed_by_scene=np.stack([covered(values) for values in errors]),
            estimator_name=name,
        )
        return display.plot(**kwargs)

    def plot(
        self, *, ax: Any = None, name: str | None = None, ref_line: bool = True, **kwargs: Any
    ) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : Axes, default=None
            Axes to draw in; several displays may share one. None: a new figure.
        name : str, default=None
            Of the curve. None: `estimator_name`.
        ref_line : bool, default=True
            Whether to draw the diagonal.
        **kwargs : dict
            Passed to matplotlib's `plot`.

        Returns
        -------
        CalibrationDisplay
            Itself.
        """
        self.ax_ = single_axes(ax, f"{type(self).__name__}.plot", (5.2, 5.2))
        self.figure_ = self.ax_.figure
        known = self.ax_.get_legend_handles_labels()[1]
        if ref_line and "calibrated" not in known:
            self.ax_.plot([0, 1], [0, 1], ":", color="0.3", label="calibrated")
        # One colour for each display in the same axes.
        number = len(self.ax_.lines) - ("calibrated" in known or ref_line)
        options: dict[str, Any] = {"color": COLOURS[number % len(COLOURS)], "marker": "o"}
        name = self.estimator_name if name is None else name
        options |= {"markersize": 4, "label": name or "observed"}
        (self.line_,) = self.ax_.plot(self.nominal, self.observed, **style(options, kwargs))
        self.spread_ = self._draw_spread()
        self.ax_.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        self.ax_.set_xlabel("nominal coverage")
        self.ax_.set_ylabel("observed coverage")
        self.ax_.legend(loc="upper left", fontsize=8)
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
