"""Base of all nets."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
)
from skorch.utils import to_tensor
from torch.utils.data import default_collate
from tqdm.auto import tqdm

from ..doc_links import SceneEstimatorMixin
from ..losses import CPSNRLoss
from ..ports import OUTPUTS, Port
from ..prediction import stack_images
from ..random_numbers import TorchRandom, as_random_state
from ..scenes import check_scenes
from ..scoring import ScoreMixin
from ._checkpoint import PicklingMixin
from ._initial_weights import InitialWeightsMixin, load_module
from ._parameters import (
    ATTRIBUTES,
    DTYPES,
    OPTIMIZERS,
    PARAMETERS,
    ParametersMixin,
    complete_documentation,
    resolve_device,
    resolve_dtype,
)
from ._sampling import DataLoadingMixin, SampleReader, ValueRangeMixin, ViewAverager
from ._training_loop import TrainingLoop

if TYPE_CHECKING:
    from torch import nn

    from ..prediction import Images, Predictor
    from ..scenes import Scene

__all__ = ["SceneNet", "show_progress"]

# Seconds before a progress bar is shown.
_DELAY = 5


class SceneNet(
    SceneEstimatorMixin,
    ScoreMixin,
    ParametersMixin,
    PicklingMixin,
    InitialWeightsMixin,
    ValueRangeMixin,
    DataLoadingMixin,
    TrainingLoop,
    ABC,
):
    """Base of all nets that make one image of a scene.

    A subclass overrides :meth:`build_module` (its layers) and :meth:`make_reader` (its samples),
    and where needed :meth:`learn_layout`, :meth:`layout`, :meth:`check_inputs`,
    :meth:`starting_weights` and `collate`. In its docstring, *parameters* and *attributes* in
    braces are replaced by those of all nets. Methods of skorch's NeuralNet [1]_ may be overridden
    too.

    {parameters}

    {attributes}

    See Also
    --------
    SceneRegressor : Base of the nets on composed inputs.

    Notes
    -----
    Pickles and copies of a fitted net hold its weights and the history of its epochs. With
    ``warm_start=True`` they also hold the state of the optimizer, twice as large as the weights,
    and the history of batches; otherwise `partial_fit` creates a new optimizer.

    References
    ----------
    .. [1] https://skorch.readthedocs.io
    """

    _documented_parameters = PARAMETERS
    _documented_attributes = ATTRIBUTES

    scale_: int
    initialized_: bool
    starts_with_weights_: bool

    #: Function that makes a batch of samples.
    collate = staticmethod(default_collate)

    #: Parameters of predictions alone, which may change when a training is resumed.
    prediction_parameters: ClassVar[frozenset[str]] = frozenset()

    _parameter_constraints = {
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "micro_batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "optimizer": [callable, StrOptions(OPTIMIZERS)],
        "device": [str, torch.device],
        "compute_dtype": [StrOptions({"auto", *DTYPES})],
        "patch_size": [Interval(Integral, 1, None, closed="left"), None],
        "augment": ["boolean"],
        "criterion": [callable],
        "train_split": [Interval(Real, 0, 1, closed="neither"), callable, None],
        "resume": [str, os.PathLike, None],
        "weights": [str, os.PathLike, HasMethods("predict"), None],
        "warm_start": ["boolean"],
        "callbacks": [list, StrOptions({"disable"}), None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        max_epochs: int = 150,
        batch_size: int = 32,
        micro_batch_size: int | None = None,
        lr: float = 1e-3,
        optimizer: type[torch.optim.Optimizer] | str = torch.optim.NAdam,
        device: str | torch.device = "auto",
        compute_dtype: Literal["auto", "float32", "bfloat16"] = "auto",
        patch_size: int | None = None,
        augment: bool = False,
        criterion: type[nn.Module] | nn.Module | Callable[..., Any] = CPSNRLoss,
        train_split: float | Callable[..., Any] | None = 0.1,
        resume: str | os.PathLike[str] | None = None,
        weights: str | os.PathLike[str] | Predictor | None = None,
        callbacks: list[Any] | Literal["disable"] | None = None,
        verbose: int = 1,
        random_state: int | np.random.RandomState | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            module=None,
            criterion=criterion,
            optimizer=optimizer,
            lr=lr,
            max_epochs=max_epochs,
            batch_size=batch_size,
            train_split=train_split,
            callbacks=callbacks,
            verbose=verbose,
            device=device,
            **kwargs,
        )
        # Skorch would cache predictions and targets for scorers of arrays; ours score scenes.
        self.use_caching = False
        # Skorch's own arguments.
        self._params_to_validate.update(kwargs.keys() - {"warm_start"})
        self.micro_batch_size = micro_batch_size
        self.compute_dtype = compute_dtype
        self.patch_size = patch_size
        self.augment = augment
        self.resume = resume
        self.weights = weights
        self.random_state = random_state

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        complete_documentation(cls, SceneNet)

    # Methods that a subclass overrides

    @abstractmethod
    def build_module(self) -> nn.Module:
        """Return the layers of the net.

        Returns
        -------
        torch.nn.Module
            With weights drawn from torch's global generator. Called with a sample's tensors as
            keyword arguments, it returns (n, 1 or more, H, W), whose first channel is the image.
        """

    @abstractmethod
    def make_reader(self) -> SampleReader:
        """Return the reader of samples."""

    def learn_layout(self, scenes: Sequence[Scene]) -> None:
        """Set the attributes that :meth:`build_module` reads, and check the scenes."""
        scale = scenes[0].scale
        if scale is None:
            raise ValueError(
                f"{type(self).__name__} learns the scale from HR images, and {scenes[0].label} has "
                "none: pass scenes with HR images"
            )
        self.scale_ = scale

    def layout(self) -> dict[str, Any]:
        """Settings that must agree for weights to be exchanged, by their names in errors."""
        return {"scale": self.scale_}

    def check_inputs(self, scenes: Sequence[Scene]) -> None:
        """Check that the net can take scenes.

        Parameters
        ----------
        scenes : list of Scene

        Raises
        ------
        ValueError
            If one has another scale or value range than those that the net learned from.
        """
        self._check_value_ranges(scenes)
        for scene in scenes:
            if scene.scale not in (None, self.scale_):
                raise ValueError(
                    f"{type(self).__name__} makes images {self.scale_} times as large as the "
                    f"frames, and those of {scene.label} are {scene.scale} times as large: "
                    "fit one net for each scale"
                )

    def graph_inputs(self) -> list[Port]:
        """Describe the tensors that the fitted module takes, for :func:`export_onnx`.

        Returns
        -------
        list of Port
            In the order of their names in samples.
        """
        raise ValueError(
            f"{type(self).__name__} has a graph of unknown inputs: export a SceneRegressor, a "
            "FrameNet or a FusionNet, or override graph_inputs"
        )

    def graph_samples(self, scene: Scene) -> dict[str, torch.Tensor]:
        """Return a batch of the tensors of a scene, for :func:`onnx_inputs`."""
        dataset: Any = self.make_dataset([scene])
        images, _ = self.collate([dataset[number] for number in range(len(dataset))])
        return images

    def graph_outputs(self) -> list[Port]:
        """Describe the channels that the fitted module returns, for :func:`export_onnx`."""
        return [OUTPUTS["image"]]

    # Methods of an estimator

    def fit(self, X: Sequence[Scene], y: object = None, **fit_params: Any) -> Self:
        """Train on scenes.

        Parameters
        ----------
        X : list of Scene
            With HR images unless the loss needs none, and with the inputs that the class needs.
        y : None
            Not used: a scene carries its truth.
        **fit_params
            Passed to the module's `forward`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is not valid, or a scene has no HR image or does not fit the net.
        OSError
            If a callback can't write, such as to a full disk.
        KeyboardInterrupt
            After Ctrl-C. As after any other exception of a training, the net then has the weights
            of the best epoch so far, and can predict.

        Warns
        -----
        ConvergenceWarning
            If a step was not finite, or the training collapsed and continued from its best weights
            with half the learning rate, or ended with them.
        """
        scenes = check_scenes(X, type(self).__name__, truth=self._needs_truth)
        self._check_parameters()
        self._check_fit_params(fit_params)
        if self.warm_start and self.initialized_:
            self._check_same_layers(scenes)
            self.starts_with_weights_ = True
        else:
            self.value_range_ = None
            self.learn_layout(scenes)
            if (start := self._starting_net()) is not None:
                self.value_range_ = start.value_range_
        return super().fit(scenes, None, **fit_params)

    def partial_fit(
        self, X: Sequence[Scene], y: object = None, classes: object = None, **fit_params: Any
    ) -> Self:
        """Train from the present weights, for another `max_epochs`.

        Parameters
        ----------
        X : list of Scene
            As for :meth:`fit`.
        y, classes : None
            Not used.
        **fit_params
            As for :meth:`fit`.

        Returns
        -------
        self

        Notes
        -----
        Errors are those of :meth:`fit`. The learning rate is that of the end of the last call. The
        best score starts from that of the present weights on the validation scenes of this call.
        """
        scenes = check_scenes(X, type(self).__name__, truth=self._needs_truth)
        self._check_parameters()
        self._check_fit_params(fit_params)
        if not self.initialized_:
            self.learn_layout(scenes)
        elif "_routing_method" not in fit_params:  # which `fit` gives
            self.starts_with_weights_ = True
        self.check_inputs(scenes)
        self._learn_value_range(scenes)
        return super().partial_fit(scenes, None, **fit_params)

    def predict(self, X: Sequence[Scene]) -> Images:
        """Super-resolve scenes.

        Parameters
        ----------
        X : list of Scene
            HR images are not needed.

        Returns
        -------
        float32 array of shape (n, H, W), or a list of such images if their sizes differ
            In [0, 1], unless a scene has a `value_range`.

        Raises
        ------
        ValueError
            If the inputs of a scene don't fit the net.
        """
        self.check_is_fitted()
        scenes = check_scenes(X, type(self).__name__)
        self.check_inputs(scenes)
        images: list[Any] = [None] * len(scenes)
        dataset: Any = self.make_dataset(scenes)
        averager = ViewAverager(dataset)
        with show_progress(self, len(scenes)) as progress:
            for batch in self.get_iterator(dataset):
                for number, image in averager.add(batch, self.evaluation_step(batch)):
                    images[number] = image
                    progress.update()
        return stack_images(images)

    # Hooks of skorch

    def initialize(self) -> Self:
        self._check_parameters()
        if getattr(self, "scale_", None) is None:
            raise ValueError(f"{type(self).__name__} takes its layout from scenes: call fit")
        # Parameters of an earlier training that its model file did not hold.
        self.__dict__.pop("left_out_", None)
        self.seed_ = int(as_random_state(self.random_state).randint(2**31))
        # Of an initialized net, skorch prints that its parts are re-initialized, as if pretrained
        # weights were lost.
        was_initialized, self.initialized_ = self.initialized_, False
        try:
            return super().initialize()
        except BaseException:
            self.initialized_ = was_initialized
            raise

    def initialize_module(self) -> Self:
        with TorchRandom(self.seed_).active():
            weights = self.starting_weights()
            build = self.build_module
            self.starts_with_weights_ = weights is not None
            module: Any = build() if weights is None else load_module(build, weights)
        # Whatever torch's default type is.
        module = module.float()
        if all(weight.ndim < 5 for weight in module.parameters()):
            # Kernels of 3D convolutions have no channels-last format.
            module = module.to(memory_format=torch.channels_last)
        self.module_ = module
        return self

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> Self:
        named = self.get_all_learnable_params()
        args, kwargs = self.get_params_for_optimizer("optimizer", named)
        named_class = isinstance(self.optimizer, str)
        make = getattr(torch.optim, self.optimizer) if named_class else self.optimizer
        self.optimizer_ = make(*args, **kwargs)
        return self

    def infer(self, x: dict[str, torch.Tensor], **fit_params: Any) -> torch.Tensor:
        x = to_tensor(x, device=self.device)
        dtype = resolve_dtype(self.compute_dtype, self.device)
        kind = torch.device(self.device).type
        enabled = dtype == torch.bfloat16
        with self.random_draws(), torch.autocast(kind, dtype=torch.bfloat16, enabled=enabled):
            return self.module_(**x, **fit_params)

    @property
    def device(self) -> str | torch.device:
        """Device that the parameter `device` means on this machine."""
        return resolve_device(vars(self)["device"])

    @device.setter
    def device(self, device: str | torch.device) -> None:
        self.__dict__["device"] = device


def show_progress(net: SceneNet, n_scenes: int) -> tqdm:
    """Progress bar of a verbose net's prediction, shown on a terminal after a few seconds."""
    # None: disabled where the output is no terminal.
    disable = None if net.verbose else True
    description = f"{type(net).__name__} predict"
    return tqdm(total=n_scenes, disable=disable, delay=_DELAY, unit="scene", desc=description)


# Those of its subclasses are completed by __init_subclass__.
complete_documentation(SceneNet, SceneNet)
