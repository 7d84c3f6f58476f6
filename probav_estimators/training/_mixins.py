"""Mixins of nets: weights that outlive their file, and losses that tolerate shifts."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any, Self

from skorch import NeuralNet

__all__ = ["BorderMixin", "FileWeightsMixin"]


class FileWeightsMixin(NeuralNet):
    """Mixin of nets that cache the contents of their file of initial weights."""

    # (path, state of the file, contents). Clones share it, and can be fitted without the file.
    _loaded: tuple[Any, Any, Any] | None = None

    def _read_once(
        self, path: str | os.PathLike[str], read: Callable[[str | os.PathLike[str]], Any]
    ) -> Any:
        """Contents of a file, which is read again only if it has changed."""
        # A string may be the name of shipped weights, a Path never.
        key, state = (isinstance(path, str), os.path.abspath(path)), None
        if os.path.isfile(path):
            stat = os.stat(path)
            state = stat.st_ino, stat.st_size, stat.st_mtime_ns
        known = self._loaded
        if known is None or known[0] != key or state not in (None, known[1]):
            self._loaded = known = key, state, read(path)
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
