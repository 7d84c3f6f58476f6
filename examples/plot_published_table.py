"""
The published systems, side by side
===================================

Trains the twelve configurations of the study that this package starts from on the same scenes, with
patches of the same size and in the same number, and prints one table: the study's score, the score
measured here on scenes that no net saw, and what it costs.

The default takes about half an hour on 2 cores. It needs ``residual=True``, where a net predicts
what to add to the upscaled mean frame; ``--published`` trains the nets exactly as the study did
(whole frames, a sigmoid at the end, 150 epochs), which takes days on 2 cores and hours on a GPU.
A configuration that is done is kept in ``--results`` and not trained again. ``--quick`` trains all
of them for a moment, on few small scenes.
"""

import argparse
import json
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from probav_estimators import (
    SearchDisplay,
    load_scenes,
    make_scenes,
    published_configurations,
)
from probav_estimators.scoring import scene_score

# %%
# What can be chosen
# ------------------

parser = argparse.ArgumentParser(
    description=__doc__.split("\n\n")[1], formatter_class=argparse.ArgumentDefaultsHelpFormatter
)
parser.add_argument("--data", metavar="FOLDER", help="scenes of a folder instead of simulated ones")
parser.add_argument("--scenes", type=int, default=100, help="how many to simulate")
parser.add_argument("--size", type=int, default=128, help="of these, in LR pixels")
parser.add_argument("--patches", type=int, default=4000, help="that each net is trained on")
parser.add_argument("--patch-size", type=int, default=32, help="in LR pixels")
parser.add_argument("--published", action="store_true", help="train exactly as the study did")
parser.add_argument("--quick", action="store_true", help="few small scenes and patches")
parser.add_argument("--results", default="results/published", type=Path, metavar="FOLDER")
if parser.parse_args().quick:
    parser.set_defaults(scenes=10, size=32, patches=8)
options = parser.parse_args()

# %%
# Scenes
# ------
# A fifth is kept for scoring, with both bands on both sides.

scenes = (
    [scene for scene in load_scenes(options.data) if scene.has_hr]
    if options.data
    else make_scenes(options.scenes, size=options.size, random_state=3, n_jobs=-1)
)
bands = [scene.band for scene in scenes]
train, test = train_test_split(scenes, test_size=0.2, stratify=bands, random_state=0)

# %%
# Configurations
# --------------

parameters: dict[str, Any] = {"random_state": 0}
if not options.published:
    parameters |= {
        "residual": True,
        "patch_size": options.patch_size,
        "augment": True,
        "batch_size": 16,
        "train_split": 0.05,
    }
published = published_configurations(scale=train[0].scale, **parameters)


def train_and_score(name, pipe):
    """Row of the table, and the score of each test scene."""
    if not options.published:
        # An epoch shows one patch of every sample, and single frames are many samples.
        samples = sum(scene.n_views for scene in pipe[:-1].transform(train))
        pipe.set_params(sr__max_epochs=max(1, round(options.patches / samples)))
    start = perf_counter()
    pipe.fit(train)
    fitted = perf_counter()
    images = pipe.predict(test)
    predicted = perf_counter()
    scores = [scene_score(image, scene) for image, scene in zip(images, test, strict=True)]
    return {
        "model": name,
        "published": published.scores[name],
        "measured": float(np.mean(scores)),
        "parameters": sum(p.numel() for p in pipe[-1].module_.parameters()),
        "fit, s": fitted - start,
        "predict, s a scene": (predicted - fitted) / len(test),
    }


# %%
# Train them
# ----------
# Every row is written once it is known, so that a run that was broken off goes on.

settings = {key: str(value) for key, value in vars(options).items() if key != "results"}
rows = []
for name, pipe in published.pipelines:
    done = options.results / f"{name}.json"
    if done.exists() and json.loads(done.read_text())["settings"] == settings:
        rows.append(json.loads(done.read_text())["row"])
        continue
    print(f"{name}: training on {len(train)} scenes", flush=True)
    rows.append(train_and_score(name, pipe))
    options.results.mkdir(parents=True, exist_ok=True)
    partial = done.with_suffix(".partial")
    partial.write_text(json.dumps({"settings": settings, "row": rows[-1]}))
    partial.replace(done)

# %%
# As a table and as a chart
# -------------------------

table = pd.DataFrame(rows)
how = "as published" if options.published else "residual=True, patches"
formats = {"published": "{:.5f}", "measured": "{:.5f}", "fit, s": "{:.0f}"}
formatters = {key: form.format for key, form in formats.items()}
print(f"\nN / cPSNR, trained {how}; measured on {len(test)} scenes that no net saw\n")
print(table.to_string(index=False, formatters=formatters, float_format="{:.3f}".format))

# Greater is better in this chart, as for every scorer of scikit-learn: -1 is the baseline.
display = SearchDisplay(
    costs=table["predict, s a scene"].to_numpy(),
    scores=-table["measured"].to_numpy(),
    labels=table["model"].to_list(),
    score_name="-N / cPSNR",
    cost_name="time to predict a scene (s)",
).plot(max_named=len(table), name_all=True)
display.figure_.savefig(options.results / "score_against_cost.png", dpi=100)
print(f"\nfigure: {options.results / 'score_against_cost.png'}")
