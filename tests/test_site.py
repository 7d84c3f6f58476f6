"""Documentation site: complete API reference, consistent built pages."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_documents import DOCS, ROOT, pages

import probav_estimators
from probav_estimators import metrics
from probav_estimators.cli import COMMANDS

BUILT = DOCS / "_build" / "html"


def load(path):
    """Import a module from docs/, which is not a package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


problems_of_site = load(DOCS / "check_site.py").problems_of_site
outside_links = load(DOCS / "_extensions" / "outside_links.py")


def names_in_reference():
    """Names with a page in the API reference, without the package prefix."""
    text = (DOCS / "api.rst").read_text()
    listed = re.findall(r"^\.\. autosummary::\n(?:   :.*\n)+\n((?:   \S+\n)+)", text, re.MULTILINE)
    return [name for block in listed for name in block.split()]


def public_names():
    of_metrics = (name for name in metrics.__all__ if name not in probav_estimators.__all__)
    named = [name for name in probav_estimators.__all__ if not name.startswith("_")]
    return named + [f"metrics.{name}" for name in of_metrics]


def test_every_public_name_is_in_the_reference_once():
    others = ("architectures.", "benchmark.", "geo.")
    listed = [name for name in names_in_reference() if not name.startswith(others)]
    numbers = [name for name in public_names() if name.endswith("_THRESHOLD")]
    assert sorted(listed) == sorted(set(public_names()) - set(numbers))
    text = (DOCS / "api.rst").read_text()
    assert all(f"``{name.partition('.')[2]}``" in text for name in numbers)


def test_every_command_is_on_the_page_of_commands():
    text = (DOCS / "command_line.md").read_text()
    assert re.findall(r"^```\{probav-command\} (\S+)$", text, re.MULTILINE)
    for name in COMMANDS:
        assert f"## {name}\n\n```{{probav-command}} {name}\n" in text


def test_every_picture_is_shown_and_can_be_made_again():
    text = "".join(path.read_text() for path in pages(".md"))
    pictures = {path.stem for path in DOCS.glob("images/concepts/*.png")}
    assert pictures == load(DOCS / "make_pictures.py").PICTURES.keys()
    assert all(f"images/concepts/{name}.png)" in text for name in pictures)


@pytest.mark.parametrize(
    ("folder", "link", "expected"),
    [
        ("docs", "../CONTRIBUTING.md#tests", "/contributing.md#tests"),
        ("docs/howto", "../../examples/plot_fusion.py", "/auto_examples/plot_fusion.rst"),
        (".", "docs/user_guide.md#fusion", "/user_guide.md#fusion"),
        (".", "probav_estimators/weights/simulated-x3.md", "/weights/simulated-x3.md"),
        ("probav_estimators/weights", "simulated-x3.md", "/weights/simulated-x3.md"),
        ("docs", "images/sentinel2.png", "images/sentinel2.png"),
        ("docs", "../examples/onnx_without_torch.py", "../examples/onnx_without_torch.py"),
        ("docs", "https://example.org/README.md", "https://example.org/README.md"),
        ("docs", "#below", "#below"),
    ],
)
def test_links_to_files_elsewhere_lead_to_their_pages(folder, link, expected):
    text = outside_links.with_site_links(f"[it]({link})", ROOT / folder, ROOT)
    assert text == f"[it]({expected})"


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ('<a href="nowhere.html">', "nowhere.html: no such file"),
        ('<a href="other.html#nowhere">', "other.html#nowhere: no such anchor"),
        ('<a href="#nowhere">', "#nowhere: no such anchor"),
        ('<a href="../outside.html">', "../outside.html: outside of the site"),
        ('<img src="nowhere.png">', "nowhere.png: no such file"),
        ('<img srcset="here.css 1x, two.png 2x">', "two.png: no such file"),
        ('<script src="https://cdn.example/a.js"></script>', "loaded from elsewhere"),
        ('<link rel="stylesheet" href="//cdn.example/a.css">', "loaded from elsewhere"),
        ("<style>@import 'https://cdn.example/a.css'</style>", "loaded from elsewhere"),
        ('<p style="background: url(https://cdn.example/a.png)">', "loaded from elsewhere"),
    ],
)
def test_a_broken_page_is_found(html, problem, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (tmp_path / "outside.html").write_text("")
    (site / "other.html").write_text('<p id="here">')
    (site / "here.css").write_text("")
    (site / "index.html").write_text(html)
    (found,) = problems_of_site(site)
    assert found.startswith("index.html: ")
    assert problem in found


def test_a_style_sheet_that_loads_from_elsewhere_is_found(tmp_path):
    (tmp_path / "a.css").write_text("@font-face {src: url('https://cdn.example/font.woff2')}")
    (found,) = problems_of_site(tmp_path)
    assert "loaded from elsewhere" in found


def test_a_page_that_holds_together_has_no_problems(tmp_path):
    (tmp_path / "other.html").write_text('<p id="here">')
    (tmp_path / "index.html").write_text(
        '<p id="top"><a href="other.html#here"><a href="#top"><a href="https://example.org/x">'
        '<link rel="canonical" href="https://example.org/"><img src="data:image/png;base64,AA==">'
    )
    assert problems_of_site(tmp_path) == []


# Built site


def is_up_to_date():
    """Whether the built site is newer than its sources."""
    index = BUILT / "index.html"
    package = Path(probav_estimators.__file__).parent
    shown = [*pages(".md"), *pages(".rst"), *ROOT.glob("*.md"), *ROOT.glob("examples/plot_*.py")]
    shown += [path for folder in (package, DOCS / "_extensions") for path in folder.rglob("*.py")]
    return index.exists() and index.stat().st_mtime > max(path.stat().st_mtime for path in shown)


UP_TO_DATE = is_up_to_date()
built = pytest.mark.skipif(not UP_TO_DATE, reason="no site that is up to date: make docs")


@pytest.mark.slow
@pytest.mark.skipif(UP_TO_DATE, reason="make docs has built it")
@pytest.mark.timeout(900)
def test_site_can_be_built(tmp_path):
    pytest.importorskip("sphinx")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "--quiet", DOCS, tmp_path]
    environment = os.environ | {"MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr
    assert problems_of_site(tmp_path) == []


@built
def test_every_public_name_has_a_page_at_a_lasting_address():
    for name in public_names():
        page = BUILT / "generated" / f"probav_estimators.{name}.html"
        assert "THRESHOLD" in name or f'id="probav_estimators.{name}"' in page.read_text()
