"""Remove passwords, keys and user names from the text form of a source.

All that leaves this machine or is written passes through here: from `pi_capture.sources.SourceInfo` for recordings and
messages, from `pi_capture.network.sender` for the network, from `pi_capture.samples.sensors` for commands.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

HIDDEN = "…"
SECRET_NAME = re.compile(r"pass|pwd|pas|token|key|auth|secret|sig|usr|user|login|cred|session|jwt|pin|^[upk]$", re.I)
PLAIN_VALUE = re.compile(
    r"\d{1,4}|\d+x\d+|true|false|yes|no|on|off|main|sub|high|low|listen|caller|listener|live|file"
    r"|tcp|udp|unicast|multicast"
)
"""A secret may have any name. So a parameter of a URL is shown only if its value can't be a secret."""
PATH_PARAMETER = re.compile(r"([A-Za-z]+)=(.*?)(?=[/&;]|_[A-Za-z]+=|$)")
"""In a path, as some cameras have it: ``/user=admin_password=x_channel=1.sdp``."""


def without_secrets(text: str) -> str:
    """Return a source's text form with no more of its URLs than may be shown: host, path, harmless parameters.

    >>> without_secrets("rtsp://admin:pa@ss@camera/live?token=x&channel=1")
    'rtsp://camera/live?token=…&channel=1'
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        return text
    host = re.match(r"[^/?#]*", rest)
    end = host.end() if host else 0
    # A password may hold a slash that should have been escaped: then what stands for the port is no number.
    if "@" not in rest[:end] and re.match(r"[^/?#\]:]*:(?!\d+(?:[/?#]|$))", rest):
        end = len(rest)
    start = rest[:end].rfind("@") + 1
    return f"{scheme}://{without_secrets(_without_parameters(rest[start:]))}"


def public(facts: Any) -> Any:
    """Return JSON facts, each text in them as `without_secrets` shows it."""
    if isinstance(facts, str):
        return without_secrets(facts)
    if isinstance(facts, Mapping):
        return {name: public(value) for name, value in facts.items()}
    if isinstance(facts, list | tuple):
        return [public(value) for value in facts]
    return facts


def program_of(command: str) -> str:
    """Return the program that a shell's command calls; its arguments and its environment may be secret.

    >>> program_of("TOKEN=x python3 imu.py --password y")
    'python3 …'
    """
    try:
        words = shlex.split(command)
    except ValueError:  # a quotation mark that is not closed: the shell will say so
        return HIDDEN
    while words and re.match(r"\w+=", words[0]):
        del words[0]
    return " ".join([words[0], HIDDEN] if len(words) > 1 else words)


def _without_parameters(rest: str) -> str:
    """Return what follows the user's name in a URL, without secret parameters."""
    end = next((at for at, sign in enumerate(rest) if sign in "?#"), len(rest))
    path = PATH_PARAMETER.sub(_shown_in_path, rest[:end])
    return path + re.sub(r"[^?&#]+", _shown_parameter, rest[end:])


def _shown_in_path(found: re.Match[str]) -> str:
    name, value = found.groups()
    return f"{name}={HIDDEN if SECRET_NAME.search(name) else value}"


def _shown_parameter(found: re.Match[str]) -> str:
    name, equals, value = found[0].partition("=")
    return f"{name}={_shown(name, value)}" if equals else _shown("", name)


def _shown(name: str, value: str) -> str:
    return value if not SECRET_NAME.search(name) and PLAIN_VALUE.fullmatch(value) else HIDDEN
