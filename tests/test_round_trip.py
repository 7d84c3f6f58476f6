"""Round trip: GeoTIFF frames of a fine image, super-resolved and compared by coordinates."""

import numpy as np
import pytest
from _rasters import write
from click.testing import CliRunner
from scipy.ndimage import fourier_shift, gaussian_filter, zoom

from probav_estimators.cli import probav

rasterio = pytest.importorskip("rasterio")

pytestmark = pytest.mark.usefixtures("one_thread")

SCALE, SIZE = 3, (64, 72)
BANDS = ("B02", "B03", "B04", "B08")
DATES = [f"202206{day:02d}" for day in range(2, 26, 3)]
LEFT, TOP, PIXEL = 412_300.0, 5_012_700.0, 10.0
PLACE = {"place": (LEFT, TOP), "crs": "EPSG:32633"}
STEP = 1e-4
NOISE = 25

# Shifts (down, right) of the frames' content in LR pixels.
SHIFTS = np.array(
    [
        [0.42, -0.31],
        [-0.18, 0.47],
        [0.05, 0.12],
        [-0.46, -0.22],
        [0.31, 0.28],
        [-0.07, -0.44],
        [0.22, -0.09],
        [-0.29, 0.19],
    ]
)

# HR pixels excluded at the borders, which shifted frames do not cover.
BORDER = 9


def landscape(rng):
    """Reflectances of four bands on the HR grid: sharp fields, roads and smooth relief."""
    shape = tuple(SCALE * length for length in SIZE)
    fields = np.zeros((4, *shape))
    fields += rng.uniform(0.06, 0.3, (4, 1, 1))
    for _ in range(140):
        h, w = rng.integers(5, 40, 2)
        row, column = rng.integers(-10, shape[0]), rng.integers(-10, shape[1])
        part = np.s_[:, max(row, 0) : row + h, max(column, 0) : column + w]
        fields[part] = rng.uniform(0.03, 0.4, (4, 1, 1))
    for _ in range(12):
        row, column = rng.integers(0, shape[0] - 2), rng.integers(0, shape[1] - 2)
        fields[:, row : row + 2] += 0.05
        fields[:, :, column : column + 3] -= 0.03
    relief = gaussian_filter(rng.standard_normal(shape), 4)
    texture = gaussian_filter(rng.standard_normal(shape), 1.2)
    fields *= 1 + 0.1 * relief / relief.std() + 0.05 * texture / texture.std()
    # Optical blur.
    return gaussian_filter(fields, (0, 0.6, 0.6)).clip(0.01, 0.9)


def moved(image, shift):
    """Shift an image by (down, right) pixels, with mirrored borders."""
    margin = 24
    wide = np.pad(image, margin, mode="symmetric")
    spectrum = fourier_shift(np.fft.fft2(wide), shift)
    return np.fft.ifft2(spectrum).real[margin:-margin, margin:-margin]


def area_means(image):
    h, w = SIZE
    return image.reshape(h, SCALE, w, SCALE).mean(axis=(1, 3))


@pytest.fixture(scope="module")
def trip(tmp_path_factory):
    """Fine image, its simulated frames, and the super-resolved file."""
    assert np.abs(SHIFTS.mean(axis=0)).max() < 1e-12
    root = tmp_path_factory.mktemp("trip")
    rng = np.random.default_rng(20220602)
    truth = landscape(rng) / STEP
    frames, clear = [], []
    for date, shift in zip(DATES, SHIFTS, strict=True):
        seen = np.stack([area_means(moved(band, SCALE * shift)) for band in truth])
        seen += rng.normal(0, NOISE, seen.shape)
        scl = np.full((SIZE[0] // 2, SIZE[1] // 2), 4, np.uint8)
        row, column = rng.integers(0, 24, 2)
        scl[row : row + 8, column : column + 10] = 9
        scl[row + 8 : row + 10, column : column + 10] = 3
        cloud = np.isin(scl, (3, 9)).repeat(2, axis=0).repeat(2, axis=1)
        seen[:, cloud] = rng.uniform(4000, 9000)
        frames.append(np.rint(seen).astype(np.int16))
        clear.append(~cloud)
        tags = {"scales": (STEP,) * 4, "offsets": (0.0,) * 4, "descriptions": BANDS}
        write(root / f"S2_{date}.tif", frames[-1], **PLACE, nodata=-32768, **tags)
        write(root / f"S2_{date}_SCL.tif", scl, **PLACE, size=2 * PIXEL)
    args = ["super-resolve", *(str(root / f"S2_{date}.tif") for date in DATES)]
    args += ["--mask", str(root / "*_SCL.tif"), "-o", str(root / "out.tif"), "--tile-size", "64"]
    result = CliRunner().invoke(probav, args)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return truth, np.array(frames), np.array(clear), root / "out.tif"


def in_place(truth, path):
    """Bands of a file, and the truth resampled at the same coordinates."""
    with rasterio.open(path) as file:
        values = file.read().astype(float)
        pixel = PIXEL / SCALE
        assert file.res == pytest.approx((pixel, pixel), rel=1e-9)
        # Resample the truth at the pixel centres given by the file's transform.
        x, y = file.xy(0, 0)
    right, down = (x - LEFT) / pixel - 0.5, (TOP - y) / pixel - 0.5
    expected = np.stack([moved(band, (-down, -right)) for band in truth])
    return values, expected


def displacement(image, truth):
    """Estimate the image's shift (down, right) against the truth in HR pixels by least squares."""
    inner = np.s_[BORDER:-BORDER, BORDER:-BORDER]
    shift = np.zeros(2)
    for _ in range(8):
        here = moved(truth, shift)
        slopes = [-slope[inner].ravel() for slope in np.gradient(here)]
        design = np.stack([*slopes, here[inner].ravel(), np.ones(here[inner].size)], axis=1)
        step = np.linalg.lstsq(design, image[inner].ravel() - here[inner].ravel(), rcond=None)[0]
        shift += step[:2]
    return shift


def psnr(image, truth):
    inner = np.s_[BORDER:-BORDER, BORDER:-BORDER]
    return 10 * np.log10(np.ptp(truth) ** 2 / np.mean((image - truth)[inner] ** 2))


def check_placement(truth, path, limit=0.1):
    for image, expected in zip(*in_place(truth, path), strict=True):
        assert np.abs(displacement(image, expected)).max() < limit


class TestRoundTrip:
    def test_measure_of_displacement_is_right(self, trip):
        truth = trip[0][2]
        noise = np.random.default_rng(0).normal(0, 30, truth.shape)
        found = displacement(
            0.9 * gaussian_filter(moved(truth, (0.3, -0.21)), 0.7) + 40 + noise, truth
        )
        np.testing.assert_allclose(found, (0.3, -0.21), atol=0.01)

    def test_is_better_than_the_mean_of_frames_that_are_moved_back(self, trip):
        truth, frames, clear, path = trip
        for number, (image, expected) in enumerate(zip(*in_place(truth, path), strict=True)):
            total, known = 0.0, 0.0
            for frame, mask, shift in zip(frames[:, number], clear, SHIFTS, strict=True):
                # Undo the true shifts, which the estimator does not know.
                filled = np.where(mask, frame, frame[mask].mean())
                weight = moved(mask.astype(float), -shift).clip(0, 1) ** 4
                total, known = total + weight * moved(filled, -shift), known + weight
            cubic = zoom(total / known, SCALE, order=3, mode="grid-mirror", grid_mode=True)
            # Measured: about 7 dB.
            assert psnr(image, expected) > psnr(cubic, expected) + 4

    def test_lies_where_the_land_is(self, trip):
        check_placement(trip[0], trip[3])

    def test_bands_lie_on_each_other(self, trip):
        values, expected = in_place(trip[0], trip[3])
        found = [displacement(*pair) for pair in zip(values, expected, strict=True)]
        assert np.ptp(found, axis=0).max() < 0.05
