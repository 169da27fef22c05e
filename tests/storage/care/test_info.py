"""``python -m storage info`` tells what is there, for people and for programs, and draws it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from storage.care.info import describe
from storage.cli import main
from storage.drawing import SEAL
from storage.formats.table import FORMATS
from storage.formats.video.writer import VideoWriter
from storage.frame import Frame
from storage.labels.classes import keep_classes
from storage.labels.journal import Classes
from storage.tracks.sample_track import SampleTrack
from tests.conftest import picture
from tests.support import REPOSITORY
from tests.support.labelled import NPZ, everything, record

KITCHEN = {
    "host": "kitchen",
    "camera": "v4l2:/dev/video0",
    "live": True,
    "wall_minus_monotonic_ns": 1_700_000_000 * 10**9,
    "dropped_queue": 2,
    "dropped_camera": 3,
}


def test_counts_sizes_and_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day = tmp_path / "day1"
    record(day, ["0", "door", "0", None], facts=KITCHEN)
    record(day, ["10", "2"], seed=10, facts={**KITCHEN, "wall_minus_monotonic_ns": 1_700_000_060 * 10**9})
    assert main(["info", str(day), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["recordings"]
    assert told["frames"] == 6 and told["backend"] == "png" and told["path"] == str(day)
    assert {name: share["frames"] for name, share in told["classes"].items()} == {"0": 2, "2": 1, "10": 1, "door": 1}
    assert list(told["classes"]) == ["0", "2", "10", "door"]
    assert told["unlabelled"]["frames"] == 1
    assert told["bytes"] == sum(path.stat().st_size for path in day.rglob("*.png"))
    assert told["sizes"] == {"8x6": 6}
    assert told["seconds"] == 0.4
    kitchen, again = told["sessions"]
    assert (kitchen["frames"], kitchen["seconds"], kitchen["dropped"], kitchen["host"]) == (4, 0.3, 5, "kitchen")
    assert told["begun"] == kitchen["begun"] and told["ended"] == again["ended"]
    assert [share.frames for share in describe(day).classes.values()] == [2, 1, 1, 1]


@pytest.mark.parametrize("pictures", [True, False])
def test_what_was_cut_off_is_called_so_and_has_its_date(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pictures: bool
) -> None:
    path, cut = tmp_path / "day1.mkv", tmp_path / "cut.mkv"
    with closing(VideoWriter(path, tracks=[SampleTrack("imu", 50)], pictures=pictures)) as writer:
        writer.describe({**KITCHEN, "started": "2023-11-14T22:13:20+0000"})
        writer.append_samples("imu", 0, np.zeros((100, 1), np.float32))
        for n in range(8 if pictures else 0):
            writer.append(writer.encode(Frame(picture(n), n, n * 10**8, {})))
        writer.sync()
        cut.write_bytes(path.read_bytes() if path.exists() else next(tmp_path.glob(".day1*")).read_bytes())
    for file in (path, cut):
        assert main(["info", str(file)]) == 0
        told = capsys.readouterr().out
        assert "2023-11-14 22:13:20" in told and "v4l2:/dev/video0 on kitchen" in told
        assert ("has no end: it was interrupted" in told) == (file == cut)
        assert main(["info", "--json", str(file)]) == 0
        (facts,) = json.loads(capsys.readouterr().out)["recordings"]
        assert facts["interrupted"] == (file == cut)
        assert [session["frames"] for session in facts["sessions"]] == [8] * pictures


def test_classes_with_names_are_shown_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day = tmp_path / "day1"
    record(day, ["0", "1", "1"])
    keep_classes(day, Classes(("nobody", "window"), ("0", "1")))
    assert main(["info", str(day)]) == 0
    assert [line.split()[:3] for line in capsys.readouterr().out.splitlines()[2:4]] == [
        ["nobody", "(0)", "1"],
        ["window", "(1)", "2"],
    ]
    assert main(["info", str(day), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["recordings"]
    assert {label: share["name"] for label, share in told["classes"].items()} == {"0": "nobody", "1": "window"}


def test_labels_that_are_not_saved_yet_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day, table = tmp_path / "day1", tmp_path / "labels.csv"
    record(day, [None] * 5 + ["door"])
    table.write_text("start,end,class\n0,0.2,window\n0.3,0.4,door\n")
    assert main(["labels", str(day), "--import", str(table)]) == 0
    capsys.readouterr()
    assert main(["info", str(day)]) == 0
    told = capsys.readouterr().out
    assert f"labelled, not saved yet: door 1, window 2; press S in 'python -m classify {day}'\n" in told
    assert main(["info", str(day), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recordings"][0]["waiting"] == {"window": 2, "door": 1}


def test_pictures_that_are_left_out_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day = tmp_path / "day1"
    record(day, ["0", "1"])
    (day / "1/b.avif").touch()
    (day / "a.png").symlink_to("0/00000000.png")
    (day / "1/.c.jpg").touch()
    (day / "1/._d.jpg").touch()
    (day / "1/more").mkdir()
    (day / "1/more/e.CR2").touch()
    for command in (["info", day], ["convert", day, tmp_path / "day1.h5"], ["merge", tmp_path / "all", day]):
        assert main(list(map(str, command))) == 0
        assert "4 pictures are left out (1/.c.jpg …)" in capsys.readouterr().err


def test_a_table_for_people(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path / "day1", ["0"] * 3 + ["1"] + [None], facts=KITCHEN)
    monkeypatch.chdir(tmp_path)
    assert main(["info", "day1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("day1: 5 frames (png), 0.0 MB, 8x6")
    assert [line.split()[:3] for line in lines[2:4]] == [["0", "3", "60.0"], ["1", "1", "20.0"]]
    assert lines[4].split()[:4] == ["no", "class", "1", "20.0"]
    assert lines[5].startswith("  recorded 2023-11-") and lines[-1].endswith("5  v4l2:/dev/video0 on kitchen")


def test_several_and_other_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "one", ["0"])
    (tmp_path / "two/cat").mkdir(parents=True)
    Image.new("RGB", (12, 10)).save(tmp_path / "two/cat/x.jpg")
    (tmp_path / "two/cat/y.png").write_bytes(b"no picture")
    (tmp_path / "empty").mkdir()
    assert main(["info", *(str(tmp_path / name) for name in ("one", "two", "empty")), "--json"]) == 0
    one, two, empty = json.loads(capsys.readouterr().out)["recordings"]
    assert one["frames"] == 1 and two["sizes"] == {"12x10": 1, "unreadable": 1} and empty["frames"] == 0
    assert main(["info", *(str(tmp_path / name) for name in ("one", "two", "empty"))]) == 0


def test_a_sensor_has_its_real_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(VideoWriter(tmp_path / "a.mka", tracks=[SampleTrack("force", 50)], pictures=False)) as writer:
        writer.append_samples("force", 0, np.zeros((100, 1), "<f4"))
        writer.describe_track("force", {"measured_rate": 49.0625})
    assert main(["info", str(tmp_path / "a.mka")]) == 0
    told = capsys.readouterr().out
    assert " pcm_f32le      49.0625         1 " in told and "as stated" not in told


def test_a_rate_that_was_not_measured_is_called_stated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracks = [SampleTrack("force", 50), SampleTrack("voice", 16000, 1, "flac")]
    with closing(VideoWriter(tmp_path / "a.mka", tracks=tracks, pictures=False)) as writer:
        writer.append_samples("force", 0, np.zeros((100, 1), "<f4"))
        writer.append_samples("voice", 0, np.zeros((48000, 1), "<i2"))
        writer.describe_track("voice", {"measured_rate": 16000.25})
    assert main(["info", str(tmp_path / "a.mka")]) == 0
    assert "  rate of force: as stated, not measured\n" in capsys.readouterr().out


def test_sound_lasts_as_long_as_its_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracks = [SampleTrack("force", 50), SampleTrack("voice", 16000, 1, "flac")]
    with closing(VideoWriter(tmp_path / "a.mka", tracks=tracks, pictures=False)) as writer:
        writer.append_samples("force", 0, np.zeros((101, 1), "<f4"))
        writer.append_samples("voice", 0, np.zeros((48000, 1), "<i2"))
    assert main(["info", "--json", str(tmp_path / "a.mka")]) == 0
    told = {one["name"]: one for one in json.loads(capsys.readouterr().out)["recordings"][0]["tracks"]}
    assert told["voice"]["seconds"] == 3.0 and told["force"]["seconds"] == pytest.approx(2.02)


@pytest.mark.parametrize("pictures", [True, False])
def test_a_clock_that_was_not_synchronised_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pictures: bool
) -> None:
    path = tmp_path / "a.mkv"
    for synchronised in (True, False, None):
        with closing(VideoWriter(path, tracks=[SampleTrack("imu", 50)], pictures=pictures)) as writer:
            anchors = [{"monotonic_ns": 0, "wall_ns": 1_700_000_000 * 10**9, "synchronised": synchronised}]
            writer.describe({**KITCHEN, "id": f"{synchronised}", "anchors": anchors})
            writer.append_samples("imu", 0, np.zeros((100, 1), np.float32))
            for n in range(8 if pictures else 0):
                writer.append(writer.encode(Frame(picture(n), n, n * 10**8, {})))
    assert main(["info", str(path)]) == 0
    told = "  the clock was not synchronised when this began: session False; the time of day may be wrong\n"
    assert told in capsys.readouterr().out
    assert main(["info", "--json", str(path)]) == 0
    (facts,) = json.loads(capsys.readouterr().out)["recordings"]
    assert facts["unsynchronised"] == ["False"]
    assert [one["unsynchronised"] for one in facts["sessions"]] == [False, True, False] * pictures


def test_names_can_not_write_to_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "day1", ["\x1b[31mred\n", "1"], facts={"camera": "\x1b]0;title\x07"})
    assert main(["info", str(tmp_path / "day1")]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_the_contact_sheet_shows_each_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day, sheet = tmp_path / "day1", tmp_path / "sheet.png"
    colours = {"0": (250, 10, 10), "1": (10, 250, 10), "2": (10, 10, 250)}
    for name, colour in colours.items():
        (day / name).mkdir(parents=True)
        for number in range(30):
            Image.new("RGB", (16, 12), colour).save(day / name / f"{name}{number:02d}.png")
    Image.new("RGB", (16, 12), (200, 200, 10)).save(day / "9.png")
    (day / "0/000.png").write_bytes(b"broken")
    assert main(["info", str(day), "--sheet", str(sheet)]) == 0
    pixels = np.asarray(Image.open(sheet))
    areas = [int(np.all(pixels == colour, axis=2).sum()) for colour in [*colours.values(), (200, 200, 10)]]
    assert areas[1] == areas[2] == 12 * areas[3] > 0


def test_a_sheet_replaces_an_older_one_of_the_same_recordings_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day, sheet = tmp_path / "day1", tmp_path / "sheet.png"
    record(day, ["0", "1"])
    record(tmp_path / "day2", ["0"])
    assert main(["info", str(day), "--sheet", str(sheet)]) == 0
    first = sheet.read_bytes()
    record(day, ["2"])
    assert main(["info", str(day), "--sheet", str(sheet)]) == 0
    again = sheet.read_bytes()
    assert Image.open(sheet).height > Image.open(io.BytesIO(first)).height

    capsys.readouterr()
    drawn_on = Image.open(sheet)
    seal = PngInfo()
    seal.add_text(SEAL, drawn_on.info[SEAL])
    drawn_on.putpixel((3, 3), (255, 0, 0))
    drawn_on.save(tmp_path / "drawn_on.png", pnginfo=seal)
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    (tmp_path / "notes.png").write_bytes(again[:500])
    (tmp_path / "link.png").symlink_to(sheet)
    before = everything(tmp_path)
    refused = [("day1", name) for name in ("drawn_on.png", "photo.png", "notes.png", "link.png")]
    for recording, name in [*refused, ("day2", "sheet.png")]:
        target = tmp_path / name
        assert main(["info", str(tmp_path / recording), "--sheet", str(target)]) == 1
        told = capsys.readouterr().err
        assert told == f"storage: {target} exists; choose another name for the sheet, or remove it first\n"
    assert everything(tmp_path) == before


def test_pictures_that_are_too_large_for_a_contact_sheet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their file is not decoded; where frames have one size, one of them is."""
    day, sheet = tmp_path / "day1", tmp_path / "sheet.png"
    day.mkdir()
    Image.new("1", (7000, 6500)).save(day / "0.png")
    Image.new("RGB", (16, 12), (200, 200, 10)).save(day / "1.png")
    assert main(["info", str(day), "--sheet", str(sheet)]) == 0
    told = f"{sheet}: 1 of its frames are empty, as they have more than 40 megapixels\n"
    assert capsys.readouterr().err == told
    pixels = np.asarray(Image.open(sheet)).reshape(-1, 3).tolist()
    assert pixels.count([200, 200, 10]) == pixels.count([0xD1, 0xD5, 0xDB]) > 1000
    monkeypatch.setattr("storage.care.sheet.MAX_PIXELS", 16 * 12 - 1)
    for name in ("day1.h5", "day1.mkv"):
        (day / "0.png").unlink(missing_ok=True)
        assert main(["convert", str(day), str(tmp_path / name)]) == 0
        assert main(["info", str(tmp_path / name), "--sheet", str(tmp_path / f"{name}.png")]) == 0
        assert f"{name}.png: 1 of its frames are empty" in capsys.readouterr().err


def test_no_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/recording.json").write_text('{"version": 1, "sessions": [7]}')
    for name in ("missing", "notes.txt", "damaged", "line\nbreak"):
        assert main(["info", str(tmp_path / name)]) == 1
        told = capsys.readouterr()
        assert told.out == "" and told.err.startswith("storage: ") and told.err.count("\n") == 1


def test_a_format_that_somebody_else_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.formats.table.FORMATS", (*FORMATS, NPZ))
    path, sheet = tmp_path / "day1.npz", tmp_path / "sheet.png"
    frames = np.full((6, 8, 10, 3), 77, np.uint8)
    frames[4] = 13
    np.savez(path, frames=frames, labels=["0", "0", "1", "", "1", "1"], times=np.arange(6) * 10**9)
    assert main(["info", str(path), "--json", "--sheet", str(sheet)]) == 0
    (told,) = json.loads(capsys.readouterr().out)["recordings"]
    assert (told["backend"], told["frames"], told["sizes"], told["seconds"]) == ("npz", 6, {"10x8": 6}, 5)
    assert {name: share["frames"] for name, share in told["classes"].items()} == {"0": 2, "1": 3}
    assert told["unlabelled"]["frames"] == 1
    assert np.all(np.asarray(Image.open(sheet)) == 77, axis=2).any()
    assert main(["info", str(path)]) == 0 and main(["verify", str(path)]) == 3
    assert f"{path} frame 4: frame 4 is damaged" in capsys.readouterr().out
    for command in (["verify", "--quarantine", str(tmp_path / "bad")], ["split"], ["merge", str(tmp_path / "all")]):
        assert main([*command, str(path)]) == 1
        assert capsys.readouterr().err.count("\n") == 1


# ------------------------------------------------------------------------------------------------- the command line


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=REPOSITORY)


def test_help_needs_nothing_heavy() -> None:
    program = (
        "import sys, storage.cli\ntry: storage.cli.main(['--help'])\nexcept SystemExit: print(sorted(sys.modules))"
    )
    done = run("-c", program)
    loaded = done.stdout.splitlines()[-1]
    assert "python -m storage split day1" in done.stdout
    assert not [name for name in ("numpy", "PIL", "cv2", "isal", "tqdm", "pi_capture") if f"'{name}'" in loaded]


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["info"], ["verify"], ["merge", "out"], ["info", "--nonsense"]]
)
def test_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)


def test_version() -> None:
    assert run("-m", "storage", "--version").stdout.startswith("pi-capture")


def test_a_reader_that_has_enough(tmp_path: Path) -> None:
    record(tmp_path / "day1", ["0", "1"])
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m storage info {'day1 ' * 250} | head -n 1"],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.stderr == "" and done.stdout.count("\n") == 1


def test_many_recordings_are_one_table_by_host_and_day(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day_ns, names = 86_400 * 10**9, []
    for number, (host, days) in enumerate([("pi10", (0,)), ("pi2", (1, 0)), ("pi2", (0,)), (None, (0,))]):
        names.append(str(tmp_path / f"rec{number}"))
        for day in days:
            wall = {
                "live": True,
                "wall_minus_monotonic_ns": 1_700_049_600 * 10**9 + day * day_ns,
                "dropped_queue": number,
            }
            facts = {"host": host, **wall} if host else {"camera": "a program"}
            record(tmp_path / f"rec{number}", ["0", None, "1"], facts=facts, seed=10 * number + day)
    assert main(["convert", names[2], str(tmp_path / "two.mkv")]) == 0
    names[2] = str(tmp_path / "two.mkv")
    (tmp_path / "broken.mkv").write_bytes(b"no video at all")
    capsys.readouterr()
    assert main(["info", "--table", *names]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    first, second = ("2023-11-15", "2023-11-16")
    assert [line[:5] for line in lines[1:]] == [
        ["-", "-", "1", "3", "2"],
        ["pi2", first, "2", "6", "4"],
        ["pi2", second, "1", "3", "2"],
        ["pi10", first, "1", "3", "2"],
        ["all", "4", "15", "10", "0.00"],
    ]
    assert main(["info", "--table", "--json", names[1], str(tmp_path / "broken.mkv"), names[2]]) == 3
    out, error = capsys.readouterr()
    told = json.loads(out)
    assert [(row["host"], row["day"], row["frames"], row["dropped"]) for row in told["table"]] == [
        ("pi2", first, 6, 3),
        ("pi2", second, 3, 1),
    ]
    assert len(told["recordings"]) == 2 and told["failed"][0]["path"].endswith("broken.mkv")
    assert "broken.mkv" in error and len(error.splitlines()) == 1
    assert sum(row["bytes"] for row in told["table"]) == pytest.approx(
        sum(one["bytes"] for one in told["recordings"]), abs=3
    )


def test_one_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "c"):
        record(tmp_path / name, [None])
    (tmp_path / "b.mkv").write_bytes(b"no video")
    assert main(["info", str(tmp_path)]) == 3
    said = capsys.readouterr()
    assert all(f"{tmp_path / name}: 1 frame" in said.out for name in ("a", "c"))
    assert said.err.startswith(f"storage: {tmp_path}/b.mkv") and said.err.count("\n") == 1
    assert main(["info", str(tmp_path), "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert [one["path"] for one in found["failed"]] == [f"{tmp_path}/b.mkv"] and len(found["recordings"]) == 2
