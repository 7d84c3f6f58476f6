"""Power and coherence of images by frequency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..baseline import BicubicBaseline
from ..metrics import (
    HALVES_THRESHOLD,
    TRUTH_THRESHOLD,
    align_image,
    fourier_ring_correlation,
    transfer_function,
)
from ..prediction import predict_scene
from ..scenes import LEAST_TO_HALVE, Scene, halve_frames
from ._arguments import by_name, images_by_name, one_scene
from ._base import Display
from ._drawing import COLOURS, label_text, size_in_points

_BASELINE = "BicubicBaseline"

# Greatest ratio that is drawn, in dB: beyond, one of both powers is close to 0.
_MAX_DECIBELS = 30


@dataclass(kw_only=True, eq=False, repr=False)
class SpectrumDisplay(Display):
    """Power of images relative to a reference by frequency, and their coherence with it.

    Make one by `from_estimator` or `from_predictions`. All parameters are stored as attributes.

    Parameters
    ----------
    frequencies : array of shape (n,)
        In cycles per HR pixel.
    power : dict of str to array of shape (n,)
        Power of each image over that of the reference.
    coherence : dict of str to array of shape (n,), default=None
        Fourier ring correlation of each image: with the truth or, without it, of the images of two
        halves of the frames.
    scale : int
        HR pixels for each LR pixel.
    reference : str, default="HR image"
        Name of the image that the power is relative to.
    has_truth : bool, default=True
        Whether the coherence is that with the truth.

    Attributes
    ----------
    axes_ : array of Axes of shape (2,)
        Power and coherence: side by side or, in axes that are higher than wide, in one column.
    power_lines_ : dict of str to matplotlib Line2D
        Power in dB, by name.
    coherence_lines_ : dict of str to matplotlib Line2D
        Coherence by name.
    {panels_}

    See Also
    --------
    probav_estimators.metrics.fourier_ring_correlation : The coherence, and its limits.
    probav_estimators.metrics.transfer_function : The power follows from it and the coherence.

    Notes
    -----
    A ring's transfer function is its common energy over the reference's, and its correlation the
    same over the mean of both, so that the power is the square of their ratio. High power without
    coherence is noise, or detail that was invented.

    Examples
    --------
    >>> from probav_estimators import BicubicBaseline, make_scenes
    >>> from probav_estimators.displays import SpectrumDisplay
    >>> (scene,) = make_scenes(1, size=32, random_state=0)
    >>> SpectrumDisplay.from_estimator(BicubicBaseline(), scene).scale
    3
    """

    frequencies: NDArray[np.floating]
    power: Mapping[str, NDArray[np.floating]]
    coherence: Mapping[str, NDArray[np.floating]] | None = None
    scale: int
    reference: str = "HR image"
    has_truth: bool = True

    @classmethod
    def from_estimator(
        cls, estimator: Any, scene: Scene, *, baseline: bool = True, ax: Any = None
    ) -> Self:
        """Predict a scene and draw the spectra of the images.

        Parameters
        ----------
        {estimators}
        scene : Scene
            Without HR image, power is relative to the baseline's, and coherence is that of two
            images, each of half the frames, if there are four frames or more.
        {baseline}
        {ax}

        {returns}

        Raises
        ------
        ValueError
            If an estimator does not give one image of the scene, or it is smaller than 16 pixels.
        """
        cls._require_matplotlib("from_estimator")
        scene = one_scene(scene, cls.__name__)
        estimators = by_name(estimator)
        images = {name: predict_scene(one, scene)[0] for name, one in estimators.items()}
        halves = None
        if not scene.has_hr and scene.inputs is None and len(scene) >= LEAST_TO_HALVE:
            if baseline and _BASELINE not in estimators:
                scale = next(iter(images.values())).shape[0] // scene.shape[0]
                estimators = {_BASELINE: BicubicBaseline(scale)} | estimators
            parts = halve_frames(scene)
            halves = {
                name: tuple(predict_scene(one, part)[0] for part in parts)
                for name, one in estimators.items()
            }
        return cls.from_predictions(scene, images, halves=halves, baseline=baseline, ax=ax)

    @classmethod
    def from_predictions(
        cls,
        scene: Scene,
        images: Any,
        *,
        halves: Mapping[str, Any] | None = None,
        baseline: bool = True,
        ax: Any = None,
    ) -> Self:
        """Draw the spectra of images of a scene.

        Parameters
        ----------
        scene : Scene
            With or without HR image, which has at least 16 pixels along each axis.
        {images}
        halves : dict of str to pair of arrays of shape (H, W), default=None
            Images of two disjoint halves of the frames, for coherence without HR image.
        {baseline}
        {ax}

        {returns}

        Raises
        ------
        ValueError
            If images do not have the size of the scene's images, or are smaller than 16 pixels.
        """
        scene = one_scene(scene, cls.__name__)
        images = images_by_name(images, scene)
        scale = next(iter(images.values())).shape[0] // scene.shape[0]
        if baseline or not scene.has_hr:
            base = BicubicBaseline(scale).predict([scene])[0]
        if baseline:
            images = {_BASELINE: base} | images
        hr, sm = scene.read_truth() if scene.has_hr else (base, None)
        power, coherence = {}, {}
        for name, image in images.items():
            frequencies, power[name], coherence[name] = _compare(image, hr, sm)
        if not scene.has_hr:
            coherence = {name: _of_halves(*pair) for name, pair in (halves or {}).items()}
        display = cls(
            frequencies=frequencies,
            power=power,
            coherence=coherence or None,
            scale=scale,
            reference="HR image" if scene.has_hr else _BASELINE,
            has_truth=scene.has_hr,
        )
        return display.plot(ax=ax)

    def plot(self, *, ax: Any = None) -> Self:
        width, height = (1, 0) if ax is None else size_in_points(ax)
        shape = (1, 2) if width > height else (2, 1)
        self.axes_ = self._panels(ax, lambda spec: list(spec.subgridspec(*shape)), (10, 4.4))
        power, coherence = self.axes_
        with np.errstate(divide="ignore"):
            decibels = {name: 10 * np.log10(values) for name, values in self.power.items()}
        self.power_lines_ = self._draw_lines(power, decibels)
        power.axhline(0, color="0.3", lw=1, zorder=0)
        low, high = power.get_ylim()
        power.set_ylim(max(low, -_MAX_DECIBELS), min(high, _MAX_DECIBELS))
        power.set_ylabel(f"power over that of {self.reference} (dB)")
        self.coherence_lines_ = self._draw_lines(coherence, self.coherence or {})
        if not self.coherence:
            coherence.text(0.5, 0.5, "neither truth nor halves", ha="center")
        self._draw_threshold(coherence)
        partner = "with the HR image" if self.has_truth else "of two halves of the frames"
        coherence.set_ylabel(f"coherence {partner}")
        coherence.set_ylim(min(-0.05, coherence.get_ylim()[0]), 1.05)
        for panel in self.axes_:
            self._draw_nyquist(panel)
        return self

    def _draw_lines(self, ax, curves):
        # One colour for each name, in both panels.
        colours = dict(zip({**self.power, **(self.coherence or {})}, COLOURS * 9, strict=False))
        lines = {}
        for name, values in curves.items():
            label = label_text(name, width=130)
            (lines[name],) = ax.plot(self.frequencies, values, color=colours[name], label=label)
        return lines

    def _draw_threshold(self, ax):
        threshold = TRUTH_THRESHOLD if self.has_truth else HALVES_THRESHOLD
        label = "1/2" if self.has_truth else "1/7: 1/2 with the truth"
        ax.axhline(threshold, color="0.3", lw=1, ls=":", zorder=0, label=label)

    def _draw_nyquist(self, ax):
        ax.axvline(0.5 / self.scale, color="0.3", lw=1, ls="--", zorder=0, label="LR Nyquist")
        ax.set_xlim(0, 0.5)
        ax.set_xlabel("frequency (cycles per HR pixel)")
        ax.legend(fontsize=8)


def _compare(image, reference, clear):
    """Frequencies, power of an image relative to a reference, and coherence with it."""
    # Power does not depend on shifts, and interpolation changes it at the finest frequencies.
    frequencies, transfer = transfer_function(image, reference, clear)
    correlation = fourier_ring_correlation(image, reference, clear)[1]
    # Common energy over the reference's, and over the geometric mean of both.
    ratio = np.divide(transfer, correlation, out=np.zeros_like(transfer), where=correlation != 0)
    aligned = align_image(image, reference, clear)
    return frequencies, ratio**2, fourier_ring_correlation(aligned, reference, clear)[1]


def _of_halves(first, second):
    return fourier_ring_correlation(align_image(first, second), second)[1]
