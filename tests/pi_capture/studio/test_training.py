"""Training from the studio, and watching with the model that comes of it: by its routes, and in a real browser."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from pi_capture.sources.demo import draw
from pi_capture.studio.answers import identifier
from storage.care.split import split
from storage.formats.png.directory import frame_name
from storage.formats.png.writer import PngWriter
from storage.frame import Frame
from storage.learn.model import load_model
from tests.pi_capture.studio.browser import opened
from tests.pi_capture.studio.test_pages import complaints_of
from tests.pi_capture.studio.test_recorders import talking
from tests.support import PATIENCE_SECONDS, children, wait_for
from tests.support.networks import put_network
from tests.support.studio import Running, records

NAMES = ("none", "door", "light", "music", "stop")
FPS = 4


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine has no weights of the network, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def record_demo(day: Path, seconds: int = 90) -> None:
    """The demo scene, sorted by what it shows."""
    writer = PngWriter(day)
    writer.describe({"host": "test"})
    labels = []
    for number in range(seconds * FPS):
        pixels, label = draw(seed=3, number=number, fps=FPS, size=(64, 48))
        writer.append(writer.encode(Frame(pixels, number, number * 1_000_000_000 // FPS)))
        labels.append(NAMES[label])
    writer.close()
    for number, name in enumerate(labels):
        (day / name).mkdir(exist_ok=True)
        (day / frame_name(number)).rename(day / name / frame_name(number))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    (tmp_path / "recordings").mkdir()
    record_demo(tmp_path / "recordings" / "day 1")
    with Running(tmp_path) as found:
        yield found


def statuses(studio: Running) -> Iterator[dict[str, Any]]:
    """What the events tell."""
    with studio.browser.stream("GET", "/api/training/events") as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


def wanted(studio: Running, name: str = "doors", **more: Any) -> dict[str, Any]:
    return {"recordings": [studio.recording("day 1").rpartition("/")[2]], "name": name, **more}


def trained(studio: Running, **more: Any) -> dict[str, Any]:
    """Train, and return the last status."""
    assert studio.post("/api/training", wanted(studio, **more))["state"] == "training"
    return next(status for status in statuses(studio) if status["state"] != "training")


def test_a_model_is_trained_and_listed(running: Running) -> None:
    asked = running.post("/api/training/command", wanted(running))
    target = running.folder / "doors.model"
    words = ["python", "-m", "storage", "train", str(running.folder / "day 1"), "-o", str(target)]
    assert (shlex.split(asked["command"]), asked["exists"]) == (words, False)

    status = trained(running)
    assert (status["state"], status["name"], status["command"]) == ("done", "doors.model", asked["command"])
    report, model = status["report"], load_model(target)
    assert tuple(report["classes"]) == model.classes and set(NAMES) == set(model.classes)
    assert report["accuracy"] == pytest.approx(model.origin["accuracy"], abs=1e-3)
    assert sum(map(sum, report["confusion"])) == sum(report["frames"].values()) == 90 * FPS
    assert report["advice"] and str(running.folder) not in json.dumps(report)
    worst = report["mistakes"][0]
    name, _, file = worst["frame"].rpartition("/")
    assert name == f"day 1/{worst['label']}" and worst["label"] != worst["guess"]
    picture = running.browser.get(f"/api/recordings/{worst['recording']}/frames/{worst['index']}")
    assert picture.content == (running.folder / name / file).read_bytes()
    (listed,) = running.get("/api/home")["models"]
    assert (listed["id"], listed["name"], listed["problem"]) == (report["model"], "doors.model", None)
    assert set(listed["classes"]) == set(NAMES)


def test_a_model_is_replaced_only_when_that_is_asked_for(running: Running) -> None:
    (running.folder / "doors.model").write_bytes(b"another")
    assert running.get("/api/home")["models"][0]["problem"].startswith("doors.model is no whole model file")
    assert running.post("/api/training/command", wanted(running))["exists"]
    status = trained(running)
    assert status["state"] == "failed" and status["problem"].startswith("doors.model exists")
    assert (running.folder / "doors.model").read_bytes() == b"another"
    assert trained(running, replace=True)["state"] == "done"


def test_one_at_a_time_and_cancelled(running: Running) -> None:
    studio = running
    record_demo(studio.folder / "day 2", 240)  # long enough to be cancelled
    ids = [one["id"] for one in studio.get("/api/home")["recordings"]]
    studio.post("/api/training", {"recordings": ids, "name": "long"})
    assert studio.refused("/api/training", wanted(studio)) == (
        409,
        "long.model is being trained; wait for it, or cancel it",
    )
    assert any(status["what"] for status in statuses(studio))
    assert studio.post("/api/training/cancel")["state"] == "cancelled"
    assert [path.name for path in studio.folder.iterdir() if "long" in path.name] == []
    assert trained(studio)["state"] == "done"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "choose a recording"),
        ({"recordings": []}, "choose a recording"),
        ({"recordings": [1]}, "choose a recording"),
        ({"recordings": ["0" * 16]}, "no such recording"),
        ({"name": "../x"}, "begins with . or -"),
        ({"name": ""}, "give it a name"),
        ({"name": "-o"}, "begins with . or -"),
        ({"replace": 1}, "can't stand here"),
    ],
)
def test_refused(running: Running, body: dict[str, Any], reason: str) -> None:
    status, told = running.refused("/api/training", {**wanted(running), **body} if body else body)
    assert status in (400, 404) and reason in told


def test_it_ends_with_the_studio(running: Running) -> None:
    record_demo(running.folder / "day 2", 240)
    ids = [one["id"] for one in running.get("/api/home")["recordings"]]
    running.post("/api/training", {"recordings": ids, "name": "long"})
    running.process.terminate()
    running.process.wait(PATIENCE_SECONDS)
    children = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(running.folder) in text_of(path)]
    assert children == [] and not (running.folder / "long.model").exists()


def test_it_ends_with_a_studio_that_is_killed(running: Running) -> None:
    """No half model is left, and the next studio trains as if nothing had been."""
    record_demo(running.folder / "day 2", 240)
    ids = [one["id"] for one in running.get("/api/home")["recordings"]]
    running.post("/api/training", {"recordings": ids, "name": "long"})
    assert next(status["what"] for status in statuses(running) if status["what"])
    running.kill()

    def is_over() -> bool:
        return not any(str(running.folder) in text_of(path) for path in Path("/proc").glob("[0-9]*/cmdline"))

    wait_for(is_over, "the training has ended")
    assert sorted(path.name for path in running.folder.iterdir()) == ["day 1", "day 2"]
    running.start()
    assert trained(running, recordings=ids, name="long")["state"] == "done"


def text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:  # it has ended
        return ""


def test_a_model_is_downloaded_and_goes_to_the_trash_and_back(running: Running) -> None:
    path = put_network(running.folder)
    content = path.read_bytes()
    (model,) = running.get("/api/home")["models"]
    address = f"/api/models/{model['id']}"
    answer = running.browser.get(f"{address}/download")
    assert answer.content == content and 'attachment; filename="float.tflite"' in answer.headers["content-disposition"]
    assert running.post(f"{address}/trash") == {"told": "float.tflite is in the trash"}
    assert not path.exists() and running.get("/api/home")["models"] == []
    assert running.refused(f"{address}/trash")[0] == running.browser.get(f"{address}/download").status_code == 404
    (item,) = running.get("/api/trash")["items"]
    assert running.post(f"/api/trash/{item['id']}/restore") == {"name": "float.tflite", "id": model["id"]}
    assert path.read_bytes() == content


def test_only_models_are_downloaded_as_such(running: Running) -> None:
    (running.folder / "labels.txt").write_text("mine")
    (running.folder / "link.model").symlink_to("/etc/passwd")
    recording = running.recording("day 1").rpartition("/")[2]
    for id in (recording, identifier("labels.txt"), identifier("link.model"), "../labels.txt"):
        assert running.browser.get(f"/api/models/{id}/download").status_code == 404
        assert running.refused(f"/api/models/{id}/trash")[0] == 404


FAILING = """\
import storage.learn.classifier
open_whole = storage.learn.classifier.open_classifier
def open_classifier(path, *rest):
    from dataclasses import replace
    whole, left = open_whole(path, *rest), iter(range(40))
    def certainties(pixels):
        if next(left, None) is None:
            HOW
        return whole.certainties(pixels)
    return replace(whole, certainties=certainties)
storage.learn.classifier.open_classifier = open_classifier"""


@pytest.mark.parametrize(
    ("how", "reason"),
    [("raise ValueError('it has lost its head')", "it has lost its head"), ("__import__('os').abort()", "has crashed")],
)
def test_a_model_that_fails_while_it_watches_says_why(running: Running, how: str, reason: str) -> None:
    put_network(running.folder)
    talking(running, FAILING.replace("HOW", how))
    (model,) = running.get("/api/home")["models"]
    id = running.post("/api/preview", {"camera": "demo", "model": model["id"]})["id"]
    with running.browser.stream("GET", f"/api/preview/{id}/live") as answer:
        heads = [head for head, _ in records(answer.iter_raw())]
    assert reason in heads[-1]["problem"] and not any("problem" in head for head in heads[:-1])
    wait_for(lambda: not children(running.process.pid), "the camera is let go")


def test_the_page_says_why_a_model_fails(browser: Browser, running: Running) -> None:
    put_network(running.folder)
    talking(running, FAILING.replace("HOW", "raise ValueError('it has lost its head')"))
    context, seen = opened(browser, "desktop")
    page = seen.page
    page.goto(f"{running.url}/?token={running.token}")
    page.get_by_role("link", name="Watch with float.tflite").click()
    page.get_by_label(re.compile("^Camera")).select_option("demo")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("alert")).to_contain_text("it has lost its head")
    expect(page.get_by_role("button", name="Start")).to_be_visible()
    assert complaints_of(page) == [] and seen.complaints == []
    context.close()


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_journey(size: str, browser: Browser, running: Running) -> None:
    """Choose, train, look at what came of it, and watch the demo camera with it."""
    split(running.folder / "day 1", val=0.2, gap=0)
    context, seen = opened(browser, size, dark=size == "phone")
    page = seen.page
    page.goto(f"{running.url}/?token={running.token}")
    page.get_by_role("link", name="Train", exact=True).click()
    train(page)
    assert complaints_of(page) == []
    page.get_by_role("link", name="All models").click()
    expect(page.get_by_role("region", name="Models")).to_contain_text("lamp.model")
    assert complaints_of(page) == []
    page.get_by_role("link", name="Watch with lamp.model").click()
    watch(page)
    assert complaints_of(page) == []
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Start")).to_be_visible()
    wait_for(lambda: not children(running.process.pid), "the camera is let go")
    page.get_by_role("link", name="Train", exact=True).click()
    page.get_by_role("button", name="Move lamp.model to the trash").click()
    page.get_by_role("dialog").get_by_role("button", name="Move it").click()
    expect(page.get_by_role("region", name="Models")).to_have_count(0)
    expect(page.get_by_text("lamp.model is trained")).to_have_count(0)
    assert not (running.folder / "lamp.model").exists()
    page.get_by_role("link", name=re.compile("^Recordings|^Home")).first.click()
    page.get_by_role("link", name="trash (1)").click()
    page.get_by_role("button", name="Put lamp.model back").click()
    wait_for((running.folder / "lamp.model").exists, "the model is back")
    assert seen.complaints == []
    context.close()


REPORT = {
    **{"classes": ["door", "light", "none"], "frames": {"door": 9, "light": 9, "none": 9}, "accuracy": 0.5},
    **{
        "stretches": {"door": 1, "light": 1, "none": 1},
        "smoothed": 0.5,
        "chance": 0.4,
        "seconds": 1.0,
        "model": "0" * 16,
    },
    **{"confusion": [[9, 90, 0], [0, 9, 0], [8, 0, 9]], "kind": "thumbnail", "advice": [], "notes": []},
    **{"tested_on": "day1", "all_mistakes": 2},
}


def test_a_mistake_leads_to_its_frame_and_a_class_has_one_colour(browser: Browser, studio: Running) -> None:
    path = studio.recording("day1")
    id = path.rpartition("/")[2]
    studio.post(f"{path}/labelling", {"classes": ["none", "door", "light"]})
    mistake = {"recording": id, "name": "day1", "index": 30, "frame": "day1/00001801.png", "label": "door"}
    report = {**REPORT, "mistakes": [{**mistake, "guess": "light", "certainty": 0.93}]}
    status = {"state": "done", "name": "doors", "command": "", "what": "", "done": 0, "total": 0, "problem": None}
    event = f"data: {json.dumps({**status, 'report': report})}\n\n"
    context, seen = opened(browser, "desktop")
    page = seen.page
    page.route("**/api/training/events", lambda route, _: route.fulfill(body=event, content_type="text/event-stream"))
    page.goto(f"{studio.url}/?token={studio.token}#/train")
    expect(page.get_by_role("heading", name="The 1 surest of 98 mistakes")).to_be_visible()
    colour = "one => getComputedStyle(one).backgroundColor"
    swatches = page.locator(".confusion .swatch").evaluate_all(f"all => all.map({colour})")
    page.get_by_role("link", name="day1, frame 31").click()
    expect(page.get_by_role("dialog", name="Frame 31")).to_be_visible()
    there = page.locator(".legend .swatch").evaluate_all(f"all => all.map({colour})")
    assert swatches == [there[1], there[2], there[0]]
    page.get_by_role("button", name="Label from here").click()
    expect(page.locator(".position")).to_contain_text("31")
    assert seen.complaints == []
    context.close()


def test_classes_that_look_alike_are_told(browser: Browser, running: Running) -> None:
    record_demo(running.folder / "day 2", 20)
    (running.folder / "day 2" / "none").rename(running.folder / "day 2" / "None")
    context, seen = opened(browser, "desktop")
    page = seen.page
    page.goto(f"{running.url}/?token={running.token}#/train")
    told = page.get_by_text("'none' and 'None' are two classes: spell them alike if they are one.")
    page.get_by_label("day 1").check()
    expect(page.locator(".command code")).to_contain_text("day 1")
    expect(told).to_have_count(0)
    page.get_by_label("day 2").check()
    expect(told.or_(page.get_by_text("'None' and 'none' are two classes"))).to_be_visible()
    assert seen.complaints == []
    context.close()


def test_a_camera_that_a_page_shows_is_taken_only_if_that_is_wanted(studio: Running) -> None:
    wanted = {"camera": "demo", "by": "one"}
    id = studio.post("/api/preview", wanted)["id"]
    with studio.browser.stream("GET", f"/api/preview/{id}/live") as answer:
        pictures = records(answer.iter_raw())  # the connection ends with it
        next(pictures)
        (camera,) = children(studio.process.pid)
        assert os.getpgid(camera) == camera, "Ctrl-C in the studio's terminal would end it beside the studio"
        other = {**wanted, "by": "other"}
        assert studio.refused("/api/preview", other) == (409, "another page shows the camera")
        assert studio.post("/api/preview", {**other, "take": True})["id"] != id


def train(page: Page) -> None:
    page.get_by_label("Name of the model").fill("lamp")
    page.get_by_label("day 1").check()
    expect(page.get_by_role("list").get_by_role("checkbox")).to_have_count(1)  # what is held out is no choice
    expect(page.locator(".command code")).to_contain_text("lamp.model")
    page.get_by_role("button", name="Train").click()
    report = page.get_by_role("region", name="How good lamp.model is")
    expect(report).to_contain_text("of the frames are right")
    expect(report).to_contain_text("Tested on val_day 1")
    expect(report.get_by_role("row")).to_have_count(len(NAMES) + 1)
    for picture in report.get_by_role("img").all():
        wait_for(lambda one=picture: one.evaluate("one => one.scrollIntoView() || one.naturalWidth"), "a picture")
    expect(page.get_by_role("button", name="Train")).to_be_disabled()  # a model of that name is there
    expect(page.get_by_text("To train it again, replace it, or give another name.")).to_be_visible()
    page.get_by_label("Replace the model that is there").check()
    expect(page.get_by_role("button", name="Train")).to_be_enabled()
    with page.expect_download() as download:
        page.get_by_role("region", name="Models").get_by_role("link", name="Download lamp.model").click()
    assert download.value.suggested_filename == "lamp.model"


def watch(page: Page) -> None:
    page.get_by_label(re.compile("^Camera")).select_option("demo")
    expect(page.locator(".command code")).to_have_text(
        re.compile(r"^python -m pi_capture watch .*lamp\.model --camera demo$")
    )
    page.get_by_role("button", name="Start").click()
    picture = page.get_by_role("img", name="What the camera sees")
    expect(picture).to_have_attribute("data-frame", re.compile(r"\d+"))
    expect(page.locator(".chip")).to_have_text(re.compile(rf"^({'|'.join(NAMES)}) [01]\.\d\d$"))
    expect(page.get_by_role("list", name="How certain each class is").get_by_role("listitem")).to_have_count(len(NAMES))
    expect(page.locator(".counters dd").first).to_have_text(re.compile(r"^[1-9]\d*\.\d$"))


def test_the_live_picture_comes_with_what_the_model_says(running: Running) -> None:
    model = trained(running)["report"]["model"]
    command = running.post("/api/watch/command", {"model": model, "camera": "demo"})["command"]
    words = ["python", "-m", "pi_capture", "watch", str(running.folder / "doors.model"), "--camera", "demo"]
    assert shlex.split(command) == words
    id = running.post("/api/preview", {"camera": "demo", "model": model})["id"]
    with running.browser.stream("GET", f"/api/preview/{id}/live") as answer:
        heads = (head for head, body in records(answer.iter_raw()) if body.startswith(b"\xff\xd8"))
        head = wait_for(lambda: (one := next(heads)).get("class") and one, "it never says a class")
        later = wait_for(lambda: (one := next(heads))["seen"] > head["seen"] and one, "it says no more")
    assert set(head["certainties"]) == set(NAMES) and head["size"] == "128x128"
    assert head["certainty"] == head["certainties"][head["class"]] and later["milliseconds"] > 0


def test_what_is_no_model_is_told(running: Running) -> None:
    (running.folder / "old.model").write_bytes(b"PK\3\4 and no more")
    (listed,) = running.get("/api/home")["models"]
    status, reason = running.refused("/api/preview", {"camera": "demo", "model": listed["id"]})
    assert status == 422 and "old.model is no whole model file" in reason and str(running.folder) not in reason
    for path in ("/api/preview", "/api/watch/command"):
        assert running.refused(path, {"camera": "demo", "model": "0" * 16})[0] == 404
        assert running.refused(path, {"camera": "file:/etc/passwd", "model": listed["id"]})[0] == 400
