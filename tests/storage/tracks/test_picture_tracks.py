"""Files with several tracks of pictures: any one can be chosen, its labels are its own, and a film's subtitles none."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import av
import numpy as np
import pytest

from storage import Frame, Recording, StorageError, open_recording
from storage.convert.convert import convert
from storage.convert.extract import extract
from storage.formats.video.writer import VideoWriter
from storage.streams.merge import merge_streams
from tests.conftest import picture
from tests.support import REPOSITORY
from tests.support.labeller import Person, classes

COUNT = 20
SIZES = {"A": (64, 48), "B": (48, 32)}
FIRST_NUMBER = {"A": 0, "B": 100}
DOOR = [None] * 4 + ["door"] * 6 + [None] * 3 + ["music"] * 7
LAMP = ["lamp"] * 9 + [None] * 11


def recorded(path: Path, name: str, labels: Sequence[str | None], *, step_ns: int = 33_371_700, **facts: str) -> Path:
    """A recording of its own pictures, at times that are no whole milliseconds."""
    with closing(VideoWriter(path)) as writer:
        writer.describe(facts)
        for n, label in enumerate(labels):
            pixels = picture(FIRST_NUMBER[name] + n, SIZES[name])
            writer.append(writer.encode(Frame(pixels, n, 5 * 10**9 + n * step_ns, {"n": n}), label))
    return path


def srt(path: Path, *cues: str) -> Path:
    path.write_text("".join(f"{n}\n{cue}\n\n" for n, cue in enumerate(cues, 1)))
    return path


def run(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done


def labels_of(path: Path, track: str | int | None = None) -> list[str | None]:
    with open_recording(path, track=track) as recording:
        return list(recording.labels)


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """Two recordings in one file: the first with labels, the second without."""
    inputs = [recorded(tmp_path / "A.mkv", "A", DOOR), recorded(tmp_path / "B.mkv", "B", [None] * COUNT)]
    merge_streams(tmp_path / "both.mkv", inputs, offsets={"B": 0.1})
    return tmp_path / "both.mkv"


@pytest.fixture
def unlabelled(tmp_path: Path) -> Path:
    inputs = [recorded(tmp_path / f"{name}.mkv", name, [None] * COUNT) for name in "AB"]
    merge_streams(tmp_path / "pair.mkv", inputs, offsets={"B": 0})
    return tmp_path / "pair.mkv"


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda recording: pickle.loads(pickle.dumps(recording))])
@pytest.mark.parametrize(("track", "name", "labels"), [("camera-2", "B", [None] * COUNT), (None, "A", DOOR)])
def test_a_copy_is_of_the_same_track(
    both: Path, copied: Callable[[Recording], Recording], track: str | None, name: str, labels: list[str | None]
) -> None:
    with open_recording(both, track=track) as recording, copied(recording) as other:
        assert np.array_equal(other[3].pixels, picture(FIRST_NUMBER[name] + 3, SIZES[name]))
        assert list(other.labels) == list(recording.labels) == labels
        assert other.of_track == recording.of_track


def test_every_frame_of_the_chosen_track_bit_by_bit(both: Path) -> None:
    for track, name in ((None, "A"), ("camera", "A"), (0, "A"), ("0", "A"), ("camera-2", "B"), ("2", "B"), (2, "B")):
        with open_recording(both, track=track) as recording, open_recording(both.with_name(f"{name}.mkv")) as original:
            assert len(recording) == COUNT
            for n in (*range(COUNT), 7, 19, 0):
                assert np.array_equal(recording[n].pixels, picture(FIRST_NUMBER[name] + n, SIZES[name]))
            assert list(recording.timestamps_ns) == list(original.timestamps_ns)
            assert dict(recording[11].metadata) == {"n": 11}


def test_commands_read_the_chosen_track(both: Path, mobilenet: Path) -> None:
    there = both.parent
    told = "both.mkv has 2 tracks of pictures: 0 camera, 2 camera-2; this is the first of them, --track NAME takes"
    for track, size, options in (("A", "64x48", ()), ("B", "48x32", ("--track", "camera-2"))):
        done = run("storage", "info", both, "--json", *options)
        assert json.loads(done.stdout)["recordings"][0]["sizes"] == {size: COUNT}
        outputs = [done]
        for target in (f"{track}.h5", f"{track}.mp4", f"{track}-frames"):
            outputs.append(run("storage", "convert", both, there / target, *options))
            with open_recording(there / target) as recording:
                assert recording.size == size and len(recording) == COUNT
        outputs.append(run("storage", "extract", both, there / f"{track}-again", *options))
        with open_recording(there / f"{track}-again") as recording:
            assert np.array_equal(recording[8].pixels, picture(FIRST_NUMBER[track] + 8, SIZES[track]))
        outputs.append(run("storage", "features", both, there / f"{track}.features.h5", *options))
        outputs.append(run("storage", "labels", both, *options))
        for done in outputs:
            assert done.returncode == 0, done.stderr
            notes = [line for line in done.stderr.splitlines() if "tracks of pictures" in line]
            assert len(notes) == (0 if options else 1) and all(told in note for note in notes), done.args
    with open_recording(there / "A.features.h5") as first, open_recording(there / "B.features.h5") as second:
        assert not np.array_equal(first.features[:], second.features[:])  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", ["extract", "convert", "features", "info", "labels", "classify"])
def test_a_wrong_name_is_told_in_one_line(both: Path, command: str) -> None:
    target = {"extract": ["out"], "convert": ["out.h5"], "features": ["out.features.h5"]}.get(command, [])
    targets = [both.with_name(name) for name in target]
    module = ["classify"] if command == "classify" else ["storage", command]
    for wrong in ("kitchen", "1", "-1", "²"):  # 1 is the track of the labels
        done = run(*module, both, *targets, f"--track={wrong}")
        assert done.returncode == 1 and done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert f"both.mkv has no track of pictures {wrong!r}; it has 0 camera, 2 camera-2" in done.stderr
    assert not any(target.exists() for target in targets)


def test_all_tracks_are_verified(tmp_path: Path) -> None:
    sources = ["-f", "lavfi", "-i", "testsrc2=d=1:r=10:s=64x48", "-f", "lavfi", "-i", "testsrc=d=1:r=10:s=48x32"]
    titles = ["-metadata:s:v:0", "title=front", "-metadata:s:v:1", "title=back"]
    path = tmp_path / "two.mkv"
    subprocess.run(
        ["ffmpeg", "-v", "error", *sources, "-map", "0", "-map", "1", "-c:v", "png", *titles, path], check=True
    )
    done = run("storage", "verify", path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{path}: 20 frames, none broken\n", "")
    with av.open(str(path)) as container:
        packet = [bytes(packet) for packet in container.demux(video=1) if packet.size][6]
    data = path.read_bytes()
    assert data.count(packet) == 1
    path.write_bytes(data.replace(packet, bytes(len(packet))))
    done = run("storage", "verify", path)
    assert done.returncode == 3
    assert f"{path} frame 6: track back: " in done.stdout and "frames, 1 broken" in done.stdout


def test_what_has_no_tracks_says_so(both: Path) -> None:
    extract(both, both.parent / "day1")
    convert(both, both.parent / "day1.h5")
    for name, why in (("day1", "has no tracks to choose from"), ("day1.h5", "has no dataset 'camera'; it has frames")):
        with pytest.raises(StorageError, match=why):
            open_recording(both.parent / name, track="camera")
    with open_recording(both.parent / "A.mkv", track="camera") as recording:  # as recorded, it has the one
        assert list(recording.labels) == DOOR
    with pytest.raises(StorageError, match=r"no track of pictures 'B'; it has 0 camera$"):
        open_recording(both.parent / "A.mkv", track="B")
    done = run("storage", "info", both.parent / "A.mkv")
    assert done.returncode == 0 and done.stderr == ""


def test_odd_names(tmp_path: Path) -> None:
    """Names that look like numbers, and names that are none of a file."""
    sizes = {"1": 16, "../x": 24, "a/b": 32, "A_B": 40, "a?b": 48}
    inputs = [item for size in sizes.values() for item in ("-f", "lavfi", "-i", f"color=red:d=0.2:s={size}x16:r=10")]
    maps = [item for number in range(len(sizes)) for item in ("-map", str(number))]
    titles = [item for number, name in enumerate(sizes) for item in (f"-metadata:s:v:{number}", f"title={name}")]
    path = tmp_path / "odd.mkv"
    subprocess.run(["ffmpeg", "-v", "error", *inputs, *maps, "-c:v", "ffv1", *titles, path], check=True)
    for name, size in sizes.items():
        assert open_recording(path, track=name).size == f"{size}x16"
        srt(tmp_path / "labels.srt", f"00:00:00,000 --> 00:00:00,050\n{size}")
        assert run("storage", "labels", path, "--import", tmp_path / "labels.srt", "--track", name).returncode == 0
    assert open_recording(path, track=1).size == "24x16"  # an int is no name
    assert [labels_of(path, name) for name in sizes] == [[str(size), None] for size in sizes.values()]
    assert len({file.name.lower() for file in tmp_path.glob("odd.mkv.*csv")}) == len(sizes)


# ----------------------------------------------------------------------------------------------------- labels in a file


@pytest.mark.parametrize("wall", [0.0, 0.0004, 0.0005, 0.0123])
def test_merged_labels_are_those_of_before_frame_by_frame(tmp_path: Path, wall: float) -> None:
    inputs = [recorded(tmp_path / "A.mkv", "A", DOOR), recorded(tmp_path / "B.mkv", "B", LAMP)]
    merge_streams(tmp_path / "both.mkv", inputs, offsets={"B": wall})
    assert labels_of(tmp_path / "both.mkv") == DOOR
    assert labels_of(tmp_path / "both.mkv", "camera-2") == LAMP
    merge_streams(tmp_path / "again.mkv", [tmp_path / "both.mkv", inputs[0]], offsets={"A": 1})
    assert labels_of(tmp_path / "again.mkv", 0) == DOOR
    assert labels_of(tmp_path / "again.mkv", "camera-2") == LAMP
    assert labels_of(tmp_path / "again.mkv", "camera-3") == DOOR


def test_labels_of_named_recordings(tmp_path: Path) -> None:
    """As those of several senders are, whose tracks are called after them."""
    inputs = [
        recorded(tmp_path / f"{name}.mkv", name, labels, track_name="cam")
        for name, labels in (("A", DOOR), ("B", LAMP))
    ]
    merge_streams(tmp_path / "both.mkv", inputs, offsets={"B": 0})
    copy = tmp_path / "copy.mkv"
    subprocess.run(["ffmpeg", "-v", "error", "-i", inputs[1], "-map", "0", "-c", "copy", copy], check=True)
    assert labels_of(tmp_path / "both.mkv", "cam") == DOOR
    assert labels_of(tmp_path / "both.mkv", "cam-2") == labels_of(copy) == LAMP


@pytest.mark.parametrize("step_ns", [33_371_700, 33_710_000, 4_600_000])
def test_times_that_were_rounded_cost_no_label(tmp_path: Path, step_ns: int) -> None:
    wanted = [f"{n}" if n % 2 else None for n in range(60)]
    original = recorded(tmp_path / "A.mkv", "A", wanted, step_ns=step_ns)
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", original, "-map", "0", "-c", "copy", tmp_path / "copy.mkv"], check=True
    )
    merge_streams(tmp_path / "merged.mkv", [original])
    assert labels_of(tmp_path / "copy.mkv") == labels_of(tmp_path / "merged.mkv") == wanted


def test_labels_from_a_file_hold_for_all_pictures_without_their_own(tmp_path: Path) -> None:
    inputs = [recorded(tmp_path / "A.mkv", "A", [None] * COUNT), recorded(tmp_path / "B.mkv", "B", LAMP)]
    told = srt(
        tmp_path / "what I saw.srt",
        "00:00:00,100 --> 00:00:00,200\n<i>Tür</i>",
        "00:00:00,200 --> 00:01:00,000\n<none>",
    )
    merge_streams(tmp_path / "both.mkv", [*inputs, told], offsets={"B": 0})
    assert labels_of(tmp_path / "both.mkv", "camera") == [None] * 3 + ["Tür"] * 3 + ["<none>"] * 14
    assert labels_of(tmp_path / "both.mkv", "camera-2") == LAMP
    merge_streams(tmp_path / "one.mkv", [inputs[1], tmp_path / "A.mkv"], offsets={"A": 0})
    assert labels_of(tmp_path / "one.mkv", "camera-2") == [None] * COUNT  # the lamp is on other pictures


FILM = {
    "named like a film's": (["00:00:00,000 --> 00:00:01,000\ndoor"], "English"),
    "in two lines": (["00:00:00,000 --> 00:00:01,000\nWho is there?\nOpen the door!"], "labels"),
    "not to be directories": (["00:00:00,000 --> 00:00:01,000\n... and/or not"], "labels"),
    "too many": ([f"00:00:00,{n:03} --> 00:00:00,{n + 1:03}\nline {n}" for n in range(101)], "labels"),
}  # fmt: skip


@pytest.mark.parametrize("case", FILM)
def test_subtitles_of_a_film_are_no_labels(tmp_path: Path, case: str) -> None:
    cues, title = FILM[case]
    srt(tmp_path / "film.srt", *cues)
    path = tmp_path / "film.mkv"
    scene = ["-f", "lavfi", "-i", "testsrc2=d=1:r=10:s=64x48", "-i", tmp_path / "film.srt"]
    command = ["ffmpeg", "-v", "error", *scene, "-c:v", "ffv1", "-metadata:s:s:0", f"title={title}", path]
    subprocess.run(command, check=True)
    assert labels_of(path) == [None] * 10
    merge_streams(tmp_path / "merged.mkv", [path, recorded(tmp_path / "A.mkv", "A", DOOR)], offsets={"A": 0})
    assert labels_of(tmp_path / "merged.mkv", "camera") == DOOR


def test_a_track_called_labels_has_some_whoever_made_it(tmp_path: Path) -> None:
    srt(tmp_path / "x.srt", "00:00:00,200 --> 00:00:00,400\ndoor", "00:00:00,400 --> 00:00:00,500\nmusic")
    path = tmp_path / "obs.mkv"
    scene = ["-f", "lavfi", "-i", "testsrc2=d=1:r=10:s=64x48", "-i", tmp_path / "x.srt"]
    command = ["ffmpeg", "-v", "error", *scene, "-c:v", "libx264", "-metadata:s:s:0", "title=labels", path]
    subprocess.run(command, check=True)
    wanted = [None, None, "door", "door", "music", *[None] * 5]
    assert labels_of(path) == wanted
    done = run("storage", "extract", path, tmp_path / "day1", "--labelled")
    assert done.returncode == 0 and classes(tmp_path / "day1") == {"door": [2, 3], "music": [4]}
    convert(path, tmp_path / "day1.h5")
    assert labels_of(tmp_path / "day1.h5") == wanted


def test_a_table_beside_the_file_overrides_its_labels(both: Path) -> None:
    srt(both.with_name("new.srt"), "00:00:00,000 --> 00:00:00,050\nlight")
    done = run("storage", "labels", both, "--import", both.with_name("new.srt"))
    assert done.returncode == 0 and labels_of(both) == ["light", "light", *DOOR[2:]]
    assert labels_of(both, "camera-2") == [None] * COUNT
    srt(both.with_name("none.srt"))
    done = run("storage", "labels", both, "--import", both.with_name("none.srt"), "--replace")
    assert done.returncode == 0 and labels_of(both) == [None] * COUNT  # not those in the file again


def test_training_from_a_chosen_track(both: Path) -> None:
    pytest.importorskip("tensorflow")
    from storage.keras import dataset_from_recording

    dataset = dataset_from_recording(both, track="camera", shuffle=False, batch_size=None)
    assert dataset.class_names == ["door", "music"]
    frames = [n for n, label in enumerate(DOOR) if label]
    for (pixels, number), n in zip(dataset, frames, strict=True):
        assert np.array_equal(pixels, picture(n)) and dataset.class_names[int(number)] == DOOR[n]
    with pytest.warns(UserWarning, match="2 tracks of pictures: 0 camera, 2 camera-2; .* track=NAME takes another"):
        dataset_from_recording(both)
    second = dataset_from_recording(both, track="camera-2", labels=None, shuffle=False, batch_size=None)
    for n, pixels in enumerate(second):
        assert np.array_equal(pixels, picture(100 + n, SIZES["B"]))


def test_sound_goes_along_with_what_has_times_of_its_own(both: Path) -> None:
    sound, out = both.with_name("C.wav"), both.with_name("all.mkv")
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=d=0.6", sound], check=True)
    merge_streams(out, [both, sound], offsets={"C": 0})
    convert(out, both.with_name("all.mp4"), track="camera-2")
    probe = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_type,duration", "-of", "csv=p=0"]
    told = subprocess.run([*probe, both.with_name("all.mp4")], capture_output=True, text=True, check=True).stdout
    lengths = dict(line.split(",") for line in told.split())
    assert float(lengths["video"]) == pytest.approx(0.667, abs=0.04)
    assert 0.4 <= float(lengths["audio"]) <= 0.52  # from the first picture on, 0.1 s into the sound, in whole packets


# --------------------------------------------------------------------------------------------------- labelling a track


def test_labels_of_two_tracks_are_never_mixed_up(unlabelled: Path, desktop: str) -> None:
    first = Person(unlabelled, desktop, "--track", "camera")
    second = Person(unlabelled, desktop, "--track", "camera-2")  # at the same time
    first.press("0", "0", "0")
    second.press("Right", "1")
    first.sees("4 / 20")
    second.sees("3 / 20")
    first.kill()
    second.kill()
    done = run("storage", "labels", unlabelled, "--track", "camera-2", "--json")
    assert [row["class"] for row in json.loads(done.stdout)["intervals"]] == ["1"]  # though nothing is saved yet
    second = Person(unlabelled, desktop, "--track", "1")  # which is the same one
    second.sees("3 / 20")
    second.press("1", "s")
    assert "1 2" in second.ends()
    assert labels_of(unlabelled, "camera-2") == [None, "1", "1", *[None] * 17]
    assert labels_of(unlabelled) == [None] * COUNT
    first = Person(unlabelled, desktop)  # without --track it is the first one's, and that goes on
    first.sees("4 / 20")
    first.press("s")
    assert "pair.mkv has 2 tracks of pictures: 0 camera, 1 camera-2" in first.ends()
    assert labels_of(unlabelled) == ["0"] * 3 + [None] * 17
    assert labels_of(unlabelled, "camera-2") == [None, "1", "1", *[None] * 17]


def test_labels_in_the_file_are_there_to_be_corrected(both: Path, desktop: str) -> None:
    data = both.read_bytes()
    person = Person(both, desktop, "--track", "camera")
    person.sees("1 / 20")
    person.press("1")  # the classes are those in the file: door, music
    person.press("Home", "Right", "Right", "Right", "Right", "1")  # and this one was the door
    person.kill()
    person = Person(both, desktop, "--track", "camera")
    person.press("s")
    assert "door 5, music 9" in person.ends()
    assert labels_of(both) == ["music", *DOOR[1:4], "music", *DOOR[5:]]
    assert both.read_bytes() == data
    extract(both, both.with_name("day1"))
    assert {name: len(frames) for name, frames in classes(both.with_name("day1")).items()} == {"door": 5, "music": 9}
