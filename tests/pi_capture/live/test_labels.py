"""Labels given with the digits of a real terminal while it records."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import resource
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from classify.frames import open_frames
from classify.session import NONE, Session
from pi_capture import Recorder
from pi_capture.live.labels import LiveLabels
from storage import open_recording
from storage.labels.beside import journal_path, live_path
from storage.labels.classes import known_classes
from storage.labels.current import labels_as_they_stand
from storage.labels.history import replay
from storage.labels.journal import Classes, LabelJournal
from storage.labels.live import LiveJournal, adopt
from tests.support import REPOSITORY, wait_for
from tests.support.live import sensor

CLASSES = "none,door,light"
TARGETS = ["day1", "day1.h5", "day1.mkv"]


class Terminal:
    """A terminal with a program in it, and who sits there."""

    def __init__(self, command: Sequence[str]) -> None:
        self.keys, theirs = pty.openpty()
        self.before = termios.tcgetattr(theirs)
        self.theirs = theirs
        self.shown = ""

        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
        paths = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": paths, "TERM": "xterm", "COLUMNS": "200", "PS1": "$ "}
        command = ["setsid", "--ctty", *command]  # which becomes the program, with this terminal as its own
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)

    def look(self) -> str:
        while select.select([self.keys], [], [], 0.02)[0]:
            try:
                data = os.read(self.keys, 65536)
            except OSError:
                break
            if not data:
                break
            self.shown += data.decode(errors="replace")
        return self.shown

    def sees(self, text: str | Callable[[str], bool]) -> float:
        """Wait until a text shows; tells when. Then only what comes after it is looked at."""
        until = time.monotonic() + 120
        found = (lambda shown: text in shown) if isinstance(text, str) else text
        while not found(self.look()):
            assert time.monotonic() < until and self.process.poll() is None, self.shown[-500:]
        self.shown = ""
        return time.monotonic()

    def sees_more_frames(self, more: int = 16) -> None:
        """Wait until so many more frames are stored; on a busy machine they wait for the encoders."""
        stored: list[int] = []

        def have_come(shown: str) -> bool:
            stored.extend(int(count) for count in re.findall(r"(\d+) frames", shown)[-1:])
            return bool(stored) and stored[-1] >= stored[0] + more

        self.sees(have_come)

    def press(self, keys: str) -> float:
        now = time.monotonic()
        os.write(self.keys, keys.encode())
        return now

    def shows_typing(self) -> bool:
        return bool(termios.tcgetattr(self.theirs)[3] & termios.ECHO)

    def ends(self) -> int:
        until = time.monotonic() + 120
        while self.process.poll() is None:
            self.look()  # a full terminal would hold it up
            assert time.monotonic() < until, self.shown
        self.look()
        return self.process.returncode

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.keys)
        os.close(self.theirs)


def recording(target: Path, *options: object) -> list[str]:
    camera = () if "--camera" in options else ("--camera", "demo", "--fps", "60", "--size", "64x48")
    more = ("--countdown", 0, "--live-labels", CLASSES, *camera, *options)
    return [sys.executable, "-m", "pi_capture", str(target), "-1", *map(str, more)]


def shown_by_classify(path: Path) -> list[str | None]:
    """The labels that the window would open with, at the positions of the frames."""
    with LabelJournal(journal_path(path)) as journal, open_recording(path) as frames:
        classes = known_classes(journal.entries)
        opened = open_frames(frames, classes, journal.entries, relabel=False)
        session = Session(len(opened.names), opened.labels)
        replay(session, opened.names, journal.entries)
        assert not session.can_undo(), "live labels are a first guess, no key of the labeller's"
        return [None if label == NONE else opened.class_of(label) for label in session.labels]


def check(path: Path, known: Sequence[tuple[float, float, str | None]], off: float = 0) -> None:
    """The frames taken within each stretch of time have its label; their times may be wrong by `off` seconds."""
    labels = shown_by_classify(path)
    with open_recording(path) as frames:
        assert labels_as_they_stand(frames) == labels
        times = [time_ns / 1e9 for time_ns in frames.timestamps_ns]
    for since, until, label in known:
        within = [given for time, given in zip(times, labels, strict=True) if since + off <= time <= until - off]
        assert len(within) > 3 and set(within) == {label}, (label, within)


def label_a_while(terminal: Terminal) -> list[tuple[float, float, str | None]]:
    """Press keys; tells from when to when which label was certain to be on."""
    begun = terminal.sees("[no label]")
    known: list[tuple[float, float, str | None]] = []
    label: str | None = None
    since = begun
    for key, shows, following in (
        ("\x1b[15~7x", None, None),  # F5 sends digits, and there is no class 7
        ("1", "[1 door]", "door"),
        ("2", "[2 light]", "light"),
        ("\x7f", "[no label]", None),
        ("0", "[0 none]", "none"),
    ):
        terminal.sees_more_frames()
        until = terminal.press(key)
        if shows is not None:
            known.append((since, until, label))
            since, label = terminal.sees(shows), following
    terminal.sees_more_frames()
    return [*known, (since, time.monotonic(), label)]


@pytest.mark.parametrize("name", TARGETS)
def test_a_digit_begins_its_class(tmp_path: Path, name: str) -> None:
    terminal = Terminal(recording(tmp_path / name))
    known = label_a_while(terminal)
    assert not terminal.shows_typing()
    terminal.press("\x03")
    assert terminal.ends() == 0, terminal.shown
    assert termios.tcgetattr(terminal.theirs) == terminal.before
    terminal.close()
    check(tmp_path / name, known)
    assert not live_path(tmp_path / name).exists()
    with open_recording(tmp_path / name) as frames:
        assert ("door" in frames.labels) == name.endswith(".mkv")
        tail = labels_as_they_stand(frames)[-3:]
        assert tail == ["none"] * 3


@pytest.mark.parametrize("end", ["\x03", "kill"])
def test_beside_sensors_and_sound(tmp_path: Path, end: str) -> None:
    path = tmp_path / "day1.mkv"
    imu = f"imu,rate=50={sensor(50)}"
    terminal = Terminal(recording(path, "--sensor", imu, "--audio", "lavfi:sine=sample_rate=8000"))
    known = label_a_while(terminal)
    if end == "kill":
        terminal.sees_more_frames(90)  # what was synced, as it is every second, is what can be told
        terminal.process.kill()
        terminal.process.wait()
        assert adopt(path) > 0
    else:
        terminal.press(end)
        assert terminal.ends() == 0, terminal.shown
    terminal.close()
    check(path, known)
    with open_recording(path) as frames:
        imu_reader, sound = frames.tracks
        counted = imu_reader.read()[1][:, 0].tolist()
        assert counted == [counted[0] + n for n in range(len(counted))]
        assert len(sound.read()[1]) > 8000


@pytest.mark.parametrize("name", TARGETS)
def test_kill_keeps_every_key(tmp_path: Path, name: str) -> None:
    terminal = Terminal(recording(tmp_path / name))
    known = label_a_while(terminal)
    terminal.sees_more_frames(90)
    terminal.process.send_signal(signal.SIGKILL)
    terminal.ends()
    terminal.close()
    if name.endswith(".mkv"):
        with open_recording(tmp_path / name) as frames:
            assert {"door", "light"} < set(frames.labels)
    # Whoever records next gives the frames their labels before it adds its own; so does the labeller.
    again = [sys.executable, "-m", "pi_capture", str(tmp_path / name), "0.2", "--camera", "demo", "--size", "64x48"]
    subprocess.run(again, check=True, capture_output=True)
    check(tmp_path / name, known[:-1])
    labels = shown_by_classify(tmp_path / name)
    last = max(n for n, label in enumerate(labels) if label is not None)
    assert labels[last] == "none" or name.endswith(".h5"), "an HDF5 file ends where it was synced last"
    assert len(labels) > last + 1
    if not name.endswith(".h5"):
        with open_recording(tmp_path / name) as frames:  # to the last frame of the session that was killed
            times = frames.timestamps_ns
            assert times[last + 1] - times[last] > 0.1e9


@pytest.mark.parametrize(
    "text", ["", '{"live_lab', '{"live_labels":1,"first_index":0,"classes":["a"],"directories":["a"]}\n{"fr']
)
def test_live_labels_that_were_cut_off_before_any_key(tmp_path: Path, text: str) -> None:
    again = [sys.executable, "-m", "pi_capture", str(tmp_path / "day1"), "0.2", "--camera", "demo", "--size", "64x48"]
    subprocess.run(again, check=True, capture_output=True)
    live_path(tmp_path / "day1").write_text(text)
    subprocess.run(again, check=True, capture_output=True)
    assert not live_path(tmp_path / "day1").exists() and set(shown_by_classify(tmp_path / "day1")) == {None}


def test_a_key_for_which_there_was_no_room_takes_no_other_with_it(tmp_path: Path) -> None:
    with Recorder(tmp_path / "day1.mkv", fps=1) as recorder:
        for n in range(10):
            recorder.write(np.full((8, 8, 3), n, np.uint8))
    journal = LiveJournal(tmp_path / "day1.mkv", Classes(("none", "door"), ("none", "door")), 0)
    journal.start(0, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (live_path(tmp_path / "day1.mkv").stat().st_size + 5, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            journal.start(5 * 10**9, None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    journal.start(8 * 10**9, 0)
    journal.close()
    assert adopt(tmp_path / "day1.mkv") == 10
    with open_recording(tmp_path / "day1.mkv") as recording:
        assert labels_as_they_stand(recording) == ["door"] * 8 + ["none"] * 2


def test_the_labeller_adopts_after_a_kill(tmp_path: Path) -> None:
    terminal = Terminal(recording(tmp_path / "day1"))
    terminal.sees("[no label]")
    terminal.press("1")
    terminal.sees("[1 door]")
    terminal.sees_more_frames(30)
    terminal.process.kill()
    terminal.ends()
    terminal.close()
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    command = [sys.executable, "-m", "classify", str(tmp_path / "day1")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert re.search(r"\d frames have labels from the recording", done.stderr), done.stderr
    assert "door" in shown_by_classify(tmp_path / "day1")


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_the_terminal_is_as_it_was(tmp_path: Path, end: signal.Signals) -> None:
    terminal = Terminal(recording(tmp_path / "day1"))
    terminal.sees("[no label]")
    terminal.process.send_signal(end)
    assert terminal.ends() == 0
    assert termios.tcgetattr(terminal.theirs) == terminal.before
    terminal.close()
    assert not live_path(tmp_path / "day1").exists()
    with LabelJournal(
        journal_path(tmp_path / "day1")
    ) as journal:  # no key was pressed: the names are known all the same
        assert known_classes(journal.entries).names == tuple(CLASSES.split(",")) and len(journal.entries) == 1


def test_the_terminal_is_as_it_was_after_a_failure(tmp_path: Path) -> None:
    terminal = Terminal(recording(tmp_path / "day1", "--camera", "file:/nowhere.avi"))
    assert terminal.ends() == 1
    assert termios.tcgetattr(terminal.theirs) == terminal.before and "Traceback" not in terminal.shown
    terminal.close()
    assert list(tmp_path.iterdir()) == []


OVERTAKEN = """
import select, time
from pi_capture.live.terminal import Terminal
look, looks = select.select, []
def told_of_a_key(reading, *more):
    looks.append(reading)
    return look(reading, *more)[0] or reading[:1], [], []
select.select = told_of_a_key
with Terminal(print):
    while len(looks) < 5:
        time.sleep(0.01)
print("ended")
"""


def test_keys_that_another_has_read_first(tmp_path: Path) -> None:
    """As the shell does before it gives the terminal back, and Ctrl-C right behind a key."""
    terminal = Terminal([sys.executable, "-c", OVERTAKEN])
    assert terminal.ends() == 0 and "ended" in terminal.shown
    terminal.close()


def test_suspending_and_going_on(tmp_path: Path) -> None:
    terminal = Terminal(["bash", "--norc", "--noediting", "-i"])
    terminal.press(" ".join(recording(tmp_path / "day1")) + "\n")
    terminal.sees("[no label]")
    terminal.press("1")
    terminal.sees("[1 door]")
    assert not terminal.shows_typing()
    terminal.press("\x1a")
    terminal.sees("Stopped")
    assert terminal.shows_typing()
    terminal.press("echo $((20+22)); bg\n")  # in the background the keys are the shell's
    terminal.sees("42")
    terminal.press("echo $((10+11))\n")
    terminal.sees("21")
    assert terminal.shows_typing()
    terminal.press("fg\n")
    terminal.sees("-m pi_capture")
    terminal.sees(lambda shown: not terminal.shows_typing())
    terminal.press("2")
    terminal.sees("[2 light]")
    terminal.sees_more_frames()
    terminal.press("\x03")
    terminal.sees("frames in")
    terminal.press("exit\n")
    assert terminal.ends() == 0 and terminal.shows_typing()
    terminal.close()
    assert [label for label in dict.fromkeys(shown_by_classify(tmp_path / "day1")) if label] == ["door", "light"]


def test_without_a_terminal_it_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        recording(tmp_path / "day1"), stdin=subprocess.DEVNULL, capture_output=True, text=True, start_new_session=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "terminal" in done.stderr, done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("names", "complaint"),
    [("a,a", "name of its own"), ("a,,b", "can't be named ''"), ("../x", "'../x'"), (",".join("abcdefghij"), "1 to 9")],
)
def test_classes_that_can_not_be(tmp_path: Path, names: str, complaint: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pi_capture", str(tmp_path / "day1"), "1", "--live-labels", names],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and complaint in done.stderr, done.stderr


def test_other_classes_than_before_are_refused(tmp_path: Path) -> None:
    for classes, status in ((CLASSES, 0), ("cat,dog", 2), (CLASSES, 0)):
        terminal = Terminal([*recording(tmp_path / "day1"), "--live-labels", classes])
        if status == 0:
            terminal.sees("[no label]")
            terminal.press("1")
            terminal.sees("[1 door]")
            terminal.sees_more_frames()
            terminal.press("\x03")
        assert terminal.ends() == status, terminal.shown
        terminal.close()
        assert status == 0 or "--live-labels none,door,light" in terminal.shown


def test_a_key_that_comes_after_its_frames_are_stored_labels_them_all_the_same(tmp_path: Path) -> None:
    """As one from the preview's window, where the recorder hears of it when the machine has time for that."""
    path = tmp_path / "day1.mkv"
    labels = LiveLabels(["none", "door"])

    def store(numbers: range) -> None:
        for n in numbers:
            recorder.write(np.full((8, 8, 3), n, np.uint8))
        wait_for(lambda: recorder.status().frames == numbers.stop, "the frames")

    with Recorder(path, fps=10) as recorder:
        labels.begin(recorder, pytest.fail)
        store(range(10))
        labels.press("1", 400_000_000)
        store(range(10, 20))
        labels.press("-", 1_500_000_000)
    labels.end(in_order=True)
    with open_recording(path) as recording:
        assert labels_as_they_stand(recording) == [None] * 4 + ["door"] * 11 + [None] * 5
        assert list(recording.labels) == [None] * 10 + ["door"] * 10, "as they were stored"


def test_no_key_waits_until_the_disk_has_taken_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, start = threading.Event(), LiveJournal.start

    def start_slowly(journal: LiveJournal, timestamp_ns: int, label: int | None) -> None:
        assert disk.wait(120)
        start(journal, timestamp_ns, label)

    monkeypatch.setattr(LiveJournal, "start", start_slowly)
    labels = LiveLabels(["none", "door"])
    with Recorder(tmp_path / "day1", fps=10) as recorder:
        labels.begin(recorder, pytest.fail)
        labels.press("1", 200_000_000)
        labels.press("0", 600_000_000)
        for n in range(10):
            recorder.write(np.full((8, 8, 3), n, np.uint8))
        assert labels.label == 0
        disk.set()
    labels.end(in_order=True)
    assert shown_by_classify(tmp_path / "day1") == [None] * 2 + ["door"] * 4 + ["none"] * 4


def test_a_file_is_labelled_at_its_own_frames(tmp_path: Path) -> None:
    """A file's timestamps are its own: the key counts from the frame on that comes next."""
    video = tmp_path / "clip.avi"
    make = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=640x480:r=30:d=30", "-c:v", "mjpeg", str(video)]
    subprocess.run(make, check=True)
    terminal = Terminal(recording(tmp_path / "day1.mkv", "--camera", f"file:{video}", "--size", "source"))
    terminal.sees("[no label]")
    terminal.press("1")
    terminal.sees("[1 door]")
    terminal.sees_more_frames()
    terminal.press("\x03")
    assert terminal.ends() == 0
    terminal.close()
    labels = shown_by_classify(tmp_path / "day1.mkv")
    assert labels[0] is None and labels[-1] == "door" and set(labels) == {None, "door"}
