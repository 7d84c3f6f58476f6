"""
Comparison of the published systems
===================================

Trains the twelve configurations of the original study on the same scenes, and prints one table: the
study's score, the score measured here, and the cost. ``probav benchmark`` does the same with a data
set; here the scenes are simulated.

The default trains each net on 4,000 patches with ``residual=True``: the net predicts the difference
to the upscaled mean frame. ``--published`` trains the nets exactly as the study did (whole frames,
a sigmoid at the end, 150 epochs), which takes days. A run that was stopped resumes at its last
epoch when it is started again. ``--quick`` trains all of them for one epoch, on few small scenes.
"""

import argparse
from pathlib import Path

import pandas as pd

from probav_estimators import (
    SearchDisplay,
    make_scenes,
    published_configurations,
    run_benchmark,
    save_scenes,
)

# %%
# Options
# -------

parser = argparse.ArgumentParser(
    description=__doc__.split("\n\n")[1], formatter_class=argparse.ArgumentDefaultsHelpFormatter
)
parser.add_argument("--data", metavar="FOLDER|ZIP", help="a data set instead of simulated scenes")
parser.add_argument("--scenes", type=int, default=100, help="how many to simulate")
parser.add_argument("--size", type=int, default=128, help="of these, in LR pixels")
parser.add_argument("--patch-size", type=int, default=32, help="in LR pixels")
parser.add_argument("--published", action="store_true", help="train exactly as the study did")
parser.add_argument("--quick", action="store_true", help="few small scenes, one epoch")
parser.add_argument("--results", default="results/published", type=Path, metavar="FOLDER")
if parser.parse_args().quick:
    parser.set_defaults(scenes=10, size=16, patch_size=16)
options = parser.parse_args()

# %%
# Scenes
# ------
# In the layout of the challenge's data set, as ``probav simulate`` writes them, and with its number
# and clearance of frames: in four of ten scenes no frame is fully clear. They are the same in every
# run of the same size.

root = options.data or options.results / f"scenes-{options.scenes}-{options.size}"
if not Path(root).exists():
    sensor = "probav-challenge"
    scenes = make_scenes(
        options.scenes, size=options.size, sensor=sensor, random_state=3, n_jobs=-1
    )
    save_scenes(scenes, root)

# %%
# Train and score
# ---------------
# Every row has a folder with its model, history and picture; finished rows are not repeated. Other
# settings need other folders.

names = [name for name, _ in published_configurations().pipelines]
how = "published" if options.published else f"residual-{options.patch_size}"
output = options.results / f"{Path(root).stem}-{how}{'-quick' if options.quick else ''}"
benchmark = run_benchmark(
    root,
    output,
    configurations=["baseline", "baseline OpenCV", *names, "FusionNet"],
    residual=not options.published,
    patch_size=None if options.published else options.patch_size,
    quick=options.quick,
)

# %%
# Table and chart
# ---------------

table = pd.DataFrame(benchmark.rows).drop(columns="folder")
print(f"\nN / cPSNR; models, histories and pictures are in {benchmark.output}\n")
print(table.to_string(index=False, na_rep="-", float_format="{:.5g}".format))

# Greater is better in this chart, as for every scorer of scikit-learn: -1 is the baseline.
display = SearchDisplay(
    costs=table["predict_seconds"].to_numpy(),
    scores=-table["validation_score"].to_numpy(),
    labels=table["row"].to_list(),
    score_name="-N / cPSNR",
    cost_name="time to predict a scene (s)",
).plot(max_named=len(table), name_all=True)
display.figure_.savefig(benchmark.output / "score_against_cost.png", dpi=100)
print(f"\nfigure: {benchmark.output / 'score_against_cost.png'}")
