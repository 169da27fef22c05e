"""Settings from a file and the environment, under the names that the command line gives them.

It is built on an argparse parser: each of its long options is a key of the TOML file and, in capitals after
``PI_CAPTURE_``, a variable of the environment. A flag goes before the environment, that before the file, that before
the default. What the options mean is the parser's business.
"""

from __future__ import annotations

import argparse
import difflib
import json
import shlex
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pi_capture.errors import UsageError

PREFIX = "PI_CAPTURE_"
YES_OR_NO = {**dict.fromkeys(("1", "true", "yes", "on"), True), **dict.fromkeys(("0", "false", "no", "off"), False)}


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it came from.

    Attributes
    ----------
    name : str
        As on the command line, without the dashes.
    value : object
        As it was written; None if it is not set.
    origin : str
        ``flag``, ``environment PI_CAPTURE_SIZE``, ``corner.toml:3`` or ``default``.
    """

    name: str
    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """The parser's arguments, completed from the environment and the file; and where each value came from."""

    arguments: argparse.Namespace
    settings: tuple[Setting, ...]


def configure(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    orders: Collection[str] = (),
) -> Configuration:
    """Parse a command line, and take what it leaves open from the environment and the file that ``--config`` names.

    Parameters
    ----------
    parser : ArgumentParser
        With ``--config``. It is used up by this: its defaults are gone afterwards.
    arguments : sequence of str
        The command line.
    environment : mapping
        Such as ``os.environ``.
    orders : collection of str
        The long options that are something to do and not a setting, such as ``list-cameras``.

    Raises
    ------
    UsageError
        A key or a variable is unknown, or its value is not what the option takes; the file can't be read.
    SystemExit
        The command line is wrong, as argparse tells it.
    """
    actions = {
        name: action
        for action in parser._actions
        if action.default is not argparse.SUPPRESS and (name := _name(action)) not in orders
    }
    default = {name: action.default for name, action in actions.items()}
    result = parser.parse_args([])  # the defaults, as their types make them
    for action in actions.values():
        action.default = argparse.SUPPRESS if action.option_strings else None
    flags = _given(parser, arguments)
    chosen = {name: Setting(name, value, "default") for name, value in default.items()}
    found = _from_environment(environment, actions)
    file = flags.get("config") or (found["config"].value if "config" in found else None)
    if file is not None:
        chosen.update(_from_file(Path(file), actions))
    chosen.update(found)
    for name, setting in chosen.items():
        if setting.origin != "default":
            setattr(result, actions[name].dest, _convert(actions[name], setting, getattr(result, actions[name].dest)))
    vars(result).update(flags)
    chosen.update(_as_written(parser, arguments, actions))
    return Configuration(result, tuple(chosen.values()))


def as_toml(settings: Sequence[Setting]) -> str:
    """The settings as a file for ``--config``, with where each value came from beside it."""
    lines = [
        (f"{one.name} = {_toml(one.value)}" if one.value is not None else f"# {one.name}", one.origin)
        for one in settings
        if one.name != "config"
    ]
    width = max(len(line) for line, _ in lines)
    return "\n".join(f"{line:{width}}  # {origin}" for line, origin in lines)


def line_of(text: str, key: str) -> int:
    """The line, counted from 1, on which a TOML document's top-level key is set (for a table: first named)."""
    lines = text.split("\n")
    begin = 0  # where the statement begins whose end is looked for
    for end in range(1, len(lines) + 1):
        try:
            document = tomllib.loads("\n".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue  # in the middle of an array or of a text of several lines
        if key in document:
            return begin + 1
        begin = end
    raise KeyError(key)


# ----------------------------------------------------------------------------------------------- where values come from


def _from_environment(environment: Mapping[str, str], actions: Mapping[str, argparse.Action]) -> dict[str, Setting]:
    """Only what is set to something: ``PI_CAPTURE_FPS=`` is as good as not set."""
    found = {}
    for variable, text in environment.items():
        if variable.startswith(PREFIX) and text:
            name = variable.removeprefix(PREFIX).lower().replace("_", "-")
            if name not in actions:
                raise UsageError(f"{variable} is set, but there is no such option{_did_you_mean(name, actions)}")
            found[name] = Setting(name, _from_text(actions[name], text), f"environment {variable}")
    return found


def _from_text(action: argparse.Action, text: str) -> Any:
    if _is_switch(action) or (_may_stand_alone(action) and text.lower() in ("true", "false")):
        return YES_OR_NO.get(text.lower(), text)
    if _is_list(action):
        return shlex.split(text)
    return _number(text) if _is_number(action) else text


def _from_file(path: Path, actions: Mapping[str, argparse.Action]) -> dict[str, Setting]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows' editors begin with a mark
        document = tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: this is not TOML: {error}") from error
    found = {}
    for name, value in document.items():
        origin = f"{path}:{line_of(text, name)}"
        if name not in actions or name == "config":
            raise UsageError(f"{origin}: there is no option {name!r}{_did_you_mean(name, actions)}")
        _check_type(actions[name], value, f"{origin}: {name}")
        found[name] = Setting(name, value, origin)
    return found


def _given(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> dict[str, Any]:
    """What a command line gives, and nothing else: a positional argument that is left out is None without a default."""
    positional = {action.dest for action in parser._actions if not action.option_strings}
    given = vars(parser.parse_args(arguments))
    return {name: value for name, value in given.items() if value is not None or name not in positional}


def _as_written(
    parser: argparse.ArgumentParser, arguments: Sequence[str], actions: Mapping[str, argparse.Action]
) -> dict[str, Setting]:
    """The flags as they were typed. The command line is right by now, so the types have no more to say."""
    numbers = {action.dest for action in actions.values() if _is_number(action)}
    for action in actions.values():
        action.type = None
        action.choices = None
    texts = _given(parser, arguments)
    return {
        name: Setting(name, _number(texts[dest]) if dest in numbers else texts[dest], "flag")
        for name, dest in ((name, action.dest) for name, action in actions.items())
        if dest in texts
    }


# ------------------------------------------------------------------------------------------------- what an option takes


def _name(action: argparse.Action) -> str:
    return next((text[2:] for text in action.option_strings if text.startswith("--")), action.dest)


def _is_switch(action: argparse.Action) -> bool:
    return action.nargs == 0


def _may_stand_alone(action: argparse.Action) -> bool:
    """Whether it is a switch that may have a value: ``--retry``, ``--retry 3``; in a file ``true``, or 3."""
    return action.nargs == "?" and action.const is not None


def _is_list(action: argparse.Action) -> bool:
    return isinstance(action, argparse._AppendAction) or action.nargs not in (None, 0, "?")


def _is_number(action: argparse.Action) -> bool:
    """Whether the option's type makes a number; the types that this project writes say it in their annotation."""
    made = action.type if isinstance(action.type, type) else getattr(action.type, "__annotations__", {}).get("return")
    return made in (int, float, "int", "float")


def _number(text: str) -> int | float | str:
    """The number that a text is, as TOML would have it; the text if it is none, for the option's type to refuse."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _check_type(action: argparse.Action, value: object, where: str) -> None:
    """TOML's type must be the one that the option is about: no number in quotes, no text for a switch."""
    if _may_stand_alone(action) and isinstance(value, bool):
        return
    if _is_switch(action):
        wanted, right = "true or false", isinstance(value, bool)
    elif _is_list(action):
        wanted = "a list, such as [1, 2]" if _is_number(action) else 'a list, such as ["one", "two"]'
        right = isinstance(value, list) and all(isinstance(one, str | int | float) for one in value)
    elif _is_number(action):
        wanted, right = "a number", isinstance(value, int | float) and not isinstance(value, bool)
    else:
        wanted, right = "a text in quotes", isinstance(value, str)
    if not right:
        raise UsageError(f"{where} takes {wanted}, not {_toml(value)}")


def _convert(action: argparse.Action, setting: Setting, default: Any) -> Any:
    """The value as the option's type makes it; `default` is for a switch that is off."""
    value, where = setting.value, f"{setting.origin}: {setting.name}"
    if _is_switch(action):
        if not isinstance(value, bool):
            raise UsageError(f"{where} takes 1 or 0, not {value!r}")
        if isinstance(action, argparse.BooleanOptionalAction):
            return value
        return action.const if value else not action.const
    if isinstance(value, bool):
        return action.const if value else default
    if isinstance(value, list):
        return [_convert_one(action, str(one), where) for one in value]
    return _convert_one(action, str(value), where)


def _convert_one(action: argparse.Action, text: str, where: str) -> Any:
    try:
        value = action.type(text) if callable(action.type) else text
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"{where}: {error}") from error
    except (ValueError, TypeError) as error:
        kind = "whole number" if action.type is int else getattr(action.type, "__name__", "value")
        raise UsageError(f"{where}: {text!r} is not a {kind}") from error
    if action.choices is not None and value not in action.choices:
        raise UsageError(f"{where}: {text!r} is none of {', '.join(map(str, action.choices))}")
    return value


def _did_you_mean(name: str, actions: Mapping[str, argparse.Action]) -> str:
    near = difflib.get_close_matches(name.replace("_", "-"), [known for known in actions if known != "config"], 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _toml(value: object) -> str:
    """A value as TOML writes it. TOML's texts, numbers, truths and lists are JSON's."""
    return json.dumps(value, ensure_ascii=False, default=str)
