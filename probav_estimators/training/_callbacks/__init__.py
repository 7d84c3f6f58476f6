"""What watches a training: scores, best weights, schedule, divergence, limits, reports."""

from ._best_weights import BestWeights
from ._divergence import DivergenceGuard
from ._ending import EndOfTraining, ends_training, was_asked_to_stop
from ._history import HistoryCSV, TensorBoardFolder
from ._progress_bar import ProgressBar
from ._resumable import Resumable
from ._schedule import PlateauSchedule
from ._scores import ChallengeScore, StartingScore, check_scorings
from ._time_limit import TimeLimit

__all__ = [
    "BestWeights",
    "ChallengeScore",
    "DivergenceGuard",
    "EndOfTraining",
    "HistoryCSV",
    "PlateauSchedule",
    "ProgressBar",
    "Resumable",
    "StartingScore",
    "TensorBoardFolder",
    "TimeLimit",
    "check_scorings",
    "ends_training",
    "was_asked_to_stop",
]
