"""Base of the nets that predict standard deviations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, overload

import numpy as np
import torch

from ..ports import OUTPUTS, Port
from ..prediction import stack_images
from ..training import BorderMixin, FileWeightsMixin, SceneNet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..prediction import Images
    from ..scenes import Scene

__all__ = ["StdNet"]


class StdNet(BorderMixin, FileWeightsMixin, SceneNet):
    """Base of the nets that predict images and the standard deviations of their errors.

    {parameters}

    {attributes}
    """

    n_compared = 1

    #: Weight of the likelihood in the loss.
    likelihood_weight: ClassVar[float] = 0.004

    #: Negative log-likelihood of (prediction, truth, border) that trains the standard deviations.
    likelihood: ClassVar[staticmethod[[torch.Tensor, torch.Tensor, int], torch.Tensor]]

    if TYPE_CHECKING:

        def _channels_of(self, X: Sequence[Scene]) -> Iterator[NDArray[np.float32]]: ...

    @overload
    def predict(self, X: Sequence[Scene], return_std: Literal[False] = False) -> Images: ...

    @overload
    def predict(self, X: Sequence[Scene], return_std: Literal[True]) -> tuple[Images, Images]: ...

    @overload
    def predict(self, X: Sequence[Scene], return_std: bool) -> Images | tuple[Images, Images]: ...

    def predict(
        self, X: Sequence[Scene], return_std: bool = False
    ) -> Images | tuple[Images, Images]:
        """Super-resolve scenes.

        Parameters
        ----------
        X : list of Scene
            HR images are not needed.
        return_std : bool, default=False
            Whether to return the standard deviation of the error too.

        Returns
        -------
        images : float32 array of shape (n, H, W), or a list of images if sizes differ
            In [0, 1], unless a scene has a `value_range`.
        deviations : the same
            Standard deviation of each pixel's error, in pixel values, after correction of bias and
            whole-pixel shift; only with `return_std`.

        Raises
        ------
        ValueError
            If a scene has another scale than the net, or no clear pixels.
        """
        channels = self._channels_of(X)
        if not return_std:
            # Copies let go of the standard deviations.
            return stack_images([image.copy() for image, _ in channels])
        images, stds = zip(*channels, strict=True)
        return stack_images(list(images)), stack_images(list(stds))

    def graph_outputs(self) -> list[Port]:
        return [OUTPUTS["image"], OUTPUTS["std"]]

    def further_loss(
        self, prediction: torch.Tensor, target: dict[str, torch.Tensor]
    ) -> torch.Tensor | float:
        if "truth" not in target or not self.likelihood_weight:
            return 0.0
        likelihood = self.likelihood(prediction, target["truth"], self._border)
        return self.likelihood_weight * likelihood
