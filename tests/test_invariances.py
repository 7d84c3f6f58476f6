"""What predictions do not depend on: hidden pixels, units, flips and turns, copies of a frame."""

import dask.array as da
import numpy as np
import pytest
import xarray
from _helpers import ArrayFrames
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline

from probav_estimators import (
    SRCNN,
    BicubicBaseline,
    BicubicUpscaler,
    DerivedFrames,
    FrameRegistrar,
    FusionNet,
    HighResNet,
    InputComposer,
    Scene,
    make_scenes,
    super_resolve,
)
from probav_estimators.imaging import (
    align_frames,
    estimate_distortion,
    estimate_psf,
    move_bicubic,
    normalize_frames,
    register_frames,
)
from probav_estimators.scenes import WHOLE, align_scene

# Values that files hold where there is nothing.
FILL = st.sampled_from([np.nan, np.inf, -np.inf, 1e30, -1e30, 3e38, -9999.0, 65535.0])

SHIPPED = {"compute_dtype": "float32", "verbose": 0}
QUICK = {"max_epochs": 1, "batch_size": 2, "device": "cpu", "random_state": 0, "verbose": 0}


@pytest.fixture(scope="module")
def net():
    return FusionNet.from_pretrained("simulated-x3", **SHIPPED)


@pytest.fixture(scope="module")
def scene():
    """28 x 24 LR pixels, five frames, some pixels of each hidden."""
    (scene,) = make_scenes(1, size=(28, 24), n_frames=5, random_state=3)
    hidden = np.random.default_rng(0).random(scene.lr.shape) < 0.02
    return Scene(scene.lr, scene.qm & ~hidden, scene.hr, scene.sm)


class FilledFrames(DerivedFrames):
    """Frames that are derived from others, and leave values under their maps."""

    def __init__(self, frames, fill):
        super().__init__(frames, fill=fill)
        self.fill = fill

    def read(self, index=None, window=WHOLE):
        pixels, clear = self.source.read(index, window)
        return np.where(clear, pixels, np.float32(self.fill)), clear


def filled(scene, fill):
    return np.where(scene.qm, scene.lr, np.float32(fill))


def sources(scene, fill):
    """Scenes with `fill` where a pixel is hidden, by the ways in which frames enter."""
    lr, qm = filled(scene, fill), scene.qm
    truth = {"hr": scene.hr, "sm": scene.sm, "value_range": (0, 1)}
    return [
        Scene.from_frames(ArrayFrames(lr, qm), **truth),
        Scene.from_frames(FilledFrames(scene.frames, fill), **truth),
        Scene(lr, qm, **truth),
        Scene(da.from_array(lr, chunks=20), qm, **truth),
    ]


def difference(image, expected):
    """Root mean square of a difference, in standard deviations of the image."""
    return np.sqrt(np.mean(np.square(image - expected))) / np.std(expected)


class TestHiddenPixels:
    @settings(max_examples=4, derandomize=True, deadline=None)
    @given(FILL, st.integers(0, 2**16))
    def test_functions_of_frames(self, fill, seed):
        rng = np.random.default_rng(seed)
        land = np.cumsum(rng.normal(size=(30, 30)), axis=0).astype("f4")
        shifts = rng.integers(0, 3, (4, 2))
        lr = np.stack([land[y : y + 26, x : x + 24] for y, x in shifts]) + rng.normal(
            0, 0.05, (4, 26, 24)
        ).astype("f4")
        qm = rng.random(lr.shape) > 0.05
        whole = slice(0, 26), slice(0, 24)

        def compute(lr):
            shifts, placed = register_frames(lr, qm)
            alignment = align_frames([(lr, qm)], shifts)
            frames, clear = normalize_frames(lr, qm, alignment, whole, whole)
            moved, seen = move_bicubic(lr[0], qm[0], (0.0, 1.3), whole)
            hidden = np.where(clear, frames, np.float32(fill))
            psf = estimate_psf(hidden, clear, alignment.fractions)
            field = estimate_distortion(hidden, clear, alignment.fractions)
            numbers = alignment.gains, alignment.offsets, alignment.level, alignment.std
            return shifts, placed, *numbers, frames, clear, moved[seen], *psf[:3], field

        ordinary = compute(np.where(qm, lr, lr.mean()).astype("f4"))
        for found, expected in zip(
            compute(np.where(qm, lr, np.float32(fill))), ordinary, strict=True
        ):
            np.testing.assert_array_equal(found, expected)
            assert np.isfinite(np.asarray(found, float)).all()

    @settings(max_examples=8, derandomize=True, deadline=None)
    @given(FILL)
    def test_frames_are_read_with_pixels_in_their_place(self, scene, fill):
        place = np.clip(np.nan_to_num(fill), 0, 1)
        for own, is_array in zip(sources(scene, fill), [False, False, True, True], strict=True):
            # Arrays with a value range have no data where they are infinite.
            expected = 0 if is_array and not np.isfinite(fill) else place
            np.testing.assert_array_equal(own.lr, filled(scene, expected))
            np.testing.assert_array_equal(own.lr, own.frames.read()[0])
            np.testing.assert_array_equal(own.qm, scene.qm)

    def test_fusion_and_registration(self, net, scene):
        expected = net.predict([scene], return_std=True)
        registered = FrameRegistrar().transform([scene])[0]
        for own in sources(scene, np.nan):
            np.testing.assert_array_equal(net.predict([own], return_std=True), expected)
            (found,) = FrameRegistrar().transform([own])
            np.testing.assert_array_equal(found.shifts, registered.shifts)
            np.testing.assert_array_equal(found.lr[found.qm], registered.lr[registered.qm])

    @pytest.mark.parametrize(
        "estimator",
        [
            BicubicBaseline(),
            make_pipeline(InputComposer("concat", "mean"), BicubicUpscaler(), SRCNN(**QUICK)),
            make_pipeline(FrameRegistrar(), HighResNet(n_frames=4, **QUICK)),
        ],
        ids=str,
    )
    def test_estimators(self, estimator, scene):
        """They see 0 for NaN, and 1 for values beyond all pixels."""
        estimator.fit([sources(scene, np.nan)[0]] * 2)
        for fill, place in (np.nan, 0), (1e30, 1):
            plain = Scene(filled(scene, place), scene.qm, scene.hr, scene.sm, value_range=(0, 1))
            own = sources(scene, fill)[0]
            np.testing.assert_array_equal(estimator.predict([own]), estimator.predict([plain]))

    def test_a_clear_pixel_that_is_no_number_is_refused_by_place(self, scene):
        lr = scene.lr
        lr[2, 5, 7] = np.nan
        scene = Scene.from_frames(ArrayFrames(lr, np.ones(lr.shape, bool)))
        with pytest.raises(ValueError, match=r"ArrayFrames .* frame 2, row 5, column 7"):
            align_scene(scene)


class TestUnits:
    # Of values a x + b; the contrast is 0.015 a.
    GAINS = st.integers(-24, 18).map(lambda exponent: 10.0**exponent)

    @settings(max_examples=6, derandomize=True, deadline=None)
    @given(GAINS, st.sampled_from([0, 1, -40]))
    def test_registration(self, scene, gain, offset):
        shifts, placed = register_frames(scene.lr, scene.qm)
        values = (gain * (scene.lr + 0.01 * offset)).astype("f4")
        found = register_frames(values, scene.qm)
        np.testing.assert_array_equal(found.placed, placed)
        np.testing.assert_allclose(found.shifts, shifts, atol=2e-3)

    @settings(max_examples=4, derandomize=True, deadline=None)
    @given(GAINS, st.sampled_from([0, 1, -40]), st.sampled_from([(0, 1), (-3, 50)]))
    def test_images_of_scenes(self, net, scene, gain, offset, value_range):
        values = gain * (scene.lr.astype("f8") + 0.01 * offset)
        low, high = (gain * end for end in value_range)
        image = net.predict([Scene(values, scene.qm, value_range=(low, high))])[0].astype("f8")
        image = (low + (high - low) * image) / gain - 0.01 * offset
        assert difference(image, net.predict([scene])[0]) < 0.005

    @pytest.mark.parametrize(("gain", "offset"), [(1e-6, 0.5), (1, 290)])
    def test_images_of_arrays(self, net, scene, gain, offset):
        values = gain * scene.lr.astype("f8") + offset
        cube = xarray.DataArray(values, dims=("time", "y", "x"))
        image = super_resolve(cube, net, mask=scene.qm).values
        assert difference((image - offset) / gain, net.predict([scene])[0]) < 0.005

    @pytest.mark.parametrize("value", [0.0, 1e-30, 0.5])
    def test_images_of_constant_frames_are_constant(self, net, value):
        lr = np.full((3, 8, 8), value, np.float32)
        image, std = (x[0] for x in net.predict([Scene(lr, lr == lr)], return_std=True))
        np.testing.assert_allclose(image, value, atol=1e-30)
        assert (std >= 0).all() and std.max() <= 1e-10


def turned(images, turn, flip):
    images = np.rot90(images, turn, (-2, -1))
    return np.ascontiguousarray(images[..., ::-1] if flip else images)


def turned_back(image, turn, flip):
    return np.rot90(image[..., ::-1] if flip else image, -turn, (-2, -1))


class TestFlipsAndTurns:
    @settings(max_examples=5, derandomize=True, deadline=None)
    @given(st.integers(0, 3), st.booleans(), st.integers(0, 9))
    def test_registration(self, turn, flip, seed):
        (scene,) = make_scenes(1, size=(37, 32), n_frames=6, random_state=seed)
        shifts = register_frames(scene.lr, scene.qm).shifts
        found = register_frames(turned(scene.lr, turn, flip), turned(scene.qm, turn, flip)).shifts
        down, right = shifts.T
        for _ in range(turn):
            down, right = -right, down
        expected = np.stack([down, -right if flip else right], axis=1)
        np.testing.assert_allclose(found, expected, atol=2e-3)

    @pytest.mark.parametrize("n_frames", [2, 3, 9])
    @pytest.mark.parametrize("n_augment", [1, 8])
    def test_images(self, n_augment, n_frames):
        """Of single predictions, in one orientation, and of the self-ensemble."""
        net = FusionNet.from_pretrained("simulated-x3", n_augment=n_augment, **SHIPPED)
        (scene,) = make_scenes(1, size=(28, 24), n_frames=n_frames, random_state=n_frames)
        image = net.predict([scene])[0]
        for turn, flip in [(0, True), (2, False), (3, True)][: 3 if n_augment == 1 else 1]:
            other = Scene(turned(scene.lr, turn, flip), turned(scene.qm, turn, flip))
            assert difference(turned_back(net.predict([other])[0], turn, flip), image) < 0.01


class TestCopies:
    """Copies of an acquisition are one observation."""

    VERSIONS = {
        "a copy": lambda frame: frame,
        "other gain and offset": lambda frame: 0.9 * frame + 0.01,
        "rounded to 1e-4": lambda frame: np.round(frame, 4),
    }

    @pytest.mark.parametrize(("version", "number"), list(zip(VERSIONS, (0, 3, 3), strict=True)))
    def test_images_and_standard_deviations(self, net, scene, version, number):
        copy = self.VERSIONS[version](scene.lr[[number]]).astype("f4")
        lr, qm = np.concatenate([scene.lr, copy]), np.concatenate([scene.qm, scene.qm[[number]]])
        image, std = net.predict([Scene(lr, qm)], return_std=True)
        expected, expected_std = net.predict([scene], return_std=True)
        assert difference(image, expected) < 0.01
        assert std.mean() > 0.999 * expected_std.mean()

    def test_frames_of_one_place_are_no_copies(self):
        for sensor in (None, "sentinel-2", "proba-v"):
            (scene,) = make_scenes(1, size=48, n_frames=12, sensor=sensor, random_state=1)
            alignment = align_scene(scene)
            assert len(alignment.index) == len(scene) and not len(alignment.copies.numbers)
