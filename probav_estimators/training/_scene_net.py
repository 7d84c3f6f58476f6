"""The skorch net that all estimators with torch inside share."""

import inspect
import multiprocessing
import os
from abc import ABC, abstractmethod
from numbers import Integral, Real

import torch
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from skorch import NeuralNet
from skorch.callbacks import EpochTimer, LRScheduler, PassthroughScoring
from skorch.dataset import ValidSplit
from skorch.utils import to_tensor
from torch.utils.data import default_collate

from ..losses import CPSNRLoss
from ..prediction import stack_images
from ..scenes import check_scenes
from ..scoring import mean_cpsnr
from ._callbacks import (
    BestWeights,
    ChallengeScore,
    HistoryCSV,
    ProgressBar,
    TensorBoardFolder,
    monitored_score,
)
from ._checkpoint import Checkpoint
from ._device import DTYPES, resolve_device, resolve_dtype
from ._sampling import BatchPlan, ViewAverager

__all__ = ["SceneNet"]

# Whole frames that are predicted at a time: more fill the memory without being faster.
_PREDICTION_BATCH = 4

_OPTIMIZERS = {
    name
    for name, value in vars(torch.optim).items()
    if isinstance(value, type) and name != "Optimizer"
}

_PARAMETERS = """Parameters
    ----------
    max_epochs : int, default=150
        How often every scene is seen.
    batch_size : int, default=32
        Samples for each step of the optimizer.
    lr : float, default=1e-3
        Learning rate.
    optimizer : class of torch.optim or its name, default=torch.optim.NAdam
        Its own parameters are given as ``optimizer__weight_decay=...``.
    device : str, default="auto"
        Where to compute. "auto": cuda, else mps, else cpu.
    compute_dtype : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of the layers. "auto": bfloat16 where the hardware computes in it, else float32.
    patch_size : int, default=None
        Train on random patches of this many LR pixels along each axis. None: whole frames.
    augment : bool, default=False
        Flip and turn training samples by quarters at random.
    criterion : class of a loss, default=CPSNRLoss
        Its own parameters are given as ``criterion__border=3``.
    train_split : float, callable or None, default=0.1
        Scenes that are kept from training and scored after every epoch: a fraction, or a splitter
        of skorch (``ValidSplit(5)``, ``predefined_split(scenes)``). None, or a fraction of a
        single scene: no validation.
    lr_patience : int or None, default=5
        Epochs without a better validation score (without validation: training loss) after which
        the learning rate halves, down to 1e-9. None: it stays.
    early_stopping : int or None, default=None
        Epochs without a better validation score after which training stops. None: it does not.
    resume : path-like, default=None
        Folder in which every epoch is saved, and from which a training that was killed goes on.
    start_from : fitted estimator of the same class, default=None
        Weights to begin with, for fine-tuning on other scenes. Wrapped in scikit-learn's
        `FrozenEstimator` it survives cloning, as in a grid search.
    history_csv : path-like, default=None
        File that the history is written to after every epoch.
    tensorboard : path-like, default=None
        Folder that the history is written to for TensorBoard.
    callbacks : list of skorch callbacks, default=None
    warm_start : bool, default=False
        Whether `fit` goes on from the present weights.
    verbose : int, default=1
        0: no progress bar.
    random_state : int, RandomState instance or None, default=None
        Weights, order, patches and augmentation; two fits with the same int are equal.
    **kwargs
        Parameters with a prefix, as skorch has them: ``optimizer__*``, ``criterion__*``,
        ``iterator_train__num_workers`` (worker processes that read scenes; by default none on the
        CPU, whose cores the net itself keeps busy, and up to 8 beside a GPU), ``callbacks__*``."""

_ATTRIBUTES = """Attributes
    ----------
    module_ : torch.nn.Module
        The net.
    history : skorch.history.History
        Losses and `valid_score`, the validation scenes' mean challenge score, of every epoch.
    scale_ : int
        HR pixels for each LR pixel."""


class SceneNet(RegressorMixin, NeuralNet, ABC):
    """Base of all nets that make one image of a scene.

    A subclass states its module, what it learns from the scenes before that is made, and the
    dataset that gives it samples. In its docstring, ``{parameters}`` and ``{attributes}`` stand
    for what all nets have.

    {parameters}

    {attributes}
    """

    _documented_parameters = _PARAMETERS
    _documented_attributes = _ATTRIBUTES

    #: Makes a batch of samples.
    collate = staticmethod(default_collate)

    _parameter_constraints = {
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
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
        max_epochs=150,
        batch_size=32,
        lr=1e-3,
        optimizer=torch.optim.NAdam,
        device="auto",
        compute_dtype="auto",
        patch_size=None,
        augment=False,
        criterion=CPSNRLoss,
        train_split=0.1,
        lr_patience=5,
        early_stopping=None,
        resume=None,
        start_from=None,
        history_csv=None,
        tensorboard=None,
        callbacks=None,
        warm_start=False,
        verbose=1,
        random_state=None,
        **kwargs,
    ):
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
        # Arguments of skorch's own that are not listed above.
        self._params_to_validate.update(kwargs)
        self.compute_dtype = compute_dtype
        self.patch_size = patch_size
        self.augment = augment
        self.lr_patience = lr_patience
        self.early_stopping = early_stopping
        self.resume = resume
        self.start_from = start_from
        self.history_csv = history_csv
        self.tensorboard = tensorboard
        self.random_state = random_state

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if cls.__doc__:
            filled = cls.__doc__.replace("{parameters}", cls._documented_parameters)
            cls.__doc__ = filled.replace("{attributes}", cls._documented_attributes)
        if "__init__" in vars(cls):
            # The signature names what a subclass hands on in **kwargs, for help and for printing.
            cls.__init__.__signature__ = _merged_signature(cls)

    # What a subclass says

    @abstractmethod
    def build_module(self):
        """Return the net, with weights of torch's global random state."""

    @abstractmethod
    def make_dataset(self, scenes, *, truth, training=False):
        """Return the dataset of samples; with `training`, those of `patch_size` and `augment`."""

    #: Whether training needs HR images.
    _needs_truth = True

    def _learn_layout(self, scenes):
        """Learn what :meth:`build_module` needs to know."""
        self.scale_ = scenes[0].scale

    def _check_inputs(self, scenes):
        """Raise a ValueError unless the net can take these scenes."""

    def _layout(self):
        """What has to agree for weights to be exchanged, by what it is called."""
        return {"scale": self.scale_}

    # What a user calls

    def fit(self, X, y=None, **fit_params):
        """Train on scenes.

        Parameters
        ----------
        X : list of Scene
            With HR images, and prepared as the class needs it.
        y : None
            Not used: a scene carries its truth.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is not valid, a scene has no HR image, or the net can't take it.
        """
        scenes = check_scenes(X, type(self).__name__, truth=self._needs_truth)
        if not (self.warm_start and self.initialized_):
            self._learn_layout(scenes)
        return super().fit(scenes, None, **fit_params)

    def partial_fit(self, X, y=None, classes=None, **fit_params):
        """Go on training from the present weights, for another `max_epochs`.

        Parameters and errors are those of :meth:`fit`.

        Returns
        -------
        self
        """
        scenes = check_scenes(X, type(self).__name__, truth=self._needs_truth)
        if not self.initialized_:
            self._learn_layout(scenes)
        self._check_inputs(scenes)
        return super().partial_fit(scenes, None, **fit_params)

    def predict(self, X):
        """Super-resolve scenes.

        Parameters
        ----------
        X : list of Scene
            HR images are not needed.

        Returns
        -------
        float32 array of shape (n, H, W), or a list of such images if their sizes differ
            In [0, 1].

        Raises
        ------
        ValueError
            If the inputs of a scene don't fit the net.
        """
        self.check_is_fitted()
        scenes = check_scenes(X, type(self).__name__)
        self._check_inputs(scenes)
        images = [None] * len(scenes)
        dataset = self.get_dataset(scenes)
        averager = ViewAverager(dataset.n_views)
        for batch in self.get_iterator(dataset):
            predicted = self.evaluation_step(batch)[:, 0].clamp(0, 1).cpu().numpy()
            for number, image in averager.add(batch[1]["scene"].tolist(), predicted):
                images[number] = image
        return stack_images(images)

    def score(self, X, y=None):
        """Mean cPSNR in dB on scenes with HR images; greater is better."""
        return mean_cpsnr(self, X)

    # Hooks of skorch

    def initialize(self):
        self._check_parameters()
        self.seed_ = int(check_random_state(self.random_state).randint(2**31))
        return super().initialize()

    def initialize_module(self):
        with torch.random.fork_rng(devices=[]):
            # That of the CPU alone: torch.manual_seed would reach those of the GPUs too.
            torch.default_generator.manual_seed(self.seed_)
            module = self.build_module()
        if self.start_from is not None:
            module.load_state_dict(self._starting_net().module_.state_dict())
        self.module_ = module.to(memory_format=torch.channels_last)
        return self

    def initialize_optimizer(self, triggered_directly=None):
        named = self.get_all_learnable_params()
        args, kwargs = self.get_params_for_optimizer("optimizer", named)
        named_class = isinstance(self.optimizer, str)
        make = getattr(torch.optim, self.optimizer) if named_class else self.optimizer
        self.optimizer_ = make(*args, **kwargs)
        return self

    @property
    def _default_callbacks(self):
        callbacks = [
            ("epoch_timer", EpochTimer()),
            ("train_loss", PassthroughScoring(name="train_loss", on_train=True)),
            ("valid_loss", PassthroughScoring(name="valid_loss")),
            ("valid_score", ChallengeScore()),
            ("progress_bar", ProgressBar()),
        ]
        if self.lr_patience is not None:
            schedule = LRScheduler(
                torch.optim.lr_scheduler.ReduceLROnPlateau,
                monitor=monitored_score,
                factor=0.5,
                patience=self.lr_patience,
                min_lr=1e-9,
            )
            callbacks.append(("lr_schedule", schedule))
        if self.history_csv is not None:
            callbacks.append(("history_csv", HistoryCSV(self.history_csv)))
        if self.tensorboard is not None:
            callbacks.append(("tensorboard", TensorBoardFolder(self.tensorboard)))
        # BestWeights ends a training by an exception: what must see every epoch stands before it.
        # Checkpoint saves what BestWeights knows, and stands after it.
        callbacks.append(("best_weights", BestWeights(self.early_stopping)))
        if self.resume is not None:
            callbacks.append(("checkpoint", Checkpoint(self.resume)))
        return callbacks

    def fit_loop(self, X, y=None, epochs=None, *, _routing_method="fit", **fit_params):
        if epochs is None and _routing_method == "fit" and not self.warm_start:
            # Epochs that a checkpoint brought back count.
            epochs = max(0, self.max_epochs - len(self.history))
        return super().fit_loop(X, y, epochs, _routing_method=_routing_method, **fit_params)

    def get_dataset(self, X, y=None):
        return self.make_dataset(X, truth=False)

    def get_split_datasets(self, X, y=None, **fit_params):
        train, valid = self._split(X)
        self._check_inputs(valid or [])
        dataset_train = self.make_dataset(train, truth=True, training=True)
        return dataset_train, self.make_dataset(valid, truth=True) if valid else None

    def get_iterator(self, dataset, training=False):
        kind = "iterator_train" if training else "iterator_valid"
        options = self.get_params_for(kind)
        batch_size = options.pop(
            "batch_size",
            self.batch_size if training else min(self.batch_size, _PREDICTION_BATCH),
        )
        on_gpu = torch.device(self.device).type == "cuda"
        # Workers of joblib and Dask must not start processes of their own.
        alone = multiprocessing.parent_process() is None
        options.setdefault("num_workers", min(8, os.cpu_count() // 2) if on_gpu and alone else 0)
        options.setdefault("persistent_workers", training and options["num_workers"] > 0)
        options.setdefault("pin_memory", on_gpu)
        options.setdefault("collate_fn", self.collate)
        plan = BatchPlan(dataset, batch_size, seed=self._epoch_seed if training else None)
        # A generator of its own keeps the loader from drawing on torch's global one.
        return getattr(self, kind)(
            dataset, batch_sampler=plan, generator=torch.Generator(), **options
        )

    def infer(self, x, **fit_params):
        x = to_tensor(x, device=self.device)
        dtype = resolve_dtype(self.compute_dtype, self.device)
        kind = torch.device(self.device).type
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            return self.module_(**x, **fit_params)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        return self.criterion_(y_pred, to_tensor(y_true["truth"], device=self.device))

    # The device "auto" stays what the user gave, and means what this machine has.

    @property
    def device(self):
        return resolve_device(vars(self)["device"])

    @device.setter
    def device(self, device):
        vars(self)["device"] = device

    def __setstate__(self, state):
        device = state["device"]
        super().__setstate__({**state, "device": resolve_device(device)})
        if device == "auto":
            self.device = device

    # What scikit-learn asks about an estimator

    def _get_param_names(self):
        named = inspect.signature(type(self)).parameters.values()
        names = [p.name for p in named if p.kind is not p.VAR_KEYWORD]
        # Unknown ones too: a misspelt argument must outlive clone, for fit to find it.
        others = self._params_to_validate.difference(names) & vars(self).keys()
        return [*names, *sorted(others)]

    def set_params(self, **params):
        super().set_params(**params)
        # skorch tells them to the present optimizer alone; the next one is to have them too.
        prefixed = {key: value for key, value in params.items() if key.startswith("optimizer__")}
        vars(self).update(prefixed)
        self._params_to_validate.update(prefixed)
        return self

    def get_params(self, deep=True, **kwargs):
        params = super().get_params(deep=deep, **kwargs)
        return params | {"device": vars(self)["device"]}

    def __repr__(self, N_CHAR_MAX=700):
        return BaseEstimator.__repr__(self, N_CHAR_MAX)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        tags.no_validation = True
        return tags

    # What fit works with

    def _starting_net(self):
        net = self.start_from
        while not isinstance(net, SceneNet):
            # FrozenEstimator and Pipeline, in any order
            net = net.estimator if hasattr(net, "estimator") else net.steps[-1][1]
        if not net.__sklearn_is_fitted__():
            raise ValueError(
                "start_from is not fitted: fit it, and wrap it in sklearn.frozen.FrozenEstimator "
                "where it is cloned"
            )
        theirs, ours = ({"class": type(side).__name__, **side._layout()} for side in (net, self))
        for what, value in ours.items():
            if theirs[what] != value:
                raise ValueError(
                    f"start_from has {what} {theirs[what]} and this {type(self).__name__} has "
                    f"{value}: fine-tune with the settings that it was fitted with"
                )
        return net

    def _check_parameters(self):
        validate_parameter_constraints(
            self._parameter_constraints, self.get_params(deep=False), type(self).__name__
        )
        if not hasattr(self, "scale_"):
            raise ValueError(f"{type(self).__name__} takes its layout from scenes: call fit")

    def _split(self, scenes):
        splitter = self.train_split
        if isinstance(splitter, Real):
            alone = len(scenes) == 1
            splitter = None if alone else ValidSplit(float(splitter), random_state=self.seed_)
        if splitter is None:
            return scenes, None
        # Whole scenes are split: views of one scene must not be on both sides.
        parts = splitter(_Places(scenes))
        return tuple(
            None if part is None else _scenes_of(part, self._needs_truth) for part in parts
        )

    def _epoch_seed(self):
        return [self.seed_, len(self.history)]


class _Places(torch.utils.data.Dataset):
    """Scenes as splitters of skorch want them: a dataset with one item for each."""

    def __init__(self, scenes):
        self.scenes = scenes

    def __len__(self):
        return len(self.scenes)

    def __getitem__(self, number):
        return self.scenes[number]


def _scenes_of(part, truth):
    return check_scenes([part[number] for number in range(len(part))], "train_split", truth=truth)


def _merged_signature(cls):
    own, inherited = (
        inspect.signature(init).parameters.values()
        for init in (cls.__init__, cls.__mro__[1].__init__)
    )
    fixed = [p for p in own if p.kind is not p.VAR_KEYWORD]
    names = {p.name for p in fixed}
    return inspect.Signature([*fixed, *(p for p in inherited if p.name not in names)])
