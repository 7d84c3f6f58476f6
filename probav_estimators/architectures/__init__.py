"""Nets: one architecture a file."""

from ._srcnn import SRCNN

__all__ = ["SRCNN"]
