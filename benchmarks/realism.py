"""Realism of the simulator, by comparison with real data.

Three comparisons: the spectrum of HR images with that of a real one; the baseline's cPSNR with the
norms of the real data set; and the predictions of simulated scenes by networks that were trained on
real scenes, with the weights that their authors published. Such a network predicts the mean of real
land, given its frames. So the regression of the truth on its prediction has a slope of 1 at every
frequency if the simulated sensor is like the real one, a greater slope if it blurs more, and a
smaller one if it is sharper. The coherence is the share of the truth that is recovered.

The weights are not part of this repository: ``python -m benchmarks realism --published FOLDER``
searches them below a folder with copies of the repositories rarefin/MISR-GRU and Suanmd/TR-MISR.
PROBAV_SAMPLES is the folder of sample data.
"""

import os
from functools import partial
from pathlib import Path

import numpy as np
from skimage.io import imread

from probav_estimators import MISRGRU, TRMISR, FusionNet, Sensor, load_scenes, make_scenes
from probav_estimators.metrics import align_image, fourier_ring_correlation, transfer_function

from ._measure import Figure
from ._scores import mean_score

_SEED = 94

# Files of the published weights below a folder, by network and band.
_PUBLISHED = {
    "MISR-GRU": (MISRGRU, {"": "**/MISR-GRU.pth"}),
    "TR-MISR": (TRMISR, {band: f"**/*{band}*/TRNet.pth" for band in ("RED", "NIR")}),
}

_RESAMPLED = {"resampling": "bicubic", "raw_pixel": (0.6, 1.15), "raw_rotation": (8, 14)}
_PSF_SIGMAS = (0.2, 0.5, 0.8, 1.2)
_PRESETS = ("static", "proba-v", "any")

# Frequencies of slopes and coherence, relative to the frames' Nyquist frequency, and the tolerance
# of slopes up to it.
_FREQUENCIES = np.array([0.5, 0.75, 1.0, 1.25])
_NEAR = 0.1

# Octaves over which exponents of spectra are fitted, in cycles per HR pixel.
_BANDS = {"middle": ((0.04, 0.08), (1 / 6, 0.22)), "high": ((1 / 6, 0.22), (0.40, 0.47))}


def benchmark(published=None, n_scenes=16, size=128):
    """Exponents of spectra, norms, and responses of networks trained on real data.

    Half of the `n_scenes` of each sensor are RED and half NIR. Without a folder of `published`
    weights only FusionNet is measured.
    """
    simulate = partial(make_scenes, n_scenes, size=size, random_state=_SEED, n_jobs=-1)
    preset = simulate(sensor="proba-v")
    samples = os.environ.get("PROBAV_SAMPLES")
    if samples:
        real = imread(Path(samples, "probav_imgset0594", "HR.png"))
        for name, band in _BANDS.items():
            yield _exponent(name, band, real, preset)
        yield _norms(np.loadtxt(Path(samples, "probav_norm.csv"), usecols=1), preset)
    networks = find_published(published) if published else {}
    for network, nets in (networks | {"FusionNet": {"": _fusion_net()}}).items():
        for name, sensor in _sensors().items():
            scenes = simulate(sensor=sensor)
            yield _response(network, nets, name, scenes, goal=name == "preset proba-v")
        for name in ("real_texture", "real_series") if samples else ():
            scenes = load_scenes(Path(samples, name))
            yield _response(network, nets, f"`{name}`", scenes, goal=False)


def find_published(folder):
    """Find networks with published weights, by name and band; "" means both bands."""
    networks = {}
    for name, (kind, patterns) in _PUBLISHED.items():
        found = {band: sorted(Path(folder).glob(pattern)) for band, pattern in patterns.items()}
        if all(found.values()):
            nets = {band: kind.from_published(paths[0]) for band, paths in found.items()}
            networks[name] = {band: net.set_params(verbose=0) for band, net in nets.items()}
    if not networks:
        files = ", ".join(
            pattern for _, patterns in _PUBLISHED.values() for pattern in patterns.values()
        )
        raise FileNotFoundError(f"{folder} holds no published weights: {files}")
    return networks


def _fusion_net():
    return FusionNet.from_pretrained("simulated-x3", verbose=0)


def _sensors():
    """Sensors by name: point spread functions, without and with resampling, and presets."""
    sensors = {}
    for sigma in _PSF_SIGMAS:
        for kind, fields in (("", {}), (", resampled by bicubic", _RESAMPLED)):
            name = f"PSF of {sigma} HR pixels{kind}"
            sensors[name] = Sensor.preset("plain", psf_sigma=sigma, **fields)
    return sensors | {f"preset {name}": name for name in _PRESETS}


def _exponent(name, band, real, scenes):
    """Figure of the exponent of the power spectrum of HR images."""
    wanted = power_exponent(real, *band)
    found = np.array([power_exponent(scene.hr, *band) for scene in scenes])
    mean, spread = found.mean(), found.std()
    return Figure(
        f"exponent of the power spectrum of {len(scenes)} HR images, {name} frequencies, preset "
        "proba-v",
        f"imgset0594: {wanted:.2f}",
        "within one standard deviation",
        f"{mean:.2f}, standard deviation {spread:.2f}",
        abs(mean - wanted) <= spread,
    )


def power_exponent(image, low, high):
    """Exponent of an image's power spectrum between the middles of two bands of frequencies.

    Bands are (least, greatest), in cycles per pixel. -2 where the power falls with the square of
    the frequency.
    """
    window = np.multiply.outer(*(np.hanning(length) for length in image.shape))
    power = np.square(np.abs(np.fft.fft2(window * (image - image.mean(dtype=float)))))
    down, right = (np.fft.fftfreq(length) for length in image.shape)
    frequency = np.hypot(down[:, None], right)
    levels, middles = [], []
    for least, greatest in (low, high):
        inside = (frequency >= least) & (frequency < greatest)
        levels.append(np.log(power[inside].mean()))
        middles.append(np.log(frequency[inside]).mean())
    return float((levels[1] - levels[0]) / (middles[1] - middles[0]))


def _norms(real, scenes):
    norms = np.array([scene.norm for scene in scenes])
    quantiles = [np.quantile(values, [0.05, 0.5, 0.95]) for values in (real, norms)]
    wanted, found = (", ".join(f"{value:.1f}" for value in values) for values in quantiles)
    return Figure(
        f"baseline's cPSNR of {len(norms)} scenes, preset proba-v: 5 %, median, 95 %",
        f"{len(real)} norms of the real data set: {wanted} dB",
        "the median within 1.5 dB",
        f"{found} dB",
        abs(quantiles[0][1] - quantiles[1][1]) <= 1.5,
    )


def _response(network, nets, sensor, scenes, *, goal):
    """Figure of a network's score, slopes and coherence on scenes of one sensor."""
    images = [net_of(nets, scene).predict([scene])[0] for scene in scenes]
    slopes, coherence = np.mean([*map(_by_frequency, images, scenes)], axis=0)
    parts = ", ".join(f"{part:g}" for part in _FREQUENCIES)
    near = np.abs(slopes[_FREQUENCIES <= 1] - 1).max() <= _NEAR
    return Figure(
        f"{network}, {sensor}, {len(scenes)} scenes: N / cPSNR; slope of the truth, and coherence, "
        f"at {parts} of Nyquist",
        "baseline 1.0",
        f"slopes up to Nyquist within {_NEAR} of 1" if goal else "none",
        f"{mean_score(images, scenes):.4f}; {_listed(slopes)}; {_listed(coherence)}",
        bool(near) or not goal,
    )


def net_of(nets, scene):
    """Weights of a network for the band of a scene, or of any band if it has none for this one."""
    return nets.get(scene.band) or nets.get("") or next(iter(nets.values()))


def _by_frequency(image, scene):
    """Slope of the regression of the truth on the image, and their coherence."""
    truth, clear = scene.hr, scene.sm
    image = align_image(image, truth, clear)
    wanted = _FREQUENCIES * 0.5 / scene.scale
    return [
        np.interp(wanted, *measure(truth, image, clear))
        for measure in (transfer_function, fourier_ring_correlation)
    ]


def _listed(values):
    return ", ".join(f"{value:.2f}" for value in values)
