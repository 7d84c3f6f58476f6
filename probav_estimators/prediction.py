"""Predictions of estimators, a few at a time."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator

if TYPE_CHECKING:
    from .architectures import ImageParts
    from .scenes import Scene

# What predict returns: (n, H, W), or a list of images if their sizes differ.
Images: TypeAlias = NDArray[np.float32] | list[NDArray[np.float32]]

# Scenes that are predicted at a time: the images of all of them need not fit in memory.
_CHUNK = 16


class Predictor(Protocol):
    """Anything that makes an image of each scene: an estimator, a pipeline, a search over such."""

    def predict(self, X: Sequence[Scene], /) -> Any: ...


def predict_in_turn(estimator: Predictor, scenes: Sequence[Scene]) -> Iterator[NDArray[Any]]:
    """Yield the image that an estimator predicts for each scene; ValueError if there is not one."""
    for start in range(0, len(scenes), _CHUNK):
        yield from (image for image, _ in predict_pairs(estimator, scenes[start : start + _CHUNK]))


def stack_images(
    images: Sequence[NDArray[np.float32]],
) -> Images:
    """Array of images, (n, H, W), or a list of them if their sizes differ."""
    return np.stack(images) if len({image.shape for image in images}) == 1 else list(images)


def unwrap(estimator: Any) -> Any:
    """The estimator inside of FrozenEstimators and of searches, which have a best one."""
    while True:
        if isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            return estimator


def split_steps(estimator: Any) -> tuple[list[Any], Any]:
    """Transformers of pipelines, one within the other, and the estimator that predicts."""
    steps: list[Any] = []
    estimator = unwrap(estimator)
    while hasattr(estimator, "steps"):
        steps += [step for _, step in estimator.steps[:-1] if step not in (None, "passthrough")]
        estimator = unwrap(estimator.steps[-1][1])
    return steps, estimator


def last_step(estimator: Any) -> Any:
    """The estimator that predicts: of a pipeline, its last step."""
    return split_steps(estimator)[1]


def composed_scenes(estimator: Any, scenes: Sequence[Scene]) -> Sequence[Scene]:
    """Scenes as the estimator that predicts gets them: of a pipeline, after its other steps."""
    for step in split_steps(estimator)[0]:
        scenes = step.transform(scenes)
    return scenes


def class_name(estimator: Any) -> str:
    """Name of the class of an estimator; of a pipeline, that of its last step."""
    return type(last_step(estimator)).__name__


def takes_return_std(estimator: Any) -> bool:
    """Whether `predict` takes `return_std`; a pipeline hands it on to its last step.

    An estimator of which that depends on more than its signature has an attribute `predicts_std`.
    """
    last = _last_with_parameters(estimator)
    if hasattr(last, "predicts_std"):
        return last.predicts_std
    return _predict_takes("return_std", last)


def takes_return_parts(estimator: Any) -> bool:
    """Whether `predict` takes `return_parts`; a pipeline hands it on to its last step."""
    return _predict_takes("return_parts", _last_with_parameters(estimator))


def _last_with_parameters(estimator):
    """The last estimator that gets parameters of `predict`; a search hands none on."""
    estimator = unwrap(estimator)
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    return estimator


def _predict_takes(option, estimator):
    return option in inspect.signature(estimator.predict).parameters


def predict_scene(
    estimator: Any, scene: Scene, *, return_std: bool = False
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Predict the image of a scene, and its standard deviations if requested and available."""
    ((image, std),) = predict_pairs(estimator, [scene], return_std=return_std)
    return np.asarray(image), std


def predict_parts(
    estimator: Any, scene: Scene, *, return_std: bool = False
) -> tuple[NDArray[Any], NDArray[Any] | None, ImageParts | None]:
    """Predict a scene as :func:`predict_scene`, and its `ImageParts` if they are available."""
    estimator = unwrap(estimator)
    if not takes_return_parts(estimator):
        return *predict_scene(estimator, scene, return_std=return_std), None
    images, stds, parts = estimator.predict([scene], return_std=True, return_parts=True)
    _check_count(estimator, images, [scene])
    return images[0], stds[0] if return_std else None, type(parts)(*(x[0] for x in parts))


def predict_pairs(
    estimator: Any, scenes: Sequence[Scene], *, return_std: bool = False
) -> list[tuple[NDArray[Any], NDArray[Any] | None]]:
    """Predict (image, standard deviations or None) of each scene, as :func:`predict_scene`."""
    estimator = unwrap(estimator)
    if return_std and takes_return_std(estimator):
        images, stds = estimator.predict(scenes, return_std=True)
    else:
        images = estimator.predict(scenes)
        stds = [None] * len(images)
    _check_count(estimator, images, scenes)
    return list(zip(images, stds, strict=True))


def _check_count(estimator, images, scenes):
    if len(images) != len(scenes):
        n_scenes = len(scenes)
        of = scenes[0].label if n_scenes == 1 else f"the {n_scenes} scenes from {scenes[0].name} on"
        raise ValueError(
            f"{class_name(estimator)} predicted {len(images)} images for {of}: predict must return "
            "one image for each scene"
        )
