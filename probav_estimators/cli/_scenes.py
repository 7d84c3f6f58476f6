"""Loading of scenes and estimators, and scores by scene."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

from ..baseline import BicubicBaseline
from ..imaging import MAX_CPSNR
from ..prediction import Predictor, last_step
from ..scenes import Scene
from ..scoring import scene_cpsnr, scene_score

if TYPE_CHECKING:
    from ..architectures import FusionNet


#: Name of the challenge's baseline on the command line.
BASELINE = "baseline"


class SceneFailure(click.ClickException):
    """Error in the data of one scene."""


@contextmanager
def scene_errors(scene: Scene) -> Iterator[None]:
    """Convert errors in the data of a scene to a SceneFailure with its name."""
    try:
        yield
    except (ValueError, OSError) as error:
        message = str(error)
        if scene.name is None or scene.name not in message:
            message = f"{scene.label}: {message}"
        raise SceneFailure(message) from error


def load_net(weights: str | None, scenes: Sequence[Scene], **params: Any) -> FusionNet:
    """Load FusionNet with weights that fit scenes, without progress bars.

    `weights` None: those of the scenes' scale, 3 if it is unknown.
    """
    # Imports of torch take seconds.
    from ..architectures import FusionNet

    scale = None if weights else next((s.scale for s in scenes if s.scale is not None), None)
    net = FusionNet.from_pretrained(weights, scale=scale, **{"verbose": 0, **params})
    net.check_inputs(scenes)
    return net


def load_estimator(name: str | None, scenes: Sequence[Scene], device: str) -> Predictor:
    """Load the baseline, a model file, or FusionNet with weights."""
    if name == BASELINE:
        return BicubicBaseline()
    from ..persistence import is_model_file, load_model

    if name is None or not is_model_file(name):
        return load_net(name, scenes, device=device)

    # The default device is that of the model.
    model = load_model(name, device=None if device == "auto" else device)
    last = last_step(model)
    if "verbose" in getattr(last, "get_params", dict)():
        last.set_params(verbose=0)
    return model


def load_estimators(
    names: Sequence[str], scenes: Sequence[Scene], device: str
) -> dict[str, Predictor]:
    """Load estimators by name; files are named without their folder if that is unique."""
    names = list(dict.fromkeys(names))
    loaded = {name: load_estimator(name, scenes, device) for name in names}
    scale = next(filter(None, map(_scale_of, loaded.values())), 3)
    short = {name: Path(name).name for name in names}
    if len(set(short.values())) < len(short):
        short = {name: name for name in names}
    # The baseline uses the scale of scenes that have one.
    return {
        short[name]: BicubicBaseline(scale) if name == BASELINE else estimator
        for name, estimator in loaded.items()
    }


def _scale_of(estimator):
    return getattr(last_step(estimator), "scale_", None)


def score_scenes(
    image_of: Callable[[Scene], NDArray[Any]],
    scenes: Sequence[Scene],
    advance: Callable[[], object],
) -> list[dict[str, Any]]:
    """Compute norm, cPSNR and challenge score of the image of each scene.

    Raises a SceneFailure if an image cannot be predicted, read or scored.
    """
    rows = []
    for scene in scenes:
        with scene_errors(scene):
            image = image_of(scene)
            row = {
                "norm": min(float(scene.norm), MAX_CPSNR),  # type: ignore[arg-type]
                "cpsnr": scene_cpsnr(image, scene),
                "score": scene_score(image, scene),
            }
        rows.append({"scene": scene.name, "band": scene.band, **row})
        advance()
    return rows


def mean_of(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Mean challenge score and mean cPSNR."""
    return {key: float(np.mean([row[key] for row in rows])) for key in ("score", "cpsnr")}
