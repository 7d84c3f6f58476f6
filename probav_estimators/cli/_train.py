"""`probav train`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click
from skorch.callbacks import Callback
from skorch.helper import predefined_split

from ..architectures import FusionNet
from ..losses import ReprojectionLoss
from ..scenes import load_scenes
from ._options import (
    debug_option,
    device_option,
    folder_argument,
    json_option,
    overwrite_option,
    quiet_option,
    seed_option,
)
from ._output import check_output, print_json, show_progress
from ._scenes import load_net, load_truth, mean_of, score_scenes

if TYPE_CHECKING:
    from ..scenes import Scene

# As large as patches need be for the layers to see their surroundings.
_PATCH_SIZE = 48


@click.command()
@folder_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="WEIGHTS.safetensors",
    help="File of weights to write, for --weights and FusionNet.from_pretrained.",
)
@click.option(
    "--weights",
    metavar="NAME|FILE|none",
    help="Begin with these; none: with random ones.  "
    "[default: weights that ship for the scenes' scale]",
)
@click.option("--epochs", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--lr", type=float, help="Learning rate.  [default: 1e-4, and 1e-3 from nothing]")
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True)
@click.option(
    "--patch-size",
    type=click.IntRange(min=1),
    help=f"LR pixels.  [default: {_PATCH_SIZE}, or the smallest scene's size]",
)
@click.option(
    "--valid",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Scenes that choose the best epoch, scored before and after.  "
    "[default: a tenth of the scenes]",
)
@click.option("--no-truth", is_flag=True, help="Learn from the frames alone, without HR images.")
@device_option
@seed_option
@overwrite_option
@json_option
@quiet_option
@debug_option
def train(
    folder: Path,
    output: Path,
    weights: str | None,
    epochs: int,
    lr: float | None,
    batch_size: int,
    patch_size: int | None,
    valid: Path | None,
    no_truth: bool,
    device: str,
    seed: int,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train FusionNet on scenes, from the weights that ship or from nothing.

    The weights of the best epoch are kept, those that it began with among them. Ctrl-C ends the
    training and keeps the best so far.
    """
    check_output(output, overwrite=overwrite)
    scenes = load_scenes(folder) if no_truth else load_truth(folder)
    valid_scenes = None if valid is None else load_truth(valid)
    params = {
        "max_epochs": epochs,
        "batch_size": batch_size,
        "patch_size": patch_size or min(_PATCH_SIZE, *(min(scene.shape) for scene in scenes)),
        "augment": True,
        "device": device,
        "random_state": seed,
        "verbose": 0,
        **({} if lr is None else {"lr": lr}),
        **({"criterion": ReprojectionLoss()} if no_truth else {}),
        **({"train_split": predefined_split(valid_scenes)} if valid_scenes else {}),
    }
    net = _make_net(weights, scenes, params)
    # Random weights have no score that says anything.
    before = _score(net, valid_scenes, quiet) if net.initialized_ else None
    start = perf_counter()
    _fit(net, scenes, output, quiet)
    seconds = perf_counter() - start
    after = _score(net, valid_scenes, quiet)
    best = dict(net.callbacks_)["best_weights"].best_epoch_ if _was_validated(net) else None
    result = {
        "weights": str(output),
        "n_scenes": len(scenes),
        "n_epochs": len(net.history),
        "best_epoch": best,
        "seconds": round(seconds, 3),
        "before": before,
        "after": after,
    }
    print_json(result) if as_json else _print(result)


def _make_net(weights, scenes, params):
    if weights != "none":
        return load_net(weights, scenes, **params)
    scale = next((scene.scale for scene in scenes if scene.scale is not None), 3)
    return FusionNet(scale=scale, **params)


def _score(net, scenes, quiet):
    if scenes is None:
        return None
    with show_progress("scoring", len(scenes), quiet=quiet) as advance:
        rows = score_scenes(lambda scene: net.predict([scene])[0], scenes, advance)
    return mean_of(rows)


def _fit(net: FusionNet, scenes: Sequence[Scene], output: Path, quiet: bool) -> None:
    """Train, and write the weights, also those that Ctrl-C leaves."""
    with show_progress("training, epoch", net.max_epochs, quiet=quiet) as advance:
        net.set_params(callbacks=[("progress", _Epochs(advance))])
        try:
            net.fit(scenes)
        except KeyboardInterrupt:
            if any("train_loss" in row for row in net.history):
                _save(net, output)
                click.echo(f"The best weights so far are in {output}", err=True)
            raise
    _save(net, output)


def _save(net, output):
    """Write the weights, if need be elsewhere: they may be hours of work."""
    try:
        net.save_pretrained(output)
    except OSError as error:
        refuge = Path(tempfile.mkdtemp(prefix="probav-")) / output.name
        net.save_pretrained(refuge)
        raise click.ClickException(
            f"{output} could not be written ({error.strerror or error}): the weights are in "
            f"{refuge}, move them from there"
        ) from error


def _was_validated(net):
    return "valid_loss" in net.history[-1]


def _print(result):
    epochs = f"{result['n_epochs']} epochs in {result['seconds']:.1f} s"
    if result["best_epoch"] is not None:
        best = result["best_epoch"]
        epochs += f", {f'the best is {best}' if best else 'none better than the weights before'}"
    click.echo(f"{result['weights']}: {result['n_scenes']} scenes, {epochs}")
    for when in ("before", "after"):
        if result[when] is not None:
            click.echo(
                f"{when}: N / cPSNR {result[when]['score']:.5f}, cPSNR {result[when]['cpsnr']:.3f} "
                "dB on the validation scenes"
            )


class _Epochs(Callback):
    """Tells of each epoch."""

    def __init__(self, advance: Callable[[str], None]) -> None:
        self.advance = advance

    def on_epoch_end(self, net: FusionNet, **kwargs: Any) -> None:
        row = net.history[-1]
        shown = next(key for key in ("valid_score", "valid_loss", "train_loss") if key in row)
        self.advance(f"{shown} {row[shown]:.5f}")
