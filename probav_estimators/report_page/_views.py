"""What a report shows of a scene: figures of each estimator, and a part of its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..imaging import error_map, upscale_bicubic
from ..prediction import predict_scene
from ..report import quality_report
from ..scenes import Values
from ._charts import cover, spectrum_charts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..prediction import Predictor
    from ..scenes import Scene
    from ._charts import Chart, Covered

# What the pictures of a page take at most, and a picture along each axis, unless many ask for room.
_MAX_BYTES = 13e6
_MAX_SIDE = 480
_MIN_SIDE = 128

# At most, of a pixel in a file: greys, steps of colour, and text in the place of bytes.
_GREY_BYTES = 1.0
_MAP_BYTES = 0.5
_AS_TEXT = 4 / 3

# HR pixels along the edges that have no error: any shift up to that is forgiven.
_BORDER = 3


class EstimatorView(NamedTuple):
    """What an estimator made of a scene.

    Attributes
    ----------
    name : str
    figures : dict
        The scene's record of a QualityReport.
    image : array of shape (H', W')
        The part that is shown.
    error, deviation : arrays of that shape, or None
        Truth less image at the best shift, NaN where it is not known, and standard deviations.
    covered : Covered or None
        What the standard deviations cover of the errors of the whole image.
    """

    name: str
    figures: dict[str, Any]
    image: NDArray[Any]
    error: NDArray[Any] | None
    deviation: NDArray[Any] | None
    covered: Covered | None


class SceneView(NamedTuple):
    """What is shown of a scene.

    Attributes
    ----------
    name : str
    band : str or None
    n_frames : int
    frame : array of shape (H', W')
        The clearest frame, upscaled.
    clear : bool array of that shape
        Where that frame is clear.
    truth, truth_clear : arrays of that shape, or None
    estimators : list of EstimatorView
    shown, whole : pairs of int
        HR pixels of the part that is shown, and of the scene.
    low, high, unit : floats and str
        What pixels of 0 and 1 stand for.
    charts : list of Chart
    """

    name: str
    band: str | None
    n_frames: int
    frame: NDArray[Any]
    clear: NDArray[np.bool_]
    truth: NDArray[Any] | None
    truth_clear: NDArray[np.bool_] | None
    estimators: list[EstimatorView]
    shown: tuple[int, ...]
    whole: tuple[int, ...]
    low: float
    high: float
    unit: str
    charts: list[Chart]


def side_of_pictures(n_scenes: int, n_estimators: int, *, n_deviations: int, truth: bool) -> int:
    """Pixels of a picture along each axis, so that all of them fit into a page.

    Parameters
    ----------
    n_scenes, n_estimators : int
    n_deviations : int
        How many of the estimators give standard deviations.
    truth : bool
        Whether a scene has an HR image.
    """
    greys = 1 + n_estimators + truth
    maps = n_deviations + truth * n_estimators
    pixel = _AS_TEXT * (_GREY_BYTES * greys + _MAP_BYTES * maps)
    side = int(np.sqrt(_MAX_BYTES / n_scenes / pixel))
    return min(max(side, _MIN_SIDE), _MAX_SIDE)


def view_scene(estimators: Mapping[str, Predictor], scene: Scene, side: int) -> SceneView:
    """Predict a scene, measure the images, and keep the middle of them.

    Parameters
    ----------
    estimators : dict of fitted estimators by name
    scene : Scene
    side : int
        How many HR pixels to keep along each axis.
    """
    window, scale, views = None, 0, []
    images: dict[str, NDArray[Any]] = {}
    for name, estimator in estimators.items():
        image, deviation = _predict(name, estimator, scene)
        images[name] = image
        given = _Given if deviation is None else _GivenWithDeviation
        (figures,) = quality_report(given(estimator, scene, image, deviation), [scene]).scenes
        scale = max(scale, figures["scale"])
        window = window or _middle(scene.shape, max(side // figures["scale"], 1))
        error = _error(image, scene) if scene.has_hr else None
        shown, error, shown_deviation = (
            _part(array, window, figures["scale"]) for array in (image, error, deviation)
        )
        covered = None
        if scene.has_hr and deviation is not None:
            covered = cover(image, deviation, scene)
        views.append(EstimatorView(name, figures, shown, error, shown_deviation, covered))
    assert window is not None  # there is an estimator
    frame, clear = _clearest_frame(scene, scale, window)
    truth, truth_clear = None, None
    if scene.has_hr:
        truth, truth_clear = scene.read_truth(window)
    values = Values.of(scene)
    return SceneView(
        "unnamed scene" if scene.name is None else str(scene.name),
        scene.band,
        len(scene),
        frame,
        clear,
        truth,
        truth_clear,
        views,
        frame.shape,
        tuple(scale * length for length in scene.shape),
        *values.value_range,
        values.unit,
        spectrum_charts(scene, images),
    )


class _Given:
    """An estimator whose image of a scene is known already: that is not predicted again."""

    def __init__(self, estimator: Predictor, scene: Scene, image: Any, deviation: Any) -> None:
        self._estimator = estimator
        self._scene = scene
        self._image = image
        self._deviation = deviation

    def predict(self, scenes: Sequence[Scene]) -> Any:
        if self._knows(scenes):
            return [self._image]
        return self._estimator.predict(scenes)

    def _knows(self, scenes):
        return len(scenes) == 1 and scenes[0] is self._scene


class _GivenWithDeviation(_Given):
    """The same with standard deviations."""

    def predict(self, scenes: Sequence[Scene], return_std: bool = False) -> Any:
        images = super().predict(scenes)
        if not return_std:
            return images
        assert self._knows(scenes)
        return images, [self._deviation]


def _predict(name, estimator, scene):
    """Image of a scene, and its standard deviations where they can be had."""
    image, deviation = predict_scene(estimator, scene, return_std=True)
    scale = image.shape[0] // scene.shape[0]
    if scale < 1 or image.shape != tuple(scale * length for length in scene.shape):
        raise ValueError(
            f"{name!r} predicted an image of shape {image.shape} for {scene.label}, whose frames "
            f"have {scene.shape}: it must be larger by the same integer along both axes"
        )
    return image, deviation


def _error(image, scene):
    """Error map of the size of the image, NaN along the edges."""
    error = error_map(image, scene.hr, scene.sm, border=_BORDER, data_range=scene.data_range)
    return np.pad(error, _BORDER, constant_values=np.nan)


def _middle(shape, length):
    """The middle of a scene, at most `length` LR pixels along each axis."""
    lengths = [min(length, whole) for whole in shape]
    starts = [(whole - part) // 2 for whole, part in zip(shape, lengths, strict=True)]
    rows, columns = (slice(s, s + part) for s, part in zip(starts, lengths, strict=True))
    return rows, columns


def _part(array, window, scale):
    """A copy, so that the whole need not stay in memory."""
    if array is None:
        return None
    rows, columns = (slice(scale * part.start, scale * part.stop) for part in window)
    return np.array(array[rows, columns])


def _clearest_frame(scene, scale, window):
    clearance = scene.frames.read_clear().sum(axis=(1, 2))
    (frame,), (clear,) = scene.frames.read([int(clearance.argmax())])
    upscaled = upscale_bicubic(np.where(np.isfinite(frame), frame, 0), scale, window)
    return upscaled, clear[window].repeat(scale, axis=0).repeat(scale, axis=1)
