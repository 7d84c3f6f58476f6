"""Invariances of FusionNet's images: axes, copies of a frame, units and crops.

Differences are in standard deviations of the image: the greatest of any pixel, and the root mean
square of the scene where it is greatest. If PROBAV_SAMPLES is the folder of sample data, parts of
its scenes are measured too.
"""

import os
from pathlib import Path

import numpy as np

from probav_estimators import FusionNet, Scene, load_scenes, make_scenes

from ._measure import Figure

_SIZE, _MARGIN = 64, 8

# With what undoes them.
_FLIPS = {
    "quarter turn": (np.rot90, lambda image: np.rot90(image, -1)),
    "flip": (np.fliplr, np.fliplr),
}

_VERSIONS = {
    "one frame given twice": lambda frame: frame,
    "with other gain and offset": lambda frame: 1.02 * frame + 0.01,
    "rounded to 1e-4": lambda frame: np.round(frame, 4),
}

# Values are gain * pixel + offset, in a scene with value_range=(0, 1).
_UNITS = {
    "gain of 1e-12": (1e-12, 0.0),
    "gain of 37, offset of -20": (37.0, -20.0),
    "contrast of 1e-5 at a level of 0.5": (1e-3, 0.5),
}


def benchmark(n_scenes=3):
    """Differences between images that should be equal."""
    scenes = [(scene.lr, scene.qm) for scene in _scenes(n_scenes)]
    for n_augment in (1, 8):
        net = FusionNet.from_pretrained(compute_dtype="float32", verbose=0, n_augment=n_augment)
        images = [_predict(net, *scene) for scene in scenes]
        for name, (flip, undo) in _FLIPS.items():
            found = [
                _difference(undo(_predict(net, *(_apply(flip, x) for x in scene))), image)
                for scene, image in zip(scenes, images, strict=True)
            ]
            yield _figure(f"{name}, `n_augment={n_augment}`", found, 0.02)
        if n_augment == 1:
            yield from _other_differences(net, scenes, images)


def _other_differences(net, scenes, images):
    for name, version in _VERSIONS.items():
        found = []
        for (lr, qm), image in zip(scenes, images, strict=True):
            number = len(lr) // 2
            copies = [*lr, np.float32(version(lr[number]))], [*qm, qm[number]]
            found.append(_difference(_predict(net, *map(np.array, copies)), image))
        yield _figure(name, found, 0.02)
    for name, (gain, offset) in _UNITS.items():
        found = [
            _difference((_predict(net, gain * np.float64(lr) + offset, qm) - offset) / gain, image)
            for (lr, qm), image in zip(scenes, images, strict=True)
        ]
        yield _figure(name, found, 0.02)
    inner = slice(3 * _MARGIN, -3 * _MARGIN)
    found = [
        _difference(
            _predict(net, *(x[:, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN] for x in scene))[inner, inner],
            image[inner, inner][inner, inner],
        )
        for scene, image in zip(scenes, images, strict=True)
        if len(image) >= 3 * _SIZE
    ]
    yield _figure(f"{_MARGIN} LR pixels inside of a crop", found, None)


def _scenes(n_scenes):
    scenes = make_scenes(n_scenes, size=_SIZE, n_frames=9, random_state=7)
    folder = os.environ.get("PROBAV_SAMPLES")
    if folder:
        part = slice(0, _SIZE), slice(0, _SIZE)
        scenes += [scene.crop(part) for scene in load_scenes(Path(folder, "real_texture"))[:3]]
        scenes += load_scenes(Path(folder, "real_series"))[:2]
    return scenes


def _apply(flip, frames):
    return np.stack([flip(frame) for frame in frames])


def _predict(net, lr, qm):
    return net.predict([Scene(lr, qm, value_range=(0, 1))])[0].astype(np.float64)


def _difference(image, expected):
    difference = (image - expected) / expected.std()
    return np.abs(difference).max(), np.sqrt(np.square(difference).mean())


def _figure(what, found, goal):
    greatest, rms = np.max(found, axis=0)
    return Figure(
        what,
        f"{len(found)} scenes",
        "-" if goal is None else f"{goal} rms",
        f"{greatest:.3f}, {rms:.4f} rms",
        goal is None or rms <= goal,
    )
