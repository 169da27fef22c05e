"""A recording as a service of a machine that systemd has booted; `scripts/systemd_tests.sh` boots one.

The machine was given the service ``corner`` before it booted. The tests build on each other, in this order.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from storage import open_recording
from storage.png import is_whole_png

pytestmark = pytest.mark.systemd

DAY = Path("/srv/recordings/day1")
CONFIG = Path("/etc/pi-capture/corner.toml")
CORNER = "pi-capture@corner.service"
SLOW = 60


def call(*words: object) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, timeout=SLOW)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def show(name: str, service: str = CORNER) -> str:
    return call("systemctl", "show", "--value", "-p", name, service).strip()


def journal(service: str = CORNER) -> str:
    return call("journalctl", "-u", service, "-o", "cat", "--no-pager")


def wait_for(what: Callable[[], bool], why: str) -> None:
    until = time.monotonic() + SLOW
    while not what():
        assert time.monotonic() < until, f"{why}\n{call('systemctl', 'show', CORNER)[:2000]}\n{journal()[-3000:]}"
        time.sleep(2)


def frames() -> int:
    return len(list(DAY.glob("*.png")))


def restarted(count: int) -> bool:
    return int(show("NRestarts")) >= count and show("ActiveState") == "active"


def test_it_was_started_by_the_boot() -> None:
    wait_for(lambda: show("ActiveState") == "active", "not active after the boot")
    assert show("NRestarts") == "0" and show("UnitFileState") == "enabled"
    assert frames() > 0
    status = show("StatusText")
    assert re.match(r"\d+ frames, [\d.]+ a second, \d+ dropped, \d+ MB/hour, .*GB free", status), status
    after = show("After").split()
    assert "local-fs.target" in after and "time-sync.target" in after
    assert DAY.owner() == "pi" and next(DAY.glob("*.png")).owner() == "pi"


def test_systemd_has_nothing_to_say_against_it() -> None:
    done = subprocess.run(["systemd-analyze", "verify", CORNER], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "pi-capture" not in done.stderr, done.stderr
    print(call("systemd-analyze", "security", "--no-pager", CORNER).splitlines()[-1])


def test_stop_and_start() -> None:
    before = time.monotonic()
    call("systemctl", "stop", CORNER)
    print(f"stopped in {time.monotonic() - before:.1f} s with {frames()} frames")
    assert show("ActiveState") == "inactive" and show("Result") == "success"
    sessions = json.loads((DAY / "recording.json").read_text())["sessions"]
    assert sessions[-1]["end"] == "stopped" and sum(one["frames"] for one in sessions) == frames()
    assert all(is_whole_png(path.read_bytes()) for path in DAY.glob("*.png"))
    there = frames()
    time.sleep(3)
    assert frames() == there
    call("systemctl", "start", CORNER)  # comes back when the first frame is on the disk
    assert frames() > there


def test_a_kill_is_followed_by_a_restart() -> None:
    os.kill(int(show("MainPID")), signal.SIGKILL)
    wait_for(lambda: restarted(1), "not restarted after SIGKILL")
    there = frames()
    wait_for(lambda: frames() > there, "no frames after the restart")


def test_a_program_that_stands_still_is_restarted_by_the_watchdog() -> None:
    """Not even SIGABRT reaches a stopped process: it takes TimeoutAbortSec, then SIGKILL."""
    count = int(show("NRestarts"))
    os.kill(int(show("MainPID")), signal.SIGSTOP)
    wait_for(lambda: restarted(count + 1), "not restarted by the watchdog")
    assert "Watchdog timeout" in journal()


def test_a_camera_that_hangs_is_restarted_by_the_watchdog_and_shows_where_it_hung(tmp_path: Path) -> None:
    """A pipe that stops delivering: the read is in native code, and nothing in the program can interrupt it."""
    from tests.conftest import write_video

    clip, pipe = tmp_path / "clip.ts", Path("/srv/recordings/camera")
    write_video(clip, [Fraction(n, 25) for n in range(200)], codec="mpeg2video", unit=Fraction(1, 25))
    os.mkfifo(pipe)
    pipe.chmod(0o666)
    CONFIG.write_text(CONFIG.read_text().replace('"demo"', f'"file:{pipe}"'))
    count = int(show("NRestarts"))
    call("systemctl", "restart", "--no-block", CORNER)
    feeding = subprocess.Popen(["sh", "-c", f"exec 3>{pipe}; cat {clip} >&3; exec sleep 1000"])
    try:
        wait_for(lambda: "Current thread" in journal() or "Thread 0x" in journal(), "no trace of where it hung")
        CONFIG.write_text(CONFIG.read_text().replace(f'"file:{pipe}"', '"demo"'))
        wait_for(lambda: restarted(count + 1), "not restarted by the watchdog")
    finally:
        feeding.kill()
        feeding.wait()
    assert "pi_capture/sources/media" in journal()


def test_wrong_settings_are_not_tried_again() -> None:
    text = CONFIG.read_text()
    CONFIG.write_text(text + "speed = 3\n")
    count = int(show("NRestarts"))
    subprocess.run(["systemctl", "restart", CORNER], capture_output=True, check=False)
    wait_for(lambda: show("ActiveState") == "failed", "not failed")
    time.sleep(4)
    assert show("ActiveState") == "failed" and int(show("NRestarts")) <= count
    lines = json.loads("[" + ",".join(call("journalctl", "-u", CORNER, "-o", "json", "-p", "err").splitlines()) + "]")
    told = [line["MESSAGE"] for line in lines]
    assert any("there is no option 'speed'" in message for message in told), told  # as an error, without the <3>
    CONFIG.write_text(text)
    call("systemctl", "start", CORNER)


def test_it_can_write_nowhere_else() -> None:
    pid = show("MainPID")
    for place in ("/", "/home", "/etc/pi-capture"):
        done = subprocess.run(
            ["nsenter", "-t", pid, "-m", "touch", f"{place}/trial"], capture_output=True, text=True, check=False
        )
        assert "Read-only file system" in done.stderr, place


def test_all_that_is_there_is_whole_and_in_order() -> None:
    call("systemctl", "stop", CORNER)
    names = sorted(path.name for path in DAY.glob("*.png"))
    assert all(is_whole_png((DAY / name).read_bytes()) for name in names)
    assert not list(DAY.glob(".*.part"))
    assert len(open_recording(DAY)) == len(names) == len(set(names))
    print(call("journalctl", "-u", CORNER, "-o", "short-iso", "--no-pager", "--no-hostname"))


def test_install_in_the_running_system_and_uninstall() -> None:
    program = (sys.executable, "-m", "pi_capture")
    file = Path("/srv/door.toml")
    file.write_text('directory = "/srv/recordings/door.mkv"\nseconds = -1\ncamera = "demo"\nquiet = true\n')
    print(call(*program, "install-service", "door", "--config", file, "--user", "pi"))
    door = "pi-capture@door.service"
    wait_for(lambda: show("ActiveState", door) == "active", "door is not active")
    call("systemctl", "is-enabled", door)
    print(call(*program, "uninstall-service", "door"))
    assert show("ActiveState", door) == "inactive" and show("LoadState", CORNER) == "loaded"
    assert len(open_recording("/srv/recordings/door.mkv")) > 0 and file.exists()
    print(call(*program, "uninstall-service", "corner"))
    assert show("LoadState") == "not-found"
    assert not list(Path("/etc/systemd/system").rglob("*pi-capture*"))
