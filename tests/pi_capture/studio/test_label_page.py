"""The labelling page in a real browser: keys, fingers, a network that goes away, a window that labels, odd names."""

from __future__ import annotations

import re
import shutil
import socket
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from classify.window.keymap import action_of
from storage.labels.beside import journal_path
from storage.labels.journal import Labelled, read_journal
from tests.pi_capture.studio.browser import opened
from tests.pi_capture.studio.test_pages import at
from tests.support import PATIENCE_SECONDS, wait_for
from tests.support.studio import Running

PLAYED = """async () => {
    const { Frames } = await import("/static/frames.js");
    const canvas = new OffscreenCanvas(2, 2);
    canvas.getContext("2d");
    const picture = await (await canvas.convertToBlob()).arrayBuffer();
    const length = (bytes) => new Uint8Array(new Uint32Array([bytes]).buffer).reverse();
    const asked = [];
    window.fetch = async (address) => {
        const { first, count, step } = Object.fromEntries(new URL(address, location).searchParams);
        const frames = Array.from({ length: Number(count) }, (_, n) => Number(first) + n * step);
        asked.push(...frames);
        const record = (frame) => {
            const head = new TextEncoder().encode(
                JSON.stringify({ frame, type: "image/png", proxy: false, error: "", bytes: picture.byteLength }));
            return [length(head.length), head, picture];
        };
        return new Response(new Blob(frames.flatMap(record)));
    };
    const decode = window.createImageBitmap;
    window.createImageBitmap = async (blob) => {
        await new Promise((resolve) => setTimeout(resolve, 5)); // a slow machine
        return decode(blob);
    };
    const frames = new Frames("/frames", 9000, () => {});
    const arrival = async (at) => {
        do await new Promise(requestAnimationFrame);
        while (!frames.get(at));
    };
    frames.lookAt(2000);
    const first = [...asked];
    await arrival(1896); // the last of those around it that make a whole pack
    for (let at = 2000; at < 3200; at += 8) {
        frames.lookAt(at, 8);
        await arrival(at);
    }
    await arrival(3192 + 89 * 8); // those further ahead may wait for a whole pack
    frames.close();
    return [first, asked];
}"""


def label_page(running: Running, browser: Browser, size: str = "desktop", host: str = "127.0.0.1") -> Page:
    _, seen = opened(browser, size)
    page = seen.page
    address = running.url.replace("127.0.0.1", host)
    page.goto(f"{address}/?token={running.token}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.goto(f"{address}/#/label/{running.recording('day1').rpartition('/')[2]}")
    expect(page.locator("canvas[data-frame]")).to_be_visible()
    return page


def test_keys_are_those_of_the_window(studio: Running, browser: Browser) -> None:
    page = label_page(studio, browser)
    keys = {chr(code): code for code in range(ord(" "), ord("~")) if not chr(code).isdigit()}
    keys |= {"Escape": 0x1B, "Enter": 0x0D, "Backspace": 0x08, "Delete": 0xFFFF}
    keys |= {f"Arrow{way}": 0xFF51 + n for n, way in enumerate(("Left", "Up", "Right", "Down"))}
    keys |= {"PageUp": 0xFF55, "PageDown": 0xFF56, "Home": 0xFF50, "End": 0xFF57}
    actions = {key: action_of(code) for key, code in keys.items()}
    found = page.evaluate(
        """async keys => {
            const { deedOf } = await import("/static/keys.js");
            return keys.map((key) => deedOf({ key, code: "" }));
        }""",
        [*keys],
    )
    deeds = {key: deed and (deed["do"], deed["number"]) for key, deed in zip(keys, found, strict=True)}
    assert deeds == {key: action and (camel_case(action.do.name), action.number) for key, action in actions.items()}


def camel_case(name: str) -> str:
    first, *others = name.lower().split("_")
    return first + "".join(map(str.capitalize, others))


def test_at_fast_play_each_frame_is_asked_for_once(studio: Running, browser: Browser) -> None:
    """The nearest ones come first: no others delay them."""
    first, asked = label_page(studio, browser).evaluate(PLAYED)
    assert first == [*range(2000, 2030)]
    assert len(asked) > 239 + 150
    assert len(asked) == len(set(asked))


def labelled(running: Running) -> list[tuple[list[object], int | None]]:
    """The changes that are on the disk: which frames got which label."""
    entries = read_journal(journal_path(running.folder / "day1"))
    return [([*entry.frames], entry.label) for entry in entries if isinstance(entry, Labelled)]


def test_digits_count_by_their_place(studio: Running, browser: Browser) -> None:
    """On a French keyboard the key of 1 gives '&', on a Russian one the key of U gives 'г'."""
    page = label_page(studio, browser)
    press = "(body, key) => body.dispatchEvent(new KeyboardEvent('keydown', {bubbles: true, ...key}))"
    page.locator("body").evaluate(press, {"code": "Digit1", "key": "&"})
    at(page, 2)
    page.locator("body").evaluate(press, {"code": "KeyU", "key": "г"})
    at(page, 1)


def test_keys_without_a_network_are_kept_and_sent_once(studio: Running, browser: Browser) -> None:
    page = label_page(studio, browser)
    page.context.set_offline(True)
    page.keyboard.type("11122")
    at(page, 6)
    expect(page.locator(".waiting")).to_contain_text("5 actions kept here")
    assert labelled(studio) == []
    page.context.set_offline(False)
    expect(page.locator(".waiting")).to_be_empty()
    assert [label for _, label in labelled(studio)] == [1, 1, 1, 2, 2]


def test_what_a_page_could_not_send_the_next_one_sends(studio: Running, browser: Browser) -> None:
    page = label_page(studio, browser)
    address = page.url
    page.context.set_offline(True)
    page.keyboard.type("102")
    expect(page.locator(".waiting")).to_contain_text("3 actions kept here")
    page.close(run_before_unload=False)
    context_page = page.context.new_page()
    page.context.set_offline(False)
    context_page.goto(address)
    at(context_page, 4)
    assert [label for _, label in labelled(studio)] == [1, 0, 2]


def test_what_was_passed_without_a_network_is_labelled_by_a_studio_started_anew(
    studio: Running, browser: Browser
) -> None:
    page = label_page(studio, browser)
    address = page.url
    page.keyboard.type("r2")
    at(page, 2)
    expect(page.locator(".selected")).to_contain_text("Hold: what you play or jump over becomes")
    wait_for(lambda: len(labelled(studio)) == 1)
    page.context.set_offline(True)
    page.keyboard.type("g12")
    page.keyboard.press("Enter")
    expect(page.locator(".waiting")).to_contain_text("2 actions kept here")
    expect(page.locator(".classbutton .count").nth(2)).to_have_text("11")
    page.close(run_before_unload=False)
    studio.kill()
    studio.start()
    next_page = page.context.new_page()
    page.context.set_offline(False)
    next_page.goto(address)
    at(next_page, 12)
    expect(next_page.locator(".classbutton .count").nth(2)).to_have_text("11")
    assert [label for _, label in labelled(studio)] == [2, 2]


def test_a_page_follows_a_studio_started_anew(studio: Running, browser: Browser) -> None:
    page = label_page(studio, browser)
    page.keyboard.type("1")
    wait_for(lambda: len(labelled(studio)) == 1)
    page.locator(".labelling").evaluate("page => page.classList.add('before')")
    studio.kill()
    studio.start()
    expect(page.locator(".before")).to_have_count(0)
    expect(page.locator("canvas[data-frame]")).to_be_visible()
    assert studio.get(studio.recording("day1"))["labelled_by"] == "this studio"
    page.keyboard.type("2")
    wait_for(lambda: [label for _, label in labelled(studio)] == [1, 2])


def test_while_frames_are_sorted_keys_and_buttons_do_nothing(studio: Running, browser: Browser) -> None:
    page = label_page(studio, browser)
    page.clock.install()
    asked: list[Route] = []
    page.route("**/labelling/apply", lambda route, _: asked.append(route))
    page.reload()  # what was loaded before may get past the route
    expect(page.locator("canvas[data-frame]")).to_be_visible()
    with page.expect_request("**/labelling/apply"):
        page.keyboard.type("1ss")
    expect(page.locator("#told")).to_have_text("saving …")
    page.clock.fast_forward(10_000)
    page.keyboard.type("2s")
    page.locator(".classbutton").nth(1).click()
    page.get_by_role("button", name="Save").click()
    assert page.evaluate("Object.keys(localStorage)") == []
    expect(page.locator("#told")).to_have_text("saving …")
    (only,) = asked
    only.continue_()
    expect(page.get_by_role("dialog")).to_contain_text("Saved")
    expect(page.get_by_role("dialog")).to_contain_text("39 frames without a class")


def test_a_class_that_is_held_down_paints(studio: Running, browser: Browser) -> None:
    page = label_page(studio, browser, "tablet")
    button = page.locator(".classbutton").nth(3)
    button.hover()
    page.mouse.down()
    expect(page.locator(".position")).to_have_text(re.compile(r"^\d\d /"))
    page.mouse.up()
    expect(page.locator(".classbutton .count").nth(3)).not_to_have_text("0")
    page.keyboard.press("u")
    expect(page.locator(".classbutton .count").nth(3)).to_have_text("0")  # all of it is one change
    wait_for(lambda: [label for _, label in labelled(studio)] == [3])


def test_a_swipe_steps_and_a_drag_over_the_timeline_labels(studio: Running, browser: Browser) -> None:
    page = label_page(studio, browser, "phone")
    stage = page.locator(".stage").bounding_box()
    assert stage is not None
    x, y = stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 120, y, steps=5)
    page.mouse.up()
    at(page, 4)
    timeline = page.locator("canvas.detail").bounding_box()
    assert timeline is not None
    page.mouse.move(timeline["x"] + 1, timeline["y"] + 25)
    page.mouse.down()
    page.mouse.move(timeline["x"] + timeline["width"] / 2 - 1, timeline["y"] + 25, steps=5)
    page.mouse.up()
    expect(page.locator(".selected")).to_contain_text("20 frames selected")
    page.keyboard.press("Digit2")
    expect(page.locator(".classbutton .count").nth(2)).to_have_text("20")
    wait_for(lambda: [label for _, label in labelled(studio)] == [2])
    page.mouse.move(timeline["x"] + timeline["width"] / 4, timeline["y"] + 25)
    page.mouse.down()
    page.mouse.move(timeline["x"] + timeline["width"] / 2 - 1, timeline["y"] + 25, steps=5)
    page.mouse.up()
    expect(page.locator(".selected")).to_contain_text("10 frames selected")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".classbutton .count").nth(2)).to_have_text("10")


def test_two_pages_are_one_labelling(studio: Running, browser: Browser) -> None:
    one, other = label_page(studio, browser), label_page(studio, browser, "phone")
    one.keyboard.type("111")
    expect(other.locator(".classbutton .count").nth(1)).to_have_text("3")
    other.keyboard.press("u")
    expect(one.locator(".classbutton .count").nth(1)).to_have_text("2")


def test_save_asks_before_it_ends_another_page(studio: Running, browser: Browser) -> None:
    one, _ = label_page(studio, browser), label_page(studio, browser, "phone")
    one.keyboard.type("1")
    question = one.get_by_role("dialog", name="Save, although 1 other page labels this recording?")
    for answer, sorted_frames in (("Not yet", 0), ("Save for all", 1)):
        one.get_by_role("button", name="Save", exact=True).click()
        question.get_by_role("button", name=answer).click()
        expect(one.get_by_role("dialog", name="Saved")).to_have_count(sorted_frames)
        assert len([*(studio.folder / "day1").glob("*/*.png")]) == sorted_frames


def test_labels_that_can_not_be_kept_are_named(studio: Running, browser: Browser) -> None:
    """They waited on a phone while another page saved: whoever gave them can give them again."""
    studio.post(f"{studio.recording('day1')}/labelling", {"classes": ["none", "door", "light"]})
    page = label_page(studio, browser)
    page.keyboard.type("1")
    wait_for(lambda: len(labelled(studio)) == 1)
    page.context.set_offline(True)
    page.keyboard.type("2")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.type("1")
    expect(page.locator(".waiting")).to_contain_text("2 actions kept here")
    page.close(run_before_unload=False)
    studio.post(f"{studio.recording('day1')}/labelling/apply")
    next_page = page.context.new_page()
    page.context.set_offline(False)
    next_page.goto(page.url)
    dialog = next_page.get_by_role("dialog", name="2 labels can't be kept")
    expect(dialog.get_by_role("listitem")).to_have_text(["frame 2: light", "frames 3 to 4: door"])
    dialog.get_by_role("button", name="Go on").click()
    expect(next_page.locator("canvas[data-frame]")).to_be_visible()


def test_labels_that_arrive_late_do_not_replace_newer_ones(studio: Running, browser: Browser) -> None:
    phone, other = label_page(studio, browser, "phone"), label_page(studio, browser)
    phone.context.set_offline(True)
    phone.keyboard.type("111")
    expect(phone.locator(".waiting")).to_contain_text("3 actions kept here")
    other.keyboard.type("22")
    wait_for(
        lambda: [label for _, label in labelled(studio)] == [2, 2]
    )  # the page counts them before the studio has them
    phone.context.set_offline(False)
    expect(phone.locator("#told")).to_contain_text("2 labels of yours not taken: others labelled these frames later")
    expect(phone.locator(".classbutton .count").nth(2)).to_have_text("2")
    expect(phone.locator(".classbutton .count").nth(1)).to_have_text("1")
    phone.keyboard.press("u")  # its own, which came last
    expect(other.locator(".classbutton .count").nth(1)).to_have_text("0")
    phone.keyboard.press("u")
    expect(phone.locator(".message")).to_contain_text("another page's labels: frame 2 is as before; Redo")
    expect(other.locator(".message")).to_contain_text(
        "another page's Undo took back a label of yours; Redo gives it again"
    )


def test_a_window_is_taken_over(studio: Running, browser: Browser, screen: str) -> None:
    studio.environment["DISPLAY"] = screen
    window = studio.program("classify", studio.folder / "day1")
    facts = studio.recording("day1")
    while studio.get(facts)["labelled_by"] != "a window":
        assert window.poll() is None
    _, seen = opened(browser, "desktop")
    seen.page.goto(f"{studio.url}/?token={studio.token}")
    expect(seen.page.get_by_role("heading", level=1)).to_be_visible()
    seen.page.goto(f"{studio.url}/#/label/{facts.rpartition('/')[2]}")
    expect(seen.page.get_by_role("alert")).to_have_text("day1: another window labels this recording")
    seen.page.get_by_role("button", name="Take over").click()
    expect(seen.page.locator("canvas[data-frame]")).to_be_visible()
    window.wait(PATIENCE_SECONDS)


def test_no_secure_context_is_needed(tmp_path: Path, forty: Path, browser: Browser) -> None:
    """Over ``http://NAME.local`` browsers have no clipboard, no random UUIDs, no service workers."""
    (tmp_path / "recordings").mkdir()
    shutil.copytree(forty, tmp_path / "recordings" / "day1")
    with Running(tmp_path, host="0.0.0.0") as running:
        page = label_page(running, browser, host=f"{socket.gethostname().partition('.')[0]}.local")
        assert page.evaluate("isSecureContext") is False
        page.keyboard.type("12")
        at(page, 3)
        page.goto(page.url.partition("#")[0] + "#/record")
        expect(page.locator(".command code")).to_contain_text("python -m pi_capture")
        page.get_by_role("button", name="Copy").click()
        expect(page.locator("#told")).to_have_text("copied")
        wait_for(lambda: [label for _, label in labelled(running)] == [1, 2])


def test_names_are_never_markup(tmp_path: Path, forty: Path, browser: Browser) -> None:
    folder = tmp_path / "recordings"
    name, class_name = "<img src=x onerror=alert(1)>", "<b>door & co"
    shutil.copytree(forty, folder / name)
    (folder / "<script>.mkv").write_bytes(b"no video")
    with Running(tmp_path) as running:
        running.post(f"{running.recording(name)}/labelling", {"classes": ["none", class_name]})
        context, seen = opened(browser, "desktop")
        page = seen.page
        page.on("dialog", lambda dialog: seen.complaints.append(dialog.message))
        page.goto(f"{running.url}/?token={running.token}")
        expect(page.get_by_role("heading", name=name)).to_be_visible()
        expect(page.get_by_role("heading", name="<script>.mkv")).to_be_visible()
        expect(page.locator(".state.broken")).to_be_visible()
        page.get_by_role("link", name=f"Label {name}").click()
        expect(page.get_by_role("button", name=class_name)).to_be_visible()
        page.keyboard.press("1")
        at(page, 2)
        page.goto(page.url.replace("label", "look"))
        expect(page.get_by_role("button", name=class_name, exact=True)).to_be_visible()
        expect(page.locator("b").filter(has_text="door")).to_have_text(class_name)
        assert page.locator("img[src=x]").count() == 0
        assert seen.complaints == []
        context.close()


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read(studio: Running, browser: Browser, dark: bool) -> None:
    """The contrast of all text colours on all grounds is that of WCAG's level AA, 4.5 to 1."""
    _, seen = opened(browser, "desktop", dark=dark)
    seen.page.goto(f"{studio.url}/?token={studio.token}")
    expect(seen.page.get_by_role("heading", level=1)).to_be_visible()
    names = ["page", "card", "text", "quiet", "accent", "bad", "warn", "good", "on-accent"]
    colours = seen.page.evaluate(
        """names => {
            const context = document.createElement("canvas").getContext("2d");
            const style = getComputedStyle(document.documentElement);
            return names.map((name) => {
                context.fillStyle = style.getPropertyValue(`--${name}`);
                context.fillRect(0, 0, 1, 1);
                return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
            });
        }""",
        names,
    )
    page, card, *texts, on_accent = map(luminance, colours)
    assert min(contrast(text, ground) for text in texts for ground in (page, card)) >= 4.5
    assert contrast(on_accent, luminance(colours[names.index("accent")])) >= 4.5


def luminance(colour: list[int]) -> float:
    """As WCAG 2.2 defines relative luminance."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (value / 255 for value in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: float, other: float) -> float:
    lighter, darker = max(one, other), min(one, other)
    return (lighter + 0.05) / (darker + 0.05)
