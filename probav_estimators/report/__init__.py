"""Quality of predictions: figures of scenes as a table, as scorers and as an HTML page."""

from ._figures import FIGURES, Figure
from ._measuring import measure_scene
from ._page import report_in_turn, write_report
from ._quality_report import QualityReport, quality_report
from ._scorers import consistency_scorer, cssim_scorer, resolution_scorer

__all__ = [
    "FIGURES",
    "Figure",
    "QualityReport",
    "consistency_scorer",
    "cssim_scorer",
    "measure_scene",
    "quality_report",
    "report_in_turn",
    "resolution_scorer",
    "write_report",
]
