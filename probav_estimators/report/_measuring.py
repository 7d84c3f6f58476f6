"""Measurements of an image of a scene against its frames and its truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..imaging import USUAL_SIGMA, Alignment
from ..metrics import (
    align_image,
    consistency,
    correctness,
    estimate_noise,
    image_shift,
    resolution,
    spatial_shift,
)
from ..prediction import Predictor, class_name, predict_parts, predict_scene
from ..scenes import (
    LEAST_TO_HALVE,
    Scene,
    align_scene,
    halve_frames,
    name_in_errors,
    psf_variance,
)
from ..scoring import standardized_errors
from ._figures import FIGURES

# Number of point spread functions that consistency tries, and standard error of the estimated
# variance in squared LR pixels, for frames whose shifts hardly determine it.
_N_SIGMAS, _VARIANCE_ERROR = 5, 0.08

# Margin in HR pixels that opensr-test leaves out, and its greatest fraction of an image.
_BORDER = 16
_BORDER_FRACTION = 8


class AlignedFrames(NamedTuple):
    """Frames of a scene with their shifts, plausible point spread functions, and noise."""

    pixels: NDArray[np.float32]
    clear: NDArray[np.bool_]
    alignment: Alignment
    psf_sigmas: list[NDArray[np.float32]]
    noise: NDArray[np.float64]

    @classmethod
    def of(cls, scene: Scene, scale: int, psf_sigma: float | None = None) -> AlignedFrames:
        """Align the frames of a scene; `psf_sigma` in LR pixels, estimated if it is None."""
        alignment = align_scene(scene)
        pixels, clear = scene.frames.read(alignment.index)
        sigmas = [psf_sigma] if psf_sigma is not None else _plausible_sigmas(scene, alignment)
        psf_sigmas = [alignment.psf.sigma(sigma) for sigma in sigmas]
        middle = psf_sigmas[len(psf_sigmas) // 2]
        noise = estimate_noise(pixels, clear, alignment.shifts, scale=scale, psf_sigma=middle)
        return cls(pixels, clear, alignment, psf_sigmas, noise)

    def shift_of(self, image: NDArray[Any]) -> NDArray[np.floating]:
        """Shift of an image in LR pixels, (down, right); NaN if it cannot be estimated."""
        sigma = self.psf_sigmas[len(self.psf_sigmas) // 2].mean(axis=0)
        shifts = self.alignment.shifts
        return spatial_shift(image, self.pixels, self.clear, shifts, psf_sigma=sigma)

    def consistency_of(
        self, image: NDArray[Any], shift: NDArray[np.floating], chosen: Any = slice(None)
    ) -> float:
        """Least consistency of a shifted image over the point spread functions."""
        shifts = self.alignment.shifts - np.nan_to_num(shift)
        frames = self.pixels[chosen], self.clear[chosen], shifts[chosen]
        return min(
            consistency(image, *frames, noise=self.noise[chosen], psf_sigma=sigma[chosen])
            for sigma in self.psf_sigmas
        )


def _plausible_sigmas(scene, alignment):
    """Standard deviations within two standard errors of the estimate, in LR pixels."""
    variance = psf_variance(scene, alignment)
    if variance is None:
        variance = USUAL_SIGMA**2
    ends = (variance - 2 * _VARIANCE_ERROR, variance + 2 * _VARIANCE_ERROR)
    return np.linspace(*np.sqrt(np.maximum(ends, 0)), _N_SIGMAS).tolist()


@dataclass(eq=False)
class Measurement:
    """An image of a scene, with intermediate results that several figures share.

    `predict_half` predicts the image of a scene of half of the frames; without it, there are no
    halves. `align` takes the scale and returns the AlignedFrames of the scene. `measured_share` is
    the share of the prior's variance that the frames took away, (H, W).
    """

    image: NDArray[Any]
    std: NDArray[Any] | None
    scene: Scene
    predict_half: Callable[[Scene], NDArray[Any]] | None = None
    align: Callable[[int], AlignedFrames] | None = None
    measured_share: Any = None

    @property
    def scale(self) -> int:
        """HR pixels per LR pixel."""
        return self.image.shape[0] // self.scene.shape[0]

    @cached_property
    def frames(self) -> AlignedFrames:
        """The scene's frames."""
        align = self.align or partial(AlignedFrames.of, self.scene)
        return align(self.scale)

    @cached_property
    def halves(self) -> list[tuple[Scene, NDArray[Any]]] | None:
        """Two scenes of disjoint halves of the frames, with their images.

        None if there are fewer than four frames, or the scene is composed.
        """
        index = self.frames.alignment.index
        if (
            self.predict_half is None
            or self.scene.inputs is not None
            or len(index) < LEAST_TO_HALVE
        ):
            return None
        clearance = self.frames.clear.sum(axis=(1, 2))
        halves = halve_frames(self.scene, index, clearance)
        return [(half, self.predict_half(half)) for half in halves]

    @cached_property
    def truth(self) -> Any:
        """HR image and status map, or None."""
        return self.scene.read_truth() if self.scene.has_hr else None

    @cached_property
    def errors(self) -> Any:
        """Errors and standard deviations of the clear pixels, two arrays of shape (n,), or None."""
        if self.std is None or self.truth is None:
            return None
        errors = standardized_errors(self.image, np.ones_like(self.std), self.scene)
        standardized = standardized_errors(self.image, self.std, self.scene)
        known = standardized != 0
        errors, standardized = errors[known], standardized[known]
        return (errors, errors / standardized) if len(errors) else None

    @cached_property
    def shift(self) -> NDArray[np.floating]:
        """Shift of the image against its frames, (down, right) in LR pixels."""
        return self.frames.shift_of(self.image)

    @cached_property
    def displacement(self) -> NDArray[np.floating]:
        """Shift of the image against the truth, (down, right) in HR pixels."""
        truth, clear = self.truth
        return image_shift(self.image, truth, clear)

    @cached_property
    def aligned(self) -> NDArray[Any]:
        """The image, shifted to the truth."""
        return align_image(self.image, *self.truth)

    @cached_property
    def correctness(self) -> tuple[float, float, float]:
        """Improvement, omission and hallucination against the clearest frame, by opensr-test."""
        truth, clear = self.truth
        border = min(_BORDER, min(truth.shape) // _BORDER_FRACTION)
        clearest = int(self.frames.clear.sum(axis=(1, 2)).argmax())
        frame, frame_clear = self.frames.pixels[clearest], self.frames.clear[clearest]
        both = clear & frame_clear.repeat(self.scale, axis=0).repeat(self.scale, axis=1)
        if not both[border:-border, border:-border].any():
            return (float("nan"),) * 3
        return tuple(correctness(self.image, frame, truth, both, border=border))

    def consistency_left_out(self) -> float:
        """Mean consistency of the images of the halves, each with the frames of the other half."""
        assert self.halves is not None
        values = []
        for (_, image), (other, _) in zip(self.halves, reversed(self.halves), strict=True):
            chosen = np.isin(self.frames.alignment.index, other.frames.index)
            values.append(self.frames.consistency_of(image, self.frames.shift_of(image), chosen))
        return finite_mean(values)

    def resolution_of_halves(self) -> float:
        """Resolution of one half's image by the other's, in HR pixels."""
        assert self.halves is not None
        return mutual_resolution(*(image for _, image in self.halves))


def measure_scene(
    image: NDArray[Any], std: NDArray[Any] | None, scene: Scene, **options: Any
) -> dict[str, Any]:
    """Measure an image of a scene by all figures.

    Parameters
    ----------
    image : array of shape (H, W)
    std : array of shape (H, W) or None
        Its standard deviations.
    scene : Scene
        With or without HR image.
    **options
        `predict_half`, a function that predicts the image of a scene of half of the frames;
        `align`, a function that takes the scale and returns the aligned frames; `measured_share`,
        the share of the prior's variance that the frames took away, (H, W).

    Returns
    -------
    dict
        "name", "band", "n_frames", "scale" and the figures of `FIGURES`, NaN where a figure is not
        available.
    """
    measurement = Measurement(image, std, scene, **options)
    record: dict[str, Any] = {"name": scene.name, "band": scene.band, "n_frames": len(scene)}
    record["scale"] = measurement.scale
    with name_in_errors(scene):
        return record | {key: figure.of(measurement) for key, figure in FIGURES.items()}


def measure_estimator(
    estimator: Predictor,
    scene: Scene,
    *,
    return_std: bool = True,
    align: Callable[[int], AlignedFrames] | None = None,
) -> tuple[NDArray[Any], NDArray[Any] | None, dict[str, Any]]:
    """Predict a scene and measure the image: image, standard deviations or None, and figures.

    `align` as of :func:`measure_scene`. Raises ValueError if the size of the image is not a
    multiple of that of the frames.
    """
    image, std, parts = predict_parts(estimator, scene, return_std=return_std)
    scale = image.shape[0] // scene.shape[0]
    if scale < 1 or image.shape != tuple(scale * length for length in scene.shape):
        raise ValueError(
            f"{class_name(estimator)} predicted an image of shape {image.shape} for {scene.label}, "
            f"whose frames have {scene.shape}: it must be larger by the same integer along both "
            "axes"
        )
    options = {
        "measured_share": parts and parts.measured_share,
        "predict_half": partial(predict_image, estimator),
        "align": align,
    }
    return image, std, measure_scene(image, std, scene, **options)


def predict_image(estimator: Any, scene: Scene) -> NDArray[Any]:
    """Predict the image of a scene alone."""
    return predict_scene(estimator, scene)[0]


def mutual_resolution(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Finest period that two images have in common, in HR pixels."""
    return resolution(align_image(first, second), second)


def finite_mean(values: Any) -> float:
    """Mean of the finite values; NaN if there is none."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
