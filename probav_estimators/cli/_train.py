"""`probav train`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import click
from sklearn.pipeline import Pipeline
from skorch.callbacks import Callback
from skorch.helper import predefined_split

from .. import architectures
from ..architectures import FusionNet
from ..losses import ReprojectionLoss
from ..persistence import save_model
from ..prediction import composed_scenes, last_step
from ..preprocessing import BicubicUpscaler, ClearanceSelector, InputComposer
from ..scenes import Scene, load_scenes, load_truth
from ..training import SceneNet, SceneRegressor
from ._options import PATH, common_options, folder_argument, output_option
from ._output import check_output, print_json, show_progress
from ._scenes import load_net, mean_of, score_scenes

# Default in LR pixels, for which most pixels have the surroundings that the layers use.
_PATCH_SIZE = 48

# Trainable estimators, by their names on the command line.
_ESTIMATORS = {
    name.lower(): kind
    for name in architectures.__all__
    if isinstance(kind := getattr(architectures, name), type) and issubclass(kind, SceneNet)
}


class _Recipe(NamedTuple):
    """Construction and saving of one kind of estimators, and the options for this kind only.

    `make` takes class, scenes, these options and parameters of the net.
    """

    options: frozenset[str]
    make: Callable[[type[SceneNet], Sequence[Scene], dict[str, Any], dict[str, Any]], Any]
    save: Callable[[Any, Path], None]


def _make_fusion_net(kind, scenes, options, params):
    weights = options.get("weights")
    if options.get("no_truth"):
        params = {"criterion": ReprojectionLoss(), **params}
    if weights != "none":
        return load_net(weights, scenes, **params)
    return kind(scale=_scale_of(scenes), **params)


def _make_pipeline(kind, scenes, options, params):
    scale = _scale_of(scenes)
    if options.get("residual"):
        params = {"residual": True, **params}
    composition = {key: options[key] for key in ("mode", "frames") if key in options}
    upscale = "passthrough" if kind.upscales else BicubicUpscaler(scale=scale)
    default_k = "max" if composition.get("frames") == "single" else 9
    steps = [
        ("select", ClearanceSelector(k=options.get("k", default_k))),
        ("compose", InputComposer(**composition)),
        ("upscale", upscale),
        ("sr", kind(**params)),
    ]
    return Pipeline(steps)


def _make_frame_net(kind, scenes, options, params):
    return kind(**params)


def _save_model(estimator, path):
    net = last_step(estimator)
    # Model files contain neither progress bars nor validation scenes.
    net.set_params(callbacks=None)
    if callable(net.train_split):
        net.set_params(train_split=None)
    save_model(estimator, path)


def _save_pretrained(net, path):
    net.save_pretrained(path)


_RECIPES = {
    FusionNet: _Recipe(frozenset({"weights", "no_truth"}), _make_fusion_net, _save_pretrained),
    SceneRegressor: _Recipe(
        frozenset({"mode", "k", "frames", "residual"}), _make_pipeline, _save_model
    ),
    SceneNet: _Recipe(frozenset(), _make_frame_net, _save_model),
}


@click.command()
@folder_argument
@output_option(
    "FILE.safetensors",
    "File to write: weights of FusionNet, for --weights and FusionNet.from_pretrained; a "
    "model of other estimators, for --weights, --estimator and load_model.",
)
@click.option(
    "--estimator",
    "name",
    type=click.Choice(list(_ESTIMATORS), case_sensitive=False),
    default="fusionnet",
    show_default=True,
    help="Estimator to train.",
)
@click.option(
    "--weights",
    metavar="NAME|FILE|none",
    help="Initial weights; none: random ones. For fusionnet.  "
    "[default: shipped weights of the scenes' scale]",
)
@click.option(
    "--mode",
    type=click.Choice(["lr", "combine", "concat"]),
    help="Frames, frames times quality maps, or both as channels. For estimators of composed "
    "inputs, such as srvgg16.  [default: lr]",
)
@click.option(
    "--frames",
    type=click.Choice(["stack", "single", "mean"]),
    help="Frames as channels of one sample, as separate samples, or their mean. For composed "
    "inputs.  [default: stack]",
)
@click.option(
    "--k",
    type=click.IntRange(min=1),
    help="Number of clearest frames. For composed inputs.  [default: 9; all that tie for clearest "
    "with --frames single]",
)
@click.option(
    "--residual",
    is_flag=True,
    help="Predict the residual of the upscaled mean frame, which trains faster. For composed "
    "inputs.",
)
@click.option("--epochs", type=click.IntRange(min=1), default=20, show_default=True)
@click.option(
    "--lr",
    type=float,
    help="Learning rate.  [default: 1e-4 with initial weights, else that of the estimator]",
)
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True)
@click.option(
    "--micro-batch-size",
    type=click.IntRange(min=1),
    help="Samples computed at a time, where memory is short.  [default: the batch]",
)
@click.option(
    "--patch-size",
    type=click.IntRange(min=0),
    help=f"LR pixels; 0: whole frames.  [default: {_PATCH_SIZE}, or the smallest scene's size]",
)
@click.option(
    "--valid",
    type=PATH,
    metavar="FOLDER",
    help="Validation scenes, which choose the best epoch.  [default: a tenth of the scenes]",
)
@click.option(
    "--no-truth",
    is_flag=True,
    help="Train on the frames only, without HR images. For fusionnet.",
)
@common_options("device", "seed", "overwrite")
def train(
    folder: Path,
    output: Path,
    name: str,
    epochs: int,
    lr: float | None,
    batch_size: int,
    micro_batch_size: int | None,
    patch_size: int | None,
    valid: Path | None,
    device: str,
    seed: int,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Train FusionNet or another estimator on scenes.

    FusionNet starts from initial weights or at random; others start at random. The weights of the
    best epoch are kept, or the initial ones if none is better. Ctrl-C ends the training and keeps
    the best so far.
    """
    kind = _ESTIMATORS[name]
    recipe = next(recipe for base, recipe in _RECIPES.items() if issubclass(kind, base))
    options = _applying(options, recipe, name)
    check_output(output, overwrite=overwrite)
    scenes = load_scenes(folder) if options.get("no_truth") else load_truth(folder)
    valid_scenes = None if valid is None else load_truth(valid)
    params = {
        "max_epochs": epochs,
        "batch_size": batch_size,
        "micro_batch_size": micro_batch_size,
        "patch_size": _patch_size_of(patch_size, scenes),
        "augment": True,
        "device": device,
        "random_state": seed,
        "verbose": 0,
        **({} if lr is None else {"lr": lr}),
    }
    estimator = recipe.make(kind, scenes, options, params)
    net = last_step(estimator)
    if valid_scenes is not None:
        net.set_params(train_split=predefined_split(composed_scenes(estimator, valid_scenes)))
    # The score of random weights is meaningless.
    before = _score(estimator, valid_scenes, quiet) if net.initialized_ else None
    start = perf_counter()
    best = _fit(estimator, scenes, recipe.save, output, quiet)
    seconds = perf_counter() - start
    result = {
        "weights": str(output),
        "estimator": name,
        "n_scenes": len(scenes),
        "n_epochs": len(net.history),
        "best_epoch": best,
        "seconds": round(seconds, 3),
        "before": before,
        "after": _score(estimator, valid_scenes, quiet),
    }
    print_json(result) if as_json else _print(result)


def _applying(options, recipe, name):
    """Given options, after a check that they apply to the estimator."""
    given = {key: value for key, value in options.items() if value not in (None, False)}
    for key in given:
        if key not in recipe.options:
            option = f"--{key.replace('_', '-')}"
            raise click.UsageError(f"{option} does not apply to --estimator {name}: leave it out")
    return given


def _scale_of(scenes):
    return next((scene.scale for scene in scenes if scene.scale is not None), 3)


def _patch_size_of(given, scenes):
    if given is None:
        return min(_PATCH_SIZE, *(min(scene.shape) for scene in scenes))
    return given or None


def _score(estimator, scenes, quiet):
    if scenes is None:
        return None
    with show_progress("scoring", len(scenes), quiet=quiet) as advance:
        rows = score_scenes(lambda scene: estimator.predict([scene])[0], scenes, advance)
    return mean_of(rows)


def _fit(estimator, scenes, save, output, quiet):
    """Train and write the weights, also after Ctrl-C; return the best epoch or None."""
    net = last_step(estimator)
    with show_progress("training, epoch", net.max_epochs, quiet=quiet) as advance:
        net.set_params(callbacks=[("progress", _Epochs(advance))])
        try:
            estimator.fit(scenes)
        except KeyboardInterrupt:
            if any("train_loss" in row for row in getattr(net, "history_", [])):
                _save(estimator, save, output)
                click.echo(f"The best weights so far are in {output}", err=True)
            raise
    is_validated = "valid_loss" in net.history[-1]
    best = dict(net.callbacks_)["best_weights"].best_epoch_ if is_validated else None
    _save(estimator, save, output)
    return best


def _save(estimator, save, output):
    """Write the weights; to a temporary folder if that fails."""
    try:
        save(estimator, output)
    except OSError as error:
        fallback = Path(tempfile.mkdtemp(prefix="probav-")) / output.name
        save(estimator, fallback)
        raise click.ClickException(
            f"{output} could not be written ({error.strerror or error}): the weights are in "
            f"{fallback}, move them from there"
        ) from error


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
    """Show the progress of each epoch."""

    def __init__(self, advance: Callable[[str], None]) -> None:
        self.advance = advance

    def on_epoch_end(self, net: SceneNet, **kwargs: Any) -> None:
        row = net.history[-1]
        shown = next(key for key in ("valid_score", "valid_loss", "train_loss") if key in row)
        self.advance(f"{shown} {row[shown]:.5f}")
