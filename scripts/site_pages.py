"""A hook of MkDocs: the README beside docs/ is a page as well, and its links lead to pages."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
README, OVERVIEW = "README.md", "overview.md"
LINK = re.compile(r"(?P<words>!?\[[^]]*\])\((?!\w+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    files.append(File.generated(config, OVERVIEW, content=(ROOT / README).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links from and to the README; words for those to files that are no pages."""
    place = page.file.src_uri

    def changed(link: re.Match[str]) -> str:
        path = link["path"]
        if place == OVERVIEW:
            outside, path = not path.startswith("docs/"), path.removeprefix("docs/")
        else:
            outside, path = path.startswith("../") and "/" not in place, path.removeprefix("../")
        if outside and path != README:
            return link["words"].strip("[]")
        return f"{link['words']}({OVERVIEW if outside else path}{link['anchor'] or ''})"

    return LINK.sub(changed, markdown) if "/" not in place else markdown
