"""Callbacks of a training: scores, best weights, schedule, divergence, time limit, reports."""

from ._best_weights import BestWeights
from ._divergence import DivergenceGuard
from ._history import HistoryCSV
from ._reports import EpochBar, EpochLog
from ._resumable import Resumable
from ._schedule import PlateauSchedule
from ._scores import ChallengeScore, StartingScore, check_scorings
from ._time_limit import TimeLimit

__all__ = [
    "BestWeights",
    "ChallengeScore",
    "DivergenceGuard",
    "EpochBar",
    "EpochLog",
    "HistoryCSV",
    "PlateauSchedule",
    "Resumable",
    "StartingScore",
    "TimeLimit",
    "check_scorings",
]
