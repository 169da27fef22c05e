"""All routes, asked for whatever comes to mind: each answers, in order or with one line, and nothing breaks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pi_capture.studio.actions import FIELDS
from pi_capture.studio.app import GETS, POSTS
from tests.support.labelled import everything
from tests.support.studio import Running

ENDLESS = ("/api/recorders/events", "/api/training/events", "/labelling/events", "/live")
SETTING_UP = ("/api/recorders", "/api/preview", "/api/command")  # a process each; test_recorders asks them

texts = st.text(max_size=20) | st.sampled_from(["../x", "day1", "0" * 16, "demo", "\0", "-1", "none"])
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from(
    [
        *("val", "gap", "seed", "allow_missing", "dry_run", "ids", "label", "classes", "relabel", "by_name"),
        *("take_over", "client", "opening", "actions", "more"),
    ]
)
actions = st.dictionaries(
    st.sampled_from(["frame", "label", "first", "stop", "by", "to", "on", "since"]), values
).flatmap(
    lambda fields: st.builds(
        lambda name, seq: {"action": name, "seq": seq, **fields}, st.sampled_from(list(FIELDS)), st.integers(0, 100)
    )
)
bodies = (
    st.dictionaries(names, values, max_size=4)
    | st.builds(lambda some: {"client": "x", "actions": some}, st.lists(actions, max_size=3))
    | values
)
queries = st.dictionaries(st.sampled_from(["first", "count", "step", "token", "x"]), texts, max_size=3)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, forty: Path) -> Iterator[tuple[Running, str]]:
    """A studio, and the identifier of its recording."""
    place = tmp_path_factory.mktemp("asked")
    shutil.copytree(forty, place / "recordings" / "day1")
    with Running(place) as running:
        yield running, running.recording("day1").rpartition("/")[2]


def path_of(route: str, id: str, frame: int) -> str:
    return route.replace("{id}", id).replace("{frame:int}", str(frame))


@settings(max_examples=50)
@given(st.data())
def test_whatever_is_asked(asked: tuple[Running, str], data: st.DataObject) -> None:
    studio, id = asked
    ids = st.sampled_from([id, "0" * 16, "..", "%00", "%2e%2e%2f", "x" * 300])
    before = studio.process.pid
    if data.draw(st.booleans()):
        route = data.draw(st.sampled_from([one for one in GETS if not one.endswith(ENDLESS)]))
        path = path_of(route, data.draw(ids), data.draw(st.integers(0, 50)))
        answer = studio.browser.get(path, params=data.draw(queries))
    else:
        route = data.draw(st.sampled_from([one for one in POSTS if one not in SETTING_UP]))
        answer = studio.browser.post(path_of(route, data.draw(ids), 0), content=json.dumps(data.draw(bodies)))
    assert answer.status_code < 500, (answer.request.url, answer.request.content, answer.text)
    if answer.status_code >= 400:
        assert "\n" not in answer.json()["error"]
    assert studio.process.poll() is None and studio.process.pid == before
    for item in studio.get("/api/trash")["items"]:  # so that the next one has something to ask for
        studio.post(f"/api/trash/{item['id']}/restore")


def test_afterwards_all_frames_are_there(asked: tuple[Running, str], forty: Path) -> None:
    """Whatever was asked above, none was deleted for good."""
    studio, _ = asked
    frames = {Path(name).name: data for name, data in everything(studio.place).items() if name.endswith(".png")}
    assert frames == {name: data for name, data in everything(forty).items() if name.endswith(".png")}


def test_every_post_asks_where_it_is_from(asked: tuple[Running, str]) -> None:
    studio, id = asked
    for route in POSTS:
        answer = studio.browser.post(path_of(route, id, 0), json={}, headers={"Origin": "http://evil.example"})
        assert answer.status_code == 403, route
    for route in (*GETS, *POSTS):
        if route != "/":
            bare = studio.new_browser()
            ask = bare.post if route in POSTS and route not in GETS else bare.get
            assert ask(path_of(route, id, 0)).status_code == 401, route
