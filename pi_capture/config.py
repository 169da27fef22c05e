"""Options from the command line, the environment and a file, by one table.

An `Option` called ``sync-interval`` is ``--sync-interval`` on the command line, ``PI_CAPTURE_SYNC_INTERVAL`` in the
environment and ``sync-interval`` in the TOML file that ``--config`` names. A flag overrides the environment, which
overrides the file, which overrides the default. For the options see `pi_capture.arguments`.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from pi_capture.errors import UsageError

PREFIX = "PI_CAPTURE_"
YES_OR_NO = {**dict.fromkeys(("1", "true", "yes", "on"), True), **dict.fromkeys(("0", "false", "no", "off"), False)}


class Kind(Enum):
    """What is written after an option's name."""

    POSITIONAL = "a value, without the name, on the command line"
    VALUE = "a value"
    LIST = "a value, and the option several times; in a file a list"
    SWITCH = "nothing; in a file true or false"
    YES_OR_NO = "nothing, and --no-NAME is its opposite; in a file true or false"
    MAYBE_VALUE = "a value or nothing; in a file a value, or true for nothing"


_COLLECTED: Mapping[Kind, Mapping[str, Any]] = {
    Kind.POSITIONAL: {"nargs": "?"},
    Kind.VALUE: {},
    Kind.LIST: {"action": "append"},
    Kind.SWITCH: {"action": "store_true"},
    Kind.YES_OR_NO: {"action": argparse.BooleanOptionalAction},
    Kind.MAYBE_VALUE: {"nargs": "?", "const": True},
}


@dataclass(frozen=True, slots=True)
class Option:
    """A row of the table."""

    name: str  # as on the command line, without the dashes
    help: str
    metavar: str = ""  # what the help calls its value
    kind: Kind = Kind.VALUE
    type: Callable[[str], Any] = str  # makes the value from a text; raises ValueError or argparse.ArgumentTypeError
    number: bool = False  # written as a number in a file
    text: str = ""  # the example of a text that it may be as well; empty if it is a number only
    default: str | float | None = None  # as a file would write it; None if the option is not set then
    bare: Any = None  # the value of `MAYBE_VALUE` without one
    group: str = ""  # the heading in the help
    dest: str = ""  # the name in `Configuration.arguments`, if it is not `name`

    @property
    def attribute(self) -> str:
        return self.dest or self.name.replace("-", "_")

    @property
    def is_switch(self) -> bool:
        return self.kind in (Kind.SWITCH, Kind.YES_OR_NO)

    def add(self, add_argument: Callable[..., object]) -> None:
        """Have argparse collect what is typed, as text."""
        how = dict(_COLLECTED[self.kind], help=self.help)
        if self.metavar:
            how["metavar"] = self.metavar
        if self.kind is Kind.POSITIONAL:
            add_argument(self.attribute, **how)
        else:
            add_argument(f"--{self.name}", dest=self.attribute, **how)

    def as_written(self, typed: Any) -> Any:
        """Return what argparse collected, as a file would write it."""
        return _number(typed) if self.number and isinstance(typed, str) else typed

    def from_text(self, text: str, where: str) -> Any:
        """Return the value of a text in the environment. Raises UsageError if a switch can't have it."""
        if self.is_switch and text.lower() not in YES_OR_NO:
            raise UsageError(f"{where} takes 1 or 0, not {text!r}")
        if self.is_switch or (self.kind is Kind.MAYBE_VALUE and text.lower() in ("true", "false")):
            return YES_OR_NO[text.lower()]
        if self.kind is Kind.LIST:
            try:
                if text.startswith("[") and text.endswith("]"):  # as in a file
                    raise ValueError
                return shlex.split(text)
            except ValueError:  # a quotation that does not end
                raise UsageError(f"{where} takes values with spaces between them, such as a b, not {text}") from None
        return self.as_written(text)

    def check(self, value: object, where: str) -> None:
        """Raise UsageError for the wrong TOML type, such as a number in quotes or a text for a switch."""
        if self.kind is Kind.MAYBE_VALUE and isinstance(value, bool):
            return
        if self.is_switch:
            wanted, right = "true or false", isinstance(value, bool)
        elif self.kind is Kind.LIST:
            wanted = "a list, such as [1, 2]" if self.number else 'a list, such as ["one", "two"]'
            right = isinstance(value, list) and all(isinstance(one, str | int | float) for one in value)
        elif self.number:
            wanted = f'a number, or a text such as "{self.text}"' if self.text else "a number"
            right = isinstance(value, (int | float | str) if self.text else (int | float)) and not isinstance(
                value, bool
            )
        else:
            wanted, right = "a text in quotes", isinstance(value, str)
        if not right:
            raise UsageError(f"{where} takes {wanted}, not {_toml(value)}")

    def convert(self, value: Any, where: str) -> Any:
        """Return what a value of the right type means. Raises UsageError."""
        if self.kind is Kind.LIST:
            return [self._convert_one(str(one), where) for one in value or ()]
        if self.kind is Kind.SWITCH:
            return bool(value)
        if isinstance(value, bool) and self.kind is Kind.MAYBE_VALUE:
            return self.bare if value else None
        return value if value is None or self.is_switch else self._convert_one(str(value), where)

    def _convert_one(self, text: str, where: str) -> Any:
        try:
            return self.type(text)
        except argparse.ArgumentTypeError as error:
            raise UsageError(f"{where}: {error}") from error
        except ValueError as error:
            kind = "whole number" if self.type is int else self.type.__name__
            raise UsageError(f"{where}: {text!r} is not a {kind}") from error


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it came from."""

    option: Option
    value: Any  # as it was written; None if it is not set
    origin: str  # ``flag``, ``environment PI_CAPTURE_SIZE``, ``corner.toml:3`` or ``default``

    def convert(self) -> Any:
        """Return what it means. Raises UsageError."""
        named = self.option.metavar if self.option.kind is Kind.POSITIONAL else f"--{self.option.name}"
        where = named if self.origin == "flag" else f"{self.origin}: {self.option.name}"
        return self.option.convert(self.value, where)


@dataclass(frozen=True, slots=True)
class Configuration:
    """The values of all options, and where each came from."""

    arguments: argparse.Namespace
    settings: tuple[Setting, ...]


def configure(
    parser: argparse.ArgumentParser, options: Sequence[Option], words: Sequence[str], environment: Mapping[str, str]
) -> Configuration:
    """Parse a command line, and complete it from the environment and from the file that ``--config`` names.

    `parser` has all `options`, one of them ``config``; what else it has is on the command line only. It was made with
    ``argument_default=argparse.SUPPRESS``. `words` are the command line; `environment` is such as ``os.environ``.

    Raises
    ------
    UsageError
        A key or a variable is unknown, or a value is not what the option takes; the file can't be read.
    SystemExit
        The command line is wrong; argparse has printed why.
    """
    by_name = {option.name: option for option in options}
    typed = vars(parser.parse_args(words))
    flags = {
        name: Setting(option, option.as_written(typed.pop(option.attribute)), "flag")
        for name, option in by_name.items()
        if option.attribute in typed
    }
    chosen = {name: Setting(option, option.default, "default") for name, option in by_name.items()}
    found = {**_from_environment(environment, by_name), **flags}
    if "config" in found:
        chosen.update(_from_file(Path(found["config"].value), by_name))
    chosen.update(found)
    values = {setting.option.attribute: setting.convert() for setting in chosen.values()}
    return Configuration(argparse.Namespace(**typed, **values), tuple(chosen.values()))


def as_toml(settings: Sequence[Setting]) -> str:
    """Return the settings as a file for ``--config``, each with its origin; those not set are comments."""
    lines = []
    for one in settings:
        if one.option.name != "config":
            line = one.option.name if one.value is None else f"{one.option.name} = {_toml(one.value)}"
            lines.append((f"# {line}" if one.origin == "default" else line, one.origin))
    width = max(len(line) for line, _ in lines)
    return "\n".join(f"{line:{width}}  # {origin}" for line, origin in lines)


def line_of(text: str, key: str) -> int:
    """Return the line, from 1, on which a top-level key of a TOML document is set (for a table: first named)."""
    lines = text.split("\n")
    import tomllib

    begin = 0  # where the present statement begins
    for end in range(1, len(lines) + 1):
        try:
            document = tomllib.loads("\n".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue  # in the middle of an array or of a text of several lines
        if key in document:
            return begin + 1
        begin = end
    raise KeyError(key)


def _from_environment(environment: Mapping[str, str], options: Mapping[str, Option]) -> dict[str, Setting]:
    """Return the settings of variables that aren't empty: ``PI_CAPTURE_FPS=`` counts as not set."""
    found = {}
    for variable, text in environment.items():
        if variable.startswith(PREFIX) and text:
            name = variable.removeprefix(PREFIX).lower().replace("_", "-")
            if name not in options:
                raise UsageError(f"{variable} is set, but there is no such option{_did_you_mean(name, options)}")
            origin = f"environment {variable}"
            found[name] = Setting(options[name], options[name].from_text(text, f"{origin}: {name}"), origin)
    return found


def _from_file(path: Path, options: Mapping[str, Option]) -> dict[str, Setting]:
    import tomllib

    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows' editors begin with a mark
        document = tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError; a number of 5,000 digits; a thousand brackets
        raise UsageError(f"{path}: this is not TOML: {error}") from error
    found = {}
    for name, value in document.items():
        origin = f"{path}:{line_of(text, name)}"
        if name not in options or name == "config":
            raise UsageError(f"{origin}: there is no option {name!r}{_did_you_mean(name, options)}")
        options[name].check(value, f"{origin}: {name}")
        found[name] = Setting(options[name], value, origin)
    return found


def _number(text: str) -> int | float | str:
    """Return a text as TOML's number; or the text itself, for the option's type to refuse."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _did_you_mean(name: str, options: Mapping[str, Option]) -> str:
    import difflib

    near = difflib.get_close_matches(name.replace("_", "-"), [known for known in options if known != "config"], 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _toml(value: object) -> str:
    """Return a value as TOML writes it: as JSON does, but for one character."""
    import json

    return json.dumps(value, ensure_ascii=False, default=str).replace("\x7f", "\\u007f")
