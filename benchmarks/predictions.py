"""Record predictions of the shipped weights and of short trainings, and compare with them later.

``python -m benchmarks.predictions record FOLDER`` before a change of structure, then
``python -m benchmarks.predictions compare FOLDER`` after it: every array must be the same to the
last bit. Both runs need one machine and one version of torch, because rounding depends on them.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.pipeline import make_pipeline

from probav_estimators import (
    SRCNN,
    BicubicUpscaler,
    ClearanceSelector,
    FusionNet,
    InputComposer,
    make_scenes,
)

_TRAINING = {
    "max_epochs": 2,
    "patch_size": 16,
    "augment": True,
    "compute_dtype": "float32",
    "device": "cpu",
    "random_state": 0,
    "verbose": 0,
}


def shipped(scale, dtype):
    """Images and standard deviations of the shipped weights, whole and in blocks."""
    scenes = make_scenes(2, size=(72, 80), scale=scale, n_frames=7, sensor="any", random_state=4)
    arrays = {}
    for name, params in {
        "whole": {},
        "tiles": {"tile_size": 64},
        "turns": {"n_augment": 3},
    }.items():
        net = FusionNet.from_pretrained(scale=scale, compute_dtype=dtype, verbose=0, **params)
        images, deviations = net.predict(scenes, return_std=True)
        arrays |= {f"{name} images": images, f"{name} deviations": deviations}
    return arrays


def trained(estimator):
    """Image of an estimator after a short training in float32."""
    scenes = make_scenes(6, size=24, n_frames=9, random_state=5)
    return {"images": estimator.fit(scenes).predict(scenes)}


def _srcnn(**params):
    net = SRCNN(**_TRAINING, **params)
    return make_pipeline(ClearanceSelector(), InputComposer("concat"), BicubicUpscaler(), net)


def recipes():
    """Functions that compute the recorded arrays, by name."""
    return {
        **{
            f"simulated-x{scale} {dtype}": lambda scale=scale, dtype=dtype: shipped(scale, dtype)
            for scale in (2, 3, 4)
            for dtype in ("float32", "bfloat16")
        },
        "SRCNN": lambda: trained(_srcnn()),
        "SRCNN residual": lambda: trained(_srcnn(residual=True)),
        "FusionNet": lambda: trained(FusionNet(width=8, depth=1, **_TRAINING)),
        "FusionNet fine-tuned": lambda: trained(
            FusionNet.from_pretrained("simulated-x3", **_TRAINING)
        ),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["record", "compare"])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    n_different = 0
    for name, make in recipes().items():
        path = options.folder / f"{name}.npz"
        arrays = {key: np.asarray(value) for key, value in make().items()}
        if options.what == "record":
            np.savez(path, **arrays)
            continue
        with np.load(path) as known:
            for key, value in arrays.items():
                same = known[key].tobytes() == value.tobytes()
                n_different += not same
                largest = 0 if same else np.abs(known[key] - value).max()
                print(f"{name}, {key}: {'the same' if same else f'differs by {largest:.3g}'}")
    sys.exit(n_different > 0)


if __name__ == "__main__":
    main()
