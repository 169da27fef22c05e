"""Merging: nothing collides, nothing is overwritten or lost, and what was interrupted is completed by repeating it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from storage import open_recording
from storage.care.info import describe
from storage.care.layout import SPLIT_WORDS, find_problems
from storage.care.merge import merge
from storage.care.split import split
from storage.cli import main
from storage.formats.png.codec import read_texts
from storage.sessions import read_sessions
from tests.support.labelled import everything, picture, record


def identities(root: Path) -> list[tuple[str, int]]:
    """Class and number of every frame."""
    return sorted(
        (path.parent.name, json.loads(read_texts(path.read_bytes())["Metadata"])["number"])
        for path in root.rglob("*.png")
    )


def test_nothing_collides_and_everything_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two, out = (tmp_path / name for name in ("one", "two", "all"))
    record(one, ["0", "1", "0"], facts={"host": "kitchen"})
    record(one, ["door", "0"], seed=100)
    record(two, ["1", "1", "11"], seed=200, facts={"host": "hall"})  # the same names as in one
    before = {path: everything(path) for path in (one, two)}
    assert main(["merge", str(out), str(one), str(two)]) == 0
    assert "8 frames added" in capsys.readouterr().out
    assert identities(out) == sorted(identities(one) + identities(two))
    assert {path: everything(path) for path in (one, two)} == before
    assert sorted(p.name for p in out.rglob("*.png")) == [f"{n:08d}.png" for n in range(8)]
    assert find_problems(out) == []
    assert list(open_recording(out).labels) == ["0", "1", "0", "door", "0", "1", "1", "11"]
    assert {path.name for path in out.iterdir()} == {"0", "1", "11", "door", "recording.json"}


def test_each_frame_is_still_of_its_session(tmp_path: Path) -> None:
    one, two, out = (tmp_path / name for name in ("one", "two", "all"))
    record(one, ["0"] * 5, facts={"host": "kitchen", "live": True, "wall_minus_monotonic_ns": 10**18})
    record(two, ["0"] * 5, seed=50, facts={"host": "hall", "live": True, "wall_minus_monotonic_ns": 10**18 + 5 * 10**9})
    merge(out, [one, two])
    hosts = {session["id"]: session["host"] for session in read_sessions(out)}
    for path in out.rglob("*.png"):
        texts = read_texts(path.read_bytes())
        number = json.loads(texts["Metadata"])["number"]
        assert hosts[texts["Session"]] == ("kitchen" if number < 50 else "hall")
    kitchen, hall = describe(out).sessions
    assert (hall.begun or 0) - (kitchen.begun or 0) == pytest.approx(5)


def test_hard_links_take_no_room_and_copies_are_copies(tmp_path: Path) -> None:
    record(tmp_path / "one", ["0", "1"])
    linked = merge(tmp_path / "linked", [tmp_path / "one"])
    copied = merge(tmp_path / "copied", [tmp_path / "one"], link=False)
    assert (linked.linked, linked.copied, copied.linked, copied.copied) == (2, 0, 0, 2)
    original = (tmp_path / "one/0/00000000.png").stat()
    assert (tmp_path / "linked/0/00000000.png").stat().st_ino == original.st_ino
    copy = (tmp_path / "copied/0/00000000.png").stat()
    assert copy.st_ino != original.st_ino and copy.st_mtime_ns == original.st_mtime_ns


def test_another_disk_gets_copies(tmp_path: Path) -> None:
    record(tmp_path / "one", ["0", "1"] * 300)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        assert os.stat(elsewhere).st_dev != tmp_path.stat().st_dev
        merged = merge(Path(elsewhere, "all"), [tmp_path / "one"])
        assert (merged.linked, merged.copied) == (0, 600)
        assert identities(Path(elsewhere, "all")) == identities(tmp_path / "one")
        assert not list(Path(elsewhere, "all").glob(".*"))
        assert merge(Path(elsewhere, "all"), [tmp_path / "one"]).present == 600


def test_repeating_adds_nothing_and_what_is_new_is_added(tmp_path: Path) -> None:
    one, two, out = (tmp_path / name for name in ("one", "two", "all"))
    record(one, ["0", "1"])
    record(two, ["0", None], seed=50)
    merge(out, [one, two])
    before = everything(out)
    assert merge(out, [two, one]).present == 3
    assert everything(out) == before
    (two / "00000001.png").rename(two / "0/00000001.png")  # labelled meanwhile
    record(one, ["1"], seed=70)
    merged = merge(out, [one, two])
    assert (sum(merged.counts.values()), merged.present) == (2, 3)
    assert identities(out) == sorted(identities(one) + identities(two))
    assert before.items() - {("recording.json", before["recording.json"])} <= everything(out).items()


def test_merging_merged_directories(tmp_path: Path) -> None:
    paths = []
    for number in range(3):
        paths.append(tmp_path / f"day{number}")
        record(paths[-1], ["0", "1", "0"], seed=10 * number)
    merge(tmp_path / "ab", paths[:2])
    merge(tmp_path / "bc", paths[1:])
    merge(tmp_path / "all", [tmp_path / "bc", tmp_path / "ab", paths[0]])
    assert identities(tmp_path / "all") == sorted(identity for path in paths for identity in identities(path))
    assert len(read_sessions(tmp_path / "all")) == 3


def test_recording_goes_on_behind_what_was_merged(tmp_path: Path) -> None:
    record(tmp_path / "one", ["0"] * 3)
    record(tmp_path / "two", ["0"] * 4, seed=10)
    merge(tmp_path / "all", [tmp_path / "one", tmp_path / "two"])
    record(tmp_path / "all", ["1"], seed=20)
    assert (tmp_path / "all/1/00000007.png").is_file()


def test_without_a_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "one", ["0", None, None])
    assert main(["merge", str(tmp_path / "all"), str(tmp_path / "one")]) == 0
    assert "2 frames without a class were left out" in capsys.readouterr().err
    assert main(["merge", str(tmp_path / "all"), str(tmp_path / "one"), "--unlabelled"]) == 0
    assert sorted(p.name for p in (tmp_path / "all").glob("*.png")) == ["00000001.png", "00000002.png"]


def test_a_frame_never_gets_into_two_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "one", ["0", "1"])
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    (tmp_path / "two/0/00000000.png").rename(tmp_path / "two/1/00000000.png")
    assert main(["merge", str(tmp_path / "all"), str(tmp_path / "one"), str(tmp_path / "two")]) == 3
    assert "is there already, in class 0" in capsys.readouterr().out
    assert identities(tmp_path / "all") == identities(tmp_path / "one")
    assert main(["merge", str(tmp_path / "all"), str(tmp_path / "two"), "--json"]) == 3
    assert len(json.loads(capsys.readouterr().out)["conflicts"]) == 1


def test_pictures_from_elsewhere_keep_their_names(tmp_path: Path) -> None:
    from PIL import Image

    for number, day in enumerate(["web", "val_web"]):
        for name in ("0/cat.png", "0/test_cat.png", "1/train.jpg", "1/it's $(odd)\n.png", "1/é.JPG", "1/00000001.png"):
            path = tmp_path / day / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(number * 10 + len(name))).save(path, "PNG" if name.endswith("png") else "JPEG")
    inputs = [tmp_path / "web", tmp_path / "val_web"]
    merged = merge(tmp_path / "all", inputs)
    assert sum(merged.counts.values()) == 12 and not merged.conflicts
    names = {path.name for path in (tmp_path / "all").glob("*/*")}
    assert len(names) == 12 and {"web-cat.png", "web-cat-2.png", "web-1.png"} & names
    assert not any(SPLIT_WORDS.search(name) for name in names)
    contents = sorted(data for path in inputs for data in everything(path).values() if data)
    assert sorted(data for data in everything(tmp_path / "all").values() if data) == contents
    before = everything(tmp_path / "all")
    assert merge(tmp_path / "all", inputs).present == 12
    assert everything(tmp_path / "all") == before


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    record(tmp_path / "one", ["0", "0"])
    record(tmp_path / "all", ["0", "0"], seed=50)
    before = everything(tmp_path / "all")
    merge(tmp_path / "all", [tmp_path / "one"])
    after = everything(tmp_path / "all")
    assert all(after[name] == data for name, data in before.items() if name != "recording.json")
    assert identities(tmp_path / "all") == [("0", 0), ("0", 1), ("0", 50), ("0", 51)]


@pytest.mark.parametrize(("call", "link"), [("link,linkat", "hard"), ("renameat2", "copy"), ("fsync", "copy")])
def test_killed_and_repeated(tmp_path: Path, call: str, link: str) -> None:
    assert shutil.which("strace"), "scripts/test.sh installs strace"
    record(tmp_path / "one", ["0", "1", "0"])
    record(tmp_path / "two", ["1", "1"], seed=50)
    inputs = [tmp_path / "one", tmp_path / "two"]
    merge(tmp_path / "goal", inputs, link=link == "hard")
    goal = everything(tmp_path / "goal")
    killed, number = True, 0
    while killed:
        number += 1
        out = tmp_path / f"all{number}"
        strace = [
            "strace",
            "-f",
            "-o",
            os.devnull,
            "-e",
            f"trace={call}",
            "-e",
            f"inject={call}:signal=KILL:when={number}",
        ]
        command = [sys.executable, "-m", "storage", "merge", "--link", link, out, *inputs]
        killed = subprocess.run([*strace, *command], check=False, capture_output=True).returncode != 0
        for path in out.rglob("*.png") if out.exists() else ():
            assert path.read_bytes() in goal.values()
        assert main(["merge", "--link", link, str(out), *map(str, inputs)]) == 0
        assert everything(out) == goal
    assert number > 2


def test_a_full_disk_is_one_line_and_what_is_there_is_whole(tmp_path: Path) -> None:
    record(tmp_path / "one", ["0", "1"] * 20, size=(100, 100))
    script = (
        "mount -t tmpfs -o size=700k none {0} && {1} -m storage merge {0}/all {2}; echo status $?; cp -r {0}/all {3}"
    ).format(tmp_path / "disk", sys.executable, tmp_path / "one", tmp_path / "rescued")
    (tmp_path / "disk").mkdir()
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], check=False, capture_output=True, text=True)
    assert done.stdout == "status 1\n", done.stderr
    assert done.stderr.count("\n") == 1 and "No space left on device" in done.stderr
    whole = set(everything(tmp_path / "one").values())
    found = [path.read_bytes() for path in (tmp_path / "rescued").rglob("*.png")]
    assert all(data in whole for data in found)
    assert not list((tmp_path / "rescued").rglob("*.part"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["all", "missing"], "no such directory"),
        (["all", "a-file"], "no directory of frames"),
        (["all", "empty"], "no labelled frames"),
        (["one", "one"], "lie in each other"),
        (["one/sub", "one"], "lie in each other"),
        (["all", "one", "./one/"], "given twice"),
        (["a-file", "one"], "not a directory"),
        (["missing/all", "one"], "does not exist"),
        (["linked", "one"], "symbolic link"),
    ],
)
def test_bad_input_is_one_clear_line_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    record(tmp_path / "one", ["0", "1"])
    (tmp_path / "empty").mkdir()
    (tmp_path / "a-file").touch()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/0").symlink_to(tmp_path / "empty")
    before = everything(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["merge", *arguments]) == 1
    told = capsys.readouterr().err
    assert told.startswith("storage: ") and told.count("\n") == 1 and said in told
    assert everything(tmp_path) == before


def test_a_split_directory_is_not_merged_into(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "all", [name for name in "01" * 20 for _ in range(15)])
    record(tmp_path / "one", ["0", "1"])
    split(tmp_path / "all", gap=0.5)
    assert main(["merge", str(tmp_path / "all"), str(tmp_path / "one")]) == 1
    assert "--undo" in capsys.readouterr().err


def test_a_frame_that_can_not_be_read_once_is_told_and_nothing_is_added(tmp_path: Path) -> None:
    day, out = tmp_path / "one", tmp_path / "all"
    record(day, ["0", "1", "0"])
    (frame,) = day.glob("1/*.png")
    inject = ["-e", "trace=read", "-e", "inject=read:error=EIO:when=1", "-P", str(frame)]
    command = [sys.executable, "-m", "storage", "merge", out, day]
    done = subprocess.run(
        ["strace", "-f", "-o", os.devnull, *inject, *command], check=False, capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stderr == f"storage: {frame} can't be read: Input/output error\n"
    assert not out.exists()
    assert main(["merge", str(out), str(day)]) == 0 and identities(out) == identities(day)


def test_a_recording_without_an_end_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its late frames would come between those of the next session."""
    killed = (
        "import os, sys\nfrom pathlib import Path\nfrom storage.formats.png.writer import PngWriter\n"
        "from storage import Frame\nimport numpy as np\n"
        "writer = PngWriter(Path(sys.argv[1]))\n"
        "for n in range(3):\n    writer.append(writer.encode(Frame(np.zeros((6, 8, 3), np.uint8), n, n)))\n"
        "writer.sync()\nos._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", killed, tmp_path / "cut"], check=False).returncode == 9
    record(tmp_path / "one", ["0", "1"])
    words = ["merge", str(tmp_path / "all"), str(tmp_path / "cut"), str(tmp_path / "one"), "--unlabelled"]
    assert main(words) == 1
    assert "cut was interrupted: verify --repair completes it" in capsys.readouterr().err
    assert not (tmp_path / "all").exists()
    assert main(["verify", "--repair", str(tmp_path / "cut")]) == 0 and main(words) == 0
