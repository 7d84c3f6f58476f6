"""
Comparison of multi-image networks
==================================

Trains the published multi-image networks on the same simulated scenes for the same time, and
compares them with FusionNet as it ships and, if you have their authors' files, with the published
weights: score on simulated and on real scenes, parameters, seconds and memory per scene.

The default takes about an hour on 2 cores. A trained network is stored in ``--results`` and not
trained again. ``--published FOLDER`` is a folder with copies of the authors' repositories
(rarefin/MISR-GRU, Suanmd/TR-MISR), whose weights cannot be part of this package. ``--quick`` trains
all networks for about a second, on few small scenes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from probav_estimators import (
    MISRGRU,
    RAMS,
    TRMISR,
    BicubicBaseline,
    FusionNet,
    HighResNet,
    PIUNet,
    TimeLimit,
    load_model,
    load_scenes,
    make_scenes,
    probav_scorer,
    save_model,
    save_scenes,
)

# %%
# Options
# -------

parser = argparse.ArgumentParser(
    description=__doc__.split("\n\n")[1], formatter_class=argparse.ArgumentDefaultsHelpFormatter
)
parser.add_argument("--minutes", type=float, default=10, help="of training of each network")
parser.add_argument("--scenes", type=int, default=100, help="to simulate; a fifth is the test set")
parser.add_argument("--size", type=int, default=128, help="of these, in LR pixels")
parser.add_argument("--patch-size", type=int, default=32, help="in LR pixels")
parser.add_argument("--samples", metavar="FOLDER", default=os.environ.get("PROBAV_SAMPLES"),
                    help="sample data, to score on real scenes too")  # fmt: skip
parser.add_argument("--published", metavar="FOLDER", help="with the authors' repositories")
parser.add_argument("--quick", action="store_true", help="few small scenes, and seconds each")
parser.add_argument("--results", default="results/networks", type=Path, metavar="FOLDER")
if parser.parse_args().quick:
    parser.set_defaults(minutes=0.02, scenes=6, size=24, patch_size=16, samples=None)
options = parser.parse_args()

# %%
# Scenes
# ------
# The sensor "any" covers a wide range of optical products: PSFs, resampling, changing land.

scenes = make_scenes(options.scenes, size=options.size, sensor="any", random_state=6, n_jobs=-1)
n_test = max(2, options.scenes // 5)
train, kinds = scenes[n_test:], {"simulated": scenes[:n_test]}
for name in ("real_texture", "real_series") if options.samples else ():
    kinds[name] = load_scenes(Path(options.samples, name))

# %%
# Networks
# --------
# Layers and sizes are as published. All are trained alike, with the nine clearest frames: with more
# frames, a training of minutes would be too short.

training = {
    "max_epochs": 100_000,
    "callbacks": [TimeLimit(options.minutes)],
    "patch_size": options.patch_size,
    "batch_size": 8,
    "augment": True,
    "lr": 5e-4,
    "train_split": None,
    "n_frames": 9,
    "random_state": 0,
    "verbose": 0,
}
networks = {kind.__name__: kind(**training) for kind in (HighResNet, MISRGRU, TRMISR, RAMS, PIUNet)}


def fitted(name, network):
    """Load the network, or train and save it."""
    path = options.results / f"{name}-{options.minutes:g}.safetensors"
    if not path.exists():
        print(f"{name}: training on {len(train)} scenes", flush=True)
        options.results.mkdir(parents=True, exist_ok=True)
        save_model(network.fit(train), path)
    return load_model(path).set_params(verbose=0)


estimators = {"baseline": BicubicBaseline().fit(train)}
estimators |= {name: fitted(name, network) for name, network in networks.items()}
estimators["FusionNet"] = FusionNet.from_pretrained("simulated-x3", verbose=0)

# %%
# Published weights
# -----------------
# Trained on the real data set, for days on a GPU. TR-MISR has one file for each band.

by_band = {}
if options.published:
    root = Path(options.published)
    for path in sorted(root.glob("**/MISR-GRU.pth")):
        estimators["MISRGRU, published"] = MISRGRU.from_published(path)
    for path in sorted(root.glob("**/*NIR*/TRNet.pth")):
        estimators["TRMISR, published"] = TRMISR.from_published(path)
    for path in sorted(root.glob("**/*RED*/TRNet.pth")):
        by_band["TRMISR, published", "RED"] = TRMISR.from_published(path)

# %%
# Scores and costs
# ----------------
# Memory is the increase of the peak memory of a new process by the prediction of one scene.

PREDICT = """
import resource, sys
from pathlib import Path
from probav_estimators import load_model, load_scenes

def peak():
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    # On Linux, ru_maxrss of a new process starts at that of its parent.
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

model, folder = sys.argv[1:]
estimator, scenes = load_model(model).set_params(verbose=0), load_scenes(folder)[:1]
before = peak()
estimator.predict(scenes)
print(peak() - before)
"""


def memory_of(estimator, scene):
    """Memory for the prediction of a scene in a new process, in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        save_scenes([scene], folder)
        save_model(estimator, Path(folder, "model.safetensors"))
        command = [sys.executable, "-c", PREDICT, str(Path(folder, "model.safetensors")), folder]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def net_for(name, scene):
    """Estimator of this name, with the weights for the band of the scene."""
    return by_band.get((name, scene.band), estimators[name])


def score_of(name, scenes):
    """Mean N / cPSNR."""
    return float(np.mean([-probav_scorer(net_for(name, scene), [scene]) for scene in scenes]))


def row_of(name):
    scene = kinds["simulated"][0]
    estimator = net_for(name, scene)
    module = getattr(estimator, "module_", None)
    estimator.predict([scene])
    start = perf_counter()
    estimator.predict([scene])
    seconds = perf_counter() - start
    return {
        "network": name,
        **{kind: score_of(name, scenes) for kind, scenes in kinds.items()},
        "parameters": sum(p.numel() for p in module.parameters()) if module else 0,
        "predict, s a scene": seconds,
        "memory, MiB": np.nan if options.quick or not module else memory_of(estimator, scene),
    }


table = pd.DataFrame([row_of(name) for name in estimators])
print(f"\nN / cPSNR of scenes that no network was trained on, {options.minutes:g} minutes each\n")
formatters = dict.fromkeys(kinds, "{:.4f}".format) | {"memory, MiB": "{:.0f}".format}
print(table.to_string(index=False, formatters=formatters, float_format="{:.2f}".format))

# %%
# Chart
# -----
# Lower is better, left is faster.

figure, panels = plt.subplots(
    1, len(kinds), figsize=(5 * len(kinds), 4), layout="constrained", squeeze=False
)
for axes, kind in zip(panels[0], kinds, strict=True):
    for row in table[table["network"] != "baseline"].to_dict("records"):
        axes.plot(row["predict, s a scene"], row[kind], "o", label=row["network"])
    axes.axhline(1, color="0.6", lw=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.set_xticks([0.1, 0.2, 0.5, 1, 2, 5, 10])
    axes.set_xlabel("seconds to predict a scene")
    axes.set_ylabel("N / cPSNR (lower is better)")
    axes.set_title(kind)
panels[0, 0].legend(fontsize=8)
options.results.mkdir(parents=True, exist_ok=True)
figure.savefig(options.results / "networks.png", dpi=100)
print(f"\nfigure: {options.results / 'networks.png'}")
