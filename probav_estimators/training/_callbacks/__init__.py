"""Callbacks of a training: scores, best weights, schedule, divergence, time limit, reports."""

from ._best_weights import BestWeights
from ._divergence import DivergenceGuard
from ._history import HistoryCSV
from ._reports import EpochBar, EpochLog
from ._schedule import PlateauSchedule
from ._scores import ChallengeScore, StartingScore, check_scorings
from ._state import StatefulMixin
from ._time_limit import TimeLimit

__all__ = [
    "BestWeights",
    "ChallengeScore",
    "DivergenceGuard",
    "EpochBar",
    "EpochLog",
    "HistoryCSV",
    "PlateauSchedule",
    "StartingScore",
    "StatefulMixin",
    "TimeLimit",
    "check_scorings",
]
