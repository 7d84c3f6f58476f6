"""Base of the reference study's nets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, Self

from sklearn.utils._param_validation import Interval, validate_parameter_constraints

from ..training import FileWeightsMixin, KerasWeights, SceneRegressor, Weights, read_keras
from ._layers import check_odd

if TYPE_CHECKING:
    from ..scenes import Scene
    from ..training import KerasModel

__all__ = ["StudyNet"]

_PARAMETERS = """
    depth_multiplier : int, default=1
        Factor on the number of channels of every layer but the last."""

_SCALE = [Interval(Integral, 2, None, closed="left")]


class StudyNet(FileWeightsMixin, SceneRegressor):
    """Base of the reference study's nets.

    A subclass names the layers of the study's Keras model in `keras`.

    {parameters}

    {attributes}
    """

    _documented_parameters = SceneRegressor._documented_parameters + _PARAMETERS
    _documented_attributes = SceneRegressor._documented_attributes

    #: The study's Keras model.
    keras: ClassVar[KerasModel]

    _parameter_constraints = SceneRegressor._parameter_constraints | {
        "depth_multiplier": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, *, depth_multiplier: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.depth_multiplier = depth_multiplier

    @classmethod
    def from_published(cls, path: str | os.PathLike[str], *, scale: int = 3, **params: Any) -> Self:
        """Load a Keras file of the study's weights as a fitted net.

        `fit` of the net and of its clones starts from these weights. Input and output channels are
        those of the file: 18 in are nine frames and their quality maps (``mode="concat"``); 2 out
        are image and clearance. Requires h5py (``pip install "probav_estimators[keras]"``).

        Parameters
        ----------
        path : path-like
            File written by `model.save`, `model.save_weights` or `ModelCheckpoint` of Keras 2.
            Only arrays are read: no code is run, and model configuration and links to other files
            are ignored.
        scale : int, default=3
            HR pixels for each LR pixel.
        **params
            Parameters of the net, such as the file's `depth_multiplier`.

        Returns
        -------
        fitted net

        Raises
        ------
        ImportError
            If h5py is missing.
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is damaged or of another model, or a parameter does not fit it.
        """
        validate_parameter_constraints({"scale": _SCALE}, {"scale": scale}, cls.__name__)
        # The study computed in float32.
        settings = {"compute_dtype": "float32", **cls.keras.params, **params}
        net = cls(weights=path, **settings)
        net._check_parameters()
        net.scale_ = int(scale)
        published = net._read_weights()
        if "predict_clearance" not in params:
            net.predict_clearance = published.predict_clearance
        net.n_channels_in_ = published.n_channels
        # An even number of channels is taken as frames and as many quality maps.
        net.n_frames_in_ = published.n_channels // (2 - published.n_channels % 2)
        net.residual_, net.predict_clearance_, net.std_ = False, net.predict_clearance, None
        net._check_published()
        return net.initialize()

    def learn_layout(self, scenes: Sequence[Scene]) -> None:
        super().learn_layout(scenes)
        if self._has_file():
            self._check_published()

    def _file_weights(self) -> Weights:
        return Weights(self._read_weights().state, type(self).__name__, self.layout())

    def _check_published(self):
        published = self._read_weights()
        if self.residual:
            raise ValueError(
                f"{self.weights} has weights of a net that predicts the image itself, not a "
                "residual: set residual=False"
            )
        if self.predict_clearance != published.predict_clearance:
            raise ValueError(
                f"{self.weights} has weights of a net {_WITH[published.predict_clearance]} "
                f"clearance: set predict_clearance={published.predict_clearance}"
            )
        if self.n_channels_in_ != published.n_channels:
            raise ValueError(
                f"{self.weights} has weights for {published.n_channels} input channels, and the "
                f"scenes have {self.n_channels_in_}: change ClearanceSelector(k=...) or the mode "
                "of InputComposer"
            )

    def _read_weights(self) -> KerasWeights:
        path: Any = self.weights
        name = type(self).__name__
        return self._read_once(lambda: read_keras(path, self._keras_model(), self._build, name))

    def _keras_model(self):
        """Keras counterpart of this net."""
        return self.keras

    def _build(self, n_channels, clearance):
        layers = self.build_layers(n_channels, 1 + clearance, self.scale_)
        return self.reconstruction(layers, n_channels)

    def _multiplied(self, *widths):
        return [int(self.depth_multiplier) * width for width in widths]

    def _checked_kernel_sizes(self, number):
        sizes = self.kernel_sizes
        if len(sizes) != number:
            raise ValueError(
                f"{type(self).__name__} takes {number} kernel sizes, and kernel_sizes={sizes!r} "
                f"has {len(sizes)}: give {number} odd numbers"
            )
        return [check_odd(f"kernel_sizes[{at}]", size) for at, size in enumerate(sizes)]


_WITH = {True: "with", False: "without"}
