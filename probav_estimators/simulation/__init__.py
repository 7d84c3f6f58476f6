"""Simulator of scenes of PROBA-V and other sensors, on plain arrays."""

from ._cloudiness import DEFAULT_N_FRAMES
from ._sensors import PRESETS, Sensor
from ._simulated_scene import SimulatedScene, simulate_scene

__all__ = ["DEFAULT_N_FRAMES", "PRESETS", "Sensor", "SimulatedScene", "simulate_scene"]
