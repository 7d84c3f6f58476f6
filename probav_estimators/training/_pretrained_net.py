"""Base of the nets that can begin with weights of a file, and whose training forgives shifts."""

from __future__ import annotations

import inspect
from typing import Any, Self

from ._scene_net import SceneNet

__all__ = ["NetOfFile", "PretrainedNet"]


class NetOfFile(SceneNet):
    """A net with weights that outlive their file.

    A subclass keeps what it read, with what it was read from, in `_loaded`. Clones share it, so
    that they can be fitted once the file is gone. A net that is made has its weights, and its
    pickle does without.

    {parameters}

    {attributes}
    """

    _loaded: tuple[Any, Any] | None = None

    def __sklearn_clone__(self) -> Self:
        clone = super().__sklearn_clone__()
        clone._loaded = self._loaded
        return clone

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if self.initialized_:
            state.pop("_loaded", None)
        return state


class PretrainedNet(NetOfFile):
    """A net of a file with the parameter `border`.

    {parameters}

    {attributes}
    """

    border: int

    def get_params_for(self, prefix: str) -> dict[str, Any]:
        params = super().get_params_for(prefix)
        kind = self.criterion
        takes_border = isinstance(kind, type) and "border" in inspect.signature(kind).parameters
        return (
            {"border": self.border, **params} if prefix == "criterion" and takes_border else params
        )
