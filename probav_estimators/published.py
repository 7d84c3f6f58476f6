"""The configurations of the study that this package starts from, and its scores."""

from typing import Any, NamedTuple

from sklearn.base import clone
from sklearn.pipeline import Pipeline

from .architectures import FSRCNN, SRCNN, SRVGG16, SRCNNEx
from .preprocessing import BicubicUpscaler, ClearanceSelector, InputComposer

__all__ = ["PublishedConfigurations", "published_configurations"]

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
    """The twelve configurations of the study that this package starts from.

    Multi-image ("stack") nets take the `k` clearest frames as channels. Average single image
    ("single") nets are trained on every frame that ties for clearest, and average what they predict
    of these. Both take frames alone ("lr"), frames times quality maps ("combine") or both
    ("concat").

    Parameters
    ----------
    k : int, default=9
        Frames of the multi-image nets; the study has 9 and 5.
    scale : int, default=3
        HR pixels for each LR pixel.
    **net_parameters
        Parameters that all nets get, such as ``max_epochs`` or ``residual``. Without any, nets are
        trained as published.

    Returns
    -------
    PublishedConfigurations

    Notes
    -----
    The best of them has 0.98886 on the study's validation scenes and 0.984 on the challenge's test
    scenes.

    Examples
    --------
    >>> from probav_estimators import published_configurations
    >>> pipelines, param_grid, scores = published_configurations(max_epochs=2, residual=True)
    >>> len(pipelines), min(scores, key=scores.get)
    (12, 'SRVGG16 stack concat')
    >>> pipelines[0][1][-1]
    SRCNN(max_epochs=2, residual=True)
    """
    pipelines, param_grid, scores = [], [], {}
    for architecture, frames, mode, score in _TABLE:
        name = f"{architecture.__name__} {frames} {mode}"
        steps = {
            "select": ClearanceSelector(k="max" if frames == "single" else k),
            "compose": InputComposer(mode=mode, frames=frames),
            "upscale": "passthrough" if architecture.upscales else BicubicUpscaler(scale=scale),
            "sr": architecture(**net_parameters),
        }
        pipelines.append((name, Pipeline(list(steps.items()))))
        param_grid.append({step: [_unshared(value)] for step, value in steps.items()})
        scores[name] = score
    return PublishedConfigurations(pipelines, param_grid, scores)


def _unshared(step):
    return step if isinstance(step, str) else clone(step)
