"""Estimators, images and scenes as displays take them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from ..imaging import as_mask, as_pixels, window_sums
from ..prediction import class_name
from ..scenes import PngImage, Scene, check_scenes

# The window is this part of the image along each axis, and has at least this many HR pixels.
_DETAIL_PART = 1 / 4
_LEAST_DETAIL = 16


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


def read_images(
    images: Mapping[str, Any], hr: Any = None, sm: Any = None
) -> tuple[dict[str, NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.bool_]] | None]:
    """Read images of one size, as pixels in [0, 1], and the HR image with its status map.

    Images are arrays of uint16, uint8 or float in [0, 1], or paths of grey PNG files; `sm` None:
    all pixels are clear. Raises FileNotFoundError or ValueError with the name and the path of an
    image.
    """
    if not isinstance(images, Mapping):
        raise ValueError(
            f"images must be a dict of arrays or paths by name, got {type(images).__name__}: give "
            '{"bicubic": "imgset0594.png"}'
        )
    if not images:
        raise ValueError("images is empty: give at least one image by name")
    read: dict[str, NDArray[np.float32]] = {}
    for name, image in images.items():
        read[name] = _read(image, f"image {name!r}", as_pixels, read)
    if hr is None:
        return read, None
    pixels = _read(hr, "hr", as_pixels, read)
    if sm is None:
        return read, (pixels, np.ones(pixels.shape, bool))
    return read, (pixels, _read(sm, "sm", as_mask, read))


def _read(image, label, convert, others):
    """Values of an array or file, of the size of the first of the others."""
    if isinstance(image, (str, os.PathLike)):
        path = os.fspath(image)
        image, label = PngImage(path).read(), f"{label} ({path})"
    values = convert(np.asarray(image), label)
    if values.ndim != 2:
        raise ValueError(
            f"{label} has the shape {values.shape}: give a grey image of shape (H, W), such as "
            "one band of a colour image"
        )
    for name, first in others.items():
        if values.shape != first.shape:
            raise ValueError(
                f"{label} has the shape {values.shape}, and image {name!r} has {first.shape}: give "
                "images of one size"
            )
    return values


def find_detail(image: NDArray[Any], clear: NDArray[np.bool_] | None = None) -> tuple[slice, slice]:
    """Find the window with the steepest clear pixels: rows and columns.

    It is a quarter of the image along each axis, and at least 16 pixels.
    """
    part = min(max(_DETAIL_PART, _LEAST_DETAIL / min(image.shape)), 1)
    height, width = (round(part * length) for length in image.shape)
    clear = np.ones(image.shape, bool) if clear is None else clear
    down, right = np.gradient(np.where(clear, image, 0).astype(np.float64))
    # At the border of a cloud, the slope is that of the cloud.
    known = uniform_filter(clear.astype(np.float64), 3) > 1 - 1e-9
    slopes = np.where(known, down**2 + right**2, 0)
    sums = window_sums(slopes, (height, width))
    row, column = (int(start) for start in np.unravel_index(sums.argmax(), sums.shape))
    return slice(row, row + height), slice(column, column + width)
