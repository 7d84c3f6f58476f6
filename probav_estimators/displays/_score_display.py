"""Scores of scenes against the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..imaging import MAX_CPSNR
from ..prediction import class_name, predict_in_turn
from ..scenes import Scene, check_scenes
from ..scoring import scene_score
from ._base import Display
from ._drawing import COLOURS, MARKERS, label_points, label_text, style


@dataclass(kw_only=True, eq=False, repr=False)
class ScoreDisplay(Display):
    """Challenge score of every scene, over the baseline's cPSNR, by band; the worst are named.

    Make one by `from_estimator` or `from_predictions`. All parameters are stored as attributes.

    Parameters
    ----------
    scores : array of shape (n,)
        Challenge scores N / cPSNR.
    norms : array of shape (n,)
        N, the baseline's cPSNR in dB.
    bands : sequence of str or None, default=None
        Band of each scene.
    names : sequence of str or None, default=None
        Name of each scene.
    estimator_name : str, default=None
        Of the estimator.

    Attributes
    ----------
    points_ : dict of str to matplotlib PathCollection
        Points by band; "" where there is none.
    texts_ : list of matplotlib Text
        Numbers and names of the worst scenes in a legend, worst first.
    {ax_}

    See Also
    --------
    probav_estimators.probav_scorer : Mean over scenes.

    Examples
    --------
    >>> from probav_estimators import BicubicBaseline, make_scenes
    >>> from probav_estimators.displays import ScoreDisplay
    >>> scenes = make_scenes(4, size=32, random_state=0)
    >>> display = ScoreDisplay.from_estimator(BicubicBaseline().fit(scenes), scenes)
    >>> sorted(display.points_)
    ['NIR', 'RED']
    """

    scores: NDArray[np.floating]
    norms: NDArray[np.floating]
    bands: Sequence[str | None] | None = None
    names: Sequence[str | None] | None = None
    estimator_name: str | None = None

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Sequence[Scene], *, name: str | None = None, **kwargs: Any
    ) -> Self:
        """Predict scenes and draw their scores.

        Parameters
        ----------
        estimator : fitted estimator
            A net, a baseline, a pipeline or a search over such.
        X : list of Scene
            With HR images.
        {name}
        {to_plot}

        {returns}

        Raises
        ------
        ValueError
            If a scene has no HR image.
        """
        cls._require_matplotlib("from_estimator")
        scenes = check_scenes(X, "scoring", truth=True)
        name = class_name(estimator) if name is None else name
        return cls._of(predict_in_turn(estimator, scenes), scenes, name).plot(**kwargs)

    @classmethod
    def from_predictions(
        cls,
        X: Sequence[Scene],
        images: NDArray[Any] | Sequence[NDArray[Any]],
        *,
        name: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the scores of images of scenes.

        Parameters
        ----------
        X : list of Scene
            With HR images.
        {images_of_scenes}
        {name}
        {to_plot}

        {returns}

        Raises
        ------
        ValueError
            If a scene has no HR image, or there is not one image for each scene.
        """
        scenes = check_scenes(X, "scoring", truth=True)
        if len(images) != len(scenes):
            raise ValueError(f"got {len(images)} images of {len(scenes)} scenes: give one for each")
        return cls._of(images, scenes, name).plot(**kwargs)

    @classmethod
    def _of(cls, images, scenes, name):
        """Score images, which may be an iterator, one by one."""
        return cls(
            scores=np.array([scene_score(*pair) for pair in zip(images, scenes, strict=True)]),
            norms=np.array([min(scene.norm, MAX_CPSNR) for scene in scenes]),
            bands=[scene.band for scene in scenes],
            names=[scene.name for scene in scenes],
            estimator_name=name,
        )

    def plot(
        self, *, ax: Any = None, n_named: int = 3, name: str | None = None, **kwargs: Any
    ) -> Self:
        """Draw the display.

        Parameters
        ----------
        {ax}
        n_named : int, default=3
            How many of the worst scenes to name.
        {estimator_name}
        **kwargs : dict
            Passed to matplotlib's `scatter`.

        {returns}
        """
        ax = self._single_axes(ax, (6.4, 4.8))
        bands = ["" if band is None else band for band in self.bands or [None] * len(self.scores)]
        self.points_ = {}
        ax.axhline(1, color="0.3", lw=1, zorder=0, label="baseline")
        for number, band in enumerate(dict.fromkeys(bands)):
            chosen = np.array([other == band for other in bands])
            self.points_[band] = self._draw_band(band, chosen, number, kwargs)
        ax.set_xlabel("N: cPSNR of the baseline (dB)")
        ax.set_ylabel("score N / cPSNR (lower is better)")
        title = label_text((self.estimator_name if name is None else name) or "score", width=250)
        ax.set_title(f"{title}: mean {np.mean(self.scores):.4f}", fontsize=10)
        ax.margins(0.12)
        self.texts_ = self._name_worst(n_named)
        ax.legend(fontsize=8)
        return self

    def _draw_band(self, band, chosen, number, kwargs):
        scores = self.scores[chosen]
        colour = COLOURS[number % len(COLOURS)]
        count = "1 scene" if len(scores) == 1 else f"{len(scores)} scenes"
        label = f"{label_text(band) + ': ' if band else ''}mean {scores.mean():.4f}, {count}"
        options = {"color": colour, "marker": MARKERS[number % len(MARKERS)]}
        options |= {"alpha": 0.8, "label": label}
        self.ax_.axhline(scores.mean(), color=colour, lw=1, ls="--", zorder=0)
        return self.ax_.scatter(self.norms[chosen], scores, **style(options, kwargs))

    def _name_worst(self, n_named):
        worst = np.argsort(-np.asarray(self.scores), kind="stable")[:n_named]
        names = self.names or [None] * len(self.scores)
        labels = [names[i] or f"scene {i}" for i in worst]
        return label_points(self.ax_, [(self.norms[i], self.scores[i]) for i in worst], labels)
