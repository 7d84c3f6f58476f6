"""Rows of the table: baseline, published configurations and FusionNet."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..architectures import FusionNet
from ..baseline import BicubicBaseline
from ..prediction import last_step
from ..published import published_configurations
from ..random_numbers import as_random_state
from ..scenes import Scene
from ..training import SceneNet, describe, describe_settings, split_scenes

# Score of the study's OpenCV baseline on its 1,160 scenes (its notebook baseline_opencv.ipynb).
_OPENCV_SCORE = 0.99803

# LR pixels of the patches that FusionNet is fine-tuned on, and its epochs.
_FUSION_PATCH = 48
_FUSION_EPOCHS = 20

# LR pixels and samples of a short residual training.
_RESIDUAL_PATCH = 32
_RESIDUAL_SAMPLES = 4000
_RESIDUAL_BATCH = 16


@dataclass(frozen=True)
class Row:
    """An estimator of the table: a net, a pipeline that ends in one, or the baseline.

    `study_score` is the challenge score that the study measured.
    """

    name: str
    estimator: Any
    trains: bool
    study_score: float | None = None

    @property
    def slug(self) -> str:
        """Name of the row's folder, such as "srcnn-stack-concat"."""
        return slug_of(self.name)

    @property
    def net(self) -> Any:
        """The net that is trained."""
        return last_step(self.estimator)

    def describe(self) -> dict[str, str]:
        """All parameters that shape the result, as text that can be compared."""
        steps = getattr(self.estimator, "steps", [])[:-1]
        described = {name: describe(step) for name, step in steps}
        if not isinstance(self.net, SceneNet):
            return described | {"estimator": describe(self.net)}
        epochs = {"epochs": str(self.net.max_epochs)} if self.trains else {}
        return described | epochs | describe_settings(self.net)


@dataclass(frozen=True)
class RowMaker:
    """Makes the rows for training scenes of one scale.

    `options` are the parameters of `run_benchmark`: None stands for the published ones or, with
    `residual`, those of a short residual training.
    """

    scenes: Sequence[Scene]
    scale: int
    options: SimpleNamespace

    def describe(self) -> str:
        """How the published nets are trained."""
        how = "published nets as they are"
        if self.options.residual:
            how = "published nets with residual=True, on patches, with augmentation"
        given = self._given("max_epochs", "batch_size", "patch_size")
        return ", ".join([how, *(f"{name}={value}" for name, value in given.items())])

    def _given(self, *names):
        """Options that are not None."""
        values = {name: getattr(self.options, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}

    def makers(self) -> dict[str, Callable[[], Row]]:
        """Functions that make the rows, by name, in the order of the table."""
        study = self._published()
        published = {
            name: lambda name=name, pipe=pipe: Row(
                name, self._prepared(pipe), True, study.scores[name]
            )
            for name, pipe in study.pipelines
        }
        return {
            "baseline": lambda: Row("baseline", self._baseline(), False),
            "baseline OpenCV": lambda: Row(
                "baseline OpenCV", self._baseline(kernel="keys"), False, _OPENCV_SCORE
            ),
            **published,
            "FusionNet": lambda: Row("FusionNet", self._fusion_net(), False),
            "FusionNet fine-tuned": lambda: Row("FusionNet fine-tuned", self._fine_tuned(), True),
        }

    def validation_scenes(self) -> list[Scene]:
        """Scenes that choose the best epoch of every row, and that rows are scored on."""
        seed = int(as_random_state(self.options.random_state).randint(2**31))
        _, valid = split_scenes(self.scenes, self._train_split, seed, truth=True)
        if not valid:
            raise ValueError(
                f"a benchmark scores on validation scenes, and of {len(self.scenes)} scenes none "
                "is one: give more scenes"
            )
        return list(valid)

    @property
    def _train_split(self):
        return self._published().pipelines[0][1][-1].train_split

    def _published(self):
        params = self._of_all_nets()
        if self.options.residual:
            params |= {
                "residual": True,
                "patch_size": self._patch(_RESIDUAL_PATCH),
                "augment": True,
                "batch_size": _RESIDUAL_BATCH,
            }
        params |= self._given("batch_size", "patch_size")
        return published_configurations(k=self.options.k, scale=self.scale, **params)

    def _of_all_nets(self):
        return self._given("device", "random_state", "verbose")

    def _prepared(self, pipe):
        epochs = self.options.max_epochs
        if epochs is None and self.options.residual:
            # An epoch shows one patch of every sample, and single frames are many samples.
            n_samples = sum(scene.inputs.n_views for scene in pipe[:-1].transform(self.scenes))
            epochs = max(1, round(_RESIDUAL_SAMPLES / n_samples))
        if epochs is not None:
            pipe[-1].set_params(max_epochs=epochs)
        pipe[-1].set_params(train_split=self._train_split)
        return pipe

    def _baseline(self, **params):
        return BicubicBaseline(self.scale, **params).fit(self.scenes)

    def _fusion_net(self, **params):
        return FusionNet.from_pretrained(scale=self.scale, **self._of_all_nets(), **params)

    def _fine_tuned(self):
        params = {
            "max_epochs": _FUSION_EPOCHS,
            "patch_size": self._patch(_FUSION_PATCH),
            "augment": True,
            "train_split": self._train_split,
        }
        return self._fusion_net(**params | self._given("max_epochs", "patch_size", "batch_size"))

    def _patch(self, size):
        return min(size, *(min(scene.shape) for scene in self.scenes))


def choose_rows(maker: RowMaker, names: str | Sequence[str]) -> list[Row]:
    """Rows of a table in its order: "all", or names such as "SRCNN stack concat" or their slugs."""
    makers = maker.makers()
    if names == "all":
        return [row for make in makers.values() if (row := _made_or_none(make)) is not None]
    given = [names] if isinstance(names, str) else list(names)
    slugs = {slug_of(name): name for name in makers}
    for name in given:
        if slug_of(name) not in slugs:
            raise ValueError(
                f"configurations={name!r} is not known: choose all, or some of {', '.join(slugs)}"
            )
    if not given:
        raise ValueError(f"configurations is empty: choose all, or some of {', '.join(slugs)}")
    chosen = {slugs[slug_of(name)] for name in given}
    return [make() for name, make in makers.items() if name in chosen]


def slug_of(name: str) -> str:
    """Name of a row's folder."""
    return "-".join(name.lower().split())


def _made_or_none(make):
    try:
        return make()
    except ValueError as error:  # no weights ship for the scale
        warnings.warn(f"{error}: this row is left out", stacklevel=4)
        return None


def n_parameters(row: Row) -> int:
    """Number of a row's weights."""
    if not isinstance(row.net, SceneNet):
        return 0
    return int(np.sum([weight.numel() for weight in row.net.module_.parameters()]))
