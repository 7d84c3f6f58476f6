"""Values that a comparison draws: frames, images, HR image, scores and errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..baseline import BicubicBaseline
from ..imaging import (
    MAX_CPSNR,
    challenge_score,
    check_norm,
    error_map,
    finite_cpsnr,
    select_clearest,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..scenes import Scene, Values

__all__ = ["error_maps", "frame_values", "named_values", "truth_values", "with_baseline"]

_BASELINE = "BicubicBaseline"

# Greatest shift between image and truth, in HR pixels, as in the score.
_BORDER = 3


def with_baseline(images: dict[str, NDArray[Any]], scene: Scene) -> dict[str, NDArray[Any]]:
    """Add the baseline in front of images of a scene, unless one of them is the baseline."""
    if _BASELINE in images:
        return images
    scale = next(iter(images.values())).shape[0] // scene.shape[0]
    baseline = BicubicBaseline(scale).predict([scene])[0]
    # A baseline that was read from a 16-bit file is rounded.
    if any(np.abs(image - baseline).max() < 1 / 65535 for image in images.values()):
        return images
    return {_BASELINE: baseline} | images


def named_values(images: Mapping[str, NDArray[Any]], values: Values) -> dict[str, NDArray[Any]]:
    """Values of the pixels of images."""
    return {name: values.to_physical(image) for name, image in images.items()}


def frame_values(scene: Scene, values: Values, unit: str | None) -> dict[str, Any]:
    """Parameters of a display that come from a scene's frames."""
    clear = scene.qm
    (clearest,) = select_clearest(clear.sum(axis=(1, 2)), 1)
    return {
        "frame": values.to_physical(scene.frames.read_pixels([clearest])[0]),
        "frame_clear": clear[clearest],
        "n_clear": clear.sum(axis=0),
        "n_frames": len(scene),
        "unit": unit or values.unit,
    }


def truth_values(
    images: Mapping[str, NDArray[Any]],
    hr: NDArray[Any],
    sm: NDArray[np.bool_],
    values: Values,
    *,
    norm: float | None,
    data_range: float | None = None,
) -> dict[str, Any]:
    """Parameters of a display that come from the HR image; scores of the images."""
    if norm is not None:
        check_norm(norm)
    scores = {}
    for name, image in images.items():
        cpsnr = finite_cpsnr(image, hr, sm, border=_BORDER, data_range=data_range)
        score = None if norm is None else float(challenge_score(min(norm, MAX_CPSNR), cpsnr))
        scores[name] = cpsnr, score
    return {"truth": values.to_physical(hr), "truth_clear": sm, "scores": scores}


def error_maps(
    images: Mapping[str, NDArray[Any]],
    hr: NDArray[Any],
    sm: NDArray[np.bool_],
    values: Values,
    *,
    data_range: float | None = None,
) -> dict[str, NDArray[Any]]:
    """Maps of the errors of images, NaN along the edges."""
    errors = {}
    for name, image in images.items():
        error = error_map(image, hr, sm, border=_BORDER, data_range=data_range)
        errors[name] = values.span * np.pad(error, _BORDER, constant_values=np.nan)
    return errors
