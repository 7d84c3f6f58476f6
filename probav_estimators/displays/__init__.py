"""Displays with scikit-learn's conventions: ``from_...`` creates, ``plot`` draws; need matplotlib.

A display stores plain arrays, so that it can be drawn again, into other axes, without predicting
again.
"""

from ._calibration import CalibrationDisplay
from ._comparison import ComparisonDisplay
from ._history_display import HistoryDisplay
from ._scene_display import SceneDisplay
from ._score_display import ScoreDisplay
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
