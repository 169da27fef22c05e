"""Files, streams, screens and FFmpeg's devices as sources."""

from __future__ import annotations

import http.server
import itertools
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pi_capture import CameraError, UsageError, record
from pi_capture.sources import media, open_source
from storage import Frame, open_recording
from tests.conftest import picture, write_video

IRREGULAR = [Fraction(n, 1000) for n in (0, 33, 67, 100, 500, 501, 777, 2000, 2033, 2067)]


def frames_of(spec: str, size: tuple[int, int] | None = None, fps: float | None = None) -> list[Frame]:
    source = open_source(spec, size, fps)
    try:
        return list(source)
    finally:
        source.close()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    write_video(tmp_path / "clip.mkv", IRREGULAR)
    return tmp_path / "clip.mkv"


# --------------------------------------------------------------------------------------------------------------- files


def test_every_frame_of_a_file_with_its_own_time(clip: Path) -> None:
    source = open_source(f"file:{clip}", None)
    assert (source.info.live, source.info.size, source.info.camera) == (False, (64, 48), f"file:{clip}")
    frames = list(source)
    assert [frame.timestamp_ns for frame in frames] == [int(t * 10**9) for t in IRREGULAR]
    assert [frame.index for frame in frames] == list(range(len(IRREGULAR)))
    for n, frame in enumerate(frames):
        assert np.array_equal(frame.pixels, picture(n)) and frame.pixels.flags.c_contiguous
    assert list(source) == []  # it has ended, and closed itself
    source.close()
    source.close()


def test_cut_and_scaled(clip: Path) -> None:
    for size in ((32, 32), (16, 48), (128, 96), (33, 21)):
        assert {frame.pixels.shape for frame in frames_of(f"file:{clip}", size)} == {(size[1], size[0], 3)}


def test_thinned_by_its_own_time(clip: Path) -> None:
    times = [frame.timestamp_ns // 1_000_000 for frame in frames_of(f"file:{clip}", fps=10)]
    assert times == [0, 100, 500, 777, 2000]


def test_an_avi_keeps_no_presentation_times(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    write_video(path, [Fraction(n, 10) for n in range(30)], codec="libx264")  # decoded in another order than shown
    times = [frame.timestamp_ns for frame in frames_of(f"file:{path}")]
    assert len(times) == 30
    assert all(a < b for a, b in itertools.pairwise(times))
    assert times[0] == 0


def test_a_phones_picture_is_put_upright(tmp_path: Path) -> None:
    plain, turned = tmp_path / "plain.mp4", tmp_path / "turned.mp4"
    write_video(plain, [Fraction(n, 10) for n in range(3)], codec="libx264")
    rotate = ["ffmpeg", "-v", "error", "-display_rotation", "90", "-i", plain, "-c", "copy", turned]
    done = subprocess.run(rotate, check=False, capture_output=True)
    if done.returncode:  # ffmpeg before 6 sets it another way
        rotate = ["ffmpeg", "-v", "error", "-i", plain, "-c", "copy", "-metadata:s:v:0", "rotate=270", turned]
        subprocess.run(rotate, check=True)
    upright, lying = frames_of(f"file:{turned}"), frames_of(f"file:{plain}")
    assert upright[0].pixels.shape == (64, 48, 3)
    assert any(np.array_equal(upright[0].pixels, np.rot90(lying[0].pixels, k)) for k in (1, 3))
    assert frames_of(f"file:{turned}", (20, 30))[0].pixels.shape == (30, 20, 3)


def test_a_file_that_breaks_off_gives_what_it_has(clip: Path) -> None:
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) * 2 // 3])
    frames = []
    try:
        for frame in open_source(f"file:{clip}", None):
            frames.append(frame)
    except CameraError as error:
        assert str(clip) in str(error)
    assert 3 <= len(frames) < len(IRREGULAR)
    for n, frame in enumerate(frames[:-1]):
        assert np.array_equal(frame.pixels, picture(n))


@pytest.mark.parametrize("name", ["text.mkv", "empty.mp4", "sound.wav"])
def test_what_is_no_video(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "sound.wav":
        import wave

        with wave.open(str(path), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(8000)
            sound.writeframes(bytes(16000))
    else:
        path.write_text("no video at all " * 100 if name == "text.mkv" else "")
    with pytest.raises(CameraError, match=r"is not a video|has no picture|no picture"):
        open_source(f"file:{path}", None)


def test_names_that_look_like_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("-i.mkv", "concat:a|b.mkv", "a b'c.mkv", "http:x.mkv"):
        write_video(tmp_path / "plain.mkv", IRREGULAR)
        (tmp_path / "plain.mkv").rename(tmp_path / name)
        assert len(frames_of(f"file:{name}")) == len(IRREGULAR)


def test_a_playlist_does_not_reach_the_network(tmp_path: Path) -> None:
    asked = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.set()
            self.send_error(404)

    with serving(Handler) as port:
        path = tmp_path / "list.m3u8"
        path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:{port}/x.ts\n#EXT-X-ENDLIST\n")
        with pytest.raises(CameraError):
            open_source(f"file:{path}", None)
    assert not asked.is_set()


# ------------------------------------------------------------------------------------------------------------- streams


@contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


SENDER = ["ffmpeg", "-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25"]


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_a_live_stream(tmp_path: Path, protocol: str) -> None:
    port = free_port()
    listen = "?listen=1" if protocol == "tcp" else ""
    url = f"{protocol}://127.0.0.1:{port}"
    sender = subprocess.Popen([*SENDER, "-g", "5", "-c:v", "mpeg2video", "-f", "mpegts", url + listen])
    try:
        summary = None
        for _ in range(20):  # the sender listens in a moment
            try:
                summary = record(tmp_path / "day1", 1, camera=url, size=(80, 60))
                break
            except CameraError:
                time.sleep(0.1)
    finally:
        sender.kill()
        sender.wait()
    assert summary is not None and summary.dropped_queue == 0
    recording = open_recording(tmp_path / "day1")
    assert 15 <= len(recording) <= 26
    times = recording.timestamps_ns
    assert all(a < b for a, b in itertools.pairwise(times))
    assert abs(float(np.median(np.diff(times))) - 40e6) < 4e6
    assert 0 <= time.monotonic_ns() - times[-1] < 60e9  # on this machine's monotonic clock


def test_a_video_on_a_web_server_is_read_like_a_file(clip: Path) -> None:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(clip.parent))  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            pass

    with serving(Handler) as port:
        source = open_source(f"http://user:secret@127.0.0.1:{port}/clip.mkv", None)
        assert not source.info.live
        assert source.info.camera == f"http://127.0.0.1:{port}/clip.mkv"  # without the password
        assert len(list(source)) == len(IRREGULAR)


def test_a_server_that_says_nothing_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "PATIENCE_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(CameraError, match="nothing came for"):
            open_source(f"tcp://127.0.0.1:{port}", None)


def test_a_stream_that_breaks_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came is recorded; then it is the end, or one clear line."""
    port = free_port()
    url = f"tcp://127.0.0.1:{port}"
    sender = subprocess.Popen([*SENDER, "-t", "2", "-g", "5", "-c:v", "mpeg2video", "-f", "mpegts", url + "?listen=1"])
    for _ in range(20):
        try:
            source = open_source(url, None)
            break
        except CameraError:
            time.sleep(0.1)
    sender.kill()
    sender.wait()
    assert len(list(source)) >= 1


# ------------------------------------------------------------------------------------------------ screens and devices


def paint(screen: str, colour: str) -> None:
    subprocess.run(["xsetroot", "-display", screen, "-solid", colour], check=True)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command line, in a process of its own."""
    command = [sys.executable, "-m", "pi_capture", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_screen_pixel_for_pixel(tmp_path: Path, screen: str) -> None:
    paint(screen, "#c81e3c")
    done = run(tmp_path / "day1", 0.5, "--camera", f"screen:{screen}+100,50", "--size", "64x32", "--fps", 20)
    assert done.returncode == 0, done.stderr
    frames = list(open_recording(tmp_path / "day1"))
    assert 6 <= len(frames) <= 12  # half a second at twenty a second
    for frame in frames:
        assert frame.pixels.shape == (32, 64, 3)
        assert (frame.pixels == (0xC8, 0x1E, 0x3C)).all()
    assert abs(float(np.median(np.diff([frame.timestamp_ns for frame in frames]))) - 50e6) < 10e6
    done = run(tmp_path / "day2", 0.2, "--camera", f"screen:{screen}", "--size", "source")
    assert done.returncode == 0, done.stderr
    assert open_recording(tmp_path / "day2")[0].pixels.shape == (480, 640, 3)


@pytest.mark.parametrize(("address", "size"), [("+600,400", "128x128"), ("", "1000x1000"), ("+9999,0", "64x64")])
def test_more_than_the_screen_has(tmp_path: Path, screen: str, address: str, size: str) -> None:
    done = run(tmp_path / "day1", 1, "--camera", f"screen:{screen}{address}", "--size", size)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "not that large" in done.stderr


def test_no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(CameraError, match="DISPLAY is not set"):
        open_source("screen", None)
    with pytest.raises(UsageError, match="corner"):
        open_source("screen::0+here", None)


def test_generated_pictures_wait(tmp_path: Path) -> None:
    summary = record(tmp_path / "day1", -1, camera="ffmpeg:lavfi:testsrc2=size=64x48:rate=50:duration=4", size=None)
    assert (summary.frames, summary.fps, summary.dropped_queue) == (200, 50.0, 0)


@pytest.mark.parametrize(
    "spec", ["ffmpeg:nonsense:x", "ffmpeg:lavfi:nonsense=1", "ffmpeg:v4l2:/dev/none", "ffmpeg:lavfi:sine=duration=1"]
)
def test_devices_that_there_are_not(spec: str) -> None:
    with pytest.raises(CameraError) as caught:
        open_source(spec, (64, 64), 10)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("spec", ["ffmpeg:", "ffmpeg:lavfi", "file:", "nonsense:x"])
def test_forms_that_make_no_sense(spec: str) -> None:
    with pytest.raises(UsageError):
        open_source(spec, None)


def test_closing_from_another_thread_ends_it() -> None:
    source = open_source("ffmpeg:lavfi:testsrc2=size=64x48:rate=1000", None)
    threading.Timer(0.3, source.close).start()
    assert sum(1 for _ in source) > 10


def test_opening_many_one_after_the_other(clip: Path) -> None:
    code = (
        "import sys; from pi_capture.sources import open_source\n"
        "for n in range(30):\n"
        "    source = open_source('file:' + sys.argv[1], (32, 32)); next(iter(source)); source.close()\n"
        "    source = open_source('file:' + sys.argv[1], (32, 32)); source.close()\n"
        "print('survived')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(clip)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "survived", done.stderr
