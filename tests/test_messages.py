"""Messages about values: how many, where, whether they are masked, and what to do."""

import re

import numpy as np
import pytest

from probav_estimators import (
    BicubicBaseline,
    BicubicUpscaler,
    FusionNet,
    cpsnr,
    cpsnr_scorer,
    write_submission,
)
from probav_estimators.scenes import WHOLE, DerivedFrames, check_scenes


def message_of(call, error=ValueError):
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


def floats(part):
    return np.full({"lr": (4, 6, 8), "hr": (18, 24)}[part], 0.5, np.float32)


class TestPixels:
    def test_the_first_bad_pixel_and_their_number_are_told(self, make_scene):
        bad = np.nan
        lr, hr = floats("lr"), floats("hr")
        lr[[1, 1, 3], [2, 5, 0], [7, 1, 0]] = bad
        hr[4, 9] = bad
        assert (
            "lr has NaN or infinite values: 3 of 192 pixels, the first in frame 1, row 2, column 7"
        ) in message_of(lambda: make_scene(lr=lr))
        assert (
            "hr has NaN or infinite values: 1 of 432 pixels, the first in row 4, column 9"
        ) in message_of(lambda: make_scene(hr=hr))

    @pytest.mark.parametrize(
        ("values", "told"),
        [
            ([0.2, 1.02], "values from 0.2 to 1.02: 1 of 192"),
            ([1.5, -0.25], "values from -0.25 to 1.5: 2 of 192"),
            ([np.nextafter(np.float32(1), np.float32(2))], "values from 0.5 to 1.0000001: 1 of"),
        ],
    )
    def test_least_and_greatest_value_are_those_of_the_array(self, make_scene, values, told):
        lr = floats("lr")
        lr[0, 0, : len(values)] = values
        assert told in message_of(lambda: make_scene(lr=lr, qm=None))

    @pytest.mark.parametrize(("part", "mask", "value"), [("lr", "qm", np.nan), ("hr", "sm", -9999)])
    def test_bad_values_that_a_mask_hides_are_said_to_be_hidden(
        self, make_scene, part, mask, value
    ):
        values, clear = floats(part), np.ones(floats(part).shape, bool)
        values[..., 2, 3] = value
        clear[..., 2, 3] = False
        message = message_of(lambda: make_scene(**{part: values, mask: clear}))
        assert "the mask hides all of them, fill them, np.where(mask, ..., 0)" in message
        filled = np.where(clear, values, 0)
        assert getattr(make_scene(**{part: filled, mask: clear}), part).max() == 0.5
        clear[..., 2, 3] = True
        message = message_of(lambda: make_scene(**{part: values, mask: clear}))
        assert "hides all" not in message

    def test_a_score_takes_any_value_under_its_mask_alone(self):
        hr, sm = floats("hr"), np.ones((18, 24), bool)
        hr[5, 6], sm[5, 6] = np.nan, False
        assert "hr has NaN" in message_of(lambda: cpsnr(0 * floats("hr"), hr))
        assert cpsnr(floats("hr"), hr, sm) == np.inf
        assert cpsnr(hr, floats("hr"), sm) == np.inf
        assert "sr has NaN" in message_of(lambda: cpsnr(hr, floats("hr")))


class TestMasks:
    SCENE_CLASSES = np.resize(np.uint8([0, 3, 4, 5, 6, 8, 9, 11]), (4, 6, 8))

    @pytest.mark.parametrize(
        "values",
        [
            SCENE_CLASSES,
            np.resize([1, 255], (4, 6, 8)),
            np.resize([-1, 0], (4, 6, 8)),
            np.linspace(0, 1, 192).reshape(4, 6, 8),
        ],
        ids=["scl", "1 or 255", "-1", "probability"],
    )
    def test_classes_and_probabilities_are_no_masks(self, make_scene, values):
        message = message_of(lambda: make_scene(qm=values))
        assert message.startswith("scene imgset0042: qm has the values ")
        assert "np.isin(scl, [4, 5, 6, 7])" in message and "probability < 0.5" in message
        for value in np.unique(values)[:8]:
            assert f"{value}" in message


class TestNames:
    """Messages say that a scene has no name, and have neither None nor repetitions."""

    @pytest.mark.parametrize(
        "parts",
        [
            {"lr": np.full((4, 6, 8), np.nan)},
            {"qm": np.ones((3, 6, 8), bool)},
            {"qm": np.full((4, 6, 8), 3)},
            {"hr": np.zeros((17, 24)), "sm": None},
            {"sm": np.zeros((18, 24), bool)},
            {"norm": -1},
        ],
    )
    def test_parts_of_an_unnamed_scene(self, make_scene, parts):
        message = message_of(lambda: make_scene(name=None, **parts))
        assert message.startswith("unnamed scene: ")
        assert message.count("unnamed scene") == 1
        assert "None" not in message.replace("or None to compute it", "")
        assert message_of(lambda: make_scene(**parts)).count("imgset0042") == 1

    def test_whoever_takes_an_unnamed_scene(self, make_scene, tmp_path):
        scene = make_scene(name=None, hr=None, sm=None)
        clouded = make_scene(name=None, qm=np.zeros((4, 6, 8), bool))
        named = make_scene(hr=None, sm=None)
        doubled = make_scene(name=None, scale=2)
        net = FusionNet.from_pretrained("simulated-x3")
        for call in (
            lambda: BicubicUpscaler().transform([scene]),
            lambda: BicubicBaseline().predict([scene]),
            lambda: check_scenes([scene], "fit", truth=True),
            lambda: write_submission([np.zeros((18, 24))], [scene], tmp_path / "a.zip"),
            lambda: net.predict([clouded]),
            lambda: net.predict([doubled]),
            lambda: net.predict_into(scene, out=np.zeros(3)),
        ):
            message = message_of(call)
            assert "unnamed scene" in message and "None" not in message
        assert "position 1" in message_of(
            lambda: write_submission([np.zeros((18, 24))] * 2, [named, scene], tmp_path / "a.zip")
        )

    def test_a_training_without_truth_is_pointed_to(self, make_scene):
        scenes = [make_scene(), make_scene(hr=None)]
        message = message_of(lambda: FusionNet(verbose=0).fit(scenes))
        assert re.search(r"imgset0042 .*position 1.*criterion=ReprojectionLoss\(\)", message)
        message = message_of(lambda: cpsnr_scorer(BicubicBaseline(), scenes))
        assert "position 1" in message and "ReprojectionLoss" not in message


@pytest.mark.parametrize("name", ["read_lr", "read_qm"])
def test_a_source_with_a_method_of_earlier_versions_is_refused(name):
    with pytest.raises(TypeError, match=rf"Old defines {name}: define read\(index, window\)"):
        type("Old", (DerivedFrames,), {name: lambda self, index=None, window=None: None})


def test_a_source_with_both_methods_of_earlier_versions_works_with_a_warning(make_scene):
    scene = make_scene()
    methods = {
        "read_lr": lambda self, index=None, window=WHOLE: self.source.read_pixels(index, window),
        "read_qm": lambda self, index=None, window=WHOLE: ~self.source.read_clear(index, window),
    }
    with pytest.warns(FutureWarning, match=r"Old defines read_lr and read_qm: define read\("):
        old = type("Old", (DerivedFrames,), methods)
    np.testing.assert_array_equal(scene.with_frames(old(scene.frames)).qm, ~scene.qm)
