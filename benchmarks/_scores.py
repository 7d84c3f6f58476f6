"""Scores of images, how their standard deviations fit their errors, and where they lie."""

import numpy as np
from scipy import ndimage
from skimage.registration import phase_cross_correlation

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


def misplacement(images, scenes):
    """How far images of simulated scenes lie from the middle of their frames, in HR pixels.

    The median of the scenes, (down, right); the simulator knows where their truths lie.
    """
    apart = [
        phase_cross_correlation(image, scene.hr, upsample_factor=50, normalization=None)[0]
        - _place(scene)
        for image, scene in zip(images, scenes, strict=True)
    ]
    return np.median(apart, axis=0)


def _place(scene):
    """How far down and to the right of its truth an image lies, in HR pixels."""
    alignment = align_scene(scene)
    # The simulator knows; some frames may be placed wrongly.
    apart = np.median(scene.frames.true_shifts[alignment.index] - alignment.shifts, axis=0)
    return scene.scale * apart


def _move(image, shift, order=5):
    return ndimage.shift(image, shift, order=order, mode="nearest")
