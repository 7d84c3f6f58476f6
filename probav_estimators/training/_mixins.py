"""Mixins of nets: weights that outlive their file, and losses that tolerate shifts."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any, Self, TypeVar

from skorch import NeuralNet

__all__ = ["BorderMixin", "FileWeightsMixin"]

_Contents = TypeVar("_Contents")


class FileWeightsMixin(NeuralNet):
    """Mixin of nets that cache the contents of their file of initial weights."""

    weights: str | os.PathLike[str] | None

    # (path, version of the file, contents). Clones share it, to be fitted without the file.
    _loaded: tuple[Any, Any, Any] | None = None

    def _read_once(self, read: Callable[[], _Contents]) -> _Contents:
        """Contents of the file `weights`, which is read again only if it changed."""
        path, version = (self.weights, os.path.abspath(str(self.weights))), None
        if os.path.isfile(path[1]):
            status = os.stat(path[1])
            version = status.st_ino, status.st_size, status.st_mtime_ns
        known = self._loaded
        if known is None or known[0] != path or version not in (None, known[1]):
            known = path, version, read()
        self._loaded = known
        return known[2]

    def __sklearn_clone__(self) -> Self:
        clone = super().__sklearn_clone__()
        clone._loaded = self._loaded
        return clone

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        # An initialized net has its weights.
        if self.initialized_:
            state.pop("_loaded", None)
        return state


class BorderMixin(NeuralNet):
    """Mixin of nets with the parameter `border`, which is a parameter of their loss."""

    border: int

    def get_params_for(self, prefix: str) -> dict[str, Any]:
        params = super().get_params_for(prefix)
        kind = self.criterion
        if prefix != "criterion" or not isinstance(kind, type):
            return params
        takes_border = "border" in inspect.signature(kind).parameters
        return {"border": self.border, **params} if takes_border else params
