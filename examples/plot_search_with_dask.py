"""
A search over published configurations on more than one machine
===============================================================

Which architecture is best, with which input? ``GridSearchCV`` trains published configurations and
scores them by cross-validation, and Dask distributes the trainings to worker processes: two on this
machine, or with ``--scheduler`` those of a cluster. Scenes are on disk and sent as paths. If a
worker fails, its trainings are started again. ``--quick`` searches over two configurations on few
scenes.
"""

import argparse
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from probav_estimators import (
    SearchDisplay,
    cpsnr_scorer,
    load_scenes,
    make_scenes,
    probav_scorer,
    published_configurations,
    save_scenes,
)

# %%
# Options
# -------


def parse_options():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[1],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", metavar="FOLDER", help="search on these scenes, not simulated")
    parser.add_argument("--scenes", type=int, default=16, help="how many to simulate")
    parser.add_argument("--folder", help="write simulated scenes here; None: to a temporary folder")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="tcp://...; None: two processes")
    parser.add_argument("--configurations", default="stack", help="part of their names; '': all")
    parser.add_argument("--frames", type=int, default=5, help="for multi-image nets")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="few scenes and short trainings")
    parser.add_argument("--figure", default="results/search_with_dask.png", type=Path)
    if parser.parse_args().quick:
        parser.set_defaults(scenes=4, frames=2, epochs=1, configurations="FSRCNN stack")
    return parser.parse_args()


# %%
# Scenes in a folder
# ------------------
# Every worker opens the files itself, so all machines of a cluster must have the folder under the
# same path.


def prepare_scenes(options, temporary):
    if options.data:
        return [scene for scene in load_scenes(options.data) if scene.has_hr]
    root = options.folder or temporary
    save_scenes(make_scenes(options.scenes, size=64, random_state=1), root)
    return load_scenes(root)


# %%
# Workers
# -------
# One thread per worker: two nets on one core each finish sooner than one after the other on both.
# Dask also limits torch to one thread in its workers. It is imported here, so that ``--help`` works
# without it.


@contextmanager
def workers(scheduler):
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise SystemExit(
            f"this example needs Dask ({error}): pip install '.[dask,plot]' in the repository"
        ) from error
    if scheduler:
        with Client(scheduler) as client:
            yield client
    else:
        cluster = LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # any free port
        )
        with cluster, Client(cluster) as client:
            yield client


# %%
# The search
# ----------
# Folds are lists: joblib would keep an array of more than a hundred numbers on one worker only, and
# lose it with that worker.


def search(scenes, options):
    published = published_configurations(
        k=options.frames,
        scale=scenes[0].scale,
        max_epochs=options.epochs,
        batch_size=2,
        patch_size=24,
        augment=True,
        residual=True,
        train_split=None,
        random_state=0,
        verbose=0,
    )
    chosen = [
        (name, grid)
        for (name, _), grid in zip(published.pipelines, published.param_grid, strict=True)
        if options.configurations in name
    ]
    names, param_grid = zip(*chosen, strict=True)
    splitter = StratifiedKFold(options.folds, shuffle=True, random_state=0)
    folds = [
        (train.tolist(), test.tolist())
        for train, test in splitter.split(scenes, [scene.band for scene in scenes])
    ]
    found = GridSearchCV(
        published.pipelines[0][1],
        list(param_grid),
        scoring={"cpsnr": cpsnr_scorer, "probav": probav_scorer},
        refit="probav",
        cv=folds,
    )
    with parallel_config(backend="dask", wait_for_workers_timeout=60):
        return names, found.fit(scenes)


# %%
# Table and chart
# ---------------


def show(names, found, figure_path):
    results = pd.DataFrame(found.cv_results_, index=names)
    results["N / cPSNR"] = -results["mean_test_probav"]
    results["cPSNR, dB"] = results["mean_test_cpsnr"]
    results["fit, s"] = results["mean_fit_time"]
    results = results.sort_values("N / cPSNR")
    columns = ["param_select", "param_compose", "N / cPSNR", "cPSNR, dB", "fit, s"]
    print(results[columns].to_string(float_format="{:.4f}".format))

    # Greater is better in this chart, as for every scorer of scikit-learn: -1 is the baseline.
    display = SearchDisplay(
        costs=found.cv_results_["mean_fit_time"],
        scores=found.cv_results_["mean_test_probav"],
        score_deviations=found.cv_results_["std_test_probav"],
        labels=names,
        score_name="-N / cPSNR",
        cost_name="time to fit (s)",
    ).plot(max_named=len(names), name_all=True)
    figure_path.parent.mkdir(parents=True, exist_ok=True)
    display.figure_.savefig(figure_path, dpi=100)
    print(f"\nbest: {names[found.best_index_]}, {found.best_params_['sr']}\nfigure: {figure_path}")


# %%
# Run
# ---
# The guard is needed because worker processes import this file.

if __name__ == "__main__":
    chosen_options = parse_options()
    with tempfile.TemporaryDirectory() as temporary, workers(chosen_options.scheduler) as client:
        print(client)
        all_scenes = prepare_scenes(chosen_options, temporary)
        configurations, found = search(all_scenes, chosen_options)
        show(configurations, found, chosen_options.figure)
