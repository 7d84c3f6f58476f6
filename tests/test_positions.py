"""Georeferenced frames: registration on a prior of their positions, and no clear pixel lost."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import xarray as xr
from _rasters import write
from click.testing import CliRunner

from probav_estimators import FusionNet, make_scenes, open_scene, super_resolve
from probav_estimators.cli import probav
from probav_estimators.imaging import register_groups
from probav_estimators.scenes import align_scene

pytestmark = pytest.mark.any_version


@pytest.fixture(scope="module")
def net():
    return FusionNet.from_pretrained("simulated-x2", verbose=0)


@pytest.fixture(scope="module")
def scene():
    """Eight frames almost without clouds, of which all pixels are taken as clear."""
    (many,) = make_scenes(1, size=80, n_frames=30, scale=2, random_state=11)
    chosen = np.argsort(-many.qm.mean(axis=(1, 2)))[:8]
    assert many.qm[chosen].mean(axis=(1, 2)).min() > 0.97
    return SimpleNamespace(lr=many.lr[chosen], true_shifts=many.true_shifts[chosen])


def everywhere(scene):
    return np.ones(scene.lr.shape, bool)


def two_tiles(scene, overlap):
    """Masks of four frames of the left tile and four of the right."""
    clear, middle = everywhere(scene), scene.lr.shape[2] // 2
    clear[:4, :, middle + overlap // 2 :] = False
    clear[4:, :, : middle - (overlap - overlap // 2)] = False
    return clear


def cube_of(lr):
    return xr.DataArray(lr, dims=("time", "y", "x"))


def fuse(lr, clear, net, **options):
    """Image, and the messages of the warnings."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        image = super_resolve(cube_of(lr), net, mask=clear, **options)
    return image, [str(one.message) for one in told]


def shows_all(image, clear):
    """Whether the image has a value wherever a frame is clear."""
    shown = np.isfinite(image.values)
    scale = shown.shape[0] // clear.shape[1]
    return bool(shown[clear.any(axis=0).repeat(scale, axis=0).repeat(scale, axis=1)].all())


def errors_of(image, scene):
    found = np.stack([image.attrs[f"frame_shifts_{way}"] for way in ("down", "right")], axis=1)
    errors = found - scene.true_shifts
    return np.hypot(*(errors - np.nanmedian(errors, axis=0)).T)


class TestTiles:
    @pytest.mark.parametrize("overlap", [-6, 3, 12])
    def test_all_that_frames_show_is_in_the_image(self, scene, net, overlap):
        clear = two_tiles(scene, overlap)
        image, told = fuse(scene.lr, clear, net)
        assert shows_all(image, clear)
        assert image.attrs["n_frames_used"] == 8
        if overlap < 12:
            assert any("4 of 8 frames" in message for message in told)

    def test_overlap_of_few_columns_ties_them(self, scene, net):
        image, _ = fuse(scene.lr, two_tiles(scene, 7), net)
        assert errors_of(image, scene).max() < 0.3
        assert set(image.attrs["frame_placement"].split()) == {"registered", "tied"}

    def test_tiles_without_overlap_stay_where_they_were(self, scene, net):
        image, told = fuse(scene.lr, two_tiles(scene, -4), net)
        placed = image.attrs["frame_placement"].split()
        assert (placed.count("georeferenced"), placed.count("registered")) == (4, 4)
        assert errors_of(image, scene).max() < 1.5
        assert any("stay where the georeferencing puts them" in message for message in told)

    def test_overlap_between_the_windows_of_a_large_site_ties_them(self, tmp_path):
        (wide,) = make_scenes(1, size=(96, 620), n_frames=6, sensor="sentinel-2", random_state=5)
        clear = everywhere(wide)
        clear[:3, :, 327:] = False
        clear[3:, :, :320] = False
        paths = write_frames(tmp_path, np.where(clear, 1 + 10000 * wide.lr, 0))
        with pytest.warns(UserWarning, match="3 of 6 frames .* tied .* by little overlap"):
            alignment = align_scene(open_scene(paths))
        errors = alignment.shifts - wide.true_shifts
        assert np.abs(errors - np.median(errors, axis=0)).max() < 0.3

    def test_land_between_the_windows_of_a_large_site_is_shown(self, tmp_path):
        """Pairs of dates show one strip each; those in the middle are in no window."""
        (wide,) = make_scenes(1, size=(72, 700), n_frames=6, sensor="sentinel-2", random_state=6)
        clear = np.zeros(wide.lr.shape, bool)
        for frame, first in enumerate([0, 0, 290, 290, 500, 500]):
            clear[frame, :, first : first + 100] = True
        paths = write_frames(tmp_path, np.where(clear, 1 + 10000 * wide.lr, 0))
        with pytest.warns(UserWarning, match="4 of 6 frames .* cannot be registered"):
            alignment = align_scene(open_scene(paths))
        assert alignment.index.tolist() == [*range(6)]
        assert np.isfinite(alignment.gains).all()
        for pair in (slice(0, 2), slice(2, 4), slice(4, 6)):
            true = wide.true_shifts[pair]
            found = alignment.shifts[pair]
            assert np.abs(np.diff(found, axis=0) - np.diff(true, axis=0)).max() < 0.2


def write_frames(folder, values):
    """A GeoTIFF for each frame, in which 0 is no data."""
    return [
        write(folder / f"site_2024010{number + 1}.tif", frame, nodata=0)
        for number, frame in enumerate(np.rint(values).astype("uint16"))
    ]


class TestTexture:
    def test_water_alone_uses_all_frames(self, net):
        rng = np.random.default_rng(2)
        lr = np.float32(0.04 + 0.003 * rng.standard_normal((6, 40, 44)))
        image, told = fuse(lr, np.ones(lr.shape, bool), net)
        assert image.attrs["n_frames_used"] == 6 and (image.n_clear == 6).all()
        assert any("for lack of overlap or texture" in message for message in told)

    def test_frames_of_water_beside_land_are_used(self, scene, net):
        lr, clear = scene.lr.copy(), everywhere(scene)
        lr[:, :40] = 0.03 + np.random.default_rng(3).normal(0, 1e-3, lr[:, :40].shape)
        clear[5:, 36:] = False
        image, _ = fuse(lr, clear, net)
        assert image.attrs["n_frames_used"] == 8
        placed = image.attrs["frame_placement"].split()
        assert placed == ["registered"] * 5 + ["georeferenced"] * 3


@pytest.fixture(scope="module")
def mixed(scene):
    """Frames of which number 2 is of another place, and number 5 seven pixels off."""
    lr = scene.lr.copy()
    (other,) = make_scenes(1, size=80, n_frames=1, scale=2, random_state=12)
    lr[2], lr[5] = other.lr[0], np.roll(lr[5], 7, axis=1)
    return lr


class TestFalseMatches:
    def test_frames_that_contradict_the_others_are_left_out_with_a_warning(self, mixed, scene, net):
        image, told = fuse(mixed, everywhere(scene), net)
        assert image.attrs["n_frames_used"] == 6
        assert np.isnan(image.attrs["frame_shifts_down"]).tolist() == [0, 0, 1, 0, 0, 1, 0, 0]
        assert any("2 of 8 frames (2, 5) contradict the others" in message for message in told)

    def test_they_show_what_no_other_frame_shows_and_nothing_else(self, mixed, scene, net):
        clear = everywhere(scene)
        clear[:, 30:50, 24:60] = False
        clear[2] = True
        image, _ = fuse(mixed, clear, net)
        assert shows_all(image, clear)
        assert (image.n_clear[64:96, 52:116] == 1).all()
        without = clear.copy()
        without[2] = False
        alone, _ = fuse(mixed, without, net)
        np.testing.assert_array_equal(image.n_clear[:48], alone.n_clear[:48])

    def test_frames_without_a_clear_pixel_are_named_apart(self, scene, net):
        clear = everywhere(scene)
        clear[3] = False
        image, told = fuse(scene.lr, clear, net)
        assert image.attrs["frame_placement"].split()[3] == "no_clear_pixel"
        assert image.attrs["n_frames_used"] == 7 and not told

    def test_a_wider_prior_finds_the_frame_that_is_far_off(self, mixed, scene, net):
        image, _ = fuse(mixed, everywhere(scene), net, position_std=3.0)
        assert image.attrs["frame_placement"].split()[5] == "registered"

    def test_a_frame_of_reference_is_one_that_is_used(self, mixed, scene, net):
        with pytest.raises(ValueError, match="frame 2 cannot be the reference"):
            fuse(mixed, everywhere(scene), net, reference=2)
        image, _ = fuse(mixed, everywhere(scene), net, reference="clearest")
        assert np.isfinite(image).all()


class TestGroups:
    def test_frames_that_all_match_are_one_group(self, scene):
        found = register_groups(scene.lr, everywhere(scene), 1.0)
        assert len(found.groups) == 1 and not found.ties and not found.contradicted.any()
        (group,) = found.groups
        errors = group.shifts - scene.true_shifts[group.numbers]
        assert np.abs(errors - np.median(errors, axis=0)).max() < 0.1

    def test_frames_of_two_places_are_two_groups(self, scene):
        (other,) = make_scenes(1, size=80, n_frames=5, scale=2, random_state=13)
        lr = np.concatenate([scene.lr, other.lr])
        found = register_groups(lr, np.concatenate([everywhere(scene), other.qm]), 1.0)
        assert [group.numbers.tolist() for group in found.groups] == [[*range(8)], [*range(8, 13)]]
        assert found.contradicted.tolist() == [False] * 8 + [True] * 5

    def test_frames_are_searched_where_they_are_expected(self, scene):
        """Half of all, 5 pixels off."""
        n_moved = 4
        lr, expected = scene.lr.copy(), np.zeros((8, 2))
        lr[:n_moved] = np.roll(lr[:n_moved], (5, -4), axis=(1, 2))
        expected[:n_moved] = 5, -4
        found = register_groups(lr, everywhere(scene), 0.5, expected)
        (group,) = found.groups
        errors = (group.shifts - expected[group.numbers]) - scene.true_shifts[group.numbers]
        assert len(group.numbers) == 8
        assert np.abs(errors - np.median(errors, axis=0)).max() < 0.1
        unexpected = register_groups(lr, everywhere(scene), 0.5)
        assert len(unexpected.groups) > 1


@pytest.mark.parametrize("position_std", [0, float("nan")])
def test_an_accuracy_that_is_no_positive_number_is_refused(position_std, scene, net):
    with pytest.raises(ValueError, match="position_std is"):
        super_resolve(cube_of(scene.lr), net, position_std=position_std)


def test_command_tells_how_frames_were_placed(scene, tmp_path):
    values = np.where(two_tiles(scene, 8), 1 + 10000 * scene.lr, 0)
    write_frames(tmp_path, values)
    out = tmp_path / "sharp.tif"
    call = ["super-resolve", str(tmp_path / "site_*.tif"), "-o", str(out), "--json", "--quiet"]
    told = CliRunner().invoke(probav, [*call, "--weights", "simulated-x2", "--position-std", "0.7"])
    assert told.exit_code == 0, told.output
    assert '"n_frames_used": 8' in told.stdout
    with rasterio.open(out) as file:
        assert file.read_masks(1).all()
        placed = file.tags()["frame_placement"]
    assert f'"frame_placement": "{placed}"' in told.stdout
    assert placed.split().count("tied") == 4
