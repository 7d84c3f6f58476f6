"""Report of the quality of predictions: what is measured, and what may be invented."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .metrics import (
    TRUTH_THRESHOLD,
    align_image,
    consistency,
    correctness,
    coverage,
    cssim,
    effective_mtf,
    error_retention,
    estimate_noise,
    resolution,
    sharpness,
    spatial_shift,
)
from .prediction import predict_scene
from .scenes import LEAST_TO_HALVE, align_scene, check_scenes, halve_frames
from .scoring import scene_cpsnr, scene_score, standardized_errors

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from .imaging import Alignment
    from .prediction import Predictor
    from .scenes import Scene

__all__ = [
    "FIGURES",
    "Figure",
    "QualityReport",
    "consistency_scorer",
    "cssim_scorer",
    "quality_report",
    "resolution_scorer",
]

# Point spread functions that consistency is tried with.
_N_SIGMAS = 5

# HR pixels along the edges that opensr-test leaves out, and the part of an image that is at most.
_BORDER = 16
_BORDER_PART = 8

# Scenes that a printed report shows one by one.
_SHOWN = 20


class Figure(NamedTuple):
    """A figure of a report.

    Attributes
    ----------
    title : str
        What it is called in a table, with its unit.
    better : {"more", "less", "one", ""}
        Which values are better; nothing where none is.
    meaning : str
        What it says, in a line.
    digits : int
        Decimal places.
    """

    title: str
    better: str
    meaning: str
    digits: int


#: The figures of a report, in their order.
FIGURES = {
    "cpsnr": Figure("cPSNR (dB)", "more", "agreement with the truth", 2),
    "score": Figure("score", "less", "N / cPSNR; 1 is the baseline", 4),
    "cssim": Figure("cSSIM", "more", "agreement of structure with the truth", 4),
    "improvement": Figure("improvement", "more", "detail that the truth has too", 3),
    "omission": Figure("omission", "less", "detail that is missing", 3),
    "hallucination": Figure("hallucination", "less", "detail of neither truth nor frame", 3),
    "resolution_truth": Figure(
        "resolution, truth (px)", "less", "finest period in common with the truth, HR pixels", 2
    ),
    "resolution_halves": Figure(
        "resolution, halves (px)", "less", "finest period that both halves have, true or not", 2
    ),
    "mtf": Figure("MTF", "one", "contrast at the frames' Nyquist frequency over the truth's", 3),
    "consistency": Figure(
        "consistency", "one", "what it leaves of its frames, over their noise", 2
    ),
    "consistency_left_out": Figure(
        "consistency, left out", "one", "what it leaves of frames that it was not made of", 2
    ),
    "shift_down": Figure("shift down (LR px)", "", "against the middle of the frames", 3),
    "shift_right": Figure("shift right (LR px)", "", "against the middle of the frames", 3),
    "coverage_68": Figure("68 % coverage", "", "errors within one standard deviation", 3),
    "coverage_95": Figure("95 % coverage", "", "errors within two standard deviations", 3),
    "sharpness": Figure("sharpness", "less", "root mean square of the standard deviations", 5),
    "error_retention": Figure(
        "error retention", "less", "1: standard deviations tell no more than chance", 3
    ),
}

_ARROWS = {"more": "↑", "less": "↓", "one": "→ 1", "": ""}


@dataclass(frozen=True)
class QualityReport:
    """What :func:`quality_report` finds.

    Attributes
    ----------
    estimator : str
        The estimator, as it prints.
    scenes : list of dict
        A record for each scene: "name", "band", "n_frames", "scale" and the figures of `FIGURES`,
        NaN where a figure cannot be had.
    """

    estimator: str
    scenes: list[dict[str, Any]] = field(repr=False)

    @property
    def mean(self) -> dict[str, float]:
        """Mean of each figure over the scenes that have it; NaN where none has."""
        return {name: _mean(record[name] for record in self.scenes) for name in FIGURES}

    @property
    def count(self) -> dict[str, int]:
        """How many scenes have each figure."""
        return {
            name: sum(bool(np.isfinite(record[name])) for record in self.scenes) for name in FIGURES
        }

    def to_frame(self) -> pd.DataFrame:
        """Records as a table of pandas, one row a scene."""
        import pandas as pd

        return pd.DataFrame.from_records(self.scenes)

    def __str__(self) -> str:
        mean, count = self.mean, self.count
        lines = [f"Quality of {self.estimator} on {_scenes(len(self.scenes))}", ""]
        rows = [("figure", "mean", "", "scenes", "")]
        for name in self._known():
            figure = FIGURES[name]
            value = f"{mean[name]:.{figure.digits}f}"
            arrow = _ARROWS[figure.better]
            rows.append((figure.title, value, arrow, str(count[name]), figure.meaning))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        for title, value, arrow, n, meaning in rows:
            lines.append(
                f"{title:<{widths[0]}}  {value:>{widths[1]}} {arrow:<{widths[2]}}  "
                f"{n:>{widths[3]}}  {meaning}".rstrip()
            )
        missing = [FIGURES[name].title for name in FIGURES if not count[name]]
        if missing:
            lines += ["", f"Not to be had: {', '.join(missing)}."]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        names = self._known()
        head = "".join(f"<th>{html.escape(x)}</th>" for x in ["scene", "band", "frames"])
        head += "".join(
            f'<th title="{html.escape(FIGURES[name].meaning)}">{html.escape(FIGURES[name].title)} '
            f"{_ARROWS[FIGURES[name].better]}</th>"
            for name in names
        )
        rows = [_html_row(["mean", "", ""], self.mean, names)]
        for record in self.scenes[:_SHOWN]:
            about = [record["name"], record["band"], record["n_frames"]]
            rows.append(_html_row(["" if x is None else x for x in about], record, names))
        more = len(self.scenes) - _SHOWN
        note = f"<p>and {_scenes(more)} more: see to_frame()</p>" if more > 0 else ""
        return (
            f"<table><caption>{html.escape(f'Quality of {self.estimator}')}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>{note}"
        )

    def _known(self):
        """Figures that at least one scene has."""
        count = self.count
        return [name for name in FIGURES if count[name]]


def quality_report(
    estimator: Predictor,
    scenes: Sequence[Scene],
    *,
    max_scenes: int | None = None,
    psf_sigma: float | None = None,
) -> QualityReport:
    """Measure what an estimator predicts: against truth, frames, and its own second try.

    Parameters
    ----------
    estimator : fitted estimator
        A net, a baseline, a pipeline or a search over such.
    scenes : list of Scene
        With or without HR images; none that the estimator was trained on.
    max_scenes : int, default=None
        How many scenes to take, from the first on. None: all.
    psf_sigma : float, default=None
        Standard deviation of the sensor's Gaussian point spread function, in LR pixels, that
        consistency is judged by; the square pixel comes on top. None: that of all that are
        plausible by the frames which is best for the image.

    Returns
    -------
    QualityReport
        Prints as a table.

    Raises
    ------
    ValueError
        If there are no scenes, `max_scenes` is less than 1, the estimator does not give one image
        for each scene, or a scene is clouded everywhere.

    See Also
    --------
    probav_estimators.metrics : The figures as functions of arrays.

    Notes
    -----
    - Truth is needed for cPSNR, score, cSSIM, improvement, omission, hallucination, resolution and
      MTF against the truth, coverage, sharpness and error retention; the last three, which compare
      standard deviations with errors, take an estimator whose `predict` takes `return_std` too.
    - Each scene is predicted twice more, from two disjoint halves of its frames, if there are four
      frames or more. The two images tell the resolution that is reproduced, and how consistent an
      image is with the frames of the other half, which it has not seen. Half the frames make worse
      images than all, so this consistency is on the safe side. The resolution is not, where
      something was learned: both images are drawn by the same hand. That against the truth, which
      is blurred and noisy itself, errs to the other side.
    - Consistency forgives a shift of the image against its frames, which is a figure of its own.
      Frames alone hardly tell their point spread function, so an image may choose within two
      standard errors of what they tell; a moderate blur or sharpening goes unpunished for it.
    - The frame that omission is told by is the clearest.

    One scene is in memory at a time. Means are over scenes, each with the same weight.

    What no figure proves: that detail beyond the frames' Nyquist frequency is there where no truth
    is known. Consistency allows all that the sensor blurs away, and both halves may agree upon what
    the network always draws. Against a truth, figures hold for land of its kind.

    Examples
    --------
    >>> from probav_estimators import BicubicBaseline, make_scenes, quality_report
    >>> scenes = make_scenes(2, size=32, random_state=0)
    >>> report = quality_report(BicubicBaseline().fit(scenes), scenes)
    >>> round(report.mean["score"], 2)
    1.0
    """
    scenes = check_scenes(scenes, "quality_report")
    if max_scenes is not None and max_scenes < 1:
        raise ValueError(f"max_scenes must be at least 1, got {max_scenes!r}")
    records = [_measure(estimator, scene, psf_sigma) for scene in scenes[:max_scenes]]
    return QualityReport(_name_of(estimator), records)


def consistency_scorer(estimator: Predictor, scenes: Sequence[Scene], y: object = None) -> float:
    """Consistency of predictions with their frames, negated; needs no truth.

    Parameters
    ----------
    estimator : fitted estimator
    scenes : list of Scene
    y : None
        Not used.

    Returns
    -------
    float
        -1 is as good as noise allows and the best there is: images that follow the noise of their
        frames, whose consistency is below 1, count as 1.

    Raises
    ------
    ValueError
        If a scene is clouded everywhere.

    See Also
    --------
    probav_estimators.metrics.consistency : What it does not prove.
    """
    scenes = check_scenes(scenes, "scoring")
    values = []
    for scene in scenes:
        image, _ = predict_scene(estimator, scene)
        seen = _Seen.of(scene, image.shape[0] // scene.shape[0])
        values.append(seen.consistency_of(image, seen.shift_of(image)))
    return -_mean(max(value, 1.0) for value in values)


def cssim_scorer(estimator: Predictor, scenes: Sequence[Scene], y: object = None) -> float:
    """Mean cSSIM of a fitted estimator on scenes; greater is better.

    Parameters
    ----------
    estimator : fitted estimator
    scenes : list of Scene
        With HR images.
    y : None
        Not used: a scene carries its truth.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If a scene has no HR image.

    See Also
    --------
    probav_estimators.metrics.cssim : Why small differences mean much.
    """
    scenes = check_scenes(scenes, "scoring", truth=True)
    return _mean(_cssim(predict_scene(estimator, scene)[0], scene) for scene in scenes)


def resolution_scorer(estimator: Predictor, scenes: Sequence[Scene], y: object = None) -> float:
    """Resolution by two halves of the frames, negated; needs no truth.

    Parameters
    ----------
    estimator : fitted estimator
    scenes : list of Scene
        Of four frames or more.
    y : None
        Not used.

    Returns
    -------
    float
        Minus the mean period in HR pixels, -2 at best; greater is better. Don't select by it alone:
        whoever draws the same texture everywhere reproduces it.

    Raises
    ------
    ValueError
        If a scene has fewer than four frames, or is composed already.

    See Also
    --------
    probav_estimators.metrics.resolution : What it does not prove.
    """
    scenes = check_scenes(scenes, "scoring")
    values = []
    for scene in scenes:
        halves = _halves(scene)
        if halves is None:
            raise ValueError(
                f"{scene.label} cannot be halved: resolution takes {LEAST_TO_HALVE} frames or "
                "more, and scenes as they come, before any InputComposer"
            )
        images = [predict_scene(estimator, half)[0] for half in halves]
        values.append(_resolution_of_halves(*images))
    return -_mean(values)


class _Seen(NamedTuple):
    """The frames of a scene that take part, where they lie, and their noise."""

    frames: NDArray[np.float32]
    clear: NDArray[np.bool_]
    alignment: Alignment
    psf: list[NDArray[np.float32]]
    noise: NDArray[np.float64]

    @classmethod
    def of(cls, scene, scale, psf_sigma=None):
        alignment = align_scene(scene)
        frames, clear = scene.frames.read(alignment.index)
        psf = [alignment.psf.sigma(s) for s in _plausible_sigmas(alignment.psf, psf_sigma)]
        options = {"scale": scale, "psf_sigma": psf[len(psf) // 2]}
        noise = estimate_noise(frames, clear, alignment.shifts, **options)
        return cls(frames, clear, alignment, psf, noise)

    def consistency_of(self, image, shift, chosen=slice(None)):
        """Of an image that lies `shift` off, with some of the frames."""
        shifts = self.alignment.shifts - np.nan_to_num(shift)
        given = self.frames[chosen], self.clear[chosen], shifts[chosen]
        return min(
            consistency(image, *given, noise=self.noise[chosen], psf_sigma=sigma[chosen])
            for sigma in self.psf
        )

    def shift_of(self, image):
        """Where an image lies, in LR pixels; NaN if that cannot be told."""
        sigma = self.psf[len(self.psf) // 2].mean(axis=0)
        return spatial_shift(image, self.frames, self.clear, self.alignment.shifts, psf_sigma=sigma)


def _plausible_sigmas(psf, given):
    """Point spread functions that a sensor of such frames may have, in LR pixels."""
    if given is not None:
        return [given]
    variance, error = psf.mean_variance()
    least, greatest = (np.sqrt(max(variance + sign * error, 0.0)) for sign in (-2, 2))
    return np.linspace(least, greatest, _N_SIGMAS).tolist()


def _measure(estimator, scene, psf_sigma):
    """The record of a scene."""
    record = {"name": scene.name, "band": scene.band, "n_frames": len(scene)}
    record |= {"scale": None} | dict.fromkeys(FIGURES, float("nan"))
    image, deviation = predict_scene(estimator, scene, return_std=scene.has_hr)
    record["scale"] = image.shape[0] // scene.shape[0]
    seen = _Seen.of(scene, record["scale"], psf_sigma)
    record |= _against_frames(image, seen)
    record |= _of_halves(estimator, scene, seen)
    if scene.has_hr:
        record |= _against_truth(image, scene, seen)
    if deviation is not None:
        record |= _of_deviations(image, deviation, scene)
    return record


def _against_frames(image, seen):
    shift = seen.shift_of(image)
    return {
        "consistency": seen.consistency_of(image, shift),
        "shift_down": float(shift[0]),
        "shift_right": float(shift[1]),
    }


def _of_halves(estimator, scene, seen):
    halves = _halves(scene, seen)
    if halves is None:
        return {}
    images = [predict_scene(estimator, half)[0] for half in halves]
    left_out = []
    for image, other in zip(images, reversed(halves), strict=True):
        chosen = np.flatnonzero(np.isin(seen.alignment.index, other.frames.index))
        if len(chosen):
            left_out.append(seen.consistency_of(image, seen.shift_of(image), chosen))
    return {
        "resolution_halves": _resolution_of_halves(*images),
        "consistency_left_out": _mean(left_out),
    }


def _against_truth(image, scene, seen):
    truth, clear = scene.read_truth()
    border = min(_BORDER, min(truth.shape) // _BORDER_PART)
    scale = image.shape[0] // scene.shape[0]
    aligned = align_image(image, np.where(clear, truth, 0), clear)
    clearest = int(seen.clear.sum(axis=(1, 2)).argmax())
    frame, known = seen.frames[clearest], seen.clear[clearest]
    told = clear & known.repeat(scale, axis=0).repeat(scale, axis=1)
    record = {
        "cpsnr": scene_cpsnr(image, scene),
        "score": scene_score(image, scene),
        "cssim": _cssim(image, scene),
        "resolution_truth": resolution(aligned, truth, TRUTH_THRESHOLD, clear),
        "mtf": effective_mtf(aligned, truth, scale, clear),
    }
    if told[border:-border, border:-border].any():
        frame = np.where(known, frame, frame[known].mean())
        record |= correctness(image, frame, truth, told, border=border)._asdict()
    return record


def _of_deviations(image, deviation, scene):
    errors = standardized_errors(image, np.ones_like(deviation), scene)
    standardized = standardized_errors(image, deviation, scene)
    # Errors in their unit over errors in deviations are the deviations of the same pixels.
    known = standardized != 0
    errors, standardized = errors[known], standardized[known]
    if not len(errors):
        return {}
    deviations = errors / standardized
    one, two = coverage(errors, deviations)
    return {
        "coverage_68": float(one),
        "coverage_95": float(two),
        "sharpness": sharpness(deviations),
        "error_retention": error_retention(errors, deviations),
    }


def _cssim(image, scene):
    # Scores count what the image has outside of [0, 1] in a scene with a value_range alone.
    return cssim(image, scene.hr, scene.sm, data_range=scene.data_range)


def _resolution_of_halves(first, second):
    return resolution(align_image(first, second), second)


def _halves(scene, seen=None):
    """Two scenes that share the frames of one; None if there are too few, or it is composed."""
    index = np.flatnonzero(~scene.frames.repeats) if seen is None else seen.alignment.index
    if scene.inputs is not None or len(index) < LEAST_TO_HALVE:
        return None
    return halve_frames(scene, index, None if seen is None else seen.clear.sum(axis=(1, 2)))


def _name_of(estimator):
    name = " ".join(repr(estimator).split())
    return name if len(name) <= 100 else type(estimator).__name__


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _scenes(number):
    return "1 scene" if number == 1 else f"{number} scenes"


def _html_row(about, values, names):
    cells = [f"<th>{html.escape(str(about[0]))}</th>"]
    cells += [f"<td>{html.escape(str(x))}</td>" for x in about[1:]]
    for name in names:
        value = values[name]
        shown = f"{value:.{FIGURES[name].digits}f}" if np.isfinite(value) else "-"
        cells.append(f"<td>{shown}</td>")
    return f"<tr>{''.join(cells)}</tr>"
