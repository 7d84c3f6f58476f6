"""Simulator of scenes of PROBA-V and other sensors, on plain arrays."""

from ._clouds import DEFAULT_N_FRAMES
from ._product import MARGIN
from ._sensors import PRESETS, Sensor, checked_range
from ._simulated_scene import SimulatedScene, check_scale, check_size, simulate_scene

__all__ = [
    "DEFAULT_N_FRAMES",
    "MARGIN",
    "PRESETS",
    "Sensor",
    "SimulatedScene",
    "check_scale",
    "check_size",
    "checked_range",
    "simulate_scene",
]
