"""Fit the numbers beside the learned layers of shipped weights: PSF curve and deviation model.

    python -m benchmarks.posterior --land FOLDER [--scale 3] [--parts curve] [--write]

``FOLDER`` holds images of real land, as for ``benchmarks.pretrain``. For each scale it fits, on
frames that are simulated over this land,

- the curve from the point spread function that is matched to the image to that of the sensor, and
- the polynomial of the standard deviations, also on drawn land, by the quantiles of the errors;
  its terms are judged by cross-validation over places.

``--write`` replaces these numbers in the weights that ship. Nothing is trained.
"""

import argparse
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import pixel_shuffle, softplus

from probav_estimators import FusionNet, Sensor, make_scenes
from probav_estimators.architectures import orientation_of
from probav_estimators.imaging import error_map
from probav_estimators.scenes import align_scene
from probav_estimators.training import load_weights, save_weights, turn_back

from ._land import Land, scenes_of_land

_SCALES = (2, 3, 4)
_PARTS = ("curve", "deviations")
_WIDE_PSF_SIGMA = (0.12, 0.8)
# Noise in standard deviations of the land, for the curve and for the deviations.
_LITTLE_NOISE, _NOISE = (0.005, 0.015, 0.04), (0.005, 0.015, 0.03, 0.1)
_N_PSF, _N_LAND, _N_DRAWN, _N_FOLDS = 60, 90, 10, 4

# Kinds of drawn land, and the weight of real land beside one of them.
_DRAWN = {
    "default": "static",
    "any": "any",
    "proba-v": "proba-v",
    "sentinel-2": "sentinel-2",
    "PSF of 0.3": Sensor.preset("plain", psf_sigma=0.3),
    "PSF of 0.8": Sensor.preset("plain", psf_sigma=0.8),
    "all fields change": Sensor.preset("plain", psf_sigma=0.8, change=0.5, changing_fields=1.0),
}
_LAND_WEIGHT = 20

# Quantiles of the absolute errors at one and two standard deviations: a Gaussian's are 0.683 and
# 0.954, but errors over real land have heavier tails, heavier still where no fit has seen it.
_QUANTILES = ((0.69, 1.0), (0.97, 2.0))

_PIXELS = 1500

# Of the challenge's score.
_BORDER = 3


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--land", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--scale", type=int, nargs="*", default=_SCALES)
    parser.add_argument("--parts", nargs="*", default=_PARTS, choices=_PARTS)
    parser.add_argument("--write", action="store_true", help="replace the numbers that ship")
    options = parser.parse_args()
    for scale in options.scale:
        land = [image for part in Land.of_folder(options.land, scale) for image in part]
        net = FusionNet.from_pretrained(scale=scale, verbose=0, tile_size=None)
        fitted = {}
        if "curve" in options.parts:
            fitted["consistency.psf_curve"] = fit_psf_curve(net, land)
        if "deviations" in options.parts:
            # One, in place of that of an earlier calibration.
            fitted |= {"deviations.coefficients": fit_deviations(net, land), "calibration": 1.0}
        if options.write:
            weights = load_weights(f"simulated-x{scale}")
            fitted = {name: torch.tensor(x, dtype=torch.float32) for name, x in fitted.items()}
            save_weights(weights._replace(state=weights.state | fitted), weights.path)


def fit_psf_curve(net, land):
    """Polynomial of the sensor's PSF variance, of that relative to the image."""
    matched, true = [], []
    for _, sigma, scene in scenes_of_land(
        land, net.scale_, _N_PSF, 1, _LITTLE_NOISE, _WIDE_PSF_SIGMA
    ):
        alignment = align_scene(scene)
        if alignment.psf.variance is not None:
            matched.append(net.match_psf(scene, alignment).psf.from_image)
            true.append(sigma)
    curve = np.polyfit(matched, np.square(true), 2)
    found = np.sqrt(np.maximum(np.polyval(curve, matched), 0))
    error = np.sqrt(np.mean((found - true) ** 2))
    correlation = np.corrcoef(found, true)[0, 1]
    print(f"scale {net.scale_}: {curve.round(3)}, error of sigma {error:.3f}, {correlation=:.2f}")
    return curve


def fit_deviations(net, land):
    """Coefficients of the deviation model."""
    samples = [
        ("land", place, *errors_of(net, scene))
        for place, _, scene in scenes_of_land(land, net.scale_, _N_LAND, 2, _NOISE)
    ]
    for kind, sensor in _DRAWN.items():
        options = {"size": 80, "n_frames": (9, 30), "sensor": sensor, "random_state": 77}
        scenes = make_scenes(_N_DRAWN, scale=net.scale_, **options)
        samples += [
            (kind, f"{kind} {i}", *errors_of(net, scene)) for i, scene in zip(count(), scenes)
        ]
    places = sorted({place for kind, place, *_ in samples if kind == "land"})
    for squares in (False, True):
        held_out = []
        for fold in range(_N_FOLDS):
            held = places[fold::_N_FOLDS]
            fitted = fit(net, [one for one in samples if one[1] not in held], squares)
            held_out += covered(fitted, [one for one in samples if one[1] in held]).get("land", [])
        one, two = np.mean(held_out, axis=0)
        print(f"  {squares=}: places held out {one:.1%}, {two:.1%} within one and two deviations")
    coefficients = fit(net, samples, squares=True)
    for kind, fractions in covered(coefficients, samples).items():
        print(f"  {kind}: {', '.join(f'{x:.1%}' for x in np.mean(fractions, axis=0))}")
    return coefficients


def errors_of(net, scene):
    """Terms of the deviation model, posterior deviations and errors of some pixels of a scene."""
    seen = {}

    def keep(module, inputs, output):
        seen["terms"] = module.terms(*inputs)
        seen["known"] = inputs[0].deviation

    hook = net.module_.deviations.register_forward_hook(keep)
    (image,) = net.predict([scene])
    hook.remove()
    error = error_map(image, scene.hr, scene.sm, border=_BORDER)
    inside = (slice(_BORDER, -_BORDER),) * 2
    alignment = align_scene(scene)
    orientation = orientation_of(alignment)
    maps = [
        turn_back(pixel_shuffle(x.expand_as(seen["known"]), net.scale_)[0, 0], *orientation)
        for x in (*seen["terms"], seen["known"])
    ]
    pixels = np.flatnonzero(np.isfinite(error))
    rng = np.random.default_rng(0)
    pixels = rng.choice(pixels, min(_PIXELS, len(pixels)), replace=False)
    *terms, known = (x[inside].numpy().ravel()[pixels] for x in maps)
    return np.stack(terms, axis=1), known, error.ravel()[pixels] / alignment.std


def fit(net, samples, squares):
    """Coefficients by the quantiles of absolute errors; each kind of scenes has one weight."""
    kinds = [kind for kind, *_ in samples]
    n_terms = samples[0][2].shape[1]
    used = n_terms if squares else 1 + net.module_.deviations.n_variables
    terms = torch.from_numpy(np.concatenate([terms[:, :used] for _, _, terms, *_ in samples]))
    excess = torch.from_numpy(
        np.concatenate([np.log((np.abs(e) + 1e-6) / known) for *_, known, e in samples])
    )
    weights = torch.cat(
        [
            torch.full((len(e),), _weight(kind) / (kinds.count(kind) * len(e)))
            for kind, *_, e in samples
        ]
    )
    coefficients = torch.zeros(used, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([coefficients], max_iter=300, line_search_fn="strong_wolfe")
    terms, excess, weights = terms.double(), excess.double(), weights.double() / weights.sum()

    def loss():
        optimizer.zero_grad()
        total = 1e-3 * coefficients[1:].square().sum()
        for quantile, multiple in _QUANTILES:
            rest = 8 * (excess - terms @ coefficients - np.log(multiple))
            pinball = quantile * softplus(rest) + (1 - quantile) * softplus(-rest)
            total = total + (weights * pinball).sum() / 8
        total.backward()
        return total

    optimizer.step(loss)
    return np.pad(coefficients.detach().numpy(), (0, n_terms - used))


def _weight(kind):
    return _LAND_WEIGHT if kind == "land" else 1


def covered(coefficients, samples):
    """Fractions of the errors within one and two deviations, of each scene, by kind."""
    found = {}
    for kind, _, terms, known, errors in samples:
        ratio = np.abs(errors) / (known * np.exp(terms @ coefficients))
        found.setdefault(kind, []).append([np.mean(ratio < limit) for limit in (1, 2)])
    return found


if __name__ == "__main__":
    main()
