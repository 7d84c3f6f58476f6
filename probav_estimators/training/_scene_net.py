"""The skorch net that all estimators with torch inside share."""

from __future__ import annotations

import copy
import inspect
import multiprocessing
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import zip_longest
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from skorch.callbacks import LRScheduler
from skorch.history import History
from skorch.utils import to_tensor
from torch.utils.data import default_collate

from ..doc_links import SceneEstimatorMixin
from ..losses import CPSNRLoss, SceneLoss
from ..ports import OUTPUTS, Port
from ..prediction import stack_images
from ..scenes import check_scenes
from ..scoring import ScoreMixin
from ..version import __version__, warn_of_other_version
from ._checkpoint import rows_of_epochs
from ._device import DTYPES, check_device, resolve_device, resolve_dtype
from ._documentation import ATTRIBUTES, PARAMETERS, complete_documentation
from ._guarded_net import GuardedNet
from ._progress import show_progress
from ._sampling import BatchPlan, ViewAverager
from ._splitting import split_scenes
from ._starting import find_net
from ._weights import Weights, load_module

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn
    from torch.utils.data import DataLoader, Dataset

    from ..prediction import Predictor
    from ..scenes import Scene

__all__ = ["SceneNet"]

# Whole frames that are predicted at a time: more fill the memory without being faster.
_PREDICTION_BATCH = 4

_OPTIMIZERS = {
    name
    for name, value in vars(torch.optim).items()
    if isinstance(value, type) and name != "Optimizer"
}

# They need a single group of parameters, sparse gradients, or matrices.
_UNFIT_OPTIMIZERS = {"LBFGS", "SparseAdam", "Muon"}
_UNFIT_CLASSES = {getattr(torch.optim, name, None) for name in _UNFIT_OPTIMIZERS} - {None}


class SceneNet(SceneEstimatorMixin, ScoreMixin, GuardedNet, ABC):
    """Base of all nets that make one image of a scene.

    A subclass overrides :meth:`build_module`, which makes its layers, :meth:`make_dataset`, which
    makes the samples that they are given, and where it needs to :meth:`learn_layout`,
    :meth:`layout`, :meth:`check_inputs`, :meth:`starting_weights` and `collate`. In its docstring,
    *parameters* and *attributes* in braces stand for what all nets have. Everything else is
    skorch's [1]_, whose methods may be overridden as well.

    {parameters}

    {attributes}

    See Also
    --------
    SceneRegressor : Base of the nets that work on what InputComposer makes.

    Notes
    -----
    Pickles and copies of a fitted net hold what a prediction needs and the history of its epochs.
    The state of the optimizer, twice as large as the weights, and the history of batches belong to
    them with ``warm_start=True`` only; without, `partial_fit` begins with a new optimizer.

    References
    ----------
    .. [1] https://skorch.readthedocs.io
    """

    _documented_parameters = PARAMETERS
    _documented_attributes = ATTRIBUTES

    scale_: int
    initialized_: bool
    starts_with_weights_: bool

    #: Makes a batch of samples.
    collate = staticmethod(default_collate)

    #: Parameters that shape predictions alone: a training may be resumed with others.
    prediction_parameters: ClassVar[frozenset[str]] = frozenset()

    #: Whether its dataset can leave frames out, for a loss to compare with.
    leaves_frames_out = False

    # What from_module makes.
    _adapter: ClassVar[type[SceneNet]]

    _parameter_constraints = {
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "micro_batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "optimizer": [callable, StrOptions(_OPTIMIZERS)],
        "device": [str, torch.device],
        "compute_dtype": [StrOptions({"auto", *DTYPES})],
        "patch_size": [Interval(Integral, 1, None, closed="left"), None],
        "augment": ["boolean"],
        "criterion": [callable],
        "train_split": [Interval(Real, 0, 1, closed="neither"), callable, None],
        "lr_patience": [Interval(Integral, 1, None, closed="left"), None],
        "early_stopping": [Interval(Integral, 1, None, closed="left"), None],
        "max_time": [Interval(Real, 0, None, closed="neither"), None],
        "resume": [str, os.PathLike, None],
        "start_from": [HasMethods("predict"), None],
        "history_csv": [str, os.PathLike, None],
        "tensorboard": [str, os.PathLike, None],
        "callbacks": [list, StrOptions({"disable"}), None],
        "warm_start": ["boolean"],
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
        lr_patience: int | None = 5,
        early_stopping: int | None = None,
        max_time: float | None = None,
        resume: str | os.PathLike[str] | None = None,
        start_from: Predictor | None = None,
        history_csv: str | os.PathLike[str] | None = None,
        tensorboard: str | os.PathLike[str] | None = None,
        callbacks: list[Any] | Literal["disable"] | None = None,
        warm_start: bool = False,
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
            warm_start=warm_start,
            verbose=verbose,
            device=device,
            **kwargs,
        )
        # Targets that a scorer could be given are no arrays: callbacks score the scenes.
        self.use_caching = False
        # Arguments of skorch's own that are not listed above.
        self._params_to_validate.update(kwargs)
        self.micro_batch_size = micro_batch_size
        self.compute_dtype = compute_dtype
        self.patch_size = patch_size
        self.augment = augment
        self.lr_patience = lr_patience
        self.early_stopping = early_stopping
        self.max_time = max_time
        self.resume = resume
        self.start_from = start_from
        self.history_csv = history_csv
        self.tensorboard = tensorboard
        self.random_state = random_state

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        complete_documentation(cls, SceneNet)

    # What a subclass overrides

    @abstractmethod
    def build_module(self) -> nn.Module:
        """Make the net.

        Returns
        -------
        torch.nn.Module
            With weights of torch's global random state. Called with a sample's tensors as keyword
            arguments, it returns (n, 1 or more, H, W), whose first channel is the image.
        """

    @abstractmethod
    def make_dataset(
        self, scenes: Sequence[Scene], *, loss: SceneLoss | None = None, training: bool = False
    ) -> Dataset[Any]:
        """Make the dataset of samples.

        Parameters
        ----------
        scenes : list of Scene
        loss : SceneLoss, default=None
            What samples are to be compared by: they hold HR images if it `needs_truth`, and leave
            a part of the frames out if it has `left_out`. None: samples are for a prediction.
        training : bool, default=False
            Whether samples are patches of `patch_size`, may `augment`, and are all that a scene
            gives instead of those whose predictions are averaged.

        Returns
        -------
        torch.utils.data.Dataset
            With `scenes`, `n_views` (samples of each scene), `with_truth` and `shape_of(sample)`.
            Items are given a :class:`~probav_estimators.training.SampleRequest`.
        """

    def learn_layout(self, scenes: Sequence[Scene]) -> None:
        """Learn from scenes what :meth:`build_module` needs to know, and check that they fit.

        Parameters
        ----------
        scenes : list of Scene
        """
        scale = scenes[0].scale
        if scale is None:
            raise ValueError(
                f"{type(self).__name__} learns the scale from HR images, and {scenes[0].label} has "
                "none: pass scenes with HR images"
            )
        self.scale_ = scale

    def layout(self) -> dict[str, Any]:
        """What has to agree for weights to be exchanged.

        Returns
        -------
        dict of str to value
            By what it is called in errors; values that JSON knows.
        """
        return {"scale": self.scale_}

    def check_inputs(self, scenes: Sequence[Scene]) -> None:
        """Check that the net can take scenes.

        Parameters
        ----------
        scenes : list of Scene

        Raises
        ------
        ValueError
            If one has another scale than the net.
        """
        for scene in scenes:
            if scene.scale not in (None, self.scale_):
                raise ValueError(
                    f"{type(self).__name__} makes images {self.scale_} times as large as the "
                    f"frames, and those of scene {scene.name} are {scene.scale} times as large: "
                    "fit one net for each scale"
                )

    def starting_weights(self) -> Weights | None:
        """Weights to begin with.

        Returns
        -------
        Weights or None
            What `fit` loads into a new module; None for random weights.
        """
        if self.start_from is None:
            return None
        net = self._starting_net()
        return Weights(net.module_.state_dict(), type(net).__name__, net.layout())

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

    def graph_outputs(self) -> list[Port]:
        """Describe the channels that the fitted module returns, for :func:`export_onnx`."""
        return [OUTPUTS["image"]]

    # What a user calls

    @staticmethod
    def from_module(
        module: nn.Module | Callable[[], nn.Module],
        *,
        scale: int | None = None,
        inputs: Literal["frames", "frames, masks"] = "frames",
        **params: Any,
    ) -> SceneNet:
        """A net of any torch module, which is trained, searched and scored like all others.

        Parameters
        ----------
        module : torch.nn.Module or callable
            Called with frames (n, n_frames, h, w), it returns the image, (n, 1, scale * h,
            scale * w) or (n, scale * h, scale * w), in the same unit. It is copied, with its
            weights, and stays as it is. A class, or another callable without arguments that makes a
            module: each `fit` calls it, for random weights.
        scale : int, default=None
            HR pixels for each LR pixel. None: that of the scenes.
        inputs : {"frames", "frames, masks"}, default="frames"
            "frames, masks": the module is called with quality maps too, of the shape of the frames,
            1.0 where these are clear and else 0.0.
        **params
            Parameters of all nets, and: `n_frames` (9), how many frames the module is given, the
            clearest first, repeated in turn if there are fewer; `level` and `std`, from which
            frames are differences, and in which unit, in pixel values (None: mean and standard
            deviation of the training scenes); `border`; `tile_size`.

        Returns
        -------
        SceneNet
            Not fitted. With `scale`, `level` and `std`, its `initialize` makes it ready to predict
            with the module's own weights.

        Examples
        --------
        >>> from torch import nn
        >>> from probav_estimators import SceneNet, make_scenes
        >>> scenes = make_scenes(4, size=16, random_state=0)
        >>> layers = nn.Sequential(nn.Conv2d(9, 9, 3, padding=1), nn.PixelShuffle(3))
        >>> net = SceneNet.from_module(layers, max_epochs=1, random_state=0, verbose=0)
        >>> net.fit(scenes).predict(scenes).shape
        (4, 48, 48)
        >>> net = SceneNet.from_module(layers, scale=3, level=0.0, std=1.0, verbose=0)
        >>> net.initialize().predict(scenes).shape
        (4, 48, 48)
        """
        return SceneNet._adapter(module=module, scale=scale, inputs=inputs, **params)

    def fit(self, X: Sequence[Scene], y: object = None, **fit_params: Any) -> Self:
        """Train on scenes.

        Parameters
        ----------
        X : list of Scene
            With HR images unless the loss needs none, and prepared as the class needs it.
        y : None
            Not used: a scene carries its truth.
        **fit_params
            Handed to the module's `forward`, as skorch does.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is not valid, a scene has no HR image, or the net can't take it.
        KeyboardInterrupt
            After Ctrl-C. The net then has the weights of the best epoch so far, and can predict.

        Warns
        -----
        ConvergenceWarning
            If a step was not finite, or the training collapsed and went back to its best weights
            with half the learning rate, or ended with them.
        """
        scenes = check_scenes(X, type(self).__name__, truth=self._needs_truth)
        self._check_parameters()
        self._check_fit_params(fit_params)
        if self.warm_start and self.initialized_:
            self._check_same_layers(scenes)
            self.starts_with_weights_ = True
        else:
            self.learn_layout(scenes)
        return super().fit(scenes, None, **fit_params)

    def partial_fit(
        self, X: Sequence[Scene], y: object = None, classes: object = None, **fit_params: Any
    ) -> Self:
        """Go on training from the present weights, for another `max_epochs`.

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

        Raises
        ------
        ValueError, KeyboardInterrupt
            As for :meth:`fit`.

        Notes
        -----
        The learning rate goes on from where the last call left it. The best score does not: the
        present weights are scored on the validation scenes of this call, and what is not better
        than they are is not kept.
        """
        scenes = check_scenes(X, type(self).__name__, truth=self._needs_truth)
        self._check_parameters()
        self._check_fit_params(fit_params)
        if not self.initialized_:
            self.learn_layout(scenes)
        elif "_routing_method" not in fit_params:  # which `fit` gives
            self.starts_with_weights_ = True
        self.check_inputs(scenes)
        return super().partial_fit(scenes, None, **fit_params)

    def predict(self, X: Sequence[Scene]) -> NDArray[np.float32] | list[NDArray[np.float32]]:
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
        averager = ViewAverager(dataset.n_views)
        with show_progress(self, len(scenes)) as progress:
            for batch in self.get_iterator(dataset):
                predicted = self.evaluation_step(batch)[:, 0].cpu().numpy()
                numbers = batch[1]["scene"].tolist()
                for image, number in zip(predicted, numbers, strict=True):
                    if scenes[number].value_range is None:
                        np.clip(image, 0, 1, out=image)
                for number, image in averager.add(numbers, predicted):
                    images[number] = image
                    progress.update()
        return stack_images(images)

    # Hooks of skorch

    def initialize(self) -> Self:
        self._check_parameters()
        if getattr(self, "scale_", None) is None:
            raise ValueError(f"{type(self).__name__} takes its layout from scenes: call fit")
        # What a model file could not hold of an earlier training.
        self.__dict__.pop("left_out_", None)
        self.seed_ = int(check_random_state(self.random_state).randint(2**31))
        # To a net that was fitted before, skorch would tell that its parts are made anew, which
        # reads as if pretrained weights were lost.
        was_initialized, self.initialized_ = self.initialized_, False
        try:
            return super().initialize()
        except BaseException:
            self.initialized_ = was_initialized
            raise

    def initialize_module(self) -> Self:
        with torch.random.fork_rng(devices=[]):
            # That of the CPU alone: torch.manual_seed would reach those of the GPUs too.
            torch.default_generator.manual_seed(self.seed_)
            weights = self.starting_weights()
            build = self.build_module
            self.starts_with_weights_ = weights is not None
            module: Any = build() if weights is None else load_module(build, weights)
        if all(weight.ndim < 5 for weight in module.parameters()):
            # Kernels of 3D convolutions have no such format.
            module = module.to(memory_format=torch.channels_last)
        self.module_ = module
        return self

    def initialize_criterion(self) -> Self:
        kwargs = self.get_params_for("criterion")
        criterion = self.criterion
        if isinstance(criterion, torch.nn.Module) and not kwargs:
            # What training changes in it must not change the parameter.
            criterion = copy.deepcopy(criterion)
        else:
            criterion = self.initialized_instance(criterion, kwargs)
        if not isinstance(criterion, SceneLoss):
            criterion = _TruthLoss(criterion)
        if criterion.left_out and not self.leaves_frames_out:
            raise ValueError(
                f"{type(criterion).__name__} compares with frames that are left out, and "
                f"{type(self).__name__} takes all that are composed: train a FusionNet with it, or "
                "choose a loss that compares with HR images"
            )
        self.criterion_ = criterion
        return self

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> Self:
        named = self.get_all_learnable_params()
        args, kwargs = self.get_params_for_optimizer("optimizer", named)
        named_class = isinstance(self.optimizer, str)
        make = getattr(torch.optim, self.optimizer) if named_class else self.optimizer
        self.optimizer_ = make(*args, **kwargs)
        return self

    def get_dataset(self, X: Sequence[Scene], y: object = None) -> Dataset[Any]:
        return self.make_dataset(X)

    def get_split_datasets(
        self, X: Sequence[Scene], y: object = None, **fit_params: Any
    ) -> tuple[Dataset[Any], Dataset[Any] | None]:
        train, valid = split_scenes(X, self.train_split, self.seed_, truth=self._needs_truth)
        self.check_inputs(valid or [])
        loss = self.criterion_
        loss.prepare(X)
        dataset_train = self.make_dataset(train, loss=loss, training=True)
        return dataset_train, self.make_dataset(valid, loss=loss) if valid else None

    def get_iterator(self, dataset: Any, training: bool = False) -> DataLoader[Any]:
        kind = "iterator_train" if training else "iterator_valid"
        options = self.get_params_for(kind)
        batch_size = options.pop(
            "batch_size",
            self.batch_size if training else min(self.batch_size, _PREDICTION_BATCH),
        )
        on_gpu = torch.device(self.device).type == "cuda"
        # Workers of joblib and Dask must not start processes of their own.
        alone = multiprocessing.parent_process() is None
        options.setdefault(
            "num_workers", min(8, (os.cpu_count() or 1) // 2) if on_gpu and alone else 0
        )
        options.setdefault("persistent_workers", training and options["num_workers"] > 0)
        options.setdefault("pin_memory", on_gpu)
        options.setdefault("collate_fn", self.collate)
        plan = BatchPlan(dataset, batch_size, seed=self._epoch_seed if training else None)
        # A generator of its own keeps the loader from drawing on torch's global one.
        return getattr(self, kind)(
            dataset, batch_sampler=plan, generator=torch.Generator(), **options
        )

    def infer(self, x: dict[str, torch.Tensor], **fit_params: Any) -> torch.Tensor:
        x = to_tensor(x, device=self.device)
        dtype = resolve_dtype(self.compute_dtype, self.device)
        kind = torch.device(self.device).type
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            return self.module_(**x, **fit_params)

    def get_loss(
        self,
        y_pred: torch.Tensor,
        y_true: dict[str, torch.Tensor],
        X: dict[str, torch.Tensor] | None = None,
        training: bool = False,
    ) -> torch.Tensor:
        if not torch.isfinite(y_pred).all():
            # Cross-entropies raise an error, and DivergenceGuard knows what to do.
            return y_pred.sum() * torch.nan
        target = to_tensor(y_true, device=self.device)
        sample = to_tensor(dict(X or {}), device=self.device) if self.criterion_.left_out else X
        return self.criterion_.compare(y_pred, target, sample)

    # The device "auto" stays what the user gave, and means what this machine has.

    @property
    def device(self) -> str | torch.device:
        """Where to compute: what the parameter means on this machine."""
        return resolve_device(vars(self)["device"])

    @device.setter
    def device(self, device: str | torch.device) -> None:
        self.__dict__["device"] = device

    # Pickles hold what a prediction needs, and what tells how it came about

    def __getstate__(self) -> dict[str, Any]:
        kept = object.__new__(type(self))
        attributes = kept.__dict__
        attributes.update(self.__dict__)
        if self.initialized_ and not self.warm_start:
            del attributes["optimizer_"]
            attributes["history_"] = History(rows_of_epochs(self.history_))
            attributes["callbacks_"] = [(name, _without_state(cb)) for name, cb in self.callbacks_]
            if self.criterion_.state_dict():
                del attributes["criterion_"]
        return super(SceneNet, kept).__getstate__() | {"package_version": __version__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        warn_of_other_version(state.pop("package_version", None), f"this {type(self).__name__}")
        device = state["device"]
        super().__setstate__({**state, "device": resolve_device(device)})
        if device == "auto":
            self.device = device
        if self.initialized_ and not hasattr(self, "optimizer_"):
            self._make_anew_what_pickles_lack()

    def _make_anew_what_pickles_lack(self):
        was_initialized, self.initialized_ = self.initialized_, False
        if not hasattr(self, "criterion_"):
            self._initialize_criterion()
        self._initialize_optimizer()
        for group in self.optimizer_.param_groups:
            # What schedules of torch that go on after some epochs count from.
            group["initial_lr"] = group["lr"]
        self.initialized_ = was_initialized

    # What scikit-learn asks about an estimator

    def _get_param_names(self):
        named = inspect.signature(type(self)).parameters.values()
        names = [p.name for p in named if p.kind is not p.VAR_KEYWORD]
        # Unknown ones too: a misspelt argument must outlive clone, for fit to find it.
        others = self._params_to_validate.difference(names) & vars(self).keys()
        return [*names, *sorted(others)]

    def set_params(self, **params: Any) -> Self:
        super().set_params(**params)
        # skorch tells them to the present optimizer alone; the next one is to have them too.
        prefixed = {key: value for key, value in params.items() if key.startswith("optimizer__")}
        self.__dict__.update(prefixed)
        self._params_to_validate.update(prefixed)
        return self

    def get_params(self, deep: bool = True, **kwargs: Any) -> dict[str, Any]:
        params = super().get_params(deep=deep, **kwargs)
        if not deep:
            # The callbacks of a fitted net are its state; those that were given are parameters.
            mine = set(self._get_param_names())
            params = {k: v for k, v in params.items() if "__" not in k or k in mine}
        return params | {"device": vars(self)["device"]}

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        return BaseEstimator.__repr__(self, N_CHAR_MAX)

    def _get_params_html(self, deep=True, *args, **kwargs):
        # Parameters of parameters would list what the callbacks of a fitted net have become.
        return super()._get_params_html(False, *args, **kwargs)

    # What fit works with

    @property
    def _needs_truth(self):
        kind = getattr(self.criterion, "func", self.criterion)
        return getattr(kind, "needs_truth", True)

    def _starting_net(self):
        net = find_net(self.start_from, SceneNet)
        theirs, ours = ({"class": type(side).__name__, **side.layout()} for side in (net, self))
        for what, value in ours.items():
            if theirs.get(what) != value:
                raise ValueError(
                    f"start_from has {what} {theirs.get(what)} and this {type(self).__name__} has "
                    f"{value}: fine-tune with the settings that it was fitted with"
                )
        return net

    def _check_parameters(self):
        params = self.get_params(deep=False)
        name = type(self).__name__
        validate_parameter_constraints(self._parameter_constraints, params, name)
        check_device(vars(self)["device"])
        if self.optimizer in _UNFIT_OPTIMIZERS or self.optimizer in _UNFIT_CLASSES:
            raise ValueError(
                f"optimizer={self.optimizer!r} can't train a net of images: give another, such as "
                "torch.optim.NAdam or torch.optim.AdamW"
            )
        for key in params:
            if key.startswith(("module__", "dataset__")):
                raise ValueError(
                    f"{name} makes its module and its datasets by itself and has no use for {key}: "
                    "give parameters of the net, without a prefix"
                )

    def _check_fit_params(self, fit_params):
        if "sample_weight" in fit_params:
            raise ValueError(
                f"{type(self).__name__} got sample_weight, and scenes have no weights in training: "
                "leave it out, or repeat in the list the scenes that count more"
            )

    def _check_same_layers(self, scenes):
        """Raise a ValueError if parameters now ask for other layers than those at hand."""
        wanted = object.__new__(type(self))
        vars(wanted).update(vars(self))
        wanted.learn_layout(scenes)
        with torch.random.fork_rng(devices=[]):
            wanted.module_ = wanted.build_module()
        for ours, theirs in zip_longest(_lines_of(self), _lines_of(wanted)):
            if ours != theirs:
                raise ValueError(
                    f"warm_start=True goes on with the layers of the last fit, which have {ours}, "
                    f"and the parameters now ask for {theirs}: set them back, or set "
                    "warm_start=False"
                )

    def _epoch_seed(self):
        return [self.seed_, len(self.history)]


# Its subclasses have theirs filled as they are made.
complete_documentation(SceneNet, SceneNet)


class _TruthLoss(SceneLoss):
    """A loss of torch, or any other function of prediction and truth, on the channels of both."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, prediction, truth):
        # Losses of torch broadcast, and would compare the image with the status map as well.
        n_channels = min(prediction.shape[1], truth.shape[1])
        return self.function(prediction[:, :n_channels], truth[:, :n_channels])


def _without_state(callback):
    """The callback without a scheduler, which would hold the optimizer."""
    if not isinstance(callback, LRScheduler):
        return callback
    bare = copy.copy(callback)
    bare.lr_scheduler_ = None
    return bare


def _lines_of(net):
    """Layout, layers with their settings, and the shapes of their weights, as text."""
    layout = (f"{what} {value}" for what, value in net.layout().items())
    layers = (line.strip() for line in str(net.module_).splitlines())
    weights = net.module_.state_dict().items()
    shapes = (f"{name}: {tuple(x.shape)}" for name, x in weights if torch.is_tensor(x))
    return [*layout, *layers, *shapes]
