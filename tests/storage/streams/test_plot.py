"""``info`` lists the tracks of a media file and draws them: what is where, in the right colours."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from storage import Frame, SampleTrack
from storage.cli import main
from storage.drawing import Canvas
from storage.formats.video.writer import VideoWriter
from storage.streams.merge import merge_streams
from storage.streams.plot import CLASSES, CURVES, LEFT, RIGHT, SOUND, WIDTH
from tests.conftest import picture
from tests.storage.streams.test_merge import WALL_NS, clicks, ffmpeg, recorded


def everything(tmp_path: Path) -> Path:
    """20 s: pictures from 0 to 10 s, a sensor from 5 to 15 s, sound with clicks at 12 and 16 s, two labels."""
    video = recorded(tmp_path / "A.mkv", [n * 100_000_000 for n in range(100)])
    values = np.stack([np.linspace(-1, 1, 500), np.zeros(500)], 1).astype("<f4")
    values[:5] = np.nan
    shape = ("-f", "f32le", "-ac", 2, "-ar", 50, "-i", "pipe:0", "-c:a", "pcm_f32le")
    tags = ("-metadata:s:a", "title=gyro", "-metadata:s:a", "CHANNEL_LABELS=x|y", "-metadata:s:a", "UNIT=rad/s")
    ffmpeg(*shape, *tags, tmp_path / "imu.mka", data=values.tobytes())
    sound = clicks(tmp_path / "C.wav", 20, [12, 16])
    labels = tmp_path / "day.srt"
    labels.write_text("1\n00:00:02,000 --> 00:00:06,000\ndoor\n\n2\n00:00:10,000 --> 00:00:18,000\nmusic\n")
    inputs = [video, tmp_path / "imu.mka", sound, labels]
    merge_streams(tmp_path / "day1.mkv", inputs, offsets={"imu": 5, "C": 0})
    return tmp_path / "day1.mkv"


def test_tracks_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = everything(tmp_path)
    assert main(["info", str(path), str(tmp_path / "imu.mka"), str(tmp_path / "A.mkv"), "--json"]) == 0
    day, imu, ours = json.loads(capsys.readouterr().out)["recordings"]
    found = [
        (one["name"], one["kind"], one["rate"], one["channels"], one["begin"], one["seconds"], one["count"])
        for one in day["tracks"]
    ]
    assert found == [
        ("camera", "pictures", 10, 0, 0, 10, 100),
        ("labels", "labels", None, 0, 1, 9, 5),
        ("C", "sound", 8000, 1, 0, 20, 160000),
        ("day", "labels", None, 0, 2, 16, 2),
        ("gyro", "sensor", 50, 2, 5, 10, 500),
    ]
    assert day["tracks"][4]["labels"] == ["x", "y"] and day["frames"] == 100
    assert (imu["frames"], [one["count"] for one in imu["tracks"]]) == (0, [500])
    assert [(one["count"], one["seconds"]) for one in ours["tracks"]] == [(100, 10), (5, 9)]
    assert main(["info", str(path), str(tmp_path / "imu.mka")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[1:6] == ["gyro", "sensor", "pcm_f32le", "50", "2"] for line in lines)
    assert "imu.mka: a track without pictures" in lines[-3]


def extent(image: np.ndarray, colour: str) -> tuple[float, float]:
    """From when to when, in seconds of 20, a colour is in a picture."""
    wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    near = (np.abs(image[:, LEFT:].astype(int) - wanted).max(axis=2) <= 24).any(axis=0)
    columns = np.flatnonzero(near[: WIDTH - LEFT - RIGHT])
    scale = 20 / (WIDTH - LEFT - RIGHT)
    return float(columns[0] * scale), float((columns[-1] + 1) * scale)


def test_everything_is_drawn_where_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, picture = everything(tmp_path), tmp_path / "tracks.png"
    assert main(["info", str(path), "--plot", str(picture)]) == 0
    image = np.asarray(Image.open(picture))
    assert image.shape[1] == WIDTH
    strip = np.asarray(image[80:160, LEFT:-RIGHT], int)
    noisy = strip.std(axis=(0, 2)) > 8
    assert np.flatnonzero(noisy)[-1] / noisy.size == pytest.approx(0.5, abs=0.01)  # the pictures end at 10 s of 20
    above_legend = image[:-30]
    assert extent(above_legend, CURVES[0]) == pytest.approx((5.1, 15), abs=0.1)
    assert extent(image[-104:-74], CLASSES[1]) == pytest.approx((10, 18), abs=0.1)
    dark = (
        np.abs(above_legend[:, LEFT:-RIGHT].astype(int) - [int(SOUND[at : at + 2], 16) for at in (1, 3, 5)]) < 40
    ).all(2)
    loud = np.flatnonzero(dark.sum(axis=0) > 20) / dark.shape[1] * 20
    assert len(loud) and all(min(abs(at - 12), abs(at - 16)) < 0.1 for at in loud)

    assert main(["info", str(path), "--plot", str(picture)]) == 0  # it takes the place of its older one
    Image.open(picture).crop((0, 0, 90, 90)).save(tmp_path / "sheet.png")
    capsys.readouterr()
    for arguments, status, reason in (
        ([path, "--plot", tmp_path / "sheet.png"], 1, "exists; choose another name"),
        ([tmp_path, "--plot", tmp_path / "new.png"], 1, "has no tracks to draw"),
        ([path, path, "--plot", tmp_path / "new.png"], 2, "--plot draws one recording"),
    ):
        assert main(["info", *map(str, arguments)]) == status
        assert reason in capsys.readouterr().err


def test_one_track_alone_and_letters_of_all_kinds(tmp_path: Path) -> None:
    labels = tmp_path / "Наблюдения.srt"
    labels.write_text("1\n00:00:01,000 --> 00:20:00,000\nдверь ²\n")
    clicks(tmp_path / "C.wav", 1, [])
    for name in ("Наблюдения.srt", "C.wav"):
        assert main(["info", str(tmp_path / name), "--plot", str(tmp_path / f"{name}.png")]) == 0
        assert Image.open(tmp_path / f"{name}.png").size[0] == WIDTH


def test_nothing_is_drawn_where_there_were_no_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, written = tmp_path / "A.mkv", list[str]()
    recorded(path, [n * 100_000_000 for n in (*range(30), *range(70, 100))])
    text = Canvas.text

    def noted(canvas: Canvas, place: tuple[float, float], words: str, *rest: Any, **more: Any) -> None:
        written.append(words)
        text(canvas, place, words, *rest, **more)

    monkeypatch.setattr(Canvas, "text", noted)
    assert main(["info", str(path), "--plot", str(tmp_path / "tracks.png")]) == 0
    assert any(words.startswith("10 a second") for words in written), written
    strip = np.asarray(Image.open(tmp_path / "tracks.png"))[80:160, LEFT:-RIGHT].astype(int)
    noisy = np.flatnonzero(strip.std(axis=(0, 2)) > 8) / strip.shape[1] * 10
    assert len(noisy) and not ((noisy > 3.1) & (noisy < 6.9)).any()


def test_the_measured_rate_and_the_pause_between_sessions_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "day1.mkv"
    for begin_ns in (0, 74_000_000_000):  # 72 s after the end of the first session
        with closing(VideoWriter(path, tracks=[SampleTrack("imu", 200)])) as writer:
            writer.describe({"live": True, "wall_minus_monotonic_ns": WALL_NS})
            for n in range(20):
                writer.append(writer.encode(Frame(picture(n), n, begin_ns + n * 100_000_000, {}), None))
                writer.append_samples("imu", begin_ns + n * 100_000_000, np.zeros((20, 1), "<f4"))
            writer.describe_track("imu", {"measured_rate": 198.2})
    written: list[str] = []
    text = Canvas.text

    def noted(canvas: Canvas, place: tuple[float, float], words: str, *rest: Any, **more: Any) -> None:
        written.append(words)
        text(canvas, place, words, *rest, **more)

    monkeypatch.setattr(Canvas, "text", noted)
    assert main(["info", str(path), "--plot", str(tmp_path / "tracks.png")]) == 0
    assert "198.2 a second" in written and "+1 min 12 s" in written
    assert any(words.endswith("a pause between its sessions left out (1 min 12 s)") for words in written)
    image = np.asarray(Image.open(tmp_path / "tracks.png"), int)
    red = (np.abs(image - [0xDC, 0x16, 0x16]).max(axis=2) < 24).sum(axis=0)  # smoothing makes the line darker
    assert pytest.approx(int(red.argmax()), abs=3) == LEFT + (WIDTH - LEFT - RIGHT) / 2
