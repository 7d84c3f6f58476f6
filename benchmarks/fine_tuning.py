"""Fine-tuning of FusionNet: without HR images for another sensor, and adversarial.

Both start from the weights that ship, and are scored on held-out simulated scenes.
"""

import numpy as np
from joblib import Parallel, delayed

from probav_estimators import AdversarialLoss, FusionNet, ReprojectionLoss, Scene, make_scenes
from probav_estimators.scoring import scene_cpsnr
from probav_estimators.simulation import simulate_scene

from ._measure import Figure
from ._scores import mean_score

_WEIGHTS = "simulated-x3"
_TRAINING = {
    "batch_size": 8,
    "patch_size": 48,
    "augment": True,
    "random_state": 0,
    "verbose": 0,
}


def benchmark_reprojection(n_train=24, n_test=12, epochs=12):
    """Two sensors with point spread functions of the training, and one with a wider one."""
    for psf_sigma in (0.5, 1.2, 2.2):
        scenes = _scenes_of_sensor(n_train + n_test, psf_sigma)
        test = scenes[n_train:]
        train = [Scene(s.lr, s.qm, name=s.name, band=s.band) for s in scenes[:n_train]]
        before = mean_score(FusionNet.from_pretrained(_WEIGHTS).predict(test), test)
        net = FusionNet.from_pretrained(
            _WEIGHTS,
            criterion=ReprojectionLoss(),
            max_epochs=epochs,
            **_TRAINING,
        ).fit(train)
        after = mean_score(net.predict(test), test)
        yield Figure(
            f"score for a sensor with a PSF of {psf_sigma} HR pixels, after `fit` with "
            f"`ReprojectionLoss` on {n_train} scenes without HR, {epochs} epochs",
            f"the weights that ship: {before:.4f}",
            "no more",
            f"{after:.4f} (PSF estimated as {3 * net.psf_sigma_:.2f})",
            after <= before,
        )


def _scenes_of_sensor(n_scenes, psf_sigma):
    return Parallel(n_jobs=-1)(delayed(_scene_of_sensor)(n, psf_sigma) for n in range(n_scenes))


def _scene_of_sensor(number, psf_sigma):
    band = ("RED", "NIR")[number % 2]
    rng = np.random.default_rng([14, number])
    made = simulate_scene(rng, size=96, band=band, psf_sigma=(psf_sigma, psf_sigma))
    return Scene(made.lr, made.qm, made.hr, made.sm, name=f"imgset{number:04d}", band=band)


def benchmark_adversarial(n_train=32, n_test=12, epochs=16):
    """The same fine-tuning with and without a discriminator."""
    scenes = make_scenes(n_train + n_test, size=96, random_state=15, n_jobs=-1)
    train, test = scenes[:n_train], scenes[n_train:]
    nets = {
        "no fine-tuning": FusionNet.from_pretrained(_WEIGHTS),
        "`CPSNRLoss`": _fine_tuned(train, epochs),
    }
    for weight in (0.01, 0.03, 0.1):
        nets[f"`AdversarialLoss(adversarial_weight={weight})`"] = _fine_tuned(
            train,
            epochs,
            criterion=AdversarialLoss,
            criterion__adversarial_weight=weight,
            criterion__perceptual_weight=weight,
        )
    for name, net in nets.items():
        images = net.predict(test)
        pairs = list(zip(images, test, strict=True))
        score = mean_score(images, test)
        cpsnr = np.mean([scene_cpsnr(*pair) for pair in pairs])
        sharpness = np.mean([_sharpness(*pair) for pair in pairs])
        yield Figure(
            f"{name}, {n_test} scenes",
            "truth: sharpness 1",
            "",
            f"score {score:.4f}, cPSNR {cpsnr:.2f} dB, sharpness {sharpness:.2f}",
            True,
        )


def _fine_tuned(scenes, epochs, **params):
    # No validation: its score would choose the epoch with the least effect of the discriminator.
    params = _TRAINING | {"max_epochs": epochs, "train_split": None} | params
    return FusionNet.from_pretrained(_WEIGHTS, **params).fit(scenes)


def _sharpness(image, scene):
    """Energy of the finest structure of an image, relative to that of the truth."""
    return _fine_energy(image, scene.sm) / _fine_energy(scene.hr, scene.sm)


def _fine_energy(image, clear):
    """Mean square of the Laplacian."""
    neighbours = image[:-2, 1:-1] + image[2:, 1:-1] + image[1:-1, :-2] + image[1:-1, 2:]
    laplacian = 4 * image[1:-1, 1:-1] - neighbours
    return float(np.mean(np.square(laplacian)[clear[1:-1, 1:-1]]))
