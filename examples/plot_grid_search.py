"""
A search over input modes and frame handling
============================================

Which input is best for a net? ``GridSearchCV`` compares frames alone, frames times quality maps,
and both as channels, each with all frames stacked (multi-image) and frame by frame with averaged
predictions (average single image), by cross-validation. The folds hold out whole scenes, so no
frame of a scored scene was used for training. ``--quick`` searches on few scenes with short
trainings.
"""

import argparse
from pathlib import Path

import pandas as pd
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline

from probav_estimators import (
    SRCNN,
    BicubicUpscaler,
    ClearanceSelector,
    InputComposer,
    SearchDisplay,
    cpsnr_scorer,
    load_scenes,
    make_scenes,
    probav_scorer,
)

# %%
# Options
# -------

parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[1])
parser.add_argument("--data", metavar="FOLDER", help="search on these scenes, not simulated ones")
parser.add_argument("--scenes", type=int, default=16, help="how many to simulate")
parser.add_argument("--epochs", type=int, default=20, help="with stacked frames; see below")
parser.add_argument("--frames", type=int, default=5, help="number of frames for a net")
parser.add_argument("--quick", action="store_true", help="few scenes and short trainings")
parser.add_argument("--figure", default="results/grid_search.png", type=Path)
if parser.parse_args().quick:
    parser.set_defaults(scenes=4, epochs=2, frames=2)
options = parser.parse_args()

scenes = (
    [scene for scene in load_scenes(options.data) if scene.has_hr]
    if options.data
    else make_scenes(options.scenes, size=64, random_state=1, n_jobs=-1)
)

# %%
# Pipeline and grid
# -----------------
# With ``frames="single"`` each frame is a sample. The number of epochs is divided by the number of
# frames, so that all candidates take the same number of steps.

scale = scenes[0].scale
assert scale is not None  # known from the HR image
pipe = Pipeline(
    [
        ("select", ClearanceSelector(k=options.frames)),
        ("compose", InputComposer()),
        ("upscale", BicubicUpscaler(scale=scale)),
        (
            "sr",
            SRCNN(
                batch_size=16,
                patch_size=32,
                augment=True,
                residual=True,
                train_split=None,
                random_state=0,
                verbose=0,
            ),
        ),
    ]
)
modes = ["lr", "combine", "concat"]
grid = [
    {"compose__frames": ["stack"], "compose__mode": modes, "sr__max_epochs": [options.epochs]},
    {
        "compose__frames": ["single"],
        "compose__mode": modes,
        "sr__max_epochs": [max(1, options.epochs // options.frames)],
    },
]

# %%
# Folds with both bands
# ---------------------

bands = [scene.band for scene in scenes]
folds = list(StratifiedKFold(2, shuffle=True, random_state=0).split(scenes, bands))
search = GridSearchCV(
    pipe,
    grid,
    scoring={"cpsnr": cpsnr_scorer, "probav": probav_scorer},
    refit="probav",
    cv=folds,
    verbose=2,
).fit(scenes)

# %%
# From one band to the other
# --------------------------
# With the bands as groups, each fold tests on a band that was not trained on. Sites, seasons or
# sensors can be groups in the same way.

across = cross_val_score(
    search.best_estimator_, scenes, groups=bands, cv=GroupKFold(2), scoring=probav_scorer
)

# %%
# Table and chart
# ---------------

results = pd.DataFrame(
    {
        "frames": search.cv_results_["param_compose__frames"],
        "mode": search.cv_results_["param_compose__mode"],
        "N / cPSNR": -search.cv_results_["mean_test_probav"],
        "cPSNR, dB": search.cv_results_["mean_test_cpsnr"],
        "fit, s": search.cv_results_["mean_fit_time"],
    }
).sort_values("N / cPSNR")
print(results.to_string(index=False, float_format="{:.4f}".format))

# Greater is better in this chart, as for every scorer of scikit-learn: -1 is the baseline.
display = SearchDisplay.from_cv_results(
    search.cv_results_, metric="probav", score_name="-N / cPSNR", name_all=True
)
options.figure.parent.mkdir(parents=True, exist_ok=True)
display.figure_.savefig(options.figure, dpi=100)
print(f"\nbest: {search.best_params_}\nfigure: {options.figure}")
print(f"the best, trained on one band and scored on the other: {-across.mean():.4f}")
