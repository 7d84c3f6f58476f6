"""The high-resolution image of a scene."""

from __future__ import annotations

import numpy as np

from ._clouds import observed_sky
from ._ground_sampling import digitize, sample_ground
from ._landscape import CELLS
from ._season import DAYS
from ._sensors import draw

#: Point spread functions of the HR images of "static" scenes, in HR pixels.
STATIC_HR_PSF = (0.4, 0.6)

_MIN_CLEAR = 0.75


def see_truth(rng, ground_on, shape, *, scale, margin, drift, noise, psf_sigma=STATIC_HR_PSF):
    """Simulate the HR image, by a sharper and less noisy sensor on a random day.

    `ground_on` gives the ground of a day in fine cells, with `margin` cells around the image. Noise
    is in counts of 14 bits, `psf_sigma` in HR pixels, a number or a range. Returns image (uint16)
    and status map.
    """
    sigma, day = CELLS * draw(rng, psf_sigma), rng.uniform(0, DAYS)
    radiance = sample_ground(ground_on(day), shape, pixel=CELLS, sigma=sigma, margin=margin)
    radiance *= drift.at(day, shape)
    sky, clear = None, np.ones(shape, bool)
    if rng.uniform() < 0.1:
        # The status map misses less than quality maps.
        sky, clear = observed_sky(rng, shape, _MIN_CLEAR, pixel=1 / scale, tolerance=0.03)
    return digitize(rng, radiance if sky is None else sky.cover(radiance), noise), clear
