#!/usr/bin/env python3
"""Write what each command says of itself: docs/commands.md, the manual pages, and the completions of shells.

    python scripts/command_reference.py [--check]

All come from the parsers of the commands: docs/commands.md is their ``--help``, docs/man/ has the manual pages of the
console scripts, docs/completion/ what bash and zsh complete. With --check nothing is written; exit status 1 says that a
file is not what the commands say.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
DOCS = ROOT / "docs"
WIDTH = 100
OPENING = """# Commands

What each command says of itself with `--help`; `python scripts/command_reference.py` writes this page.
"""
NAMES = {"pi-capture": "pi_capture", "pi-classify": "classify", "pi-storage": "storage"}


def main() -> int:
    files = {DOCS / "commands.md": _page()}
    for script, package in NAMES.items():
        parsers = _parsers(package)
        files[DOCS / "man" / f"{script}.1"] = _manual(script, parsers)
        for shell, name in (("bash", script), ("zsh", f"_{script}")):
            files[DOCS / "completion" / shell / name] = _completion(script, parsers, shell)
    if "--check" not in sys.argv[1:]:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return 0
    for path, text in files.items():
        if path.read_text().split() != text.split():  # Python's versions put other space between
            print(f"{path.relative_to(ROOT)} is not what the commands say; run python scripts/command_reference.py")
            return 1
    return 0


# -------------------------------------------------------------------------------------------------------------- --help


def _page() -> str:
    return "\n".join([OPENING, *(f"## {command}\n\n```text\n{_help(command)}```\n" for command in _commands())])


def _commands() -> list[str]:
    recording, storing = "python -m pi_capture", "python -m storage"
    listed = re.search(r"^commands[^\n]*\n((?:  .*\n)+)", _help(recording), re.M)
    doing = re.findall(r"^    ([a-z][a-z-]+)(?: |$)", _help(storing), re.M)
    besides = re.findall(r"^  ([a-z-]+)", listed[1], re.M) if listed else []
    return [
        *(recording, *(f"{recording} {name}" for name in besides)),
        "python -m classify",
        *(storing, *(f"{storing} {name}" for name in doing)),
    ]


def _help(command: str) -> str:
    run = [sys.executable, *command.split()[1:], "--help"]
    environment = {**os.environ, "COLUMNS": str(WIDTH), "NO_COLOR": "1"}
    return subprocess.run(run, capture_output=True, text=True, check=True, cwd=ROOT, env=environment).stdout


# ------------------------------------------------------------------------------------------------------------- parsers


def _parsers(package: str) -> dict[str, argparse.ArgumentParser]:
    """The parser of each command of a package, by the command's word; the first, "", is that of the package."""
    module = importlib.import_module("pi_capture.arguments" if package == "pi_capture" else f"{package}.cli")
    parser: argparse.ArgumentParser = module.build_parser()
    parser.format_help()  # which completes the epilog
    if package != "pi_capture":
        below = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        return {"": parser, **{name: one for choices in below for name, one in choices.items()}}
    commands = importlib.import_module("pi_capture.cli").COMMANDS
    return {"": parser, **{name: _parser_of(place) for name, place in commands.items()}}


def _parser_of(place: str) -> argparse.ArgumentParser:
    """The parser that a command makes when it is called."""
    module, _, name = place.partition(":")
    command: Callable[[list[str]], int] = getattr(importlib.import_module(module), name)
    asked: list[argparse.ArgumentParser] = []

    def ask(parser: argparse.ArgumentParser, *rest: object) -> None:
        asked.append(parser)
        sys.exit()

    with patch.object(argparse.ArgumentParser, "parse_args", ask), suppress(SystemExit):
        command([])
    return asked[0]


# -------------------------------------------------------------------------------------------------------- manual pages


def _manual(script: str, parsers: dict[str, argparse.ArgumentParser]) -> str:
    """A manual page in the language of man(7), with a section for each command."""
    parts = [f'.TH "{script.upper()}" 1 "" pi-capture']
    for name, parser in parsers.items():
        if not name:
            parts += [".SH NAME", rf"{_roff(script)} \- {_roff(str(parser.description).rstrip('.'))}", ".SH SYNOPSIS"]
        else:
            parts += [f'.SH "{script.upper()} {name.upper()}"']
        usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
        parts += [".nh", _roff(usage.replace(f"python -m {NAMES[script]}", script)), ".hy"]
        if not name:
            parts += [".SH DESCRIPTION"]
        parts += [".PP", _roff(str(parser.description or ""))]
        for group in parser._action_groups:
            actions = [one for one in group._group_actions if one.help != argparse.SUPPRESS]
            if actions and not isinstance(actions[0], argparse._SubParsersAction):
                parts += [
                    f'.SS "{_roff(str(group.title))}"',
                    *(line for one in actions for line in _option(parser, one)),
                ]
        if parser.epilog:
            parts += [".SS Notes", ".nf", _roff(parser.epilog), ".fi"]
    return "\n".join(parts) + "\n"


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> list[str]:
    names = ", ".join(action.option_strings) or str(action.metavar or action.dest)
    takes_value = action.option_strings and action.nargs != 0
    value = action.metavar or (
        "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()
    )
    told = " ".join((parser._get_formatter()._expand_help(action) if action.help else "").split())
    return [".TP", _roff(f"{names} {value}" if takes_value else names), _roff(told)]


def _roff(text: str) -> str:
    """Text as it is: no line of it is a request, no hyphen becomes a typographic one."""
    text = text.strip().replace("\\", r"\e").replace("-", r"\-")
    return re.sub(r"^(?=[.'])", r"\\&", text, flags=re.M)


# --------------------------------------------------------------------------------------------------------- completions


STEPS = """
_pi_storage_steps() {
  local before=${1%%"${1##*,}"}
  compgen -P "$before" -W "%s" -- "${1##*,}"
}
"""


def _values() -> dict[str, tuple[str, ...]]:
    """What is offered for an option that takes these, and perhaps others."""
    from pi_capture.samples import sound
    from pi_capture.sources.table import SOURCES
    from storage.formats.hdf5.writer import COMPRESSIONS
    from storage.formats.table import FORMATS
    from storage.formats.video.codecs import CODECS

    return {
        "--camera": ("auto", "none", *(kind.name for kind in SOURCES if kind.form.startswith(f"{kind.name}["))),
        "--size": ("source",),
        "--focus": ("auto", "once"),
        "--labels-from": ("terminal", "studio"),
        "--audio-codec": tuple(sound.CODECS),
        "--compression": COMPRESSIONS,
        "--codec": tuple(codec.name for codec in CODECS),
        "--backend": tuple(row.name for row in FORMATS),
    }


def _completion(script: str, parsers: dict[str, argparse.ArgumentParser], shell: str) -> str:
    """The words of a command line by shtab; where it knows none, names of files: of bash's own accord, or by zsh's."""
    import shtab

    from storage.batch.steps import STEPS as KNOWN

    steps = " ".join(KNOWN)
    top = argparse.ArgumentParser(prog=script, parents=[parsers[""]], add_help=False)
    if len(parsers) > 1:  # a command comes first, where a recording may as well
        top._actions[:] = [action for action in top._actions if action.option_strings]
        commands = top.add_subparsers()
        for name, parser in parsers.items():
            if name:
                about = " ".join(str(parser.description).split()).split(". ")[0].rstrip(".")
                commands.add_parser(name, parents=[parser], add_help=False, help=about)
    values = _values()
    for parser in (top, *parsers.values()):
        for action in parser._actions:
            for option in action.option_strings:
                action.choices = values.get(option, action.choices)
            if action.dest == "steps":
                action.complete = {  # type: ignore[attr-defined]  # shtab reads it
                    "bash": "_pi_storage_steps",
                    "zsh": f"_values -s , step {steps}",
                    "preamble": {"bash": STEPS % steps},
                }
            elif shell == "zsh" and action.nargs != 0 and not action.choices:
                action.complete = {"zsh": "_files"}  # type: ignore[attr-defined]  # shtab reads it
    places = {"bash": f"_shtab_{script.replace('-', '_')}_pos_0_COMPGEN=_shtab_compgen_dirs"}  # recordings, too
    written = shtab.complete(top, shell, preamble=places)
    if shell == "zsh":  # its "(*):" takes one word only
        return written.replace('"(*):', '"*:')
    return written.replace("complete -o bashdefault", "complete -o bashdefault -o default")


if __name__ == "__main__":
    sys.exit(main())
