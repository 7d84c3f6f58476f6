"""Predictions of estimators, a few at a time."""

import numpy as np

# Scenes that are predicted at a time: the images of all of them need not fit in memory.
_CHUNK = 16


def predict_in_turn(estimator, scenes):
    """Yield the image that an estimator predicts for each scene.

    Raises
    ------
    ValueError
        If the estimator does not give one image for each scene.
    """
    for start in range(0, len(scenes), _CHUNK):
        chunk = scenes[start : start + _CHUNK]
        images = estimator.predict(chunk)
        if len(images) != len(chunk):
            raise ValueError(
                f"{type(estimator).__name__} predicted {len(images)} images for the {len(chunk)} "
                f"scenes from {chunk[0].name} on: predict must return one image for each scene"
            )
        yield from images


def stack_images(images):
    """Array of images, (n, H, W), or a list of them if their sizes differ."""
    return np.stack(images) if len({image.shape for image in images}) == 1 else list(images)
