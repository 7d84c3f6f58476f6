"""A simulator of PROBA-V scenes and of other sensors', on plain arrays."""

from ._scene import SimulatedScene, simulate_scene
from ._settings import Sensor

__all__ = ["Sensor", "SimulatedScene", "simulate_scene"]
