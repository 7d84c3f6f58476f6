"""The configurations of the study that this package starts from, and its scores."""

from __future__ import annotations

from typing import Any, NamedTuple

from sklearn.base import clone
from sklearn.pipeline import Pipeline
from skorch.dataset import ValidSplit
from torch.utils.data import Dataset, Subset

from .architectures import FSRCNN, SRCNN, SRVGG16, SRCNNEx
from .preprocessing import BicubicUpscaler, ClearanceSelector, InputComposer
from .scenes import Scene

__all__ = ["PublishedConfigurations", "PublishedSplit", "published_configurations"]

# Architecture, how frames are given, input mode, and the study's score on its validation scenes.
_TABLE: list[tuple[Any, Any, Any, float]] = [
    (SRCNN, "single", "lr", 0.99625),
    (SRCNN, "single", "combine", 0.99896),
    (SRCNN, "single", "concat", 0.99745),
    (SRCNN, "stack", "lr", 0.98961),
    (SRCNN, "stack", "combine", 0.99229),
    (SRCNN, "stack", "concat", 0.99143),
    (SRCNNEx, "stack", "lr", 0.99000),
    (SRCNNEx, "stack", "concat", 0.98896),
    (FSRCNN, "stack", "lr", 0.99134),
    (FSRCNN, "stack", "concat", 0.99201),
    (SRVGG16, "stack", "lr", 0.98996),
    (SRVGG16, "stack", "concat", 0.98886),
]


# Parameters of FSRCNN in the study's model.py; those in its text are the defaults of the class.
_LAYERS: dict[type, dict[str, Any]] = {FSRCNN: {"activation": "elu", "deconv_kernel_size": 5}}


class PublishedSplit:
    """The study's split into training and validation scenes, for the nets' `train_split`.

    Scenes are sorted by band and name (NIR before RED), whatever order they come in, and a tenth is
    drawn as by ``sklearn.model_selection.train_test_split(test_size=0.1, random_state=42)``: 116 of
    the 1,160 scenes of the challenge.

    Examples
    --------
    >>> from probav_estimators import make_scenes
    >>> from probav_estimators.published import PublishedSplit
    >>> train, valid = PublishedSplit()(make_scenes(20, size=8, random_state=0))
    >>> len(train), [scene.name for scene in valid]
    (18, ['imgset0001', 'imgset0014'])
    """

    def __call__(
        self, scenes: Dataset[Scene], y: object = None, groups: object = None
    ) -> tuple[Dataset[Scene], Dataset[Scene] | None]:
        """Split scenes into subsets; the second is None where there is one scene."""
        numbers: Any = range(len(scenes))  # type: ignore[arg-type]
        ordered = Subset(scenes, sorted(numbers, key=lambda n: _band_and_name(scenes[n])))
        return ValidSplit(0.1, random_state=42)(ordered) if len(ordered) > 1 else (ordered, None)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def _band_and_name(scene):
    return scene.band or "", scene.name or ""


class PublishedConfigurations(NamedTuple):
    """What :func:`published_configurations` returns.

    Attributes
    ----------
    pipelines : list of (str, Pipeline)
        Names such as "SRCNN stack concat", and pipelines that are not fitted.
    param_grid : list of dict
        The same for ``GridSearchCV(pipelines[0][1], param_grid, ...)``, one dict each, in the same
        order.
    scores : dict of str to float
        Challenge score that the study measured for each on its validation scenes.
    """

    pipelines: list[tuple[str, Pipeline]]
    param_grid: list[dict[str, list[Any]]]
    scores: dict[str, float]


def published_configurations(
    *, k: int = 9, scale: int = 3, **net_parameters: Any
) -> PublishedConfigurations:
    """Build the twelve configurations of the study that this package starts from.

    Multi-image ("stack") nets take the `k` clearest frames as channels. Average single image
    ("single") nets are trained on every frame that ties at the largest clearance, and average the
    predictions of these. Both take frames alone ("lr"), frames times quality maps ("combine") or
    both ("concat").

    ``pipe.fit(scenes)`` is the study's training: its selection of frames and its split, Glorot's
    initial weights, NAdam with Keras' epsilon, its schedule of the learning rate, no clipping of
    gradients, float32.

    Parameters
    ----------
    k : int, default=9
        Frames of the multi-image nets; the study has 9 and 5.
    scale : int, default=3
        HR pixels for each LR pixel.
    **net_parameters
        Parameters of all nets, such as ``max_epochs`` or ``residual``, in place of the study's.

    Returns
    -------
    PublishedConfigurations

    Notes
    -----
    The best of them has 0.98886 on the study's validation scenes and 0.984 on the challenge's test
    scenes.

    FSRCNN is that of the study's code: ELU, and a transposed convolution of 5x5. ``FSRCNN()`` is
    that of its text: ReLU and 9x9.

    References
    ----------
    .. [1] "Super Resolution - Kelvins PROBA V - Deep Learning Approach", 2019,
       https://github.com/Shiro-LK/Super-Resolution-ProbaV

    Examples
    --------
    >>> from probav_estimators import published_configurations
    >>> pipelines, param_grid, scores = published_configurations(max_epochs=2, residual=True)
    >>> len(pipelines), min(scores, key=scores.get)
    (12, 'SRVGG16 stack concat')
    >>> pipelines[0][1]["select"], pipelines[0][1]["compose"]
    (ClearanceSelector(k='max', ties='last'), InputComposer(frames='single'))
    """
    pipelines, param_grid, scores = [], [], {}
    for architecture, frames, mode, score in _TABLE:
        name = f"{architecture.__name__} {frames} {mode}"
        layers = _LAYERS.get(architecture, {})
        steps = {
            "select": ClearanceSelector(k="max" if frames == "single" else k, ties="last"),
            "compose": InputComposer(mode=mode, frames=frames),
            "upscale": "passthrough" if architecture.upscales else BicubicUpscaler(scale=scale),
            "sr": architecture(**_training_of_study(net_parameters) | layers | net_parameters),
        }
        pipelines.append((name, Pipeline(list(steps.items()))))
        param_grid.append({step: [clone(value, safe=False)] for step, value in steps.items()})
        scores[name] = score
    return PublishedConfigurations(pipelines, param_grid, scores)


def _training_of_study(given):
    """Parameters of the study's training, without those that `given` ones make meaningless."""
    parameters: dict[str, Any] = {
        "weight_init": "glorot_uniform",
        "compute_dtype": "float32",
        "train_split": PublishedSplit(),
    }
    if "optimizer" not in given:
        parameters["optimizer__eps"] = 1e-7
    if given.get("callbacks") != "disable":
        parameters["callbacks__divergence__clip"] = None
        if given.get("callbacks__lr_schedule", True) is not None:
            parameters["callbacks__lr_schedule__threshold_mode"] = "abs"
    return parameters
