"""Train FusionNet on simulated scenes that never repeat: ``python -m benchmarks.pretrain``.

Scenes are simulated in worker processes and never written to disk. A pool of them is in memory, and
is renewed as patches are drawn from it: ``--burst`` scenes at once, while training waits, because
processes that share its cores would delay it more. With ``--burst 0`` each worker has a pool
of its own and prepares whole batches during the training, which suits a GPU. The learning rate
falls along a cosine over the given time, and the final weights are an exponential mean over the
last thousand steps.

Each scene has a sensor of its own, drawn from ``--sensors``, and half of the scenes have texture on
the land. For some of the scenes without resampling, the net gets the point spread function, as from
a user who knows it.

``--land FOLDER`` takes the land of half of the scenes from images in place of drawn land: PNG and
.npy files whose names begin with their place and ``_``. Every sixth place is kept for validation
and calibration.

``--weights`` gives initial weights, such as those that ship; with ``--body`` the layers that fit a
net of another scale or depth are taken from them. The state is saved every few minutes; the same
command resumes after the process was killed. Every save logs the challenge score of validation
scenes of each sensor and, if PROBAV_SAMPLES is the folder of sample data, of its scenes with real
texture. The latter are only reported: no choice depends on them.

Truths are at random offsets from the mean position of their frames, so that the loss hardly depends
on the position of an image. At a high rate images drift, by 0.08 HR pixels in 36 minutes with
``--lr 2e-4`` and batches of 8, which worsens the score: every save logs their displacement from the
mean position, as (down, right) in HR pixels.

At the end the displacement is measured on scenes of the same sensors, the standard deviations are
calibrated on them, and the weights are written as safetensors for ``FusionNet.from_pretrained``,
with the displacement, which predictions then correct. ``--minutes 0`` does only this.
"""

import argparse
import json
import multiprocessing
import os
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from probav_estimators import FusionNet, Sensor, load_scenes, make_scenes
from probav_estimators.files import replace_file
from probav_estimators.losses import align_best, batch_cpsnr, uncertainty_loss
from probav_estimators.processes import end_with_parent
from probav_estimators.scenes import PngImage, align_scene
from probav_estimators.training import (
    AlignedChoice,
    AlignedReader,
    SampleRequest,
    SceneDataset,
    collate_frames,
    load_weights,
)

from ._scores import displacement, mean_score

_BORDER = 3

# Smaller displacements, in HR pixels along each axis, are within the measurement error.
_LEAST_DISPLACEMENT = 0.02
_SCENE_SIZE = 96

# Scenes that are simulated before the first step.
_FIRST_SCENES = 96

# "wide": the preset "plain", sharper and more blurred.
_WIDE = "wide"
SENSORS = ("static", _WIDE, "any", "plain", "proba-v", "sentinel-2", "landsat-8")

# Point spread functions of the sensors "wide" and "any" in LR pixels, the fraction of the scenes of
# "any" without resampling, and the fraction of these for which the net gets the PSF.
_PSF_SIGMA = (0.05, 0.55)
_NOT_RESAMPLED = 0.3
_PSF_GIVEN = 0.3

# Range of the texture of the land, and the fraction of the scenes that have it.
_TEXTURE = (0, 0.5)
_TEXTURED = 0.5

# Fraction of the scenes with land of images, pixels of an image for each HR pixel along an axis,
# and places of which one is held out.
_LAND = 0.5
_REDUCTION = (1, 3)
_PLACES = 6

# Weights of cPSNR in dB and of the standard deviation's likelihood.
_IMAGE_WEIGHT, _UNCERTAINTY_WEIGHT = 0.1, 0.02

_WARM_UP_STEPS = 100
_LAST_RATE = 0.005
_GREATEST_GRADIENT = 1.0


def main():
    options = _parse()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    training = _Training(options)
    training.restore()
    with _endless_batches(options, training) as batches:
        training.run(batches)
    print(f"weights: {training.export()}")


def _parse():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pretrain", description=__doc__)
    add = parser.add_argument
    add("--minutes", type=float, default=60, help="of training, over all starts of the command")
    add("--out", type=Path, default=Path("results/pretraining"))
    begin = parser.add_mutually_exclusive_group().add_argument
    begin("--weights", help="initial weights, a name or a file, which set size and scale")
    begin("--body", help="weights, a name or a file, whose layers are taken where they fit")
    add("--sensors", nargs="+", choices=SENSORS, default=["any", _WIDE, "static"])
    add("--land", type=Path, metavar="FOLDER", help="images of real land, for half of the scenes")
    add("--width", type=int, default=64)
    add("--depth", type=int, default=4)
    add("--scale", type=int, default=3)
    add("--patch-size", type=int, default=48, help="LR pixels")
    add("--batch-size", type=int, default=8)
    add("--lr", type=float, default=8e-4)
    add("--pool", type=int, default=256, help="scenes in memory")
    add("--patches", type=float, default=8, help="drawn for each new scene")
    add("--burst", type=int, default=64, help="scenes simulated at once; 0: during the training")
    add("--workers", type=int, default=os.cpu_count())
    add("--validate", type=int, default=6, help="simulated validation scenes of each sensor")
    add("--calibrate", type=int, default=192, help="scenes to calibrate standard deviations")
    add("--save-every", type=float, default=4, metavar="MINUTES")
    add("--seed", type=int, default=1)
    return parser.parse_args()


class Land(NamedTuple):
    """A file of an image, and its rows or columns, whichever are fewer."""

    path: Path
    n_pixels: int

    @classmethod
    def of_folder(cls, folder, scale):
        """Images that are large enough, of places for the training and of those held out."""
        places = {}
        for path in sorted(folder.glob("*.png")) + sorted(folder.glob("*.npy")):
            shape = _shape_of(path)
            if min(shape) >= scale * _SCENE_SIZE:
                places.setdefault(path.name.partition("_")[0], []).append(cls(path, min(shape)))
        if len(places) < 2:
            raise ValueError(
                f"{folder} has images of {len(places)} places with at least "
                f"{scale * _SCENE_SIZE} pixels along each axis: give a folder with several"
            )
        parts = [], []
        for number, name in enumerate(sorted(places)):
            parts[number % _PLACES == 1].extend(places[name])
        return parts

    def draw(self, rng, scale):
        """Arguments of `make_scenes` for a scene of this land."""
        greatest = min(_REDUCTION[1], self.n_pixels / (scale * _SCENE_SIZE))
        return {"images": self.path, "reduction": rng.uniform(_REDUCTION[0], greatest)}


def _shape_of(path):
    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r", allow_pickle=False).shape[-2:]
    return PngImage(str(path)).shape


def simulate(seed, scale, sensors, land=()):
    """A scene, its alignment, and the sigma of its PSF if it is known."""
    scene, psf_sigma = draw_scene(seed, scale, sensors, land)
    return scene, align_scene(scene), psf_sigma


def draw_scene(seed, scale, sensors, land=(), part=_LAND):
    """A scene of random band and sensor, and the sigma of its PSF if it is known.

    With a probability of `part` it has one of the `land`.
    """
    rng = np.random.RandomState(seed)
    band = ("RED", "NIR")[rng.randint(2)]
    sensor, psf_sigma = draw_sensor(rng, sensors[rng.randint(len(sensors))], scale)
    texture = _TEXTURE if rng.uniform() < _TEXTURED else 0
    imaged = land and rng.uniform() < part
    given = land[rng.randint(len(land))].draw(rng, scale) if imaged else {"texture": texture}
    (scene,) = make_scenes(
        1, size=_SCENE_SIZE, scale=scale, bands=band, sensor=sensor, random_state=rng, **given
    )
    return scene, psf_sigma


def calibration_scenes(scale, options, land=()):
    """Held-out scenes of the sensors of the training."""
    return [
        draw_scene([options.seed, 2**31, number], scale, options.sensors, land)[0]
        for number in range(options.calibrate)
    ]


def correct_displacement(net, scenes):
    """Measure the displacement of the learned layers' image, and add it to its correction."""
    consistent = net.data_consistency
    apart = displacement(net.set_params(data_consistency=False).predict(scenes), scenes)
    net.set_params(data_consistency=consistent)
    apart[np.abs(apart) < _LEAST_DISPLACEMENT] = 0
    net.displacement_ = tuple(np.add(net.displacement_, apart).round(3).tolist())


def draw_sensor(rng, name, scale):
    """Sensor of a name, and the sigma of its point spread function in LR pixels, or None."""
    if name not in (_WIDE, "any"):
        return name, None
    psf_sigma = rng.uniform(*_PSF_SIGMA)
    fields = {"psf_sigma": scale * psf_sigma}
    if name == _WIDE:
        return Sensor.preset("plain", **fields, noise=(8, 35)), psf_sigma
    if rng.uniform() < _NOT_RESAMPLED:
        return Sensor.preset("any", **fields, resampling="none"), psf_sigma
    return Sensor.preset("any", **fields, resampling=("nearest", "bicubic", "area")), None


class _Pool:
    """Scenes in memory, from which batches of patches are drawn.

    Parameters
    ----------
    options : argparse.Namespace
    scenes : iterator
        Over results of `simulate`.
    rng : numpy.random.Generator
    n_pools : int, default=1
        Number of pools, which share the scenes.
    """

    def __init__(self, options, scenes, rng, n_pools=1):
        self.options, self.scenes, self.rng = options, scenes, rng
        self.size = max(1, options.pool // n_pools)
        self.held = [
            next(scenes) for _ in range(max(1, min(options.pool, _FIRST_SCENES) // n_pools))
        ]

    def batches(self):
        """Endless batches; new scenes replace old ones as patches are drawn."""
        owed = 0.0
        while True:
            owed += self.options.batch_size / self.options.patches
            for _ in range(int(owed) if owed >= max(self.options.burst, 1) else 0):
                owed -= 1
                self._renew()
            yield self._draw()

    def _renew(self):
        if len(self.held) < self.size:
            self.held.append(next(self.scenes))
        else:
            self.held[self.rng.integers(len(self.held))] = next(self.scenes)

    def _draw(self):
        samples = []
        for number in self.rng.integers(len(self.held), size=self.options.batch_size):
            scene, alignment, psf_sigma = self.held[number]
            dataset = SceneDataset(
                [scene],
                AlignedReader(psf_sigma if self.rng.random() < _PSF_GIVEN else None),
                with_truth=True,
                patch_size=self.options.patch_size,
                augment=True,
                choices=[AlignedChoice(alignment)],
            )
            samples.append(dataset[SampleRequest(0, int(self.rng.integers(2**63)))])
        return collate_frames(samples)


@contextmanager
def _endless_batches(options, training):
    """Iterator over batches, whose worker processes end with it."""
    first, scale = training.step, training.net.scale_
    # Not "fork": this process has threads of torch.
    context = multiprocessing.get_context("spawn")
    if options.burst:
        workers = ProcessPoolExecutor(options.workers, context, initializer=_begin_worker)
        try:
            scenes = _scenes_in_bursts(workers, options, first, scale, training.land)
            yield _Pool(options, scenes, np.random.default_rng([options.seed, first])).batches()
        finally:
            workers.shutdown(cancel_futures=True)
    else:
        yield iter(
            DataLoader(
                _BatchesOfWorkers(options, first, scale, training.land),
                batch_size=None,
                num_workers=options.workers,
                worker_init_fn=_begin_worker,
                multiprocessing_context=context,
                pin_memory=torch.cuda.is_available(),
            )
        )


def _scenes_in_bursts(workers, options, first, scale, land):
    """Scenes that worker processes simulate in bursts, each after the last one is used up."""
    waiting, numbers = deque(), count()
    while True:
        while len(waiting) < options.burst:
            seed = [options.seed, first, next(numbers)]
            waiting.append(workers.submit(simulate, seed, scale, options.sensors, land))
        while waiting:
            yield waiting.popleft().result()


class _BatchesOfWorkers(IterableDataset):
    """Batches that each worker process draws from its own scenes."""

    def __init__(self, options, first, scale, land):
        self.options, self.first, self.scale, self.land = options, first, scale, land

    def __iter__(self):
        worker = get_worker_info()
        seed = [self.options.seed, self.first, worker.id]
        scenes = (
            simulate([*seed, n], self.scale, self.options.sensors, self.land) for n in count()
        )
        return _Pool(
            self.options, scenes, np.random.default_rng(seed), worker.num_workers
        ).batches()


def _begin_worker(_number=None):
    os.nice(5)
    end_with_parent()


def _net_to_train(options):
    settings = {"criterion__border": _BORDER, "random_state": options.seed}
    if options.weights is not None:
        return FusionNet.from_pretrained(options.weights, **settings)
    shape = {"width": options.width, "depth": options.depth, "scale": options.scale}
    net = FusionNet(**shape, **settings).initialize()
    if options.body is not None:
        take_layers(net.module_, load_weights(options.body))
    return net


@torch.no_grad()
def take_layers(module, weights):
    """Copy the layers that fit from a net of other inputs, another scale or depth.

    Residual blocks that it does not have are initialised to add zero.
    """
    same_scale = weights.config["scale"] == module.sensor.scale
    for name, new in module.state_dict().items():
        old = weights.state.get(name)
        if old is None and ".second." in name:
            new.zero_()
        if old is None or old.shape[:1] != new.shape[:1]:
            continue
        if name.endswith("enter.weight"):
            # Input channels: those of the evidence, then the features of the previous stage.
            n_hidden = 0 if name.startswith("stages.0.") else new.shape[0]
            if n_hidden:
                new[:, -n_hidden:] = old[:, -n_hidden:]
            if same_scale:
                n_evidence = old.shape[1] - n_hidden
                new[:, : new.shape[1] - n_hidden] = 0
                new[:, :n_evidence] = old[:, :n_evidence]
        elif old.shape == new.shape:
            new.copy_(old)


class _Training:
    def __init__(self, options):
        self.options = options
        self.net = _net_to_train(options)
        self.module = self.net.module_
        self.average = AveragedModel(self.module, multi_avg_fn=_exponential_mean)
        self.optimizer = torch.optim.AdamW(
            self.module.parameters(), lr=options.lr, betas=(0.9, 0.99), weight_decay=1e-4
        )
        self.step, self.seconds = 0, 0.0
        self.losses = []
        self.valid = {
            sensor: make_scenes(
                options.validate, scale=self.net.scale_, sensor=sensor, random_state=2025
            )
            for sensor in ("static", "any")
        }
        self.land, self.held_land = (), ()
        if options.land is not None:
            self.land, self.held_land = Land.of_folder(options.land, self.net.scale_)
            self.valid["land"] = [
                draw_scene([2025, number], self.net.scale_, ["any"], self.held_land, part=1)[0]
                for number in range(options.validate)
            ]
        folder = os.environ.get("PROBAV_SAMPLES")
        real = load_scenes(Path(folder, "real_texture")) if folder else []
        self.real = [scene for scene in real if scene.scale == self.net.scale_]

    # Saving

    @property
    def _parts(self):
        return {"module": self.module, "average": self.average, "optimizer": self.optimizer}

    def restore(self):
        path = self.options.out / "state.pt"
        if path.exists():
            state = torch.load(path, map_location=self.net.device, weights_only=True)
            for name, part in self._parts.items():
                part.load_state_dict(state[name])
            self.step, self.seconds = state["step"], state["seconds"]

    def save(self):
        state = {name: part.state_dict() for name, part in self._parts.items()}
        with replace_file(self.options.out / "state.pt") as partial:
            torch.save(state | {"step": self.step, "seconds": self.seconds}, partial)
        net = self._averaged_net()
        images = {sensor: net.predict(scenes) for sensor, scenes in self.valid.items()}
        apart = displacement(images["static"], self.valid["static"])
        line = {
            "step": self.step,
            "minutes": round(self.seconds / 60, 2),
            "loss": round(float(np.mean(self.losses)), 4),
            **{
                sensor: round(mean_score(images[sensor], scenes), 5)
                for sensor, scenes in self.valid.items()
            },
            "real": round(mean_score(net.predict(self.real), self.real), 5) if self.real else None,
            "displacement": [round(float(pixels), 3) for pixels in apart],
        }
        self.losses = []
        with (self.options.out / "log.jsonl").open("a") as log:
            print(json.dumps(line), file=log)
        print(line, flush=True)

    def _averaged_net(self):
        net = FusionNet(**self.net.get_params(deep=False)).initialize()
        net.module_.load_state_dict(self.average.module.state_dict())
        return net

    def export(self):
        """Measure the displacement, calibrate the standard deviations, and write the weights."""
        net = self._averaged_net()
        scenes = calibration_scenes(net.scale_, self.options, self.held_land)
        correct_displacement(net, scenes)
        net.calibrate(scenes)
        path = self.options.out / "weights.safetensors"
        net.save_pretrained(path, dtype="bfloat16")
        return path

    # Training

    def run(self, batches):
        last, saved = monotonic(), self.seconds
        while self.seconds < 60 * self.options.minutes:
            self.losses.append(self._train_step(next(batches)))
            now = monotonic()
            self.seconds, last = self.seconds + now - last, now
            if self.seconds - saved > 60 * self.options.save_every:
                self.save()
                saved, last = self.seconds, monotonic()
        if self.losses:
            self.save()

    def _train_step(self, batch):
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        images, targets = batch
        prediction = self.net.infer(images)
        truth = targets["truth"].to(prediction.device)
        sr, hr, clear = align_best(prediction[:, 0], truth[:, 0], truth[:, 1], _BORDER)
        enough = clear.sum(dim=(1, 2)) > 50
        image_loss = -batch_cpsnr(sr[enough], hr[enough], clear[enough]).mean()
        loss = _IMAGE_WEIGHT * image_loss
        loss = loss + _UNCERTAINTY_WEIGHT * uncertainty_loss(prediction, truth, _BORDER)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        size = torch.nn.utils.clip_grad_norm_(self.module.parameters(), _GREATEST_GRADIENT)
        if torch.isfinite(size):
            self.optimizer.step()
        self.average.update_parameters(self.module)
        self.step += 1
        return image_loss.item()

    def _learning_rate(self):
        progress = min(1.0, self.seconds / (60 * self.options.minutes))
        cosine = 0.5 * (1 + np.cos(np.pi * progress))
        warm_up = min(1.0, (self.step + 1) / _WARM_UP_STEPS)
        return float(self.options.lr * warm_up * (_LAST_RATE + (1 - _LAST_RATE) * cosine))


@torch.no_grad()
def _exponential_mean(averaged, current, n_averaged):
    n = int(n_averaged)
    decay = min(0.999, (n + 1) / (n + 20))
    torch._foreach_lerp_(averaged, current, 1 - decay)


if __name__ == "__main__":
    main()
