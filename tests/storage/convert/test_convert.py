"""From any format to any other and back: frames, times, labels; videos for other programs; pictures from elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from storage import Frame, StorageError, open_recording
from storage.care.info import describe
from storage.cli import main
from storage.convert.convert import convert
from storage.convert.extract import extract
from storage.formats.table import open_writer
from storage.formats.video.writer import VideoWriter
from storage.labels.beside import journal_path
from storage.labels.classes import recorded_classes
from storage.labels.current import labels_as_they_stand
from storage.labels.journal import Classes, LabelJournal, Labelled
from storage.streams.export import export
from storage.streams.merge import merge_streams
from tests.conftest import picture, write_video
from tests.support import labelled

TARGETS = ("day1", "day1.h5", "day1.mkv")


def recorded(path: Path, frames: Sequence[Frame], labels: Sequence[str | None]) -> Path:
    with closing(VideoWriter(path)) as writer:
        writer.describe({"camera": "a box", "wall_minus_monotonic_ns": 7})
        for frame, label in zip(frames, labels, strict=True):
            writer.append(writer.encode(frame, label))
    return path


def contents(path: Path) -> list[tuple[bytes, int, dict[str, object], str | None]]:
    with open_recording(path) as recording:
        labels = recording.labels
        assert list(recording.timestamps_ns) == [frame.timestamp_ns for frame in recording]
        return [
            (frame.pixels.tobytes(), frame.timestamp_ns, dict(frame.metadata), labels[frame.index])
            for frame in recording
        ]


@given(st.data())
@settings(max_examples=25)
def test_nothing_is_lost_on_any_way(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    directory = tmp_path_factory.mktemp("convert")
    width, height = data.draw(st.tuples(st.integers(2, 24), st.integers(2, 24)))
    count = data.draw(st.integers(1, 15))
    times = sorted(data.draw(st.lists(st.integers(0, 10**15), min_size=count, max_size=count)))
    labels = [data.draw(st.sampled_from([None, "0", "10", "door"])) for _ in range(count)]
    metadata = st.dictionaries(
        st.sampled_from(["n", "gain"]), st.integers(-5, 5) | st.text("aü\n", max_size=3), max_size=2
    )
    frames = [
        Frame(np.random.default_rng(n).integers(0, 256, (height, width, 3), np.uint8), n, time, data.draw(metadata))
        for n, time in enumerate(times)
    ]
    path = recorded(directory / "first.mkv", frames, labels)
    wanted = contents(path)
    assert [time for _, time, _, _ in wanted] == times and [label for *_, label in wanted] == labels
    for step, name in enumerate(data.draw(st.lists(st.sampled_from(TARGETS), min_size=1, max_size=4))):
        target = directory / f"{step}{name}"
        assert convert(path, target) == count
        assert contents(target) == wanted, f"{path.name} to {target.name}"
        path = target
    assert sorted(name for name in os.listdir(directory) if name.startswith(".")) == []


@pytest.mark.parametrize("target", TARGETS)
def test_sessions_stay_apart_and_known(tmp_path: Path, target: str) -> None:
    source = tmp_path / "source.mkv"
    for session in range(3):
        frames = [Frame(picture(n), n, 10**12 * (3 - session) + n * 10**8) for n in range(5)]  # each with its own clock
        recorded(source, frames, [None] * 5)
    told: list[tuple[int, int]] = []
    assert convert(source, tmp_path / target, progress=lambda *now: told.append(now)) == 15
    assert told == [(n, 15) for n in range(1, 16)]
    with open_recording(tmp_path / target) as recording:
        path = tmp_path / target / "recording.json"
        sessions = json.loads(path.read_text())["sessions"] if path.exists() else recording.sessions  # type: ignore[attr-defined]
    assert [(session["first_index"], session["frames"], session["camera"]) for session in sessions] == [
        (0, 5, "a box"),
        (5, 5, "a box"),
        (10, 5, "a box"),
    ]
    assert contents(tmp_path / target) == contents(source)


@pytest.mark.parametrize("target", TARGETS)
def test_a_session_keeps_its_id(tmp_path: Path, target: str) -> None:
    for seed in (0, 20):
        labelled.record(tmp_path / "source", ["0", "1", "1"], seed=seed)
    assert convert(tmp_path / "source", tmp_path / target) == 6
    with open_recording(tmp_path / "source") as day, open_recording(tmp_path / target) as recording:
        assert [session["id"] for session in recording.sessions] == [session["id"] for session in day.sessions]


def probe(path: Path) -> dict[str, dict[str, str]]:
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_streams", path]
    streams = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["streams"]
    return {stream["codec_type"]: stream for stream in streams}


def test_pictures_from_elsewhere_become_a_video(tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for n in range(60):
        Image.fromarray(picture(n // 6)).save(frames / f"frame{n:04d}.{'png' if n % 2 else 'jpg'}", quality=95)
    for file in frames.iterdir():
        os.utime(file, (1, 1))
    with pytest.raises(StorageError, match="its pictures have no times; give --fps"):
        convert(frames, tmp_path / "out.mp4")
    convert(frames, tmp_path / "out.mp4", fps=30)
    video = probe(tmp_path / "out.mp4")["video"]
    assert (video["codec_name"], video["pix_fmt"], video["nb_frames"]) == ("h264", "yuv420p", "60")
    assert video["avg_frame_rate"] == video["r_frame_rate"] == "30/1"
    convert(frames, tmp_path / "out.mkv", fps=25)
    with open_recording(tmp_path / "out.mkv") as recording:
        assert list(recording.timestamps_ns) == [n * 40_000_000 for n in range(60)]
        assert np.array_equal(recording[7].pixels, picture(1))
    assert sorted(os.listdir(tmp_path)) == ["frames", "out.mkv", "out.mp4"]


@pytest.mark.parametrize("name", ["out.mp4", "out.mov"])
def test_a_simulators_video_is_encoded_again_with_its_sound(tmp_path: Path, name: str) -> None:
    source = tmp_path / "simulated.nut"
    inputs = ["-f", "lavfi", "-i", "testsrc2=size=161x121:rate=25", "-f", "lavfi", "-i", "sine=sample_rate=44100"]
    command = ["ffmpeg", "-v", "error", *inputs, "-t", "4", "-c:v", "rawvideo", "-c:a", "pcm_s16le", source]
    subprocess.run(command, check=True)
    assert convert(source, tmp_path / name, crf=18) == 100
    streams = probe(tmp_path / name)
    assert (streams["video"]["pix_fmt"], streams["video"]["width"], streams["video"]["height"]) == ("yuv420p", 160, 120)
    assert streams["audio"]["codec_name"] == "aac" and 3.9 < float(streams["audio"]["duration"]) < 4.2
    with open_recording(tmp_path / name) as converted, open_recording(source) as recording:
        assert list(converted.timestamps_ns) == list(recording.timestamps_ns)
        for n in (0, 50, 99):
            difference = converted[n].pixels.astype(int) - recording[n].pixels[:120, :160]
            assert np.abs(difference).mean() < 5
    with av.open(str(tmp_path / name)) as container:
        heard = np.concatenate([part.to_ndarray()[0] for part in container.decode(audio=0)])
    tone = np.abs(np.fft.rfft(heard[44100 : 2 * 44100]))
    assert abs(int(tone.argmax()) - 440) < 3


def test_quality_can_be_chosen(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mkv", [Fraction(n, 25) for n in range(10)], size=(160, 120))
    for suffix in ("mp4", "mkv"):
        sizes = []
        for crf in (10, 40):
            codec = "h264" if suffix == "mkv" else None
            convert(tmp_path / "clip.mkv", tmp_path / f"{crf}.{suffix}", crf=crf, codec=codec)
            sizes.append((tmp_path / f"{crf}.{suffix}").stat().st_size)
        assert sizes[0] > 3 * sizes[1]


def test_labels_of_a_movie_are_in_a_table(tmp_path: Path) -> None:
    labels = [None, "0", "0", "door"]
    source = recorded(tmp_path / "day1.mkv", [Frame(picture(n), n, n * 10**8) for n in range(4)], labels)
    convert(source, tmp_path / "day1.mp4")
    assert (tmp_path / "day1.mp4.labels.csv").read_text() == "frame,class\n1,0\n2,0\n3,door\n"
    with open_recording(tmp_path / "day1.mp4") as recording:
        assert list(recording.labels) == labels
    assert extract(tmp_path / "day1.mp4", tmp_path / "day2").written == 4
    with open_recording(tmp_path / "day2") as recording:
        assert list(recording.labels) == labels


@pytest.mark.parametrize("target", TARGETS)
def test_frames_with_new_times_are_of_no_hour(tmp_path: Path, target: str) -> None:
    with closing(VideoWriter(tmp_path / "a.mkv")) as writer:
        writer.describe({"camera": "a box", "live": True, "wall_minus_monotonic_ns": 1_700_000_000 * 10**9})
        writer.append(writer.encode(Frame(picture(0), 0, 5000 * 10**9)))
    convert(tmp_path / "a.mkv", tmp_path / target)
    assert describe(tmp_path / target).begun == 1_700_005_000
    convert(tmp_path / "a.mkv", tmp_path / f"new{target}", fps=10)
    new = describe(tmp_path / f"new{target}")
    assert new.begun is None and new.sessions[0].facts["camera"] == "a box"


def test_a_table_of_labels_is_utf8_whatever_the_locale(tmp_path: Path) -> None:
    source = recorded(tmp_path / "day1.mkv", [Frame(picture(n), n, n * 10**8) for n in range(2)], [None, "tür"])
    convert(source, tmp_path / "day1.mp4")
    program = "import sys, storage; print(ascii(storage.open_recording(sys.argv[1]).labels))"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "day1.mp4")], capture_output=True, text=True, check=True,
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    )  # fmt: skip
    assert done.stdout == "[None, 't\\xfcr']\n"


def test_refused_and_nothing_is_left(tmp_path: Path) -> None:
    source = recorded(tmp_path / "day1.mkv", [Frame(picture(n), n, n) for n in range(4)], [None] * 4)
    taken = tmp_path / "taken.h5"
    taken.write_text("mine")
    before = sorted(os.listdir(tmp_path))
    for target, options, reason in (
        ("taken.h5", {}, "exists; choose another name"),
        ("new.avi", {}, "videos are written as .mkv, .mp4 and .mov"),
        ("new.h5", {"crf": 3}, "--crf is for .mkv"),
        ("new.mp4", {"codec": "ffv1"}, "--codec is for .mkv"),
        ("new.mkv", {"crf": 3}, "it has no --crf"),
        ("new.mp4", {"crf": 99}, "takes 0"),
        ("new.xyz", {}, "no format is known"),
        ("none/new.h5", {}, "create it first"),
    ):
        with pytest.raises(StorageError, match=reason):
            convert(source, tmp_path / target, **options)  # type: ignore[arg-type]
    with pytest.raises(StorageError, match="no such recording"):
        convert(tmp_path / "none.mkv", tmp_path / "new.h5")
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for n, size in enumerate([(8, 6), (8, 6), (6, 8)]):
        Image.new("RGB", size).save(mixed / f"{n}.png")
    for target in ("new.h5", "new.mkv", "new.mp4"):
        with pytest.raises(StorageError, match="frame 2 is 6x8, and those before it 8x6"):
            convert(mixed, tmp_path / target, fps=1)
    assert sorted(os.listdir(tmp_path)) == sorted([*before, "mixed"])
    assert taken.read_text() == "mine"


@pytest.mark.parametrize("target", ["day1", "day1.h5", "day1.mkv"])
def test_a_name_that_is_no_utf8_costs_nothing(tmp_path: Path, target: str) -> None:
    shown = [Frame(picture(n, (32, 24)), n, n * 10**8, {}) for n in range(3)]
    source = recorded(tmp_path / "M\udce4rz.mkv", shown, [None] * 3)
    assert convert(source, tmp_path / target) == 3
    assert contents(tmp_path / target) == contents(source)
    merge_streams(tmp_path / "both.mkv", [source, recorded(tmp_path / "b.mkv", shown, [None] * 3)], offsets={"b": 0})
    assert len(open_recording(tmp_path / "both.mkv")) == 3
    export(source, tmp_path / "files")


def test_what_an_interruption_left_is_cleared_up(tmp_path: Path) -> None:
    source = recorded(tmp_path / "day1.mkv", [Frame(picture(n), n, n) for n in range(4)], [None] * 4)
    left = tmp_path / ".day1.h5.making"
    left.mkdir()
    (left / "day1.h5").write_text("half")
    assert convert(source, tmp_path / "day1.h5") == 4
    assert contents(tmp_path / "day1.h5") == contents(source)
    assert not left.exists()


@pytest.mark.parametrize("link", [True, False])
def test_what_others_have_where_a_file_is_made_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], link: bool
) -> None:
    source = recorded(tmp_path / "day1.mkv", [Frame(picture(n), n, n) for n in range(3)], [None] * 3)
    making, mine = tmp_path / ".small.mp4.making", tmp_path / "mine"
    (mine if link else making).mkdir()
    if link:
        making.symlink_to("mine")
    (making / "letters").mkdir()
    (making / "letters" / "one.txt").write_text("dear")
    (making / "letter.txt").write_text("dear")
    assert main(["convert", str(source), str(tmp_path / "small.mp4")]) == 1
    told = capsys.readouterr().err
    assert str(making) in told and told.count("\n") == 1
    assert sorted(path.name for path in making.rglob("*")) == ["letter.txt", "letters", "one.txt"]
    assert making.is_symlink() == link and not (tmp_path / "small.mp4").exists()


def test_an_option_of_another_format_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = recorded(tmp_path / "old.mkv", [Frame(picture(0), 0, 0)], [None])
    assert main(["convert", str(old), str(tmp_path / "new.mkv"), "--codec", "h263"]) == 2
    assert "unknown codec 'h263'" in capsys.readouterr().err


@pytest.mark.parametrize("source", ["day1", "day1.h5"])
def test_labels_that_wait_beside_a_recording_go_along(
    tmp_path: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Given by live labels, or in the window before S: nobody who removes the source loses them."""
    old = recorded(tmp_path / "old.mkv", [Frame(picture(n), n, n * 10**8) for n in range(6)], [None] * 6)
    convert(old, tmp_path / source)
    names = [f"{n:08d}.png" if source == "day1" else f"{n:08d}" for n in (2, 3)]
    with LabelJournal(journal_path(tmp_path / source)) as journal:
        journal.append(Classes(("none", "door"), ("none", "door")), Labelled(tuple(names), 1))
        journal.sync()
    wanted = [None, None, "door", "door", None, None]
    for target in ("new.mkv", "new.h5"):
        assert main(["convert", str(tmp_path / source), str(tmp_path / target)]) == 0
        assert list(open_recording(tmp_path / target).labels) == wanted
    assert main(["extract", str(tmp_path / source), str(tmp_path / "new"), "--labelled"]) == 0
    assert sorted(path.name for path in (tmp_path / "new" / "door").iterdir()) == ["00000002.png", "00000003.png"]
    if source == "day1":
        capsys.readouterr()
        assert main(["merge", str(tmp_path / "all"), str(tmp_path / source), "--unlabelled"]) == 0
        assert "labels that wait there don't go along" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["new.mkv", "new.h5", "new.mp4"])
def test_label_files_of_a_recording_that_is_gone_are_no_labels_of_a_new_one(
    tmp_path: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [Frame(picture(n), n, n * 10**8) for n in range(3)]
    source = recorded(tmp_path / "source.mkv", frames, [None] * 3)
    for ending in ("labels.jsonl", "live.jsonl", "labels.csv", "B.labels.jsonl"):
        left = tmp_path / f"{target}.{ending}"
        left.write_bytes(b"of the old one")
        assert main(["convert", str(source), str(tmp_path / target)]) == 1
        assert f"{left} is of another recording; move it away" in capsys.readouterr().err
        if not target.endswith(".mp4"):
            assert main(["merge", str(tmp_path / target), str(source)]) == 1
        if ending == "labels.jsonl" and not target.endswith(".mp4"):
            with pytest.raises(StorageError, match="is of another recording; move it away"):
                open_writer(tmp_path / target)
        assert not (tmp_path / target).exists() and left.read_bytes() == b"of the old one"
        left.unlink()


@pytest.mark.parametrize("at", range(4))
def test_a_conversion_that_is_killed_leaves_no_labels_to_another_file(tmp_path: Path, at: int) -> None:
    """Killed before the file is called as it will be, before its journal has its name, between the two, and after."""
    frames = [Frame(picture(n), n, n * 10**8) for n in range(4)]
    source, target = recorded(tmp_path / "source.mkv", frames, [None] * 4), tmp_path / "new.mkv"
    with LabelJournal(journal_path(source)) as journal:
        journal.append(Classes(("none", "door"), ("0", "1")), Labelled((("00000000", 3),), 1))
    killed = (
        "import os, shutil, sys\nfrom storage.cli import main\nfrom storage.durable import files\n"
        f"steps = iter(range({at}))\nlink, rename = os.link, files.rename_new\n"
        "def step(call):\n"
        "    return lambda *given: call(*given) if next(steps, None) is not None else os._exit(9)\n"
        "os.link, files.rename_new = step(link), step(rename)\n"
        "shutil.rmtree = lambda *given, **options: os._exit(9)\n"
        "main(sys.argv[1:])\n"
    )
    words = ["convert", str(source), str(target)]
    assert subprocess.run([sys.executable, "-c", killed, *words], check=False).returncode == 9
    assert target.exists() == (at == 3)
    if at < 3:
        assert main(["convert", *words[1:]]) == 0 and not list(tmp_path.glob(".*"))
    with open_recording(target) as recording:
        assert labels_as_they_stand(recording) == ["1", "1", "1", None]
        assert recorded_classes(recording).names == ("none", "door")
