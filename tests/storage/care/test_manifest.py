"""A manifest names what is finished, and knows what arrived; a second one reads only what has changed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage import Frame
from storage.cli import main
from storage.formats.table import open_writer
from storage.labels.journal import LabelJournal, Labelled
from storage.sessions import WALL_CLOCK
from tests.support import REPOSITORY

BEGUN_NS = 1_790_000_000 * 10**9  # 2026-09-21T13:33:20Z


def record(path: Path, count: int, *, host: str = "pi-07", close: bool = True) -> Any:
    """Frames, a tenth of a second apart; returns the writer."""
    writer = open_writer(path)
    writer.describe({"host": host, "live": True, WALL_CLOCK: BEGUN_NS})
    for n in range(count):
        writer.append(writer.encode(Frame(np.full((12, 16, 3), n, np.uint8), n, n * 10**8)))
    writer.sync()
    if close:
        writer.close()
    return writer


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    status = main([str(word) for word in words])
    printed = capsys.readouterr()
    return status, printed.out + printed.err


def entries(manifest: Path) -> dict[str, dict[str, Any]]:
    return {entry["path"]: entry for entry in json.loads(manifest.read_text())["recordings"]}


@pytest.fixture
def gathered(tmp_path: Path) -> Path:
    """Two recordings in a directory, and one below it."""
    directory = tmp_path / "gathered"
    (directory / "more").mkdir(parents=True)
    record(directory / "a", 5)
    record(directory / "b.mkv", 7)
    record(directory / "more" / "c.h5", 3, host="pi-08")
    return directory


def test_what_it_says_of_a_recording(gathered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (gathered / "a" / ".stfolder").mkdir()
    (gathered / "a" / ".stfolder" / "of another program").touch()
    status, text = run(capsys, "manifest", gathered)
    assert status == 0 and "3 recordings" in text and "3 read now" in text, text
    found = entries(gathered / "manifest.json")
    assert list(found) == ["a", "b.mkv", "more/c.h5"]
    assert [(one["frames"], one["hosts"]) for one in found.values()] == [(5, ["pi-07"]), (7, ["pi-07"]), (3, ["pi-08"])]
    assert found["a"]["begun"].endswith("20.000+00:00") or "2026-09-21" in found["a"]["begun"]
    assert found["b.mkv"]["sha256"] == hashlib.sha256((gathered / "b.mkv").read_bytes()).hexdigest()
    assert found["b.mkv"]["bytes"] == (gathered / "b.mkv").stat().st_size
    listing = "find * -type f -not -path '*/.*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    by_coreutils = subprocess.run(["sh", "-c", listing], cwd=gathered / "a", capture_output=True, text=True, check=True)
    assert by_coreutils.stdout.split()[0] == found["a"]["sha256"]
    assert found["a"]["files"] == 6, "the frames and recording.json"


@pytest.mark.parametrize("command", ["info", "verify"])
def test_all_in_its_directory_may_be_named(gathered: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    """As a shell does it for ``DIR/*``; what is no recording, and not of this program, is told."""
    run(capsys, "manifest", gathered)
    (gathered / "b.mkv.labels.csv").write_text("frame,label\n1,door\n")
    status, said = run(capsys, command, *sorted(gathered.iterdir()))
    assert status == 0 and all(f"{gathered / name}: " in said for name in ("a", "b.mkv", "more/c.h5")), said
    (gathered / "a.txt").touch()
    status, said = run(capsys, command, *sorted(gathered.iterdir()))
    assert status == 3 and f"{gathered / 'more/c.h5'}: 3 frames" in said and f"storage: {gathered}/a.txt: no " in said


def test_only_what_has_changed_is_read_again(gathered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "manifest", gathered)
    before = (gathered / "manifest.json").read_bytes()
    assert "0 read now" in run(capsys, "manifest", gathered)[1]
    assert (gathered / "manifest.json").read_bytes() == before
    changed = gathered / "a" / "00000002.png"
    facts, content = changed.stat(), bytearray(changed.read_bytes())
    content[-20] ^= 1
    changed.write_bytes(content)
    os.utime(changed, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # as large and as old as it was
    shutil.rmtree(gathered / "more")
    assert "2 recordings" in (text := run(capsys, "manifest", gathered)[1]) and "1 read now" in text
    after = entries(gathered / "manifest.json")
    assert list(after) == ["a", "b.mkv"]
    assert after["a"]["sha256"] != json.loads(before)["recordings"][0]["sha256"]
    assert "2 read now" in run(capsys, "manifest", gathered, "--anew")[1]


@pytest.mark.parametrize("name", ["day1", "day1.mkv", "day1.h5"])
def test_what_is_being_recorded_is_left_out(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "recordings"
    directory.mkdir()
    record(directory / "done.mkv", 2)
    writer = record(directory / name, 4, close=False)
    status, text = run(capsys, "manifest", directory)
    assert status == 0 and f"{directory / name} is left out: it " in text and "it is being recorded into" in text
    assert list(entries(directory / "manifest.json")) == ["done.mkv"]
    writer.close()
    run(capsys, "manifest", directory)
    assert sorted(entries(directory / "manifest.json")) == sorted([name, "done.mkv"])
    writer = record(directory / name, 4, close=False)  # it goes on in a recording that is in the manifest
    run(capsys, "manifest", directory)
    assert list(entries(directory / "manifest.json")) == ["done.mkv"]
    writer.close()


def test_before_the_first_frame_has_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = open_writer(tmp_path / "day1")
    writer.append(writer.encode(Frame(np.zeros((12, 16, 3), np.uint8), 0, 0)))
    assert "0 recordings" in run(capsys, "manifest", tmp_path)[1]
    writer.close()


@pytest.mark.parametrize("name", ["day1", "day1.mkv", "day1.h5"])
def test_what_a_crash_cut_off_is_left_out(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    writer = record(tmp_path / name.replace("day1", "full"), 40, close=False)
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    source = writer.held[0]
    if source.is_dir():
        shutil.copytree(source, crashed / name)
    else:
        shutil.copy(source, crashed / name)
    writer.close()
    status, text = run(capsys, "manifest", crashed)
    assert status == 0 and "has no end yet" in text and "only if it stays so" in text and "0 recordings" in text
    assert "had been interrupted" in run(capsys, "verify", "--repair", crashed / name)[1]
    assert "interrupted" not in run(capsys, "verify", "--repair", crashed / name)[1]
    assert "1 recordings" in run(capsys, "manifest", crashed)[1]


def test_a_file_without_frames_is_in_the_way_of_no_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a recorder left it that found no room for its first frame."""
    writer, empty = record(tmp_path / "day1.mkv", 2, close=False), tmp_path / "empty.mkv"
    content = (tmp_path / "day1.mkv").read_bytes()
    empty.write_bytes(content[: content.index(b"\x1f\x43\xb6\x75")])  # before its first cluster
    open_writer(empty).close()
    writer.close()
    commands = (["verify", empty], ["info", empty], ["info", "--table", tmp_path], ["manifest", tmp_path])
    for words in (*commands, ["merge", tmp_path / "all.mkv", empty, tmp_path / "day1.mkv"]):
        status, text = run(capsys, *words)
        assert status == 0, (words, text)


def test_what_cannot_be_read_is_told(gathered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (gathered / "broken.mkv").write_bytes(b"no film" * 99)
    status, text = run(capsys, "manifest", gathered)
    assert status == 3 and f"{gathered / 'broken.mkv'} is left out" in text and "3 recordings" in text


def test_links_and_hidden_files_are_no_recordings(gathered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for hidden in (".b.mkv.part", ".syncthing.b.mkv", "more/.c.mkv"):
        shutil.copy(gathered / "b.mkv", gathered / hidden)
    (gathered / "link.mkv").symlink_to(gathered / "b.mkv")
    (gathered / "loop").symlink_to(gathered)
    assert "3 recordings" in run(capsys, "manifest", gathered)[1]


def test_a_directory_of_recordings_is_no_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A class and a recording both hold frames; only one of them was recorded into."""
    for host in ("pi-07", "pi-08"):
        for name in ("day1-0001", "day1-0002"):
            (tmp_path / host).mkdir(exist_ok=True)
            record(tmp_path / host / name, 2, host=host)
    (tmp_path / "sorted" / "door").mkdir(parents=True)
    shutil.copy(tmp_path / "pi-07" / "day1-0001" / "00000000.png", tmp_path / "sorted" / "door")
    run(capsys, "manifest", tmp_path)
    names = [f"{host}/{name}" for host in ("pi-07", "pi-08") for name in ("day1-0001", "day1-0002")]
    assert list(entries(tmp_path / "manifest.json")) == [*names, "sorted"]


def test_another_file_is_not_overwritten(gathered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for content in (b'{"name": "another program"}', b"PK\x03\x04"):
        (gathered / "manifest.json").write_bytes(content)
        status, text = run(capsys, "manifest", gathered)
        assert status == 1 and "is no whole manifest" in text and len(text.splitlines()) == 1
        assert (gathered / "manifest.json").read_bytes() == content


# --------------------------------------------------------------------------------------------------------------- verify


def test_what_arrived_what_is_missing_and_what_differs(
    gathered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "manifest", gathered)
    copy = tmp_path / "copy"
    shutil.copytree(gathered, copy)
    against = ("verify", "--against", copy / "manifest.json", copy)
    status, text = run(capsys, *against)
    assert status == 0 and text == f"{copy}: 3 of 3 recordings are whole, none missing, none different\n"
    content = bytearray((copy / "b.mkv").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "b.mkv").write_bytes(content)
    (copy / "a" / "00000003.png").unlink()
    (copy / "more" / "c.h5").unlink()
    record(copy / "removed by the recorder.mkv", 2)
    status, text = run(capsys, *against)
    assert status == 3
    assert text.splitlines() == [
        f"{copy / 'a'} has 5 of 6 files",
        f"{copy / 'b.mkv'} has other content",
        f"{copy / 'more/c.h5'} is missing",
        f"{copy}: 0 of 3 recordings are whole, 1 missing, 2 different; of 1 more there the manifest says nothing",
    ]
    status, text = run(capsys, *against, "--json")
    facts = json.loads(text)
    assert status == 3 and facts["whole"] == 0
    assert [one["what"] for one in facts["different"]] == ["differs", "differs", "missing"]


@pytest.mark.parametrize("change", ["cut", "flipped", "outside", "newer"])
def test_a_manifest_that_can_not_be_believed(gathered: Path, change: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "manifest", gathered)
    manifest = gathered / "manifest.json"
    text = manifest.read_text()
    if change == "cut":
        manifest.write_text(text[: len(text) // 2])
    elif change == "flipped":
        manifest.write_text(text.replace('"frames": 5', '"frames": 4'))
    else:
        content = json.loads(text)
        del content["crc32"]
        content["recordings"][0]["path"] = "../a" if change == "outside" else "a"
        content["version"] = 2 if change == "newer" else 1
        manifest.write_text(json.dumps(content))
    status, text = run(capsys, "verify", "--against", manifest, gathered)
    assert status == 1 and str(manifest) in text and len(text.splitlines()) == 1, text


def test_wrong_usage(gathered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "manifest", gathered)
    manifest = gathered / "manifest.json"
    for words in ((gathered, gathered), (gathered, "--repair"), (gathered, "--quarantine", "bad")):
        assert run(capsys, "verify", "--against", manifest, *words)[0] == 2
    for words in (("manifest", gathered / "nowhere"), ("verify", "--against", gathered / "nothing.json", gathered)):
        status, text = run(capsys, *words)
        assert status == 1 and len(text.splitlines()) == 1 and "no" in text


def test_a_recording_of_this_machine_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pi_capture.cli import main as record_camera

    assert record_camera([str(tmp_path / "day1"), "0.2", "--camera", "demo", "--quiet"]) == 0
    run(capsys, "manifest", tmp_path)
    assert entries(tmp_path / "manifest.json")["day1"]["hosts"] == [socket.gethostname()]


def test_labels_beside_a_file_belong_to_it(gathered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    beside = gathered / "b.mkv.labels.jsonl"
    with LabelJournal(beside) as journal:
        journal.append(Labelled((("00000000", 2),), 1))
    run(capsys, "manifest", gathered)
    entry = entries(gathered / "manifest.json")["b.mkv"]
    listing = subprocess.run(["sha256sum", "b.mkv", beside.name], cwd=gathered, capture_output=True, check=True).stdout
    assert entry["sha256"] == hashlib.sha256(listing).hexdigest() and entry["files"] == 2
    copy = tmp_path / "copy"
    shutil.copytree(gathered, copy)
    against = ("verify", "--against", copy / "manifest.json", copy)
    assert run(capsys, *against)[0] == 0
    (copy / beside.name).unlink()
    status, text = run(capsys, *against)
    assert status == 3 and f"{copy / 'b.mkv'} has 1 of 2 files" in text


def test_a_recording_is_no_directory_of_recordings(gathered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run(capsys, "manifest", gathered / "a")
    assert status == 1 and f"{gathered / 'a'} is a recording; give the directory that it is in: {gathered}\n" in text
    assert not (gathered / "a" / "manifest.json").exists()


def test_a_link_is_no_copy_and_what_can_not_be_read_is_told(
    gathered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(capsys, "manifest", gathered)
    copy = tmp_path / "copy"
    shutil.copytree(gathered, copy)
    (copy / "b.mkv").unlink()
    (copy / "b.mkv").symlink_to(gathered / "b.mkv")
    opened = Path.open

    def failing(path: Path, *given: Any, **options: Any) -> Any:
        if path.name == "00000002.png":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return opened(path, *given, **options)

    monkeypatch.setattr(Path, "open", failing)
    status, text = run(capsys, "verify", "--against", copy / "manifest.json", copy)
    assert status == 3 and text.splitlines() == [
        f"{copy / 'a'} can't be read: Input/output error",
        f"{copy / 'b.mkv'} is missing",
        f"{copy}: 1 of 3 recordings are whole, 1 missing, 1 different",
    ]


@pytest.mark.parametrize("command", [("manifest",), ("verify", "--against", "manifest.json")])
def test_a_directory_that_is_not_there(
    tmp_path: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["manifest", ".", "--out", "manifest.json"]) == 0
    assert main([*command, "pi-07"]) == 1
    assert capsys.readouterr().err == "storage: pi-07: no such directory\n"


@pytest.mark.skipif(shutil.which("rsync") is None, reason="needs rsync")
def test_two_machines_of_one_name_keep_all_that_they_copied(tmp_path: Path) -> None:
    """By the recipe of the page: each has a recording of one name, and copies twice."""
    page = (REPOSITORY / "docs" / "fleet.md").read_text()
    ((name, recipe),) = re.findall(
        r"^there=gather@desk:/srv/fleet/(\S+ /etc/machine-id\)).*?^(rsync .*?) \|\|$", page, re.MULTILINE | re.DOTALL
    )
    (tmp_path / "desk").mkdir()
    recorded = list[bytes]()
    for machine in ("one", "other"):
        path = tmp_path / machine / "day1.mkv"
        path.parent.mkdir()
        record(path, 3 + len(recorded))
        recorded.append(path.read_bytes())
    for machine in ("one", "other") * 2:
        there = name.replace("$(hostname)", "pi-07").replace("$(cat /etc/machine-id)", machine)
        command = recipe.replace("/srv/recordings", str(tmp_path / machine))
        subprocess.run(["sh", "-c", command], check=True, env={**os.environ, "there": str(tmp_path / "desk" / there)})
    assert sorted(path.read_bytes() for path in tmp_path.glob("desk/*/day1.mkv")) == sorted(recorded)
