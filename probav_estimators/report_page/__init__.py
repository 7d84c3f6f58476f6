"""Report of several estimators as one HTML page that needs no network."""

from ._writing import write_report

__all__ = ["write_report"]
