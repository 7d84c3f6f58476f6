"""The skorch nets that all architectures share, and what trains them."""

from ._callbacks import (
    BestWeights,
    ChallengeScore,
    DivergenceGuard,
    HistoryCSV,
    PlateauSchedule,
    ProgressBar,
    StartingScore,
    TensorBoardFolder,
    TimeLimit,
)
from ._checkpoint import Checkpoint, rows_of_epochs
from ._device import check_device, resolve_device, resolve_dtype
from ._frame_net import FrameNet
from ._frame_sampling import (
    FrameChoice,
    FrameDataset,
    FrameReader,
    collate_stacks,
    fill_frames,
)
from ._fusion_sampling import FusionDataset, collate_frames, read_sample, turn_sample
from ._keras_files import KerasModel, KerasWeights, read_keras
from ._module_net import ModuleNet
from ._pretrained_net import NetOfFile, PretrainedNet
from ._progress import show_progress
from ._published import PublishedWeights
from ._reconstruction import Reconstruction
from ._sampling import BatchPlan, SampleRequest, SceneDataset, ViewAverager, turn_and_flip
from ._scene_net import SceneNet
from ._scene_regressor import SceneRegressor
from ._settings import describe, describe_scenes, describe_settings
from ._splitting import split_scenes
from ._values import (
    ValueDecoder,
    ValueEncoder,
    is_harmless,
    is_of_the_machine,
    known_class,
    of_type,
    parameters_of,
    shorten,
    unstorable_parameters,
)
from ._weights import Weights, check_fits, load_weights, save_weights, shipped_weights

__all__ = [
    "BatchPlan",
    "BestWeights",
    "ChallengeScore",
    "Checkpoint",
    "DivergenceGuard",
    "FrameChoice",
    "FrameDataset",
    "FrameNet",
    "FrameReader",
    "FusionDataset",
    "HistoryCSV",
    "KerasModel",
    "KerasWeights",
    "ModuleNet",
    "NetOfFile",
    "PlateauSchedule",
    "PretrainedNet",
    "ProgressBar",
    "PublishedWeights",
    "Reconstruction",
    "SampleRequest",
    "SceneDataset",
    "SceneNet",
    "SceneRegressor",
    "StartingScore",
    "TensorBoardFolder",
    "TimeLimit",
    "ValueDecoder",
    "ValueEncoder",
    "ViewAverager",
    "Weights",
    "check_device",
    "check_fits",
    "collate_frames",
    "collate_stacks",
    "describe",
    "describe_scenes",
    "describe_settings",
    "fill_frames",
    "is_harmless",
    "is_of_the_machine",
    "known_class",
    "load_weights",
    "of_type",
    "parameters_of",
    "read_keras",
    "read_sample",
    "resolve_device",
    "resolve_dtype",
    "rows_of_epochs",
    "save_weights",
    "shipped_weights",
    "shorten",
    "show_progress",
    "split_scenes",
    "turn_and_flip",
    "turn_sample",
    "unstorable_parameters",
]
