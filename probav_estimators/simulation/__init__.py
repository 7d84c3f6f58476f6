"""A simulator of PROBA-V scenes, on plain arrays."""

from ._scene import SimulatedScene, simulate_scene

__all__ = ["SimulatedScene", "simulate_scene"]
