"""A format and a camera of another distribution, through every command: no module of this project knows them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from storage import Frame, open_recording
from storage.formats.png.codec import encode_png
from storage.formats.table import find_format, open_writer
from storage.labels.current import labels_as_they_stand
from tests.conftest import picture
from tests.pi_capture.live.test_labels import Terminal, check, label_a_while, recording
from tests.support import PATIENCE_SECONDS, wait_for
from tests.support.labeller import Person

pytestmark = pytest.mark.usefixtures("elsewhere")
DEMO = ("--camera", "demo", "--fps", "60", "--size", "64x48", "--countdown", "0")


def run(module: str, *arguments: object, status: int = 0) -> str:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == status, done
    assert "Traceback" not in done.stderr
    return done.stdout if status == 0 else done.stderr


def make(path: Path, count: int = 8) -> None:
    writer = open_writer(path)
    for n in range(count):
        writer.append(writer.encode(Frame(picture(n, (64, 64)), n, n * 10**8)))
    writer.close()


def test_recorded_from_a_directory_of_images_and_continued(tmp_path: Path) -> None:
    images, tar = tmp_path / "images", tmp_path / "day1.tar"
    images.mkdir()
    for n in range(12):
        (images / f"{n:03d}.png").write_bytes(encode_png(picture(n), {}))
    for count in (12, 24):
        told = json.loads(run("pi_capture", tar, -1, "--camera", f"images:{images}", "--size", "source", "--json"))
        assert (told["frames"], told["backend"]) == (12, "tar")
        with open_recording(tar) as frames:
            assert len(frames) == count
            for n in range(count):
                assert np.array_equal(frames[n].pixels, picture(n % 12))
                assert frames[n].metadata == {"file": f"{n % 12:03d}.png"}
    assert run("pi_capture", tmp_path / "2.tar", 1, "--camera", "images:/nowhere", status=1).count("\n") == 1
    assert "tar has no --codec" in run("pi_capture", tmp_path / "2.tar", 1, *DEMO, "--codec", "ffv1", status=2)
    assert "go into a Matroska file" in run("pi_capture", tmp_path / "2.tar", 1, "--audio", "lavfi:sine", status=2)


def test_the_longest_suffix_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where one of this project's is the end of another's."""
    facts = tmp_path / "long_suffix-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: long-suffix\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[storage.formats]\nlong = long_suffix:ROW\n")
    row = 'Format("long", ".long.h5", "tar_format:TarWriter", "tar_format:TarReader", also_reads=(".mkv", ".hdf"))'
    (tmp_path / "long_suffix").with_suffix(".py").write_text(
        f"from storage.formats.table import Format\n\nROW = {row}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    names = ("day1", "2026.11.27", "day.1.h5", "day1.h5", "day1.features.h5", "day1.mkv", "day1.long.h5", "day1.hdf")
    found = {name: find_format(tmp_path / name).name for name in (*names, "day1.tar")}
    assert list(found.values()) == ["png", "png", "hdf5", "hdf5", "features", "video", "long", "long", "tar"], found


def test_killed_verified_and_continued(tmp_path: Path) -> None:
    tar = tmp_path / "day1.tar"
    command = [sys.executable, "-m", "pi_capture", str(tar), "-1", *DEMO, "--sync-interval", "0.1", "--quiet"]
    with subprocess.Popen(command) as process:
        wait_for(lambda: tar.exists() and tar.stat().st_size >= 300_000, tar)
        process.send_signal(signal.SIGKILL)
    told = run("storage", "verify", tar)
    assert "had been interrupted" in told, told
    with open_recording(tar) as frames:
        count = len(frames)
    run("pi_capture", tar, 0.2, *DEMO)
    with open_recording(tar) as frames:
        assert len(frames) > count > 0
    assert "interrupted" not in run("storage", "verify", tar)
    (info,) = json.loads(run("storage", "info", tar, "--json"))["recordings"]
    assert (info["backend"], info["sizes"]) == ("tar", {"64x48": info["frames"]})


def test_in_segments(tmp_path: Path) -> None:
    told = json.loads(run("pi_capture", tmp_path / "day1.tar", 1, *DEMO, "--segment", "5frames", "--json"))
    segments = sorted(tmp_path.glob("day1-*.tar"))
    assert told["segments"] == len(segments) >= 2
    counts = []
    for path in segments:
        with open_recording(path) as frames:
            counts.append(len(frames))
    assert sum(counts) == told["frames"]


def test_live_labels(tmp_path: Path) -> None:
    tar = tmp_path / "day1.tar"
    terminal = Terminal(recording(tar))
    try:
        known = label_a_while(terminal)
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.ends() in (0, 130)
    finally:
        terminal.close()
    check(tar, known)


def test_labelled_in_the_window(tmp_path: Path, desktop: str) -> None:
    tar = tmp_path / "day1.tar"
    make(tar)
    whole = tar.read_bytes()
    person = Person(tar, desktop, "--classes", "0,door", "--class-dirs", "names")
    person.press("0", "1", "s")
    person.ends()
    assert tar.read_bytes() == whole
    with open_recording(tar) as frames:
        assert labels_as_they_stand(frames) == ["0", "door", *[None] * 6]
    assert os.path.exists(f"{tar}.labels.csv")
    person = Person(tar, desktop)
    person.sees("3 / 8")
    person.kill()


def test_labels_survive_conversion_both_ways(tmp_path: Path) -> None:
    """A format that has no room for labels gets them beside it, and gives them on."""
    labels = ["none", "door", None, "door", "none", None]
    writer = open_writer(tmp_path / "day1.mkv")
    for n, label in enumerate(labels):
        writer.append(writer.encode(Frame(picture(n), n, n * 10**8), label))
    writer.close()
    run("storage", "convert", tmp_path / "day1.mkv", tmp_path / "day1.tar")
    run("storage", "convert", tmp_path / "day1.tar", tmp_path / "day1.h5")
    run("storage", "convert", tmp_path / "day1.tar", tmp_path / "day2")
    for name in ("day1.tar", "day1.h5"):
        with open_recording(tmp_path / name) as frames:
            assert labels_as_they_stand(frames) == labels
            assert all(np.array_equal(frames[n].pixels, picture(n)) for n in range(len(labels)))
    with open_recording(tmp_path / "day2") as frames:
        assert list(frames.labels) == labels


def test_both_are_in_the_help() -> None:
    told = run("pi_capture", "--help")
    assert "day1.tar" in told and "a PNG and a JSON file a frame" in told and "images[:ADDRESS]" in told
