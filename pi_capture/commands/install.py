"""``install-service`` and ``uninstall-service``: a recording that systemd starts at boot and restarts.

The unit ``pi-capture@.service`` beside this file is put into place; what differs from one recording to the next goes
into a file beside it. Only files that these two commands wrote are changed or removed.
"""

from __future__ import annotations

import argparse
import grp
import math
import os
import pwd
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pi_capture.config import configure
from pi_capture.errors import UsageError
from storage.commands.console import Parser, fail, print_line

UNIT = "pi-capture@.service"
MARK = "# A recording as a service."  # what each file that these commands write begins with
WRITTEN = f"{MARK} Written by install-service; changes here are lost with the next one."
GROUPS = ("video", "render", "audio")
WATCHDOG_SECONDS = 30  # the unit's; longer for a camera that takes its time
PRIVATE = ("/tmp", "/var/tmp")  # a service sees others under these names, and loses what it writes there
LOCAL_CAMERAS = ("auto", "picamera2", "v4l2", "demo")

_fail = partial(fail, program="pi_capture")


@dataclass(frozen=True, slots=True)
class Step:
    """A change of the system: a file to write, a link to make, paths to remove, or a command to run."""

    text: str
    write: tuple[Path, str] | None = None
    link: tuple[Path, Path] | None = None
    remove: tuple[Path, ...] = ()
    command: tuple[str, ...] = ()


def install(arguments: Sequence[str]) -> int:
    """``install-service NAME --config FILE``, or ``--studio FOLDER``; returns the exit status."""
    parser = _parser("install-service", "Start a recording at every boot, and restart it after a failure (systemd).")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", metavar="FILE", type=Path, help="record with these settings (TOML)")
    what.add_argument(
        "--studio", metavar="FOLDER", type=Path, help="serve the studio for this folder, instead of recording"
    )
    parser.add_argument(
        "--listen", metavar="HOST:PORT", help="with --studio: 127.0.0.1:8765 (default), or 0.0.0.0:8765 for the network"
    )
    parser.add_argument(
        "--python", metavar="FILE", default=sys.executable, help="the interpreter that records (default: this one)"
    )
    parser.add_argument(
        "--user",
        metavar="USER",
        help="the user who records (default: who called sudo, else FILE's owner; with --root FILE's owner there)",
    )
    args = _parsed(parser, arguments)
    if args.listen is not None and args.studio is None:
        raise UsageError("--listen does nothing without --studio; give both, or neither")
    if not _may(args):
        return 1
    name = _checked_name(args.name)
    if args.root == Path("/"):
        _check_importable(args.python, "pi_capture, storage", "pi_capture", ".")
    elif not os.path.lexists(args.root / args.python.lstrip("/")):  # a link there is to a file of that system
        raise UsageError(f"{args.root} has no {args.python}; give --python as that system names it")
    units = args.root / "etc/systemd/system"
    steps, extra = _studio(args, name) if args.studio is not None else _recording(args, name)
    text = (Path(__file__).parent / UNIT).read_text().replace("@PYTHON@", _quoted(args.python))
    steps.append(Step(f"write {units / UNIT}", write=(units / UNIT, text)))
    file = units / f"pi-capture@{name}.service.d" / "recording.conf"
    steps.append(Step(f"write {file}", write=(file, extra)))
    service = f"pi-capture@{name}.service"
    if args.root != Path("/"):
        steps.append(_run("systemctl", "--root", str(args.root), "enable", service))
    else:
        steps += [_run("systemctl", "daemon-reload"), _run("systemctl", "enable", service)]
        steps.append(_run("systemctl", "restart", "--no-block", service))
    status = _do(steps, args)
    if status == 0 and not args.dry_run and args.root == Path("/"):
        print(f"how it is:    systemctl status pi-capture@{name}\nwhat it says: journalctl -u pi-capture@{name}")
    return status


def _recording(args: argparse.Namespace, name: str) -> tuple[list[Step], str]:
    """Return the steps that only a recording needs, and its settings beside the shared unit."""
    config = _in(args.root, args.config)
    settings = _read_settings(config)
    if settings.mqtt and args.root == Path("/"):
        _check_importable(args.python, "paho.mqtt.client", f"paho, which mqtt in {config} needs,", "pi-capture[mqtt]")
    room = _room(Path(settings.directory), args.root)
    user = _checked_user(args.user, config, args.root)
    identity = None
    if settings.identity and not Path(settings.identity).is_absolute():  # a service starts in /
        identity = _seen_from(args.root, config.parent / settings.identity)
    _refuse_private(room, args.root, goes=True)
    for path in (config, Path(args.python), *([identity] if identity else ())):
        _refuse_private(path, args.root)
    own = args.root / "etc/pi-capture" / f"{name}.toml"
    if settings.seconds >= 0:
        until = f"it records for {settings.seconds:g} s at each boot, and stays off then"
        print_line(f"{config}: seconds = {settings.seconds:g}: {until}; -1: until it is stopped", sys.stderr)
    link = Step(f"link {own} to {config}", link=(own, _seen_from(args.root, config)))
    return [link] if own != config else [], _extra(settings, user, room, identity, args.root)


def _studio(args: argparse.Namespace, name: str) -> tuple[list[Step], str]:
    """Return the same for a studio. The recordings that it starts go on when it ends."""
    folder = _in(args.root, args.studio)
    listen = args.listen or "127.0.0.1:8765"
    if not re.fullmatch(r"[A-Za-z0-9.:\[\]-]+:\d{1,5}", listen):
        raise UsageError(f"--listen {listen!r}: give HOST:PORT, such as 0.0.0.0:8765")
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such directory; make it first: mkdir {folder}")
    user = _checked_user(args.user, folder, args.root)
    for path in (folder, Path(args.python)):
        _refuse_private(path, args.root)
    seen = _quoted(str(_seen_from(args.root, folder)))
    words = f"{_quoted(args.python)} -m pi_capture studio {seen} --listen {listen}"
    lines = [
        *("[Unit]", "Description=Studio %i", f"RequiresMountsFor={seen}", ""),
        *("[Service]", f"User={user}", f"SupplementaryGroups={' '.join(_groups(args.root))}", f"ReadWritePaths={seen}"),
        *("Type=exec", "ExecStart=", f"ExecStart={words}", "WatchdogSec=0", "KillMode=process"),
        *("RuntimeDirectoryPreserve=yes", "StateDirectory=pi-capture/%i", "StateDirectoryMode=0700"),
        f"Environment=XDG_STATE_HOME=/var/lib/pi-capture/{name}",
    ]
    return [], "\n".join([WRITTEN, *lines, ""])


def uninstall(arguments: Sequence[str]) -> int:
    """``uninstall-service NAME``; returns the exit status."""
    parser = _parser("uninstall-service", "Remove the service of a recording; its recordings stay.")
    args = _parsed(parser, arguments)
    if not _may(args):
        return 1
    name = _checked_name(args.name)
    units = args.root / "etc/systemd/system"
    own = args.root / "etc/pi-capture" / f"{name}.toml"
    extra = units / f"pi-capture@{name}.service.d"
    if not (extra / "recording.conf").exists():
        return _fail(f"there is no service {name!r}: no {extra / 'recording.conf'}")
    service = f"pi-capture@{name}.service"
    if args.root != Path("/"):
        steps = [_run("systemctl", "--root", str(args.root), "disable", service)]
    else:
        steps = [_run("systemctl", "disable", "--now", service)]
        if _has_failed(service):  # else systemd would list it as failed until the next boot
            steps.append(_run("systemctl", "reset-failed", service))
    gone = [own, *_with_its_directory(own.parent, own.name)] if own.is_symlink() else []
    if not [other for other in units.glob("pi-capture@*.service.d/recording.conf") if other.parent != extra]:
        gone.append(units / UNIT)
    # Last, as it shows that the service exists.
    gone += [extra / "recording.conf", *_with_its_directory(extra, "recording.conf")]
    steps.append(Step("remove " + ", ".join(map(str, gone)), remove=tuple(gone)))
    if args.root == Path("/"):
        steps.append(_run("systemctl", "daemon-reload"))
    return _do(steps, args)


def _has_failed(service: str) -> bool:
    try:
        return subprocess.run(("systemctl", "is-failed", "--quiet", service), check=False).returncode == 0
    except FileNotFoundError:
        return False


def _with_its_directory(directory: Path, name: str) -> list[Path]:
    """Return the directory if it holds only that file: the user may have settings there."""
    return [directory] if [path.name for path in directory.iterdir()] == [name] else []


# ------------------------------------------------------------------------------------------------------ what is checked


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    parser = Parser(prog=f"python -m pi_capture {command}", description=description)
    parser.add_argument("name", metavar="NAME", help="a name for the recording; the service is called pi-capture@NAME")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    parser.add_argument(
        "--root",
        metavar="DIR",
        type=Path,
        default=Path("/"),
        help="work on another system, such as one on a card, that is mounted at DIR",
    )
    return parser


def _parsed(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    args = parser.parse_args(arguments)
    args.root = args.root.absolute()
    return args


def _may(args: argparse.Namespace) -> bool:
    if os.geteuid() == 0 or args.dry_run or args.root != Path("/"):
        return True
    _fail(f"this changes the system: call it as sudo {sys.executable} -m pi_capture …, or with --dry-run to see what")
    return False


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.]*", name):
        raise UsageError(f"{name!r} can't be a service's name; use letters, digits, _ and .")
    return name


def _read_settings(config: Path) -> argparse.Namespace:
    """Return the settings, which must be complete: a service has no command line and no current directory."""
    from pi_capture.arguments import OPTIONS, build_parser

    settings = configure(build_parser(), OPTIONS, ["--config", str(config)], {}).arguments
    for key in ("directory", "seconds"):
        if getattr(settings, key) is None:
            raise UsageError(f"{config}: a service needs {key} here, such as: {_EXAMPLES[key]}")
    for key in ("directory", "textfile"):
        value = getattr(settings, key)
        if value is not None and not Path(value).is_absolute():
            raise UsageError(f"{config}: {key} must begin with / for a service, such as: {_EXAMPLES[key]}")
    return settings


_EXAMPLES = {
    "directory": 'directory = "/srv/recordings/day1"',
    "seconds": "seconds = -1",
    "textfile": 'textfile = "/var/lib/prometheus/node-exporter/day1.prom"',
}


def _checked_user(user: str | None, config: Path, root: Path) -> str:
    """Return who records; by default who called sudo, or the settings' owner. A card's users are those of its own."""
    owner = config.stat().st_uid
    if root != Path("/"):
        rows = [line.split(":") for line in _lines(root / "etc/passwd")]
        found = [row[0] for row in rows if len(row) > 2 and (row[0] == user if user else row[2] == str(owner))]
        if not found:
            raise UsageError(f"{root / 'etc/passwd'} has no user {user or owner}; give --user as that system has it")
        return found[0]
    user = user or os.environ.get("SUDO_USER")
    try:
        return pwd.getpwnam(user).pw_name if user else pwd.getpwuid(owner).pw_name
    except KeyError as error:
        raise UsageError(f"there is no user {user or owner!r} on this system") from error


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; --root is where a whole system is mounted") from error


def _room(target: Path, root: Path) -> Path:
    """Return the directory of the recording, which the service must be able to write to."""
    room = next(path for path in target.parents if (root / path.relative_to("/")).is_dir())
    if room == Path("/"):
        raise UsageError(f"{target}: make the directory that it goes into first: sudo mkdir -p {target.parent}")
    return room


def _in(root: Path, path: Path) -> Path:
    """Return where a path lies that was given as this system sees it, or as the one at `root` does."""
    path = path.absolute()
    there = root / path.relative_to("/")
    return there if not path.is_relative_to(root) and there.exists() else path


def _seen_from(root: Path, path: Path) -> Path:
    """Return the path of a file in the system at `root`."""
    if not path.is_relative_to(root):
        raise UsageError(f"{path} is not in {root}: a service can only use what its own system has")
    return Path("/") / path.relative_to(root)


def _refuse_private(path: Path, root: Path, *, goes: bool = False) -> None:
    seen = _seen_from(root, path) if path.is_relative_to(root) else path
    for place in PRIVATE:
        if seen.is_relative_to(place):
            why = "which goes when it stops; use another place" if goes else "where this is not; move it elsewhere"
            raise UsageError(f"{seen}: a service has a {place} of its own, {why}")


def _check_importable(python: str, modules: str, what: str, wanted: str) -> None:
    """Raise UsageError if something is not installed: a service does not start beside the source code."""
    done = subprocess.run([python, "-c", f"import {modules}"], cwd="/", capture_output=True, check=False)
    if done.returncode:
        where = "in its directory: pip install ." if wanted == "." else f"{python} -m pip install '{wanted}'"
        raise UsageError(f"{what} is not installed for {python}; {where}")


# ------------------------------------------------------------------------------------------------------ what is written


def _extra(settings: argparse.Namespace, user: str, room: Path, identity: Path | None, root: Path) -> str:
    """Return the settings of this service beside the shared unit; `identity` replaces a relative one."""
    target = Path(settings.directory)
    needed = settings.camera.partition(":")[0] not in LOCAL_CAMERAS or settings.stream_to
    unit = [f"RequiresMountsFor={_quoted(str(target))}"]
    if needed:  # not for a broker: a recording begins without it, and finds it later
        unit += ["Wants=network-online.target", "After=network-online.target"]
    service = [
        f"User={user}",
        f"SupplementaryGroups={' '.join(_groups(root))}",
        f"ReadWritePaths={_quoted(str(room))}",
    ]
    if settings.textfile is not None:  # with -, as the recording starts also where that directory is missing
        service.append(f"ReadWritePaths={_quoted(f'-{Path(settings.textfile).parent}')}")
    if identity is not None:
        service.append(f"Environment={_quoted(f'PI_CAPTURE_IDENTITY={identity}')}")
    if not needed and not settings.mqtt:
        service += ["IPAddressDeny=any", "IPAddressAllow=localhost"]
    wait = math.ceil(3 / settings.fps + 2 * settings.sync_interval) if settings.fps else 0
    if wait > WATCHDOG_SECONDS:
        service += [f"WatchdogSec={wait}", f"TimeoutStartSec={wait + 60}"]
    return "\n".join([WRITTEN, "[Unit]", *unit, "", "[Service]", *service, ""])


def _groups(root: Path) -> list[str]:
    """Return the groups of devices that the system at `root` has: with an unknown group a unit does not start."""
    if root == Path("/"):
        known = {entry.gr_name for entry in grp.getgrall()}
    else:
        known = {line.partition(":")[0] for line in _lines(root / "etc/group")}
    return [group for group in GROUPS if group in known]


def _quoted(text: str) -> str:
    """Return a path as a unit file takes it."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text}"' if re.search(r"[\s'\"\\;]", text) else text


# --------------------------------------------------------------------------------------------------------- what is done


def _run(*command: str) -> Step:
    return Step(" ".join(command), command=command)


def _do(steps: Sequence[Step], args: argparse.Namespace) -> int:
    for step in steps:
        if step.write is not None and step.write[0].exists() and not step.write[0].read_text().startswith(MARK):
            return _fail(f"{step.write[0]} is not ours: it does not begin with {MARK!r}; nothing was changed")
        if step.link is not None and os.path.lexists(step.link[0]) and not step.link[0].is_symlink():
            return _fail(f"{step.link[0]} is there already; use it (--config {step.link[0]}), or move it away")
    if args.dry_run:
        for step in steps:
            print(f"would {step.text}" if not step.command else f"would run {step.text}")
            if step.write is not None and step.write[0].name == "recording.conf":
                print("".join(f"    {line}\n" for line in step.write[1].splitlines()), end="")
        return 0
    for step in steps:
        print(step.text)
        if not _perform(step):
            return _fail(f"{step.text} failed; what was done so far stays, and the same command goes on")
    return 0


def _perform(step: Step) -> bool:
    if step.write is not None:
        path, text = step.write
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if step.link is not None:
        path, goal = step.link
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(goal)
    for path in step.remove:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    try:
        return not step.command or subprocess.run(step.command, check=False).returncode == 0
    except FileNotFoundError:
        return False
