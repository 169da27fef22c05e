"""A model's help on the labelling page: real frames, the learner's process, two browsers, a network that goes away."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from classify.learner import QUESTIONS
from pi_capture.studio.labelling import Labelling
from storage import open_recording
from storage.labels import PERSON, SEEN, UNSEEN
from storage.labels.beside import journal_path
from storage.labels.journal import Labelled, read_journal
from storage.labels.origins import count_origins
from storage.learn.proposals import LAST, RIGHT, SHOWN_OF_SURE, SURE
from tests.classify.window.test_assist import TRUTH, record_scenes
from tests.pi_capture.studio.browser import SlowNetwork, opened
from tests.support import PATIENCE_SECONDS, wait_for
from tests.support.studio import Running

pytestmark = pytest.mark.usefixtures("eager")
NAMES = ["none", "door", "light"]
NONE = 255
SHORT = [n // 8 % 3 for n in range(48 * 8)]
"""The classes of a recording with many stretches."""
LANE = """canvas => {
    const { width } = canvas;
    const data = canvas.getContext("2d").getImageData(0, Math.round(14 * devicePixelRatio), width, 1).data;
    return Array.from({ length: width }, (_, x) => data[4 * x + 3]);
}"""
"""The opacities in the lane of proposals on the timeline."""


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings, and what their descriptions are kept in: the first test that needs them computes them."""
    place = tmp_path_factory.mktemp("described")
    record_scenes(place / "day1")
    record_scenes(place / "day2", SHORT)
    return place


@pytest.fixture
def studio(eager: None, described: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(described / "cache"))
    for name in ("day1", "day2"):
        shutil.copytree(described / name, tmp_path / "recordings" / name)
    with Running(tmp_path) as running:
        yield running


class Asked:
    """A page without a browser that is asked, and answers."""

    def __init__(self, studio: Running, name: str = "day1", truth: Sequence[int] = TRUTH) -> None:
        self.studio, self.client, self.seq, self.truth = studio, "page", 0, truth
        self.path = f"{studio.recording(name)}/labelling"
        studio.post(self.path, {"classes": NAMES})

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.studio.post(self.path)
        return state

    @property
    def help(self) -> dict[str, Any]:
        found: dict[str, Any] = self.state["help"]
        return found

    @property
    def labels(self) -> list[int]:
        return [label for start, stop, label in self.state["labels"] for _ in range(start, stop)]

    def act(self, action: str, **fields: Any) -> dict[str, Any]:
        """Do one thing; what is asked then."""
        self.seq += 1
        return self.send({"seq": self.seq, "action": action, **fields})

    def send(self, *actions: dict[str, Any]) -> dict[str, Any]:
        body = {"client": self.client, "opening": self.state["opening"], "actions": list(actions)}
        found: dict[str, Any] = self.studio.post(f"{self.path}/actions", body)["help"]
        return found

    def answer(self, label: int, model: str = "") -> dict[str, Any]:
        """Give a class for what is asked now."""
        asked = self.help
        return self.act("answer", first=asked["first"], stop=asked["stop"], label=label, model=model)

    def accept(self) -> dict[str, Any]:
        asked = self.help
        return self.answer(asked["label"], asked["model"])

    def asks_for_typical_frames(self) -> None:
        """Press A until it does."""
        self.act("assist", frame=0)
        wait_for(lambda: self.help["described"] == 1, "the frames are not described")
        self.act("assist", frame=0)
        wait_for(lambda: self.help["asking"] == "frames", "nothing is asked")

    def proposes(self) -> None:
        """Answer the questions, and see the runs that are proposed then."""
        self.asks_for_typical_frames()
        while (asked := self.help)["asking"] == "frames":
            self.answer(self.truth[asked["first"]])
        wait_for(lambda: self.help["model"], "nothing is proposed")


# ------------------------------------------------------------------------------------------------------ by requests


def test_typical_frames_are_asked_for_and_runs_proposed_until_all_have_a_label(studio: Running) -> None:
    page = Asked(studio)
    first = page.act("assist", frame=0)  # before the frames are described, a run without a class
    assert first["asking"] == "runs" and first["label"] == NONE and first["described"] < 1
    ready = "The Pi has looked at all pictures: press Ask. The trained network is missing; tell your teacher."
    wait_for(lambda: page.help["said"] == ready, "it is not told")
    page.proposes()
    assert page.help["questions"] == 0 and {label for _, _, label, _ in page.state["proposals"]} == {0, 1, 2}
    while page.help["asking"] == "runs":
        asked = page.help
        assert {TRUTH[frame] for frame in asked["shown"][1 : asked["inside"] - 1]} == {asked["label"]}
        heads = studio.pack(f"{page.path}/frames", at=",".join(map(str, asked["shown"])))
        assert [head["frame"] for head, _ in heads] == asked["shown"]
        page.accept()
    assert wrong(page.labels) == [] and page.help["said"] == "every frame has a label"
    studio.post(f"{page.path}/close")
    with open_recording(studio.folder / "day1") as recording:
        assert count_origins(recording) == {PERSON: QUESTIONS, SEEN: len(TRUTH) - QUESTIONS}


def wrong(labels: list[int]) -> list[int]:
    """The frames that have a wrong label or none, but for those beside a border."""
    borders = [n for n in range(1, len(TRUTH)) if TRUTH[n] != TRUTH[n - 1]]
    return [n for n, label in enumerate(labels) if label != TRUTH[n] and not {n, n + 1} & {*borders}]


def test_a_digit_gives_a_run_another_class_and_its_end_can_be_moved(studio: Running) -> None:
    """Of the least certain run, which is asked for first."""
    page = Asked(studio)
    page.proposes()
    asked = page.act("least_certain", frame=0)
    assert asked["said"] == "the least certain run is shown first"
    assert asked["certainty"] == min(certainty for *_, certainty in page.state["proposals"])
    page.answer(asked["label"], "cafe")  # the page has not heard yet that the model has learnt on
    assert page.help["first"] != asked["first"], "the run is asked for again"
    page.act("undo")
    page.act("least_certain", frame=0)
    asked = page.help
    cut = page.act("end_run", first=asked["first"], stop=asked["stop"], cell=4)
    assert asked["shown"][3] < cut["stop"] <= asked["shown"][4]
    half = page.act("bisect", frame=0)
    assert half["stop"] == (half["first"] + cut["stop"]) // 2
    page.answer(2)
    labels = page.labels
    assert [labels[n] for n in range(half["first"], half["stop"])].count(2) > 2
    wait_for(lambda: is_proposed(page, asked["first"]) is False, "what has a label is proposed")
    page.act("undo")
    wait_for(lambda: is_proposed(page, asked["first"]), "what came back is not proposed again")
    entries = read_journal(journal_path(studio.folder / "day1"))
    by_model = [entry.proposed is not None for entry in entries if isinstance(entry, Labelled)]
    assert by_model == [False] * QUESTIONS + [True, False]


def is_proposed(page: Asked, frame: int) -> bool:
    """Whether a class is proposed for a frame."""
    return any(start <= frame < stop for start, stop, *_ in page.state["proposals"])


def test_sure_runs_are_accepted_behind_the_gate_and_one_undo_takes_them_back(studio: Running) -> None:
    page = Asked(studio, "day2", SHORT)
    page.proposes()
    assert page.act("accept_sure", frame=0)["said"].startswith(f"not yet: 0 of the last {LAST}")
    for _ in range(RIGHT):
        page.accept()
    while True:
        before = page.labels
        sure = [run for run in page.state["proposals"] if run[3] >= SURE and NONE in before[run[0] : run[1]]]
        told = page.act("accept_sure", frame=0)
        if not told["said"].startswith("not yet"):
            break
        page.accept()  # the model was wrong about an end
    left = [run for run in sure if NONE in page.labels[run[0] : run[1]]]
    assert len(left) == len(sure) // SHOWN_OF_SURE > 0 and told["first"] in [start for start, *_ in left]
    unseen = sum(label != NONE for label in page.labels) - sum(label != NONE for label in before)
    assert told["said"] == f"{unseen} frames accepted unseen; Undo takes them back"
    with open_recording(studio.folder / "day2") as recording:
        assert count_origins(recording)[UNSEEN] == unseen
    page.act("undo")
    assert page.labels == before


def test_an_answer_counts_once_and_for_what_was_seen(studio: Running) -> None:
    """Sent again after a kill it is not done twice; not sent before the kill it is still that of its frames."""
    page = Asked(studio)
    page.proposes()
    asked, depth = page.help, len(changes(studio))
    accept = {"action": "answer", "label": asked["label"], "model": asked["model"]}
    first = {"seq": page.seq + 1, "first": asked["first"], "stop": asked["stop"], **accept}
    then = page.send(first)
    second = {**accept, "seq": page.seq + 2, "first": then["first"], "stop": then["stop"], "label": then["label"]}
    studio.kill()
    studio.start()
    page.send(first, second)
    assert page.labels[: then["stop"]] == TRUTH[: then["stop"]]
    assert [one.proposed and one.proposed.seen for one in changes(studio)[depth:]] == [True, True]
    other = page.send({**second, "seq": page.seq + 3, "label": 2 - then["label"], "model": ""})
    assert other["said"] == "another page has answered it" and page.labels[: then["stop"]] == TRUTH[: then["stop"]]


def changes(studio: Running) -> list[Labelled]:
    """The changes of labels that are on the disk."""
    return [one for one in read_journal(journal_path(studio.folder / "day1")) if isinstance(one, Labelled)]


def test_a_learner_that_waits_for_its_turn_can_be_ended(
    described: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has news while the labelling is being closed, and the one must not wait for the other."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(described / "day1", tmp_path / "day1")
    labelling = Labelling(tmp_path / "day1", classes=NAMES)
    learner = labelling._help.learner

    def end() -> None:
        with labelling._lock:
            learner.start()
            wait_for(lambda: learner.progress > 0, "nothing is described")
            labelling._close("it ends")

    ending = threading.Thread(target=end, daemon=True)
    ending.start()
    ending.join(PATIENCE_SECONDS)
    assert not ending.is_alive()


def learners(studio: Running) -> list[int]:
    """The processes that describe frames."""
    found = subprocess.run(["pgrep", "-f", f"classify.learner {studio.folder}"], capture_output=True, check=False)
    return [*map(int, found.stdout.split())]


# ----------------------------------------------------------------------------------------------------- in a browser


def labelling_page(studio: Running, browser: Browser, size: str, *, dark: bool = False) -> Page:
    Asked(studio)  # opens it with its classes
    _, seen = opened(browser, size, dark=dark)
    seen.page.goto(f"{studio.url}/?token={studio.token}")
    expect(seen.page.get_by_role("heading", level=1)).to_be_visible()
    seen.page.goto(f"{studio.url}/#/label/{studio.recording('day1').rpartition('/')[2]}")
    expect(seen.page.locator("canvas[data-frame]")).to_be_visible()
    return seen.page


def asks(page: Page, words: str | re.Pattern[str]) -> None:
    """Wait until the chip says so."""
    expect(page.locator(".chip")).to_have_text(words)


def chip(page: Page) -> str:
    return page.locator(".chip").inner_text()


def answer_questions(page: Page, network: SlowNetwork | None = None) -> None:
    """Press A, and once the frames are described the button for it, and answer with digits.

    On a slow network the last of them is answered after it is known what is asked next.
    """
    page.keyboard.press("a")
    expect(page.locator(".message")).to_contain_text("press Ask")
    page.get_by_role("button", name="Ask", exact=True).click()
    for left in range(QUESTIONS, 0, -1):
        asks(page, f"which class? {left} to go")
        digit = f"Digit{TRUTH[looked_at(page)]}"
        if network is None or left > 1:
            page.keyboard.press(digit)
            continue
        late = network.hold(lambda digit=digit: page.keyboard.press(digit))
        answer = late.fetch()
        asks(page, re.compile(r"\? \d+ %$"))
        network.answer(late, response=answer)
    asks(page, re.compile(r"\? \d+ %$"))


def looked_at(page: Page) -> int:
    return int(page.locator(".position").inner_text().split("/")[0]) - 1


def has_opacities(page: Page, state: dict[str, Any]) -> bool:
    """Whether the lane shows what is proposed, some of it less certain, where no label is."""
    labels = [label for start, stop, label in state["labels"] for _ in range(start, stop)]
    certain = {round(255 * one) for start, stop, _, one in state["proposals"] if {*labels[start:stop]} == {NONE}}
    drawn = {*page.locator("canvas.detail").evaluate(LANE)}
    return min(certain, default=255) < 240 and all({one - 1, one, one + 1} & drawn for one in certain)


def test_with_keys(studio: Running, browser: Browser) -> None:
    """A, ten digits, and Enter until every frame has a label."""
    page = labelling_page(studio, browser, "desktop")
    network = SlowNetwork(page, "**/labelling/actions")
    expect(page.locator("canvas[data-frame]")).to_be_visible()
    answer_questions(page, network)
    expect(page.locator(".position")).to_have_text(re.compile("^1 /"))  # where the first run begins
    press_twice(page, studio, network)
    while NONE in (labels := Asked(studio).labels):
        wait_for(lambda labels=labels: presses_enter(page, studio, labels), "nothing is accepted")
        wait_for(lambda: shows(page, Asked(studio).help), "what is asked is not shown")
    expect(page.locator(".message")).to_have_text("every frame has a label")
    assert wrong(Asked(studio).labels) == []
    with open_recording(studio.folder / "day1") as recording:
        assert count_origins(recording) == {PERSON: QUESTIONS, SEEN: len(TRUTH) - QUESTIONS}


def shows(page: Page, asked: dict[str, Any]) -> bool:
    """Whether the page shows the frame where what is asked begins, if anything is."""
    return asked["stop"] == asked["first"] or looked_at(page) == asked["first"]


def presses_enter(page: Page, studio: Running, labels: list[int]) -> bool:
    """Whether Enter accepts something; before the page shows what is asked, it answers nothing."""
    page.keyboard.press("Enter")
    for _ in range(20):
        if Asked(studio).labels != labels:
            return True
        page.wait_for_timeout(50)
    return False


def press_twice(page: Page, studio: Running, network: SlowNetwork) -> None:
    """The second Enter comes before anything new is shown: it answers nothing."""
    before = len(changes(studio))
    first = network.hold(lambda: page.keyboard.press("Enter"))
    page.keyboard.press("Enter")
    first.continue_()
    asks(page, re.compile("^door"))
    for order in ("the least certain", "the earliest"):
        page.keyboard.press("l")
        expect(page.locator(".message")).to_have_text(f"{order} run is shown first")
    assert len(changes(studio)) == before + 1


def test_no_key_waits_for_the_learner(studio: Running, browser: Browser) -> None:
    """Which ends with the labelling, and with a studio that is killed."""
    (studio.folder / "day1" / "00000199.png").unlink()  # so that it has to be described
    page = labelling_page(studio, browser, "desktop")
    page.keyboard.press("a")
    (learner,) = wait_for(lambda: learners(studio), "nothing is described")
    os.kill(learner, signal.SIGSTOP)  # while it is being loaded
    asks(page, "which class?")
    expect(page.locator(".selected")).to_contain_text("The Pi is looking at all pictures")
    page.keyboard.press("Escape")
    page.keyboard.type("12")
    expect(page.locator(".position")).to_have_text(re.compile("^3 /"))
    wait_for(lambda: Asked(studio).labels[:3] == [1, 2, NONE], "the labels are not kept")
    studio.post(f"{studio.recording('day1')}/labelling/close")
    assert not learners(studio)
    Asked(studio).act("assist", frame=0)
    wait_for(lambda: learners(studio), "nothing is described anew")
    studio.process.kill()
    wait_for(lambda: not learners(studio), "it goes on")


HANDS_OFF_MS = 1000
"""After another page's answer, until a press counts again, as the page has it."""
AT_THE_CHANGE = """key => {
    const place = document.querySelector(".position");
    const before = place.textContent;
    const changed = new MutationObserver(() => {
        if (place.textContent === before) return;
        changed.disconnect();
        document.body.dispatchEvent(new KeyboardEvent("keydown", { bubbles: true, ...key }));
    });
    changed.observe(place, { childList: true, characterData: true, subtree: true });
}"""
"""Presses a key at the moment at which the page shows another frame."""


def test_a_press_just_after_anothers_answer_labels_nothing(studio: Running, browser: Browser) -> None:
    """It is meant for the frame that was there a moment ago."""
    page, phone = labelling_page(studio, browser, "desktop"), labelling_page(studio, browser, "phone")
    page.keyboard.press("a")
    expect(page.locator(".message")).to_contain_text("press Ask")
    for one in (page, phone):
        one.get_by_role("button", name="Ask", exact=True).click()
        asks(one, f"which class? {QUESTIONS} to go")
    phone.evaluate(AT_THE_CHANGE, {"code": "Digit2", "key": "2"})
    page.keyboard.press("Digit1")
    expect(phone.locator(".message")).to_have_text("another page has answered: look, and press again")
    assert [one.label for one in changes(studio)] == [1]
    asks(phone, f"which class? {QUESTIONS - 1} to go")
    phone.wait_for_timeout(HANDS_OFF_MS)
    phone.keyboard.press("Digit2")
    asks(page, f"which class? {QUESTIONS - 2} to go")
    assert [one.label for one in changes(studio)] == [1, 2]


def test_two_pages_are_asked_the_same(studio: Running, browser: Browser) -> None:
    """One by keys, one by touch; the one without a network answers what the other has answered meanwhile."""
    page, phone = labelling_page(studio, browser, "desktop"), labelling_page(studio, browser, "phone")
    answer_questions(page)
    asks(phone, "")  # it labels by hand as long as it does not ask
    sent: list[str] = []
    phone.on("request", lambda request: sent.append(request.post_data or ""))
    phone.get_by_role("button", name="Ask", exact=True).tap()
    wait_for(lambda: "?" in chip(phone) and chip(phone) == chip(page), "they are asked two things")
    phone.get_by_role("button", name="Accept").tap()
    asks(page, re.compile("^door"))
    asks(phone, re.compile("^door"))
    wait_for(lambda: looked_at(page) == looked_at(phone) == 30, "they look at two frames")
    assert not [body for body in sent if '"assist"' in body], "it asks anew, instead of taking part"

    phone.context.set_offline(True)
    phone.get_by_role("button", name="Accept").tap()
    expect(phone.locator(".waiting")).to_contain_text("1 action kept here")
    page.wait_for_timeout(HANDS_OFF_MS)
    page.keyboard.press("Digit2")
    asks(page, re.compile("^light"))
    phone.context.set_offline(False)
    expect(phone.locator(".message")).to_have_text("another page has answered it")
    asks(phone, re.compile("^light"))
    assert Asked(studio).labels[30:70].count(2) > 30
    wait_for(lambda: has_opacities(phone, Asked(studio).state), "the lane is as strong as what is proposed is certain")

    film = phone.locator("canvas.film")
    wait_for(lambda: (film.bounding_box() or {})["height"] > 90, "it is not in two rows")
    box = film.bounding_box()
    assert box is not None
    asked = Asked(studio).help
    film.tap(position={"x": box["width"] / 2 + 20, "y": box["height"] / 4})
    wait_for(lambda: Asked(studio).help["stop"] < asked["stop"], "it is as long as before")
    phone.get_by_role("button", name="Middle").tap()
    half = (asked["first"] + asked["stop"]) / 2
    wait_for(lambda: Asked(studio).help["stop"] < half, "it is as long as before")
    phone.locator(".classbutton").nth(0).tap()
    wait_for(lambda: Asked(studio).labels[asked["first"]] == 0, "it has no label")
    asks(page, re.compile("^light"))

    page.keyboard.press("Escape")
    asks(phone, re.compile(r"^[^?]*$"))
    phone.reload()
    phone.get_by_role("button", name="Ask", exact=True).tap()
    asks(phone, re.compile(r"to go$"))
    asks(page, re.compile(r"^[^?]*$"))
