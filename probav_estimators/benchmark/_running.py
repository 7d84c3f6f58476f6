"""Resumable run of a benchmark, row by row."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from inspect import signature
from numbers import Integral
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from sklearn.utils._param_validation import (
    Interval,
    StrOptions,
    validate_parameter_constraints,
)

from ..datasets import can_be_submitted, unpack_data_set, write_submission
from ..displays import ComparisonDisplay
from ..files import replace_file
from ..persistence import save_model
from ..prediction import predict_in_turn
from ..scenes import Scene, load_scenes, load_truth
from ..scoring import scene_score
from ..training import HistoryCSV, check_device, describe_scenes
from ._results import RowFolder, markdown_of, write_table
from ._rows import Row, RowMaker, choose_rows, n_parameters, slug_of
from ._step_cost import RowEstimate, estimate_row

# Scenes, epochs and LR pixels of patches of a quick run.
_QUICK_SCENES = 24
_QUICK_EPOCHS = 1
_QUICK_PATCH = 32

# Scenes whose prediction is timed.
_TIMED_SCENES = 8


class BenchmarkResult(NamedTuple):
    """What :func:`run_benchmark` returns.

    Attributes
    ----------
    rows : list of dict
        In the order of the table, with "row" (its name), "study_score" (that of the study, or
        None), "validation_score", "epochs", "best_epoch", "parameters", "fit_seconds",
        "predict_seconds" (for each scene) and "folder" (below `output`).
    output : pathlib.Path
        Folder with table.md, table.csv, table.json and a folder for each row.
    table : str
        The table as Markdown.
    """

    rows: list[dict[str, Any]]
    output: Path
    table: str


def run_benchmark(
    root: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    configurations: str | Sequence[str] = "all",
    max_epochs: int | None = None,
    batch_size: int | None = None,
    micro_batch_size: int | Literal["auto"] | None = "auto",
    patch_size: int | None = None,
    residual: bool = False,
    k: int = 9,
    device: str | torch.device = "auto",
    quick: bool = False,
    overwrite: bool = False,
    random_state: int = 0,
    verbose: int = 1,
) -> BenchmarkResult:
    """Train and score the study's configurations and FusionNet on a data set.

    Every row has a folder of its own below `output`, with history.csv, model.safetensors (for
    `load_model` and `probav`), picture.png and, if the data set has a test split, submission.zip.
    The same call resumes a stopped or killed run from its last epoch; finished rows are not
    repeated.

    Parameters
    ----------
    root : path-like
        Folder of a data set (holds train/, test/ and norm.csv), of one split or of one band, or a
        zip in the layout of the challenge, which is unpacked to `output`/data once.
    output : path-like
        Folder to write to, created if missing.
    configurations : "all" or list of str, default="all"
        Rows: names as "SRCNN stack concat" or "srcnn-stack-concat", "baseline", "baseline OpenCV",
        "FusionNet" (with the weights that ship for the scenes' scale) and "FusionNet fine-tuned".
    max_epochs : int, default=None
        Of each training. None: as published, and 20 for fine-tuning; with `residual` as many as
        show 4,000 patches.
    batch_size : int, default=None
        Samples for each step of the optimizer. None: as published; 16 with `residual`, and 4 for
        fine-tuning.
    micro_batch_size : int, "auto" or None, default="auto"
        Samples computed at a time, see :class:`SRCNN`. "auto": as fit into half of the available
        memory. None: the whole batch.
    patch_size : int, default=None
        Train on random patches of this many LR pixels. None: as published, on whole frames; 32
        with `residual`, and 48 for fine-tuning.
    residual : bool, default=False
        Whether the study's nets predict a residual to the upscaled mean frame and are trained on
        patches with augmentation, which takes minutes instead of days.
    k : int, default=9
        Frames of the multi-image nets.
    device : str or torch.device, default="auto"
        Where to compute.
    quick : bool, default=False
        Whether to train for one epoch on patches of at most 24 scenes, as a test. Submissions then
        hold at most 24 scenes.
    overwrite : bool, default=False
        Whether to restart finished and interrupted rows.
    random_state : int, default=0
        Of split, weights, order, patches and augmentation.
    verbose : int, default=1
        0: nothing is printed. Else estimates and progress are printed to stderr.

    Returns
    -------
    BenchmarkResult

    Raises
    ------
    ValueError
        If a parameter is not valid, a configuration is not known, or the data set cannot be used.
    FileNotFoundError
        If `root` does not exist.
    FileExistsError
        If the folder of a row is of a run with other settings or scenes.
    NotADirectoryError
        If `output` is a file.

    See Also
    --------
    published_configurations : The study's configurations as pipelines.

    Notes
    -----
    All rows have the same validation scenes, which choose the best epoch as well: the validation
    score is that of the best epoch, as the study reports it.

    Nothing is half-written: files appear as a whole, and the result of a row last.

    Examples
    --------
    >>> import tempfile
    >>> from probav_estimators import make_scenes, run_benchmark, save_scenes
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_scenes(make_scenes(12, size=16, random_state=0), f"{folder}/data")
    ...     result = run_benchmark(
    ...         f"{folder}/data",
    ...         f"{folder}/results",
    ...         configurations=["baseline", "FSRCNN stack lr"],
    ...         quick=True,
    ...         verbose=0,
    ...     )
    >>> [(row["row"], row["study_score"]) for row in result.rows]
    [('baseline', None), ('FSRCNN stack lr', 0.99134)]
    """
    return _Run.of(**locals()).run()


def estimate_benchmark(
    root: str | os.PathLike[str], output: str | os.PathLike[str], **options: Any
) -> list[RowEstimate]:
    """Estimate time and memory of the rows that `run_benchmark` would train, from one step."""
    arguments = signature(run_benchmark).bind(root, output, **options)
    arguments.apply_defaults()
    return _Run.of(**arguments.arguments).estimates()


_COUNT = Interval(Integral, 1, None, closed="left")

_CONSTRAINTS = {
    "configurations": [str, "array-like"],
    "max_epochs": [_COUNT, None],
    "batch_size": [_COUNT, None],
    "micro_batch_size": [_COUNT, StrOptions({"auto"}), None],
    "patch_size": [_COUNT, None],
    "residual": ["boolean"],
    "k": [_COUNT],
    "device": [str, torch.device],
    "quick": ["boolean"],
    "overwrite": ["boolean"],
    "random_state": [Interval(Integral, 0, None, closed="left")],
    "verbose": ["verbose"],
}


@dataclass(frozen=True)
class _Run:
    """Rows of a benchmark, with their folders."""

    data: _DataSet
    valid: list[Scene]
    maker: RowMaker
    rows: list[tuple[Row, RowFolder]]
    output: Path
    options: SimpleNamespace
    shared: dict[str, str]

    @classmethod
    def of(cls, root, output, **parameters):
        """Make all rows, and check their folders, with the parameters of `run_benchmark`."""
        validate_parameter_constraints(_CONSTRAINTS, parameters, "run_benchmark")
        options = SimpleNamespace(**parameters)
        check_device(options.device)
        output = Path(os.path.abspath(output))
        if output.exists() and not output.is_dir():
            raise NotADirectoryError(f"{output} is a file: give a folder to write to")
        data = _open_data_set(
            root,
            output / "data",
            max_scenes=_QUICK_SCENES if options.quick else None,
            quiet=not options.verbose,
        )
        if options.quick:
            smallest = min(min(scene.shape) for scene in data.train)
            options.max_epochs = options.max_epochs or _QUICK_EPOCHS
            options.patch_size = options.patch_size or min(_QUICK_PATCH, smallest)
        maker = RowMaker(data.train, data.scale, options)
        shared = {"scenes": describe_scenes(data.train), "quick": str(options.quick)}
        rows = [
            (row, RowFolder(output / row.slug, shared | row.describe()))
            for row in choose_rows(maker, options.configurations)
        ]
        for _, folder in rows:
            folder.check(overwrite=options.overwrite)
        valid = maker.validation_scenes()
        return cls(data, valid, maker, rows, output, options, shared)

    def run(self):
        """Make all rows that are not finished, and write the table after each."""
        if self.options.overwrite:
            for _, folder in self.rows:
                folder.remove()
        parts = {estimate.name: estimate.micro_batch_size for estimate in self._print_estimates()}
        for number, (row, folder) in enumerate(self.rows, start=1):
            if folder.result is None:
                self._say(f"{row.name}, row {number} of {len(self.rows)}")
                self._make(row, folder, parts.get(row.name))
            folder.tidy()
            rows = self._write_table()
        return BenchmarkResult(rows, self.output, markdown_of(self._about(), rows))

    def estimates(self):
        """Time and memory of the rows that are to be trained."""
        anew, parts = self.options.overwrite, self.options.micro_batch_size
        return [
            estimate_row(
                row,
                self.data.train,
                epochs_done=0 if anew else folder.epochs_done,
                micro_batch_size=parts,
            )
            for row, folder in self.rows
            if row.trains and (anew or folder.result is None)
        ]

    def _print_estimates(self):
        estimates = self.estimates()
        for line in describe_estimates(estimates):
            self._say(line)
        return estimates

    def _make(self, row, folder, micro_batch_size):
        folder.begin()
        trained = self._train(row, folder, micro_batch_size) if row.trains else {}
        timed = self.valid[:_TIMED_SCENES]
        start = perf_counter()
        images = row.estimator.predict(timed)
        seconds = (perf_counter() - start) / len(timed)
        result = {
            "row": row.name,
            "study_score": row.study_score,
            "validation_score": None,
            "epochs": None,
            "best_epoch": None,
            "parameters": n_parameters(row),
            "fit_seconds": None,
            "predict_seconds": seconds,
            "folder": folder.path.name,
            **(trained or {"validation_score": self._score(row.estimator)}),
        }
        save_model(row.estimator, folder.model)
        if self.data.test:
            write_submission(row.estimator, self.data.test, folder.submission)
        _draw(row.name, images[0], timed[0], folder.picture)
        folder.finish(result)

    def _train(self, row, folder, micro_batch_size):
        net, callbacks = row.net, row.net.callbacks
        net.set_params(
            resume=folder.checkpoint,
            callbacks=[*(callbacks or []), ("history_csv", HistoryCSV(folder.history))],
            micro_batch_size=micro_batch_size,
        )
        with warnings.catch_warnings():
            # About the split and the callbacks, which are taken from the net again below.
            warnings.filterwarnings("ignore", message=".*parameters that save_model will leave out")
            row.estimator.fit(self.data.train)
        best = dict(net.callbacks_)["best_weights"]
        # A model file holds no splitters, and no places and sizes of this machine.
        net.set_params(resume=None, callbacks=callbacks, micro_batch_size=None)
        if callable(net.train_split):
            net.set_params(train_split=None)
        return {
            "validation_score": float(best.best_score_) if np.isfinite(best.best_score_) else None,
            "epochs": len(net.history),
            "best_epoch": int(best.best_epoch_),
            "fit_seconds": float(sum(epoch["dur"] for epoch in net.history)),
        }

    def _score(self, estimator):
        pairs = zip(predict_in_turn(estimator, self.valid), self.valid, strict=True)
        return float(np.mean([scene_score(image, scene) for image, scene in pairs]))

    def _write_table(self):
        """Write all rows that are finished, those of earlier runs on the same scenes too."""
        slugs = map(slug_of, self.maker.makers())
        folders = [RowFolder(self.output / slug, self.shared) for slug in slugs]
        rows = [folder.result for folder in folders if folder.is_finished]
        write_table(self.output, self._about(), rows)
        return rows

    def _about(self):
        return {
            "quick": self.options.quick,
            "training": self.maker.describe(),
            "n_train": len(self.data.train) - len(self.valid),
            "n_validation": len(self.valid),
        }

    def _say(self, line):
        if self.options.verbose:
            print(line, file=sys.stderr, flush=True)


class _DataSet(NamedTuple):
    """Scenes of one scale: training scenes with HR images, and those to submit, if any."""

    train: list[Scene]
    test: list[Scene]
    scale: int


def _open_data_set(
    root: str | os.PathLike[str],
    unpacked: Path,
    *,
    max_scenes: int | None = None,
    quiet: bool = False,
) -> _DataSet:
    """List the scenes of a data set; pixels are not read.

    `root` is the folder of a data set, of a split or of a band, or a zip in the layout of the
    challenge, which is unpacked to `unpacked`. Of each split, `max_scenes` are chosen evenly.
    """
    root = Path(root)
    if root.is_file():
        root = unpack_data_set(root, unpacked, quiet=quiet)
    whole = (root / "train").is_dir()
    train = _choose(load_truth(root / "train" if whole else root), max_scenes)
    has_test = whole and (root / "test").is_dir()
    test = _choose(load_scenes(root / "test"), max_scenes) if has_test else []
    if not can_be_submitted(test):
        warnings.warn(
            f'{root / "test"} has scenes that are not named like "imgset0594": no submissions are '
            "written",
            stacklevel=3,
        )
        test = []
    return _DataSet(train, test, _scale_of(train))


def _choose(scenes, max_scenes):
    if max_scenes is None or len(scenes) <= max_scenes:
        return scenes
    chosen = np.linspace(0, len(scenes) - 1, max_scenes).round().astype(int)
    return [scenes[number] for number in chosen]


def _scale_of(scenes):
    for scene in scenes:
        if scene.scale != scenes[0].scale:
            raise ValueError(
                f"{scene.label} has scale {scene.scale} and {scenes[0].label} scale "
                f"{scenes[0].scale}: benchmark the scenes of one scale at a time"
            )
    return scenes[0].scale


def describe_estimates(estimates: Sequence[RowEstimate]) -> list[str]:
    """Describe time and memory of trainings in lines of text."""
    if not estimates:
        return ["no row is left to train"]
    total = sum(estimate.seconds for estimate in estimates)
    return [
        f"{len(estimates)} rows to train, about {_duration(total)} in all:",
        *(f"  {_describe_estimate(estimate)}" for estimate in estimates),
    ]


def _describe_estimate(e):
    part = e.micro_batch_size or e.batch_size
    return (
        f"{e.name}: {_duration(e.seconds)} ({e.epochs} epochs of {e.n_samples:,} samples, "
        f"{e.seconds_per_sample:.3g} s and {e.sample_bytes / 2**20:.0f} MiB a sample, batches of "
        f"{e.batch_size} computed {min(part, e.batch_size)} at a time)"
    )


def _duration(seconds):
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _draw(name, image, scene, path):
    """Write the comparison with baseline and HR image, where matplotlib is installed."""
    if find_spec("matplotlib") is None:
        warnings.warn(f"{path} is not drawn: pip install probav_estimators[plot]", stacklevel=2)
        return
    from matplotlib import pyplot as plt

    display = ComparisonDisplay.from_predictions(scene, {name: image})
    try:
        with replace_file(path) as partial:
            display.figure_.savefig(partial, format="png", dpi=100)
    finally:
        plt.close(display.figure_)
