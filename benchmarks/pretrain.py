"""Train FusionNet on simulated scenes that never repeat: ``python -m benchmarks.pretrain``.

Scenes are simulated in worker processes and never touch the disk. A pool of them is kept in memory
and renewed as patches are drawn from it. The learning rate falls along a cosine over the time that
is given, and the weights that count are an exponential mean over the last thousand steps.

With ``--weights`` training goes on from weights that there are, such as those that ship. The state
is saved every few minutes; the same command goes on after the process was killed. Every save logs
the challenge score of simulated validation scenes and, where PROBAV_SAMPLES names the folder of
sample data, of its scenes with real texture. The latter are reported: nothing is chosen by them.

In the end the standard deviations are calibrated on the validation scenes, and the weights are
written as safetensors for ``FusionNet.from_pretrained``.
"""

import argparse
import json
import multiprocessing
import os
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from time import monotonic

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

from probav_estimators import FusionNet, load_scenes, make_scenes, probav_scorer
from probav_estimators.files import replace_file
from probav_estimators.losses import align_best, batch_cpsnr, uncertainty_loss
from probav_estimators.scenes import align_scene
from probav_estimators.training import FusionDataset, SampleRequest, collate_frames

from .fusion import standardized_errors

_BORDER = 3
_SCENE_SIZE = 96

# Scenes to begin with, and those that are simulated ahead for each worker.
_FIRST_SCENES = 32
_AHEAD = 24

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
    with _endless_scenes(options, training) as source:
        training.run(source)
    print(f"weights: {training.export()}")


def _parse():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pretrain", description=__doc__)
    add = parser.add_argument
    add("--minutes", type=float, default=60, help="of training, over all starts")
    add("--out", type=Path, default=Path("results/pretraining"))
    add("--weights", help="to go on from: a name or a file, whose size and scale then count")
    add("--width", type=int, default=64)
    add("--depth", type=int, default=4)
    add("--scale", type=int, default=3)
    add("--patch-size", type=int, default=48, help="LR pixels")
    add("--batch-size", type=int, default=8)
    add("--lr", type=float, default=8e-4)
    add("--pool", type=int, default=256, help="scenes in memory")
    add("--patches", type=float, default=8, help="that are drawn for each new scene")
    add("--workers", type=int, default=max(1, os.cpu_count() // 2))
    add("--validate", type=int, default=12, help="simulated scenes that are scored")
    add("--save-every", type=float, default=4, metavar="MINUTES")
    add("--seed", type=int, default=1)
    return parser.parse_args()


def simulate(seed, scale):
    """A scene of random band, and how its frames lie."""
    rng = np.random.RandomState(seed)
    band = ("RED", "NIR")[rng.randint(2)]
    (scene,) = make_scenes(1, size=_SCENE_SIZE, scale=scale, bands=band, random_state=rng)
    return scene, align_scene(scene)


def _begin_worker():
    os.nice(5)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    """End this process when the one that trains was killed: it cannot say so itself."""
    multiprocessing.parent_process().join()
    os._exit(1)


@contextmanager
def _endless_scenes(options, training):
    """Iterator over scenes that worker processes simulate ahead."""
    # Not forked: this process has threads of torch.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(options.workers, context, initializer=_begin_worker)

    def scenes():
        waiting, number, first_step = deque(), 0, training.step
        while True:
            while len(waiting) < _AHEAD * options.workers:
                seed = [options.seed, first_step, number]
                waiting.append(pool.submit(simulate, seed, training.net.scale_))
                number += 1
            yield waiting.popleft().result()

    try:
        yield scenes()
    finally:
        pool.shutdown(cancel_futures=True)


def _net_to_train(options):
    settings = {"criterion__border": _BORDER, "random_state": options.seed}
    if options.weights is not None:
        return FusionNet.from_pretrained(options.weights, **settings)
    shape = {"width": options.width, "depth": options.depth, "scale": options.scale}
    return FusionNet(**shape, **settings).initialize()


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
        self.valid = make_scenes(options.validate, scale=self.net.scale_, random_state=2025)
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
        line = {
            "step": self.step,
            "minutes": round(self.seconds / 60, 2),
            "loss": round(float(np.mean(self.losses)), 4),
            "valid": self.score(self.valid),
            "real": self.score(self.real) if self.real else None,
        }
        self.losses = []
        with (self.options.out / "log.jsonl").open("a") as log:
            print(json.dumps(line), file=log)
        print(line, flush=True)

    def score(self, scenes):
        return round(-probav_scorer(self._averaged_net(), scenes), 5)

    def _averaged_net(self):
        net = FusionNet(**self.net.get_params(deep=False)).initialize()
        net.module_.load_state_dict(self.average.module.state_dict())
        return net

    def export(self):
        """Calibrate the standard deviations, and write the weights."""
        net = self._averaged_net()
        errors = standardized_errors(net, self.valid)
        net.module_.calibration *= float(np.quantile(np.abs(errors), 0.6827))
        path = self.options.out / "weights.safetensors"
        net.save_pretrained(path)
        return path

    # Training

    def run(self, source):
        rng = np.random.default_rng([self.options.seed, self.step])
        pool = [next(source) for _ in range(min(self.options.pool, _FIRST_SCENES))]
        new_for_each_step = self.options.batch_size / self.options.patches
        owed, last, saved = 0.0, monotonic(), self.seconds
        while self.seconds < 60 * self.options.minutes:
            owed += new_for_each_step
            while owed >= 1:
                owed -= 1
                if len(pool) < self.options.pool:
                    pool.append(next(source))
                else:
                    pool[rng.integers(len(pool))] = next(source)
            self.losses.append(self._train_step(self._draw_batch(pool, rng)))
            now = monotonic()
            self.seconds, last = self.seconds + now - last, now
            if self.seconds - saved > 60 * self.options.save_every:
                self.save()
                saved, last = self.seconds, monotonic()
        if self.losses:
            self.save()

    def _draw_batch(self, pool, rng):
        samples = []
        for number in rng.integers(len(pool), size=self.options.batch_size):
            scene, alignment = pool[number]
            dataset = FusionDataset(
                [scene],
                with_truth=True,
                patch_size=self.options.patch_size,
                augment=True,
                alignments=[alignment],
            )
            samples.append(dataset[SampleRequest(0, int(rng.integers(2**63)))])
        return collate_frames(samples)

    def _train_step(self, batch):
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        images, targets = batch
        prediction = self.net.infer(images)
        truth = targets["truth"].to(prediction.device)
        sr, hr, clear = align_best(prediction[:, 0], truth[:, 0], truth[:, 1], _BORDER)
        seen = clear.sum(dim=(1, 2)) > 50
        image_loss = -batch_cpsnr(sr[seen], hr[seen], clear[seen]).mean()
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
