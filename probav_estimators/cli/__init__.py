"""The command line: `probav` and `python -m probav_estimators`."""

from ._main import COMMANDS, main, probav

__all__ = ["COMMANDS", "main", "probav"]
