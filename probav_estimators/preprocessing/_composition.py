"""Composition of a net's input from frames and quality maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from sklearn.utils._param_validation import StrOptions

from ..scenes import SubsetFrames
from ._base import SceneTransformer
from ._inputs import KINDS, MODES

if TYPE_CHECKING:
    from ..scenes import Scene

__all__ = ["InputComposer"]


class InputComposer(SceneTransformer):
    """Compose the input of a net from the frames and quality maps of each scene.

    Parameters
    ----------
    mode : {"lr", "combine", "concat"}, default="lr"
        "lr": frames alone. "combine": frames times quality maps, so clouded pixels are 0.
        "concat": all frames, then all quality maps (1.0 = clear), as channels.
    frames : {"stack", "single", "mean"}, default="stack"
        "stack": the frames of a scene are the channels of one sample (multi-image). "single":
        every frame is a sample of its own, and the predictions are averaged (average single
        image). "mean": the mean of the frames and the mean of their quality maps are the frame and
        the map of one sample. With ``ClearanceSelector(k="max")``, version 2 of the study [1]_ is
        trained so. A frame that is repeated counts as often as it is given.
    average : {"all", "clearest"}, default="all"
        With ``frames="single"``: the frames whose predictions are averaged. "clearest": those that
        tie at the largest clearance, each once; a training still takes every frame as a sample.
        With ``ClearanceSelector(k=None)``, this is version 3 of the study [1]_.

    See Also
    --------
    ClearanceSelector : Selects the frames.
    BicubicUpscaler : Upscales the input for nets that don't upscale by themselves.

    Notes
    -----
    To find the clearest frames, only quality maps are read, once predictions are made. A
    registration that resamples hides pixels at the edges of frames, and so leaves fewer ties.

    References
    ----------
    .. [1] "Super Resolution - Kelvins PROBA V - Deep Learning Approach", 2019,
       https://github.com/Shiro-LK/Super-Resolution-ProbaV

    Examples
    --------
    >>> from probav_estimators import InputComposer, make_scenes
    >>> scenes = make_scenes(1, size=16, n_frames=9, random_state=0)
    >>> InputComposer(mode="concat").transform(scenes)[0].inputs.read().shape
    (1, 18, 16, 16)
    >>> InputComposer(mode="concat", frames="single").transform(scenes)[0].inputs.read().shape
    (9, 2, 16, 16)
    >>> InputComposer(mode="concat", frames="mean").transform(scenes)[0].inputs.read().shape
    (1, 2, 16, 16)
    """

    _parameter_constraints = {
        "mode": [StrOptions(set(MODES))],
        "frames": [StrOptions({"stack", "single", "mean"})],
        "average": [StrOptions({"all", "clearest"})],
    }

    def __init__(
        self,
        mode: Literal["lr", "combine", "concat"] = "lr",
        frames: Literal["stack", "single", "mean"] = "stack",
        average: Literal["all", "clearest"] = "all",
    ) -> None:
        self.mode = mode
        self.frames = frames
        self.average = average

    def transform_scene(self, scene: Scene) -> Scene:
        if self.average == "clearest":
            # These keep which frames are the clearest when a window replaces their source.
            scene = scene.with_frames(SubsetFrames(scene.frames))
        kind = KINDS[self.frames, self.average]
        return scene.with_inputs(kind(scene.frames, self.mode))

    def _validate_params(self):
        super()._validate_params()
        if (self.frames, self.average) not in KINDS:
            raise ValueError(
                f"average={self.average!r} chooses from the predictions of single frames, and "
                f"frames={self.frames!r} gives one prediction for each scene: set "
                'frames="single", or average="all"'
            )
