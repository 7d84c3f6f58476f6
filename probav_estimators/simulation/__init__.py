"""Simulator of scenes of PROBA-V and other sensors, on plain arrays."""

from ._clearance import DEFAULT_N_FRAMES
from ._scene import SimulatedScene, simulate_scene
from ._settings import PRESETS, Sensor

__all__ = ["DEFAULT_N_FRAMES", "PRESETS", "Sensor", "SimulatedScene", "simulate_scene"]
