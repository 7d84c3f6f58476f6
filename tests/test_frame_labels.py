"""Masks, scales and offsets go to the frames whose dates or labels they have."""

import datetime
import warnings

import numpy as np
import pytest

pytest.importorskip("rioxarray")

import pandas
import xarray
from _rasters import write

from probav_estimators import BicubicBaseline, open_scene, super_resolve
from probav_estimators.geo import read_cube

TIMES = pandas.to_datetime(["2024-03-02T10:10", "2024-03-02T14:40", "2024-03-09T10:10"])
OFFSETS = [0.0, -500.0, -1000.0]
BASELINE = BicubicBaseline(scale=2)


def cube(times=TIMES, **coords):
    rng = np.random.default_rng(2)
    values = rng.integers(2000, 4000, (3, 24, 30)).astype("uint16")
    array = xarray.DataArray(values, dims=("time", "y", "x"), name="B04")
    return array.assign_coords(time=("time", times), **coords) if times is not None else array


def offsets(value, times=TIMES):
    return np.broadcast_to(read_cube(cube(times), add_offset=value).encodings["B04"].offset, 3)


def of_dates(index):
    return pandas.Series(OFFSETS, index=index)


def labelled(times):
    return xarray.DataArray(OFFSETS, dims="time", coords={"time": times})


@pytest.mark.parametrize(
    "value",
    [
        OFFSETS,
        of_dates(TIMES).iloc[[2, 0, 1]],
        of_dates(TIMES.tz_localize("UTC").tz_convert("Asia/Tokyo")).iloc[::-1],
        of_dates([str(time) for time in TIMES]).iloc[[1, 2, 0]],
        of_dates([f"images/S2_{time:%Y%m%dT%H%M%S}_B04.tif" for time in TIMES]).iloc[::-1],
        labelled(TIMES)[[1, 0, 2]],
        {"B04": of_dates(TIMES).iloc[::-1]},
        pandas.concat(
            [pandas.Series([7.0], index=[TIMES[0] - pandas.Timedelta("9D")]), of_dates(TIMES)]
        ),
    ],
)
def test_offsets_are_those_of_their_dates(value):
    np.testing.assert_array_equal(offsets(value), OFFSETS)


def test_offsets_go_by_numbers_where_frames_have_some():
    times = [2021, 2022, 2023]
    np.testing.assert_array_equal(offsets(labelled(times)[::-1], times), OFFSETS)


def test_offsets_by_the_day_where_days_differ():
    times = TIMES[[0, 2]].append(TIMES[[2]] + pandas.Timedelta("5D"))
    by_day = of_dates([time.date() for time in times]).iloc[::-1]
    np.testing.assert_array_equal(offsets(by_day, times), OFFSETS)


@pytest.mark.parametrize(
    "index", [TIMES + pandas.Timedelta("1D"), [TIMES[2], *2 * [datetime.date(2024, 3, 2)]]]
)
def test_offsets_of_other_dates_are_refused_with_both_lists(index):
    message = r"add_offset has the labels .*2024-03-.*the frames 2024-03-02T10:10:00, 2024-03-02T1"
    with pytest.raises(ValueError, match=message):
        offsets(of_dates(index))


@pytest.mark.parametrize(
    ("index", "times"),
    [(TIMES[::-1], None), (TIMES[::-1], [1, 2, 3]), (["c", "a", "b"], TIMES), ([7, 3, 5], TIMES)],
)
def test_offsets_go_by_position_with_a_warning_where_dates_are_unknown(index, times):
    with pytest.warns(UserWarning, match="add_offset and the frames do not both.*by position"):
        np.testing.assert_array_equal(offsets(of_dates(index), times), OFFSETS)


def mask_of(times, hidden=1):
    clear = np.ones((3, 24, 30), bool)
    clear[hidden, 4:9, 6:12] = False
    coords = {} if times is None else {"time": ("time", times)}
    return xarray.DataArray(clear, dims=("time", "y", "x"), coords=coords)


def hidden(frames, mask):
    """Which pixels are hidden in the image of frames of one value each."""
    image = super_resolve(frames, BASELINE, mask=mask)
    return image.n_clear.values, image.values


class TestMasks:
    def expected(self):
        return hidden(cube(), mask_of(TIMES))

    def test_by_numbers(self):
        times = [2021, 2022, 2023]
        for one, other in zip(
            hidden(cube(times), mask_of(times)[[2, 0, 1]]), self.expected(), strict=True
        ):
            np.testing.assert_array_equal(one, other)

    @pytest.mark.parametrize(
        ("days", "calendar"), [((28, 29, 30), "360_day"), ((1, 2, 28), "noleap")]
    )
    def test_by_dates_of_another_calendar(self, days, calendar):
        cftime = pytest.importorskip("cftime")
        times = [cftime.datetime(2021, 2, day, calendar=calendar) for day in days]
        found = hidden(cube(times), mask_of(times)[[2, 0, 1]])
        for one, other in zip(found, self.expected(), strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(offsets(of_dates(times).iloc[::-1], times), OFFSETS)
        with pytest.raises(
            ValueError, match=f"frames of 2021-02-{days[0]:02}.*2021-02-{days[2]:02}"
        ):
            hidden(cube(times), mask_of([time.replace(month=3) for time in times]))
        # Frames without 30 February, and masks with it.
        found, expected = (hidden(cube(times)[:2], mask_of(times)[:n])[0] for n in (3, 2))
        np.testing.assert_array_equal(found, expected)

    def test_other_dates_or_numbers_are_refused_with_both_lists(self):
        with pytest.raises(ValueError, match=r"masks are of 2024-03-03T.*frames of 2024-03-02T10"):
            hidden(cube(), mask_of(TIMES + pandas.Timedelta("1D")))
        with pytest.raises(ValueError, match="masks are of 2, 3, 4, and frames of 1, 2, 3"):
            hidden(cube([1, 2, 3]), mask_of([2, 3, 4]))

    @pytest.mark.parametrize(
        ("frames", "masks"), [(TIMES, None), (None, TIMES), (TIMES, [1, 2, 3])]
    )
    def test_by_position_with_a_warning_where_one_side_has_no_dates(self, frames, masks):
        with pytest.warns(UserWarning, match="mask and the frames do not both.*by position"):
            found = hidden(cube(frames), mask_of(masks))
        for one, other in zip(found, self.expected(), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(5)
    frames = rng.integers(2000, 4000, (3, 24, 30)).astype("uint16")
    return [
        write(tmp_path / f"2024030{day}_B04.tif", frame, nodata=0)
        for day, frame in zip((1, 4, 7), frames, strict=True)
    ]


def test_factors_of_files_are_those_of_the_dates_in_their_names(files):
    days = pandas.Series(
        [1.0, 2.0, 3.0], index=pandas.to_datetime(["2024-03-01", "2024-03-04", "2024-03-07"])
    )
    given = {"value_range": (0, 20_000), "scale_factor": days.iloc[::-1]}
    expected = open_scene(files, value_range=(0, 20_000), scale_factor=[1.0, 2.0, 3.0]).lr
    np.testing.assert_array_equal(open_scene(files, **given).lr, expected)
    days.index += pandas.Timedelta("1D")
    with pytest.raises(ValueError, match=r"scale_factor has the labels 2024-03-02.*2024-03-01"):
        open_scene(files, value_range=(0, 20_000), scale_factor=days)


NAMES = {
    "dots": [f"2024.0{month}.11_{{}}" for month in (1, 2, 3)],
    "seconds": [f"lake_20240111_{hour}1031_{{}}" for hour in ("08", "10", "12")],
    "day of the year": [f"MOD09GA.A20240{day}.h18v04.{{}}" for day in (11, 12, 13)],
}


def write_dates(folder, names):
    """Files of frames and of masks, of which each hides another pixel."""
    paths = [], []
    for number, name in enumerate(names):
        clear = np.ones((12, 14), "uint8")
        clear[number, 0] = 0
        frame = np.full((12, 14), 3000 + number, "uint16")
        for part, (band, values) in enumerate((("B04", frame), ("clear", clear))):
            paths[part].append(write(folder / f"{name.format(band)}.tif", values))
    return paths


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_masks_of_files_go_by_the_dates_in_their_names(tmp_path, names):
    frames, masks = write_dates(tmp_path, names)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        scene = open_scene(frames, mask=masks[::-1])
    np.testing.assert_array_equal(~scene.qm[:, :, 0].T[:3], np.eye(3, dtype=bool))


@pytest.mark.parametrize(
    "names", [["a_{}", "b_{}", "c_{}"], [f"1{day}-01-2024_{{}}" for day in "123"]]
)
def test_files_without_dates_go_by_position_with_a_warning(tmp_path, names):
    frames, masks = write_dates(tmp_path, names)
    with pytest.warns(
        UserWarning, match="do not both have dates, so masks are matched by position"
    ):
        scene = open_scene(frames, mask=masks)
    np.testing.assert_array_equal(~scene.qm[:, :, 0].T[:3], np.eye(3, dtype=bool))
