"""What the tensors are that a net takes and makes: names, axes and units."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from ..architectures import FusionNet, PIUNet
from ..meta import PerBand, SceneEnsemble
from ..training import FrameNet, SceneNet, SceneRegressor


class Tensor(NamedTuple):
    """A tensor that a graph takes or makes.

    Attributes
    ----------
    name : str
    axes : tuple of str or int
        Names of the axes of any length, lengths of the others.
    description : str
        What it is, in which unit.
    """

    name: str
    axes: tuple[str | int, ...]
    description: str


_STACK: tuple[str | int, ...] = ("batch", "frames", "height", "width")
_LARGE: tuple[str | int, ...] = ("batch", "hr_height", "hr_width")

_OF_FUSION = (
    Tensor(
        "frames",
        _STACK,
        "frames in the scene's standard deviations around its level, brought to one gain and "
        "offset and moved onto each other by whole pixels",
    ),
    Tensor("weights", _STACK, "1 where a frame is clear, else 0"),
    Tensor("fractions", ("batch", "frames", 2), "rest of their shifts (down, right), LR pixels"),
    Tensor(
        "distortion",
        ("batch", "frames", 2, "height", "width"),
        "how much more than that their content is shifted at each pixel, LR pixels",
    ),
    Tensor("level", ("batch", 1), "mean of the scene, pixel values"),
    Tensor("std", ("batch", 1), "standard deviation of the scene, pixel values"),
    Tensor(
        "psf",
        ("batch", "frames", 2),
        "standard deviations of the frames' point spread functions (down, right), LR pixels",
    ),
    Tensor(
        "blur",
        ("batch", 2),
        "most probable mean of the squares of psf, and its standard error; 0: it is known",
    ),
)

_PRESENT = "1 for a frame that is there, which come first, clearest first; 0 for one of zeros"

_IMAGE = Tensor("image", _LARGE, "image, pixel values; clip to [0, 1] where these are")
_DEVIATION = Tensor("deviation", _LARGE, "standard deviation of its error, pixel values")
_CLEARANCE = Tensor("clearance", _LARGE, "probability that a pixel is clear, in [0, 1]")


def inputs_of(net: SceneNet) -> list[Tensor]:
    """What the graph of a net takes.

    Raises
    ------
    ValueError
        If its class is not known.
    """
    if isinstance(net, FusionNet):
        return list(_OF_FUSION)
    if isinstance(net, FrameNet):
        return _inputs_of_frame_net(net)
    if not isinstance(net, SceneRegressor):
        raise ValueError(
            f"{type(net).__name__} has a graph of unknown inputs: export a SceneRegressor, a "
            "FrameNet or a FusionNet"
        )
    size = ("height", "width") if net.upscales else ("hr_height", "hr_width")
    n_channels, n_frames = net.n_channels_in_, net.n_frames_in_
    what = f"{n_frames} frames, pixel values"
    if n_channels > n_frames:
        what += ", then their quality maps, 1 = clear"
    if not net.upscales:
        what += f"; upscaled {net.scale_} times by the bicubic kernel (a = -0.75)"
    inputs = [Tensor("inputs", ("batch", n_channels, *size), what)]
    if net.residual_:
        axes = ("batch", 1, "hr_height", "hr_width")
        inputs.append(Tensor("mean", axes, "mean frame, upscaled to HR size, pixel values"))
    return inputs


def _inputs_of_frame_net(net):
    count = "frames" if net.takes_any_number else net.n_frames_
    stack = ("batch", count, "height", "width")
    inputs = [
        Tensor("frames", stack, "frames, pixel values"),
        Tensor("present", ("batch", count), _PRESENT),
    ]
    if net.make_reader().quality_maps:
        inputs.append(Tensor("clear", stack, "quality maps, 1 = clear"))
    return inputs


def outputs_of(net: SceneNet) -> list[Tensor]:
    """What the graph of a net makes."""
    if isinstance(net, FusionNet | PIUNet):
        return [_IMAGE, _DEVIATION]
    return [_IMAGE, _CLEARANCE] if getattr(net, "predict_clearance_", False) else [_IMAGE]


def split_estimator(estimator: Any) -> tuple[list[Any], SceneNet]:
    """Transformers and the fitted net that they lead to.

    Raises
    ------
    ValueError
        If there is no such net, or more than one.
    """
    steps: list[Any] = []
    while isinstance(estimator, Pipeline | FrozenEstimator):
        if isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
        else:
            steps += [step for _, step in estimator.steps[:-1] if step not in (None, "passthrough")]
            estimator = estimator.steps[-1][1]
    if not isinstance(estimator, SceneNet):
        remedy = (
            "export each of its estimators_"
            if isinstance(estimator, PerBand | SceneEnsemble)
            else "give a net or a pipeline that ends in one"
        )
        raise ValueError(f"{type(estimator).__name__} is no net: {remedy}")
    estimator.check_is_fitted()
    return steps, estimator


def nets_of(estimator: Any) -> Iterator[SceneNet]:
    """All fitted nets inside an estimator."""
    if isinstance(estimator, PerBand):
        for fitted in estimator.estimators_.values():
            yield from nets_of(fitted)
    elif isinstance(estimator, SceneEnsemble):
        for fitted in estimator.estimators_:
            yield from nets_of(fitted)
    elif isinstance(estimator, Pipeline):
        yield from nets_of(estimator.steps[-1][1])
    elif isinstance(estimator, FrozenEstimator):
        yield from nets_of(estimator.estimator)
    elif isinstance(estimator, SceneNet):
        estimator.check_is_fitted()
        yield estimator
