"""Real dates of Sentinel-2 as scenes: 100x100 pixels of 10 m in Romania, from the package nrt.

Each summer and band is a scene. One clear date is the truth, the others were averaged over 3x3
pixels, each on a sampling grid of its own. So change, clouds, masks and radiometry are real, and
only the sampling is simulated. These scenes are for measuring only: no training and no choice uses
them.
"""

import numpy as np
from nrt import data
from scipy.ndimage import gaussian_filter

from probav_estimators import Scene
from probav_estimators.geo import clear_of

_BANDS = {"B2": "BLUE", "B3": "GREEN", "B4": "RED", "B8": "NIR"}
_SUMMERS = {year: (f"{year}-06-01", f"{year}-09-20") for year in range(2016, 2021)}
_SCALE = 3
# Least clear fraction of a frame, and least number of frames of a scene.
_CLEAR, _FEWEST = 0.6, 5


def sentinel2_scenes(psf_sigma=0.0):
    """Scenes of all summers and bands.

    The dates of the frames, not the truth, are blurred by a Gaussian of `psf_sigma` HR pixels
    before they are averaged.
    """
    cube = data.romania_10m(mask_and_scale=False).load()
    scenes = []
    for year, (first, last) in _SUMMERS.items():
        summer = cube.sel(time=slice(first, last))
        clear = clear_of(summer.SCL.values, "scl", "SCL")
        parts = clear.mean((1, 2))
        whole = np.flatnonzero(parts == 1)
        if (parts >= _CLEAR).sum() <= _FEWEST or not len(whole):
            continue
        truth = int(whole[len(whole) // 2])
        dates = [int(n) for n in np.flatnonzero(parts >= _CLEAR) if n != truth]
        for name, band in _BANDS.items():
            values = summer[name].values
            rng = np.random.default_rng(year)
            frames = [_sampled(values[n], clear[n], psf_sigma, rng) for n in dates]
            lr, qm = (np.stack(stack) for stack in zip(*frames, strict=True))
            hr = _inner(values[truth])
            label = f"nrt-{year}-{name}"
            sm = np.ones(hr.shape, bool)
            # Reflectances times 10,000.
            scene = Scene(lr, qm, hr, sm, name=label, band=band, value_range=(0, 10_000))
            scenes.append(scene)
    return scenes


def _inner(image):
    """Crop to the area of all frames, whose grids start up to two pixels further down and right."""
    height, width = ((length - _SCALE) // _SCALE * _SCALE for length in image.shape)
    return image[:height, :width]


def _sampled(image, clear, psf_sigma, rng):
    """Means over 3x3 pixels from a random start, and a mask of those with nine clear pixels."""
    image = image.astype(np.float32)
    if psf_sigma:
        image = gaussian_filter(image, psf_sigma, mode="nearest")
    down, right = rng.integers(0, _SCALE, 2)
    height, width = _inner(image).shape
    part = (slice(down, down + height), slice(right, right + width))
    shape = (height // _SCALE, _SCALE, width // _SCALE, _SCALE)
    mean = image[part].reshape(shape).mean((1, 3))
    return np.rint(mean).astype(np.uint16), clear[part].reshape(shape).all((1, 3))
