"""A recording as a service: what systemd is told over its socket, the unit, and how it is put into place.

`scripts/systemd_tests.sh` runs the same in a system that systemd has booted.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.pi_capture.test_cli import DEMO, run
from tests.support import REPOSITORY

Start = Callable[..., subprocess.Popen[str]]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's")
UNIT = REPOSITORY / "pi_capture/commands/pi-capture@.service"


@pytest.fixture(params=["path", "abstract"])
def notify(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """systemd's end of the socket that ``NOTIFY_SOCKET`` names."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@pi-capture-test-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name.replace("@", "\0"))
        receiver.settimeout(120)
        yield receiver


def messages_until(receiver: socket.socket, line: str) -> list[list[str]]:
    """The messages up to the one with that line, each as its lines."""
    messages: list[list[str]] = []
    while not messages or line not in messages[-1]:
        messages.append(receiver.recv(4096).decode().split("\n"))
    return messages


def test_ready_fed_and_stopping(tmp_path: Path, notify: socket.socket, started: Start) -> None:
    process = started(tmp_path / "day1", -1, *DEMO, "--sync-interval", 0.2)
    before = messages_until(notify, "READY=1")
    assert not [message for message in before[:-1] if "WATCHDOG=1" in message]
    assert list((tmp_path / "day1").glob("*.png")), "ready, and no frame is there"
    fed = 0
    while fed < 3:
        messages = messages_until(notify, "WATCHDOG=1")
        assert not any("READY=1" in message for message in messages)
        fed += 1
    status = next(line for line in messages[-1] if line.startswith("STATUS="))
    assert re.fullmatch(r"STATUS=\d+ frames, [\d.]+ a second, \d+ dropped, \d+ MB/hour, .* GB free.*", status)
    process.send_signal(signal.SIGTERM)
    messages_until(notify, "STOPPING=1")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and out == ""
    assert "recording: the first frames are on the disk" in err.splitlines()


def test_a_recording_that_ends_by_itself_says_so(tmp_path: Path, notify: socket.socket, started: Start) -> None:
    process = started(tmp_path / "day1", 0.5, *DEMO, "--sync-interval", 0.1)
    messages_until(notify, "STOPPING=1")
    process.communicate(timeout=120)
    assert process.returncode == 0


def test_only_durable_frames_feed_the_watchdog(tmp_path: Path, notify: socket.socket, started: Start) -> None:
    """Frames arrive all the time, but nothing reaches the disk: the status goes on, the watchdog hungers."""
    process = started(tmp_path / "day1", -1, *DEMO, "--sync-interval", 1000)
    messages = [notify.recv(4096).decode().split("\n") for _ in range(3)]
    frames = [int(re.findall(r"STATUS=(\d+) frames", line)[0]) for message in messages for line in message]
    assert frames == sorted(frames) and frames[-1] > frames[0]
    assert all(len(message) == 1 for message in messages)  # the status alone
    process.send_signal(signal.SIGTERM)
    assert not [m for m in messages_until(notify, "STOPPING=1") if {"READY=1", "WATCHDOG=1"} & set(m)]
    process.communicate(timeout=120)
    assert process.returncode == 0


def test_a_failed_start_is_not_ready(tmp_path: Path, notify: socket.socket) -> None:
    done = run(tmp_path / "day1", -1, "--camera", "v4l2:/dev/video99")
    assert done.returncode == 1
    assert not any("READY=1" in message for message in messages_until(notify, "STOPPING=1"))


def test_without_anybody_at_the_socket_it_records_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    done = run(tmp_path / "day1", 0.5, *DEMO)
    assert done.returncode == 0 and len(done.stderr.splitlines()) == 1


def test_errors_carry_their_priority_into_the_journal(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w+") as journal:
        status = os.fstat(journal.fileno())
        command = [sys.executable, "-m", "pi_capture", "day1", "1", "--camera", "v4l2:/dev/video99"]
        environment = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        subprocess.run(command, stderr=journal, env=environment, check=False)
        journal.seek(0)
        assert journal.read().startswith("<3>pi_capture: ")


# -------------------------------------------------------------------------------------------------- install-service


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Another system's root, with settings in it."""
    (tmp_path / "srv/recordings").mkdir(parents=True)
    (tmp_path / "etc/pi-capture").mkdir(parents=True)
    (tmp_path / "etc/pi-capture/corner.toml").write_text(
        'directory = "/srv/recordings/day1"\nseconds = -1\ncamera = "demo"\n'
    )
    (tmp_path / "etc/group").write_text("root:x:0:\nrender:x:106:\nvideo:x:44:pi\n")
    users = f"gone:x:54321:54321::/:/bin/sh\nkeeper:x:{os.getuid()}:{os.getgid()}::/home/keeper:/bin/sh\n"
    (tmp_path / "etc/passwd").write_text(users)
    (tmp_path / "opt/venv/bin").mkdir(parents=True)
    (tmp_path / "opt/venv/bin/python").symlink_to("/usr/bin/of_that_system")
    return tmp_path


def config(root: Path) -> Path:
    return root / "etc/pi-capture/corner.toml"


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir() or path.is_symlink()}


PYTHON = "/opt/venv/bin/python"  # of that system


def service(command: str, root: Path, *arguments: object, name: str = "corner") -> subprocess.CompletedProcess[str]:
    interpreter = ("--python", PYTHON) if command == "install-service" else ()
    return run(command, name, "--root", root, *interpreter, *arguments)


def test_install_and_uninstall(root: Path) -> None:
    before = tree(root)
    dry = service("install-service", root, "--config", config(root), "--dry-run")
    assert dry.returncode == 0 and tree(root) == before
    done = service("install-service", root, "--config", config(root))
    assert done.returncode == 0, done.stderr
    units = "etc/systemd/system"
    made = {
        f"{units}/pi-capture@.service",
        f"{units}/pi-capture@corner.service.d/recording.conf",
        f"{units}/multi-user.target.wants/pi-capture@corner.service",
    }
    assert tree(root) - before == made
    for path in made - {f"{units}/multi-user.target.wants/pi-capture@corner.service"}:
        assert str(root / path) in done.stdout and str(root / path) in dry.stdout
    unit = (root / units / "pi-capture@.service").read_text()
    assert "UMask=0027" in unit.splitlines()  # what a camera sees is not for every user
    assert f"ExecStart={PYTHON} -m pi_capture --config /etc/pi-capture/%i.toml" in unit
    extra = (root / units / "pi-capture@corner.service.d/recording.conf").read_text().splitlines()
    assert "SupplementaryGroups=video render" in extra  # of that system's groups, not of this one's
    assert "ReadWritePaths=/srv/recordings" in extra and "RequiresMountsFor=/srv/recordings/day1" in extra
    assert "IPAddressDeny=any" in extra and not [line for line in extra if line.startswith("WatchdogSec")]

    assert service("install-service", root, "--config", config(root)).returncode == 0  # once more changes nothing
    assert tree(root) - before == made
    assert service("uninstall-service", root).returncode == 0
    assert tree(root) == before
    assert service("uninstall-service", root).returncode == 1  # there is none any more


def test_uninstall_leaves_nothing_of_its_own_beside_what_somebody_else_put_there(root: Path) -> None:
    (root / "srv/corner.toml").write_text(config(root).read_text())
    config(root).unlink()
    config(root).parent.rmdir()
    before = tree(root)
    assert service("install-service", root, "--config", root / "srv/corner.toml").returncode == 0
    own = root / "etc/systemd/system/pi-capture@corner.service.d/own.conf"
    own.write_text("[Service]\nNice=5\n")
    assert service("uninstall-service", root).returncode == 0
    assert tree(root) == before | {str(own.relative_to(root))}
    assert not config(root).parent.exists()
    assert service("uninstall-service", root).returncode == 1


def test_a_studio_as_a_service(root: Path) -> None:
    """Its recordings outlive it, and its token outlives a restart."""
    before = tree(root)
    folder = root / "srv/recordings"
    words = ("--studio", folder, "--listen", "0.0.0.0:8765")
    done = service("install-service", root, *words)
    assert done.returncode == 0, done.stderr
    extra = (root / "etc/systemd/system/pi-capture@corner.service.d/recording.conf").read_text().splitlines()
    at = extra.index("ExecStart=")
    assert extra[at + 1] == f"ExecStart={PYTHON} -m pi_capture studio /srv/recordings --listen 0.0.0.0:8765"
    assert {
        "KillMode=process",
        "WatchdogSec=0",
        "Type=exec",
        "ReadWritePaths=/srv/recordings",
        "Description=Studio %i",
    } <= set(extra)
    assert {"StateDirectory=pi-capture/%i", "RuntimeDirectoryPreserve=yes"} <= set(extra)
    assert service("uninstall-service", root).returncode == 0
    assert tree(root) == before
    for wrong in (
        ("--studio", root / "missing"),
        ("--studio", folder, "--config", config(root)),
        ("--studio", folder, "--listen", "0.0.0.0:8765\nExecStart=/bin/sh"),
        ("--config", config(root), "--listen", "0.0.0.0:8765"),
        (),
    ):
        refused = service("install-service", root, *wrong)
        assert refused.returncode == 2 and tree(root) == before, wrong


def test_paths_are_those_of_the_system_on_the_card(root: Path) -> None:
    for words in (("--studio", "/srv/recordings"), ("--config", "/etc/pi-capture/corner.toml")):
        done = service("install-service", root, *words, "--dry-run")
        assert done.returncode == 0 and "/srv/recordings" in done.stdout, done.stderr


def test_the_user_and_the_interpreter_are_those_of_the_card(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "root")  # of this system
    words = ("install-service", root, "--config", config(root), "--dry-run")
    assert "    User=keeper\n" in service(*words).stdout
    assert "    User=gone\n" in service(*words, "--user", "gone").stdout
    before = tree(root)
    for wrong, told in (
        (("--user", "daemon"), f"{root}/etc/passwd has no user daemon; give --user as that system has it"),
        (("--python", sys.executable), f"{root} has no {sys.executable}; give --python as that system names it"),
    ):
        done = service("install-service", root, "--config", config(root), *wrong)
        assert done.returncode == 2 and done.stderr == f"pi_capture: {told}\n" and tree(root) == before
    (root / "etc/passwd").unlink()
    done = service(*words)
    assert done.returncode == 2 and "etc/passwd: No such file" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_card_may_be_named_from_here(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be mounted below /tmp: its own is another."""
    monkeypatch.chdir(root.parent)
    done = service("install-service", Path(root.name), "--config", "/etc/pi-capture/corner.toml", "--dry-run")
    assert done.returncode == 0, done.stderr


def test_what_the_settings_need_is_there_before_anything_is_installed(root: Path) -> None:
    """As in an environment that has the wheel without its extra."""
    (root / "without/paho").mkdir(parents=True)
    (root / "without/paho/__init__.py").write_text("raise ModuleNotFoundError(name='paho')\n")
    python = root / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{root}/without:$PYTHONPATH" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    with config(root).open("a") as file:
        file.write('mqtt = "mqtt://desk/cameras"\n')
    done = run("install-service", "corner", "--config", config(root), "--python", python, "--dry-run")
    assert done.returncode == 2 and not done.stdout
    assert f"needs, is not installed for {python}; {python} -m pip install 'pi-capture[mqtt]'" in done.stderr


def test_two_services_share_a_unit(root: Path) -> None:
    assert service("install-service", root, "--config", config(root)).returncode == 0
    (root / "srv/door.toml").write_text(config(root).read_text())
    assert service("install-service", root, "--config", root / "srv/door.toml", name="door").returncode == 0
    assert os.readlink(root / "etc/pi-capture/door.toml") == "/srv/door.toml"
    assert run("uninstall-service", "door", "--root", root).returncode == 0
    assert not os.path.lexists(root / "etc/pi-capture/door.toml") and (root / "srv/door.toml").exists()
    assert (root / "etc/systemd/system/pi-capture@.service").exists()


def test_a_slow_camera_gets_a_patient_watchdog(root: Path) -> None:
    config(root).write_text(config(root).read_text() + "fps = 0.01\n")
    done = service("install-service", root, "--config", config(root), "--dry-run")
    assert "WatchdogSec=302" in done.stdout and "TimeoutStartSec=362" in done.stdout


def test_a_network_camera_waits_for_the_network(root: Path) -> None:
    config(root).write_text(config(root).read_text().replace("demo", "rtsp://camera/1"))
    done = service("install-service", root, "--config", config(root), "--dry-run")
    assert "After=network-online.target" in done.stdout and "IPAddressDeny" not in done.stdout


@pytest.mark.parametrize(
    ("line", "waits"), [('stream-to = ["tcp://desk:5000"]', True), ('mqtt = "mqtt://desk/cameras"', False)]
)
def test_what_is_sent_may_use_the_network_and_a_status_does_not_wait_for_it(root: Path, line: str, waits: bool) -> None:
    config(root).write_text(f"{config(root).read_text()}{line}\n")
    done = service("install-service", root, "--config", config(root), "--dry-run")
    assert done.returncode == 0 and "IPAddressDeny" not in done.stdout
    assert ("network-online.target" in done.stdout) is waits


def test_a_service_may_write_its_textfile(root: Path) -> None:
    settings = config(root).read_text()
    config(root).write_text(f'{settings}textfile = "/var/lib/metrics/day1.prom"\n')
    done = service("install-service", root, "--config", config(root), "--dry-run")
    assert (
        "    ReadWritePaths=-/var/lib/metrics\n" in done.stdout
        and "    ReadWritePaths=/srv/recordings\n" in done.stdout
    )
    config(root).write_text(f'{settings}textfile = "day1.prom"\n')
    done = service("install-service", root, "--config", config(root), "--dry-run")
    assert done.returncode == 2 and "textfile must begin with /" in done.stderr


def test_a_service_that_ends_by_itself_is_told(root: Path) -> None:
    """systemd starts again what failed, and not what has ended."""
    config(root).write_text(config(root).read_text().replace("seconds = -1", 'seconds = "2min"'))
    done = service("install-service", root, "--config", config(root), "--dry-run")
    assert done.returncode == 0
    assert "seconds = 120: it records for 120 s at each boot, and stays off then; -1: until it is stop" in done.stderr


def test_a_relative_identity_lies_beside_the_settings(root: Path) -> None:
    config(root).write_text(config(root).read_text() + 'stream-to = ["tls://desk:5000"]\nidentity = "keys/day.pem"\n')
    done = service("install-service", root, "--config", config(root), "--dry-run")
    beside = Path("/") / config(root).parent.relative_to(root)
    assert f"    Environment=PI_CAPTURE_IDENTITY={beside}/keys/day.pem" in done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seconds = -1\n", "corner.toml: a service needs directory here"),
        ('directory = "/srv/recordings/day1"\n', "corner.toml: a service needs seconds here"),
        ('directory = "day1"\nseconds = -1\n', "corner.toml: directory must begin with /"),
        ('directory = "/day1"\nseconds = -1\n', "make the directory that it goes into first"),
        ('directory = "/tmp/day1"\nseconds = -1\n', "a service has a /tmp of its own"),
        (
            'directory = "/srv/day1"\nsecond = -1\n',
            "corner.toml:2: there is no option 'second'",
        ),
    ],
)
def test_settings_that_can_be_no_service(root: Path, text: str, told: str) -> None:
    (root / "tmp").mkdir()
    config(root).write_text(text)
    before = tree(root)
    done = service("install-service", root, "--config", config(root))
    assert done.returncode == 2 and tree(root) == before
    assert told in done.stderr and len(done.stderr.splitlines()) == 1


def test_what_somebody_else_wrote_is_not_touched(root: Path) -> None:
    unit = root / "etc/systemd/system/pi-capture@.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    before = tree(root)
    done = service("install-service", root, "--config", config(root))
    assert done.returncode == 1 and tree(root) == before and "[Service]" in unit.read_text()
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["a/b", "", "-x", "a@b", "ä"])
def test_a_name_that_can_be_none(root: Path, name: str) -> None:
    assert run("install-service", "--config", config(root), "--root", root, "--", name).returncode == 2


@pytest.mark.parametrize("words", [["install-service", "corner", "--config", "f"], ["uninstall-service", "corner"]])
def test_it_needs_root(words: list[str]) -> None:
    # All that is imported later, too: nobody may be unable to read where Python is.
    modules = "os, shutil, sys, pi_capture.recording.capture, pi_capture.commands.install"
    code = f"import {modules}; from pi_capture.cli import main; os.seteuid(65534); sys.exit(main())"
    if os.geteuid() != 0:
        code = code.replace("os.seteuid(65534); ", "")
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "sudo" in done.stderr and len(done.stderr.splitlines()) == 1


# ------------------------------------------------------------------------------------------------------- the unit


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd's own tools")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("@PYTHON@", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr == ""
    unit.write_text(unit.read_text().replace("[Service]\n", "[Service]\nUser=nobody\n"))
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=20", unit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
