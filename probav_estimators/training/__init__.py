"""Skorch nets, their samples, callbacks and weights."""

from ._callbacks import (
    BestWeights,
    ChallengeScore,
    DivergenceGuard,
    HistoryCSV,
    PlateauSchedule,
    StartingScore,
    TimeLimit,
)
from ._checkpoint import Checkpoint, rows_of_epochs
from ._frame_net import FrameNet
from ._frame_readers import (
    AlignedChoice,
    AlignedReader,
    FrameChoice,
    FrameReader,
    collate_frames,
    fill_frames,
    read_sample,
    turn_sample,
)
from ._initial_weights import (
    FileWeightsMixin,
    Weights,
    check_fits,
    find_other_layers,
    load_weights,
    save_weights,
    shipped_weights,
)
from ._keras_files import KerasModel, KerasWeights, read_keras
from ._module_net import ModuleNet
from ._parameters import check_device, resolve_device, resolve_dtype
from ._sampling import (
    MIXED,
    BatchPlan,
    SampleReader,
    SampleRequest,
    SceneDataset,
    ViewAverager,
    split_scenes,
    turn_and_flip,
    turn_back,
    turn_vector,
)
from ._scene_net import SceneNet, show_progress
from ._scene_regressor import ComposedReader, Reconstruction, SceneRegressor
from ._settings import describe, describe_scenes, describe_settings
from ._torch_files import PublishedWeights, read_state_dict
from ._training_loop import BorderMixin
from ._values import (
    OF_THE_MACHINE,
    ValueDecoder,
    ValueEncoder,
    known_class,
    may_set,
    of_type,
    shorten,
    unstorable_parameters,
)

__all__ = [
    "MIXED",
    "OF_THE_MACHINE",
    "AlignedChoice",
    "AlignedReader",
    "BatchPlan",
    "BestWeights",
    "BorderMixin",
    "ChallengeScore",
    "Checkpoint",
    "ComposedReader",
    "DivergenceGuard",
    "FileWeightsMixin",
    "FrameChoice",
    "FrameNet",
    "FrameReader",
    "HistoryCSV",
    "KerasModel",
    "KerasWeights",
    "ModuleNet",
    "PlateauSchedule",
    "PublishedWeights",
    "Reconstruction",
    "SampleReader",
    "SampleRequest",
    "SceneDataset",
    "SceneNet",
    "SceneRegressor",
    "StartingScore",
    "TimeLimit",
    "ValueDecoder",
    "ValueEncoder",
    "ViewAverager",
    "Weights",
    "check_device",
    "check_fits",
    "collate_frames",
    "describe",
    "describe_scenes",
    "describe_settings",
    "fill_frames",
    "find_other_layers",
    "known_class",
    "load_weights",
    "may_set",
    "of_type",
    "read_keras",
    "read_sample",
    "read_state_dict",
    "resolve_device",
    "resolve_dtype",
    "rows_of_epochs",
    "save_weights",
    "shipped_weights",
    "shorten",
    "show_progress",
    "split_scenes",
    "turn_and_flip",
    "turn_back",
    "turn_sample",
    "turn_vector",
    "unstorable_parameters",
]
