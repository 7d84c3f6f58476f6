"""HTML reports: content, no network access, accessibility."""

import base64
import hashlib
import io
import json
import re
import sys
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from _helpers import HOSTILE_NAMES, bicubic, clearest_frames, small_scenes
from click.testing import CliRunner
from PIL import Image
from sklearn.pipeline import make_pipeline

from probav_estimators import (
    BicubicBaseline,
    FrameRegistrar,
    FusionNet,
    Scene,
    make_scenes,
    quality_report,
    save_scenes,
    write_report,
)
from probav_estimators.cli import probav
from probav_estimators.names import printable
from probav_estimators.report import FIGURES, Figure

VOID = {"meta", "link", "img", "br", "input"}


class Node:
    """HTML element."""

    def __init__(self, tag, attrs=(), parent=None):
        self.tag, self.attrs, self.parent, self.children = tag, dict(attrs), parent, []

    def __getitem__(self, name):
        return self.attrs[name]

    def all(self, *tags, **attrs):
        """Descendants in document order; `class_` and `data_name` match class and data-name."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attrs.items()}
        for child in self.children:
            if isinstance(child, Node):
                has = all(child.attrs.get(name) == value for name, value in wanted.items())
                if has and (not tags or child.tag in tags):
                    yield child
                yield from child.all(*tags, **attrs)

    def one(self, *tags, **attrs):
        (found,) = self.all(*tags, **attrs)
        return found

    @property
    def text(self):
        parts = (child if isinstance(child, str) else child.text for child in self.children)
        return " ".join("".join(parts).split())


class Parser(HTMLParser):
    def __init__(self):
        super().__init__()
        self.root = self.at = Node("document")

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs)
        node = Node(tag, attrs, self.at)
        self.at.children.append(node)
        if tag not in VOID:
            self.at = node

    def handle_endtag(self, tag):
        assert self.at.tag == tag, f"<{self.at.tag}> is closed by </{tag}>"
        self.at = self.at.parent

    def handle_data(self, data):
        self.at.children.append(data)


def parse(path):
    parser = Parser()
    parser.feed(path.read_text(encoding="utf-8"))
    parser.close()
    assert parser.at is parser.root
    return parser.root


def page_of(estimators, scenes, folder, **options):
    path = folder / "report.html"
    write_report(estimators, scenes, path, **options)
    return parse(path)


def pixels_of(image):
    """Decode the pixels of an <img> with an embedded PNG."""
    start, text = image["src"].split(",")
    assert start == "data:image/png;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(text)))
    assert picture.size == (int(image["width"]), int(image["height"]))
    return np.asarray(picture.convert("RGB") if picture.mode == "P" else picture).astype(int)


def picture(section, name):
    return pixels_of(section.one("figure", data_name=name).one("img"))


def rows_of(table):
    return [[cell.text for cell in row.all("th", "td")] for row in table.all("tr")]


def shown(value, key):
    return f"{value:.{FIGURES[key].digits}f}" if np.isfinite(value) else "–"  # noqa: RUF001


class Oracle:
    """Estimator that predicts the HR image, records the scenes, and can fail."""

    def __init__(self, fails_at=None):
        self.fails_at = fails_at
        self.asked = []

    def predict(self, X):
        self.asked.append(X)
        if self.fails_at in [scene.name for scene in X]:
            raise ValueError("it cannot")
        return [scene.hr for scene in X]


class Fixed:
    """Estimator that predicts the same images of all scenes."""

    def __init__(self, images):
        self.images = images

    def predict(self, X):
        return self.images


class Constant:
    """Estimator that predicts grey images with standard deviations."""

    def predict(self, X, return_std=False):
        images = [np.full(scene.hr.shape, 0.25, np.float32) for scene in X]
        return (images, [image / 10 for image in images]) if return_std else images


@pytest.fixture(scope="module")
def scenes():
    """Two scenes with truth and one without, of 72 x 96 HR pixels."""
    found = make_scenes(3, size=(24, 32), n_frames=5, random_state=3)
    found[2] = found[2].without_truth()
    return found


@pytest.fixture(scope="module")
def estimators():
    net = FusionNet.from_pretrained("simulated-x3", device="cpu", verbose=0)
    return {"baseline": BicubicBaseline(scale=3), "fusion": net}


@pytest.fixture(scope="module")
def path(estimators, scenes, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert write_report(estimators, scenes, path) is None
    return path


@pytest.fixture(scope="module")
def page(path):
    return parse(path)


@pytest.fixture
def no_charts(monkeypatch):
    """Reports without charts take half of the time."""
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)


@pytest.fixture(scope="module")
def sections(page):
    return list(page.all("section", class_="scene"))


class TestSelfContained:
    def test_nothing_is_asked_for(self, page, path):
        for node in page.all():
            for name in ("src", "href", "srcset", "action", "poster", "data"):
                value = node.attrs.get(name)
                assert value is None or value.startswith(("data:", "#")), value[:60]
            assert "style" not in node.attrs
            assert not any(name.startswith("on") for name in node.attrs)
        assert "http" not in re.sub(r"http-equiv", "", path.read_text(encoding="utf-8"))
        style = page.one("style").text
        assert "url(" not in style and "@import" not in style and "@font-face" not in style

    def test_policy_allows_the_page_s_own_script_and_style_alone(self, page):
        policy = page.one("meta", http_equiv="Content-Security-Policy")["content"]
        rules = dict(part.strip().split(" ", 1) for part in policy.split(";"))
        assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
        assert rules["img-src"] == "data:"
        for tag in ("script", "style"):
            (text,) = page.one(tag).children
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert rules[f"{tag}-src"] == f"'sha256-{digest}'"


class TestFigures:
    def test_they_are_those_of_quality_report(self, page, scenes, estimators):
        summary = rows_of(page.one("table", id="summary-table"))
        rows = rows_of(page.one("table", id="scene-table"))
        titles = {key: figure.title for key, figure in FIGURES.items()}
        assert [re.sub(r"\s*[↑↓→].*", "", title) for title in rows[0][4:]] == list(titles.values())
        assert len(rows) == 1 + 3 * 2
        for position, (name, estimator) in enumerate(estimators.items()):
            report = quality_report(estimator, scenes)
            means = dict(zip(FIGURES, summary[1 + position][1:], strict=True))
            assert summary[1 + position][0] == name
            for key in FIGURES:
                count = report.count[key]
                of = f" n = {count}" if 0 < count < 3 else ""
                assert means[key] == shown(report.mean[key], key) + of
            for record, row in zip(report.scenes, rows[1 + position :: 2], strict=True):
                assert row[:4] == [record["name"], record["band"], "5", name]
                assert row[4:] == [shown(record[key], key) for key in FIGURES]

    def test_the_best_of_each_column_is_bold(self, page):
        baseline, fusion = list(page.one("table", id="summary-table").all("tr"))[1:]
        bold = [["best" in td.attrs.values() for td in row.all("td")] for row in (baseline, fusion)]
        marked = dict(zip(FIGURES, zip(*bold, strict=True), strict=True))
        assert marked["cpsnr"] == marked["score"] == marked["consistency"] == (False, True)
        # No mark for metrics without a best value or without a second model.
        assert marked["shift_down"] == marked["coverage_68"] == (False, False)
        assert marked["sharpness"] == (False, False)

    def test_each_is_explained_with_what_it_does_not_prove(self, page):
        legend = page.one("dl", class_="legend")
        for key, figure in FIGURES.items():
            text = legend.one("div", id=f"figure-{key}").text
            assert figure.title in text and figure.meaning in text and figure.caveat in text
            for link in page.all("a", href=f"#figure-{key}"):
                assert figure.meaning in link["title"] and figure.caveat in link["title"]

    def test_a_new_figure_is_one_record(self, scenes, tmp_path, monkeypatch, no_charts):
        figure = Figure(
            title="mean",
            better="more",
            meaning="mean of the image",
            digits=4,
            caveat="anything.",
            needs="frames",
            compute=lambda measurement: measurement.image.mean(),
        )
        monkeypatch.setitem(FIGURES, "mean", figure)
        page = page_of(Oracle(), scenes[:1], tmp_path)
        head, row = rows_of(page.one("table", id="summary-table"))
        assert (head[-1], row[-1]) == ("mean ↑", f"{scenes[0].hr.mean():.4f}")
        assert "anything." in page.one("div", id="figure-mean").text
        assert page.one("h1").text == "Quality of Oracle"
        # Nothing to compare with.
        assert not any("best" in td.attrs.values() for td in page.all("td"))

    def test_what_cannot_be_had_is_named(self, scenes, tmp_path, no_charts):
        page = page_of(BicubicBaseline(scale=3), [scenes[2]], tmp_path)
        text = page.one("section", id="summary").text
        assert "Not available: cPSNR (dB), score, cSSIM" in text
        assert "cPSNR" not in "".join(rows_of(page.one("table", id="summary-table"))[0])


class TestPictures:
    def test_each_scene_has_all_that_there_is(self, sections):
        images = ["Clearest frame", "fusion", "baseline"]
        maps = ["baseline, error", "fusion, error"]
        deviation = "fusion, standard deviation"
        names = [
            [f["data-name"] for f in section.all("figure") if "data-name" in f.attrs]
            for section in sections
        ]
        assert names[0] == names[1] == [*images, "Truth", *maps, deviation]
        assert names[2] == [*images, deviation]

    def test_they_have_one_stretch(self, sections, scenes, estimators):
        for section, scene in zip(sections, scenes, strict=True):
            (frame,), (clear,) = clearest_frames(scene, 1)
            images = {"Clearest frame": bicubic(frame[None])[0]}
            images |= {name: one.predict([scene])[0] for name, one in estimators.items()}
            counted = [images["Clearest frame"][np.kron(clear, np.ones((3, 3), bool))]]
            counted += [images[name].ravel() for name in estimators]
            if scene.has_hr:
                images["Truth"] = scene.hr
                counted.append(scene.hr[scene.sm])
            low, high = np.percentile(np.concatenate(counted), [1, 99])
            for name, image in images.items():
                expected = np.clip((image - low) / (high - low), 0, 1) * 255
                assert np.abs(picture(section, name) - expected).max() < 0.51
            text = section.one("ul", class_="scales").text
            black, white = map(float, re.findall(r"(?:black|white) (\d+)", text))
            assert (black, white) == pytest.approx((65535 * low, 65535 * high), rel=1e-3, abs=1)

    def test_errors_are_blue_and_red_about_white(self, tmp_path, no_charts):
        (scene,) = small_scenes(1, shape=(20, 24), n_frames=4)

        class Off:
            def predict(self, X):
                image = scene.hr.copy()
                image[20:30, 30:40] += 0.05
                image[40:50, 30:40] -= 0.05
                return [image]

        colours = picture(page_of(Off(), [scene], tmp_path), "Off, error")
        red, _, blue = colours[25, 35]
        assert blue > 150 > red
        red, _, blue = colours[45, 35]
        assert red > 150 > blue
        assert colours[55, 60].min() > 200
        hatched = (colours == colours[..., :1]).all(-1) & (colours[..., 0] < 160)
        assert hatched[:3].all() and hatched[:, -3:].all()
        assert hatched[4:7, 6:15].all() and not hatched[15:50, 25:60].any()
        assert len(np.unique(colours[:3], axis=1)) > 1


def svg_of(figure):
    start, text = figure.one("img")["src"].split(",")
    assert start == "data:image/svg+xml;base64"
    return base64.b64decode(text).decode()


def titles_of(part):
    return [figure.one("strong").text for figure in part.all("figure", class_="chart")]


class TestCharts:
    @pytest.fixture(autouse=True)
    def matplotlib(self):
        pytest.importorskip("matplotlib")

    def test_there_is_one_for_each_question_that_can_be_answered(self, page, sections):
        # The baseline's scores are all 1, and only the network gives standard deviations.
        overall = ["fusion, scores", "Standard deviations, coverage"]
        assert titles_of(page.one("section", id="charts")) == overall
        spectra = ["Power and coherence by frequency"]
        assert [titles_of(section) for section in sections] == [spectra, spectra, []]

    def test_without_matplotlib_a_line_says_so(self, scenes, tmp_path, no_charts):
        page = page_of(Oracle(), scenes[:1], tmp_path)
        assert not list(page.all("figure", class_="chart"))
        assert "pip install probav_estimators[plot]" in page.one("section", id="charts").text


@pytest.mark.filterwarnings("ignore:Glyph", "ignore:constrained_layout")
def test_names_are_text(tmp_path):
    (scene,) = small_scenes(1, n_frames=4, shape=(20, 24))
    name, band = "".join(HOSTILE_NAMES[:5]), HOSTILE_NAMES[9]
    hostile = Scene(scene.lr, scene.qm, scene.hr, scene.sm, name=name, band=band)
    names = [HOSTILE_NAMES[number] for number in (0, 6, 7, 11)]
    title = " ".join(map(str, HOSTILE_NAMES))
    page = page_of(dict.fromkeys(names, Constant()), [hostile], tmp_path, title=title)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(part.isprintable() for part in text.split("\n"))
    assert len(list(page.all("script"))) == 1
    rows = rows_of(page.one("table", id="scene-table"))[1:]
    assert [row[3] for row in rows] == [" ".join(printable(n).split()) or "unnamed" for n in names]
    assert {(row[0], row[1]) for row in rows} == {(name, band)}
    assert page.one(role="slider")["aria-label"] == f"Divider between two pictures of {name}"
    for chart in page.all("figure", class_="chart"):
        ElementTree.fromstring(svg_of(chart))


@pytest.mark.usefixtures("no_charts")
class TestEstimators:
    def test_a_list_gives_each_a_name_of_its_own(self, scenes, tmp_path, estimators):
        pipe = make_pipeline(FrameRegistrar(), BicubicBaseline())
        page = page_of([BicubicBaseline(), estimators["fusion"], pipe], scenes[:1], tmp_path)
        names = [row[0] for row in rows_of(page.one("table", id="summary-table"))[1:]]
        assert names == ["BicubicBaseline", "FusionNet", "BicubicBaseline 2"]

    def test_each_scene_is_predicted_once_and_from_two_halves(self, scenes, tmp_path):
        oracle, other = Oracle(), Oracle()
        page_of([oracle, other], scenes[:2], tmp_path)
        for one in (oracle, other):
            assert [len(X) for X in one.asked] == 6 * [1]
            assert [len(X[0]) for X in one.asked[::3]] == [5, 5]

    @pytest.mark.parametrize(
        ("estimators", "message"),
        [
            ({}, "no estimator"),
            ({"x": 3}, "'x' is a int, which has no predict"),
            (Fixed([np.zeros((72, 95))]), "95"),
        ],
    )
    def test_what_is_none_is_refused(self, scenes, tmp_path, estimators, message):
        with pytest.raises(ValueError, match=message):
            write_report(estimators, scenes, tmp_path / "report.html")


@pytest.mark.usefixtures("no_charts")
class TestWholeOrNotAtAll:
    def test_a_failure_leaves_what_was_there(self, scenes, tmp_path):
        oracle, path = Oracle(fails_at=scenes[1].name), tmp_path / "report.html"
        for there in ([], [path]):
            with pytest.raises(ValueError, match="cannot"):
                write_report(oracle, scenes[:2], path)
            assert list(tmp_path.iterdir()) == there
            assert not there or path.read_text() == "mine"
            path.write_text("mine")
        write_report(Oracle(), scenes[:1], path)
        assert path.read_text(encoding="utf-8").endswith("</html>\n")
        assert list(tmp_path.iterdir()) == [path]

    def test_wrong_arguments_are_refused_before_the_work(self, scenes, tmp_path):
        oracle = Oracle()
        with pytest.raises(IsADirectoryError, match="is a folder"):
            write_report(oracle, scenes, tmp_path)
        with pytest.raises(FileNotFoundError, match="none is no folder"):
            write_report(oracle, scenes, tmp_path / "none" / "report.html")
        assert oracle.asked == []


class TestAccessible:
    def test_headings_and_links_lead_through_the_page(self, page):
        levels = [int(node.tag[1]) for node in page.all("h1", "h2", "h3", "h4")]
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        assert page.one("html")["lang"] == "en" and page.one("title").text
        assert "width=device-width" in page.one("meta", name="viewport")["content"]
        first = next(page.one("body").all())
        assert (first.tag, first["href"]) == ("a", f"#{page.one('main')['id']}")
        ids = [node["id"] for node in page.all() if "id" in node.attrs]
        assert len(ids) == len(set(ids))
        for node in page.all():
            if node.attrs.get("href", "").startswith("#"):
                assert node["href"][1:] in ids
            if "aria-labelledby" in node.attrs:
                assert node["aria-labelledby"] in ids

    def test_divider_is_a_slider(self, sections):
        for section in sections:
            slider = section.one(role="slider")
            assert slider["tabindex"] == "0" and slider["aria-orientation"] == "horizontal"
            values = [slider[f"aria-value{name}"] for name in ("min", "now", "max")]
            assert values == ["0", "50", "100"]
            assert slider["aria-label"].startswith("Divider between two pictures of imgset")
            # Without JavaScript, the two images are shown without a slider.
            assert "hidden" in slider.attrs and "hidden" in section.one(class_="choice").attrs
            assert len(list(section.one(class_="stage").all("img"))) == 2

    def test_tables_scroll_by_keyboard_and_have_headers(self, page):
        for table in page.all("table"):
            assert table.parent["tabindex"] == "0" and table.parent["role"] == "region"
            head, *rows = table.all("tr")
            assert all(cell["scope"] == "col" for cell in head.all("th"))
            assert all(row.one("th")["scope"] == "row" for row in rows)

    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_text_has_contrast(self, theme):
        colours = colours_of(theme)
        for text in ("text", "muted", "link"):
            for ground in ("background", "surface", "notice"):
                assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        assert contrast(colours["muted"], colours["surface"]) >= 3  # borders of controls


def colours_of(theme):
    style = files("probav_estimators.report").joinpath("templates/page.css").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    return dict(re.findall(r"--(\w+): #(\w{6})", light if theme == "light" else dark))


def contrast(first, second):
    """Contrast ratio of two colours, as defined by WCAG 2."""
    luminances = []
    for colour in (first, second):
        channels = np.array(list(bytes.fromhex(colour))) / 255
        linear = np.where(
            channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        luminances.append(linear @ [0.2126, 0.7152, 0.0722])
    return (max(luminances) + 0.05) / (min(luminances) + 0.05)


class TestCommand:
    @pytest.fixture
    def root(self, scenes, tmp_path):
        save_scenes(scenes[:2], tmp_path / "data")
        return tmp_path / "data"

    def call(self, *args, code=0):
        result = CliRunner().invoke(probav, ["report", *map(str, args)])
        assert result.exit_code == code, result.output + repr(result.exception)
        return result

    def test_default_is_the_baseline_and_the_weights_of_the_scale(self, root, tmp_path):
        out = tmp_path / "report.html"
        result = self.call(root, "-o", out, "--max-scenes", 1, "--device", "cpu", "--json")
        assert json.loads(result.stdout) == {
            "output": str(out),
            "n_scenes": 1,
            "estimators": ["baseline", "simulated-x3"],
        }
        page = parse(out)
        assert page.one("h1").text == "Quality of baseline, simulated-x3 on data"
        assert rows_of(page.one("table", id="summary-table"))[1][2] == "1.0000"
        assert list(page.all("figure", data_name="simulated-x3, standard deviation"))
        assert page.one("details").one("dl").text.startswith("baselineBicubicBaseline(scale=3)")

    def test_a_page_that_is_there_is_kept(self, root, tmp_path):
        out = tmp_path / "report.html"
        out.write_text("mine")
        assert "is there already" in self.call(root, "-o", out, code=2).stderr
        assert out.read_text() == "mine"
        self.call(root, "-o", out, "--overwrite", "--estimator", "baseline", "--max-scenes", 1)
        assert out.read_text(encoding="utf-8").startswith("<!doctype html>")
