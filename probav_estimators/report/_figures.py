"""The figures of a report: one record each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ..metrics import (
    TRUTH_THRESHOLD,
    coverage,
    cssim,
    effective_mtf,
    error_retention,
    resolution,
    sharpness,
)
from ..scoring import scene_cpsnr, scene_score

if TYPE_CHECKING:
    from ._measuring import Measurement

_ARROWS = {"more": "↑", "less": "↓", "one": "→ 1", "": ""}


class Figure(NamedTuple):
    """A figure of a report.

    Attributes
    ----------
    title : str
        Column title, with the unit.
    meaning : str
        One line.
    caveat : str
        What the figure does not prove, as the end of that sentence.
    compute : callable
        Takes a Measurement and returns a number, NaN if it is undefined.
    needs : {"frames", "halves", "truth", "errors", "measured_share"}, default="truth"
        Attribute of a Measurement that is None where the figure is not available.
    better : {"more", "less", "one", ""}, default=""
        Which values are better; empty if none is.
    digits : int, default=3
        Decimal places.
    """

    title: str
    meaning: str
    caveat: str
    compute: Callable[[Measurement], Any]
    needs: Literal["frames", "halves", "truth", "errors", "measured_share"] = "truth"
    better: Literal["more", "less", "one", ""] = ""
    digits: int = 3

    @property
    def arrow(self) -> str:
        """Symbol of the better direction."""
        return _ARROWS[self.better]

    def text(self, value: float) -> str:
        """Return a value with the figure's digits; a dash for NaN."""
        return f"{value:.{self.digits}f}" if np.isfinite(value) else "\N{EN DASH}"

    def of(self, measurement: Measurement) -> float:
        """Figure of a measurement; NaN if it is not available."""
        if getattr(measurement, self.needs) is None:
            return float("nan")
        return float(self.compute(measurement))

    def cost(self, value: float) -> float:
        """Return a number that is lower for better values."""
        return {"more": -value, "less": value, "one": abs(value - 1), "": 0.0}[self.better]


_ONE_STD_EVERYWHERE = (
    "that standard deviations are informative: one constant for all pixels may reach {}. See "
    "sharpness and error retention."
)
_TRUTH_MAY_BE_WRONG = "on which side the error is: the truth may be displaced against the frames."
_FRAMES_MAY_BE_WRONG = "the geolocation of the image: all frames may be displaced alike."

#: The figures of a report, in their order.
FIGURES = {
    "cpsnr": Figure(
        title="cPSNR (dB)",
        better="more",
        meaning="agreement with the truth",
        digits=2,
        caveat="fine detail: a blurred image may score well. An offset and shifts of up to 3 HR "
        "pixels are ignored.",
        compute=lambda m: scene_cpsnr(m.image, m.scene),
    ),
    "score": Figure(
        title="score",
        better="less",
        meaning="N / cPSNR; 1 is the baseline",
        digits=4,
        caveat="more than cPSNR: it is the baseline's cPSNR of the scene over that of the image.",
        compute=lambda m: scene_score(m.image, m.scene),
    ),
    "cssim": Figure(
        title="cSSIM",
        better="more",
        meaning="agreement of structure with the truth",
        digits=4,
        caveat="resolution. Land has low contrast, so values are close to 1 and small differences "
        "matter.",
        # The value range is that of the scene: images may have values outside of it.
        compute=lambda m: cssim(m.image, *m.truth, data_range=m.scene.data_range),
    ),
    "improvement": Figure(
        title="improvement",
        better="more",
        meaning="detail of the truth that the frame lacks",
        caveat="anything without omission and hallucination. All three depend on the frame, so "
        "compare them on the same scenes; a wrong gain does not affect them.",
        compute=lambda m: m.correctness[0],
    ),
    "omission": Figure(
        title="omission",
        better="less",
        meaning="detail of the truth that the image lacks",
        caveat="anything without improvement and hallucination. Noise of the truth counts as "
        "missing detail.",
        compute=lambda m: m.correctness[1],
    ),
    "hallucination": Figure(
        title="hallucination",
        better="less",
        meaning="detail of neither truth nor frame",
        caveat="anything without improvement and omission: an image that adds no detail has no "
        "hallucination.",
        compute=lambda m: m.correctness[2],
    ),
    "resolution_truth": Figure(
        title="resolution, truth (px)",
        better="less",
        meaning="finest period in common with the truth, in HR pixels",
        digits=2,
        caveat="that the image is no finer: blur and noise of the truth lower it. It scatters on "
        "small images.",
        compute=lambda m: resolution(m.aligned, m.truth[0], TRUTH_THRESHOLD, m.truth[1]),
    ),
    "resolution_halves": Figure(
        title="resolution, halves (px)",
        better="less",
        meaning="finest period in common of images from two halves",
        digits=2,
        caveat="that the detail is true: detail that a network always adds, and errors common to "
        "all frames, are in both images.",
        needs="halves",
        compute=lambda m: m.resolution_of_halves(),
    ),
    "mtf": Figure(
        title="MTF",
        better="one",
        meaning="contrast at the frames' Nyquist frequency over the truth's",
        caveat="anything about detail that is not in the truth. Above 1 is sharper than the truth; "
        "noise of the truth lowers it.",
        compute=lambda m: effective_mtf(m.aligned, m.truth[0], m.scale, m.truth[1]),
    ),
    "consistency": Figure(
        title="consistency",
        better="one",
        meaning="residual of the frames in units of their noise",
        digits=2,
        caveat="the truth of detail that the sensor blurs away. Below 1, the image reproduces "
        "noise of its frames.",
        needs="frames",
        compute=lambda m: m.frames.consistency_of(m.image, m.shift),
    ),
    "consistency_left_out": Figure(
        title="consistency, left out",
        better="one",
        meaning="the same, of frames that were not used",
        digits=2,
        caveat="the truth of detail that the sensor blurs away. It is too high, because images "
        "from half of the frames are worse than from all.",
        needs="halves",
        compute=lambda m: m.consistency_left_out(),
    ),
    "shift_down": Figure(
        title="shift down (LR px)",
        meaning="against the mean position of the frames",
        caveat=_FRAMES_MAY_BE_WRONG,
        needs="frames",
        compute=lambda m: m.shift[0],
    ),
    "shift_right": Figure(
        title="shift right (LR px)",
        meaning="against the mean position of the frames",
        caveat=_FRAMES_MAY_BE_WRONG,
        needs="frames",
        compute=lambda m: m.shift[1],
    ),
    "displacement_down": Figure(
        title="displacement down (HR px)",
        meaning="against the truth; scores ignore up to 3",
        caveat=_TRUTH_MAY_BE_WRONG,
        compute=lambda m: m.displacement[0],
    ),
    "displacement_right": Figure(
        title="displacement right (HR px)",
        meaning="against the truth; scores ignore up to 3",
        caveat=_TRUTH_MAY_BE_WRONG,
        compute=lambda m: m.displacement[1],
    ),
    "measured_share": Figure(
        title="measured (%)",
        meaning="variance of the prior that the frames took away; the rest is supposed",
        digits=1,
        caveat="that what was measured is right: errors that all frames share are measured too. It "
        "depends on the estimator's own standard deviations and model of the sensor.",
        needs="measured_share",
        compute=lambda m: 100 * m.measured_share.mean(),
    ),
    "coverage_68": Figure(
        title="68 % coverage",
        meaning="fraction of errors within one standard deviation",
        caveat=_ONE_STD_EVERYWHERE.format(0.683),
        needs="errors",
        compute=lambda m: coverage(*m.errors)[0],
    ),
    "coverage_95": Figure(
        title="95 % coverage",
        meaning="fraction of errors within two standard deviations",
        caveat=_ONE_STD_EVERYWHERE.format(0.954),
        needs="errors",
        compute=lambda m: coverage(*m.errors)[1],
    ),
    "sharpness": Figure(
        title="sharpness",
        better="less",
        meaning="root mean square of the standard deviations",
        digits=5,
        caveat="anything without coverage: standard deviations that are too small are sharp.",
        needs="errors",
        compute=lambda m: sharpness(m.errors[1]),
    ),
    "error_retention": Figure(
        title="error retention",
        better="less",
        meaning="1: standard deviations rank errors at random",
        caveat="that standard deviations have the right size: see coverage. 0 is out of reach, "
        "because single errors are random.",
        needs="errors",
        compute=lambda m: error_retention(*m.errors),
    ),
}
