"""The file that the challenge takes: one zip of super-resolved images."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm.auto import tqdm

from ..files import check_target, replace_file
from ..imaging import to_uint16
from ..prediction import Predictor, predict_in_turn
from ..scenes import Scene, check_scenes, offset_to_scene

_NAME = re.compile(r"imgset\d{4}")

_MAX_VALUE = 2**16 - 1

# Images that differ less from the level keep their values, as do those of a file that is written
# again: half a value, and a margin for rounding errors of float32.
_AT_LEVEL = 0.51

# The oldest date that a zip can hold: the hour of writing must not change the file.
_DATE = (1980, 1, 1, 0, 0, 0)


def write_submission(
    images_or_fitted_estimator: Iterable[NDArray[Any]] | NDArray[Any] | Predictor,
    scenes: Sequence[Scene],
    path: str | os.PathLike[str],
) -> Path:
    """Write super-resolved images as the zip file that the challenge takes.

    Parameters
    ----------
    images_or_fitted_estimator : iterable of (H, W) arrays, (n, H, W) array or estimator
        One image for each scene, in the order of the scenes: float in [0, 1], where a pixel p
        is the value 65535 * p, rounded, or uint16. Each image is moved to the level of its scene,
        see Notes. Images of a generator are written as they come. An estimator (anything with
        ``predict``) predicts the scenes, a few at a time.
    scenes : list of Scene
        With names like "imgset0594". HR images are not needed.
    path : path-like
        The zip file. One that is there already is replaced.

    Returns
    -------
    pathlib.Path
        `path`. The file holds a 16-bit greyscale PNG for each scene, "imgset0594.png", in the
        order of the scenes.

    Raises
    ------
    ValueError
        If the number of images is not that of the scenes, a scene's name is missing, not like
        "imgset0594" or used twice, or an image does not have the size of its scene, or has NaN or
        values out of range.
    FileNotFoundError
        If the folder of `path` does not exist.
    IsADirectoryError
        If `path` is a folder.

    See Also
    --------
    load_scenes : Scenes of the test split.

    Notes
    -----
    Loss and score ignore a constant, so the level of an image may be arbitrary. Each image is
    shifted by a whole number of 16-bit values to the mean of the clearest frames (all of the
    largest clearance) over their clear pixels, to within half a value. Scenes without clear pixels
    keep their level. If values would leave 0 to 65535, the shift is corrected to keep them inside.
    Nothing is clipped, so the score does not change beyond rounding.

    An image is `scale` times as large as the frames, with the scale of the HR image or status map.
    Scenes without these must all have images of one integer scale, 2 or more.

    The file is written atomically: on failure, an existing file stays. The same images give the
    same bytes, with one version of Pillow.

    References
    ----------
    .. [1] https://kelvins.esa.int/proba-v-super-resolution/submission-rules/

    Examples
    --------
    >>> import tempfile, zipfile
    >>> from probav_estimators import BicubicBaseline, make_scenes, write_submission
    >>> scenes = make_scenes(2, size=16, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_submission(BicubicBaseline().fit(scenes), scenes, f"{folder}/mine.zip")
    ...     zipfile.ZipFile(path).namelist()
    ['imgset0000.png', 'imgset0001.png']
    """
    scenes = check_scenes(scenes, "write_submission")
    _check_names(scenes)
    path = Path(path)
    check_target(path)
    given: Any = images_or_fitted_estimator
    if hasattr(given, "predict"):
        predicted = predict_in_turn(given, scenes)
        images = tqdm(predicted, total=len(scenes), unit="scene", desc="submission")
    else:
        images = _one_per_scene(given, scenes)
    with replace_file(path) as partial, zipfile.ZipFile(partial, "x") as archive:
        _write_images(archive, images, scenes)
    return path


def can_be_submitted(scenes: Sequence[Scene]) -> bool:
    """Whether all scenes have names that a submission can have, such as "imgset0594"."""
    return all(scene.name is not None and _NAME.fullmatch(scene.name) for scene in scenes)


def _check_names(scenes):
    for position, scene in enumerate(scenes):
        if scene.name is None or not _NAME.fullmatch(scene.name):
            raise ValueError(
                f"{scene.label} at position {position} has no name that a submission can go by: "
                'name it like "imgset0594"'
            )
    name, times = Counter(scene.name for scene in scenes).most_common(1)[0]
    if times > 1:
        raise ValueError(
            f"{times} scenes are named {name}: leave out all but one, or rename them, because a "
            "submission has one image for each name"
        )


def _one_per_scene(images, scenes):
    """Yield images as they come, and count them."""
    if not isinstance(images, Iterable):
        raise ValueError(
            f"write_submission takes images or a fitted estimator, got {type(images).__name__}: "
            "give a list of (H, W) arrays, an (n, H, W) array, or an estimator with predict"
        )
    number = len(images) if isinstance(images, Sized) else None
    count = 0
    for image in images:
        count += 1
        if count > len(scenes) or number not in (None, len(scenes)):
            raise _wrong_number(number or "more", scenes)
        yield image
    if count < len(scenes):
        raise _wrong_number(count, scenes)


def _wrong_number(number, scenes):
    return ValueError(
        f"write_submission got {number} images for {len(scenes)} scenes: give one image for each "
        "scene, in their order"
    )


def _write_images(archive, images, scenes):
    """Add a PNG for each scene."""
    common_scale = None
    for image, scene in zip(images, scenes, strict=True):
        image = np.asarray(image)
        if scene.scale is None:
            common_scale = _check_size(image, scene, common_scale)
        else:
            _check_size(image, scene, scene.scale)
        values = _move_to_scene(_to_values(image, scene), scene)
        _add_png(archive, f"{scene.name}.png", values)


def _check_size(image, scene, scale):
    """Return how many times larger than the frames of its scene an image is."""
    if image.ndim != 2:
        raise ValueError(
            f"{scene.label}: the image has shape {image.shape}: give one grey image, (H, W)"
        )
    height, width = scene.shape
    wanted = f"{scale}" if scale is not None else "an integer of 2 or more"
    scale = scale or image.shape[0] // height
    if scale < 2 or image.shape != (scale * height, scale * width):
        raise ValueError(
            f"{scene.label}: the image has shape {image.shape} and the frames have "
            f"{(height, width)}: it must be {wanted} times as large along both axes; check the "
            "scale, and that images and scenes have one order"
        )
    return scale


def _to_values(image, scene):
    if image.dtype.kind == "u" and image.dtype.itemsize == 2:
        return image.astype(np.uint16, copy=False)
    if image.dtype.kind != "f":
        raise ValueError(
            f"{scene.label}: the image has values of type {image.dtype}: give floats in "
            "[0, 1], or uint16"
        )
    return to_uint16(image, f"{scene.label}: the image")


def _move_to_scene(values, scene):
    """Move uint16 values by the whole number that brings them to the level of their scene."""
    offset = _MAX_VALUE * offset_to_scene(values / _MAX_VALUE, scene)
    offset = 0 if abs(offset) <= _AT_LEVEL else round(offset)
    offset = np.clip(offset, -int(values.min()), _MAX_VALUE - int(values.max()))
    return (values + offset).astype(np.uint16)


def _add_png(archive, filename, values):
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format="PNG")
    entry = zipfile.ZipInfo(filename, _DATE)
    # Without these two, the file would depend on the system that writes it.
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, buffer.getvalue())
