"""
Fusing frames
=============

What each further frame adds, and where the result is not to be relied on: FusionNet with the
weights that ship, on simulated scenes of which it is given fewer and fewer frames. ``--quick``
takes few small ones.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from probav_estimators import ClearanceSelector, FusionNet, make_scenes
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
# Fewer and fewer frames
# ----------------------
# A selection is one more step before the net. The clearest frames are chosen.

scenes = make_scenes(options.scenes, size=options.size, n_frames=24, random_state=4, n_jobs=-1)
net = FusionNet.from_pretrained("simulated-x3")
scores = {}
for k in (1, 2, 4, 8, 16, 24):
    selected = ClearanceSelector(k=k).transform(scenes)
    images = net.predict(selected)
    scores[k] = np.mean([scene_score(*pair) for pair in zip(images, selected, strict=True)])
    print(f"{k:3} frames: {scores[k]:.4f}")

# %%
# One scene with its standard deviations
# --------------------------------------

(image,), (deviation,) = net.predict(scenes[:1], return_std=True)
figure, axes = plt.subplots(1, 4, figsize=(15, 4), layout="constrained")
low, high = np.quantile(image, [0.01, 0.99])
axes[0].imshow(scenes[0].lr[0], cmap="gray", vmin=low, vmax=high)
axes[0].set_title("one frame of 24")
axes[1].imshow(image, cmap="gray", vmin=low, vmax=high)
axes[1].set_title("FusionNet")
drawn = axes[2].imshow(65535 * deviation, cmap="magma", vmax=65535 * np.quantile(deviation, 0.995))
axes[2].set_title("standard deviation, 14-bit counts")
figure.colorbar(drawn, ax=axes[2], shrink=0.8)
for ax in axes[:3]:
    ax.set_axis_off()
axes[3].plot(list(scores), list(scores.values()), "o-")
axes[3].axhline(1, color="k", lw=0.8)
axes[3].set_xscale("log", base=2, nonpositive="clip")
axes[3].set_xticks(list(scores), [str(k) for k in scores])
axes[3].set_xlabel("frames")
axes[3].set_ylabel("N / cPSNR (1: baseline, of all frames)")
options.figure.parent.mkdir(parents=True, exist_ok=True)
figure.savefig(options.figure, dpi=90)
print(f"\nfigure: {options.figure}")
