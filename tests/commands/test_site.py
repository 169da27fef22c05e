"""The site that scripts/site.sh has built."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.support import REPOSITORY

SITE = REPOSITORY / "dist" / "site"
PAGES = {
    "index.html",
    "class.html",
    "researcher.html",
    "fleet.html",
    "glossary.html",
    "simulators.html",
    "overview.html",
}

pytestmark = pytest.mark.site


class Links(HTMLParser):
    """What a page links to, and what it loads."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.followed: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "a" and given.get("href"):
            self.followed.add(str(given["href"]))
        elif tag in ("img", "script") and given.get("src"):
            self.loaded.add(str(given["src"]))
        elif tag == "link" and given.get("rel") in ("stylesheet", "icon"):
            self.loaded.add(str(given["href"]))


def target(page: Path, link: str) -> Path | None:
    """The file that a link of a page leads to; None outside the site."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    return (page.parent / unquote(parts.path)).resolve() if parts.path else page


def test_every_page_is_reached_from_the_first() -> None:
    todo, seen = [SITE / "index.html"], set()
    while todo:
        page = todo.pop()
        if page in seen:
            continue
        seen.add(page)
        assert page.exists(), page
        links = Links(page)
        targets = (target(page, link) for link in links.followed)
        todo += [one for one in targets if one is not None and one.suffix == ".html"]
        for link in links.loaded:
            file = target(page, link)
            assert link.startswith("data:") or (file is not None and file.exists()), f"{page.name} loads {link}"
    names = {str(page.relative_to(SITE)) for page in seen}
    assert names >= PAGES
    assert {str(page.relative_to(SITE)) for page in SITE.rglob("*.html")} - names == {"404.html"}


def test_public_names_are_explained() -> None:
    import pi_capture
    import storage

    for package in (pi_capture, storage):
        page = (SITE / "api" / f"{package.__name__}.html").read_text()
        explained = set(re.findall(rf'id="{package.__name__}\.(\w+)"', page))
        assert explained >= set(package.__all__)


@pytest.mark.parametrize("name", ["look", "train"])
def test_notebooks_were_run(name: str) -> None:
    page = (SITE / "notebooks" / f"{name}.html").read_text()
    assert "data:image/png;base64," in page and "Traceback" not in page
