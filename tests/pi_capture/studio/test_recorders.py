"""Recorders are processes of their own: started, seen, labelled, stopped, and untouched by what the studio suffers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from pi_capture.studio.answers import RefusedError, identifier
from pi_capture.studio.recorders import ask
from storage import open_recording
from storage.labels.current import labels_as_they_stand
from tests.support import PATIENCE_SECONDS, children, is_running, wait_for
from tests.support.studio import Running, records

DEMO = {"name": "day2", "camera": "demo", "fps": 30, "seconds": 600, "options": {"jitter": False}}


@pytest.fixture
def running(studio: Running) -> Iterator[tuple[Running, dict[str, Any]]]:
    """A studio and a recorder that it started."""
    recorder = studio.post("/api/recorders", {**DEMO, "classes": ["none", "door"]})
    yield studio, recorder
    for one in recorders(studio):
        end(studio, one)


def end(studio: Running, recorder: dict[str, Any]) -> None:
    """Stop a recorder, and wait for its end."""
    studio.post(f"/api/recorders/{recorder['id']}/stop")
    ended(studio, recorder)


def ended(studio: Running, recorder: dict[str, Any]) -> None:
    wait_for(lambda: all(one["id"] != recorder["id"] for one in recorders(studio)), "the recorder has ended")


def recorders(studio: Running) -> list[dict[str, Any]]:
    """Those of this test: others of the same user are seen too."""
    found: list[dict[str, Any]] = studio.get("/api/recorders")["recorders"]
    return [one for one in found if str(studio.place) in one["command"]]


def sockets(studio: Running) -> list[Path]:
    return list((studio.place / "run" / "pi-capture").glob("*.sock"))


def test_a_recording_from_its_beginning_to_its_end(running: tuple[Running, dict[str, Any]]) -> None:
    studio, recorder = running
    assert recorder["target"] == "day2" and recorder["classes"] == ["none", "door"] and recorder["label"] is None
    path = f"/api/recorders/{recorder['id']}"
    assert studio.get(f"/api/recordings/{recorder['recording']}")["state"] == "recording"
    assert studio.post(f"{path}/label", {"label": 1})["label"] == 1
    before = wait_for(lambda: recorders(studio), "it runs")[0]["frames"]
    wait_for(lambda: any(one["frames"] > before + 10 for one in recorders(studio)), "frames come")
    assert studio.post(f"{path}/label", {"label": None})["label"] is None
    assert studio.post(f"{path}/stop")["stopping"]
    ended(studio, recorder)
    labels = labels_as_they_stand(open_recording(studio.folder / "day2"))
    assert {None, "door"} == set(labels) and labels.count("door") >= 10
    assert studio.refused(f"{path}/stop")[0] == 404
    assert sockets(studio) == []


def test_the_command_shown_is_the_one_that_runs(running: tuple[Running, dict[str, Any]]) -> None:
    studio, recorder = running
    told = studio.post("/api/command", {**DEMO, "classes": ["none", "door"]})
    assert told["command"] == recorder["command"] and told["exists"]


def test_frames_are_added_to_a_recording_only_if_that_is_wanted(studio: Running) -> None:
    wanted = {**DEMO, "name": "day1", "seconds": 0.5}
    before = len(list((studio.folder / "day1").iterdir()))
    assert studio.refused("/api/recorders", wanted) == (409, "day1 exists already with 40 frames")
    assert len(list((studio.folder / "day1").iterdir())) == before
    ended(studio, studio.post("/api/recorders", {**wanted, "add": True}))
    assert studio.get(studio.recording("day1"))["frames"] > 40


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_killing_the_studio_loses_nothing(running: tuple[Running, dict[str, Any]], kills: int) -> None:
    """A studio that is started again finds the recorder, and goes on with it."""
    studio, recorder = running
    studio.post(f"/api/recorders/{recorder['id']}/label", {"label": 0})
    for _ in range(kills):
        with studio.browser.stream("GET", f"/api/recorders/{recorder['id']}/live") as answer:
            next(records(answer.iter_raw()))
            studio.kill()
        studio.start()
        (found,) = recorders(studio)
        assert found["id"] == recorder["id"] and found["label"] == 0
    studio.post(f"/api/recorders/{recorder['id']}/label", {"label": 1})
    wait_for(lambda: any(one["frames"] > found["frames"] + 5 for one in recorders(studio)), "it goes on")
    end(studio, recorder)
    with open_recording(studio.folder / "day2") as recording:
        assert {"none", "door"} <= set(labels_as_they_stand(recording))
        (session,) = recording.sessions
        assert (session["end"], session["dropped_queue"], session["frames"]) == ("stopped", 0, len(recording))
        assert missing(recording.timestamps_ns) == session["dropped_camera"], "which a busy machine may cost"
        print(f"{kills} kills: {len(recording)} frames, {session['dropped_camera']} lost by the camera, none otherwise")


def missing(times_ns: Any) -> int:
    """How many frames of thirty a second are not there."""
    return sum(round((after - before) * 30 / 1e9) - 1 for before, after in pairwise(times_ns))


def test_a_signal_to_the_studio_does_not_reach_the_recorder(running: tuple[Running, dict[str, Any]]) -> None:
    studio, _ = running
    (path,) = sockets(studio)
    pid = int(path.stem)
    assert os.getsid(pid) == pid and os.getpgid(pid) == pid
    studio.process.send_signal(signal.SIGINT)
    studio.process.wait(PATIENCE_SECONDS)
    studio.browser.close()
    assert Path(f"/proc/{pid}").exists()
    studio.start()
    assert len(recorders(studio)) == 1


def test_a_recorder_of_the_terminal_is_seen(studio: Running) -> None:
    day, target = studio.folder / "day3.mkv", studio.place / "elsewhere\udcff"
    mine = studio.program("pi_capture", day, "60", "--camera", "demo", "--quiet")
    other = studio.program("pi_capture", target, "60", "--camera", "demo", "--quiet")
    found = wait_for(lambda: len(both := recorders(studio)) == 2 and both, "both are seen")
    by_target = {one["target"]: one for one in found}
    assert by_target["elsewhere\\udcff"]["recording"] is None, "which is not in the folder"
    assert by_target["day3.mkv"]["camera"] == "demo"
    for one in found:
        assert str(studio.place) not in json.dumps({**one, "command": ""})
        end(studio, one)
    assert mine.wait(PATIENCE_SECONDS) == other.wait(PATIENCE_SECONDS) == 0


def test_a_recorder_that_does_not_answer_has_not_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr("pi_capture.studio.recorders.ANSWER_SECONDS", 0.1)
    path = tmp_path / "pi-capture" / f"{os.getpid()}.sock"
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(RefusedError, match="does not answer"):
            asyncio.run(ask(identifier(path), {"label": 1}))


def test_the_socket_is_this_users_alone(running: tuple[Running, dict[str, Any]]) -> None:
    studio, _ = running
    (path,) = sockets(studio)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_directory_that_others_can_enter_is_not_used(studio: Running) -> None:
    place = studio.place / "run" / "pi-capture"
    place.mkdir(mode=0o755)
    place.chmod(0o755)
    recorder = studio.program("pi_capture", studio.folder / "day2", "1", "--camera", "demo", "--quiet")
    assert recorder.wait(PATIENCE_SECONDS) == 0
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"name": "../day2"}, "begins with . or -"),
        ({"name": "/etc/x"}, "has a / in it"),
        ({"name": ".day2"}, "begins with . or -"),
        ({"name": "--help"}, "begins with . or -"),
        ({"name": ""}, "give it a name"),
        ({"name": "a\nb"}, "unprintable"),
        ({"camera": "demo\0"}, "no JSON"),
        ({"seconds": 10**400}, "no JSON"),
        ({"name": "day2.xyz"}, ".xyz"),
        ({"camera": "file:/etc/passwd"}, "can't be chosen here"),
        ({"camera": "rtsp://10.0.0.1/x"}, "can't be chosen here"),
        ({"camera": "screen:0"}, "can't be chosen here"),
        ({"size": "0x0"}, "640x480"),
        ({"size": "--help"}, "size"),
        ({"fps": -1}, "fps"),
        ({"seconds": 0}, "seconds"),
        ({"classes": ["a", "a"]}, "name of its own"),
        ({"classes": ["a,b"] * 6}, "classes"),
        ({"options": {"sensor": "x=touch /tmp/x"}}, "can't be set here"),
        ({"options": {"focus": "far"}}, "give auto, once"),
        ({"options": {"config": "/etc/passwd"}}, "can't be set here"),
        ({"options": {"crf": "--help"}}, "can't stand here"),
        ({"options": {"crf": {"x": 1}}}, "can't stand here"),
        ({"options": {"codec": "h265"}}, "codec"),
        ({"more": 1}, "unknown field"),
    ],
)
def test_what_can_not_be_recorded(studio: Running, wrong: dict[str, Any], told: str) -> None:
    body = {**DEMO, "options": {}, **wrong}
    status, reason = studio.refused("/api/recorders", body)
    assert status in (400, 422) and told in reason
    assert recorders(studio) == [] and not (studio.folder / "day2").exists()


def test_a_busy_target_is_told_in_one_line(running: tuple[Running, dict[str, Any]]) -> None:
    studio, _ = running
    status, reason = studio.refused("/api/recorders", DEMO)
    assert status == 422 and "day2" in reason


def test_a_missing_camera_is_told_in_one_line(studio: Running) -> None:
    for path, body in (
        ("/api/recorders", {**DEMO, "camera": "v4l2:/dev/video99"}),
        ("/api/preview", {"camera": "v4l2:/dev/video99"}),
    ):
        status, reason = studio.refused(path, body)
        assert status == 422 and "/dev/video99" in reason


def test_the_preview_shows_and_ends_by_itself(studio: Running) -> None:
    id = studio.post("/api/preview", {"camera": "demo", "size": "320x240"})["id"]
    with studio.browser.stream("GET", f"/api/preview/{id}/live") as answer:
        found = records(answer.iter_raw())
        for _ in range(3):
            head, body = next(found)
            assert head["size"] == "320x240" and body.startswith(b"\xff\xd8")
        assert children(studio.process.pid)
    wait_for(lambda: not children(studio.process.pid), "the camera is let go when nobody looks")
    assert studio.browser.get(f"/api/preview/{id}/live").status_code == 404


def talking(studio: Running, program: str) -> None:
    """Start the studio again with a program that runs first in each process of a preview."""
    in_all_processes(studio, f"import sys\nif 'pi_capture.studio.preview' in sys.orig_argv:\n{indent(program, '    ')}")


def in_all_processes(studio: Running, program: str) -> None:
    """Start the studio again with a program that runs first in it, and in all that it starts."""
    (studio.place / "sitecustomize.py").write_text(program)
    studio.kill()
    studio.environment["PYTHONPATH"] = f"{studio.place}:{os.environ.get('PYTHONPATH', '')}"
    studio.start()


def test_a_talkative_camera_does_not_stop_the_preview(studio: Running) -> None:
    """What its library prints, as libcamera does, is taken from the pipe, which has room for little."""
    program = """\
import pi_capture.sources
open_silently = pi_capture.sources.open_source
def open_source(*options):
    for stream in sys.stdout, sys.stderr:
        stream.write('x' * 1_000_000)
    return open_silently(*options)
pi_capture.sources.open_source = open_source"""
    talking(studio, program)
    id = studio.post("/api/preview", {"camera": "demo", "size": "320x240"})["id"]
    with studio.browser.stream("GET", f"/api/preview/{id}/live") as answer:
        assert next(records(answer.iter_raw()))[1]


@pytest.mark.parametrize("before", [b"", b'\0\0\0\x0b{"bytes":0}'])
def test_what_is_no_pack_ends_the_preview(studio: Running, before: bytes) -> None:
    """Even when more of it waits in the pipe than anything reads, at once or after the first picture."""
    talking(studio, f"sys.stdout.buffer.write({before!r} + b'no pack' * 200_000)\nsys.stdout.flush()")
    for _ in range(2):
        answer = studio.browser.post("/api/preview", json={"camera": "demo", "size": "320x240"})
        assert answer.status_code == (200 if before else 422)
    wait_for(lambda: not children(studio.process.pid), "the camera is free")


def test_the_preview_does_not_outlive_the_studio(studio: Running) -> None:
    studio.post("/api/preview", {"camera": "demo", "size": "320x240"})
    (child,) = children(studio.process.pid)
    studio.kill()
    wait_for(lambda: not is_running(child), "it has ended")


def test_a_recording_takes_the_camera_from_the_preview(studio: Running) -> None:
    studio.post("/api/preview", {"camera": "demo", "size": "320x240"})
    recorder = studio.post("/api/recorders", DEMO)
    assert not [
        child for child in children(studio.process.pid) if child not in {int(path.stem) for path in sockets(studio)}
    ]
    end(studio, recorder)


def test_the_last_that_asks_for_a_camera_gets_it(studio: Running) -> None:
    """At once, however long it takes to open one that another page asked for."""
    opening = studio.place / "opening"
    slowly = "if '64x48' not in sys.orig_argv: time.sleep(600)"
    talking(studio, f"import pathlib, time\npathlib.Path({str(opening)!r}).touch()\n{slowly}")

    def look(size: str) -> int:
        with studio.new_browser() as browser:
            browser.cookies = studio.browser.cookies
            return browser.post("/api/preview", json={"camera": "demo", "size": size}).status_code

    with ThreadPoolExecutor() as pool:
        for last in ("a preview", "a recording"):
            slow = []
            for n in range(2):
                opening.unlink(missing_ok=True)
                slow.append(pool.submit(look, f"{320 + n}x240"))
                wait_for(opening.exists, "the camera is being opened")
            assert slow[0].result() == 409
            if last == "a preview":
                assert look("64x48") == 200
            else:
                end(studio, studio.post("/api/recorders", DEMO))
            assert slow[1].result() == 409
    wait_for(lambda: not children(studio.process.pid), "no process is left")


def test_no_page_takes_the_camera_from_a_recording_that_begins(studio: Running) -> None:
    """Other pages look at the camera by themselves; they wait while the recorder is loaded."""
    loading, go, found = (studio.place / name for name in ("loading", "go", "found"))
    loads = f"""\
import pathlib, sys, time
if "pi_capture.studio.preview" in sys.orig_argv:
    pathlib.Path({str(found)!r}).write_text(str(pathlib.Path({str(go)!r}).exists()))
elif "--camera" in sys.orig_argv and "--print-config" not in sys.orig_argv:
    pathlib.Path({str(loading)!r}).touch()
    while not pathlib.Path({str(go)!r}).exists():
        time.sleep(0.02)"""
    in_all_processes(studio, loads)
    with studio.new_browser() as browser, ThreadPoolExecutor() as pool:
        browser.cookies = studio.browser.cookies
        recorder = pool.submit(studio.post, "/api/recorders", DEMO)
        wait_for(loading.exists, "the recorder is loaded")
        looking = pool.submit(browser.post, "/api/preview", json={"camera": "demo", "size": "64x48"})
        time.sleep(1)  # in which it would take the camera
        go.touch()
        assert looking.result().status_code == 200 and found.read_text() == "True"
        end(studio, recorder.result())


def test_viewers_never_slow_a_recording(running: tuple[Running, dict[str, Any]]) -> None:
    """Two that take all, and one that takes nothing."""
    studio, recorder = running
    path = f"/api/recorders/{recorder['id']}/live"
    counts = [0, 0]
    over = threading.Event()

    def look(number: int) -> None:
        with studio.new_browser() as browser:
            browser.cookies = studio.browser.cookies
            with browser.stream("GET", path) as answer:
                for _, body in records(answer.iter_raw()):
                    counts[number] += bool(body)
                    if over.is_set():
                        return

    begun = time.monotonic()
    threads = [threading.Thread(target=look, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    with socket.socket(socket.AF_UNIX) as slow:
        slow.connect(str(sockets(studio)[0]))
        slow.sendall(b'{"want": "pictures"}\n')
        wait_for(lambda: min(counts) >= 30, "both see pictures")
        assert sum(counts) <= 2 * (15 * (time.monotonic() - begun) + 5)
        over.set()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
    end(studio, recorder)
    with open_recording(studio.folder / "day2") as recording:
        assert [one["dropped_queue"] for one in recording.sessions] == [0]


@pytest.mark.parametrize(
    "said",
    [b"x\n", b"{\n", b"[]\n", b'{"label":"door"}\n', b'{"label":99}\n', b"\xff\n", b"x" * 5000, b"\n" * 100, b""],
)
def test_nonsense_at_the_socket_does_no_harm(running: tuple[Running, dict[str, Any]], said: bytes) -> None:
    studio, _ = running
    (path,) = sockets(studio)
    for _ in range(20):  # more than it serves at a time
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(said)
    (found,) = wait_for(lambda: recorders(studio), "it has time to answer again")
    assert found["label"] is None and not found["stopping"]


def test_what_a_killed_recorder_left_is_removed(running: tuple[Running, dict[str, Any]]) -> None:
    studio, _ = running
    (path,) = sockets(studio)
    os.kill(int(path.stem), signal.SIGKILL)
    wait_for(lambda: recorders(studio) == [] and not sockets(studio), "nothing of it is there")


def test_labels_from_the_studio_need_no_terminal(tmp_path: Path) -> None:
    command = ["python", "-m", "pi_capture", "day1", "0.3", "--camera", "demo", "--live-labels", "none,door"]
    done = subprocess.run(
        [*command, "--labels-from", "studio"],
        cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, start_new_session=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    alone = subprocess.run([*command[:7], "--labels-from", "studio"], cwd=tmp_path, capture_output=True, check=False)
    assert alone.returncode == 2 and b"--live-labels" in alone.stderr
