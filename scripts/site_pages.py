"""A hook of MkDocs: the documents beside docs/ are pages as well, and their links lead to pages."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"README.md": "overview.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(?P<words>!?\[[^]]*\])\((?!\w+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links from and to the documents beside docs/; words for those to files that are no pages."""
    place = page.file.src_uri
    top = place in PAGES.values()

    def changed(link: re.Match[str]) -> str:
        path = link["path"]
        if top:
            outside, path = not path.startswith("docs/"), path.removeprefix("docs/")
        else:
            outside, path = path.startswith("../") and "/" not in place, path.removeprefix("../")
        if outside and path not in PAGES:
            return link["words"].strip("[]")
        return f"{link['words']}({PAGES.get(path, path) if outside else path}{link['anchor'] or ''})"

    return LINK.sub(changed, markdown) if "/" not in place else markdown
