"""
Fusing frames
=============

Score against the number of frames, and the uncertainty of the result: FusionNet with the weights
that ship, on simulated scenes. ``--quick`` takes few small ones.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from probav_estimators import (
    CalibrationDisplay,
    ClearanceSelector,
    ComparisonDisplay,
    FusionNet,
    SceneDisplay,
    make_scenes,
)
from probav_estimators.scoring import scene_score

parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[1])
parser.add_argument("--scenes", type=int, default=12)
parser.add_argument("--size", type=int, default=128, help="of the scenes, in LR pixels")
parser.add_argument("--quick", action="store_true", help="few small scenes")
parser.add_argument("--figure", default="results/fusion.png", type=Path)
if parser.parse_args().quick:
    parser.set_defaults(scenes=2, size=48)
options = parser.parse_args()

# %%
# Frames
# ------
# The clearest frames of a scene, the clearance of all, and their shifts.

scenes = make_scenes(options.scenes, size=options.size, n_frames=24, random_state=4, n_jobs=-1)
frames = SceneDisplay.from_scene(scenes[0])

# %%
# Fewer frames
# ------------
# `ClearanceSelector` selects the clearest frames.

net = FusionNet.from_pretrained("simulated-x3")
scores = {}
for k in (1, 2, 4, 8, 16, 24):
    selected = ClearanceSelector(k=k).transform(scenes)
    images = net.predict(selected)
    scores[k] = np.mean([scene_score(*pair) for pair in zip(images, selected, strict=True)])
    print(f"{k:3} frames: {scores[k]:.4f}")

# %%
# Uncertainty
# -----------
# Standard deviations are large where errors are large, and their coverage is close to nominal.

display = ComparisonDisplay.from_estimator(net, scenes[0], baseline=False)
chart, (few, calibration) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
few.plot(list(scores), list(scores.values()), "o-")
few.axhline(1, color="0.3", lw=1)
few.set_xscale("log", base=2, nonpositive="clip")
few.set_xticks(list(scores), [str(k) for k in scores])
few.set_xlabel("frames")
few.set_ylabel("N / cPSNR (1: baseline, of all frames)")
CalibrationDisplay.from_estimator(net, scenes, ax=calibration)
options.figure.parent.mkdir(parents=True, exist_ok=True)
for figure, path in (
    (frames.figure_, options.figure.with_stem(f"{options.figure.stem}_scene")),
    (chart, options.figure.with_stem(f"{options.figure.stem}_frames")),
    (display.figure_, options.figure),
):
    figure.savefig(path, dpi=90)
    print(f"\nfigure: {path}")
