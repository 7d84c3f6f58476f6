"""Scores of images, and how their standard deviations fit their errors."""

import numpy as np

from probav_estimators.scoring import scene_score, standardized_errors


def mean_score(images, scenes):
    """Mean N / cPSNR of images of scenes."""
    return float(np.mean([scene_score(*pair) for pair in zip(images, scenes, strict=True)]))


def coverage(images, deviations, scenes):
    """Which part of the errors lies within one and within two standard deviations."""
    triples = zip(images, deviations, scenes, strict=True)
    errors = np.abs(np.concatenate([standardized_errors(*triple) for triple in triples]))
    return [float(np.mean(errors < limit)) for limit in (1, 2)]
