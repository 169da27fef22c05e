"""What the documents tell a reader to do works, as it is written. (`test_training` runs the tutorial.)"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import PATIENCE_SECONDS
from tests.support.documents import REPOSITORY, run

DOCUMENTS = sorted((REPOSITORY / "docs").glob("*.md"))
RUN_ELSEWHERE = {"training.md"}


@pytest.mark.parametrize(
    "document", [path for path in DOCUMENTS if path.name not in RUN_ELSEWHERE], ids=lambda path: path.name
)
def test_every_block_runs(document: Path, tmp_path: Path, mobilenet: Path) -> None:
    run(document, tmp_path)


@pytest.mark.parametrize("document", [*DOCUMENTS, *sorted(REPOSITORY.glob("*.md"))], ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\((?!https?://|#)([^)#\s]+)", document.read_text()):
        assert (document.parent / link).exists(), f"{document.name} links to {link}"


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the page has help as Python 3.11 lays it out")
def test_the_commands_page_is_what_the_commands_say() -> None:
    script = [sys.executable, str(REPOSITORY / "scripts" / "command_reference.py"), "--check"]
    result = subprocess.run(script, check=False, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_runner_runs_what_it_should_and_fails_where_it_should(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(
        "```sh\nprintf a > one\n```\nthen\n```python\ntext = open('one').read()\n```\n```text\nnot run\n```\n"
        "<!-- not run: it would fail -->\n```sh\nfalse\n```\n```python\nopen('two', 'w').write(text * 2)\n```\n"
    )
    run(document, tmp_path)
    assert (tmp_path / "two").read_text() == "aa"
    for language, code in (("sh", "false\ntrue"), ("python", "1 / 0")):
        document.write_text(f"text\n\n```{language}\n{code}\n```\n")
        with pytest.raises(AssertionError, match=r"page\.md:3|page\.md\", line 4"):
            run(document, tmp_path)
