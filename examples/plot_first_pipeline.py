"""
A first pipeline
================

Predict, score and train. FusionNet, with the weights that ship, fuses all frames of a scene into
one image three times as sharp; SRCNN is trained to do so with the nine clearest, for a minute at
most. Both are compared with the challenge's bicubic baseline on held-out scenes.

Without arguments all scenes are simulated. ``--data FOLDER`` tests on the scenes of a folder (the
data set's root, one split or one band; scenes without an HR image are skipped), ``--train FOLDER``
trains on those of another one. ``--quick`` runs everything in less than a minute, on few small
scenes; its scores do not show the quality.
"""

import argparse
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from matplotlib import pyplot as plt
from scipy.stats import kurtosis
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
    TimeLimit,
    load_scenes,
    make_scenes,
)
from probav_estimators.processes import free_cores
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
# Threads
# -------
# Threads of torch wait for each other in every layer: beside busy processes, fewer are faster.

torch.set_num_threads(min(torch.get_num_threads(), free_cores()))

# %%
# Scenes
# ------
# Estimators take a list of scenes: each contains its frames, its quality maps and its truth.


def simulate(n_scenes, random_state):
    return make_scenes(n_scenes, size=options.size, random_state=random_state, n_jobs=-1)


def scenes_of(folder, *simulated):
    scenes = load_scenes(folder) if folder else simulate(*simulated)
    return [scene for scene in scenes if scene.has_hr]


test = scenes_of(options.data, 3 * options.scenes // 10, 2)
scale = test[0].scale
assert scale is not None  # known from the HR image

# %%
# Results
# -------
# The shown scene has the most distinct edges: gradients with few large values have a high kurtosis.


def distinctness(scene):
    down, right = np.gradient(scene.hr)
    return kurtosis((down + right)[scene.sm])


shown = max(test, key=distinctness)
estimators: dict = {}  # by name
images: dict = {}  # the predictions of each


def measure(name, estimator, train=None):
    """Fit an estimator, if there are scenes to train on, and print its scores."""
    start = perf_counter()
    if train is not None:
        estimator.fit(train)  # a scene carries its truth
    fitted = perf_counter()
    estimators[name], images[name] = estimator, estimator.predict(test)
    seconds = (perf_counter() - fitted) / len(test)
    pairs = list(zip(images[name], test, strict=True))
    cpsnr = np.mean([scene_cpsnr(*pair) for pair in pairs])
    score = np.mean([scene_score(*pair) for pair in pairs])
    print(f"{name:10}{cpsnr:12.2f}{score:12.4f}{fitted - start:10.1f}{seconds:21.3f}", flush=True)


def show():
    """Write the images of the shown scene, and all scores against the baseline."""
    plt.close("all")
    comparison = ComparisonDisplay.from_estimator(estimators, shown, baseline=False)
    # The worst scenes of an estimator are labelled with their names.
    learned = [name for name in estimators if name != "baseline"]
    size = (5 * len(learned), 4)
    charts, panels = plt.subplots(
        1, len(learned), figsize=size, layout="constrained", sharey=True, squeeze=False
    )
    for name, ax in zip(learned, panels.flat, strict=True):
        ScoreDisplay.from_predictions(test, images[name], name=name, ax=ax)
    options.figure.parent.mkdir(parents=True, exist_ok=True)
    scores = options.figure.with_stem(f"{options.figure.stem}_scores")
    for figure, path in ((charts, scores), (comparison.figure_, options.figure)):
        figure.savefig(path, dpi=80, pil_kwargs={"optimize": True})


# %%
# FusionNet
# ---------
# FusionNet takes scenes as they are, and is already trained, for scales 2, 3 and 4.

print(f"testing on {len(test)} scenes\n")
print(f"{'':10}{'cPSNR, dB':>12}{'N / cPSNR':>12}{'fit, s':>10}{'predict, s a scene':>21}")
measure("baseline", BicubicBaseline())
if scale == 3:
    measure("FusionNet", FusionNet.from_pretrained("simulated-x3"))
    show()
    print(f"figure: {options.figure}", flush=True)

# %%
# SRCNN
# -----
# Select, compose and upscale are lazy: SRCNN's data loader applies them to the patches it draws.

train = scenes_of(options.train, options.scenes, 1)
print(f"training on {len(train)} other scenes, for a minute at most")
srcnn = SRCNN(
    max_epochs=options.epochs,
    callbacks=[TimeLimit(minutes=1)],
    batch_size=16,
    patch_size=32,
    augment=True,
    residual=True,
    random_state=0,
)
steps = [
    ("select", ClearanceSelector(k=9)),
    ("compose", InputComposer(mode="concat")),
    ("upscale", BicubicUpscaler(scale=scale)),
    ("sr", srcnn),
]
measure("SRCNN", Pipeline(steps), train)
show()
print(f"figure: {options.figure}")
