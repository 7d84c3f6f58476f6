"""Images without a scene, from arrays and PNG files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..imaging import as_mask, as_pixels
from ..scenes import PngImage

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_images"]


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
