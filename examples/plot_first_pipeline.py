"""
A first pipeline
================

Train, predict and score. FusionNet, with the weights that ship, fuses all frames of a scene into
one image three times as sharp; SRCNN is trained to do so with the nine clearest. Both are compared
with the challenge's bicubic baseline on held-out scenes.

Without arguments all scenes are simulated. ``--data FOLDER`` tests on the scenes of a folder (the
data set's root, one split or one band; scenes without an HR image are skipped), ``--train FOLDER``
trains on those of another one. ``--quick`` runs everything in less than a minute, on few small
scenes; its scores do not show the quality.
"""

import argparse
from pathlib import Path
from time import perf_counter

import numpy as np
from matplotlib import pyplot as plt
from scipy.stats import kurtosis
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from probav_estimators import (
    SRCNN,
    BicubicBaseline,
    BicubicUpscaler,
    ClearanceSelector,
    ComparisonDisplay,
    FusionNet,
    InputComposer,
    ScoreDisplay,
    load_scenes,
    make_scenes,
)
from probav_estimators.scoring import scene_cpsnr, scene_score

# %%
# Options
# -------

parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[1])
parser.add_argument("--data", metavar="FOLDER", help="test on these scenes, not simulated ones")
parser.add_argument("--train", metavar="FOLDER", help="train on these, not simulated ones")
parser.add_argument("--scenes", type=int, default=40, help="for training, and 3 of 10 more to test")
parser.add_argument("--size", type=int, default=128, help="of simulated scenes, in LR pixels")
parser.add_argument("--epochs", type=int, default=40)
parser.add_argument("--quick", action="store_true", help="few small scenes and a short training")
parser.add_argument("--figure", default="results/first_pipeline.png", type=Path)
if parser.parse_args().quick:
    parser.set_defaults(scenes=10, size=48, epochs=2)
options = parser.parse_args()

# %%
# Scenes
# ------
# Estimators take a list of scenes: each contains its frames, its quality maps and its truth.


def simulate(n_scenes, random_state):
    return make_scenes(n_scenes, size=options.size, random_state=random_state, n_jobs=-1)


train = load_scenes(options.train) if options.train else simulate(options.scenes, 1)
test = load_scenes(options.data) if options.data else simulate(3 * options.scenes // 10, 2)
train, test = ([scene for scene in scenes if scene.has_hr] for scenes in (train, test))

# %%
# Estimators
# ----------
# FusionNet takes scenes as they are, and is already trained: frozen, it is not changed by `fit`.

scale = train[0].scale
assert scale is not None  # known from the HR image
estimators = {"baseline": BicubicBaseline()}
if scale == 3:
    estimators["FusionNet"] = FrozenEstimator(FusionNet.from_pretrained("simulated-x3"))

# %%
# Select, compose and upscale are lazy: SRCNN's data loader applies them to the patches it draws.

estimators["SRCNN"] = Pipeline(
    [
        ("select", ClearanceSelector(k=9)),
        ("compose", InputComposer(mode="concat")),
        ("upscale", BicubicUpscaler(scale=scale)),
        (
            "sr",
            SRCNN(
                max_epochs=options.epochs,
                batch_size=16,
                patch_size=32,
                augment=True,
                residual=True,
                random_state=0,
            ),
        ),
    ]
)

# %%
# Fit, predict, score
# -------------------

print(f"training on {len(train)} scenes, testing on {len(test)} others")
images, rows = {}, []
for name, estimator in estimators.items():
    start = perf_counter()
    estimator.fit(train, None)  # a scene carries its truth
    fitted = perf_counter()
    images[name] = estimator.predict(test)
    predicted = perf_counter()
    pairs = list(zip(images[name], test, strict=True))
    cpsnr = np.mean([scene_cpsnr(*pair) for pair in pairs])
    score = np.mean([scene_score(*pair) for pair in pairs])
    rows.append((name, cpsnr, score, fitted - start, predicted - fitted))

print(f"\n{'':10}{'cPSNR, dB':>12}{'N / cPSNR':>12}{'fit, s':>10}{'predict, s a scene':>21}")
for name, cpsnr, score, fit_seconds, predict_seconds in rows:
    print(
        f"{name:10}{cpsnr:12.2f}{score:12.4f}{fit_seconds:10.1f}{predict_seconds / len(test):21.3f}"
    )

# %%
# One scene
# ---------
# The one with the most distinct edges: gradients with few large values have a high kurtosis.


def distinctness(scene):
    down, right = np.gradient(scene.hr)
    return kurtosis((down + right)[scene.sm])


shown = max(test, key=distinctness)
comparison = ComparisonDisplay.from_estimator(estimators, shown, baseline=False)

# %%
# All scenes
# ----------
# Each score against the baseline; the worst scenes of an estimator are labelled with their names.

learned = [name for name in estimators if name != "baseline"]
charts, panels = plt.subplots(
    1, len(learned), figsize=(5 * len(learned), 4), layout="constrained", sharey=True, squeeze=False
)
for name, ax in zip(learned, panels.flat, strict=True):
    ScoreDisplay.from_predictions(test, images[name], name=name, ax=ax)

options.figure.parent.mkdir(parents=True, exist_ok=True)
for figure, path in (
    (charts, options.figure.with_stem(f"{options.figure.stem}_scores")),
    (comparison.figure_, options.figure),
):
    figure.savefig(path, dpi=80, pil_kwargs={"optimize": True})
    print(f"\nfigure: {path}")
