"""Scores of images, how their standard deviations fit their errors, and their displacement."""

import numpy as np
from scipy import ndimage

from probav_estimators.metrics import image_shift
from probav_estimators.scenes import align_scene
from probav_estimators.scoring import scene_score, standardized_errors


def mean_score(images, scenes):
    """Mean N / cPSNR of images of scenes."""
    return float(np.mean([scene_score(*pair) for pair in zip(images, scenes, strict=True)]))


def coverage(images, deviations, scenes):
    """Which part of the errors lies within one and within two standard deviations."""
    triples = zip(images, deviations, scenes, strict=True)
    errors = np.abs(np.concatenate([standardized_errors(*triple) for triple in triples]))
    return [float(np.mean(errors < limit)) for limit in (1, 2)]


def move_to_truth(image, deviation, scene):
    """Image and deviations of a simulated scene, moved by splines to where its truth is."""
    back = -_place(scene)
    return _move(image, back), _move(deviation, back, order=1)


def truth_in_place(scene):
    """The truth of a simulated scene, moved by splines to where its image lies."""
    return _move(scene.hr, _place(scene))


def displacement(images, scenes):
    """Displacement of images of simulated scenes from the middle of their frames, in HR pixels.

    Parameters
    ----------
    images : list of arrays of shape (H, W)
    scenes : list of Scene
        With HR images and true shifts.

    Returns
    -------
    float64 array of shape (2,)
        Median over the scenes, down and right. One scene errs by about 0.04.
    """
    apart = [
        image_shift(image, scene.hr) - _place(scene)
        for image, scene in zip(images, scenes, strict=True)
    ]
    return np.nanmedian(apart, axis=0)


#: HR pixels along each axis that the displacement is to stay under.
MAX_DISPLACEMENT = 0.1


def describe_displacement(images, scenes):
    """Displacement as text, and whether it is as small as it should be.

    Scenes without true shifts tell none: then the text says so.
    """
    if any(scene.true_shifts is None for scene in scenes):
        return "not known", True
    down, right = displacement(images, scenes)
    return f"{down:+.3f}, {right:+.3f}", max(abs(down), abs(right)) < MAX_DISPLACEMENT


def _place(scene):
    """How far down and to the right of its truth an image lies, in HR pixels."""
    alignment = align_scene(scene)
    # The simulator knows; some frames may be placed wrongly.
    apart = np.median(scene.frames.true_shifts[alignment.index] - alignment.shifts, axis=0)
    return scene.scale * apart


def _move(image, shift, order=5):
    return ndimage.shift(image, shift, order=order, mode="nearest")
