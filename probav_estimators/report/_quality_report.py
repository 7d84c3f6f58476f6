"""Quality report: figures of an estimator's predictions, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..prediction import Predictor
from ..scenes import Scene, check_scenes
from ._figures import FIGURES, Figure
from ._measuring import AlignedFrames, finite_mean, measure_estimator
from ._templates import render

if TYPE_CHECKING:
    import pandas as pd

# Scenes in the table of a notebook.
_N_SHOWN = 20

# Longest name of an estimator; others are named by their class.
_LONGEST_NAME = 100


@dataclass(frozen=True)
class QualityReport:
    """Result of :func:`quality_report`.

    Attributes
    ----------
    estimator : str
        The estimator, as it prints.
    scenes : list of dict
        The result of `measure_scene` for each scene.
    """

    estimator: str
    scenes: list[dict[str, Any]] = field(repr=False)

    @property
    def mean(self) -> dict[str, float]:
        """Mean of each figure over the scenes that have it; NaN where none has."""
        return {key: finite_mean(record[key] for record in self.scenes) for key in FIGURES}

    @property
    def count(self) -> dict[str, int]:
        """Number of scenes that have each figure."""
        return {
            key: sum(bool(np.isfinite(record[key])) for record in self.scenes) for key in FIGURES
        }

    @property
    def available(self) -> dict[str, Figure]:
        """Figures that at least one scene has."""
        count = self.count
        return {key: figure for key, figure in FIGURES.items() if count[key]}

    def to_frame(self) -> pd.DataFrame:
        """Return the records as a table of pandas, one row per scene."""
        import pandas as pd

        return pd.DataFrame.from_records(self.scenes)

    def __str__(self) -> str:
        mean, count, available = self.mean, self.count, self.available
        rows = [("figure", "mean", "", "scenes", "")] + [
            (figure.title, figure.text(mean[key]), figure.arrow, str(count[key]), figure.meaning)
            for key, figure in available.items()
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [f"Quality of {self.estimator} on {_count_scenes(len(self.scenes))}", ""]
        for title, value, arrow, n, meaning in rows:
            lines.append(
                f"{title:<{widths[0]}}  {value:>{widths[1]}} {arrow:<{widths[2]}}  "
                f"{n:>{widths[3]}}  {meaning}".rstrip()
            )
        missing = [figure.title for key, figure in FIGURES.items() if key not in available]
        if missing:
            lines += ["", f"Not available: {', '.join(missing)}."]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        n_more = len(self.scenes) - _N_SHOWN
        return render(
            "notebook.html",
            report=self,
            shown=self.scenes[:_N_SHOWN],
            more=_count_scenes(n_more) if n_more > 0 else "",
        )


def quality_report(
    estimator: Predictor,
    scenes: Sequence[Scene],
    *,
    max_scenes: int | None = None,
    psf_sigma: float | None = None,
) -> QualityReport:
    """Measure predictions against the truth, the frames, and predictions from half of the frames.

    Parameters
    ----------
    estimator : fitted estimator
        A net, a baseline, a pipeline or a search over such.
    scenes : list of Scene
        With or without HR images; not those of the training.
    max_scenes : int, default=None
        Only the first scenes. None: all.
    psf_sigma : float, default=None
        Standard deviation of the sensor's Gaussian point spread function, in LR pixels, for the
        consistency; the square pixel comes on top. None: the best for the image of those that are
        plausible given the frames.

    Returns
    -------
    QualityReport
        Prints as a table.

    Raises
    ------
    ValueError
        If there are no scenes, `max_scenes` is less than 1, the estimator does not predict one
        image per scene, or a scene is clouded everywhere.

    See Also
    --------
    probav_estimators.metrics : The figures as functions of arrays.

    Notes
    -----
    - `probav_estimators.report.FIGURES` has the meaning of each figure, what it does not prove, and
      what it needs: frames, a truth, both a truth and an estimator whose `predict` takes
      `return_std`, or one whose `predict` takes `return_parts`.
    - A scene of four frames or more is predicted twice more, from two disjoint halves of its
      frames. The two images give the resolution that is reproduced, and the consistency of an image
      with frames that it was not predicted from.
    - A shift of the image against its frames is a figure of its own and does not affect
      consistency. Frames alone hardly determine their point spread function, so the best one within
      two standard errors of its estimate is used; moderate blur or sharpening is not penalised.

    One scene is in memory at a time. Means are over scenes, each with the same weight.

    No figure proves detail beyond the frames' Nyquist frequency where no truth is known.
    Consistency allows everything that the sensor blurs away, and both halves may agree upon what
    the network always adds. Figures against a truth hold for similar land.

    Examples
    --------
    >>> from probav_estimators import BicubicBaseline, make_scenes, quality_report
    >>> scenes = make_scenes(2, size=32, random_state=0)
    >>> report = quality_report(BicubicBaseline().fit(scenes), scenes)
    >>> round(report.mean["score"], 2)
    1.0
    """
    scenes = check_scenes(scenes, "quality_report")
    check_max_scenes(max_scenes)
    records = []
    for scene in scenes[:max_scenes]:
        align = partial(AlignedFrames.of, scene, psf_sigma=psf_sigma)
        *_, record = measure_estimator(estimator, scene, return_std=scene.has_hr, align=align)
        records.append(record)
    return QualityReport(_name_of(estimator), records)


def check_max_scenes(max_scenes: int | None) -> None:
    """Raise ValueError if there would be no scene."""
    if max_scenes is not None and max_scenes < 1:
        raise ValueError(f"max_scenes must be at least 1, got {max_scenes!r}")


def _name_of(estimator):
    name = " ".join(repr(estimator).split())
    return name if len(name) <= _LONGEST_NAME else type(estimator).__name__


def _count_scenes(number):
    return "1 scene" if number == 1 else f"{number} scenes"
