"""Score against cost of the candidates of a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from ._base import Display
from ._drawing import COLOURS, label_points, label_text, style


@dataclass(kw_only=True, eq=False, repr=False)
class SearchDisplay(Display):
    """Score against cost of the candidates of a search; those that no cheaper one beats are named.

    Make one by `from_cv_results`. All parameters are stored as attributes.

    Parameters
    ----------
    costs : array of shape (n,)
        Seconds of each candidate.
    scores : array of shape (n,)
        Mean scores over the folds, greater is better; NaN where a candidate failed.
    score_deviations : array of shape (n,), default=None
        Standard deviations of the scores over the folds.
    labels : sequence of str, default=None
        Parameters that differ between candidates.
    score_name : str, default="score"
        Of the scores.
    cost_name : str, default="cost (s)"
        Of the costs.

    Attributes
    ----------
    points_ : matplotlib PathCollection
        All candidates that did not fail.
    front_ : int array
        Numbers of the candidates that no cheaper one beats, cheapest first.
    front_line_ : matplotlib Line2D
        The line through them.
    errorbars_ : matplotlib ErrorbarContainer or None
        One standard deviation of the folds to either side.
    texts_ : list of matplotlib Text
        Numbers and labels of candidates in a legend, those that no cheaper one beats first.
    {ax_}

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from probav_estimators import BicubicBaseline, make_scenes
    >>> from probav_estimators.displays import SearchDisplay
    >>> scenes = make_scenes(4, size=16, random_state=0)
    >>> search = GridSearchCV(BicubicBaseline(), {"scale": [None, 3]}, cv=2).fit(scenes)
    >>> display = SearchDisplay.from_cv_results(search.cv_results_)
    >>> len(display.labels)
    2
    """

    costs: NDArray[np.floating]
    scores: NDArray[np.floating]
    score_deviations: NDArray[np.floating] | None = None
    labels: Sequence[str] | None = None
    score_name: str = "score"
    cost_name: str = "cost (s)"

    @classmethod
    def from_cv_results(
        cls,
        cv_results: Mapping[str, Any],
        *,
        metric: str = "score",
        cost: Literal["fit", "score"] = "fit",
        score_name: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the results of a search.

        Parameters
        ----------
        cv_results : dict
            The `cv_results_` of a `GridSearchCV` or `RandomizedSearchCV`.
        metric : str, default="score"
            Which score; of a search with several, the name of one.
        cost : {"fit", "score"}, default="fit"
            Seconds to fit a candidate, or to predict and score.
        score_name : str, default=None
            Name of the score. None: `metric`.
        {to_plot}

        {returns}

        Raises
        ------
        ValueError
            If the results have no such score or cost, or every candidate failed.
        """
        if cost not in ("fit", "score"):
            raise ValueError(f"cost must be 'fit' or 'score', got {cost!r}")
        key = f"mean_test_{metric}"
        if key not in cv_results:
            known = [name.removeprefix("mean_test_") for name in cv_results]
            known = [name for name in known if f"mean_test_{name}" in cv_results]
            raise ValueError(f"cv_results has no score {metric!r}: metric is one of {known}")
        display = cls(
            costs=np.asarray(cv_results[f"mean_{cost}_time"], np.float64),
            scores=np.asarray(cv_results[key], np.float64),
            score_deviations=np.asarray(cv_results[f"std_test_{metric}"], np.float64),
            labels=_labels(cv_results["params"]),
            score_name=score_name or metric,
            cost_name={"fit": "time to fit (s)", "score": "time to score (s)"}[cost],
        )
        return display.plot(**kwargs)

    def plot(
        self, *, ax: Any = None, max_named: int = 8, name_all: bool = False, **kwargs: Any
    ) -> Self:
        """Draw the display.

        Parameters
        ----------
        {ax}
        max_named : int, default=8
            How many candidates to name at most; the best come first.
        name_all : bool, default=False
            Whether to name, after them, candidates that a cheaper one beats too.
        **kwargs : dict
            Passed to matplotlib's `scatter`.

        {returns}

        Raises
        ------
        ValueError
            If every candidate failed.
        """
        known = np.flatnonzero(np.isfinite(self.scores))
        if not len(known):
            raise ValueError("every candidate failed: there is no score to draw")
        self._single_axes(ax, (7.4, 5.2))
        self.front_ = _front(self.costs, self.scores, known)
        self._draw_points(known, kwargs)
        self.ax_.set_xscale("log")
        failed = len(self.scores) - len(known)
        cost, score = label_text(self.cost_name, width=250), label_text(self.score_name, width=200)
        self.ax_.set_xlabel(f"{cost}; {failed} candidates failed" if failed else cost)
        self.ax_.set_ylabel(f"{score} (greater is better)")
        self.ax_.margins(0.15)
        named = list(self.front_[::-1])
        if name_all:
            rest = np.setdiff1d(known, self.front_)
            named += list(rest[np.argsort(-self.scores[rest], kind="stable")])
        named = named[:max_named] if self.labels is not None else []
        points = [(self.costs[number], self.scores[number]) for number in named]
        self.texts_ = label_points(self.ax_, points, [self.labels[n] for n in named])  # type: ignore[index]
        self.ax_.legend(fontsize=8)
        return self

    def _draw_points(self, known, kwargs):
        costs, scores = self.costs[known], self.scores[known]
        self.errorbars_ = None
        if self.score_deviations is not None:
            self.errorbars_ = self.ax_.errorbar(
                costs, scores, self.score_deviations[known], fmt="none", ecolor="0.8", zorder=1,
                label="standard deviation of folds",
            )  # fmt: skip
        (self.front_line_,) = self.ax_.plot(
            self.costs[self.front_], self.scores[self.front_], drawstyle="steps-post",
            color=COLOURS[1], lw=1, zorder=2, label="best for its cost",
        )  # fmt: skip
        colours = np.where(np.isin(known, self.front_), COLOURS[1], COLOURS[0])
        options = style({"color": colours, "zorder": 3, "s": 28}, kwargs)
        self.points_ = self.ax_.scatter(costs, scores, **options)


def _front(costs, scores, known):
    """Candidates that are better than all that cost less or the same, cheapest first."""
    order = known[np.lexsort((-scores[known], costs[known]))]
    best = np.maximum.accumulate(scores[order])
    better = np.concatenate([[True], best[1:] > best[:-1]])
    return order[better]


def _labels(params):
    """Parameters that differ between candidates, with names as short as possible."""
    names = list(dict.fromkeys(name for row in params for name in row))
    varied = [name for name in names if len({repr(row.get(name)) for row in params}) > 1]
    last = [name.rpartition("__")[2] for name in varied]
    # A unique parameter needs no prefix of its step.
    short = {
        name: own if last.count(own) == 1 else name for name, own in zip(varied, last, strict=True)
    }
    return [
        ", ".join(f"{short[name]}={_short(row[name])}" for name in varied if name in row)
        for row in params
    ]


def _short(value):
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, type):
        return value.__name__
    return " ".join(str(value).split())
