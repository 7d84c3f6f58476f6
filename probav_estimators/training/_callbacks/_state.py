"""State of callbacks in checkpoints."""

from typing import Any

__all__ = ["StatefulMixin"]


class StatefulMixin:
    """Mixin of callbacks whose state is part of a checkpoint.

    A subclass lists its attributes in `_state`: numbers, strings, tensors, and dicts of such.
    """

    _state: tuple[str, ...] = ()

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
