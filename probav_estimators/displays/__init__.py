"""Displays to scikit-learn's conventions: made by ``from_...``, drawn by ``plot``; need matplotlib.

A display stores what it draws, in plain arrays: it can be drawn again, into other axes, without
predicting again.
"""

from ._calibration import CalibrationDisplay
from ._comparison import ComparisonDisplay
from ._history import HistoryDisplay
from ._scene import SceneDisplay
from ._scores import ScoreDisplay
from ._search import SearchDisplay
from ._spectrum import SpectrumDisplay

__all__ = [
    "CalibrationDisplay",
    "ComparisonDisplay",
    "HistoryDisplay",
    "SceneDisplay",
    "ScoreDisplay",
    "SearchDisplay",
    "SpectrumDisplay",
]
