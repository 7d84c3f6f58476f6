"""Static scenes stay the same, because models were compared on them."""

import numpy as np
import pytest

from probav_estimators.simulation import simulate_scene

# Seed, options, samples of the frames' and the HR image's pixels, number of clear pixels, and next
# random number, recorded before the simulator had other sensors.
NOTED = [
    (
        0,
        {"size": 128},
        [1448, 2070, 2011, 2212, 2040, 2116, 2136],
        [1620, 1359, 2085, 1484, 2198],
        506917,
        3951039721112981966,
    ),
    (
        1,
        {"size": (20, 37), "scale": 2, "n_frames": 4, "band": "NIR"},
        [4139, 1953, 3396, 7525, 3052, 3304, 7433],
        [4162, 7538, 4982, 4840, 7512],
        5682,
        3993002788871896394,
    ),
    (
        2,
        {"size": 24, "scale": 4, "n_frames": (2, 5), "band": "SWIR"},
        [3263, 2586, 2715, 466, 1859, 5683, 2037],
        [3450, 3768, 594, 2766, 2459],
        11795,
        4506643333455137780,
    ),
    (
        3,
        {"size": (17, 48), "scale": 5, "n_frames": 3, "band": "?"},
        [1740, 3256, 4992, 2922, 2101, 2292, 2150],
        [1888, 2937, 2900, 2177, 1900],
        22558,
        1933060470045604514,
    ),
    (
        4,
        {"size": 48, "n_frames": 9, "psf_sigma": (0.3, 2.0)},
        [1555, 2560, 1056, 13059, 1094, 2917, 1178],
        [1142, 2737, 2275, 810, 986],
        38491,
        4179346906584280260,
    ),
]


def every(array, count):
    return array.ravel()[np.linspace(0, array.size - 1, count).astype(int)].astype(int)


@pytest.mark.parametrize(("seed", "options", "lr", "hr", "clear", "next_number"), NOTED)
def test_static_scenes_are_the_same_as_ever(seed, options, lr, hr, clear, next_number):
    rng = np.random.default_rng(seed)
    scene = simulate_scene(rng, **options)
    # Rounding differs by processor, which changes values by at most one count.
    assert every(scene.lr, 7) == pytest.approx(lr, abs=1)
    assert every(scene.hr, 5) == pytest.approx(hr, abs=1)
    assert scene.qm.sum() + scene.sm.sum() == pytest.approx(clear, abs=2)
    assert rng.integers(2**62) == next_number
