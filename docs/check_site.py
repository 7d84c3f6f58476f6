"""Check a built site: python docs/check_site.py docs/_build/html

Every link and picture leads to a file of the site, every anchor to an element of its page, and no
page asks another host for a script, a style, a font or a picture. Links to other sites are not
followed.
"""

import re
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["problems_of_site"]

# Links of <link> that browsers do not load.
_NOT_LOADED = {"author", "canonical", "copyright", "index", "next", "prev", "search"}

_OF_CSS = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")


class _Page(HTMLParser):
    """URLs of a page: `links` for readers to follow, and `loads`, which browsers load."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links, self.loads, self._in_style = set(), [], [], False
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors |= {attrs[name] for name in ("id", "name") if attrs.get(name)}
        self._in_style = tag == "style"
        if tag == "a" and attrs.get("href"):
            self.links.append(attrs["href"])
        if tag == "link" and not set(attrs.get("rel", "").split()) & _NOT_LOADED:
            self.loads.append(attrs.get("href", ""))
        if tag in {"script", "img", "iframe", "source", "video", "audio", "embed"}:
            self.loads += [attrs["src"]] if attrs.get("src") else []
            self.loads += [part.split()[0] for part in attrs.get("srcset", "").split(",") if part]
        if "style" in attrs:
            self.loads += urls_of_css(attrs["style"] or "")

    def handle_data(self, data):
        if self._in_style:
            self.loads += urls_of_css(data)

    def handle_endtag(self, tag):
        self._in_style = False


def urls_of_css(text):
    """URLs that a style sheet loads, except embedded data."""
    urls = (first or second for first, second in _OF_CSS.findall(text))
    return [url for url in urls if not url.startswith("data:")]


def problems_of_site(root):
    """Problems of the pages and style sheets below a folder, one line each."""
    root = Path(root).resolve()
    read = cache(_Page)
    found = []
    for path in sorted(root.rglob("*.html")):
        if path.is_relative_to(root / "_static"):
            continue  # templates of the theme
        page = read(path)
        wrong = [f"{url}: loaded from elsewhere" for url in page.loads if _is_elsewhere(url)]
        for url in [*page.links, *page.loads]:
            if not _is_elsewhere(url):
                wrong += _problems_of_link(url, path, root, read)
        found += [f"{path.relative_to(root)}: {text}" for text in dict.fromkeys(wrong)]
    for path in sorted(root.rglob("*.css")):
        for url in urls_of_css(path.read_text()):
            wrong = ["loaded from elsewhere"] if _is_elsewhere(url) else []
            wrong += [] if wrong or _target(url, path, root).exists() else ["no such file"]
            found += [f"{path.relative_to(root)}: {url}: {text}" for text in wrong]
    return found


def _is_elsewhere(url):
    parts = urlsplit(url)
    return bool(parts.netloc) or parts.scheme not in ("", "data")


def _target(url, path, root):
    named = unquote(urlsplit(url).path)
    if not named:
        return path
    there = root / named.lstrip("/") if named.startswith("/") else path.parent / named
    return there / "index.html" if there.is_dir() else there


def _problems_of_link(url, path, root, read):
    parts = urlsplit(url)
    if parts.scheme:
        return []
    there = _target(url, path, root).resolve()
    if not there.exists():
        return [f"{url}: no such file"]
    if not there.is_relative_to(root):
        return [f"{url}: outside of the site"]
    anchor = unquote(parts.fragment)
    if anchor and there.suffix == ".html" and anchor not in read(there).anchors:
        return [f"{url}: no such anchor"]
    return []


def main(arguments):
    if len(arguments) != 1:
        sys.exit(__doc__)
    (root,) = arguments
    pages = list(Path(root).rglob("*.html"))
    if not pages:
        sys.exit(f"{root} contains no pages: build them by `make docs`")
    problems = problems_of_site(root)
    print(*problems, f"{len(pages)} pages, {len(problems)} problems", sep="\n")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main(sys.argv[1:])
