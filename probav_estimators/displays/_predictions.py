"""What displays ask of estimators."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..scenes import check_scenes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..scenes import Scene

__all__ = [
    "ValueScale",
    "by_name",
    "images_by_name",
    "name_of",
    "one_scene",
    "predict_scene",
    "takes_return_std",
]


class ValueScale(NamedTuple):
    """What pixels stand for.

    Attributes
    ----------
    low, high : float
        Values of pixels of 0 and 1.
    unit : str
        Of these values.
    """

    low: float
    high: float
    unit: str

    @classmethod
    def of(cls, scene: Scene, unit: str | None) -> ValueScale:
        """That of a scene, in the unit that is given or, without `value_range`, 16-bit numbers."""
        if scene.value_range is None:
            return cls(0.0, 65535.0, unit or "16-bit counts")
        low, high = scene.value_range
        return cls(float(low), float(high), unit or f"values, range {low:g} to {high:g}")

    def values(self, pixels: Any) -> Any:
        """Values of pixels."""
        return self.low + (self.high - self.low) * np.asarray(pixels)

    def differences(self, pixels: Any) -> Any:
        """Differences of values, of differences of pixels."""
        return (self.high - self.low) * np.asarray(pixels)


def takes_return_std(estimator: Any) -> bool:
    """Whether `predict` takes `return_std`; a pipeline hands it on to its last step."""
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    return "return_std" in inspect.signature(estimator.predict).parameters


def predict_scene(
    estimator: Any, scene: Scene, *, return_std: bool = False
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Image of a scene, and its standard deviations where they are asked for and can be had."""
    if return_std and takes_return_std(estimator):
        images, deviations = estimator.predict([scene], return_std=True)
    else:
        images, deviations = estimator.predict([scene]), [None]
    if len(images) != 1:
        raise ValueError(
            f"{type(estimator).__name__} predicted {len(images)} images for {scene.label}: predict "
            "must return one image for each scene"
        )
    return np.asarray(images[0]), deviations[0]


def by_name(estimators: Any) -> dict[str, Any]:
    """Estimators by name: those of a mapping, or one by its class (a pipeline: its last step's)."""
    if isinstance(estimators, Mapping):
        if not estimators:
            raise ValueError("got no estimator: give at least one")
        return dict(estimators)
    return {name_of(estimators): estimators}


def name_of(estimator: Any) -> str:
    """Name of an estimator's class; of a pipeline, that of its last step."""
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    return type(estimator).__name__


def images_by_name(images: Any, scene: Scene) -> dict[str, NDArray[Any]]:
    """Images by name, of one size that is a multiple of the frames'."""
    if not isinstance(images, Mapping):
        images = {"image": images}
    if not images:
        raise ValueError("got no image: give at least one")
    images = {name: np.asarray(image) for name, image in images.items()}
    first = next(iter(images.values()))
    scale = scene.scale or (first.shape[0] // scene.shape[0] if first.ndim == 2 else 1)
    wanted = tuple(scale * length for length in scene.shape)
    for name, image in images.items():
        if image.shape != wanted:
            raise ValueError(
                f"image {name!r} has the shape {image.shape}, and one of {scene.label} has "
                f"{wanted}: give one image for each name, such as predict([scene])[0]"
            )
    return images


def one_scene(scene: Any, caller: str) -> Scene:
    """The scene, or that of a list of one."""
    scenes = check_scenes(scene if isinstance(scene, Sequence) else [scene], caller)
    if len(scenes) > 1:
        raise ValueError(f"{caller} draws one scene, got {len(scenes)}: give one of them")
    return scenes[0]
