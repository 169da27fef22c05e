"""Files, streams, screens and FFmpeg's devices as sources."""

from __future__ import annotations

import http.server
import io
import os
import socket
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
import pytest
from PIL import Image

from pi_capture import CameraError, UsageError, record
from pi_capture.sources import Source, open_source
from pi_capture.sources.media import source as media
from storage import Frame, open_recording
from tests.conftest import picture, write_video
from tests.support import REPOSITORY
from tests.support.ports import free_port
from tests.support.rtsp import rtsp_camera

IRREGULAR = [Fraction(n, 1000) for n in (0, 33, 67, 100, 500, 501, 777, 2000, 2033, 2067)]


def frames_of(spec: str, size: tuple[int, int] | None = None, fps: float | None = None) -> list[Frame]:
    source = open_source(spec, size, fps)
    try:
        return list(source)
    finally:
        source.close()


def dropped(frames: list[Frame]) -> dict[int, int]:
    return {frame.index: frame.metadata["dropped_camera"] for frame in frames if frame.metadata}


def regular(count: int, fps: int = 10) -> list[Fraction]:
    return [Fraction(n, fps) for n in range(count)]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    write_video(tmp_path / "clip.mkv", IRREGULAR)
    return tmp_path / "clip.mkv"


@pytest.fixture
def no_warning(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert caplog.messages == []


# --------------------------------------------------------------------------------------------------------------- files


@pytest.mark.usefixtures("no_warning")
def test_every_frame_of_a_file_with_its_own_time(clip: Path) -> None:
    source = open_source(f"file:{clip}", None)
    info = source.info
    assert (info.live, info.size, info.camera, info.model) == (False, (64, 48), f"file:{clip}", "clip.mkv")
    frames = list(source)
    assert [frame.timestamp_ns for frame in frames] == [int(t * 10**9) for t in IRREGULAR]
    assert [frame.index for frame in frames] == list(range(len(IRREGULAR)))
    assert dropped(frames) == {}
    for n, frame in enumerate(frames):
        assert np.array_equal(frame.pixels, picture(n)) and frame.pixels.flags.c_contiguous
    assert list(source) == []
    source.close()
    source.close()
    assert list(source) == []


def test_times_are_exact_to_the_nanosecond(tmp_path: Path) -> None:
    ffmpeg = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=30000/1001", "-frames:v", "40"]
    subprocess.run([*ffmpeg, "-c:v", "mpeg4", tmp_path / "clip.mp4"], check=True)
    times = [frame.timestamp_ns for frame in frames_of(f"file:{tmp_path / 'clip.mp4'}")]
    assert times == [round(Fraction(1001 * n, 30000) * 10**9) for n in range(40)]


@pytest.mark.usefixtures("no_warning")
def test_footage_is_the_same_as_by_pyav_and_opencv(footage: tuple[Path, int]) -> None:
    import cv2

    film, count = footage
    frames = frames_of(f"file:{film}")
    assert [frame.timestamp_ns for frame in frames] == [n * 100_000_000 for n in range(count)]
    by_opencv = cv2.VideoCapture(str(film))
    with av.open(str(film)) as container:
        for frame, by_pyav in zip(frames, container.decode(video=0), strict=True):
            assert np.array_equal(frame.pixels, by_pyav.to_ndarray(format="rgb24"))
            difference = frame.pixels.astype(int) - by_opencv.read()[1][..., ::-1]
            assert abs(difference).max() <= 16  # OpenCV has an FFmpeg of its own, which may round in another way
        del by_pyav


def test_cut_and_scaled(clip: Path) -> None:
    for size in ((32, 32), (16, 48), (128, 96), (33, 21)):
        assert {frame.pixels.shape for frame in frames_of(f"file:{clip}", size)} == {(size[1], size[0], 3)}


def test_thinned_by_its_own_time(clip: Path) -> None:
    source = open_source(f"file:{clip}", None, 10)
    frames = list(source)
    assert [frame.timestamp_ns // 1_000_000 for frame in frames] == [0, 100, 500, 777, 2000]
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert np.array_equal(frames[2].pixels, picture(4))
    assert source.info.fps is not None and source.info.fps <= 10
    source.close()


@pytest.mark.parametrize("name", ["clip.avi", "clip.h264"])
@pytest.mark.usefixtures("no_warning")
def test_formats_without_presentation_times(tmp_path: Path, name: str) -> None:
    """Their pictures are decoded in another order than shown; FFmpeg's times of them are wrong or missing."""
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=20:duration=2"]
    subprocess.run([*command, "-c:v", "libx264", "-bf", "3", tmp_path / name], check=True)
    times = [frame.timestamp_ns for frame in frames_of(f"file:{tmp_path / name}")]
    assert times == [n * 50_000_000 for n in range(40)]


@pytest.mark.usefixtures("no_warning")
def test_where_time_starts_anew_it_goes_on(tmp_path: Path) -> None:
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=2"]
    subprocess.run([*command, "-c:v", "mpeg2video", tmp_path / "clip.ts"], check=True)
    (tmp_path / "twice.ts").write_bytes((tmp_path / "clip.ts").read_bytes() * 2)
    frames = frames_of(f"file:{tmp_path / 'twice.ts'}")
    times = [frame.timestamp_ns for frame in frames]
    assert 37 <= len(frames) <= 40  # what was cut through at the joint is lost
    assert all(a < b for a, b in pairwise(times))
    assert times[-1] - times[0] == pytest.approx(3.9e9, abs=3e8)


@pytest.mark.usefixtures("no_warning")
def test_all_frames_have_one_size_whatever_comes(tmp_path: Path) -> None:
    with (tmp_path / "clip.mjpeg").open("wb") as file:
        for n, size in enumerate([(64, 48), (64, 48), (96, 64), (48, 64), (64, 48)]):
            Image.fromarray(picture(n, size)).save(file, "JPEG")
    frames = frames_of(f"file:{tmp_path / 'clip.mjpeg'}")
    assert [frame.pixels.shape for frame in frames] == [(48, 64, 3)] * 5


ORIENTATIONS = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)]
ORIENTATIONS += [(-a, -b, c, d) for a, b, c, d in ORIENTATIONS]  # and mirrored, as front cameras do


@pytest.mark.parametrize("matrix", ORIENTATIONS, ids=str)
def test_a_phones_picture_is_put_upright(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    path = tmp_path / "clip.mp4"
    write_video(path, regular(3), codec="libx264")
    data = bytearray(path.read_bytes())
    a, b, c, d = (number << 16 for number in matrix)
    at = data.index(b"tkhd") + 44
    data[at : at + 36] = b"".join(n.to_bytes(4, "big", signed=True) for n in (a, b, 0, c, d, 0, 0, 0, 1 << 30))
    path.write_bytes(data)
    command = ["ffmpeg", "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"]
    luma = np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, np.uint8)

    source = open_source(f"file:{path}", None)
    frames = list(source)

    width, height = source.info.size
    assert (width, height) == ((64, 48) if a else (48, 64))
    expected = luma[: width * height].reshape(height, width).astype(float)
    assert frames[0].pixels.shape == (height, width, 3) and frames[0].pixels.flags.c_contiguous
    grey = frames[0].pixels.astype(float) @ (0.299, 0.587, 0.114)
    assert np.corrcoef(grey.ravel(), expected.ravel())[0, 1] > 0.9
    assert frames_of(f"file:{path}", (20, 30))[0].pixels.shape == (30, 20, 3)


def test_pictures_are_videos_of_one_frame_and_numbered_ones_of_many(tmp_path: Path) -> None:
    for n in range(5):
        Image.fromarray(picture(n)).save(tmp_path / f"{n:05d}.png")
    (only,) = frames_of(f"file:{tmp_path / '00003.png'}")
    assert np.array_equal(only.pixels, picture(3))
    sequence = frames_of(f"file:{tmp_path}/%05d.png")
    assert [np.array_equal(frame.pixels, picture(n)) for n, frame in enumerate(sequence)] == [True] * 5
    lying = Image.Exif()
    lying[0x112] = 6  # a photograph that the camera took lying on its side
    Image.fromarray(picture(1)).save(tmp_path / "photo.jpg", exif=lying)
    gif = [Image.fromarray(np.full((8, 8, 3), 60 * n, np.uint8)) for n in range(4)]
    gif[0].save(tmp_path / "moving.gif", save_all=True, append_images=gif[1:], duration=200)
    frames = frames_of(f"file:{tmp_path / 'moving.gif'}")
    assert [int(frame.pixels[4, 4, 0]) for frame in frames] == [0, 60, 120, 180]
    assert [frame.timestamp_ns for frame in frames] == [n * 200_000_000 for n in range(4)]


@pytest.mark.parametrize("empty", [False, True])
def test_numbered_pictures_behind_a_hole_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, empty: bool
) -> None:
    """FFmpeg stops there."""
    for n in (1, 2, 3, 5, 6, 40, *([4] if empty else [])):
        Image.fromarray(picture(n)).save(tmp_path / f"shot{n}.png")
    Image.fromarray(picture(7)).save(tmp_path / "shot07.png")  # is not numbered so
    if empty:
        (tmp_path / "shot4.png").write_bytes(b"")
    assert len(frames_of(f"file:{tmp_path}/shot%d.png")) == 3
    left_out = 3 + empty
    line = f"{tmp_path}/shot%d.png: its last {left_out} pictures are left out: damaged, or behind a missing one"
    assert caplog.messages == [line]


# ------------------------------------------------------------------------------------------------------- damaged files


@pytest.mark.parametrize(("codec", "name"), [("mpeg4", "clip.avi"), ("png", "clip.mov")])
@pytest.mark.usefixtures("no_warning")
def test_a_damaged_picture_is_left_out_and_counted(tmp_path: Path, codec: str, name: str) -> None:
    path = tmp_path / name
    write_video(path, regular(30), codec=codec, unit=Fraction(1, 10))
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        at, size = packets[12].pos, packets[12].size
        del packets
    data = bytearray(path.read_bytes())
    assert at is not None
    data[at + size // 2 : at + size // 2 + 60] = bytes(60)
    path.write_bytes(data)

    frames = frames_of(f"file:{path}")

    assert len(frames) == 29
    assert dropped(frames) == {12: 1}
    assert [frame.timestamp_ns // 100_000_000 for frame in frames] == [*range(12), *range(13, 30)]


@pytest.mark.parametrize(
    ("codec", "name"), [("ffv1", "clip.mkv"), ("mjpeg", "clip.avi"), ("mpeg4", "clip.mp4"), ("mpeg2video", "clip.ts")]
)
def test_a_file_that_breaks_off_gives_what_it_has_and_tells(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, codec: str, name: str
) -> None:
    path = tmp_path / f"whole_{name}"
    write_video(path, regular(30), codec=codec, unit=Fraction(1, 10))
    if name.endswith(".mp4"):  # its table of contents comes last: put it first
        command = ["ffmpeg", "-v", "error", "-i", path, "-c", "copy", "-movflags", "+faststart", tmp_path / "first.mp4"]
        subprocess.run(command, check=True)
        path = tmp_path / "first.mp4"
    whole = frames_of(f"file:{path}")
    assert len(whole) == 30
    cut = tmp_path / name
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert caplog.messages == []

    frames = frames_of(f"file:{cut}")

    assert 5 <= len(frames) <= 20
    for frame, expected in zip(frames, whole, strict=False):
        assert frame.timestamp_ns == expected.timestamp_ns
        assert np.array_equal(frame.pixels, expected.pixels)
    (told,) = caplog.messages
    assert told.startswith(f"{cut} breaks off: its last ")


def test_on_the_command_line_a_broken_file_is_recorded_and_told_of_in_one_line(clip: Path, tmp_path: Path) -> None:
    clip.write_bytes(clip.read_bytes()[:-20_000])
    command = [sys.executable, "-m", "pi_capture", str(tmp_path / "day1"), "-1", "--camera", f"file:{clip}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"{clip} breaks off: its last") == 1
    assert "Traceback" not in done.stderr
    assert len(open_recording(tmp_path / "day1")) >= 6


def _sound(path: Path) -> None:
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))


def _text(path: Path) -> None:
    path.write_text("no video at all " * 100)


def _cover(path: Path) -> None:
    """Music with a picture on its cover."""
    _sound(path.with_suffix(".wav"))
    Image.fromarray(picture(0)).save(path.with_suffix(".png"))
    streams = ["-i", path.with_suffix(".wav"), "-i", path.with_suffix(".png"), "-map", "0", "-map", "1"]
    command = ["ffmpeg", "-v", "error", *streams, "-c:v", "copy", "-disposition:v", "attached_pic", path]
    subprocess.run(command, check=True)


@pytest.mark.parametrize(
    ("name", "make", "told"),
    [
        ("missing.mkv", lambda path: None, "{}: no such file"),
        ("directory.mkv", Path.mkdir, "{} is a directory, not a video"),
        ("pipe", os.mkfifo, "{} is not a file"),
        ("text.mkv", _text, "{} is not a video, or was cut off"),
        ("text.txt", _text, "{} is text, not a video"),
        ("empty.mp4", Path.touch, "{} is not a video, or was cut off"),
        ("sound.wav", _sound, "{} has no picture, only sound or other data"),
        ("music.mp3", _cover, "{} has no picture, only sound or other data"),
        ("none%03d.png", lambda path: None, "can't open {}: No such file or directory"),
    ],
)
def test_what_is_no_video(tmp_path: Path, name: str, make: Callable[[Path], None], told: str) -> None:
    make(tmp_path / name)
    with pytest.raises(CameraError) as caught:
        open_source(f"file:{tmp_path / name}", None)
    assert str(caught.value) == told.format(tmp_path / name)


def test_names_that_look_like_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "plain.mkv", IRREGULAR)
    for name in ("-i.mkv", "concat:a|b.mkv", "a b'c.mkv", "http:x.mkv", "50%05d.mkv", "%d.mkv"):
        (tmp_path / name).write_bytes((tmp_path / "plain.mkv").read_bytes())
        assert len(frames_of(f"file:{name}")) == len(IRREGULAR)
    Image.fromarray(picture(7)).save(tmp_path / "%05d.png")
    Image.fromarray(picture(8)).save(tmp_path / "00001.png")
    (only,) = frames_of("file:%05d.png")
    assert np.array_equal(only.pixels, picture(7))


@pytest.mark.parametrize("form", ["list.m3u8", "list.ffconcat", "list.sdp"])
def test_a_file_that_names_others_does_not_reach_the_network(tmp_path: Path, form: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x.ts"
        text = {
            "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{url}\n#EXT-X-ENDLIST\n",
            "list.ffconcat": f"ffconcat version 1.0\nfile {url}\n",
            "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 32\n",
        }[form]
        (tmp_path / form).write_text(text)
        with pytest.raises(CameraError):
            open_source(f"file:{tmp_path / form}", None)
        with pytest.raises(TimeoutError):
            server.accept()


# ------------------------------------------------------------------------------------------------------------- streams


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


class Webcam(Handler):
    """Ten JPEG pictures a second, one after the other in one answer."""

    PERIOD, COUNT = 0.1, 13
    HEAD: ClassVar[dict[str, str]] = {"Content-Type": "multipart/x-mixed-replace; boundary=next"}
    sent_ns: ClassVar[list[int]] = []

    def do_GET(self) -> None:
        self.send_response(200)
        for name, value in self.HEAD.items():
            self.send_header(name, value)
        self.end_headers()
        for n in range(self.COUNT):
            out = io.BytesIO()
            Image.new("RGB", (64, 48), (10 * n % 256, 0, 0)).save(out, "JPEG")
            head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {out.tell()}\r\n\r\n"
            self.sent_ns.append(time.monotonic_ns())
            self.wfile.write(head.encode() + out.getvalue() + b"\r\n")
            time.sleep(self.PERIOD)


@contextmanager
def serving(handler: Callable[..., http.server.BaseHTTPRequestHandler]) -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


@contextmanager
def sending(*arguments: str, codec: str = "mpeg2video") -> Iterator[None]:
    """25 pictures a second in real time; the last argument is where to."""
    pictures = ["-re", "-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25", "-g", "5", "-c:v", codec]
    with subprocess.Popen(["ffmpeg", "-v", "quiet", *pictures, *arguments], stdin=subprocess.DEVNULL) as sender:
        try:
            yield
        finally:
            sender.kill()


def opened(url: str, size: tuple[int, int] | None = None) -> Source:
    """Open it as soon as the sender listens."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            return open_source(url, size)
        except CameraError as error:
            if "Connection refused" not in str(error):
                raise
            time.sleep(0.05)
    raise AssertionError(f"nobody sends to {url}")


def check_times(frames: list[Frame], began_ns: int, step_ns: int = 40_000_000) -> None:
    """On this machine's monotonic clock, in the past, and as even as they were sent."""
    times = [frame.timestamp_ns for frame in frames]
    assert began_ns - 10_000_000_000 < times[0] < times[-1] <= time.monotonic_ns() + step_ns
    assert all(a < b for a, b in pairwise(times))
    steps = np.diff(times)
    assert np.median(steps) == pytest.approx(step_ns, rel=0.05)
    assert np.quantile(steps, 0.1) > 0.9 * step_ns  # those too that piled up while the stream was opened


@pytest.mark.parametrize(
    ("protocol", "form", "codec"),
    [("udp", "mpegts", "mpeg2video"), ("tcp", "mpegts", "mpeg2video"), ("tcp", "nut", "mjpeg")],
)
def test_a_live_stream(tmp_path: Path, protocol: str, form: str, codec: str) -> None:
    began_ns, url = time.monotonic_ns(), f"{protocol}://127.0.0.1:{free_port()}"
    with sending("-f", form, url + ("?listen=1" if protocol == "tcp" else ""), codec=codec):
        source = opened(url, (80, 60))
        assert source.info.live and source.info.size == (80, 60) and source.info.camera == url
        frames = list(islice(source, 30))
        check_times(frames, began_ns)
        source.close()
        assert list(source) == []
    assert {frame.pixels.shape for frame in frames} == {(60, 80, 3)}


def test_a_live_stream_is_recorded(tmp_path: Path) -> None:
    url = f"udp://127.0.0.1:{free_port()}"
    with sending("-f", "mpegts", url):
        summary = record(tmp_path / "day1", 1, camera=url, size=(80, 60))
    assert summary.dropped_queue == summary.dropped_camera == 0
    assert 24 <= len(open_recording(tmp_path / "day1")) <= 26


def test_a_camera_that_speaks_rtsp() -> None:
    began_ns = time.monotonic_ns()
    with rtsp_camera("admin", "p@ss", seconds=1.6) as port:
        with pytest.raises(CameraError) as caught:
            open_source(f"rtsp://admin:wrong@127.0.0.1:{port}/live", None)
        assert "401 Unauthorized" in str(caught.value) and "wrong" not in str(caught.value)
        source = open_source(f"rtsp://admin:p%40ss@127.0.0.1:{port}/live", None)
        assert source.info.camera == source.info.model == f"rtsp://127.0.0.1:{port}/live"
        assert source.info.live and source.info.size == (160, 120)
        frames = []
        with pytest.raises(CameraError, match="closed it"):
            for frame in source:
                frames.append(frame)
        assert len(frames) >= 30
        check_times(frames, began_ns)
        source.close()


class BoundlessWebcam(Webcam):
    """States the length of an answer that has no end, as some cameras do."""

    HEAD: ClassVar[dict[str, str]] = {**Webcam.HEAD, "Content-Length": "999999999"}


@pytest.mark.parametrize("webcam", [Webcam, BoundlessWebcam])
def test_a_webcam_on_a_web_page_is_dated_by_arrival(webcam: type[Webcam]) -> None:
    Webcam.sent_ns.clear()
    with serving(webcam) as port:
        source = open_source(f"http://127.0.0.1:{port}/stream", None)
        assert source.info.live and source.info.fps is None
        frames = []
        with pytest.raises(CameraError, match=r"ended|stopped"):
            for frame in source:
                assert Webcam.sent_ns[len(frames)] <= frame.timestamp_ns <= time.monotonic_ns()
                frames.append(frame)
        assert [round(int(frame.pixels[24, 32, 0]) / 10) for frame in frames] == list(range(13))


def test_pictures_one_after_the_other_are_dated_by_arrival() -> None:
    """YUV4MPEG, which states a rate and no times, at a quarter of that rate."""
    sent_ns: list[int] = []

    def send(server: socket.socket) -> None:
        with server.accept()[0] as client:
            client.sendall(b"YUV4MPEG2 W64 H48 F40:1 Ip A1:1 C420jpeg\n")
            for n in range(20):
                sent_ns.append(time.monotonic_ns())
                client.sendall(b"FRAME\n" + bytes([10 * n]) * (64 * 48 * 3 // 2))
                time.sleep(0.1)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=send, args=(server,)).start()
        source = open_source(f"ffmpeg:yuv4mpegpipe:tcp://127.0.0.1:{server.getsockname()[1]}", None)
        assert source.info.live and source.info.fps is None
        frames = []
        with pytest.raises(CameraError, match=r"ended|stopped"):
            for frame in source:
                assert sent_ns[len(frames)] <= frame.timestamp_ns <= time.monotonic_ns()
                frames.append(frame)
    assert len(frames) == 20


def test_a_video_on_a_web_server_is_read_like_a_file(clip: Path) -> None:
    with serving(partial(Handler, directory=str(clip.parent))) as port:
        source = open_source(f"http://user:secret@127.0.0.1:{port}/clip.mkv", None)
        assert not source.info.live
        assert source.info.camera == f"http://127.0.0.1:{port}/clip.mkv"
        frames = list(source)
        assert [frame.timestamp_ns for frame in frames] == [int(t * 10**9) for t in IRREGULAR]
        assert [np.array_equal(frame.pixels, picture(n)) for n, frame in enumerate(frames)] == [True] * len(IRREGULAR)
        with pytest.raises(CameraError, match="404 Not Found"):
            open_source(f"http://127.0.0.1:{port}/other.mkv", None)


def test_a_server_that_says_nothing_is_not_waited_for_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://user:secret@127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(CameraError, match=r"^tcp://127.0.0.1:\d+: nothing came for 0.3 s; check the address"):
            media.open_url(address, None, None, patience=0.3)


@contextmanager
def stalling() -> Iterator[str]:
    """A server that sends two seconds of video, the end of it in real time, and then nothing more."""
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25:duration=2"]
    done = subprocess.run([*command, "-c:v", "mjpeg", "-f", "nut", "-"], check=True, capture_output=True)

    def serve(server: socket.socket) -> None:
        viewer, _ = server.accept()
        with viewer:
            for at in range(0, len(done.stdout), step := len(done.stdout) // 50):
                viewer.sendall(done.stdout[at : at + step])
                time.sleep(0.04 if at > 30 * step else 0)
            over.wait()

    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        finally:
            over.set()
            thread.join()


def test_a_stream_that_stalls() -> None:
    with stalling() as url:
        source = media.open_url(url, None, None, patience=2)
        frames = []
        with pytest.raises(CameraError, match=r"(nothing|no picture) came for 2 s"):
            for frame in source:
                frames.append(frame)
        assert len(frames) >= 40
        source.close()


def test_closing_does_not_wait_for_a_stream_that_stalls() -> None:
    with stalling() as url:
        source = media.open_url(url, None, None, patience=1000)
        ended = threading.Event()
        threading.Thread(target=lambda: (list(source), ended.set()), daemon=True).start()
        time.sleep(1.2)  # it has come to the end of what was sent
        assert not ended.is_set()
        source.close()
        assert ended.wait(120)  # a fraction of what it would wait


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("rtsp://me:secret@127.0.0.1:{}/live", "can't open rtsp://127.0.0.1:{}/live: Connection refused"),
        ("tcp://nowhere.invalid:{}", "tcp://nowhere.invalid:{} can't be reached; check the address"),
        ("gopher2://127.0.0.1:{}", "gopher2://127.0.0.1:{}: FFmpeg doesn't know this protocol here"),
    ],
)
def test_streams_that_there_are_not(url: str, told: str) -> None:
    port = free_port()
    with pytest.raises(CameraError) as caught:
        open_source(url.format(port), None)
    assert str(caught.value) == told.format(port)


# ------------------------------------------------------------------------------------------------- screens and devices


def paint(screen: str, colour: str) -> None:
    subprocess.run(["xsetroot", "-display", screen, "-solid", colour], check=True)


def test_a_screen_is_recorded(tmp_path: Path, screen: str) -> None:
    paint(screen, "#c81e3c")
    summary = record(tmp_path / "day1", 0.5, camera=f"screen:{screen}+100,50", size=(64, 32), fps=20)
    frames = list(open_recording(tmp_path / "day1"))
    assert 0 < len(frames) == summary.frames and 8 <= summary.frames + summary.dropped_camera <= 12
    for frame in frames:
        assert frame.pixels.shape == (32, 64, 3)
        assert (frame.pixels == (0xC8, 0x1E, 0x3C)).all()
    assert np.median(np.diff([frame.timestamp_ns for frame in frames])) == pytest.approx(50e6, rel=0.1)


def test_a_part_of_a_screen_is_taken_pixel_for_pixel(screen: str, tmp_path: Path, monkeypatch: Any) -> None:
    two_by_two = "#define checks_width 2\n#define checks_height 2\nstatic char checks_bits[] = {\n 0x01, 0x02};\n"
    (tmp_path / "checks").write_text(two_by_two)
    command = ["xsetroot", "-display", screen, "-bitmap", tmp_path / "checks", "-fg", "#ff0000", "-bg", "#0000ff"]
    subprocess.run(command, check=True)
    whole = open_source(f"screen:{screen}", None)
    assert whole.info.size == (640, 480) and whole.info.live and whole.info.fps == 30
    all_of_it = next(iter(whole)).pixels
    whole.close()
    red = (np.indices((480, 640)).sum(axis=0) % 2 == 0)[..., None]
    assert np.array_equal(all_of_it, np.where(red, np.uint8([255, 0, 0]), np.uint8([0, 0, 255])))

    monkeypatch.setenv("DISPLAY", screen)
    for spec, size, shape in (
        (f"screen:{screen}+101,50", (33, 17), (17, 33, 3)),
        ("screen:+101,50", (33, 17), (17, 33, 3)),
        (f"screen:{screen}+600,401", None, (79, 40, 3)),
        ("screen", (256, 256), (256, 256, 3)),
    ):
        before_ns = time.monotonic_ns()
        source = open_source(spec, size)
        first, second = islice(source, 2)
        source.close()
        left, top = (int(n) for n in spec.partition("+")[2].split(",")) if "+" in spec else (0, 0)
        assert second.pixels.shape == shape
        assert np.array_equal(second.pixels, all_of_it[top : top + shape[0], left : left + shape[1]])
        assert before_ns - 1_000_000_000 < first.timestamp_ns < second.timestamp_ns < time.monotonic_ns()
        assert source.info.camera == f"screen:{screen}+{left},{top}"


def test_a_screen_is_looked_at_as_seldom_as_wanted(screen: str) -> None:
    source = open_source(f"screen:{screen}", (32, 32), 0.8)
    assert source.info.fps == 0.8
    first, second = islice(source, 2)
    assert second.timestamp_ns - first.timestamp_ns > 0.9e9  # x11grab was asked for twice the rate
    source.close()


@pytest.mark.parametrize(
    ("address", "size", "told"),
    [
        ("+600,400", (128, 128), "the screen {} is 640x480: it has no 128x128 at 600,400"),
        ("", (1000, 1000), "the screen {} is 640x480: it has no 1000x1000 at 0,0"),
        ("+9999,0", (64, 64), "the screen {} is 640x480: it has no 64x64 at 9999,0"),
        ("+9999,0", None, "the screen {} is 640x480: it has no 1x480 at 9999,0"),
    ],
    ids=str,
)
def test_more_than_the_screen_has(screen: str, address: str, size: tuple[int, int] | None, told: str) -> None:
    with pytest.raises(CameraError) as caught:
        open_source(f"screen:{screen}{address}", size)
    assert str(caught.value) == told.format(screen)


def test_no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(CameraError, match="DISPLAY is not set"):
        open_source("screen", None)
    with pytest.raises(CameraError, match="can't open the screen :987: no such display"):
        open_source("screen::987", (64, 64))
    with pytest.raises(UsageError, match="corner"):
        open_source("screen::0+here", None)


def test_a_device_is_asked_for_size_and_rate(screen: str) -> None:
    paint(screen, "#00ff40")
    source = open_source(f"ffmpeg:x11grab:{screen}+10,20", (50, 40), 12)
    assert source.info.live and source.info.details["captured_size"] == [50, 40] and source.info.fps == 12
    (frame,) = islice(source, 1)
    assert (frame.pixels == (0, 255, 64)).all()
    source.close()


def test_where_a_device_refuses_the_size_it_is_scaled(screen: str) -> None:
    paint(screen, "#00ff40")
    source = open_source(f"ffmpeg:x11grab:{screen}", (1000, 1000), 12)
    assert source.info.size == (1000, 1000) and source.info.details["captured_size"] == [640, 480]
    (frame,) = islice(source, 1)
    assert frame.pixels.shape == (1000, 1000, 3)
    assert abs(frame.pixels.astype(int) - (0, 255, 64)).max() <= 2
    source.close()


def test_generated_pictures_wait(tmp_path: Path) -> None:
    summary = record(tmp_path / "day1", -1, camera="ffmpeg:lavfi:testsrc2=size=64x48:rate=50:duration=4", size=None)
    assert (summary.frames, summary.fps, summary.dropped_queue) == (200, 50.0, 0)
    (frame,) = islice(open_source("ffmpeg:lavfi:color=c=#102030:size=640x480,format=rgb24", (32, 32)), 1)
    assert (frame.pixels == (0x10, 0x20, 0x30)).all()


def test_a_file_of_a_format_by_name(tmp_path: Path) -> None:
    write_video(tmp_path / "clip", regular(10), container_format="nut", unit=Fraction(1, 10))
    source = open_source(f"ffmpeg:nut:{tmp_path / 'clip'}", None, 5)
    assert not source.info.live and source.info.fps == 5
    frames = list(source)
    assert [frame.timestamp_ns for frame in frames] == [n * 200_000_000 for n in range(5)]
    assert [np.array_equal(frame.pixels, picture(2 * n)) for n, frame in enumerate(frames)] == [True] * 5


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("ffmpeg:v4l2:/dev/none", "can't open ffmpeg:v4l2:/dev/none: No such file or directory"),
        ("ffmpeg:nut:/nowhere", "can't open ffmpeg:nut:/nowhere: No such file or directory"),
        ("ffmpeg:lavfi:nonsense", "can't open ffmpeg:lavfi:nonsense: Filter not found"),
        ("ffmpeg:lavfi:sine=duration=1", "ffmpeg:lavfi:sine=duration=1 has no picture, only sound or other data"),
    ],
)
def test_devices_that_there_are_not(spec: str, told: str) -> None:
    with pytest.raises(CameraError) as caught:
        open_source(spec, (64, 64), 10)
    assert str(caught.value) == told


def test_forms_that_make_no_sense() -> None:
    for spec in ("ffmpeg:", "ffmpeg:lavfi", "file:"):
        with pytest.raises(UsageError, match="as in"):
            open_source(spec, None)
    with pytest.raises(UsageError, match=r"FFmpeg has no such format here; its devices are .*x11grab, lavfi$"):
        open_source("ffmpeg:nonsense:x", None)


# --------------------------------------------------------------------------------------------------- closing and noise


@pytest.mark.parametrize("kind", ["generated", "screen"])
def test_closing_from_another_thread_ends_it(kind: str, screen: str) -> None:
    spec = f"screen:{screen}" if kind == "screen" else "ffmpeg:lavfi:testsrc2=size=64x48:rate=1000"
    source = open_source(spec, None, 50 if kind == "screen" else None)
    frames = iter(source)
    assert len(list(islice(frames, 10))) == 10
    threading.Timer(0.1, source.close).start()
    list(frames)  # which ends


def test_iteration_goes_on_where_it_was_left(clip: Path) -> None:
    source = open_source(f"file:{clip}", None)
    assert [frame.index for frame in islice(source, 3)] == [0, 1, 2]
    assert [frame.index for frame in source] == [3, 4, 5, 6, 7, 8, 9]
    source.close()


def test_opening_and_leaving_many_times_loses_nothing_and_says_nothing(clip: Path, screen: str) -> None:
    code = (
        "import os, sys, threading, time; from pi_capture.sources import open_source\n"
        "def leave(spec, taken):\n"
        "    source = open_source(spec, (32, 32)); frames = iter(source)\n"
        "    for _ in range(taken): next(frames)\n"
        "    source.close()\n"
        "for n in range(20):\n"
        "    for spec in sys.argv[1:]: leave(spec, n % 4)\n"
        "    if n == 3: before = len(os.listdir('/proc/self/fd'))\n"
        "until = time.monotonic() + 120\n"
        "while threading.active_count() > 1 and time.monotonic() < until: time.sleep(0.01)\n"
        "print(len(os.listdir('/proc/self/fd')) <= before, threading.active_count())"
    )
    command = [sys.executable, "-c", code, f"file:{clip}", f"screen:{screen}", "ffmpeg:lavfi:testsrc2=size=64x48"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.stdout, done.stderr) == ("True 1\n", "")


def test_on_the_command_line_it_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "clip.mkv").write_bytes(os.urandom(5000))
    command = [sys.executable, "-m", "pi_capture", "day1", "1", "--camera", "file:clip.mkv"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (1, "pi_capture: clip.mkv is not a video, or was cut off\n")


class SlowWebcam(Webcam):
    PERIOD, COUNT = 0.3, 100  # the next picture comes when the interpreter is gone already

    def handle(self) -> None:
        with suppress(ConnectionError):  # they leave
            super().handle()


SLOW_TO_END = """
import ctypes, sys
libc = ctypes.CDLL(None)
libc.__cxa_atexit(libc.usleep, ctypes.c_void_p(400_000), None)  # as large libraries are, and slow machines
from pi_capture.cli import main
sys.exit(main())
"""


def test_a_camera_that_still_sends_while_the_program_ends_does_not_crash_it(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with serving(SlowWebcam) as port:
        command = [sys.executable, "-c", SLOW_TO_END, str(tmp_path / "day1"), "0.4", "--size", "source", "--camera"]
        for _ in range(3):
            done = subprocess.run(
                [*command, f"http://127.0.0.1:{port}/"], env=environment, capture_output=True, check=False, timeout=120
            )
            assert done.returncode == 0, done.stderr
            assert b"frames in" in done.stderr + done.stdout
