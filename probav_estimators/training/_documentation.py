"""Docstrings and signatures that all nets share."""

import inspect
from functools import wraps
from typing import Any

__all__ = ["ATTRIBUTES", "PARAMETERS", "complete_documentation"]

PARAMETERS = """Parameters
    ----------
    max_epochs : int, default=150
        How often every scene is seen.
    batch_size : int, default=32
        Samples for each step of the optimizer.
    micro_batch_size : int, default=None
        Samples that are computed at a time: a batch is split into parts of at most this size, and
        their gradients are added up, which takes less memory and gives the same step up to
        rounding. Not exactly the same are steps with batch normalization, with AdversarialLoss,
        and with losses that are means over the clear pixels of a batch, as MaskedMSELoss and the
        likelihood of standard deviations are: they are computed of each part. None: `batch_size`.
    lr : float, default=1e-3
        Learning rate.
    optimizer : class of torch.optim or its name, default=torch.optim.NAdam
        Its own parameters are given as ``optimizer__weight_decay=...``.
    device : str, default="auto"
        Where to compute. "auto": cuda, else mps, else cpu.
    compute_dtype : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of the layers. "auto": bfloat16 where the hardware computes in it, else float32.
        Torch before 2.11 can tell that of GPUs only: it computes in float32 elsewhere.
    patch_size : int, default=None
        Train on random patches of this many LR pixels along each axis. None: whole frames.
    augment : bool, default=False
        Flip and turn training samples by quarters at random.
    criterion : class or instance of a loss, default=CPSNRLoss
        Its own parameters are given as ``criterion__border=3``. An instance is copied by `fit` and
        stays as it is. A loss of torch (``torch.nn.L1Loss``) compares images with HR images and,
        where the net predicts clearance, that with status maps.
    train_split : float, callable or None, default=0.1
        Scenes that are kept from training and scored after every epoch: a fraction, or a splitter
        of skorch (``ValidSplit(5)``, ``predefined_split(scenes)``). Steps of a pipeline before the
        net are applied to such scenes too, unless they have been. None, or a fraction of a single
        scene: no validation.
    lr_patience : int or None, default=5
        Epochs without a better validation score (without validation: training loss) after which
        the learning rate halves, down to 1e-9. None: it stays. `partial_fit` and `warm_start` go
        on with the rate and the count of epochs that the last call ended with. Better is lower by
        1e-4 of the best score, or, with ``callbacks__lr_schedule__threshold_mode="abs"``, by 1e-4.
    early_stopping : int or None, default=None
        Epochs without a better validation score after which training stops. None: it does not.
        In any case the weights of the best epoch are restored in the end. Weights that a training
        begins with, those of `start_from` or of the last call, are scored on this call's
        validation scenes first and may be the best. Without validation nothing is judged.
    max_time : float, default=None
        Minutes after which training ends, with the epoch that is under way cut short and
        validated. Of a training that was resumed, the time that it took before counts; of
        `partial_fit` and `warm_start`, that of the present call. None: no limit.
    resume : path-like, default=None
        Folder in which every epoch is saved, and from which a training that was killed goes on.
        Each training needs its own, each candidate of a search too: a checkpoint of other scenes
        or settings is refused. `max_epochs`, `max_time`, `early_stopping`, `device`,
        `micro_batch_size`, callbacks and what is written or shown may change in between. Epochs in
        it count towards `max_epochs` of `fit`.
    start_from : fitted estimator of the same class, default=None
        Weights to begin with, for fine-tuning on other scenes. Wrapped in scikit-learn's
        `FrozenEstimator` it survives cloning, as in a grid search.
    callbacks : list of skorch callbacks, default=None
        In addition to those of the net, which are switched off by their names, as in
        ``callbacks__divergence=None``, or all together with "disable".
    warm_start : bool, default=False
        Whether `fit` goes on from the present weights, for another `max_epochs`.
    verbose : int, default=1
        0: `fit` and `predict` show no progress. Else `fit` shows a bar or, where its output is no
        terminal, a line for each epoch.
    random_state : int, RandomState instance or None, default=None
        Weights, order, patches and augmentation; two fits with the same int are equal.
    **kwargs
        Parameters with a prefix, as skorch has them: ``optimizer__*``, ``criterion__*``,
        ``iterator_train__num_workers`` (worker processes that read scenes; by default none on the
        CPU, whose cores the net itself keeps busy, and up to 8 beside a GPU), ``callbacks__*``."""

ATTRIBUTES = """Attributes
    ----------
    module_ : torch.nn.Module
        The net.
    history : skorch.history.History
        Losses and `valid_score`, the validation scenes' mean challenge score, of every epoch;
        `valid_score_best` says whether it was the best yet in its call of `fit` or `partial_fit`.
    scale_ : int
        HR pixels for each LR pixel."""


def complete_documentation(cls: Any, base: type) -> None:
    """Fill a net's docstring, and merge its signature with those that it hands ``**kwargs`` to.

    Parameters
    ----------
    cls : type
        A class that is being made, whose `_documented_parameters` and `_documented_attributes`
        stand for ``{parameters}`` and ``{attributes}`` in its docstring.
    base : type
        The class that all nets derive from.
    """
    if cls.__doc__:
        filled = cls.__doc__.replace("{parameters}", cls._documented_parameters)
        cls.__doc__ = filled.replace("{attributes}", cls._documented_attributes)
    kinds = [kind for kind in _until(cls.__mro__, base) if "__init__" in vars(kind)]
    inits = [vars(kind)["__init__"] for kind in kinds]
    if not inits:
        return
    if "__init__" not in vars(cls) and not issubclass(kinds[0], base):
        # Of a mixin: its signature must stay its own.
        cls.__init__ = _handed_on(inits[0])
    if "__init__" in vars(cls):
        # The signature names what a class hands on in **kwargs, for help and for printing.
        inits.append(base.__init__)  # type: ignore[misc]
        cls.__init__.__signature__ = _merged_signature(inits)


def _until(classes, last):
    for kind in classes:
        if kind is last:
            return
        yield kind


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
