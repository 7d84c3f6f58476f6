"""A simulator of PROBA-V scenes and of other sensors', on plain arrays."""

from ._clearance import DEFAULT_N_FRAMES
from ._scene import SimulatedScene, simulate_scene
from ._settings import Sensor

__all__ = ["DEFAULT_N_FRAMES", "Sensor", "SimulatedScene", "simulate_scene"]
