"""Labelling through requests: durable before the answer, done once, one labelling with the window's."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from classify.work import open_work
from pi_capture.studio.labelling import Labelling
from pi_capture.studio.runs import changed_runs, runs_of
from pi_capture.studio.studio import Studio
from storage.labels.journal import LabelJournal, Labelled, read_journal
from tests.pi_capture.studio.conftest import FRAMES
from tests.support import PATIENCE_SECONDS, wait_for
from tests.support.studio import Running

NONE = 255
CLASSES = ["none", "door", "light"]


class Page:
    """A page that labels ``day1``."""

    def __init__(self, studio: Running, client: str = "page", **how: Any) -> None:
        self.studio, self.client, self.seq = studio, client, 0
        self.path = f"{studio.recording('day1')}/labelling"
        self.state = studio.post(self.path, {"classes": CLASSES, **how})

    def act(self, action: str, **fields: Any) -> dict[str, Any]:
        """Do one thing; the answer."""
        self.seq += 1
        return self.send({"seq": self.seq, "action": action, **fields})

    def send(self, *actions: dict[str, Any]) -> dict[str, Any]:
        body = {"client": self.client, "opening": self.state["opening"], "actions": list(actions)}
        answer: dict[str, Any] = self.studio.post(f"{self.path}/actions", body)
        return answer

    @property
    def labels(self) -> list[int]:
        """The label of each frame, as a new page would see it."""
        return spread(self.studio.post(self.path)["labels"])


def spread(runs: list[list[int]]) -> list[int]:
    return [label for start, stop, label in runs for _ in range(start, stop)]


def test_the_state_is_all_that_a_page_needs(studio: Running) -> None:
    state = Page(studio).state
    assert state["count"] == FRAMES and state["labels"] == [[0, FRAMES, NONE]] and state["cursor"] == 0
    assert [one["name"] for one in state["classes"]] == CLASSES and state["keys"] == 3
    assert not state["can_undo"] and not state["can_redo"] and state["clients"] == {}


def test_every_action(studio: Running) -> None:
    page = Page(studio)
    (change,) = page.act("label", frame=3, label=1)["changes"]
    assert change["labels"] == [[3, 4, 1]] and change["cursor"] == 4
    assert (change["by"], change["seq"], change["can_undo"]) == ("page", 1, True)
    page.act("label_run", first=10, stop=20, label=2)
    page.act("batch", frame=20)
    page.act("clear", frame=11)
    assert page.labels == [NONE] * 3 + [1] + [NONE] * 6 + [2, NONE] + [2] * 8 + [0] * 10 + [NONE] * 10
    page.act("undo")
    page.act("nudge", frame=20, by=1)
    assert page.labels[10:22] == [2] * 11 + [0]
    page.act("redo")  # a change came between
    page.act("hold", frame=30, on=True)
    page.act("label", frame=30, label=1)
    page.act("pass", frame=31, to=35, label=1)
    page.act("pass", frame=35, to=38, label=1)
    assert page.labels[30:] == [1] * 8 + [NONE] * 2
    page.act("pause", frame=38)
    page.act("switch", frame=38, label=2, since=34, speed=1)
    page.act("look", frame=5)
    answer = page.act("undo")
    assert answer["told"] == "" and studio.post(page.path)["cursor"] == answer["changes"][0]["cursor"]


def test_the_newer_of_two_peoples_labels_stays(studio: Running) -> None:
    """Also when the older one arrives later, and the labelling was closed in between."""
    phone, other = Page(studio, "phone"), Page(studio, "other")
    given = studio.post(phone.path)["now"]
    other.act("label_run", first=1, stop=4, label=2)
    studio.post(f"{phone.path}/close")
    phone.state = studio.post(phone.path, {"classes": CLASSES})
    answer = phone.act("label_run", first=0, stop=5, label=1, given=given)
    assert answer["overtaken"] == 3 and phone.labels[:5] == [1, 2, 2, 2, 1]
    assert phone.act("label_run", first=1, stop=3, label=2, given=given)["overtaken"] == 0  # they agree
    assert phone.act("clear", frame=1, given=given)["overtaken"] == 1
    assert phone.act("label", frame=1, label=0)["overtaken"] == 0
    assert phone.labels[:5] == [1, 0, 2, 2, 1]


def test_an_undo_that_arrives_late_takes_back_no_others_label(studio: Running) -> None:
    phone, other = Page(studio, "phone"), Page(studio, "other")
    given = phone.state["now"]
    other.act("label", frame=0, label=2)
    phone.act("label", frame=0, label=1, given=given)
    assert "nothing of yours" in phone.act("undo", given=given + 0.001)["told"]
    assert "nothing of yours" in phone.act("undo", given=given + 0.001)["told"]
    assert phone.labels[0] == 2
    assert "took back another page's labels: frame 1 is as before" in phone.act("undo")["told"]
    assert phone.labels[0] == NONE
    assert other.act("redo")["told"] == "" and other.act("undo")["told"] == "" and phone.labels[0] == NONE


@pytest.mark.parametrize("saved", [False, True])
def test_a_class_that_has_frames_is_neither_renamed_nor_hidden(studio: Running, saved: bool) -> None:
    """A refused list of classes changes nothing, and closes nothing."""
    page = Page(studio)
    page.act("label_run", first=0, stop=FRAMES, label=1)
    facts = studio.recording("day1")
    if saved:
        studio.post(f"{page.path}/apply")
        studio.post(page.path)
    before = studio.get(facts)["classes"], studio.post(page.path)["session"]
    status, why = studio.refused(page.path, {"classes": ["none", "gate", "light"]})
    assert status == 422 and "'door'" in why and "no class can be renamed: name 'door' too" in why
    assert (studio.get(facts)["classes"], studio.post(page.path)["session"]) == before
    studio.post(page.path, {"classes": ["none", "door", "gate"]})
    assert [one["name"] for one in studio.post(page.path)["classes"]] == ["none", "door", "gate"]


def test_classes_without_a_key_are_shown_while_others_are_labelled(studio: Running) -> None:
    (studio.folder / "day1" / "music").mkdir()
    first = next((studio.folder / "day1").glob("*.png"))
    first.rename(first.parent / "music" / first.name)
    studio.post(f"{studio.recording('day1')}/labelling", {"classes": ["none", "radio"]})
    classes = {one["name"]: one["frames"] for one in studio.get(studio.recording("day1"))["classes"]}
    assert classes == {"none": 0, "radio": 0, "music": 1}


def test_a_held_label_goes_on_after_the_studio_was_started_again(studio: Running) -> None:
    page = Page(studio)
    page.act("hold", frame=0, on=True)
    page.act("label", frame=0, label=1)
    studio.kill()
    studio.start()
    again = Page(studio)
    again.client = "next"
    again.act("pass", frame=1, to=5, label=1)
    assert again.labels[:6] == [1] * 5 + [NONE]


def test_a_stretch_ends_at_the_next_visible_change(studio: Running) -> None:
    page = Page(studio)
    (change,) = page.act("label_stretch", frame=0, label=1)["changes"]
    (found,) = [studio.post(page.path)["changes"]]
    assert change["cursor"] == next((at for at in found["at"] if at > 0), FRAMES)


def test_who_opens_it_while_it_is_closed_waits(tmp_path: Path, forty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing may take as long as a model learns; no other window labels it then."""
    shutil.copytree(forty, tmp_path / "day1")
    close = Labelling.close

    def close_slowly(labelling: Labelling, why: str) -> None:
        time.sleep(0.3)
        close(labelling, why)

    async def meet() -> None:
        studio = Studio(tmp_path)
        path = studio.folder.path / "day1"
        await studio.open_labelling(path, {})
        monkeypatch.setattr(Labelling, "close", close_slowly)
        _, found = await asyncio.gather(studio.let_go(path, "deserted"), studio.open_labelling(path, {}))
        assert not found.closed
        found.close("it ends")

    asyncio.run(meet())


def test_a_page_that_asks_how_it_stands_keeps_it_open(tmp_path: Path, forty: Path) -> None:
    shutil.copytree(forty, tmp_path / "day1")
    labelling = Labelling(tmp_path / "day1", classes=CLASSES)
    before = time.monotonic()
    labelling.state()
    assert labelling.deserted_seconds <= time.monotonic() - before
    labelling.close("it ends")


def test_the_search_for_changes_gives_way_to_pictures(
    tmp_path: Path, forty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits once a page needs pictures; what they showed to be whole is not read again to be labelled."""
    waits: list[float] = []
    asked = threading.Event()

    def wait(seconds: float) -> None:
        waits.append(seconds)
        assert asked.wait(PATIENCE_SECONDS)

    monkeypatch.setattr("pi_capture.studio.deeds.QUIET_SECONDS", PATIENCE_SECONDS)
    clock = SimpleNamespace(sleep=wait, monotonic=time.monotonic)
    monkeypatch.setattr("pi_capture.studio.deeds.time", clock)
    shutil.copytree(forty, tmp_path / "day1")
    labelling = Labelling(tmp_path / "day1", classes=CLASSES)
    opening = labelling.state()["opening"]
    assert list(labelling.frames.pack([(3, 3)]))
    torn = tmp_path / "day1" / f"{3:08d}.png"
    torn.write_bytes(b"")
    for frame in (3, 4):
        action = {"seq": frame, "action": "label", "frame": frame, "label": 1}
        assert labelling.act("page", opening, [action])["changes"][0]["labels"] == [[frame, frame + 1, 1]]
    asked.set()
    while labelling.state()["changes"]["known"] < FRAMES:
        asked.wait(0)
    assert waits[0] == 0 and waits[-1] > 0
    labelling.close("it ends")


def test_a_clock_that_is_set_back_makes_no_label_old(
    tmp_path: Path, forty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(forty, tmp_path / "day1")
    labelling = Labelling(tmp_path / "day1", classes=CLASSES)
    opening = labelling.state()["opening"]
    labelling.act("one", opening, [{"seq": 1, "action": "label", "frame": 0, "label": 1}])
    hour_ago = time.time() - 3600
    monkeypatch.setattr(time, "time", lambda: hour_ago)  # a Pi gets the time from the network, some time after it began
    done = labelling.act("other", opening, [{"seq": 1, "action": "label", "frame": 0, "label": 2}])
    assert done["overtaken"] == 0 and labelling.session.labels[0] == 2
    labelling.close("it ends")


def test_what_came_twice_is_done_once(studio: Running) -> None:
    page = Page(studio)
    page.act("label", frame=0, label=1)
    page.act("label", frame=1, label=2)
    undo = {"seq": 3, "action": "undo"}
    first = page.send(undo)
    for _ in range(3):
        again = page.send(undo)
        assert again["changes"] == [] and again["done"] == 3 and again["revision"] == first["revision"]
    assert page.labels[:2] == [1, NONE]
    together = [{"seq": seq, "action": "label", "frame": 1, "label": 0} for seq in (2, 3, 4, 4, 4)]
    assert len(page.send(*together)["changes"]) == 1


def test_two_pages_are_one_labelling(studio: Running) -> None:
    one, other = Page(studio, "one"), Page(studio, "other")
    seen: list[tuple[str, Any]] = []
    listening = threading.Event()

    def listen() -> None:
        with studio.browser.stream("GET", f"{one.path}/events") as answer:
            name = ""
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    name = line[7:]
                if line.startswith("data: "):
                    seen.append((name, json.loads(line[6:])))
                    listening.set()
                if name == "closed" and not line:
                    return

    thread = threading.Thread(target=listen)
    thread.start()
    assert listening.wait(PATIENCE_SECONDS)
    one.act("label", frame=0, label=1)
    other.act("label", frame=1, label=2)
    wait_for(lambda: sum(name == "change" for name, _ in seen) == 2, "both changes are told")
    changes = [value for name, value in seen if name == "change"]
    assert [(one["by"], one["seq"]) for one in changes] == [("one", 1), ("other", 1)]
    assert changes[1]["revision"] == changes[0]["revision"] + 1
    assert one.act("undo")["changes"][0]["labels"] == [[1, 2, NONE]], "undo is that of the recording"
    studio.post(f"{one.path}/close")
    thread.join(PATIENCE_SECONDS)
    assert seen[0][0] == "state" and seen[-1][0] == "closed"


def test_undo_goes_on_after_a_kill(studio: Running) -> None:
    page = Page(studio)
    for frame in range(5):
        page.act("label", frame=frame, label=1)
    page.act("undo")
    studio.kill()
    studio.start()
    page.state = studio.post(page.path)
    assert spread(page.state["labels"])[:6] == [1] * 4 + [NONE] * 2
    assert page.state["cursor"] == 4 and page.state["clients"] == {"page": 6}
    page.act("undo")
    assert page.labels[:5] == [1] * 3 + [NONE] * 2
    page.act("redo")
    page.act("redo")
    assert page.labels[:6] == [1] * 5 + [NONE]


@pytest.mark.parametrize("kills", [12, pytest.param(50, marks=pytest.mark.slow)])
def test_kill_in_the_middle_of_posts_loses_and_doubles_nothing(studio: Running, kills: int) -> None:
    """What was answered is there, and what was not is sent again: in the end each was done once."""
    rng = random.Random(20261128)
    page = Page(studio)
    expected: list[list[int]] = [[NONE] * FRAMES]  # the labels after each action that counts for undo
    pending: list[dict[str, Any]] = []
    answered = resent = 0
    for _ in range(kills):
        killer = threading.Timer(rng.uniform(0.02, 0.25), studio.process.kill)
        killer.start()
        try:
            while True:
                if not pending:
                    page.seq += 1
                    pending.append(some_action(rng, page.seq, expected))
                answer = page.send(*pending)
                assert answer["done"] == pending[-1]["seq"]
                answered += 1
                pending.clear()
        except httpx.TransportError:
            killer.join()
        studio.kill()
        studio.start()
        page.state = studio.post(page.path)
        there = spread(page.state["labels"])
        resent += bool(pending)
        assert there == expected[-1] or (pending and there in labels_before_and_after(pending[0], expected))
    if pending:
        page.send(*pending)
    assert page.labels == expected[-1]
    print(f"{kills} kills: {answered} requests answered, {resent} sent again, none lost, none done twice")
    while len(expected) > 1:  # and undo takes back each once
        expected.pop()
        page.act("undo")
        assert page.labels == expected[-1]


def some_action(rng: random.Random, seq: int, expected: list[list[int]]) -> dict[str, Any]:
    """A label, or undo; `expected` is brought up to date."""
    if rng.random() < 0.3 and len(expected) > 1:
        undone.append(expected.pop())
        return {"seq": seq, "action": "undo"}
    frame, label = rng.randrange(FRAMES), rng.randrange(3)
    labels = list(expected[-1])
    labels[frame] = label
    expected.append(labels)
    return {"seq": seq, "action": "label", "frame": frame, "label": label}


undone: list[list[int]] = []


def labels_before_and_after(action: dict[str, Any], expected: list[list[int]]) -> list[list[int]]:
    before = undone[-1] if action["action"] == "undo" else expected[-2]
    return [before, expected[-1]]


def test_the_journal_says_which_request_it_was(studio: Running) -> None:
    page = Page(studio, "tablet")
    page.act("label", frame=2, label=1)
    (entry,) = [one for one in read_journal(studio.folder / "day1" / "labels.jsonl") if isinstance(one, Labelled)]
    assert entry.by == ("tablet", 1)


def test_sorting_and_its_undo(studio: Running) -> None:
    page = Page(studio)
    page.act("label_run", first=0, stop=10, label=1)
    applied = studio.post(f"{page.path}/apply")
    assert applied["counts"] == {"door": 10} and applied["left"] == FRAMES - 10
    assert len(list((studio.folder / "day1" / "door").iterdir())) == 10
    refused = studio.browser.post(f"{page.path}/actions", json={"client": "x", "opening": "1-x", "actions": []})
    assert refused.status_code == 409 and refused.json()["reload"]
    again = Page(studio)
    assert again.state["count"] == FRAMES - 10
    sent = {"client": "page", "opening": page.state["opening"], "actions": []}
    assert studio.refused(f"{page.path}/actions", sent)[0] == 409, "these are other frames by now"
    back = studio.post(f"{studio.recording('day1')}/apply/undo")
    assert back["count"] == 10
    assert Page(studio).labels == [1] * 10 + [NONE] * (FRAMES - 10)


def test_more_frames_change_nothing_about_those_before(studio: Running) -> None:
    """What waits in a page that was offline while it was recorded on can still be sent."""
    page = Page(studio)
    studio.post(f"{page.path}/close")
    last = studio.folder / "day1" / f"{FRAMES - 1:08d}.png"
    (studio.folder / "day1" / f"{FRAMES:08d}.png").write_bytes(last.read_bytes())
    assert studio.post(page.path)["count"] == FRAMES + 1
    page.act("label", frame=0, label=1)
    assert page.labels[0] == 1


def test_an_unreadable_frame_gets_no_label(studio: Running) -> None:
    torn = studio.folder / "day1" / "00000005.png"
    torn.write_bytes(torn.read_bytes()[:300])
    page = Page(studio)
    answer = page.act("label", frame=5, label=1)
    assert answer["told"] and answer["changes"][0]["labels"] == [] and answer["changes"][0]["cursor"] == 6
    page.act("label_run", first=0, stop=10, label=1)
    assert page.labels[:10] == [1] * 5 + [NONE] + [1] * 4
    heads = [head for head, _ in studio.pack(f"{page.path}/frames", first=4, count=3)]
    assert [bool(head["error"]) for head in heads] == [False, True, False]


@pytest.mark.parametrize(
    "action",
    [
        {},
        {"seq": 1},
        {"seq": 1, "action": "label"},
        {"seq": 0, "action": "undo"},
        {"seq": True, "action": "undo"},
        {"seq": 1, "action": "label", "frame": 0, "label": 3},
        {"seq": 1, "action": "label", "frame": 0, "label": 255},
        {"seq": 1, "action": "label", "frame": 0, "label": True},
        {"seq": 1, "action": "label", "frame": 0.5, "label": 1},
        {"seq": 1, "action": "label", "frame": 1 << 40, "label": 1},
        {"seq": 1, "action": "undo", "frame": 0},
        {"seq": 1, "action": "save"},
        {"seq": 1, "action": ["label"]},
    ],
)
def test_what_is_no_action_does_nothing(studio: Running, action: dict[str, Any]) -> None:
    page = Page(studio)
    good = {"seq": 1, "action": "label", "frame": 0, "label": 1}
    body = {"client": "page", "opening": page.state["opening"], "actions": [good, action]}
    assert studio.refused(f"{page.path}/actions", body)[0] == 400
    assert page.labels[0] == NONE, "nothing of the request was done"


def test_a_window_and_the_studio_exclude_each_other(studio: Running) -> None:
    day = studio.folder / "day1"
    with LabelJournal(day / "labels.jsonl"):
        answer = studio.browser.post(f"{studio.recording('day1')}/labelling", json={})
        assert answer.status_code == 409 and answer.json()["take_over"]
        assert studio.get(studio.recording("day1"))["labelled_by"] == "a window"
    page = Page(studio)
    assert studio.get(studio.recording("day1"))["labelled_by"] == "this studio"
    done = subprocess.run(
        ["python", "-c", "from classify.work import open_work; from pathlib import Path; open_work(Path('day1'))"],
        cwd=studio.folder, env=studio.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode and "close it first" in done.stderr
    studio.post(f"{page.path}/close")
    open_work(day).close()


def test_taking_over_from_a_window(studio: Running, screen: str) -> None:
    """Which loses no label, as each is on the disk when its key was pressed."""
    studio.environment["DISPLAY"] = screen
    page = Page(studio)
    page.act("label", frame=0, label=2)
    studio.post(f"{page.path}/close")
    window = studio.program("classify", studio.folder / "day1", "--classes", ",".join(CLASSES))
    wait_for(lambda: studio.get(studio.recording("day1"))["labelled_by"] == "a window", "the window is open")
    assert studio.refused(page.path)[0] == 409
    page.state = studio.post(page.path, {"take_over": True})
    assert page.labels[0] == 2
    window.wait(PATIENCE_SECONDS)


def test_a_window_that_does_not_end_holds_up_no_other_recording(studio: Running) -> None:
    """It is closed by hand here, after another recording was opened and let go meanwhile."""
    code = "import signal, sys; from pathlib import Path; from storage.labels.journal import LabelJournal as J\n"
    code += "signal.signal(signal.SIGTERM, lambda *_: print('deaf', flush=True))\n"
    code += "j = J(Path(sys.argv[-1])); print('ready', flush=True); sys.stdin.read()"
    shutil.copytree(studio.folder / "day1", studio.folder / "day2")
    command = ["python", "-c", code, "-m", "classify", str(studio.folder / "day1" / "labels.jsonl")]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=studio.environment) as window,
        studio.new_browser() as browser,
        ThreadPoolExecutor() as pool,
    ):
        assert window.stdout is not None and window.stdout.readline() == b"ready\n"
        browser.cookies = studio.browser.cookies
        path = f"{studio.recording('day1')}/labelling"
        taken = pool.submit(browser.post, path, json={"take_over": True})
        assert window.stdout.readline() == b"deaf\n"
        other = f"{studio.recording('day2')}/labelling"
        studio.post(other)
        studio.post(f"{other}/close")
        assert not taken.done()
        window.kill()
        assert taken.result().status_code == 200


def test_another_program_is_not_ended(studio: Running, tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from storage.labels.journal import LabelJournal as J\n"
    code += "j = J(Path(sys.argv[1])); print('ready', flush=True); sys.stdin.read()"
    command = ["python", "-c", code, str(studio.folder / "day1" / "labels.jsonl")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=studio.environment) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        status, reason = studio.refused(f"{studio.recording('day1')}/labelling", {"take_over": True})
        assert status == 409 and str(holder.pid) in reason
        assert holder.poll() is None


def test_a_full_disk_loses_no_answered_label(studio: Running) -> None:
    """The journal can't grow: what was answered is there, and the page is told to begin anew."""
    page = Page(studio)
    page.act("label", frame=0, label=1)
    studio.kill()
    studio.start()
    page.state = studio.post(page.path)
    journal = studio.folder / "day1" / "labels.jsonl"
    subprocess.run(
        ["prlimit", f"--pid={studio.process.pid}", f"--fsize={journal.stat().st_size}"], check=True, capture_output=True
    )
    body = {"client": "page", "opening": page.state["opening"], "actions": [
        {"seq": 2, "action": "label", "frame": 1, "label": 1}]}  # fmt: skip
    status, reason = studio.refused(f"{page.path}/actions", body)
    assert status == 422 and "not kept" in reason
    assert studio.refused(f"{page.path}/actions", body)[0] == 409
    assert page.labels[:2] == [1, NONE]


@pytest.mark.parametrize("name", ["day2.mkv", "day2.h5"])
def test_other_formats(studio: Running, name: str) -> None:
    import pi_capture

    pi_capture.record(studio.folder / name, 0.9, camera="demo", fps=30, size=(320, 240), jitter=False)
    path = f"{studio.recording(name)}/labelling"
    state = studio.post(path, {"classes": CLASSES})
    heads = studio.pack(f"{path}/frames", count=240)
    assert len(heads) == state["count"] > 5 and all(body[:2] == b"\xff\xd8" for _, body in heads)
    body = {"client": "p", "opening": state["opening"], "actions": [
        {"seq": 1, "action": "label_run", "first": 0, "stop": 3, "label": 1}]}  # fmt: skip
    studio.post(f"{path}/actions", body)
    assert studio.post(f"{path}/apply")["counts"] == {"door": 3}
    assert studio.get(f"{studio.recording(name)}/labels")["runs"][0][:2] == [0, 3]


def test_runs() -> None:
    assert runs_of(b"") == []
    assert runs_of(b"\1") == [[0, 1, 1]]
    assert changed_runs(b"\1\1\1", b"\1\1\1") == []
    assert changed_runs(b"\1\1\1\1", b"\1\2\1\3") == [[1, 2, 2], [2, 3, 1], [3, 4, 3]]
