"""``python -m storage batch``: each step once on each recording, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from storage.batch.inputs import list_recordings
from storage.batch.places import Directory
from storage.cli import main
from storage.formats.table import open_recording
from tests.support import PATIENCE_SECONDS, children, is_running, wait_for
from tests.support.labelled import everything, record

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """Four recordings of two hosts, one of them cut off, and one that kills its decoder."""
    root = tmp_path / "in"
    for number, name in enumerate(("pi1/day1", "pi1/day2", "pi2/day1")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        record(root / name, [None, "0", "0"], seed=10 * number)
    (root / "pi2" / "cut.mkv").write_bytes(b"\x1a\x45\xdf\xa3")
    (root / "pi2" / "bad.hostile").write_text("crash")
    return root


def batch(*arguments: object) -> int:
    return main(["batch", *map(str, arguments)])


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "batch.jsonl").read_text().splitlines()]


def started(*arguments: object, stderr: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "storage", "batch", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)


def test_each_recording_is_accounted_for_and_done_once(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = fleet.with_name("out")
    assert batch("verify,count", fleet, out, "--jobs", 2, "--json") == 3
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert {name: (one["done"], one["failed"]) for name, one in steps.items()} == {
        "verify": (3, {"damaged": 1, "killed": 1}),
        "count": (3, {"damaged": 1, "killed": 1}),
    }
    assert (out / "count" / "pi1" / "day2" / "day2.txt").read_text() == "3\n"
    by_key = {(one["step"], one["key"]): one for one in lines(out)}
    assert len(by_key) == 10
    assert by_key["verify", "pi2/bad.hostile"]["reason"].startswith("ended its process by signal 11")
    before = everything(out)
    assert batch("verify,count", fleet, out, "--json") == 3  # what failed stays told
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert [(one["done"], one["skipped"]) for one in steps.values()] == [(0, 3), (0, 3)]
    assert everything(out) == before


@pytest.mark.usefixtures("mobilenet")
def test_features_are_the_same_to_the_byte(fleet: Path) -> None:
    """Whenever they are made: also of pictures that know of no session."""
    (fleet / "pi1" / "day2" / "recording.json").unlink()
    for path in fleet.rglob("day1/*.png"):
        Image.open(path).save(path)
    first, second = (fleet.with_name(name) for name in ("first", "second"))
    assert batch("features", fleet, first) == 3
    until = int(time.time()) + 1
    while time.time() < until:  # a time in it would be another one
        time.sleep(0.05)
    assert batch("features", fleet, second) == 3
    assert everything(first) == everything(second)


@pytest.mark.usefixtures("mobilenet")
def test_a_damaged_frame_costs_itself_in_each_step(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(fleet / "pi1" / "day1", ["1", "0"])
    frame = fleet / "pi1" / "day1" / "00000000.png"
    frame.write_bytes(frame.read_bytes()[:-40])
    out = fleet.with_name("out")
    assert batch("features,shards", fleet / "pi1", out) == 3
    assert capsys.readouterr().out.count(": day1: frame 0 is left out: day1/00000000.png: ") == 2
    with open_recording(out / "features" / "day1" / "day1.features.h5") as recording:
        assert list(recording.labels) == ["0", "0", "1", "0"]
    assert {one["key"]: one["frames"] for one in lines(out)} == {"day1": 4, "day2": 3, "000000": 7}


def test_a_video_that_ends_too_early_is_at_fault_itself(tmp_path: Path) -> None:
    """FFmpeg calls it an input/output error, as that of a disk."""
    record(tmp_path / "day1", [None])
    (tmp_path / "in").mkdir()
    assert main(["convert", str(tmp_path / "day1"), str(tmp_path / "in" / "cut.mkv")]) == 0
    os.truncate(tmp_path / "in" / "cut.mkv", 100)
    (tmp_path / "day1").rename(tmp_path / "in" / "day1")
    assert batch("verify,shards", tmp_path / "in", tmp_path / "out") == 3
    by_key = {(one["step"], one["key"]): one for one in lines(tmp_path / "out")}
    assert by_key["verify", "cut.mkv"]["kind"] == "damaged"
    assert [*by_key["shards", "000000"]["left_out"]] == ["cut.mkv"]


def test_verify_says_that_a_recording_has_no_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "day1", [None] * 5)
    video = root_of(tmp_path, "in/day1.mkv")
    assert main(["convert", str(tmp_path / "day1"), str(video)]) == 0
    os.truncate(video, video.stat().st_size * 2 // 3)  # as a power cut does
    assert batch("verify", video.parent, tmp_path / "out") == 3
    assert (
        "day1.mkv has no end yet: it is still being uploaded, or was interrupted; only if it stays so"
        in capsys.readouterr().out
    )
    verified = json.loads((tmp_path / "out" / "verify" / "day1.mkv" / "verify.json").read_text())
    assert 0 < verified["frames"] < 5 and "was interrupted" in verified["interrupted"]


def test_shards_make_what_one_run_makes(fleet: Path) -> None:
    whole, parts = fleet.with_name("whole"), fleet.with_name("parts")
    assert batch("count,count-in-groups", fleet, whole) == 3
    for shard in ("1/2", "0/2"):
        batch("count,count-in-groups", fleet, parts, "--shard", shard)
    assert everything(parts) == everything(whole)


def test_a_group_is_done_without_the_recordings_that_fail(fleet: Path) -> None:
    out = fleet.with_name("out")
    assert batch("count-in-groups", fleet, out) == 3
    (group,) = lines(out)
    assert set(group["left_out"]) == {"pi2/bad.hostile", "pi2/cut.mkv"}
    assert sorted(path.name for path in (out / "count-in-groups" / "000000").iterdir()) == ["day1.txt", "day2.txt"]


def test_later_recordings_come_into_new_groups(fleet: Path) -> None:
    out = fleet.with_name("out")
    batch("count-in-groups", fleet, out)
    before = everything(out / "count-in-groups")
    record(fleet / "pi1" / "day0", ["1"])
    batch("count-in-groups", fleet, out)
    assert [one["recordings"] for one in lines(out)][1] == ["pi1/day0"]
    after = everything(out / "count-in-groups")
    assert {name: after[name] for name in before} == before


def test_a_group_that_lost_a_recording_is_done_anew_if_others_change(fleet: Path) -> None:
    out = fleet.with_name("out")
    batch("count-in-groups", fleet, out)
    before = everything(out)
    (fleet / "pi2" / "bad.hostile").unlink()
    batch("count-in-groups", fleet, out)
    assert everything(out) == before
    record(fleet / "pi1" / "day1", [None])
    for _ in range(2):
        batch("count-in-groups", fleet, out)
        (group,) = lines(out)
        assert (group["frames"], set(group["left_out"])) == (10, {"pi2/cut.mkv"})


def test_a_group_that_left_some_out_is_tried_again(fleet: Path) -> None:
    out = fleet.with_name("out")
    (fleet / "pi2" / "cut.mkv").unlink()
    with (fleet / "pi2" / "bad.hostile").open("r+") as file:
        about = os.stat(file.fileno())
        batch("count-in-groups", fleet, out)
        file.write("whole")  # what killed its reader is mended, as by a newer version
    os.utime(fleet / "pi2" / "bad.hostile", ns=(about.st_atime_ns, about.st_mtime_ns))
    batch("count-in-groups", fleet, out)
    assert lines(out)[0]["left_out"]
    assert batch("count-in-groups", fleet, out, "--retry-failed") == 0
    assert not lines(out)[0]["left_out"]


def test_results_of_an_earlier_content_are_told(tmp_path: Path) -> None:
    source, out = root_of(tmp_path, "in/one.hostile"), tmp_path / "out"
    source.write_text("whole")
    assert batch("count", source.parent, out) == 0
    source.write_text("crash, later")
    for more in ([], ["--retry-failed"]):
        assert batch("count", source.parent, out, *more) == 3
        assert lines(out)[0]["told"] == ["its results in OUT are of an earlier content"]
    assert (out / "count" / "one.hostile" / "one.hostile.txt").read_text() == "0\n"


def test_a_name_may_be_as_long_as_a_file_system_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(root_of(tmp_path, f"in/{'long' * 63}day"), ["0"])
    for done in (1, 0):
        assert batch("verify", tmp_path / "in", tmp_path / "out", "--json") == 0
        assert json.loads(capsys.readouterr().out)["steps"]["verify"]["done"] == done


def test_a_recording_that_changed_is_done_again(fleet: Path) -> None:
    out = fleet.with_name("out")
    batch("count", fleet, out)
    record(fleet / "pi1" / "day1", [None])
    batch("count", fleet, out)
    assert (out / "count" / "pi1" / "day1" / "day1.txt").read_text() == "4\n"
    assert [one["frames"] for one in lines(out) if one["key"] == "pi1/day1"] == [4]


def test_more_is_in_the_file_only_if_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for deed, said in (("away", "… and 2 more\n"), ("crash", "… and 2 more, in batch.jsonl\n")):
        for number in range(7):
            root_of(tmp_path, f"{deed}/{number}.hostile").write_text(deed)
        assert batch("count", tmp_path / deed, tmp_path / f"{deed}-out") == 3
        assert said in capsys.readouterr().out


def test_time_and_memory_have_limits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for deed, options, said in (("endless", ("--time-limit", 0.5), "0.5 s"), ("greedy", (), "4 GB of memory")):
        root_of(tmp_path, f"{deed}/one.hostile").write_text(deed)
        assert batch("count", tmp_path / deed, tmp_path / f"{deed}-out", *options) == 3
        assert f"count one.hostile: took more than {said}" in capsys.readouterr().out


def test_killed_anywhere_it_goes_on_and_leaves_no_process(fleet: Path) -> None:
    out = fleet.with_name("out")
    (fleet / "pi3").mkdir()
    (fleet / "pi3" / "wait.hostile").write_text("endless")
    run = started("count", fleet, out, "--jobs", 2)
    marked = out / ".batch" / "count"
    wait_for(lambda: marked.is_dir() and len(list(marked.rglob("*@*"))) >= 5, "all but the endless one", run)
    # The endless one may come last. The other worker had nothing left to do.
    (forking,) = wait_for(lambda: [pid for pid in children(run.pid) if children(pid)], "a fork", run)
    (fork,) = children(forking)
    run.kill()
    run.wait()
    wait_for(lambda: not is_running(forking) and not is_running(fork), "the end of both")
    assert batch("count", fleet, out, "--time-limit", 0.3) == 3
    assert len(lines(out)) == 6
    assert not list((out / ".batch" / "making").iterdir())


def test_only_what_is_left_by_the_dead_is_cleared(fleet: Path) -> None:
    out = fleet.with_name("out")
    making = out / ".batch" / "making"
    with Directory(out).making() as ours:
        (left := making / f"{socket.gethostname()}-left").mkdir()
        (making / "notes").write_text("of another program")
        assert started("count", fleet, out).wait(PATIENCE_SECONDS) == 3
        assert ours.is_dir() and not left.exists()
    assert [path.name for path in making.iterdir()] == ["notes"]


def test_what_kills_a_worker_from_outside_costs_no_recording(fleet: Path) -> None:
    out = fleet.with_name("out")
    (fleet / "pi3").mkdir()
    (fleet / "pi3" / "wait.hostile").write_text("endless")
    run = started("count", fleet, out, "--jobs", 1, "--time-limit", 6)
    busy = wait_for(lambda: [fork for pid in children(run.pid) for fork in children(pid)], "a fork", run)
    os.kill(busy[0], signal.SIGKILL)
    _, said = run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode == 3, said
    assert {one["key"]: one["kind"] for one in lines(out)} == {
        "pi1/day1": "",
        "pi1/day2": "",
        "pi2/day1": "",
        "pi2/bad.hostile": "killed",
        "pi2/cut.mkv": "damaged",
        "pi3/wait.hostile": "time",
    }


def test_progress_on_a_terminal_that_knows_no_size(fleet: Path) -> None:
    """As that of a serial line or a container: a bar would be empty there."""
    controller, terminal = pty.openpty()
    run = started("count", fleet, fleet.with_name("out"), stderr=terminal)
    os.close(terminal)
    shown = b""
    with suppress(OSError):  # the other end is closed
        while piece := os.read(controller, 4096):
            shown += piece
    os.close(controller)
    assert run.wait(PATIENCE_SECONDS) == 3
    assert b" 0/5 " in shown


def test_two_runs_at_once_do_no_harm(fleet: Path) -> None:
    alone, both = fleet.with_name("alone"), fleet.with_name("both")
    batch("count", fleet, alone)
    runs = [started("count", fleet, both, "--jobs", 1) for _ in range(2)]
    assert [run.wait(PATIENCE_SECONDS) for run in runs] == [3, 3]
    assert everything(both) == everything(alone)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["blur", "IN", "OUT"], "unknown step 'blur'; known are verify, features, "),
        (["count", "IN", "IN/out"], "lies in"),
        (["count", "IN/pi1", "IN/pi2", "OUT"], "both hold day1; give the directory that holds both"),
        (["count", "IN", "OUT", "--address", "auto"], "give --runner ray too"),
        (["count", "IN", "OUT", "--shard", "2/2"], "must be i/n"),
        (["count", "IN", "OUT", "--shard", "2/3", "--shard", "0/3"], "--shard is given more than once"),
        (["count", "s3://bucket/in", "s3://bucket/in/out"], "lies in"),
        (["count", "s3://bucket/out/count/in", "s3://bucket/out"], "where results would replace it"),
    ],
)
def test_wrong_usage(fleet: Path, arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    places = [one.replace("IN", str(fleet)).replace("OUT", str(fleet.with_name("out"))) for one in arguments]
    try:
        status = batch(*places)
    except SystemExit as end:
        status = int(str(end.code))
    assert status == 2
    assert reason in capsys.readouterr().err
    assert not fleet.with_name("out").exists()


def test_results_never_replace_what_no_batch_made(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything(fleet)
    (outside := fleet.with_name("out")).mkdir()
    fleet.rename(outside / "count")
    assert batch("count", outside / "count" / "pi1", outside) == 2
    assert "where results would replace it" in capsys.readouterr().err
    record(root_of(fleet, "pi1/day1"), ["0"])
    assert batch("count", fleet, outside) == 2
    assert "no batch made it; choose another OUT" in capsys.readouterr().err
    assert everything(outside / "count") == before
    assert not (outside / ".batch").exists()


@pytest.mark.parametrize("deed", ["away", "stale", "full", "silent"])
def test_a_recording_that_is_away_for_a_moment_is_not_marked(tmp_path: Path, deed: str) -> None:
    source, out = root_of(tmp_path, "in/one.hostile"), tmp_path / "out"
    source.write_text(deed)
    assert batch("count", source.parent, out) == 3
    assert lines(out) == []
    assert not list((out / ".batch").rglob("*@*"))


@pytest.mark.parametrize("step", ["count", "count-in-groups"])
def test_another_set_of_recordings_is_refused(
    tmp_path: Path, step: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would replace results of the same names. What grows, changes, moves, or has other names is welcome."""
    out = tmp_path / "out"
    for number, name in enumerate(("pi1/day1", "pi1/day2", "pi2/day1", "pi2/day3", "pi3/day4")):
        record(root_of(tmp_path, name), [None], seed=number)
    assert batch(step, tmp_path / "pi1", out) == 0
    before = everything(out)
    assert batch(step, tmp_path / "pi2", out) == 2
    said = capsys.readouterr().err
    made = f"{socket.gethostname()}:{tmp_path / 'pi1'}"
    assert f"{out} has results of day1 from {made}; day1 in {tmp_path / 'pi2'} is another recording" in said
    assert everything(out) == before

    record(tmp_path / "pi1" / "day1", [None])
    record(tmp_path / "pi1" / "day5", [None])
    monkeypatch.chdir(tmp_path)
    assert batch(step, "pi1", out) == 0
    (tmp_path / "pi1").rename(tmp_path / "moved")
    record(tmp_path / "moved" / "day2", [None])
    for inputs in (["moved"], ["moved/day5"], ["pi3"], ["moved", "pi3"]):
        assert batch(step, *inputs, out) == 0
    assert {name for one in lines(out) for name in one["recordings"]} == {"day1", "day2", "day4", "day5"}


def test_recordings_of_another_step_count_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else one OUT had results of two recordings under one name."""
    for number, name in enumerate(("pi1/day1", "pi2/day1")):
        record(root_of(tmp_path, name), [None], seed=number)
    assert batch("count", tmp_path / "pi1", tmp_path / "out") == 0
    for step in ("verify", "count-in-groups"):
        assert batch(step, tmp_path / "pi2", tmp_path / "out") == 2
        assert "has results of day1 from" in capsys.readouterr().err


@pytest.mark.parametrize("step", ["count", "count-in-groups"])
def test_a_name_that_two_places_come_to_share_is_refused(
    tmp_path: Path, step: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """OUT knows both from the time when their names differed; also if the first recording is gone since."""
    for number, name in enumerate(("pi1/day1", "pi2/day2", "pi2/day3")):
        record(root_of(tmp_path, name), [None, "0"], seed=number)
    out, places = tmp_path / "out", [tmp_path / "pi1", tmp_path / "pi2"]
    for place in places:
        assert batch(step, place, out) == 0
    before = everything(out)
    shutil.rmtree(tmp_path / "pi1" / "day1")
    record(root_of(tmp_path, "pi2/day1"), ["1"], seed=3)
    record(root_of(tmp_path, "pi1/day4"), ["1"], seed=4)
    for inputs in (places[1:], places):
        capsys.readouterr()
        assert batch(step, *inputs, out) == 2
        (line,) = capsys.readouterr().err.splitlines()
        said = f"results of day1 from {socket.gethostname()}:{places[0]}; day1 in {places[1]} is another recording"
        assert said in line and "rename it, or choose another OUT" in line
        assert everything(out) == before
    (tmp_path / "pi2" / "day1").rename(tmp_path / "pi2" / "day5")
    assert batch(step, *places, out) == 0
    assert {name for one in lines(out) for name in one["recordings"]} == {f"day{number}" for number in range(1, 6)}


def test_recordings_of_several_places_are_one_group(tmp_path: Path) -> None:
    record(root_of(tmp_path, "pi1/day1"), ["0", None])
    record(root_of(tmp_path, "pi2/day2"), ["0"])
    assert main(["convert", str(tmp_path / "pi2" / "day2"), str(tmp_path / "pi2" / "day3.mkv")]) == 0
    assert batch("count-in-groups", tmp_path / "pi1", tmp_path / "pi2", tmp_path / "out") == 0
    (group,) = lines(tmp_path / "out")
    assert group["recordings"] == ["day1", "day2", "day3.mkv"] and group["frames"] == 4


@pytest.mark.parametrize("step", ["count", "count-in-groups"])
def test_recordings_that_were_moved_go_on_as_before(tmp_path: Path, step: str) -> None:
    """Some are removed since, or all change later."""
    for number, name in enumerate(("day1", "day2", "day3")):
        record(root_of(tmp_path, f"in/{name}"), [None], seed=number)
    assert batch(step, tmp_path / "in", tmp_path / "out") == 0
    (tmp_path / "in").rename(tmp_path / "moved")
    (tmp_path / "moved" / "day1").rename(tmp_path / "day1")
    assert batch(step, tmp_path / "moved", tmp_path / "out") == 0
    for name in ("day2", "day3"):
        record(tmp_path / "moved" / name, [None])
    assert batch(step, tmp_path / "moved", tmp_path / "out") == 0
    assert {key: one["frames"] for one in lines(tmp_path / "out") for key in one["recordings"]} in (
        {"day1": 1, "day2": 2, "day3": 2},
        {"day2": 4, "day3": 4},
    )


def test_one_file_of_a_bucket(tmp_path: Path) -> None:
    """By obstore, which takes directories for buckets."""
    for name in ("a.mkv", "a.mkv.labels.csv", "a.mkvs", "b.mkv", "c/a.mkv", "d.mkv/e.mkv"):
        root_of(tmp_path, name).write_bytes(b"")
    url = tmp_path.as_uri()
    found = {
        name: [(one.key, [entry.key for entry in one.entries]) for one in list_recordings([f"{url}/{name}"], "out")]
        for name in ("a.mkv", "d.mkv")
    }
    assert found == {"a.mkv": [("a.mkv", ["a.mkv", "a.mkv.labels.csv"])], "d.mkv": [("e.mkv", ["e.mkv"])]}


def test_results_of_one_never_lie_in_those_of_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(root_of(tmp_path, "a/day1"), ["0"])
    record(root_of(tmp_path, "b/day1/more"), ["0"])
    assert batch("count", tmp_path / "a", tmp_path / "b", tmp_path / "out") == 2
    assert "day1/more would lie in the results of day1" in capsys.readouterr().err


def test_a_stray_picture_hides_no_recordings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "in"
    record(root_of(root, "pi1/day1"), ["0"])
    for name in ("00000007.png", "pi1/00000007.png", "pi2/00000007.png", "pi2/day2.mkv", "pi3/00000007.png"):
        root_of(root, name).write_bytes(b"")
    found = [one.key for one in list_recordings([str(root)], str(tmp_path / "out"))]
    assert found == ["pi1/day1", "pi2/day2.mkv", "pi3"]
    assert len(caplog.messages) == 3
    assert f"{root}/pi2 holds recordings; the numbered pictures in it are left out" in caplog.messages


def test_a_directory_may_be_called_as_one_of_ours(tmp_path: Path) -> None:
    record(root_of(tmp_path, "in/making/day1"), ["0"])
    (source,) = list_recordings([str(tmp_path / "in")], str(tmp_path / "out"))
    assert source.key == "making/day1"


def test_what_a_step_lacks_ends_the_run(fleet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No recording is to blame: none is marked as failed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(fleet.with_name("cache")))
    assert batch("features", fleet, fleet.with_name("out")) == 1
    assert not list(fleet.with_name("out").rglob("*@*"))


def test_which_files_are_recordings(tmp_path: Path) -> None:
    root = tmp_path / "in"
    record(root_of(root, "pi1/day1"), ["door", None])
    record(root_of(root, "pi1/elsewhere"), ["0"])
    (root / "pi1" / "elsewhere" / "recording.json").unlink()
    for name in ("a.mkv", "a.mkv.labels.csv", "b.h5", ".c.mkv", "notes.txt", "sheet.png", "pi1/.hidden/d.mkv"):
        (root_of(root, name)).write_bytes(b"")
    found = {
        one.key: [entry.key for entry in one.entries] for one in list_recordings([str(root)], str(tmp_path / "out"))
    }
    assert list(found) == ["a.mkv", "b.h5", "pi1/day1", "pi1/elsewhere"]
    assert found["a.mkv"] == ["a.mkv", "a.mkv.labels.csv"]
    assert "pi1/day1/door/00000000.png" in found["pi1/day1"]
    for one in ("a.mkv", "pi1/day1"):
        (source,) = list_recordings([str(root / one)], str(tmp_path / "out"))
        assert source.key == Path(one).name
        assert [entry.key for entry in source.entries] == [key.removeprefix("pi1/") for key in found[one]]


def root_of(root: Path, name: str) -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    return root / name
