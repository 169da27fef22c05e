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
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from storage import open_recording
from storage.formats.png.whole import fault

pytestmark = pytest.mark.systemd

DAY = Path("/srv/recordings/day1")
CONFIG = Path("/etc/pi-capture/corner.toml")
CORNER = "pi-capture@corner.service"
SLOW = 300  # the machine may be an emulated one


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
        time.sleep(0.5)


def frames() -> int:
    return len(list(DAY.glob("*.png")))


def stored() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in DAY.glob("*.png")}


def installed() -> list[Path]:
    return sorted(path for place in ("systemd/system", "pi-capture") for path in Path("/etc", place).rglob("*"))


def restarted(count: int) -> bool:
    """By systemd itself: the count begins anew with every ``systemctl start``."""
    return int(show("NRestarts")) >= count and show("ActiveState") == "active"


def began(service: str, moment: str = "ActiveEnter") -> int:
    """When a unit got there, in microseconds since the boot."""
    return int(show(f"{moment}TimestampMonotonic", service))


def test_it_was_started_by_the_boot() -> None:
    wait_for(lambda: show("ActiveState") == "active", "not active after the boot")
    assert show("NRestarts") == "0" and show("UnitFileState") == "enabled"
    assert frames() > 0
    status = show("StatusText")
    assert re.match(r"\d+ frames, [\d.]+ a second, \d+ dropped, \d+ MB/hour, .*GB free", status), status
    after = show("After").split()
    assert "local-fs.target" in after and "time-sync.target" in after
    assert began("local-fs.target") <= began(CORNER, "InactiveExit") < began(CORNER) <= began("multi-user.target")
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
    assert all(fault(path.read_bytes()) is None for path in DAY.glob("*.png"))
    there = frames()
    time.sleep(1.5)
    assert frames() == there
    call("systemctl", "start", CORNER)  # comes back when the first frame is on the disk
    assert frames() > there


def test_a_kill_is_followed_by_a_restart_that_keeps_every_frame() -> None:
    os.kill(int(show("MainPID")), signal.SIGKILL)
    before = stored()
    wait_for(lambda: restarted(1), "not restarted after SIGKILL")
    wait_for(lambda: frames() > len(before) + 2, "no frames after the restart")
    assert stored().items() >= before.items()
    sessions = json.loads((DAY / "recording.json").read_text())["sessions"]
    assert [one.get("end") for one in sessions[-2:]] == ["interrupted", None], sessions


def test_a_program_that_stands_still_is_ended_by_the_watchdog_and_shows_where() -> None:
    os.kill(int(show("MainPID")), signal.SIGSTOP)
    before = stored()
    wait_for(lambda: restarted(2), "not restarted by the watchdog")
    assert stored().items() >= before.items()
    assert "Watchdog timeout" in journal() and "Failed with result 'watchdog'" in journal()
    assert "pi_capture/recording/capture.py" in journal()  # systemd lets a stopped process go on, to die of SIGABRT


class Pipe:
    """A camera that can stop delivering: the read is in native code, and nothing in the program can interrupt it."""

    def __init__(self, room: Path) -> None:
        from tests.conftest import write_video

        self.path, self._clip = Path("/srv/recordings/camera"), room / "clip.ts"
        write_video(self._clip, [Fraction(n, 25) for n in range(200)], codec="mpeg2video", unit=Fraction(1, 25))
        os.mkfifo(self.path)
        self.path.chmod(0o666)
        self._settings = CONFIG.read_text()
        CONFIG.write_text(self._settings.replace('"demo"', f'"ffmpeg:mpegts:{self.path}"'))
        self._feeding: subprocess.Popen[bytes] | None = None

    def deliver(self) -> None:
        """Eight seconds of video, and then nothing more."""
        self._feeding = subprocess.Popen(["sh", "-c", f"exec 3>{self.path}; cat {self._clip} >&3; exec sleep 1000"])

    def remove(self) -> None:
        """The next start is with the camera that was there before."""
        CONFIG.write_text(self._settings)
        self.path.unlink()
        if self._feeding is not None:
            self._feeding.kill()
            self._feeding.wait()


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Pipe]:
    camera = Pipe(tmp_path)
    yield camera
    if camera.path.exists():
        camera.remove()


def test_it_is_ready_when_the_first_frame_is_on_the_disk_and_not_before(pipe: Pipe) -> None:
    call("systemctl", "stop", CORNER)
    before = frames()
    call("systemctl", "start", "--no-block", CORNER)
    wait_for(lambda: int(show("MainPID")) > 0, "not started")
    time.sleep(4)  # it runs, and waits for its camera
    assert (show("ActiveState"), frames()) == ("activating", before)
    pipe.deliver()
    wait_for(lambda: show("ActiveState") == "active", "not ready with frames on the disk")
    assert frames() > before


def test_a_camera_that_hangs_is_ended_by_the_watchdog_and_shows_where_it_hung(pipe: Pipe) -> None:
    call("systemctl", "stop", CORNER)
    told = journal()
    call("systemctl", "start", "--no-block", CORNER)
    pipe.deliver()
    wait_for(lambda: "Watchdog timeout" in journal()[len(told) :], "the watchdog did not act")
    pipe.remove()
    wait_for(lambda: restarted(1), "not restarted by the watchdog")
    assert "pi_capture/sources/media" in journal()[len(told) :]


def test_a_camera_that_hangs_does_not_hold_up_the_stop(pipe: Pipe) -> None:
    call("systemctl", "stop", CORNER)
    call("systemctl", "start", "--no-block", CORNER)
    pipe.deliver()
    wait_for(lambda: show("ActiveState") == "active", "not active")
    time.sleep(1)
    begin = time.monotonic()
    call("systemctl", "stop", CORNER)
    print(f"stopped in {time.monotonic() - begin:.1f} s, beside a camera that hangs")
    assert show("Result") == "success" and "SIGKILL" not in journal()[-1000:]
    sessions = json.loads((DAY / "recording.json").read_text())["sessions"]
    assert sessions[-1]["end"] == "stopped: the camera hung"
    pipe.remove()
    call("systemctl", "start", CORNER)


def test_wrong_settings_are_not_tried_again() -> None:
    text = CONFIG.read_text()
    CONFIG.write_text(text + "speed = 3\n")
    subprocess.run(["systemctl", "restart", CORNER], capture_output=True, check=False)
    wait_for(lambda: show("ActiveState") == "failed", "not failed")
    time.sleep(4)
    assert (show("ActiveState"), show("NRestarts"), show("ExecMainStatus")) == ("failed", "0", "2")
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
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    assert (status["Seccomp"], status["NoNewPrivs"], int(status["CapEff"], 16)) == ("2", "1", 0)


def test_all_that_is_there_is_whole_and_in_order() -> None:
    call("systemctl", "stop", CORNER)
    names = sorted(path.name for path in DAY.glob("*.png"))
    assert all(fault((DAY / name).read_bytes()) is None for name in names)
    assert not list(DAY.glob(".*.part"))
    assert len(open_recording(DAY)) == len(names) == len(set(names))
    print(call("journalctl", "-u", CORNER, "--no-pager", "--no-hostname"))


def test_install_in_the_running_system_and_uninstall() -> None:
    program = (sys.executable, "-m", "pi_capture")
    file = Path("/srv/door.toml")
    before = installed()
    file.write_text('directory = "/srv/recordings/door.mkv"\nseconds = -1\ncamera = "demo"\nquiet = true\n')
    print(call(*program, "install-service", "door", "--config", file, "--user", "pi"))
    door = "pi-capture@door.service"
    wait_for(lambda: show("ActiveState", door) == "active", "door is not active")
    call("systemctl", "is-enabled", door)
    print(call(*program, "uninstall-service", "door"))
    assert show("ActiveState", door) == "inactive" and show("LoadState", CORNER) == "loaded"
    assert installed() == before
    assert len(open_recording("/srv/recordings/door.mkv")) > 0 and file.exists()
    CONFIG.write_text("speed = 3\n")
    subprocess.run(["systemctl", "restart", CORNER], capture_output=True, check=False)
    wait_for(lambda: show("ActiveState") == "failed", "not failed")
    print(call(*program, "uninstall-service", "corner"))
    assert show("LoadState") == "not-found" and CORNER not in call("systemctl", "list-units", "--all", "--plain")
    left = list(Path("/etc/systemd/system").rglob("*pi-capture*"))
    assert [path.name for path in left] == ["pi-capture@corner.service.d"]  # with what somebody else put there
    assert [path.name for path in left[0].iterdir()] == ["zz-tests.conf"]
