"""The figure shows what its docstring says, in the values that it was given."""

import numpy as np
import pytest

from probav_estimators import cpsnr, make_scenes, plot_comparison
from probav_estimators.imaging import error_map, upscale_bicubic

pyplot = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(scope="module")
def scene():
    return make_scenes(1, size=16, n_frames=4, random_state=3)[0]


@pytest.fixture(scope="module")
def images(scene):
    clearest = int(scene.qm.sum(axis=(1, 2)).argmax())
    bicubic = upscale_bicubic(scene.lr[clearest], scene.scale)
    return {"bicubic": bicubic, "flat": np.full_like(scene.hr, 0.2)}


@pytest.fixture
def figure(scene, images):
    yield plot_comparison(scene, images, {"bicubic": [0.9, 1.0, 1.1], "flat": [1.2, 1.3, 1.4]})
    pyplot.close("all")


def shown(axes):
    (image,) = axes.get_images()
    return np.ma.filled(image.get_array().astype(float), np.nan)


def test_images_stand_under_their_scores(figure, scene, images):
    lr, bicubic, flat, hr = figure.axes[:4]
    clearest = int(scene.qm.sum(axis=(1, 2)).argmax())
    np.testing.assert_array_equal(shown(lr), scene.lr[clearest])
    np.testing.assert_array_equal(shown(hr), scene.hr)
    for axes, (name, image) in zip((bicubic, flat), images.items(), strict=True):
        np.testing.assert_array_equal(shown(axes), image)
        value = cpsnr(image, scene.hr, scene.sm)
        title = f"{name}\n{value:.2f} dB, N / cPSNR {scene.norm / value:.4f}"
        assert axes.get_title() == title


def test_errors_stand_below_on_one_scale(figure, scene, images):
    quality_map, *errors, _ = figure.axes[4:8]
    clearest = int(scene.qm.sum(axis=(1, 2)).argmax())
    np.testing.assert_array_equal(shown(quality_map), scene.qm[clearest])
    for axes, image in zip(errors, images.values(), strict=True):
        np.testing.assert_array_equal(shown(axes), error_map(image, scene.hr, scene.sm))
    limits = {axes.get_images()[0].get_clim() for axes in errors}
    assert len(limits) == 1 and limits.pop()[1] > 0


def test_chart_has_every_score_and_the_means(figure):
    chart = figure.axes[7]
    lines = [line.get_ydata() for line in chart.get_lines()]
    np.testing.assert_allclose(lines[0], [0.9, 1.0, 1.1])
    np.testing.assert_allclose(lines[1], [1.0, 1.0])
    np.testing.assert_allclose(lines[2], [1.2, 1.3, 1.4])
    assert [label.get_text() for label in chart.get_xticklabels()] == ["bicubic", "flat"]


def test_without_scores_there_is_no_chart(scene, images):
    figure = plot_comparison(scene, images)
    assert not figure.axes[7].get_lines() and not figure.axes[7].axison
    pyplot.close("all")


def test_figure_can_be_written(figure, tmp_path):
    figure.savefig(tmp_path / "figure.png")
    assert pyplot.imread(tmp_path / "figure.png").std() > 0.05
