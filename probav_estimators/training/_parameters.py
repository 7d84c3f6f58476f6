"""Parameters of nets: scikit-learn's protocol, validation, documentation, device and precision."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from functools import wraps
from itertools import takewhile
from typing import Any, Self

import torch
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import validate_parameter_constraints
from skorch import NeuralNet

__all__ = [
    "ATTRIBUTES",
    "DTYPES",
    "OPTIMIZERS",
    "PARAMETERS",
    "ParametersMixin",
    "check_device",
    "complete_documentation",
    "resolve_device",
    "resolve_dtype",
]

if hasattr(os, "register_at_fork"):
    # A forked process has none of the threads of OpenMP, and would wait for them for ever.
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))

#: Types that nets compute in, by their names.
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

#: Names of torch's optimizers.
OPTIMIZERS = {
    name
    for name, value in vars(torch.optim).items()
    if isinstance(value, type) and name != "Optimizer"
}

# They need a single group of parameters, sparse gradients, or matrices of weights.
_UNFIT = {"LBFGS", "SparseAdam", "Muon"}
_UNFIT_CLASSES = {getattr(torch.optim, name) for name in _UNFIT}

# Prefixes of the parameters of data loaders, and those that BatchPlan replaces.
_LOADERS = ("iterator_train", "iterator_valid")
_OF_BATCHES = {
    f"{prefix}__{name}"
    for prefix in _LOADERS
    for name in ("batch_sampler", "drop_last", "generator", "sampler", "shuffle")
}

PARAMETERS = """Parameters
    ----------
    max_epochs : int, default=150
        Passes over the training scenes.
    batch_size : int, default=32
        Samples for each step of the optimizer.
    micro_batch_size : int, default=None
        Samples that are computed at a time. The gradients of a batch's parts are added up, which
        takes less memory and gives the same step up to rounding. The step differs with batch
        normalization, with AdversarialLoss, and with losses that are means over the clear pixels of
        a batch (MaskedMSELoss, the likelihood of standard deviations, the mean shift), which are
        computed for each part. None: `batch_size`.
    lr : float, default=1e-3
        Learning rate.
    optimizer : class of torch.optim or its name, default=torch.optim.NAdam
        Its parameters have a prefix: ``optimizer__weight_decay=...``.
    device : str, default="auto"
        "auto": cuda, else mps, else cpu.
    compute_dtype : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of the layers. "auto": bfloat16 where the hardware computes in it, else float32.
        With torch before 2.11 only GPUs compute in bfloat16.
    patch_size : int, default=None
        Train on random patches of this many LR pixels along each axis. None: whole frames.
    augment : bool, default=False
        Flip and turn training samples by quarters at random.
    criterion : class or instance of a loss, default=CPSNRLoss
        Parameters of a class have a prefix. `fit` copies an instance. A loss of torch
        (``torch.nn.L1Loss``) compares images with HR images and, if the net predicts them,
        clearance maps with status maps. ``criterion__border`` is the largest shift in HR pixels
        that is tolerated: by default 3 in FusionNet and nets on single frames, 0 in others.
    train_split : float, callable or None, default=0.1
        Validation scenes, scored after every epoch: a fraction of the scenes, or a splitter of
        skorch (``ValidSplit(5)``, ``predefined_split(scenes)``). Steps of a pipeline before the net
        are applied to the scenes of a splitter too, unless they have been. None, or a fraction of
        a single scene: no validation.
    weights : fitted estimator, str or path-like, default=None
        Initial weights: those of a fitted net of the same class, or of a pipeline or a search that
        ends in one, for fine-tuning; or the name or file that `from_pretrained` or `from_published`
        of the class takes. Wrap an estimator in scikit-learn's `FrozenEstimator` where the net is
        cloned, as in a grid search. None: random weights.
    resume : path-like, default=None
        Folder of a checkpoint, which is written after every epoch and from which an interrupted
        training is resumed. Each training needs its own, each candidate of a search too: a
        checkpoint of other scenes or settings is refused. `max_epochs`, `device`,
        `micro_batch_size`, `callbacks` and `verbose` may change. Its epochs count towards
        `max_epochs` of `fit`.
    callbacks : list of skorch callbacks, default=None
        In addition to those of the net, such as :class:`TimeLimit` or skorch's `EarlyStopping`. A
        callback ends the training with an attribute `ends_training_` that is true at the end of an
        epoch. Those of the net have names: "lr_schedule" halves the learning rate after 5 epochs
        without a better validation score (``callbacks__lr_schedule__patience=5``), "best_weights"
        restores the weights of the best epoch, "divergence" returns to them. None switches one off
        (``callbacks__lr_schedule=None``), "disable" all.
    verbose : int, default=1
        0: no progress is shown. Else `fit` prints a table with a line for each epoch and, on a
        terminal, shows a bar of the present one.
    random_state : int, RandomState instance or None, default=None
        Of initial weights, order, patches, augmentation and dropout. Two fits with the same int, on
        one machine with one number of torch's threads, give the same weights to the last bit, also
        in threads and with worker processes; on a GPU after
        ``torch.use_deterministic_algorithms(True)``. Another number of threads
        (`torch.set_num_threads`, the variable OMP_NUM_THREADS) adds in another order, and the
        weights differ. None: another seed for each fit. Global generators of torch and NumPy are
        neither used nor changed.
    **kwargs
        Parameters of skorch: `warm_start` (whether `fit` continues from the present weights) and,
        with a prefix, ``optimizer__*``, ``criterion__*``, ``callbacks__*``,
        ``iterator_train__num_workers`` (worker processes that read scenes; by default up to 8 with
        a GPU, else none)."""

ATTRIBUTES = """Attributes
    ----------
    module_ : torch.nn.Module
        The net.
    history : skorch.history.History
        Losses and `valid_score`, the mean challenge score of the validation scenes, of every epoch;
        `valid_score_best`: whether it was the best so far in its call of `fit` or `partial_fit`.
    scale_ : int
        HR pixels for each LR pixel.
    value_range_ : tuple of two floats, None or "mixed"
        Value range of the training scenes: None if they have none, "mixed" if they have several.
        Scenes of another range are refused, except by nets that work in units of each scene."""


class ParametersMixin(NeuralNet):
    """Mixin of nets with parameters as scikit-learn's estimators have them."""

    def _get_param_names(self):
        named = inspect.signature(type(self)).parameters.values()
        names = [p.name for p in named if p.kind is not p.VAR_KEYWORD]
        # Unknown ones too: fit of a clone must find a misspelt argument.
        others = self._params_to_validate.difference(names) & vars(self).keys()
        # Of skorch, as those with a prefix: listed if it is set.
        of_skorch = ["warm_start"] if self.warm_start else []
        return [*names, *sorted(others), *of_skorch]

    def set_params(self, **params: Any) -> Self:
        if "warm_start" in params:
            self.warm_start = params.pop("warm_start")
        # Skorch refuses these of an initialized net.
        kept = {key: params.pop(key) for key in [*params] if key.startswith(_LOADERS)}
        kept |= {"optimizer": params.pop("optimizer")} if "optimizer" in params else {}
        super().set_params(**params)
        # It sets these on the present optimizer alone, not for the next one.
        kept |= {key: value for key, value in params.items() if key.startswith("optimizer__")}
        self.__dict__.update(kept)
        self._params_to_validate.update(kept)
        if "optimizer" in kept and self.initialized_:
            self._check_parameters()
            self._renew_optimizer()
        return self

    def get_params(self, deep: bool = True, **kwargs: Any) -> dict[str, Any]:
        params = super().get_params(deep=deep, **kwargs)
        if not deep:
            # Fitted callbacks are no parameters.
            mine = set(self._get_param_names())
            params = {k: v for k, v in params.items() if "__" not in k or k in mine}
        return params | {"device": vars(self)["device"]}

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        return BaseEstimator.__repr__(self, N_CHAR_MAX)

    def _get_params_html(self, deep=True, *args, **kwargs):
        # Deep parameters would list the fitted callbacks.
        return super()._get_params_html(False, *args, **kwargs)

    def _check_parameters(self):
        params = self.get_params(deep=False)
        name = type(self).__name__
        validate_parameter_constraints(self._parameter_constraints, params, name)
        check_device(vars(self)["device"])
        if self.optimizer in _UNFIT or self.optimizer in _UNFIT_CLASSES:
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
            if key in _OF_BATCHES:
                raise ValueError(
                    f"{name} chooses the scenes of each batch by random_state and has no use for "
                    f"{key}: leave it out"
                )

    def _check_fit_params(self, fit_params):
        if "sample_weight" in fit_params:
            raise ValueError(
                f"{type(self).__name__} got sample_weight, and scenes have no weights in training: "
                "leave it out, or repeat in the list the scenes that count more"
            )


def check_device(device: str | torch.device) -> None:
    """Check that a `device` parameter is a device of this machine.

    Parameters
    ----------
    device : str or torch.device

    Raises
    ------
    ValueError
        If torch does not know it, or finds no such device.
    """
    if device == "auto":
        return
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ValueError(
            f'device={device!r} is no device of torch: give "auto", "cpu" or "cuda"'
        ) from error
    there: dict[str, Callable[[], bool]] = {
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
    }
    if kind in there and not there[kind]():
        raise ValueError(
            f"device={device!r}, but torch finds no such device on this machine: give "
            '"auto" or "cpu", or install a build of torch and a driver for it'
        )


def resolve_device(device: str | torch.device) -> str | torch.device:
    """Resolve a `device` parameter; "auto" is cuda, else mps, else cpu."""
    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def resolve_dtype(compute_dtype: str, device: str | torch.device) -> torch.dtype:
    """Resolve a `compute_dtype` parameter on a device.

    "auto" is bfloat16 where torch reports that the hardware computes in it, else float32.

    Parameters
    ----------
    compute_dtype : {"auto", "float32", "bfloat16"}
    device : str or torch.device

    Returns
    -------
    torch.dtype
    """
    if compute_dtype != "auto":
        return DTYPES[compute_dtype]
    kind = torch.device(device).type
    if kind == "cuda":
        computes_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    elif kind == "cpu":
        # Torch before 2.11 does not know the capabilities of CPUs.
        capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        computes_bfloat16 = any(
            capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16")
        )
    else:
        computes_bfloat16 = False
    return torch.bfloat16 if computes_bfloat16 else torch.float32


def complete_documentation(cls: Any, base: type) -> None:
    """Complete a net's docstring, and its signature with the parameters of its bases.

    Parameters
    ----------
    cls : type
        Its `_documented_parameters` and `_documented_attributes` replace ``{parameters}`` and
        ``{attributes}`` in its docstring.
    base : type
        Base of all nets.
    """
    if cls.__doc__:
        filled = cls.__doc__.replace("{parameters}", cls._documented_parameters)
        cls.__doc__ = filled.replace("{attributes}", cls._documented_attributes)
    before = takewhile(lambda kind: kind is not base, cls.__mro__)
    kinds = [kind for kind in before if "__init__" in vars(kind)]
    inits = [vars(kind)["__init__"] for kind in kinds]
    if not inits:
        return
    if "__init__" not in vars(cls) and not issubclass(kinds[0], base):
        # Of a mixin: its signature must stay its own.
        cls.__init__ = _handed_on(inits[0])
    if "__init__" in vars(cls):
        # For help and for printing.
        inits.append(base.__init__)  # type: ignore[misc]
        cls.__init__.__signature__ = _merged_signature(inits)


def _handed_on(init):
    @wraps(init)
    def initialize(self, *args, **kwargs):
        init(self, *args, **kwargs)

    return initialize


def _merged_signature(inits):
    merged = {}
    for init in inits:
        for parameter in inspect.signature(init).parameters.values():
            merged.setdefault(parameter.name, parameter)
    # **kwargs comes last.
    return inspect.Signature(sorted(merged.values(), key=lambda p: p.kind))
