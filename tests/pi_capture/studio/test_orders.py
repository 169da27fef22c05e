"""Answers and news that reach a page in another order than usual, or after it was left."""

from __future__ import annotations

import json
import re
from typing import Any

from playwright.sync_api import Browser, Page, Route, expect

from tests.pi_capture.studio.browser import SlowNetwork, opened
from tests.pi_capture.studio.test_label_page import label_page, labelled
from tests.pi_capture.studio.test_labelling import Page as Other
from tests.pi_capture.studio.test_pages import at
from tests.pi_capture.studio.test_recorders import recorders, running
from tests.support import wait_for
from tests.support.networks import put_network
from tests.support.studio import Running

__all__ = ["running"]
EVENTS = "**/labelling/events"
ACTIONS = "**/labelling/actions"


def news(*told: tuple[str, Any]) -> dict[str, str]:
    """A stream of events that ends after them."""
    lines = [f"event: {name}\ndata: {json.dumps(value)}\n\n" for name, value in told]
    return {"body": "".join(lines), "content_type": "text/event-stream"}


def is_there(page: Page) -> None:
    expect(page.locator("canvas[data-frame]")).to_be_visible()


def test_news_of_what_one_did_before_moves_nothing(studio: Running, browser: Browser) -> None:
    """Undo is answered, and one has gone on, when the stream tells of it."""
    page = label_page(studio, browser)
    stream = SlowNetwork(page, EVENTS, is_slow=True)
    is_there(page)
    page.keyboard.press("1")
    with page.expect_response(lambda response: "undo" in (response.request.post_data or "")) as answer:
        page.keyboard.press("u")
    at(page, 1)
    (undone,) = answer.value.json()["changes"]
    page.keyboard.press("ArrowRight")
    at(page, 2)
    later = {**undone, "revision": undone["revision"] + 1, "by": "other", "labels": [[9, 10, 2]]}
    stream.answer(stream.take(), **news(("change", undone), ("change", later)))
    expect(page.locator(".classbutton .count").nth(2)).to_have_text("1")
    at(page, 2)


def test_a_late_answer_brings_nothing_back(studio: Running, browser: Browser) -> None:
    """Another page ended holding a label before the answer to R came."""
    other = Other(studio, "other")
    page = label_page(studio, browser)
    network = SlowNetwork(page, ACTIONS)
    is_there(page)
    late = network.hold(lambda: page.keyboard.press("r"))
    answer = late.fetch()
    other.act("hold", frame=0, on=False)
    other.act("least_certain", frame=0)
    expect(page.get_by_role("button", name="Least certain")).to_have_attribute("aria-pressed", "true")
    network.answer(late, response=answer)
    expect(page.get_by_role("button", name="Hold")).to_have_attribute("aria-pressed", "false")


def test_an_answer_that_is_lost(studio: Running, browser: Browser) -> None:
    """The stream tells that it was done: what waited goes on where undo led. A labelling opened anew is shown anew."""
    page = label_page(studio, browser)
    stream = SlowNetwork(page, EVENTS, is_slow=True)
    network = SlowNetwork(page, ACTIONS)
    is_there(page)
    page.keyboard.type("11")
    wait_for(lambda: page.wait_for_timeout(20) or len(labelled(studio)) == 2)
    lost = network.hold(lambda: page.keyboard.press("u"))
    page.keyboard.press("2")
    lost.fetch()
    network.is_slow = True
    lost.abort()
    expect(page.locator(".waiting")).to_contain_text("1 action kept here")
    again = network.take()
    state = studio.post(f"{studio.recording('day1')}/labelling")
    stream.held = stream.held[-1:]
    stream.answer(stream.take(), **news(("state", state)))
    expect(page.locator(".waiting")).to_be_empty()
    network.is_slow = False
    again.continue_()
    at(page, 3)
    wait_for(lambda: page.wait_for_timeout(20) or len(labelled(studio)) == 3)
    assert labelled(studio)[-1] == (["00000001.png"], 2)
    page.locator(".labelling").evaluate("page => page.classList.add('before')")
    stream.answer(stream.take(), **news(("state", {**state, "session": "another"})))
    expect(page.locator(".before")).to_have_count(0)


def test_what_comes_after_a_page_was_left_changes_no_other(studio: Running, browser: Browser) -> None:
    other = Other(studio, "other")
    page = label_page(studio, browser)
    streams: list[Route] = []
    page.route(EVENTS, lambda route, _: (streams.append(route), route.continue_()))
    network = SlowNetwork(page, ACTIONS)
    is_there(page)
    address = page.url
    late = network.hold(lambda: page.keyboard.press("1"))
    page.goto(re.sub("#.*", "#/trash", address))
    expect(page.get_by_text("The trash is empty.")).to_be_visible()
    other.act("label", frame=9, label=2)
    before = len(streams)
    network.answer(late, response=late.fetch())  # it tells that something was missed
    assert len(streams) == before, "the page that was left listens again"

    opening = SlowNetwork(page, "**/labelling")
    expect(page.get_by_text("The trash is empty.")).to_be_visible()
    late = opening.hold(lambda: page.goto(address))
    page.goto(re.sub("#.*", "#/trash", address))
    expect(page.get_by_text("The trash is empty.")).to_be_visible()
    opening.answer(late, status=409, json={"error": "a window labels it", "take_over": True})
    expect(page.get_by_text("The trash is empty.")).to_be_visible()
    expect(page.get_by_text("Being labelled elsewhere")).to_have_count(0)

    page.goto(address)
    is_there(page)
    studio.post(f"{studio.recording('day1')}/labelling/close")
    expect(page.get_by_role("dialog")).to_contain_text("Labelling was closed")
    page.evaluate("location.hash = '#/trash'")
    expect(page.get_by_text("The trash is empty.")).to_be_visible()
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page.url.endswith("#/trash")


def test_a_late_answer_about_a_form_is_not_that_of_the_form_now(studio: Running, browser: Browser) -> None:
    """What to record, what to train, what to watch."""
    put_network(studio.folder)
    Other(studio, "other").act("label", frame=0, label=1)
    context, seen = opened(browser, "desktop")
    page = seen.page
    page.goto(f"{studio.url}/?token={studio.token}")
    page.goto(f"{studio.url}/#/record")
    network = SlowNetwork(page, "**/api/command", is_slow=True)
    first = network.take()
    page.get_by_label("Name").fill("later")
    second = network.take()
    network.answer(second, response=second.fetch())
    expect(page.locator(".command code")).to_contain_text("later")
    network.answer(first, json={"command": "earlier", "exists": False})
    expect(page.locator(".command code")).to_contain_text("later")

    page.goto(f"{studio.url}/#/train")
    status = {"name": "x.model", "what": "", "done": 0, "total": 0, "problem": "it is none", "report": None}
    page.route("**/api/training/command", lambda route, _: route.fulfill(json={"command": "x", "exists": False}))
    page.route("**/api/training/events", lambda route, _: events.append(route))
    events: list[Route] = []
    network = SlowNetwork(page, "**/api/training")
    page.get_by_label("day1").check()
    late = network.hold(lambda: page.get_by_role("button", name="Train").click())
    network.answer(events[-1], **news(("message", {**status, "state": "failed"})))  # before Train is answered
    expect(page.get_by_text("x.model: it is none")).to_be_visible()
    network.answer(late, json={**status, "state": "training"})
    expect(page.get_by_text("x.model: it is none")).to_be_visible()

    page.goto(f"{studio.url}/#/watch")
    page.route("**/api/preview", lambda route, _: route.fulfill(status=409, json={"error": "the camera is busy"}))
    network = SlowNetwork(page, "**/api/watch/command", is_slow=True)
    late = network.take()
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("alert")).to_have_text("the camera is busy")
    network.answer(late, json={"command": "watch it"})
    expect(page.locator(".command code")).to_have_text("watch it")
    expect(page.get_by_role("alert")).to_have_text("the camera is busy")
    context.close()


def test_a_label_that_another_page_has_ended_begins_again(
    running: tuple[Running, dict[str, Any]], browser: Browser
) -> None:
    """While it records: the same key is no second press."""
    studio, recorder = running
    context, seen = opened(browser, "desktop")
    page = seen.page
    page.goto(f"{studio.url}/?token={studio.token}")
    page.goto(f"{studio.url}/#/recorder/{recorder['id']}")
    door = page.get_by_role("button", name="door")
    expect(door).to_be_visible()
    with page.expect_response("**/label"):
        page.keyboard.press("1")
    studio.post(f"/api/recorders/{recorder['id']}/label", {"label": None})
    expect(door).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("1")
    wait_for(lambda: recorders(studio)[0]["label"] == 1)
    context.close()
