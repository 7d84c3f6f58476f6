"""Masks of satellite products: which values are clear."""

from pathlib import Path

import numpy as np
import pytest

from probav_estimators.geo import MASK_KINDS, MASK_TYPES, clear_of, match_mask

GUIDE = Path(__file__).parents[1] / "docs" / "own_imagery.md"


def bits(*numbers):
    return sum(1 << number for number in numbers)


def shown(kind, greatest):
    """Values from 0 to `greatest` that are clear in this kind of mask."""
    values = np.arange(greatest + 1, dtype=np.uint16)
    return set(np.flatnonzero(clear_of(values, kind, "mask")).tolist())


def test_sentinel_2s_scene_classification():
    assert shown("scl", 11) == {2, 4, 5, 6, 7, 11}


def test_landsats_qa_pixel():
    # Clear, by USGS's table of values: land, water, cloud of medium confidence, snow.
    assert clear_of(np.uint16([21824, 21952, 22080, 30048]), "qa_pixel", "mask").all()
    # Not clear: fill, dilated cloud, cloud, shadow, cirrus, cirrus and cloud.
    hidden = np.uint16([1, 21826, 22280, 23888, 54596, 55052])
    assert not clear_of(hidden, "qa_pixel", "mask").any()


def test_fmask_of_hls():
    for number in (1, 2, 3):
        assert not clear_of(np.uint8([bits(number)]), "fmask", "mask").any()
    clear = [0, bits(4), bits(5), bits(6), bits(7), bits(6, 7), bits(5, 6)]
    assert clear_of(np.uint8(clear), "fmask", "mask").all()
    assert not clear_of(np.uint8([255]), "fmask", "mask").any()


def test_omnicloudmask():
    values = np.uint8([0, 1, 2, 3, 255])
    assert clear_of(values, "omnicloudmask", "mask").tolist() == [True, False, False, False, False]


def test_status_map_of_probav():
    good = bits(4, 5, 6, 7)
    assert clear_of(np.uint8([good + bits(3), good, bits(7)]), "probav", "mask").all()
    classes = [1, 2, 3, 4]
    assert not clear_of(np.uint8([good + bits(3) + kind for kind in classes]), "probav", "m").any()
    assert not clear_of(np.uint8([0, bits(3), 255]), "probav", "mask").any()


@pytest.mark.parametrize("kind", [None, *MASK_TYPES, lambda values: np.ones(values.shape, bool)])
def test_nan_is_hidden(kind):
    value = {"qa_pixel": 21824, "probav": 248, "scl": 4, None: 1}.get(kind, 0)
    values = np.float32([value, np.nan])
    assert clear_of(values, kind, "mask").tolist() == [True, False]
    assert np.isnan(values[1])


@pytest.mark.parametrize("kind", MASK_TYPES)
@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64, np.float32])
def test_the_type_of_the_numbers_does_not_matter(kind, dtype):
    values = np.arange(4 if kind == "omnicloudmask" else 12).reshape(2, -1)
    expected = clear_of(values.astype(np.uint8), kind, "mask")
    assert expected.dtype == bool and expected.shape == values.shape
    np.testing.assert_array_equal(clear_of(values.astype(dtype), kind, "mask"), expected)


def test_the_guide_lists_the_kinds():
    rows = [f'| `"{name}"` | {kind.product} | {kind.hidden} |' for name, kind in MASK_KINDS.items()]
    assert "\n".join(["| --- | --- | --- |", *rows, "| a function"]) in GUIDE.read_text("utf-8")


class TestFunctions:
    def test_a_function_of_the_values(self):
        probabilities = np.array([[0.1, 0.7]])
        clear = clear_of(probabilities, lambda values: values < 0.5, "mask")
        assert clear.tolist() == [[True, False]]

    @pytest.mark.parametrize("bad", [lambda values: values, lambda values: values[0] > 0])
    def test_what_it_must_not_return(self, bad):
        with pytest.raises(ValueError, match="return a bool array of the same shape"):
            clear_of(np.ones((2, 3), np.uint8), bad, "mask")


class TestBadValues:
    def test_unknown_kind(self):
        with pytest.raises(ValueError, match="'SCL': give one of 'scl', 'qa_pixel', 'fmask'"):
            clear_of(np.uint8([4]), "SCL", "mask")

    @pytest.mark.parametrize(
        ("kind", "values", "told"),
        [
            ("scl", [4, 12, 200], "12, 200"),
            ("scl", [21824], "21824"),
            ("scl", [-1, 4], "-1"),
            ("scl", [0.5, 4], "0.5"),
            ("scl", [np.inf], "inf"),
            ("omnicloudmask", [4, 255], "4"),
            ("fmask", [256], "256"),
            ("probav", [65535], "65535"),
            ("qa_pixel", [65536], "65536"),
        ],
    )
    def test_values_of_another_kind(self, kind, values, told):
        with pytest.raises(ValueError, match=rf"b\.tif has the values {told}, which mask_type"):
            clear_of(np.array(values), kind, "b.tif")

    def test_a_mask_is_of_no_kind(self):
        with pytest.raises(ValueError, match="leave mask_type out"):
            clear_of(np.ones(3, bool), "scl", "mask")


class TestSizes:
    def test_a_mask_repeats(self):
        assert match_mask((6, 8), (6, 8), "mask") == (1, 1)
        assert match_mask((5490, 5490), (10980, 10980), "mask") == (2, 2)
        assert match_mask((2, 3), (12, 18), "mask") == (6, 6)

    @pytest.mark.parametrize("shape", [(3, 3), (6, 4), (12, 16), (4, 8), (0, 0), (7, 9)])
    def test_a_mask_that_fits_not(self, shape):
        told = f"scl has {shape[0]}x{shape[1]} pixels and the image 6x8"
        with pytest.raises(ValueError, match=told):
            match_mask(shape, (6, 8), "scl")
