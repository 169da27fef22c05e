"""Labels to files and back: through the command line, for every kind of recording and every kind of file."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from classify.frames import open_frames
from classify.session import NONE, Session
from pi_capture import record as record_samples
from storage import open_recording
from storage.cli import main
from storage.formats.table import open_writer
from storage.formats.video.writer import VideoWriter
from storage.frame import Frame
from storage.labels.beside import journal_path
from storage.labels.classes import known_classes
from storage.labels.current import labels_as_they_stand
from storage.labels.exchange import find_intervals
from storage.labels.history import replay
from storage.labels.intervals import SECOND_NS
from storage.labels.journal import Classes, LabelJournal, Labelled
from storage.tracks.sample_track import SampleTrack

KINDS = ["day1", "day1.h5", "day1.mkv", "clip.mp4"]
SUFFIXES = [".srt", ".vtt", ".ass", ".csv", ".tsv", ".txt"]
STEP_NS = 33_366_700  # 29.97 frames a second: no time is a whole millisecond
LABELS = [None] * 3 + ["door"] * 10 + ["light"] * 5 + [None] * 4 + ["door"] * 8


def record(path: Path, times_ns: Sequence[int] | None = None) -> None:
    times_ns = times_ns if times_ns is not None else [10**12 + n * STEP_NS for n in range(len(LABELS))]
    if path.suffix == ".mp4":
        make = [
            "ffmpeg",
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            f"testsrc2=s=32x32:r=30000/1001:d={30 * 1.001 / 30 - 0.01}",
        ]
        subprocess.run([*make, "-pix_fmt", "yuv420p", str(path)], check=True)
        return
    writer = open_writer(path)
    for n, time_ns in enumerate(times_ns, writer.next_index):
        writer.append(writer.encode(Frame(np.full((16, 16, 3), n % 256, np.uint8), n, time_ns)))
    writer.close()


def labels(path: Path) -> list[str | None]:
    with open_recording(path) as recording:
        return labels_as_they_stand(recording)


def csv_of(labels: Sequence[str | None], path: Path) -> Path:
    """A table with an interval for each frame."""
    rows = [
        f"{n * STEP_NS / 1e9 - 0.001:.6f},{n * STEP_NS / 1e9 + 0.02:.6f},{label}"
        for n, label in enumerate(labels)
        if label is not None
    ]
    path.write_text("\n".join(["start,end,class", *rows]).replace("-0.001", "0.000"))
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_there_and_back(tmp_path: Path, kind: str, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    day, again = tmp_path / kind, tmp_path / f"again-{kind}"
    record(day)
    record(again)
    assert labels(day) == [None] * len(LABELS)
    assert main(["labels", str(day), "--import", str(csv_of(LABELS, tmp_path / "given.csv"))]) == 0
    assert labels(day) == LABELS
    file = tmp_path / f"labels{suffix}"
    assert main(["labels", str(day), "--export", str(file)]) == 0
    assert "3 intervals" in capsys.readouterr().out
    assert main(["labels", str(again), "--import", str(file)]) == 0
    assert labels(again) == LABELS
    if suffix in (".srt", ".ass", ".vtt"):  # what FFmpeg makes of it
        probe = ["ffprobe", "-v", "error", "-show_packets", "-of", "json", str(file)]
        shown = subprocess.run(probe, capture_output=True, check=True)
        times = [float(packet["pts_time"]) for packet in json.loads(shown.stdout)["packets"]]
        assert times == pytest.approx([3 * STEP_NS / 1e9, 13 * STEP_NS / 1e9, 22 * STEP_NS / 1e9], abs=0.01)


def test_a_directory_is_labelled_in_the_window_first(tmp_path: Path) -> None:
    record(tmp_path / "day1")
    assert main(["labels", str(tmp_path / "day1"), "--import", str(csv_of(LABELS, tmp_path / "given.csv"))]) == 0
    assert [entry.name for entry in (tmp_path / "day1").iterdir() if entry.is_dir()] == []
    with LabelJournal(journal_path(tmp_path / "day1")) as journal, open_recording(tmp_path / "day1") as recording:
        classes = known_classes(journal.entries)
        opened = open_frames(recording, classes, journal.entries, relabel=False)
        session = Session(len(opened.names), opened.labels)
        replay(session, opened.names, journal.entries)
        found = [None if label == NONE else opened.class_of(label) for label in session.labels]
        assert found == LABELS and classes.names == ("door", "light")
        session.undo()  # the whole import is one thing that was done
        assert session.labelled == 0 and not session.can_undo()


@pytest.mark.parametrize("kind", KINDS)
def test_labels_that_are_there_stay(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    day = tmp_path / kind
    record(day)
    main(["labels", str(day), "--import", str(csv_of(LABELS, tmp_path / "given.csv"))])
    more = [label or "none" for label in LABELS]
    assert main(["labels", str(day), "--import", str(csv_of(more, tmp_path / "more.csv"))]) == 0
    assert labels(day) == more
    other = [*["stop"] * 7, *LABELS[7:]]
    assert main(["labels", str(day), "--import", str(csv_of(other, tmp_path / "other.csv"))]) == 1
    told = capsys.readouterr().err
    assert "7 frames have other labels already, the first at 0.000 s (none, not stop); --replace" in told
    assert labels(day) == more
    assert main(["labels", str(day), "--replace", "--import", str(tmp_path / "other.csv")]) == 0
    assert labels(day) == other


def test_labels_that_wait_beside_a_file_go_in_with_what_is_imported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, table = tmp_path / "day1.h5", tmp_path / "labels.csv"
    record(path)
    with LabelJournal(journal_path(path)) as journal:  # as live labels leave them
        journal.append(Classes(("none", "door"), ("none", "door")), Labelled((("00000003", 10),), 1))
    assert labels(path) == [None] * 3 + ["door"] * 10 + [None] * 17
    assert main(["labels", str(path), "--export", str(table)]) == 0
    assert main(["labels", str(path), "--import", str(table)]) == 0
    assert "0 frames got a new label, 10 have a label now, 10 that waited are saved" in capsys.readouterr().out
    with open_recording(path) as recording:
        assert list(recording.labels) == labels(path) == [None] * 3 + ["door"] * 10 + [None] * 17


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_label_does_not_stretch_over_frames_that_are_not_there(tmp_path: Path, suffix: str) -> None:
    """As a split leaves it: 4 s are held out in the middle of a class."""
    path, seconds = tmp_path / "day1.h5", [n / 10 for n in range(100) if not 32 <= n < 72]
    record(path, [round(second * 1e9) for second in seconds])
    (tmp_path / "all.csv").write_text("start,end,label\n1,9,door\n")
    assert main(["labels", str(path), "--import", str(tmp_path / "all.csv")]) == 0
    before = labels(path)
    assert main(["labels", str(path), "--export", str(tmp_path / f"out{suffix}")]) == 0
    assert find_spans(path) == [(1.0, 3.2), (7.2, 9.0)]
    assert main(["labels", str(path), "--import", str(tmp_path / f"out{suffix}")]) == 0
    assert labels(path) == before


@pytest.mark.parametrize("name", ["day1", "day1.h5"])
def test_a_label_does_not_reach_over_a_short_pause_between_two_sessions(tmp_path: Path, name: str) -> None:
    """One and a half seconds between two sessions; within the first one the camera was late by as much."""
    path, late = tmp_path / name, [*range(5), *range(20, 30)]
    for frames in (late, range(45, 55)):
        record(path, [n * SECOND_NS // 10 for n in frames])
    (tmp_path / "all.csv").write_text("start,end,label\n0,5.5,door\n")
    assert main(["labels", str(path), "--import", str(tmp_path / "all.csv")]) == 0
    before = labels(path)
    assert main(["labels", str(path), "--export", str(tmp_path / "out.csv")]) == 0
    assert find_spans(path) == [(0, 3.0), (4.5, 5.5)]
    assert main(["labels", str(path), "--import", str(tmp_path / "out.csv")]) == 0
    assert labels(path) == before


def record_after_samples(path: Path, sessions: int = 1) -> None:
    """20 pictures, 10 a second, and samples that began 1.75 s before them; an hour between two sessions."""
    for session in range(sessions):
        began_ns = (1 + 3600 * session) * SECOND_NS
        writer = VideoWriter(path, tracks=[SampleTrack("imu", 100, 2)])
        writer.begin_at(began_ns)
        writer.append_samples("imu", began_ns, np.zeros((375, 2), np.float32))
        for n in range(20):
            writer.append(writer.encode(Frame(np.zeros((16, 16, 3), np.uint8), n, began_ns + (175 + 10 * n) * 10**7)))
        writer.close()


def picture_times(path: Path) -> list[float]:
    """When a player shows the pictures."""
    command = ["ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "packet=pts_time", "-of", "csv=p=0"]
    return [float(line.split(",")[0]) for line in subprocess.check_output([*command, str(path)], text=True).split()]


@pytest.mark.parametrize("remuxed", [False, True], ids=["recorded", "remuxed"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_times_are_those_that_a_player_shows(tmp_path: Path, suffix: str, *, remuxed: bool) -> None:
    """A file that begins with samples, and has a second session: made by this program, and copied by another."""
    path = tmp_path / "day1.mkv"
    record_after_samples(path, sessions=2)
    if remuxed:
        path = tmp_path / "copy.mkv"
        subprocess.run(
            ["ffmpeg", "-v", "error", "-i", tmp_path / "day1.mkv", "-map", "0", "-c", "copy", path], check=True
        )
    shown = picture_times(path)
    assert shown[0] == pytest.approx(1.75, abs=0.002) and shown[20] < 10
    for at in (3, 24):  # a label from a picture to the third one after it, as a person reads the times off
        (tmp_path / "given.csv").write_text(f"start,end,class\n{shown[at] - 0.02},{shown[at + 3] - 0.02},door\n")
        assert main(["labels", str(path), "--import", str(tmp_path / "given.csv"), "--replace"]) == 0
        assert [n for n, label in enumerate(labels(path)) if label] == [at, at + 1, at + 2]
        file = tmp_path / f"out{at}{suffix}"
        assert main(["labels", str(path), "--export", str(file)]) == 0
        ((start, end),) = find_spans(path)
        assert (start, end) == pytest.approx((shown[at], shown[at + 3]), abs=0.002)
        before = labels(path)
        assert main(["labels", str(path), "--import", str(file), "--replace"]) == 0
        assert labels(path) == before


def find_spans(path: Path) -> list[tuple[float, float]]:
    return [(round(one.start_ns / 1e9, 3), round(one.end_ns / 1e9, 3)) for one in find_intervals(path)]


def test_nothing_is_overwritten_by_an_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "day1.mkv")
    (tmp_path / "day1.srt").write_text("mine")
    assert main(["labels", str(tmp_path / "day1.mkv"), "--export", str(tmp_path / "day1.srt")]) == 1
    assert "exists" in capsys.readouterr().err and (tmp_path / "day1.srt").read_text() == "mine"
    assert main(["labels", str(tmp_path / "day1.mkv"), "--export", str(tmp_path / "day1.doc")]) == 1
    assert ".srt, .vtt" in capsys.readouterr().err


# What ELAN ("Export as > Tab-delimited Text", with and without the column names) and Audacity write.
ELAN = """\
gestures\t\t00:00:00.100\t0.1\t00:00:00.433\t0.433\t00:00:00.333\t0.333\tdoor
gestures\t\t00:00:00.433\t0.433\t00:00:00.600\t0.6\t00:00:00.167\t0.167\tlight
"""
ELAN_NAMED = """\
Tier\tParticipant\tBegin Time - hh:mm:ss.ms\tBegin Time - ss.msec\t\
End Time - hh:mm:ss.ms\tEnd Time - ss.msec\tAnnotation
""" + ELAN.replace("\t00:00:00.333\t0.333", "").replace("\t00:00:00.167\t0.167", "")
ELAN_TIERS = """\
Begin Time - msec\tEnd Time - msec\tDuration - msec\tdoors\tlights
100\t433\t333\tdoor\t
433\t600\t167\t\tlight
"""
AUDACITY = "0.100000\t0.433000\tdoor\n\\\t200.0\t4000.0\n0.433000\t0.600000\tlight\n"
SPREADSHEET = "Start;End;Label\r\n0,1;0,433;door\r\n0,433;0,6;light\r\n"
SHORT_NUMBERS = "start,end,class\n.1,.433,door\n.433,.6,light\n"
BORIS = """\
Observation id\tSubject\tBehavior\tBehavioral category\tStart (s)\tStop (s)\tDuration (s)\tComment start
two\tanyone\tdoor\tmoves\t0.1\t0.433\t0.333\t
two\tanyone\tlight\t\t0.433\t0.6\t0.167\tdim
"""
TIERS_LIKE_WORDS = """\
Begin Time - ss.msec\tEnd Time - ss.msec\tidentify\tFrom inside
0.1\t0.433\tdoor\t
0.433\t0.6\t\tlight
"""
BORIS_8 = """\
Observation id,Source,Time offset (s),Media duration (s),FPS (frame/s),Behavior,Behavior type,Start (s),Stop (s),\
Duration (s),Media file name
two,player #1:two.mp4,0.0,1.001,29.97,door,STATE,0.1,0.433,0.333,two.mp4
two,player #1:two.mp4,0.0,1.001,29.97,light,STATE,0.433,0.6,0.17,two.mp4
"""
SPACES = "start,end,class\n0.1, 0.433, door\n0.433,0.6,light\u00a0\n"
MILLISECONDS = "onset [ms],offset (milliseconds),label\n100,433,door\n433,600,light\n"
MINUTES = "start_min,end_min,label\n0.001666,0.0072166,door\n0.0072166,0.01,light\n"
PLACED = "1\n00:00:00,100 --> 00:00:00,433\n{\\an2}{\\pos(3,4)}door\n\n2\n00:00:00,433 --> 00:00:00,600\nlight\n"
SRT = "\ufeff1\n00:00:00,100 --> 00:00:00,433\n<i>door</i>\n\n\n00:00:00,433 --> 00:00:00,600 X1:40\nlight"
VTT = """WEBVTT - from elsewhere\nKind: captions\n\nNOTE by me\n\nSTYLE\n::cue{}

NOTE 1
00:00.100 --> 00:00.433 align:left
<c.x>door</c>

00:00.433 --> 00:00.600
light
"""
ASS = """\
[Script Info]
ScriptType: v4.00+
[Events]
Format: Layer, Start, End, Style, Text
Comment: 0,0:00:00.00,0:00:09.00,Default,nothing
Dialogue: 0,0:00:00.10,0:00:00.43,Default,{\\an8}door
  dialogue: 0,0:00:00.43,0:00:00.60,Default,light
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.txt", ELAN), ("a.csv", ELAN_NAMED), ("a.tsv", ELAN_TIERS), ("a.txt", AUDACITY), ("a.csv", SPREADSHEET),
     ("a.csv", SHORT_NUMBERS), ("a.tsv", BORIS), ("a.csv", BORIS_8), ("a.csv", SPACES), ("a.txt", TIERS_LIKE_WORDS),
     ("a.csv", MILLISECONDS),
     ("a.csv", MINUTES), ("a.srt", PLACED),
     ("a.srt", SRT), ("a.vtt", VTT), ("a.ass", ASS)],
)  # fmt: skip
def test_files_of_other_programs(tmp_path: Path, name: str, text: str) -> None:
    record(tmp_path / "day1.h5")
    (tmp_path / name).write_bytes(text.encode("utf-16" if text is ELAN else "utf-8"))
    assert main(["labels", str(tmp_path / "day1.h5"), "--import", str(tmp_path / name)]) == 0
    assert labels(tmp_path / "day1.h5") == [*[None] * 3, *["door"] * 10, *["light"] * 5, *[None] * 12]


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.srt", "1\n00:00:00,1 --> 00:00:00,3\na\n\n2\n00:00:00,2 --> 00:00:00,4\nb\n",
         "line 6: 0.200 to 0.400 s overlaps"),
        ("a.srt", "1\n00:00:00,1 --> 00:00:00,3\na\n\n2\n00:00:02,000 --> 00:00:09,0\nb\n",
         "line 6: 2.000 to 9.000 s is outside the recording, which is 1.001 s"),
        ("a.srt", "1\n00:00:00,1 -> 00:00:00,3\na\n", "line 2: '00:00:00,1 -> 00:00:00,3' is no time"),
        ("a.srt", "1\n00:00:00,1 --> 00:00:00,3\na\nb\n", "line 2: this interval has several lines"),
        ("a.srt", "1\n00:00:00,1 --> 00:00:00,3\n", "line 2: this interval has no label"),
        ("a.srt", "hello\n", "line 1: 'hello' is no time"),
        ("a.vtt", "1\n00:00.1 --> 00:00.3\na\n", "line 1: a WebVTT file begins with WEBVTT"),
        ("a.ass", "[Events]\nDialogue: 0,0:00:01,x\n", "line 2: 'Dialogue: 0,0:00:01,x' is no dialogue"),
        ("a.srt", "1\n00:00:00,1 --> 00:00:61,0\na\n", "line 2: '00:00:00,1 --> 00:00:61,0' is no time"),
        ("a.vtt", "WEBVTT\n00:00.1 --> 00:00.3\na\n", "line 2: an empty line is missing"),
        ("a.vtt", "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00.1,MPEGTS:9\n\n00:00.1 --> 00:00.3\na\n", "line 2: X-TIMESTAMP"),
        ("a.ass", "[Events]\nDialog: 0,0:00:00.10,0:00:00.30,,,0,0,0,,a\n", "line 2: 'Dialog: 0,"),
        ("a.ass", "nothing", "line 1: a SubStation Alpha file has"),
        ("a.csv", "start,end,class\n0.1,0.2,a\n0.3,soon,b\n", "line 3: '0.3 soon b' has no start and end"),
        ("a.csv", "start,end,class\n0,1,0,4,door\n", "line 2: '0, 1, 0, 4, door' has more cells"),
        ("a.csv", "start,end,label\n0,1,0,4,door\n", "line 2: '0, 1, 0, 4, door' has more cells"),
        ("a.csv", "7,0.1,0.4,door\n", "line 1: what '0.4' is for is not known"),
        ("a.csv", "0.1,0.4,door,slammed\n", "line 1: what 'door' is for is not known"),
        ("a.csv", "first frame,last frame,label\n3,9,door\n", "line 1: 'first frame' has numbers of frames"),
        ("a.csv", "start (weeks),end (weeks),label\n0,1,door\n", "names no start and end"),
        ("a.csv", "start,end,label,certainty\n0.1,0.4,door,low\n", "line 1: what column 'certainty' is for"),
        ("a.csv", "start_ms,end,label\n100,0.4,door\n", "line 1: only one of 'start_ms' and 'end' has a unit"),
        ("a.csv", "start,end,duration,label\n0.1,0.4,0.9,door\n", "line 2: '0.9' is not the length, 0.3 s, of"),
        ("a.csv", "start,from,end,label\n0.1,0.9,0.4,door\n", "line 2: '0.9' is not the start, 0.1 s, of"),
        ("a.csv", "time offset (s),start,end,label\n3,0.1,0.4,door\n", "line 2: '3' is not the offset, 0 s, of"),
        ("a.csv", 'start (ms),end (ms),label\n0,"1,000",door\n', "line 2: '0 1,000 door' has no start and end"),
        ("a.csv", "start,end,label\n0:00.1,0:72.4,door\n", "line 2: '0:00.1 0:72.4 door' has no start and end"),
        ("a.tsv", "file\tonset\toffset\tlabel\n1.mp4\t0.1\t0.2\ta\n2.mp4\t0.3\t0.4\tb\n",
         "line 3: this interval is of '2.mp4', and line 2 of '1.mp4'; keep"),
        ("a.tsv", 'start\tend\tclass\n0.1\t0.2\t"a, or b"\n', "line 2: '\"a, or b\"' is in quotation marks"),
        ("a.csv", "Beginn;Ende;Klasse\n0,1;0,2;a\n", "is no interval either; name the columns"),
        ("a.csv", "start,end,class\n0.1,0.2\n", "line 2: this interval has no label"),
        ("a.csv", "when,what\n0.1,a\n", "line 1: 'when, what' names no start and end"),
        ("a.csv", 'start,end,class\n0.1,0.2,"a\n', "line 2: is no row of a table"),
        ("a.txt", "0.1\t0.1\tpoint\n", "line 1: 0.100 to 0.100 s has no length"),
        ("a.txt", "0.1\t0.2\n", "line 1: this interval has no label"),
        ("a.txt", "0.1\t0.2\t../../etc\n0.3\t0.2\tb\n",
         "line 1: a class can't be named '../../etc'; line 2: 0.300 to 0.200 s has no"),
        ("a.txt", "0.1\t0.2\tlabels.jsonl\n", "line 1: a class can't be named 'labels.jsonl'"),
        ("a.txt", "0.1\t0.2\t00000007.PNG\n", "line 1: a class can't be named '00000007.PNG'"),
        ("a.txt", "-0.1\t0.2\ta\n", "line 1: -0.100 to 0.200 s is outside"),
        ("a.txt", "0.1\t0.2\ta\n\xff", "line 2: is no text in UTF-8"),
        ("a.txt", "1e400\t2e400\ta\n", "names no start and end"),
        ("a.txt", f"0.1\t{'7' * 33}\ta\n", "line 1: '0.1 777"),
        ("a.csv", f"0.1,0.2,a\n{'7' * 33},0.4,b\n", "has no start and end"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(
    tmp_path: Path, name: str, text: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path / "day1")
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    assert main(["labels", str(tmp_path / "day1"), "--import", str(tmp_path / name)]) == 1
    told = capsys.readouterr().err
    assert complaint in told and len(told.splitlines()) == 1, told
    assert labels(tmp_path / "day1") == [None] * 30


def test_an_import_that_meets_no_frame_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "day1.mkv")
    main(["labels", str(tmp_path / "day1.mkv"), "--import", str(csv_of(LABELS, tmp_path / "given.csv"))])
    before = labels(tmp_path / "day1.mkv")
    (tmp_path / "a.csv").write_text("start,end,class\n0.01,0.02,a\n")
    replace = ["labels", str(tmp_path / "day1.mkv"), "--replace", "--import"]
    capsys.readouterr()
    assert main([*replace, str(tmp_path / "a.csv")]) == 1
    told = capsys.readouterr()
    assert "was taken in any of its intervals, the first 0.010 to 0.020 s; nothing was changed\n" in told.err
    assert labels(tmp_path / "day1.mkv") == before and not told.out
    (tmp_path / "b.csv").write_text("start,end,class\n0.01,0.02,a\n0.1,0.2,b\n")
    assert main([*replace, str(tmp_path / "b.csv")]) == 0
    lost = sum(label is not None for label in before) - sum(label is not None for label in before[3:6])
    assert f"3 frames got a new label, {lost} lost theirs, 3 have a label now" in capsys.readouterr().out


def test_labels_of_a_recording_without_pictures_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sensors = ["a,rate=100,format=text=for n in 1 2 3 4 5 6 7 8 9; do echo 1; done"]
    record_samples(tmp_path / "a.mka", camera="none", sensors=sensors)
    (tmp_path / "a.csv").write_text("start,end,class\n0,3,a\n")
    assert main(["labels", str(tmp_path / "a.mka"), "--import", str(tmp_path / "a.csv")]) == 1
    assert "a.mka has no pictures to label" in capsys.readouterr().err


def test_an_interval_without_a_frame_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "day1.mkv")
    (tmp_path / "a.csv").write_text("start,end,class\n0.01,0.02,a\n0.1,0.2,b\n")
    assert main(["labels", str(tmp_path / "day1.mkv"), "--import", str(tmp_path / "a.csv")]) == 0
    told = capsys.readouterr()
    assert "line 2: no frame was taken then" in told.err and "3 frames got a new label" in told.out
    assert main(["labels", str(tmp_path / "day1.mkv"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["intervals"]
    assert [each["class"] for each in shown] == ["b"]


def test_pictures_without_times_are_in_no_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    for name in "ab":
        Image.new("RGB", (8, 8)).save(tmp_path / f"photos/{name}.jpg")
        os.utime(tmp_path / f"photos/{name}.jpg", (10**9, 10**9))  # as unpacked from an archive
    (tmp_path / "a.csv").write_text("start,end,class\n0,0.02,door\n")
    assert main(["labels", str(tmp_path / "photos"), "--import", str(tmp_path / "a.csv")]) == 1
    assert "have no times" in capsys.readouterr().err


def test_classes_that_look_alike_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also those of which one was there before."""
    record(tmp_path / "day1")
    for number, name in enumerate(["open door", "light", "Open\u00a0door"]):
        (tmp_path / "a.csv").write_text(f"start,end,class\n0.{number}1,0.{number}9,{name}\n")
        assert main(["labels", str(tmp_path / "day1"), "--import", str(tmp_path / "a.csv")]) == 0
        told = capsys.readouterr().err
        assert ("'open door' and 'Open\\xa0door' are two classes" in told) == (number == 2), told


def test_ten_classes_are_too_many_for_the_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "day1")
    record(tmp_path / "day1.h5")
    names: list[str | None] = [f"class {n // 3}" for n in range(30)]
    table = csv_of(names, tmp_path / "a.csv")
    assert main(["labels", str(tmp_path / "day1"), "--import", str(table)]) == 1
    assert "keys for 9" in capsys.readouterr().err
    assert main(["labels", str(tmp_path / "day1.h5"), "--import", str(table)]) == 0
    assert labels(tmp_path / "day1.h5") == names


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["stop\rgo", "a\r\nb"])
def test_a_name_that_would_come_back_changed_is_refused(tmp_path: Path, suffix: str, name: str) -> None:
    from storage.formats.hdf5.writer import write_labels

    record(tmp_path / "day1.h5", [n * 10**9 for n in range(4)])
    write_labels(tmp_path / "day1.h5", [None, name, name, None])
    assert main(["labels", str(tmp_path / "day1.h5"), "--export", str(tmp_path / f"labels{suffix}")]) == 1
    assert not (tmp_path / f"labels{suffix}").exists()


NAMES = st.one_of(
    st.sampled_from(["none", "door", "light & more", "<b>", "a,b", 'say "x"', "0", "12.5", "Tür", "{x}", " y", "-->"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=5).filter(
        lambda text: not text.startswith(".")
    ),
)


@settings(max_examples=60)
@given(
    steps=st.lists(st.integers(0, 50_000_000), min_size=1, max_size=25),
    data=st.data(),
    suffix=st.sampled_from(SUFFIXES),
)
def test_any_labels_come_back_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], data: st.DataObject, suffix: str
) -> None:
    here = tmp_path_factory.mktemp("day")
    times = np.cumsum([10**12, *steps]).tolist()
    names = data.draw(st.lists(NAMES, min_size=1, max_size=3))
    wanted = data.draw(st.lists(st.sampled_from([None, *names]), min_size=len(times), max_size=len(times)))
    for name in ("day1.h5", "again.h5"):
        record(here / name, times)
    from storage.formats.hdf5.writer import write_labels

    write_labels(here / "day1.h5", wanted)
    status = main(["labels", str(here / "day1.h5"), "--export", str(here / f"labels{suffix}")])
    if status == 1:  # no file rather than a wrong one
        plain = all(name.isalnum() and name.isascii() for name in names)
        apart = suffix == ".csv" and min(steps) > 0
        assert not (here / f"labels{suffix}").exists()
        assert not (plain and (apart or min(steps) >= 10_000_000)), (names, steps)
        return
    assert main(["labels", str(here / "again.h5"), "--import", str(here / f"labels{suffix}")]) == 0
    assert labels(here / "again.h5") == wanted
