"""Scores of images, coverage of their standard deviations, and their displacement."""

import numpy as np
from scipy import ndimage

from probav_estimators.architectures import orientation_of
from probav_estimators.metrics import image_shift
from probav_estimators.scenes import align_scene
from probav_estimators.scoring import scene_score, standardized_errors
from probav_estimators.training import turn_vector


def mean_score(images, scenes):
    """Mean N / cPSNR of images of scenes."""
    return float(np.mean([scene_score(*pair) for pair in zip(images, scenes, strict=True)]))


#: Goal: errors within one and within two standard deviations.
COVERAGE = "60 to 76 %, 90 to 98 %"


def describe_coverage(images, deviations, scenes, least_of_two=0.90):
    """Errors within one and two standard deviations as text, and whether they meet `COVERAGE`."""
    triples = zip(images, deviations, scenes, strict=True)
    errors = np.abs(np.concatenate([standardized_errors(*triple) for triple in triples]))
    one, two = (float(np.mean(errors < limit)) for limit in (1, 2))
    met = 0.60 <= one <= 0.76 and least_of_two <= two <= 0.98
    return f"{100 * one:.1f} %, {100 * two:.1f} %", met


def move_to_truth(image, deviation, scene):
    """Register image and standard deviations of a simulated scene to its truth, by splines."""
    back = -_shift_from_truth(scene)
    return _move(image, back), _move(deviation, back, order=1)


def truth_moved_to_image(scene):
    """Truth of a simulated scene, registered to its image by splines."""
    return _move(scene.hr, _shift_from_truth(scene))


def displacement(images, scenes):
    """Displacement of images of simulated scenes from the mean of their frames, in HR pixels.

    The median over the scenes, (down, right). The error of one scene is about 0.04.
    """
    return np.nanmedian(_displacements(images, scenes), axis=0)


def displacement_of_layers(net, scenes):
    """Displacement by the learned layers of a FusionNet, along their axes: scenes are turned."""
    consistent = net.data_consistency
    images = net.set_params(data_consistency=False).predict(scenes)
    net.set_params(data_consistency=consistent)
    apart = _displacements(images, scenes)
    orientations = [orientation_of(align_scene(scene)) for scene in scenes]
    turned = [turn_vector(*one, *way) for one, way in zip(apart, orientations, strict=True)]
    return np.nanmedian(turned, axis=0)


def _displacements(images, scenes):
    return [
        image_shift(image, scene.hr) - _shift_from_truth(scene)
        for image, scene in zip(images, scenes, strict=True)
    ]


#: Goal: largest displacement along each axis, in HR pixels.
MAX_DISPLACEMENT = 0.1


def describe_displacement(images, scenes):
    """Displacement as text, and whether it is below `MAX_DISPLACEMENT`.

    It is not known for scenes without true shifts.
    """
    if any(scene.true_shifts is None for scene in scenes):
        return "not known", True
    found = displacement(images, scenes)
    return as_text(found), np.abs(found).max() < MAX_DISPLACEMENT


def as_text(displacement):
    """Displacement (down, right) as text."""
    down, right = displacement
    return f"{down:+.3f}, {right:+.3f}"


def _shift_from_truth(scene):
    """Shift (down, right) of the image of a simulated scene against its truth, in HR pixels."""
    alignment = align_scene(scene)
    # The median, because some frames may be registered wrongly.
    shift = np.median(scene.frames.true_shifts[alignment.index] - alignment.shifts, axis=0)
    return scene.scale * shift


def _move(image, shift, order=5):
    return ndimage.shift(image, shift, order=order, mode="nearest")
