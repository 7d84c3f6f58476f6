"""Estimators, images and scenes as displays take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..prediction import class_name
from ..scenes import check_scenes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..scenes import Scene

__all__ = ["by_name", "images_by_name", "one_scene"]


def by_name(estimators: Any) -> dict[str, Any]:
    """Estimators by name: a mapping, or one by its class (of a pipeline, that of its last step)."""
    if isinstance(estimators, Mapping):
        if not estimators:
            raise ValueError("got no estimator: give at least one")
        return dict(estimators)
    return {class_name(estimators): estimators}


def images_by_name(images: Any, scene: Scene) -> dict[str, NDArray[Any]]:
    """Check images by name: of one size, a multiple of the size of the frames."""
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
    """Return a scene, or the scene of a list of one."""
    scenes = check_scenes(scene if isinstance(scene, Sequence) else [scene], caller)
    if len(scenes) > 1:
        raise ValueError(f"{caller} draws one scene, got {len(scenes)}: give one of them")
    return scenes[0]
