"""
A search over input modes, on one machine or several
====================================================

Which input is best for a net? ``GridSearchCV`` compares frames alone, frames times quality maps,
and both as channels, each with all frames stacked (multi-image) and frame by frame with averaged
predictions (average single image), by cross-validation. The folds hold out whole scenes, so no
frame of a scored scene was used for training.

With ``--dask``, Dask distributes the trainings to two worker processes on this machine, and with
``--scheduler`` to those of a cluster. If a worker fails, its trainings are started again.
``--quick`` searches on few scenes with short trainings.
"""

import argparse
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pandas as pd
from joblib import parallel_config
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
    save_scenes,
)

# %%
# Options
# -------


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[1])
    parser.add_argument("--data", metavar="FOLDER", help="search on these, not simulated scenes")
    parser.add_argument("--scenes", type=int, default=16, help="how many to simulate")
    parser.add_argument("--folder", help="write simulated scenes here, and send them as paths")
    parser.add_argument("--dask", action="store_true", help="train in two processes of Dask")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="train on a cluster: tcp://...")
    parser.add_argument("--epochs", type=int, default=20, help="with stacked frames; see below")
    parser.add_argument("--frames", type=int, default=5, help="number of frames for a net")
    parser.add_argument("--quick", action="store_true", help="few scenes and short trainings")
    parser.add_argument("--figure", default="results/search.png", type=Path)
    if parser.parse_args().quick:
        parser.set_defaults(scenes=4, epochs=2, frames=2)
    return parser.parse_args()


# %%
# Scenes
# ------
# Scenes of a folder are sent to workers as paths: all machines of a cluster must have the folder
# under the same path.


def prepare_scenes(options):
    if options.data:
        return [scene for scene in load_scenes(options.data) if scene.has_hr]
    scenes = make_scenes(options.scenes, size=64, random_state=1, n_jobs=-1)
    if not options.folder:
        return scenes
    save_scenes(scenes, options.folder)
    return load_scenes(options.folder)


# %%
# Workers
# -------
# One thread per worker: two nets on one core each finish sooner than one after the other on both.
# Dask also limits torch to one thread in its workers. It is imported here, so that the search works
# without it.


@contextmanager
def dask_workers(scheduler):
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise SystemExit(
            f"--dask needs Dask ({error}): pip install '.[dask,plot]' in the repository"
        ) from error
    local = {"n_workers": 2, "threads_per_worker": 1, "host": "127.0.0.1"}
    # A dashboard at any free port.
    local["dashboard_address"] = "127.0.0.1:0"
    with (
        nullcontext(scheduler) if scheduler else LocalCluster(**local) as cluster,
        Client(cluster) as client,
        parallel_config(backend="dask", wait_for_workers_timeout=60),
    ):
        print(client)
        yield


# %%
# Pipeline and grid
# -----------------
# With ``frames="single"`` each frame is a sample. The number of epochs is divided by the number of
# frames, so that all candidates take the same number of steps.


def pipeline_and_grid(options, scale):
    net = SRCNN(
        batch_size=16,
        patch_size=32,
        augment=True,
        residual=True,
        train_split=None,
        random_state=0,
        verbose=0,
    )
    pipe = Pipeline(
        [
            ("select", ClearanceSelector(k=options.frames)),
            ("compose", InputComposer()),
            ("upscale", BicubicUpscaler(scale=scale)),
            ("sr", net),
        ]
    )
    epochs = {"stack": options.epochs, "single": max(1, options.epochs // options.frames)}
    grid = [
        {
            "compose__frames": [frames],
            "compose__mode": ["lr", "combine", "concat"],
            "sr__max_epochs": [number],
        }
        for frames, number in epochs.items()
    ]
    return pipe, grid


# %%
# Folds with both bands
# ---------------------
# Folds are lists: joblib would keep an array of more than a hundred numbers on one worker only, and
# lose it with that worker.


def search(scenes, options):
    bands = [scene.band for scene in scenes]
    splitter = StratifiedKFold(2, shuffle=True, random_state=0)
    found = GridSearchCV(
        *pipeline_and_grid(options, scenes[0].scale),
        scoring={"cpsnr": cpsnr_scorer, "probav": probav_scorer},
        refit="probav",
        cv=[(train.tolist(), test.tolist()) for train, test in splitter.split(scenes, bands)],
        verbose=2,
    )
    return found.fit(scenes)


# %%
# From one band to the other
# --------------------------
# With the bands as groups, each fold tests on a band that was not trained on. Sites, seasons or
# sensors can be groups in the same way.


def score_across_bands(estimator, scenes):
    bands = [scene.band for scene in scenes]
    scores = cross_val_score(
        estimator, scenes, groups=bands, cv=GroupKFold(2), scoring=probav_scorer
    )
    print(f"the best, trained on one band and scored on the other: {-scores.mean():.4f}")


# %%
# Table and chart
# ---------------
# Greater is better in the chart, as for every scorer of scikit-learn: -1 is the baseline.


def show(found, path):
    results = pd.DataFrame(
        {
            "frames": found.cv_results_["param_compose__frames"],
            "mode": found.cv_results_["param_compose__mode"],
            "N / cPSNR": -found.cv_results_["mean_test_probav"],
            "cPSNR, dB": found.cv_results_["mean_test_cpsnr"],
            "fit, s": found.cv_results_["mean_fit_time"],
        }
    ).sort_values("N / cPSNR")
    print(results.to_string(index=False, float_format="{:.4f}".format))
    display = SearchDisplay.from_cv_results(
        found.cv_results_, metric="probav", score_name="-N / cPSNR", name_all=True
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    display.figure_.savefig(path, dpi=100)
    print(f"\nbest: {found.best_params_}\nfigure: {path}")


# %%
# Run
# ---
# The guard is needed because worker processes of Dask import this file.

if __name__ == "__main__":
    chosen = parse_options()
    distributed = chosen.dask or chosen.scheduler
    with dask_workers(chosen.scheduler) if distributed else nullcontext():
        all_scenes = prepare_scenes(chosen)
        result = search(all_scenes, chosen)
        show(result, chosen.figure)
        score_across_bands(result.best_estimator_, all_scenes)
