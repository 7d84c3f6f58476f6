"""Images of real land in files, and scenes over them by a plain simulation."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from skimage import io

from probav_estimators import Scene
from probav_estimators.scenes import PngImage

# Pixels of an image for each HR pixel along an axis, factor on its contrast, and places of which
# one is held out.
_REDUCTION, _CONTRAST = (1, 3), (0.4, 1.4)
_PLACES = 6

# LR pixels of the scenes of a training.
SCENE_SIZE = 96

# Of plain scenes: HR pixels around a window that shifted frames reach, LR pixels, sigmas of the PSF
# in LR pixels.
_MARGIN = 6
_SIZE = 44
_PSF_SIGMA = (0.12, 0.55)
# Steps between successive images, primes: the first that does not divide their number.
_STRIDES = (53, 37, 41)


class Land(NamedTuple):
    """A file of an image, and its rows or columns, whichever are fewer."""

    path: Path
    n_pixels: int

    @classmethod
    def of_folder(cls, folder, scale):
        """Images that are large enough, of places for the training and of those held out."""
        places = {}
        for path in sorted(folder.glob("*.png")) + sorted(folder.glob("*.npy")):
            shape = _shape_of(path)
            if min(shape) >= scale * SCENE_SIZE:
                places.setdefault(path.name.partition("_")[0], []).append(cls(path, min(shape)))
        if len(places) < 2:
            raise ValueError(
                f"{folder} has images of {len(places)} places with at least "
                f"{scale * SCENE_SIZE} pixels along each axis: give a folder of .png or .npy files "
                "of several, such as PLACE_01.png"
            )
        parts = [], []
        for number, name in enumerate(sorted(places)):
            parts[number % _PLACES == 1].extend(places[name])
        return parts

    def read(self):
        """Values (t, h, w), float32, of one or several dates."""
        image = np.load(self.path) if self.path.suffix == ".npy" else io.imread(self.path)
        return image.reshape(-1, *image.shape[-2:]).astype(np.float32)

    def draw(self, rng, scale):
        """Arguments of `make_scenes` for a scene of this land, with another contrast."""
        greatest = min(_REDUCTION[1], self.n_pixels / (scale * SCENE_SIZE))
        image = self.read()
        middle = np.nanmedian(image)
        image = np.maximum(middle + rng.uniform(*_CONTRAST) * (image - middle), 0)
        return {"images": image, "reduction": rng.uniform(_REDUCTION[0], greatest)}


def _shape_of(path):
    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r", allow_pickle=False).shape[-2:]
    return PngImage(str(path)).shape


def scenes_of_land(land, scale, number, seed, noise, psf_sigma=_PSF_SIGMA):
    """Place, sigma of the PSF in LR pixels, and scene of images in turn, of varying sensors.

    A plain simulation, independent of the package's simulator: the truth is the land as it was
    taken, with all its detail, anywhere within half a pixel.
    """
    sigmas = np.linspace(*psf_sigma, number)
    # With a common divisor, few images would be taken.
    stride = next(one for one in _STRIDES if len(land) % one)
    for i in range(number):
        rng = np.random.default_rng([seed, i])
        one = land[(stride * i + 11) % len(land)]
        # The first date of several.
        image = one.read()[0]
        sigma = sigmas[(7 * i) % number]
        n_frames = int(rng.integers(6, 26)) if i % 5 else int(np.exp(rng.uniform(0, np.log(30))))
        scene = scene_over(image.astype(float), rng, scale, sigma, rng.choice(noise), n_frames)
        yield one.path.name.partition("_")[0], sigma, scene


def scene_over(image, rng, scale, sigma, noise, n_frames):
    """Scene of frames over a random window of an image; `noise` in its standard deviations."""
    n_pixels = min(_SIZE, (min(image.shape) - 2 * _MARGIN) // scale)
    size = scale * n_pixels + 2 * _MARGIN
    row, column = (rng.integers(0, length - size + 1) for length in image.shape)
    land = image[row : row + size, column : column + size]
    low, high = np.percentile(land, [1, 99])
    land = 1500 + 5000 * (land - low) / max(high - low, 1e-9)
    shifts = np.clip(rng.normal(0, 0.45 * scale, (n_frames, 2)), -4.5, 4.5)
    inside = (slice(_MARGIN, -_MARGIN),) * 2
    frames = []
    for shift in shifts:
        blurred = ndimage.gaussian_filter(_moved(land, shift), sigma * scale)[inside]
        seen = blurred.reshape(n_pixels, scale, n_pixels, scale).mean(axis=(1, 3))
        seen = seen * rng.normal(1, 0.03) + rng.normal(0, 60)
        frames.append(seen + rng.normal(0, noise * land.std(), seen.shape))
    truth = _moved(land, shifts.mean(axis=0) + rng.uniform(-0.5, 0.5, 2))[inside]
    lr, hr = (np.clip(np.rint(x), 0, 16383).astype(np.uint16) for x in (frames, truth))
    return Scene(lr, np.ones(lr.shape, bool), hr, np.ones(hr.shape, bool))


def _moved(image, shift):
    return ndimage.shift(image, shift, order=5, mode="mirror")
