"""The command line: `probav` and `python -m probav_estimators`."""

from ._main import main

__all__ = ["main"]
