"""Train FusionNet on simulated scenes that never repeat: ``python -m benchmarks.pretrain``.

Scenes are simulated in worker processes and never written to disk. A pool of them is in memory, and
is renewed as patches are drawn from it: ``--burst`` scenes at once, while training waits, because
processes that share its cores would delay it more. With ``--burst 0`` each worker has a pool
of its own and prepares whole batches during the training, which suits a GPU. The learning rate
falls along a cosine over the given time, and the final weights are an exponential mean over the
last thousand steps.

Each scene has a sensor of its own, drawn from ``--sensors``, and 1 to 40 frames. Half of the scenes
have texture on the land, and half more noise, of 0.002 to 3 standard deviations of the land, some
with speckle. For some of the scenes without resampling, the net gets the point spread function, as
from a user who knows it. ``--land FOLDER`` takes the land of half of the scenes from images in
place of drawn land: PNG and .npy files whose names begin with their place and ``_``, at random
reductions and contrasts. Every sixth place is kept for validation and calibration.

The truth is another camera's image, anywhere within a pixel, and shifts are tolerated as by the
challenge's score; but the mean shift of a batch adds to the loss, so that images are not displaced.
For a share ``--in-place`` of the patches, frames are registered to the truth and no shift is
tolerated: this alone gives sharper images and worse challenge scores.

The data-consistency layer follows every stage, and its factor on the residuals is learned:
``FusionNet.from_pretrained(..., data_consistency="every stage")`` takes the weights.

``--weights`` gives initial weights, such as those that ship; with ``--body`` the layers that fit a
net of another scale or depth are taken from them. The state is saved every few minutes; the same
command resumes after the process was killed. Every save scores all rows of the benchmarks
`robustness` and `land`, with ``--validate`` small scenes each, always the same ones. The simulated
ones are not those of the benchmarks. It shows them beside the scores at the start and appends them
to ``log.jsonl``, with the displacement of the images, (down, right) in HR pixels, and the agreement
over real land in dB. Training ends, with the last good state, when one row lost 0.003 and no other
gained as much as it lost.

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
from functools import cached_property
from itertools import count
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from probav_estimators import FusionNet, Scene, Sensor, make_scenes
from probav_estimators.files import replace_file
from probav_estimators.imaging import plan_blocks
from probav_estimators.losses import align_best, batch_cpsnr
from probav_estimators.processes import end_with_parent
from probav_estimators.scenes import align_scene, clip_image
from probav_estimators.training import (
    AlignedChoice,
    AlignedReader,
    SampleRequest,
    SceneDataset,
    collate_frames,
    load_weights,
)

from ._land import SCENE_SIZE, Land, scenes_of_land
from ._scores import displacement, displacement_of_layers, mean_score
from .land import MUCH_NOISE, NOISE, agreement
from .robustness import FULL, rows

_BORDER = 3

# Smaller displacements, in HR pixels along each axis, are within the measurement error.
_LEAST_DISPLACEMENT = 0.02

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

# Fraction of the scenes with land of images.
_LAND = 0.5

_N_FRAMES = (1, 40)

# Noise of sensors with a range of it, in counts. Added noise in standard deviations of the land,
# and the fraction of the scenes that have it; fraction of these with speckle, and its looks.
_SENSOR_NOISE = (1, 35)
_ADDED_NOISE, _NOISY = (0.002, 3.0), 0.5
_SPECKLE, _LOOKS = 0.2, (1, 16)

# Weights of cPSNR in dB, and of FusionNet's further losses: likelihood and mean shift.
_IMAGE_WEIGHT, _FURTHER_WEIGHT = 0.1, 5.0

# Learning rate of the factor on the residuals, relative to that of the layers, and its least value.
_FACTOR_RATE, _LEAST_FACTOR = 100, 0.5

# Seed of the scenes of the rows, their size in LR pixels, and the loss that ends the training.
_ROWS, _ROW_SIZE = 2025, 48
_GREATEST_LOSS = 0.003

_REAL_LAND = "real land"

_WARM_UP_STEPS = 100
_LAST_RATE = 0.005
_GREATEST_GRADIENT = 1.0


def main(arguments=None):
    options = _parse(arguments)
    torch.manual_seed(options.seed)
    try:
        training = _Training(options)
    except (ValueError, OSError) as error:
        raise SystemExit(f"pretrain: {error}") from error
    options.out.mkdir(parents=True, exist_ok=True)
    training.restore()
    with _endless_batches(options, training) as batches:
        training.run(batches)
    print(f"weights: {training.export()}")


def _parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pretrain", description=__doc__)
    add = parser.add_argument
    add("--minutes", type=float, default=60, help="of training, over all starts of the command")
    add("--out", type=Path, default=Path("results/pretraining"))
    begin = parser.add_mutually_exclusive_group().add_argument
    begin("--weights", help="initial weights, a name or a file, which set size and scale")
    begin("--body", help="weights, a name or a file, whose layers are taken where they fit")
    add("--in-place", type=float, default=0.25, help="share of the truths that are in place")
    add("--sensors", nargs="+", choices=SENSORS, default=["any", _WIDE, "static"])
    add("--land", type=Path, metavar="FOLDER", help="images of real land, for half of the scenes")
    add("--width", type=int, help="default: that of --body, else 64")
    add("--depth", type=int, help="default: that of --body, else 4")
    add("--scale", type=int, help="default: that of --weights, else 3")
    add("--patch-size", type=int, default=48, help="LR pixels")
    add("--batch-size", type=int, default=8)
    add("--lr", type=float, default=8e-4)
    add("--pool", type=int, default=256, help="scenes in memory")
    add("--patches", type=float, default=8, help="drawn for each new scene")
    add("--burst", type=int, default=64, help="scenes simulated at once; 0: during the training")
    add("--workers", type=int, default=os.cpu_count())
    add("--validate", type=int, default=3, help="scenes of each row that a save scores; 0: none")
    add("--calibrate", type=int, default=192, help="scenes to calibrate standard deviations")
    add("--save-every", type=float, default=4, metavar="MINUTES")
    add("--seed", type=int, default=1)
    return parser.parse_args(arguments)


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
    given |= {"scale": scale, "bands": band, "sensor": sensor, "n_frames": _N_FRAMES}
    (scene,) = make_scenes(1, size=SCENE_SIZE, random_state=rng, **given)
    return (add_noise(scene, rng) if rng.uniform() < _NOISY else scene), psf_sigma


def add_noise(scene, rng):
    """Add white noise to the frames of a simulated scene, and speckle to those of some scenes."""
    lr = scene.lr
    if rng.uniform() < _SPECKLE:
        looks = rng.uniform(*_LOOKS)
        lr = lr * rng.gamma(looks, 1 / looks, lr.shape)
    ratio = np.exp(rng.uniform(*np.log(_ADDED_NOISE)))
    lr = np.clip(lr + ratio * scene.hr.std() * rng.normal(size=lr.shape), 0, 1)
    noisy = Scene(
        lr.astype(np.float32), scene.qm, scene.hr, scene.sm, name=scene.name, band=scene.band
    )
    return noisy.with_frames(noisy.frames.with_true_shifts(scene.true_shifts))


def calibration_scenes(scale, options, land=()):
    """Held-out scenes of the sensors of the training."""
    return [
        draw_scene([options.seed, 2**31, number], scale, options.sensors, land)[0]
        for number in range(options.calibrate)
    ]


def correct_displacement(net, scenes):
    """Measure the displacement of the learned layers' image, and add it to its correction."""
    apart = displacement_of_layers(net, scenes)
    apart[np.abs(apart) < _LEAST_DISPLACEMENT] = 0
    net.displacement_ = tuple(np.add(net.displacement_, apart).round(3).tolist())


def draw_sensor(rng, name, scale):
    """Sensor of a name, and the sigma of its point spread function in LR pixels, or None."""
    if name not in (_WIDE, "any"):
        return name, None
    psf_sigma = rng.uniform(*_PSF_SIGMA)
    fields = {"psf_sigma": scale * psf_sigma, "noise": _SENSOR_NOISE}
    if name == _WIDE:
        return Sensor.preset("plain", **fields), psf_sigma
    if rng.uniform() < _NOT_RESAMPLED:
        return Sensor.preset("any", **fields, resampling="none"), psf_sigma
    return Sensor.preset("any", **fields, resampling=("nearest", "bicubic", "area")), None


class _Pool:
    """Scenes in memory, from which batches of patches are drawn.

    `scenes` is an iterator over results of `simulate`; `n_pools` pools share them.
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
                AlignedReader(
                    psf_sigma if self.rng.random() < _PSF_GIVEN else None,
                    truths_in_place=self.rng.random() < self.options.in_place,
                ),
                with_truth=True,
                training=True,
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
    settings = {"random_state": options.seed, "data_consistency": "every stage"}
    if options.weights is not None:
        return FusionNet.from_pretrained(options.weights, scale=options.scale, **settings)
    body = None if options.body is None else FusionNet.from_pretrained(options.body)
    width, depth = (64, 4) if body is None else (body.width_, body.depth_)
    shape = {"width": options.width or width, "depth": options.depth or depth}
    net = FusionNet(**shape, scale=options.scale or 3, **settings).initialize()
    if body is not None:
        if net.width_ != width:
            raise ValueError(
                f"--body {options.body} has width {width} and --width is {net.width_}, so that no "
                "layers fit: leave out --width"
            )
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


class Rows:
    """Scenes of all rows of docs/benchmarks.md, few and small, and aligned once.

    Without `n_scenes`, of each row, there are no rows; without images of real `land`, which the
    training does not use, none of such.
    """

    def __init__(self, scale, n_scenes, land=()):
        found = rows(n_scenes, _ROW_SIZE, scale, _ROWS) if n_scenes else ()
        self.scenes = {row.name: row.scenes for row in found}
        noises = {_REAL_LAND: NOISE}
        noises |= {f"{_REAL_LAND}, noise of {x} of it": (x,) for x in MUCH_NOISE}
        for name, noise in noises.items() if n_scenes and land else ():
            found = scenes_of_land(land, scale, n_scenes, _ROWS, noise)
            self.scenes[name] = [scene for *_, scene in found]
        # A net of a scale has no scenes of another.
        self.scenes = {
            name: [(scene, align_scene(scene)) for scene in scenes]
            for name, scenes in self.scenes.items()
            if all(scene.scale == scale for scene in scenes)
        }

    def score(self, net):
        """Mean N / cPSNR of each row; displacement in HR pixels and agreement in dB, or None."""
        scores, apart, agreed = {}, None, None
        for name, aligned in self.scenes.items():
            images = [_image_of(net, *pair) for pair in aligned]
            scenes = [scene for scene, _ in aligned]
            scores[name] = round(mean_score(images, scenes), 5)
            if name == FULL:
                apart = [round(float(x), 3) for x in displacement(images, scenes)]
            if name == _REAL_LAND:
                pairs = zip(images, scenes, strict=True)
                agreed = round(float(np.mean([agreement(image, s.hr) for image, s in pairs])), 2)
        return scores, apart, agreed


def _image_of(net, scene, alignment):
    (fused,) = net.fuse_blocks(scene, alignment, plan_blocks(scene.shape, None))
    clip_image(fused.image, scene)
    return fused.image


def lost_row(start, now):
    """Row whose score rose by 0.003 or more, and no other fell by more, or None."""
    if not now:
        return None
    losses = {name: score - start[name] for name, score in now.items()}
    worst = max(losses, key=losses.get)
    greatest = max(_GREATEST_LOSS, -min(losses.values()))
    return worst if losses[worst] >= greatest else None


def table_of(start, now):
    """Table of scores at the start and now."""
    lines = ["| N / cPSNR | start | now | change |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {name} | {start[name]:.4f} | {score:.4f} | {score - start[name]:+.4f} |"
        for name, score in now.items()
    ]
    return "\n".join(lines)


class _Training:
    def __init__(self, options):
        if not 0 <= options.in_place <= 1:
            raise ValueError(f"--in-place is a share from 0 to 1, not {options.in_place}")
        self.options = options
        self.net = _net_to_train(options)
        self.module = self.net.module_
        self.land, self.held_land = (), ()
        if options.land is not None:
            self.land, self.held_land = Land.of_folder(options.land, self.net.scale_)
        self.factor = self.module.consistency.residual_factor.requires_grad_()
        self.average = AveragedModel(self.module, multi_avg_fn=_exponential_mean)
        groups = [
            {"params": list(self.module.parameters()), "rate": 1},
            {"params": [self.factor], "rate": _FACTOR_RATE, "weight_decay": 0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups, lr=options.lr, betas=(0.9, 0.99), weight_decay=1e-4
        )
        self.step, self.seconds, self.ended = 0, 0.0, False
        self.losses, self.start = [], None

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
            self.step, self.seconds, self.ended, self.start = (
                state[name] for name in ("step", "seconds", "ended", "start")
            )

    @cached_property
    def rows(self):
        return Rows(self.net.scale_, self.options.validate, self.held_land)

    def save(self):
        """Score all rows, and save the state; or, when one was lost, end with the last state."""
        scores, apart, agreed = self.rows.score(self._averaged_net())
        self.start = self.start or scores
        line = {
            "step": self.step,
            "minutes": round(self.seconds / 60, 2),
            "loss": round(float(np.mean(self.losses)), 4) if self.losses else None,
            "displacement": apart,
            "agreement": agreed,
            "residual_factor": round(self.factor.item(), 3),
        }
        self.losses = []
        lost = lost_row(self.start, scores)
        if lost is not None:
            self.restore()
            self.ended = True
        state = {name: part.state_dict() for name, part in self._parts.items()}
        state |= {key: getattr(self, key) for key in ("step", "seconds", "ended", "start")}
        with replace_file(self.options.out / "state.pt") as partial:
            torch.save(state, partial)
        with (self.options.out / "log.jsonl").open("a") as log:
            print(json.dumps(line | {"rows": scores, "lost": lost}), file=log)
        print(line, table_of(self.start, scores), sep="\n", flush=True)
        if lost is not None:
            print(f"ended with the state before: lost {lost}")

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
        if self.start is None and self.options.minutes:
            self.save()
        last, saved = monotonic(), self.seconds
        while self.seconds < 60 * self.options.minutes and not self.ended:
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
            group["lr"] = group["rate"] * self._learning_rate()
        images, targets = batch
        prediction = self.net.infer(images)
        targets = {key: x.to(prediction.device) for key, x in targets.items()}
        hr, clear = targets["truth"].unbind(dim=1)
        sr, hr, clear = align_best(prediction[:, 0], hr, clear, _BORDER, targets["in_place"])
        enough = clear.sum(dim=(1, 2)) > 50
        image_loss = -batch_cpsnr(sr[enough], hr[enough], clear[enough]).mean()
        loss = _IMAGE_WEIGHT * image_loss
        loss = loss + _FURTHER_WEIGHT * self.net.further_loss(prediction, targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        size = torch.nn.utils.clip_grad_norm_(self.module.parameters(), _GREATEST_GRADIENT)
        if torch.isfinite(size):
            self.optimizer.step()
            with torch.no_grad():
                self.factor.clamp_(min=_LEAST_FACTOR)
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
