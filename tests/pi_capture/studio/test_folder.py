"""What a folder holds, also a hostile one; downloads, the trash, and what takes care of a recording."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from pathlib import Path

import pytest

import pi_capture
import storage
from pi_capture.studio.care import TRASH_NAME, warnings
from pi_capture.studio.recordings import Folder
from storage.care.split import is_split
from storage.errors import StorageError
from storage.learn.describe import describe_recording
from tests.pi_capture.studio.conftest import FRAMES
from tests.support.labelled import everything, record
from tests.support.studio import Running

MARKUP = "<img src=x onerror=alert(1)>&\"'\u202e\n.mkv"


def test_the_facts_of_a_recording(studio: Running) -> None:
    facts = studio.get(studio.recording("day1"))
    assert (facts["frames"], facts["size"], facts["state"]) == (FRAMES, "128x128", "to be labelled")
    assert facts["seconds"] == pytest.approx((FRAMES - 1) / 30, abs=0.1)
    assert facts["unlabelled"] == FRAMES and facts["problem"] is None
    assert facts["bytes"] > 40_000
    home = studio.get("/api/home")
    assert home["folder"] == "recordings" and home["free_bytes"] > 0
    assert all(warning["state"] in ("warn", "fail") for warning in home["warnings"])


def test_a_class_has_one_place_and_so_one_colour(studio: Running) -> None:
    record(studio.folder / "day2", ["none"] * 4 + ["door"] * 4 + ["light"] * 4)
    path = studio.recording("day2")
    found = [one["name"] for one in studio.get(path)["classes"]]
    assert studio.get(f"{path}/labels")["classes"] == found and len(found) == 3


def test_labelled_and_split(studio: Running) -> None:
    record(studio.folder / "day2", ["none"] * 60 + ["door"] * 60 + ["none"] * 60 + ["door"] * 60)
    path = studio.recording("day2")
    whole = everything(studio.folder / "day2")
    facts = studio.get(path)
    assert facts["state"] == "labelled" and {one["name"] for one in facts["classes"]} == {"none", "door"}
    wanted = {"val": 0.25, "gap": 0, "seed": 1}
    studio.post(f"{path}/split", {**wanted, "dry_run": True})
    assert not is_split(studio.folder / "day2")
    studio.post(f"{path}/split", wanted)
    assert studio.get(path)["state"] == "split" and "undo split" in studio.get(path)["can"]
    assert "press Look at the frames, and Undo the split" in studio.refused(f"{path}/apply/undo")[1]
    held_out = studio.recording("val_day2")
    assert studio.get(held_out)["state"] == "held out"
    for opened, state in ((path, "split"), (held_out, "held out")):
        before = studio.get(f"{opened}/labels")["before"]["at"][3] + 1
        told = studio.refused(f"{opened}/labelling", {"frame": 3})[1]
        assert told.endswith(f"day2; press Undo the split, Undo the last Save, Label, Go to …, {before} there")
        studio.post(f"{opened}/labelling")
        assert studio.get(opened)["state"] == state
    assert studio.refused(f"{path}/trash")[0] == 422, "its parts would not fit together any more"
    assert studio.refused(f"{held_out}/trash") == (422, "val_day2 is a part of day2, which is split; undo that first")
    for name, why in (("day2", "is split: give another name"), ("val_day2", "is a part of a recording that is split")):
        status, told = studio.refused("/api/recorders", {"name": name, "camera": "demo", "seconds": 1, "add": True})
        assert status == 409 and why in told
    assert studio.post(f"{path}/split/undo")["moved_back"] > 0
    assert studio.get(f"{path}/labels")["before"] is None
    assert not (studio.folder / "val_day2").exists(), "it was open for labelling, which is no reason to stay"
    after = everything(studio.folder / "day2")
    assert {name: data for name, data in after.items() if name.endswith(".png")} == {
        name: data for name, data in whole.items() if name.endswith(".png")
    }
    assert studio.refused(f"{path}/split", {"val": 2})[0] == 422


def test_verify_sheet_plot(studio: Running) -> None:
    path = studio.recording("day1")
    torn = studio.folder / "day1" / "00000003.png"
    torn.write_bytes(torn.read_bytes()[:200])
    report = studio.post(f"{path}/verify")
    assert report["frames"] == FRAMES and [one["file"] for one in report["broken"]] == ["day1/00000003.png"]
    assert studio.browser.get(f"{path}/sheet").content.startswith(b"\x89PNG")
    assert studio.browser.get(f"{path}/plot").status_code == 422
    assert str(studio.place) not in studio.browser.get(f"{path}/plot").text


def test_frames_in_packs(studio: Running) -> None:
    path = studio.recording("day1")
    found = studio.pack(f"{path}/frames", first=2, count=5, step=3)
    assert [head["frame"] for head, _ in found] == [2, 5, 8, 11, 14]
    assert found[0][1] == (studio.folder / "day1" / "00000002.png").read_bytes()
    assert studio.pack(f"{path}/frames", first=FRAMES) == []
    assert studio.browser.get(f"{path}/frames/{FRAMES}").status_code == 404
    assert studio.browser.get(f"{path}/frames/0").content == (studio.folder / "day1" / "00000000.png").read_bytes()
    for query in ("count=0", "count=241", "first=-1", "first=x", "step=0", "first=99999999999"):
        assert studio.browser.get(f"{path}/frames?{query}").status_code == 400


def test_larger_frames_come_as_proxies(studio: Running) -> None:
    pi_capture.record(studio.folder / "large", 0.2, camera="demo", fps=30, size=(640, 480), jitter=False)
    path = studio.recording("large")
    for _ in range(2):
        ((head, body),) = studio.pack(f"{path}/frames", count=1)
        assert head["proxy"] and body.startswith(b"\xff\xd8") and len(body) < 40_000
    full = studio.browser.get(f"{path}/frames/0")
    assert full.content == (studio.folder / "large" / "00000000.png").read_bytes()


def test_a_download_is_the_recording(studio: Running, tmp_path: Path) -> None:
    answer = studio.browser.get(f"{studio.recording('day1')}/download")
    assert "day1.zip" in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "unpacked")
    assert everything(tmp_path / "unpacked" / "day1") == everything(studio.folder / "day1")


def test_no_name_in_an_archive_leads_out_of_it(studio: Running) -> None:
    """Nor on Windows, where a backslash ends a directory's name."""
    (studio.folder / "day1" / "x\\..\\..\\start\n.png").write_bytes(b"x")
    answer = studio.browser.get(f"{studio.recording('day1')}/download")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert "day1/x_.._.._start_n.png" in archive.namelist()
        assert not any("\\" in name or name.startswith("/") or "/../" in name for name in archive.namelist())


def test_each_file_has_a_name_of_its_own_in_an_archive(studio: Running) -> None:
    for name in ("a\\b.png", "a_b.png"):
        (studio.folder / "day1" / name).write_bytes(name.encode())
    answer = studio.browser.get(f"{studio.recording('day1')}/download")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        names = archive.namelist()
        held = {archive.read(name) for name in names if "/a_b" in name}
    assert len(set(names)) == len(names) and held == {b"a\\b.png", b"a_b.png"}


def test_a_file_goes_with_its_labels(studio: Running) -> None:
    """To the archive, to the trash, and back."""
    pi_capture.record(studio.folder / "day2.mkv", 0.5, camera="demo", fps=10, jitter=False)
    (studio.folder / "day2.mkv.labels.csv").write_text("frame,class\n0,door\n")
    (studio.folder / "day2.mkv.notes").write_text("not ours")
    path = studio.recording("day2.mkv")
    with zipfile.ZipFile(io.BytesIO(studio.browser.get(f"{path}/download").content)) as archive:
        assert set(archive.namelist()) == {"day2.mkv", "day2.mkv.labels.csv"}
    before = everything(studio.folder)
    studio.post(f"{path}/trash")
    assert sorted(one.name for one in studio.folder.iterdir()) == [TRASH_NAME, "day1", "day2.mkv.notes"]
    (item,) = studio.get("/api/trash")["items"]
    assert item["name"] == "day2.mkv" and studio.get("/api/home")["trash"] == 1
    studio.post(f"/api/trash/{item['id']}/restore")
    assert {name: data for name, data in everything(studio.folder).items() if TRASH_NAME not in name} == before


def test_refusals_say_what_to_press(studio: Running) -> None:
    path = studio.recording("day1")
    assert studio.refused(f"{path}/split")[1].endswith("no labelled frames; press Label, then Save")
    ten = [f"class {number}" for number in range(10)]
    assert studio.refused("/api/command", {"name": "day2", "classes": ten})[1] == "At most 9 classes."
    assert studio.refused(f"{path}/labelling", {"classes": ten})[1] == "At most 9 classes."
    assert studio.refused("/api/command", {"name": "day2", "classes": ["a", "a"]})[1].startswith("classes: ")
    assert "Größe 2 m" in studio.post("/api/command", {"name": "Größe 2 m"})["command"]


def test_a_missing_network_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (warning,) = [one for one in warnings(tmp_path) if one["check"] == "model"]
    assert "tiny grey pictures" in warning["found"] and warning["advice"]


def test_the_trash(studio: Running) -> None:
    before = everything(studio.folder / "day1")
    studio.post(f"{studio.recording('day1')}/trash")
    assert studio.get("/api/home")["recordings"] == []
    (item,) = studio.get("/api/trash")["items"]
    shutil.copytree(studio.folder / TRASH_NAME / item["id"] / "day1", studio.folder / "day1")
    back = studio.post(f"/api/trash/{item['id']}/restore")
    assert back["name"] != "day1", "what has the name meanwhile keeps it"
    assert everything(studio.folder / back["name"]) == before == everything(studio.folder / "day1")
    studio.post(f"{studio.recording('day1')}/trash")
    (item,) = studio.get("/api/trash")["items"]
    for wrong in (["../day1"], ["x"], [item["id"], "x"], [1]):
        assert studio.refused("/api/trash/empty", {"ids": wrong})[0] in (400, 404)
    assert len(studio.get("/api/trash")["items"]) == 1
    assert studio.post("/api/trash/empty", {"ids": [item["id"]]})["deleted"] == 1
    assert studio.get("/api/trash")["items"] == [] and (studio.folder / back["name"]).is_dir()


def test_emptying_the_trash_leaves_no_small_pictures_in_the_cache(
    studio: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Path(studio.environment["XDG_CACHE_HOME"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    with storage.open_recording(studio.folder / "day1") as recording:
        describe_recording(recording, None)
    assert list(cache.rglob("*.npz"))
    studio.post(f"{studio.recording('day1')}/trash")
    (item,) = studio.get("/api/trash")["items"]
    studio.post("/api/trash/empty", {"ids": [item["id"]]})
    assert not list(cache.rglob("*.npz"))


def test_what_is_in_use_does_not_go_to_the_trash(studio: Running) -> None:
    recorder = studio.post("/api/recorders", {"name": "day2", "camera": "demo", "seconds": 60})
    assert studio.refused(f"/api/recordings/{recorder['recording']}/trash")[0] == 409
    studio.post(f"/api/recorders/{recorder['id']}/stop")


# ---------------------------------------------------------------------------------------------------- a hostile folder


@pytest.fixture
def hostile(studio: Running) -> Running:
    folder = studio.folder
    outside = studio.place / "outside"
    shutil.copytree(folder / "day1", outside)
    shutil.copytree(folder / "day1", folder / MARKUP)
    (folder / "link").symlink_to(outside)
    (folder / "link.mkv").symlink_to("/etc/passwd")
    (folder / "garbage.mkv").write_bytes(os.urandom(5000))
    (folder / "empty.h5").write_bytes(b"")
    (folder / "garbage.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + os.urandom(5000))
    (folder / "garbage.features.h5").write_bytes(b"x")
    os.mkfifo(folder / "pipe.mkv")
    (folder / os.fsdecode(b"\xff\xfe.mkv")).write_bytes(b"x")
    (folder / "nothing").mkdir()
    broken = folder / "broken"
    broken.mkdir()
    (broken / "recording.json").write_text('{"version": 1, "sessions": [{"id": 7}]}')
    (broken / "00000000.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 100)
    (broken / "00000001.png").write_text("no picture")
    (broken / "00000002.png").symlink_to("/etc/passwd")
    os.mkfifo(broken / "00000003.png")
    (broken / "labels.jsonl").write_text("no journal")
    (broken / "0").symlink_to(outside)
    deep = folder / "deep" / "1"
    deep.mkdir(parents=True)
    shutil.copy(folder / "day1" / "00000000.png", deep)
    return studio


def test_a_hostile_folder_opens(hostile: Running) -> None:
    home = hostile.get("/api/home")
    found = {one["name"]: one["id"] for one in home["recordings"]}
    assert not {"link", "link.mkv", "pipe.mkv", "nothing"} & set(found)
    assert {"day1", "broken", "garbage.mkv", "empty.h5", "deep"} <= set(found)
    assert not any("\n" in name or "\u202e" in name for name in found), "names are fit to be shown"
    for name, id in found.items():
        facts = hostile.get(f"/api/recordings/{id}")
        assert facts["name"] == name
        broken = "garbage" in name or name in ("broken", "empty.h5") or "udcff" in name.lower()
        assert (facts["state"] == "broken") == bool(facts["problem"]), name
        assert facts["state"] == "broken" or not broken, name
        assert str(hostile.folder) not in str(facts["problem"]), "where the folder is, pages need not know"
        for path in ("picture", "frames", "labels", "sheet", "download", "frames/0"):
            answer = hostile.browser.get(f"/api/recordings/{id}/{path}")
            assert answer.status_code in (200, 404, 422), (name, path, answer.text)
            assert b"root:" not in answer.content and b"Traceback" not in answer.content
    assert hostile.get(hostile.recording("day1"))["state"] == "to be labelled", "the others are as ever"


def test_markup_in_a_name_is_labelled_and_deleted_like_any_other(hostile: Running) -> None:
    (id,) = [one["id"] for one in hostile.get("/api/home")["recordings"] if "onerror" in one["name"]]
    path = f"/api/recordings/{id}"
    assert hostile.post(f"{path}/labelling")["count"] == FRAMES
    answer = hostile.browser.get(f"{path}/download")
    assert "\n" not in answer.headers["content-disposition"] and "<" not in answer.headers["content-disposition"]
    hostile.post(f"{path}/trash")
    (item,) = hostile.get("/api/trash")["items"]
    hostile.post(f"/api/trash/{item['id']}/restore")
    assert (hostile.folder / MARKUP).is_dir()


def test_a_trash_that_is_a_link_is_not_followed(studio: Running) -> None:
    outside = studio.place / "outside"
    shutil.copytree(studio.folder / "day1", outside / "0123456789abcdef" / "day1")
    (studio.folder / TRASH_NAME).symlink_to(outside)
    assert studio.get("/api/trash")["items"] == []
    assert studio.refused("/api/trash/empty", {"ids": ["0123456789abcdef"]})[0] == 404
    assert studio.refused(f"{studio.recording('day1')}/trash")[0] == 422
    assert (outside / "0123456789abcdef" / "day1").is_dir() and (studio.folder / "day1").is_dir()


def test_what_is_a_recording(studio: Running) -> None:
    """A folder of pictures from elsewhere is one; documents with pictures, and what other programs keep, are none."""
    frame = studio.folder / "day1" / "00000000.png"
    for name in (
        *("photos/IMG 1.jpg", "pets/cat/a.JPG", "pets/dog/b.png", "sorted/door/00000007.png", "begun/.00000000.part"),
        *("labelled/labels.jsonl", "docs/studio.md", "docs/images/demo.png", "empty/x", "loading/film.iso.part"),
        *(f"mixed/door/{name}.png" for name in (*"abcdefgh", "00000012", *"ijklmnop")),
        *("apple/._IMG 1.jpg", "code/src/a.py", ".hidden/a.png", "tools/icons/.a.png", "tools/pictures/a.png"),
    ):
        path = studio.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(frame, path)
    found = {one["name"] for one in studio.get("/api/home")["recordings"]}
    assert found == {"day1", "photos", "pets", "sorted", "mixed", "begun", "labelled"}


def test_a_hundred_thousand_frames(studio: Running) -> None:
    """They open in two seconds of a processor, and the server stays small; most of both is for a slower machine."""
    large = studio.folder / "large"
    large.mkdir()
    for number in range(100_000):
        os.link(studio.folder / "day1" / f"{number % FRAMES:08d}.png", large / f"{number:08d}.png")
    path = studio.recording("large")
    assert studio.get(path)["frames"] == 100_000
    before = processor_seconds(studio)
    state = studio.post(f"{path}/labelling")
    took = processor_seconds(studio) - before
    assert state["count"] == 100_000 and state["labels"] == [[0, 100_000, 255]]
    for first in range(0, 100_000, 5_000):
        assert len(studio.pack(f"{path}/labelling/frames", first=first)) == 30
    body = {"client": "p", "opening": state["opening"], "actions": [
        {"seq": 1, "action": "label_run", "first": 0, "stop": 100_000, "label": 1}]}  # fmt: skip
    studio.post(f"{path}/labelling/actions", body)
    resident = int(Path(f"/proc/{studio.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert resident < 95e6
    assert took < 2.0


def processor_seconds(studio: Running) -> float:
    """How long processors have worked for it."""
    fields = Path(f"/proc/{studio.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path / "file"):
        (tmp_path / "file").touch()
        with pytest.raises(StorageError):
            Folder(path)
