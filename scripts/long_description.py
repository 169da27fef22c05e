"""The README as the long description of the distribution, for hatchling (see pyproject.toml).

A package index shows the README alone: links into the source tree lead nowhere there. With an address under ``Source``
in ``[project.urls]`` they become links to that address, at the tag of this version. Without one, links become plain
words, and pictures are left out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(?P<picture>!?)\[(?P<words>[^]]*)\]\((?!\w+:|#)(?P<path>[^)]+)\)")


class LongDescription(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        """Set the field ``readme``. The form of the addresses is that of GitHub."""
        source, tag = metadata.get("urls", {}).get("Source"), f"v{metadata['version']}"

        def absolute(link: re.Match[str]) -> str:
            if source is None:
                return "" if link["picture"] else link["words"]
            kind = "raw" if link["picture"] else "blob"
            return f"{link['picture']}[{link['words']}]({source}/{kind}/{tag}/{link['path']})"

        text = LINK.sub(absolute, (Path(self.root) / "README.md").read_text(encoding="utf-8"))
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
