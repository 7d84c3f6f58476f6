"""FusionNet on difficult scenes: other sensors, land that changes, few frames.

Every row has 16 scenes of its own; those of different sensors have the same land. FusionNet with
the weights that ship is compared with the challenge's baseline, which has 1.0 by definition, the
mean of the nine clearest frames, upscaled, and an SRCNN that this benchmark trains on the default
scenes. The scenes of the last rows are real; if PROBAV_SAMPLES is the folder of sample data, its
scenes are measured too. None of these scenes is used for any choice but to end a training of
:mod:`benchmarks.pretrain`, which scores the real ones and others of the same kinds.

Displacements are those of FusionNet's images from the mean of their frames, (down, right) in HR
pixels, for simulated scenes with known shifts of the frames against the truth.
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.pipeline import make_pipeline

from probav_estimators import (
    SRCNN,
    BicubicUpscaler,
    ClearanceSelector,
    FusionNet,
    InputComposer,
    Scene,
    Sensor,
    load_scenes,
    make_scenes,
)

from ._measure import Figure
from ._scores import (
    COVERAGE,
    MAX_DISPLACEMENT,
    describe_coverage,
    describe_displacement,
    mean_score,
    move_to_truth,
    truth_moved_to_image,
)
from ._series import sentinel2_scenes

_WEIGHTS = "simulated-x3"
_SEED = 14

_RESAMPLED = {"resampling": "bicubic", "raw_pixel": (0.6, 1.15), "raw_rotation": (-10, 10)}

# Fields that differ from the sensor "plain", and the goal of the score or None.
_SENSORS = {
    "PSF of 0.3 HR pixels": ({"psf_sigma": 0.3}, 0.855),
    "PSF of 0.5": ({"psf_sigma": 0.5}, 0.855),
    "PSF of 0.8": ({"psf_sigma": 0.8}, 0.855),
    "PSF of 1.2": ({"psf_sigma": 1.2}, 0.855),
    "PSF of 0.5, resampled by bicubic": ({"psf_sigma": 0.5, **_RESAMPLED}, 0.885),
    "PSF of 0.8, half of the fields change by 15 %": (
        {"psf_sigma": 0.8, "change": 0.15, "changing_fields": 0.5},
        0.925,
    ),
    "PSF of 0.8, all fields change by 50 %": (
        {"psf_sigma": 0.8, "change": 0.5, "changing_fields": 1.0},
        None,
    ),
    "PSF of 0.8, a third of the cloudy maps miss clouds": (
        {"psf_sigma": 0.8, "missed_clouds": 0.33},
        None,
    ),
    "PSF of 0.8, distortion of 0.3 LR pixels": ({"psf_sigma": 0.8, "distortion": 0.3}, None),
    "PSF of 0.8, stripes": ({"psf_sigma": 0.8, "stripes": 0.004}, None),
}
_PRESETS = ("proba-v", "sentinel-2", "landsat-8", "any")

# Point spread functions of the frames in HR pixels, and goals.
_DATES = {"plain box pixels": (0, 0.940), "blurred by 1.2 HR pixels first": (1.2, 0.930)}

_SAMPLES = {"real_texture": 0.890, "real_series": 0.940}

# Allowed increase of the score with fewer frames or pixels, or with frames of another site.
_FEWER_FRAMES, _FEWER_PIXELS, _STRANGE_FRAMES = 0.02, 0.01, 0.01
_N_STRANGE = 10

#: The row that those of changed frames are compared with.
FULL = "24 frames of the default sensor"

# The sensor whose images are also scored after registration to their truths.
_REGISTERED = "PSF of 0.8"


def benchmark(n_scenes=16, size=128, n_epochs=40):
    """Scores and coverage of standard deviations, a row for each kind of scenes."""
    table, goals = _Table(size, n_epochs), {}
    for row in rows(n_scenes, size):
        # Goals of changed scenes are relative to the scenes as they were.
        goal = row.goal if row.of is None else goals[row.of] + row.goal
        yield table.row(row.name, row.scenes, goal)
        goals[row.name] = table.score
        if row.name == _REGISTERED:
            name = f"{row.name}, FusionNet's images moved to their truths"
            yield table.row(name, row.scenes, None, registered=True)


class Row(NamedTuple):
    """Scenes of a row, and the goal of their score or None; with `of`, beyond that of this row."""

    name: str
    scenes: list[Scene]
    goal: float | None = None
    of: str | None = None


def rows(n_scenes, size, scale=3, seed=0):
    """Rows of `n_scenes` scenes each: simulated with any seed, and the real ones there are.

    The scenes of docs/benchmarks.md have the seed 0.
    """
    options = {"size": size, "scale": scale, "n_jobs": -1}
    sensors = {name: Sensor.preset("plain", **fields) for name, (fields, _) in _SENSORS.items()}
    for name, sensor in sensors.items():
        scenes = make_scenes(n_scenes, sensor=sensor, random_state=_SEED + seed, **options)
        yield Row(name, scenes, _SENSORS[name][1])
    for name in _PRESETS:
        scenes = make_scenes(n_scenes, sensor=name, random_state=_SEED + seed, **options)
        yield Row(f"preset {name!r}", scenes)
    scenes = make_scenes(n_scenes, n_frames=24, random_state=12 + seed, **options)
    yield Row(FULL, scenes)
    yield Row("9 of these frames", [_with_frames(s, slice(9)) for s in scenes], _FEWER_FRAMES, FULL)
    yield Row("the clearest of these frames alone", [*map(_clearest_alone, scenes)])
    mixed = [_with_frames_of(*pair) for pair in zip(scenes, scenes[1:] + scenes[:1], strict=True)]
    name = f"these frames and {_N_STRANGE} of another site, clear by their maps"
    yield Row(name, mixed, _STRANGE_FRAMES, FULL)
    rng = np.random.default_rng(0)
    for kind, pierce in (("single pixels", _hide_pixels), ("squares of 12", _hide_squares)):
        hidden = [_with_quality_maps(scene, pierce(scene.qm, rng)) for scene in scenes]
        yield Row(f"24 frames, 30 % of the pixels masked, {kind}", hidden, _FEWER_PIXELS, FULL)
    if scale == 3:
        yield from _real_rows(n_scenes)


def _real_rows(n_scenes):
    for name, (psf_sigma, goal) in _DATES.items():
        scenes = sentinel2_scenes(psf_sigma)[:n_scenes]
        yield Row(f"real dates of Sentinel-2, {name}", scenes, goal)
    folder = os.environ.get("PROBAV_SAMPLES")
    for name, goal in _SAMPLES.items() if folder else ():
        yield Row(f"`{name}`", load_scenes(Path(folder, name))[:n_scenes], goal)


class _Table:
    """Rows of one table, by the same estimators."""

    def __init__(self, size, n_epochs):
        self.net = FusionNet.from_pretrained(_WEIGHTS, verbose=0)
        self.srcnn = fit_srcnn(size, n_epochs)

    def row(self, name, scenes, goal, registered=False):
        """Figure of the scenes; without a goal FusionNet should be better than the others.

        With `registered`, FusionNet's images are registered to their truths, and compared with the
        truths registered to the images. The displacement is that before the registration.
        """
        images, deviations = self.net.predict(scenes, return_std=True)
        nine = InputComposer().transform(ClearanceSelector(k=9).transform(scenes))
        means = _in_range((scene.inputs.read_mean(0, scene.scale) for scene in nine), scenes)
        simple, learned = (mean_score(x, scenes) for x in (means, self.srcnn.predict(scenes)))
        compared = f"baseline 1.0, the mean of nine frames {simple:.4f}, SRCNN {learned:.4f}"
        where, in_place = describe_displacement(images, scenes)
        if registered:
            triples = zip(images, deviations, scenes, strict=True)
            moved, deviations = zip(*(move_to_truth(*triple) for triple in triples), strict=True)
            images = _in_range(moved, scenes)
            truths = mean_score(_in_range(map(truth_moved_to_image, scenes), scenes), scenes)
            compared += f", the truths registered to the images {truths:.4f}"
        self.score = mean_score(images, scenes)
        covered, is_calibrated = describe_coverage(images, deviations, scenes)
        limit = min(1.0, simple, learned) if goal is None else goal
        return Figure(
            f"{name}, {len(scenes)} scenes: N / cPSNR; errors within one and two standard "
            "deviations; displacement",
            compared,
            f"{'less' if goal is None else f'{goal:.4f}'}; {COVERAGE}; under {MAX_DISPLACEMENT}",
            f"{self.score:.4f}; {covered}; {where}",
            self.score <= limit and is_calibrated and in_place,
        )


def _in_range(images, scenes):
    """Clip images to the range of their scenes, which splines and means may exceed."""
    ranges = [scene.value_range or (0, 1) for scene in scenes]
    return [np.clip(image, *limits) for image, limits in zip(images, ranges, strict=True)]


def fit_srcnn(size, n_epochs):
    return make_pipeline(
        ClearanceSelector(k=9),
        InputComposer(mode="concat"),
        BicubicUpscaler(scale=3),
        SRCNN(
            max_epochs=n_epochs,
            patch_size=min(32, size),
            batch_size=16,
            augment=True,
            residual=True,
            random_state=0,
            verbose=0,
        ),
    ).fit(make_scenes(40, size=size, random_state=0, n_jobs=-1))


def _changed(scene, lr, qm, true_shifts=None):
    changed = Scene(lr, qm, scene.hr, scene.sm, norm=scene.norm, name=scene.name, band=scene.band)
    if true_shifts is None:
        return changed
    return changed.with_frames(changed.frames.with_true_shifts(true_shifts))


def _with_frames(scene, chosen):
    """Select frames of a scene."""
    return _changed(scene, scene.lr[chosen], scene.qm[chosen], scene.true_shifts[chosen])


def _with_quality_maps(scene, qm):
    return _changed(scene, scene.lr, qm, scene.true_shifts)


def _with_frames_of(scene, other):
    """Add frames of another scene, with all pixels marked as clear."""
    strange = other.lr[:_N_STRANGE]
    qm = np.concatenate([scene.qm, np.ones(strange.shape, bool)])
    return _changed(scene, np.concatenate([scene.lr, strange]), qm)


def _clearest_alone(scene):
    return _with_frames(scene, [int(scene.qm.sum(axis=(1, 2)).argmax())])


def _hide_pixels(qm, rng):
    return qm & (rng.random(qm.shape) > 0.3)


def _hide_squares(qm, rng, size=12):
    hidden = np.zeros(qm.shape, bool)
    for mask in hidden:
        while mask.mean() < 0.3:
            row, column = (int(rng.integers(length - size)) for length in mask.shape)
            mask[row : row + size, column : column + size] = True
    return qm & ~hidden
