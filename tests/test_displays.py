"""Displays: scikit-learn's conventions, correct numbers, and legibility."""

import inspect
import io
import sys
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from _helpers import HOSTILE_NAMES
from PIL import Image
from scipy.stats import norm

from probav_estimators import (
    BicubicBaseline,
    FusionNet,
    Scene,
    cpsnr,
    displays,
    make_scenes,
    probav_score,
)
from probav_estimators.displays import (
    CalibrationDisplay,
    ComparisonDisplay,
    HistoryDisplay,
    SceneDisplay,
    ScoreDisplay,
    SearchDisplay,
    SpectrumDisplay,
)
from probav_estimators.imaging import error_map
from probav_estimators.metrics import coverage, move_image
from probav_estimators.names import printable
from probav_estimators.scoring import standardized_errors

pyplot = pytest.importorskip("matplotlib.pyplot")
pyplot.switch_backend("agg")

LONG = "a pipeline with a name that is much longer than any panel is wide and_has_underscores_too"


class Noisy:
    """Predicts the baseline, or the truth with noise of known standard deviation."""

    def __init__(self, deviation=0.01, told=True):
        self.deviation = deviation
        self.told = told

    def predict(self, X, return_std=False):
        rng = np.random.default_rng(0)
        images = [scene.hr if self.told else BicubicBaseline(3).predict([scene])[0] for scene in X]
        images = [np.clip(x + rng.normal(0, self.deviation, x.shape), 0, 1) for x in images]
        deviations = [np.full(image.shape, self.deviation) for image in images]
        return (images, deviations) if return_std else images


class Trained:
    """Stand-in for a fitted net, with the history to draw."""

    history = [
        {"epoch": 1, "train_loss": 1.2, "valid_loss": 1.3, "valid_score": 1.1, "event_lr": 1e-3},
        {"epoch": 2, "train_loss": 1.1, "valid_loss": 1.0, "valid_score": 0.9, "event_lr": 1e-3},
        {"epoch": 3, "train_loss": 1.0, "valid_loss": 1.1, "valid_score": 1.0, "event_lr": 5e-4},
    ]


CV_RESULTS = {
    "params": [{"net__k": 3, "net__lr": rate, "size": 9} for rate in (1e-4, 1e-3, 1e-2, 1e-1, 1)],
    "mean_fit_time": np.array([4.0, 1.0, 2.0, 3.0, 5.0]),
    "mean_score_time": np.array([0.1, 0.2, 0.3, 0.4, 0.5]),
    "mean_test_score": np.array([0.9, 0.5, 0.4, 0.8, np.nan]),
    "std_test_score": np.full(5, 0.05),
}


@pytest.fixture(scope="module")
def scenes():
    """Two scenes; the truth of the first has a cloud."""
    first, second = make_scenes(2, size=24, n_frames=6, random_state=3)
    sm = first.sm.copy()
    sm[20:40, 10:30] = False
    return [Scene(first.lr, first.qm, first.hr, sm, name="clouded", band="RED"), second]


@pytest.fixture(scope="module")
def made(scenes):
    """One display of each kind."""
    search = CV_RESULTS
    return {
        SceneDisplay: SceneDisplay.from_scene(scenes[0], max_frames=4),
        ComparisonDisplay: ComparisonDisplay.from_estimator(Noisy(), scenes[0]),
        ScoreDisplay: ScoreDisplay.from_estimator(Noisy(), scenes),
        CalibrationDisplay: CalibrationDisplay.from_estimator(Noisy(), scenes),
        SpectrumDisplay: SpectrumDisplay.from_estimator(Noisy(), scenes[0]),
        SearchDisplay: SearchDisplay.from_cv_results(search),
        HistoryDisplay: HistoryDisplay.from_net(Trained()),
    }


KINDS = [getattr(displays, name) for name in displays.__all__]
SINGLE = [CalibrationDisplay, ScoreDisplay, SearchDisplay]
PLURAL = [ScoreDisplay, SearchDisplay, SpectrumDisplay, HistoryDisplay, ComparisonDisplay]
SINGULAR = [SceneDisplay, CalibrationDisplay]
by_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def arguments_of(display):
    """Parameters of a display's `__init__`."""
    names = inspect.signature(type(display)).parameters
    return {name: getattr(display, name) for name in names}


def shown(axes):
    """Pixels of the first image in axes, NaN where masked."""
    return np.ma.filled(axes.get_images()[0].get_array().astype(float), np.nan)


def drawn_pixels(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)


# Conventions


@by_kind
def test_init_takes_keywords_and_stores_them_untouched(kind, made):
    parameters = inspect.signature(kind).parameters
    assert {p.kind for p in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    given = arguments_of(made[kind])
    again = kind(**given)
    assert all(vars(again)[name] is value for name, value in given.items())
    assert vars(again).keys() == given.keys()


@by_kind
def test_plot_takes_keywords_and_returns_the_display(kind, made):
    _, *parameters = inspect.signature(kind.plot).parameters.values()
    assert parameters[0].name == "ax" and parameters[0].default is None
    named = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD
    assert all(parameter.kind in named for parameter in parameters)
    display = kind(**arguments_of(made[kind]))
    assert display.plot() is display
    axes = display.ax_ if kind in SINGLE else display.axes_.flat[0]
    assert axes.figure is display.figure_
    learned = {name for name in vars(display) if name not in arguments_of(display)}
    assert all(name.endswith("_") for name in learned)


@by_kind
def test_display_is_drawn_in_the_axes_that_are_given(kind, made):
    figure, (_, axes) = pyplot.subplots(1, 2)
    display = kind(**arguments_of(made[kind])).plot(ax=axes)
    assert pyplot.get_fignums() == [figure.number] and display.figure_ is figure
    if kind in SINGLE:
        assert display.ax_ is axes
        return
    by_hand = figure.add_axes((0.5, 0.1, 0.4, 0.4))
    display.plot(ax=by_hand)
    assert min(panel.get_position().x0 for panel in display.axes_.flat) >= 0.5 - 1e-6
    display.plot(ax=axes)
    assert display.bounding_ax_ is axes
    bounds = axes.get_position().padded(1e-6)
    for panel in display.axes_.flat:
        assert panel.get_position().x0 >= bounds.x0 and panel.get_position().x1 <= bounds.x1


def test_without_matplotlib_the_remedy_is_named(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install probav_estimators\[plot\]"):
        made[SceneDisplay].plot()


# Names


def texts_of(figure):
    """Texts of a figure as an SVG with text has them."""
    file = io.StringIO()
    with pyplot.rc_context({"svg.fonttype": "none"}):
        figure.savefig(file, format="svg")
    root = ElementTree.fromstring(file.getvalue().encode())
    texts = root.iter("{http://www.w3.org/2000/svg}text")
    return [" ".join("".join(text.itertext()).split()) for text in texts]


def assert_drawn(names, figure):
    """The start of every name is drawn letter by letter."""
    drawn = texts_of(figure)
    assert all(text.isprintable() and len(text) < 200 for text in drawn)
    for name in names:
        start = (" ".join(printable(name).split()) or "unnamed")[:10].strip()
        assert any(start in text for text in drawn), (start, drawn)


def named(kind, made, names):
    """A display whose names are all hostile."""
    given = arguments_of(made[kind])
    few = np.arange(len(names), dtype=float)
    one = names[0]
    values = {
        SceneDisplay: {"title": one},
        ComparisonDisplay: {
            "images": dict.fromkeys(names, given.get("truth")), "scores": None, "unit": one,
            "errors": {one: given.get("truth")}, "deviations": {one: given.get("truth")},
            "title": one,
        },
        ScoreDisplay: {
            "scores": few, "norms": few, "bands": names, "names": names, "estimator_name": one,
        },
        CalibrationDisplay: {"estimator_name": one},
        SpectrumDisplay: {
            "power": dict.fromkeys(names, given.get("frequencies")), "coherence": None,
            "reference": one,
        },
        SearchDisplay: {
            "scores": few, "costs": few + 1, "score_deviations": None, "labels": names,
            "score_name": one, "cost_name": one,
        },
        HistoryDisplay: {
            "losses": dict.fromkeys(names, given.get("epochs")), "scores": None,
            "estimator_name": one,
        },
    }  # fmt: skip
    return kind(**given | values[kind])


@pytest.mark.filterwarnings("ignore:Glyph", "ignore:constrained_layout", "ignore:compressed")
@pytest.mark.parametrize(
    ("kind", "names"),
    [(kind, HOSTILE_NAMES[number:]) for number, kind in enumerate(PLURAL)]
    + [(kind, HOSTILE_NAMES[:1]) for kind in SINGULAR],
)
def test_names_are_text(kind, names, made):
    if kind is ComparisonDisplay:
        names = [names[0], *HOSTILE_NAMES[-3:]]
    if kind is ScoreDisplay:
        # Scenes without a name are numbered.
        names = [name for name in names if name != ""]
    display = named(kind, made, names)
    options = {"n_named": len(names)} if kind is ScoreDisplay else {}
    options |= {"max_named": 99, "name_all": True} if kind is SearchDisplay else {}
    assert_drawn(names, display.plot(**options).figure_)


def test_names_keep_their_letters():
    assert printable("a\u3000b\u2028c\nd") == "a b c d"
    assert printable(b"caf\xc3\xa9") == "caf\xe9" and printable("\ud800\x7f") == 2 * "\ufffd"


# Scenes


def test_clearest_frames_are_drawn_first_with_their_masks(made, scenes):
    display, (scene, _) = made[SceneDisplay], scenes
    clearance = scene.qm.mean(axis=(1, 2))
    order = np.argsort(-clearance, kind="stable")[:4]
    for axes, number in zip(display.axes_, order, strict=True):
        np.testing.assert_array_equal(shown(axes), scene.lr[number])
        assert axes.get_title() == f"{number}: {np.floor(100 * clearance[number]):.0f} % clear"
        overlays = [image.get_array()[..., 3] for image in axes.get_images()[1:]]
        clear = overlays[0] == 0 if overlays else np.ones(scene.shape, bool)
        np.testing.assert_array_equal(clear, scene.qm[number])
        assert all(overlay.max() < 1 for overlay in overlays)
    np.testing.assert_allclose([bar.get_height() for bar in display.bars_], 100 * clearance)


def test_arrows_are_the_shifts_and_down_is_down():
    (scene,) = make_scenes(1, size=48, n_frames=6, random_state=0)
    display = SceneDisplay.from_scene(scene)
    arrows = np.column_stack([display.arrows_.V, display.arrows_.U])
    true = scene.true_shifts - scene.true_shifts.mean(axis=0)
    assert np.abs(arrows - arrows.mean(axis=0) - true).max() < 0.1
    bottom, top = display.shifts_ax_.get_ylim()
    assert bottom > top


# Comparison


def test_images_errors_and_deviations_are_in_their_unit(made, scenes):
    display, (scene, _) = made[ComparisonDisplay], scenes
    images, _, maps = display.axes_
    (image,) = Noisy().predict([scene])
    baseline = BicubicBaseline().predict([scene])[0]
    clearest = int(scene.qm.sum(axis=(1, 2)).argmax())
    wanted = [scene.lr[clearest], baseline, image, scene.hr]
    for axes, pixels in zip(images, wanted, strict=True):
        np.testing.assert_allclose(shown(axes), 65535 * pixels.astype(float), rtol=1e-6)
    for axes, pixels in zip(maps[1:3], [baseline, image], strict=True):
        error = 65535 * error_map(pixels, scene.hr, scene.sm)
        np.testing.assert_allclose(shown(axes)[3:-3, 3:-3], error, rtol=1e-4, atol=0.1)
    np.testing.assert_allclose(shown(maps[3]), 655.35)
    np.testing.assert_array_equal(shown(maps[0]), scene.qm.sum(axis=0))
    assert images[0].get_title() == "clearest of 6 frames"
    assert images[3].get_title() == "HR image\nshaded: clouded"
    assert [" ".join(axes.get_title().split()) for axes in maps] == [
        "clear frames",
        "error of BicubicBaseline",
        "error of Noisy",
        "standard deviation of Noisy",
    ]
    units = [label_of_scale(axes) for axes in (images[3], *maps)]
    counts = "16-bit counts"
    errors = f"HR - SR, {counts}; hatched: cloud or edge"
    assert units == [counts, "of 6", errors, None, counts]


def label_of_scale(axes):
    """Label of a panel's colour bar; None without one."""
    (bar,) = axes.child_axes or [None]
    return bar and " ".join((bar.get_xlabel() or bar.get_ylabel()).split())


def test_clouded_pixels_are_not_drawn_as_error_0(made, scenes):
    display = ComparisonDisplay(**arguments_of(made[ComparisonDisplay])).plot()
    axes = display.axes_[2, 1]
    drawn = axes.get_images()[0]
    hidden = drawn.get_array().mask
    assert hidden[22:38, 12:28].all() and hidden[:3].all() and hidden[:, -3:].all()
    pixels = drawn_pixels(display.figure_)
    column, row = axes.transData.transform((20, 30)).astype(int)
    around = pixels[::-1][row - 8 : row + 8, column - 8 : column + 8].reshape(-1, 3)
    zero = np.round(255 * np.array(drawn.cmap(0.5)[:3])).astype(int)
    assert np.abs(around - zero).max(axis=1).min() > 20
    # Two greys: a hatch that cannot be mistaken for a colour of the scale.
    assert np.ptp(around, axis=1).max() < 10 and np.ptp(around[:, 0]) > 20


def test_detail_is_the_part_with_most_slope(scenes):
    rng = np.random.default_rng(1)
    image = np.full((96, 72), 0.5)
    image[40:64, 30:48] += 0.2 * rng.random((24, 18))
    noisy_cloud = image.copy()
    noisy_cloud[5:20, 5:20] = rng.random((15, 15))
    clear = noisy_cloud == image
    scene = Scene(np.full((1, 32, 24), 0.5), np.ones((1, 32, 24), bool), noisy_cloud, clear)
    display = ComparisonDisplay.from_predictions(scene, image)
    axes = display.axes_[1, 0]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert abs(left - 29.5) <= 1 and abs(top - 39.5) <= 1
    assert (right - left, bottom - top) == (18, 24)


def test_comparison_needs_no_truth(scenes):
    scene = scenes[0].without_truth()
    display = ComparisonDisplay.from_estimator(Noisy(told=False), scene)
    assert display.axes_.shape == (3, 3)
    assert display.truth is None and display.scores is None and display.errors is None
    bare = ComparisonDisplay.from_predictions(scene, {"a": scenes[0].hr}, baseline=False)
    assert bare.axes_.shape == (2, 2)


@pytest.mark.parametrize("size", [(16, 64), (48, 16)])
def test_panels_stand_in_line_and_names_apart(size):
    """Holds on wide scenes, and with names that are wider than a panel."""
    (scene,) = make_scenes(1, size=size, n_frames=3, random_state=0)
    estimators = {LONG: Noisy(), f"another {LONG}": Noisy(0.02), LONG.replace(" ", ""): Noisy()}
    display = ComparisonDisplay.from_estimator(estimators, scene)
    display.figure_.canvas.draw()
    for row in display.axes_:
        boxes = [axes.get_window_extent() for axes in row if axes.images]
        assert np.ptp([box.y0 for box in boxes]) < 1 and np.ptp([box.y1 for box in boxes]) < 1
    for column in display.axes_.T:
        boxes = [axes.get_window_extent() for axes in column if axes.images]
        assert np.ptp([box.x0 for box in boxes]) < 1 and np.ptp([box.x1 for box in boxes]) < 1
    for row in display.axes_:
        titles = [axes.title.get_window_extent() for axes in row if axes.get_title()]
        for left, right in pairwise(titles):
            assert left.x1 < right.x0
        assert all(title.y1 <= display.figure_.bbox.y1 for title in titles)
    bars = [axes.child_axes[0] for axes in display.axes_.flat if axes.child_axes]
    panels = [axes.get_window_extent() for axes in display.axes_.flat if axes.axison]
    for bar in bars:
        assert not any(bar.get_window_extent().overlaps(panel) for panel in panels)
        assert not any(bar.get_tightbbox().overlaps(panel) for panel in panels)


# Images alone


@pytest.fixture(scope="module")
def images():
    """Three 16-bit images of one scene, at the brightness of a study's images."""
    rng = np.random.default_rng(0)
    hr = np.rint(9300 + 1300 * rng.standard_normal((40, 48))).astype(np.uint16)
    smooth = (hr.astype(float) + np.roll(hr, 1, axis=0) + np.roll(hr, 1, axis=1)) / 3
    bicubic, net = np.rint(smooth), np.rint(smooth + 42000)
    return {"bicubic": bicubic.astype(np.uint16), "net": net.astype(np.uint16), "hr": hr}


def write_images(folder, images):
    for name, image in images.items():
        Image.fromarray(image).save(folder / f"{name}.png")
    return {name: folder / f"{name}.png" for name in images}


def test_truths_grey_scale_moves_images_to_its_mean(images):
    few = {name: images[name] for name in ("bicubic", "net")}
    sm = np.ones((40, 48), bool)
    sm[:10] = False
    display = ComparisonDisplay.from_images(few, hr=images["hr"], sm=sm)
    limits = np.percentile(images["hr"][sm], [1, 99])
    for axes, image in zip(display.axes_[0], [*few.values(), images["hr"]], strict=True):
        offset = images["hr"][sm].mean() - image[sm].mean()
        np.testing.assert_allclose(shown(axes), image + offset, rtol=1e-6)
        np.testing.assert_allclose(axes.get_images()[0].get_clim(), limits, rtol=1e-6)
        assert (f"offset {offset:+.0f}" in axes.get_title()) == (abs(offset) >= 0.5)
    np.testing.assert_allclose(display.images["net"], images["net"], rtol=1e-6)


def test_files_are_drawn_as_arrays_are(images, tmp_path):
    mask = np.ones((40, 48), bool)
    mask[:, 30:] = False
    files = write_images(tmp_path, images | {"sm": mask})
    hr, sm = files.pop("hr"), str(files.pop("sm"))
    options = {"norm": 40.0, "errors": True}
    display = ComparisonDisplay.from_images(files, hr=hr, sm=sm, **options)
    arrays = {name: images[name] for name in files}
    again = ComparisonDisplay.from_images(arrays, hr=images["hr"], sm=mask, **options)
    for one, other in zip(display.axes_[:2].flat, again.axes_[:2].flat, strict=True):
        np.testing.assert_array_equal(shown(one), shown(other))
    for axes, (name, image) in zip(display.axes_[0], arrays.items(), strict=False):
        value = cpsnr(image, images["hr"], mask)
        assert f"{name}\n{value:.2f} dB, score {40 / value:.4f}" in axes.get_title()
    assert display.axes_.shape == (3, 3) and display.axes_[0, 2].get_title().startswith("HR image")
    without = ComparisonDisplay.from_images(arrays, hr=images["hr"])
    assert without.axes_.shape == (2, 3) and "score" not in without.axes_[0, 0].get_title()


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ({}, {}, "images is empty"),
        (np.zeros((9, 9)), {}, "images must be a dict .* got ndarray"),
        ({"a": np.zeros((9, 9, 3))}, {}, r"image 'a' has the shape \(9, 9, 3\): give a grey"),
        ({"a": np.full((9, 9), 2.0)}, {}, r"image 'a' has values from .* to 2.0"),
        ({"a": np.zeros((9, 9))}, {"norm": 45.0}, "need the HR image"),
        ({"a": np.zeros((9, 9))}, {"grey_scale": "truth"}, "grey_scale='truth' needs an HR image"),
        ({"a": np.zeros((9, 9))}, {"grey_scale": "wide"}, "grey_scale must be one of .*, got"),
        ({"a": np.eye(9)}, {"hr": np.eye(9), "norm": -1.0}, "norm must be a positive number"),
    ],
)
def test_what_cannot_be_drawn_is_refused(given, options, message):
    with pytest.raises(ValueError, match=message):
        ComparisonDisplay.from_images(given, **options)


def test_what_has_nothing_to_draw_is_refused(scenes):
    failed = CV_RESULTS | {"mean_test_score": np.full(5, np.nan)}
    bare = [scenes[0].without_truth()]
    for message, draw in {
        "every candidate failed": lambda: SearchDisplay.from_cv_results(failed),
        "no history: fit it first": lambda: HistoryDisplay.from_net(BicubicBaseline()),
        "BicubicBaseline gives no standard deviations": lambda: CalibrationDisplay.from_estimator(
            BicubicBaseline(), scenes
        ),
        "clouded has no HR image": lambda: ScoreDisplay.from_estimator(Noisy(), bare),
        "clouded has no HR": lambda: CalibrationDisplay.from_estimator(Noisy(), bare),
        "got no estimator": lambda: ComparisonDisplay.from_estimator({}, scenes[0]),
        "got no image": lambda: ComparisonDisplay.from_predictions(scenes[0], {}),
        "draws one scene, got 2": lambda: ComparisonDisplay.from_estimator(Noisy(), scenes),
        "give one for each": lambda: ScoreDisplay.from_predictions(scenes, []),
        "give one of each": lambda: CalibrationDisplay.from_predictions(scenes, [], []),
    }.items():
        with pytest.raises(ValueError, match=message):
            draw()


# Scores


def test_points_are_scores_over_the_baseline_by_band(made, scenes):
    display = made[ScoreDisplay]
    assert list(display.points_) == ["RED", "NIR"]
    for points, scene in zip(display.points_.values(), scenes, strict=True):
        # Predict both in one call, as they share a noise generator.
        image = Noisy().predict(scenes)[scenes.index(scene)]
        score = probav_score(image, scene.hr, scene.sm, norm=scene.norm)
        np.testing.assert_allclose(points.get_offsets(), [[scene.norm, score]])
        assert points.get_label() == f"{scene.band}: mean {score:.4f}, 1 scene"
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["baseline", *(points.get_label() for points in display.points_.values())]
    assert set(display.ax_.lines[0].get_ydata()) == {1}


def test_worst_scenes_are_named():
    scores = np.array([0.9, 1.2, 0.8, 1.1])
    display = ScoreDisplay(scores=scores, norms=np.arange(4) + 40.0, names=list("abcd"))
    assert [text.get_text() for text in display.plot(n_named=2).texts_] == ["1: b", "2: d"]
    numbers = {text.get_text(): text.xy for text in display.ax_.texts}
    assert numbers == {"1": (41, 1.2), "2": (43, 1.1)}
    assert display.plot(n_named=0).texts_ == []
    unnamed = ScoreDisplay(scores=scores, norms=scores).plot(n_named=1)
    assert unnamed.texts_[0].get_text() == "1: scene 1" and list(unnamed.points_) == [""]


# Calibration


def test_coverage_is_that_of_a_normal_distribution(scenes):
    """With standard deviations half as large as the errors."""

    class Bold(Noisy):
        def predict(self, X, return_std=False):
            images, deviations = super().predict(X, return_std=True)
            return images, [deviation / 2 for deviation in deviations]

    display = CalibrationDisplay.from_estimator(Bold(), scenes)
    levels = display.line_.get_xdata()
    wanted = 1 - 2 * norm.sf(norm.ppf(0.5 + levels / 2) / 2)
    np.testing.assert_allclose(display.line_.get_ydata(), wanted, atol=0.02)
    images, deviations = Bold().predict(scenes)
    again = CalibrationDisplay.from_predictions(scenes, images, deviations)
    triples = zip(images, deviations, scenes, strict=True)
    errors = [standardized_errors(*triple) for triple in triples]
    for observed, values in (
        (again.observed, np.concatenate(errors)),
        *zip(again.observed_by_scene, errors, strict=True),
    ):
        np.testing.assert_allclose(observed, coverage(values, np.ones_like(values), levels))


# Spectra


def ring_energies(image):
    """Slow reference: energy of the windowed image in each ring of the Fourier plane."""
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in image.shape))
    spectrum = np.fft.fft2(window * (image - (window * image).sum() / window.sum()))
    size = min(image.shape)
    total = np.zeros(size // 2 + 1)
    for row, down in enumerate(np.fft.fftfreq(image.shape[0])):
        for column, right in enumerate(np.fft.fftfreq(image.shape[1])):
            ring = int(np.rint(size * np.hypot(down, right)))
            if ring < len(total):
                total[ring] += abs(spectrum[row, column]) ** 2
    return total[1:]


def test_power_is_that_of_the_rings_over_the_truths(scenes):
    scene = scenes[1]
    assert scene.sm.all()
    sharpened = np.clip(2 * scene.hr - move_image(scene.hr, (0, 1)), 0, 1).astype(np.float32)
    rng = np.random.default_rng(0)
    noisy = np.clip(scene.hr + rng.normal(0, 1e-3, scene.hr.shape), 0, 1)
    display = SpectrumDisplay.from_predictions(scene, {"sharp": sharpened, "noisy": noisy})
    drawn = display.power_lines_["noisy"]
    wanted = 10 * np.log10(ring_energies(noisy) / ring_energies(scene.hr))
    np.testing.assert_allclose(drawn.get_ydata(), wanted, atol=1e-6)
    np.testing.assert_allclose(drawn.get_xdata(), np.arange(1, 37) / 72)
    assert display.power_lines_["sharp"].get_ydata()[18:].mean() > 1
    exact = SpectrumDisplay.from_predictions(scenes[0], {"told": scenes[0].hr}, baseline=False)
    np.testing.assert_allclose(exact.power_lines_["told"].get_ydata(), 0, atol=1e-6)
    np.testing.assert_allclose(exact.coherence_lines_["told"].get_ydata(), 1, atol=1e-6)
    for axes in exact.axes_:
        (line,) = (line for line in axes.lines if line.get_label() == "LR Nyquist")
        assert set(line.get_xdata()) == {0.5 / 3}


def test_without_truth_coherence_is_that_of_two_halves(scenes):
    asked = []

    class Asked(BicubicBaseline):
        def predict(self, X):
            asked.append(X[0].lr)
            return super().predict(X)

    scene = scenes[0].without_truth()
    display = SpectrumDisplay.from_estimator({"mine": Asked(3)}, scene)
    assert not display.has_truth and display.reference == "BicubicBaseline"
    whole, first, second = (sorted(lr.tolist()) for lr in asked)
    assert sorted(first + second) == whole and len(first) == len(second) == 3
    np.testing.assert_allclose(display.power_lines_["mine"].get_ydata(), 0, atol=1e-6)
    mine, baseline = (
        display.coherence_lines_[name].get_ydata() for name in ("mine", "BicubicBaseline")
    )
    np.testing.assert_allclose(mine, baseline)
    few = SpectrumDisplay.from_predictions(scene, scenes[0].hr)
    assert few.coherence is None and few.coherence_lines_ == {}


# Searches


def test_points_are_scores_over_costs(made):
    display = made[SearchDisplay]
    wanted = np.column_stack([[4, 1, 2, 3], [0.9, 0.5, 0.4, 0.8]])
    np.testing.assert_array_equal(display.points_.get_offsets(), wanted)
    assert display.front_.tolist() == [1, 3, 0]
    np.testing.assert_array_equal(display.front_line_.get_xdata(), [1, 3, 4])
    assert "1 candidates failed" in display.ax_.get_xlabel()
    # Best candidate first; parameters with the same value everywhere are omitted.
    labels = ["1: lr=0.0001", "2: lr=0.1", "3: lr=0.001", "4: lr=0.01"]
    assert [text.get_text() for text in display.texts_] == labels[:3]
    every = SearchDisplay.from_cv_results(CV_RESULTS, name_all=True)
    assert [text.get_text() for text in every.texts_] == labels
    few = every.plot(name_all=True, max_named=2)
    assert [text.get_text() for text in few.texts_] == labels[:2]


# Histories


def test_lines_are_the_history(made):
    display = made[HistoryDisplay]
    wanted = {
        "training loss": [1.2, 1.1, 1.0],
        "validation loss": [1.3, 1.0, 1.1],
        "validation score": [1.1, 0.9, 1.0],
        "learning rate": [1e-3, 1e-3, 5e-4],
    }
    assert display.lines_.keys() == wanted.keys()
    for name, line in display.lines_.items():
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
        np.testing.assert_array_equal(line.get_ydata(), wanted[name])
    labels = [text.get_text() for text in display.axes_[1].get_legend().get_texts()]
    assert labels == ["validation score", "baseline", "best: 0.9000 in epoch 2"]
    short = type("Short", (), {"history": [{"epoch": 1, "train_loss": 1.0}]})
    bare = HistoryDisplay.from_net(short())
    assert bare.axes_.shape == (1,) and list(bare.lines_) == ["training loss"]
    assert bare.scores is None and bare.learning_rates is None


# Measured shares


def test_measured_shares_are_drawn_if_asked_for():
    (scene,) = make_scenes(1, size=24, scale=2, n_frames=4, random_state=2)
    net = FusionNet.from_pretrained("simulated-x2", device="cpu", verbose=0)
    estimators = {"net": net, "bicubic": BicubicBaseline(scale=2)}
    display = ComparisonDisplay.from_estimator(estimators, scene, measured_share=True)
    expected = net.predict([scene], return_parts=True)[1].measured_share[0]
    assert display.measured_shares.keys() == {"net"}
    np.testing.assert_allclose(display.measured_shares["net"], expected, atol=1e-5)
    row = display.axes_[-1]
    titles = [panel.get_title() for panel in row]
    assert titles == ["", "measured share of net", "", ""]
    (drawn,) = row[1].get_images()
    assert drawn.get_clim() == (0, 1) and drawn.get_cmap().name == "viridis"
    np.testing.assert_allclose(drawn.get_array(), expected, atol=1e-5)
    without = ComparisonDisplay.from_estimator(estimators, scene)
    assert not without.measured_shares and len(without.axes_) == len(display.axes_) - 1
    with pytest.raises(ValueError, match="none of bicubic gives measured shares"):
        ComparisonDisplay.from_estimator(
            {"bicubic": BicubicBaseline(scale=2)}, scene, measured_share=True
        )
