"""FusionNet over real land: with and without the data-consistency layer, and beside other networks.

Needs PROBAV_SAMPLES, the folder of sample data, with its images of real land in `land`. Frames are
those of a plain simulation (`scenes_of_land`). Agreement is the standard deviation of the land over
that of the image's error in decibels, free of gain and offset, at the best place within 0.6 HR
pixels.

Other networks are at scale 3: SRCNN, trained as by :mod:`benchmarks.robustness`, and with
``--published FOLDER`` those of :mod:`benchmarks.realism` with their authors' weights.
"""

import os
from itertools import product
from pathlib import Path

import numpy as np
from scipy import ndimage

from probav_estimators import FusionNet
from probav_estimators.scenes import estimate_psf_sigma

from ._land import Land, scenes_of_land
from ._measure import Figure
from ._scores import COVERAGE, describe_coverage, mean_score
from .realism import find_published, net_of
from .robustness import fit_srcnn

_BORDER = 9
# Noise of a frame in standard deviations of the land.
NOISE, MUCH_NOISE = (0.005, 0.015, 0.03), (0.2, 0.5, 1.0, 3.0)
_SEED = 9


def benchmark(n_scenes=24, folder=None):
    """Agreement at each scale, for noisy frames, and errors of the point spread function."""
    for scale, scenes in scenes_of_scales(n_scenes, folder):
        before, after = (
            _measure(FusionNet.from_pretrained(scale=scale, verbose=0, data_consistency=on), scenes)
            for on in (False, True)
        )
        yield Figure(
            f"scale {scale}, {n_scenes} scenes over real land: N / cPSNR, agreement",
            "without the layer: {:.4f}, {:.1f} dB".format(*before),
            "better",
            "{:.4f}, {:.1f} dB".format(*after),
            after[0] < before[0] and after[1] > before[1],
        )
    land = images_of_land(3, folder)
    if not land:
        return
    yield from _of_noise(land, n_scenes // 3)
    found = list(scenes_of_land(land, 3, n_scenes, _SEED, NOISE))
    true = np.array([sigma for _, sigma, _ in found])
    told = np.array([estimate_psf_sigma([scene]) for *_, scene in found if len(scene) > 2])
    true = true[[len(scene) > 2 for *_, scene in found]]
    error, correlation = np.sqrt(np.mean((told - true) ** 2)), np.corrcoef(told, true)[0, 1]
    yield Figure(
        f"`estimate_psf_sigma` of single scenes, {len(true)} sensors: error, correlation",
        "-",
        "0.07 LR pixels, 0.8",
        f"{error:.3f} LR pixels, {correlation:.2f}",
        error < 0.07 and correlation > 0.8,
    )


def benchmark_networks(n_scenes=24, folder=None, published=None, n_epochs=40):
    """Scores of FusionNet and of other networks, and coverage of its standard deviations."""
    for scale, scenes in scenes_of_scales(n_scenes, folder):
        scores = _scores_of_others(scenes, published, n_epochs) if scale == 3 else {}
        net = FusionNet.from_pretrained(scale=scale, verbose=0)
        images, deviations = net.predict(scenes, return_std=True)
        score = mean_score(images, scenes)
        covered, is_calibrated = describe_coverage(images, deviations, scenes)
        others = [f"{name} {other:.4f}" for name, other in scores.items()]
        yield Figure(
            f"scale {scale}, {len(scenes)} scenes over real land: N / cPSNR; errors within one "
            "and two standard deviations",
            ", ".join(["baseline 1.0", *others]),
            f"less; {COVERAGE}",
            f"{score:.4f}; {covered}",
            score < min([1.0, *scores.values()]) and is_calibrated,
        )


def _scores_of_others(scenes, published, n_epochs):
    """Mean N / cPSNR of each other network, at scale 3."""
    scores = {"SRCNN": mean_score(fit_srcnn(128, n_epochs).predict(scenes), scenes)}
    for name, nets in (find_published(published) if published else {}).items():
        images = [net_of(nets, scene).predict([scene])[0] for scene in scenes]
        scores[name] = mean_score(images, scenes)
    return scores


def images_of_land(scale, folder=None):
    """Images of a folder; without it those of PROBAV_SAMPLES, or none."""
    if folder is None:
        folder = Path(os.environ.get("PROBAV_SAMPLES", ""), "land")
    if not folder.is_dir():
        return []
    return [image for part in Land.of_folder(folder, scale) for image in part]


def scenes_of_scales(n_scenes, folder=None):
    """Pairs of a scale and its scenes, of little noise; none without images of land."""
    for scale in (2, 3, 4):
        land = images_of_land(scale, folder)
        if land:
            found = scenes_of_land(land, scale, n_scenes, _SEED, NOISE)
            yield scale, [scene for *_, scene in found]


def _of_noise(land, n_scenes):
    net = FusionNet.from_pretrained(scale=3, verbose=0)
    for noise in MUCH_NOISE:
        scenes = [scene for *_, scene in scenes_of_land(land, 3, n_scenes, _SEED, (noise,))]
        _, ours = _measure(net, scenes)
        means = [
            ndimage.zoom(s.lr.mean(axis=0), 3, order=3, grid_mode=True, mode="nearest")
            for s in scenes
        ]
        theirs = np.mean(
            [agreement(*pair) for pair in zip(means, (s.hr for s in scenes), strict=True)]
        )
        yield Figure(
            f"noise of {noise} standard deviations of the land, {n_scenes} scenes: agreement",
            f"mean of the frames, enlarged: {theirs:.1f} dB",
            "no less",
            f"{ours:.1f} dB",
            ours > theirs - 0.05,
        )


def _measure(net, scenes):
    """Mean score and mean agreement."""
    images = net.predict(scenes)
    pairs = zip(images, scenes, strict=True)
    return mean_score(images, scenes), np.mean([agreement(image, s.hr) for image, s in pairs])


def agreement(image, truth):
    """Agreement of an image with the land, in decibels."""
    inner = (slice(_BORDER, -_BORDER),) * 2
    places = np.arange(-0.6, 0.61, 0.3)
    found = []
    for shift in product(places, places):
        moved = ndimage.shift(np.asarray(image, float), shift, order=3, mode="nearest")[inner]
        line = np.polyfit(moved.ravel(), truth[inner].ravel(), 1)
        found.append(truth[inner].std() / (truth[inner] - np.polyval(line, moved)).std())
    return 20 * np.log10(max(found))
