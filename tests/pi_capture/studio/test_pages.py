"""The studio's pages in a real browser, from the address with the token to labelled data."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from storage import open_recording
from storage.convert.convert import convert
from tests.pi_capture.studio.browser import SIZES, SlowNetwork, opened
from tests.support import REPOSITORY, wait_for
from tests.support.studio import Running

NAMES = ("none", "door", "light")


@contextmanager
def studio_of(place: Path) -> Iterator[tuple[str, Path]]:
    """The address with the token, and the folder: of a new studio, or of one that runs in a fresh system's tree."""
    if "STUDIO_ADDRESS" in os.environ:
        yield os.environ["STUDIO_ADDRESS"], Path(os.environ["STUDIO_FOLDER"])
        return
    with Running(place) as running:
        yield f"{running.url}/?token={running.token}", running.folder


def at(page: Page, number: int) -> None:
    """Wait until a frame is looked at."""
    expect(page.locator(".position")).to_have_text(re.compile(f"^{number} /"))


def recorded(page: Page) -> int:
    """How many frames the page says are recorded."""
    return int(page.locator(".counters dd").first.inner_text().replace(" ", ""))


def tap(page: Page, name: str, size: str, scope: str = "body") -> None:
    """Press a button as people do on such a device."""
    found = page.locator(scope).get_by_role("button", name=name)
    found.click() if size == "desktop" else found.tap()


BUSY = "() => { const until = performance.now() + 600; while (performance.now() < until); }"


def press_class(page: Page, name: str, size: str) -> None:
    """Press a class button for a moment, which `Locator.click` can't promise on a busy machine."""
    found = page.locator(".classbuttons").get_by_role("button", name=re.compile(name))
    if size != "desktop":
        return found.tap()
    found.click(trial=True)
    box = found.bounding_box()
    assert box is not None
    middle = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    gesture = {**middle, "duration": 1, "gestureSourceType": "mouse"}
    page.context.new_cdp_session(page).send("Input.synthesizeTapGesture", gesture)
    return None


def strike(page: Page, digit: int) -> None:
    """Press a key for a moment, while the page is so busy that it hears late of its end."""
    devtools, now = page.context.new_cdp_session(page), time.time()
    key = {"code": f"Digit{digit}", "key": str(digit), "windowsVirtualKeyCode": ord(str(digit))}
    devtools.send("Input.dispatchKeyEvent", {**key, "type": "keyDown", "timestamp": now})
    page.evaluate(BUSY)
    devtools.send("Input.dispatchKeyEvent", {**key, "type": "keyUp", "timestamp": now + 0.05})


def record(page: Page, size: str, name: str) -> None:
    """Record the demo camera, label while it records, and stop it once it has 330 frames."""
    page.get_by_role("link", name="New recording").click()
    page.get_by_label("Name").fill(name)
    page.get_by_label(re.compile("^Camera")).select_option("demo")
    page.get_by_label("Pictures a second").fill("60")
    page.get_by_label(re.compile("^Classes")).fill(", ".join(NAMES))
    expect(page.locator(".command code")).to_contain_text(f"{name} -1 --camera demo")
    expect(page.get_by_role("img", name="What the camera sees")).to_have_attribute("data-frame", re.compile(r"\d+"))
    tap(page, "Record", size)
    expect(page.get_by_role("img", name="What is being recorded")).to_have_attribute("data-frame", re.compile(r"\d+"))
    for label, press in (("door", lambda: strike(page, 1)), ("light", lambda: press_class(page, "light", size))):
        press()
        before = recorded(page)
        wait_for(lambda before=before: recorded(page) > before + 60)
        expect(page.get_by_role("button", name=label)).to_have_attribute("aria-pressed", "true")
    wait_for(lambda: recorded(page) > 330)
    tap(page, "Stop", size)
    page.get_by_role("link", name="Label it").click()


@pytest.mark.parametrize("size", SIZES)
def test_journey(size: str, browser: Browser, tmp_path: Path) -> None:
    """Record, label by keys and by touch, save, undo, save again, split, download."""
    with studio_of(tmp_path) as (address, folder):
        context, seen = opened(browser, size)
        page = seen.page
        page.goto(address)
        expect(page).to_have_url(re.compile(r"/$|/#/$"))  # the token is gone
        expect(page.get_by_text("Nothing is recorded here yet.")).to_be_visible()
        record(page, size, "day1")

        count = len(open_recording(folder / "day1"))
        label_all(page, size)
        save_twice(page, size, folder)
        expect(page.locator(".frame")).to_have_count(60)
        labels = open_recording(folder / "day1").labels
        assert labels[:150] == [NAMES[n // 30 % 3] for n in range(150)]
        assert labels[150:] == [NAMES[n // 50] for n in range(150)] + ["none"] * (count - 300)
        verify_and_split(page, size, folder)
        download(page, count)
        assert [one for one in seen.complaints if "422" not in one] == []  # a first plan for the split can't be
        context.close()


def label_all(page: Page, size: str) -> None:
    """Label 300 frames, half by keys and half by buttons; take two back, and again; then the rest as one run."""
    expect(page.locator("canvas[data-frame]")).to_be_visible()
    page.keyboard.press("Home")
    for n in range(150):
        page.keyboard.press(f"Digit{n // 30 % 3}")
    at(page, 151)
    for n in range(150):
        press_class(page, NAMES[n // 50], size)
    at(page, 301)
    page.keyboard.press("u")
    at(page, 300)
    page.reload()  # undo outlives it
    at(page, 300)
    page.keyboard.press("u")
    at(page, 299)
    page.keyboard.press("y")
    page.keyboard.press("y")
    at(page, 301)
    select_to_the_end(page)
    press_class(page, "none", size)


def save_twice(page: Page, size: str, folder: Path) -> None:
    """S, undo of it, and S again."""
    page.keyboard.press("s")
    expect(page.get_by_role("dialog")).to_contain_text("Saved")
    assert {path.parent.name for path in folder.glob("day1/*/*.png")} == set(NAMES)
    page.locator(".labelling").evaluate("page => page.classList.add('before')")
    tap(page, "Undo", size, "dialog")
    expect(page.locator(".before")).to_have_count(0)
    expect(page.locator(".position")).to_contain_text("100 % labelled")
    assert not list(folder.glob("day1/*/*.png"))
    tap(page, "Save", size, ".top")
    tap(page, "Look at them", size, "dialog")


def verify_and_split(page: Page, size: str, folder: Path) -> None:
    tap(page, "Verify", size)
    expect(page.get_by_text("all of them whole")).to_be_visible()
    tap(page, "Split …", size)
    page.get_by_label("Seconds left out between").fill("0")
    page.get_by_label("Per cent to hold out").fill("30")
    page.get_by_label("Per cent to hold out").blur()
    expect(page.get_by_role("dialog").get_by_role("table")).to_contain_text("test")
    tap(page, "Split", size, "dialog")
    expect(page.get_by_role("button", name="Undo the split")).to_be_visible()
    assert list(folder.glob("val_day1/door/*.png"))
    tap(page, "Undo the split", size)
    expect(page.get_by_role("button", name="Undo the last Save")).to_be_visible()


def download(page: Page, count: int) -> None:
    with page.expect_download() as file:
        page.get_by_role("link", name="Download (ZIP)").click()
    with zipfile.ZipFile(file.value.path()) as archive:
        assert sum(name.endswith(".png") for name in archive.namelist()) == count
        assert archive.testzip() is None


def select_to_the_end(page: Page) -> None:
    """Drag over the timeline, from the frame looked at to the last."""
    box = page.locator("canvas.detail").bounding_box()
    assert box is not None
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Escape")
    page.locator("canvas.detail").click(position={"x": box["width"] - 1, "y": 30}, modifiers=["Shift"])
    expect(page.locator(".selected")).to_contain_text("selected: choose a class")


def test_a_dialog_does_not_outlive_its_page(browser: Browser, studio: Running) -> None:
    """Going back leaves no question about a recording that is not shown any more."""
    context, seen = opened(browser, "phone")
    page = seen.page
    page.goto(f"{studio.url}/?token={studio.token}")
    page.get_by_role("link", name="Look at day1").click()
    page.get_by_role("button", name="To the trash").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("recordings")
    expect(page.locator(".headline")).to_contain_text(f"on {socket.gethostname()}")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert (studio.folder / "day1").is_dir() and seen.complaints == []
    context.close()


def test_what_is_deleted_for_good_is_not_shown_meanwhile(browser: Browser, studio: Running) -> None:
    """A card deletes thousands of files in seconds."""
    studio.post(f"{studio.recording('day1')}/trash")
    context, seen = opened(browser, "desktop")
    page = seen.page
    page.goto(f"{studio.url}/?token={studio.token}#/trash")
    network = SlowNetwork(page, "**/api/trash/empty")
    page.get_by_role("button", name="Empty the trash").click()
    late = network.hold(page.get_by_role("button", name="Delete for good").click)
    expect(page.get_by_text("Deleting …")).to_be_visible()
    expect(page.get_by_text("day1")).to_have_count(0)
    network.answer(late, response=late.fetch())
    expect(page.get_by_text("The trash is empty.")).to_be_visible()
    assert seen.complaints == []
    context.close()


CONTROLS = ("button", "link", "textbox", "combobox", "checkbox", "slider", "spinbutton", "searchbox", "image", "dialog")
SMALL_OR_WIDE = """() => [
    ...[...document.querySelectorAll("button, a, input, select")]
        .filter((one) => one.checkVisibility() && !one.matches(".skip, p a, h2 a, label *"))
        .filter((one) => one.getBoundingClientRect().height < 24 || one.getBoundingClientRect().width < 24),
    ...[...document.querySelectorAll("main *, dialog")]
        .filter((one) => one.checkVisibility() && !one.closest(".tools, .film, .stage, .wide"))
        .filter((one) => one.getBoundingClientRect().right > innerWidth + 1),
].map((one) => one.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize("width", [320, 390, 3840])
def test_every_page_can_be_heard_and_touched(width: int, browser: Browser, studio: Running) -> None:
    """Each control has a name for screen readers, is at least 24 pixels large (WCAG 2.2), and lies on the screen."""
    (studio.folder / "broken.mkv").write_bytes(b"x" * 100)
    context, seen = opened(browser, "desktop" if width > 1000 else "phone")
    page = seen.page
    page.set_viewport_size({"width": width, "height": 900})
    id = studio.recording("day1").rpartition("/")[2]
    page.goto(f"{studio.url}/?token={studio.token}")
    expect(page.get_by_text("is not a video")).to_be_visible()
    wrong = complaints_of(page)
    for place, there in (
        ("#/record", page.locator(".command code", has_text="python -m")),
        (f"#/look/{id}", page.locator(".frame").first),
        ("#/train", page.get_by_text("No recording has labels yet.")),
        ("#/watch", page.get_by_text("There is no model yet.")),
        ("#/trash", page.get_by_text("The trash is empty.")),
        ("#/nowhere", page.get_by_role("alert")),
        (f"#/label/{id}", page.locator("canvas[data-frame]")),
    ):
        page.goto(f"{studio.url}/{place}")
        expect(there).to_be_visible()
        wrong += [f"{place}: {one}" for one in complaints_of(page)]
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert wrong + complaints_of(page) == []
    context.close()


def complaints_of(page: Page) -> list[str]:
    """What the accessibility tree has without a name, and what is too small or off the screen."""
    devtools = page.context.new_cdp_session(page)
    nodes = [node for node in devtools.send("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
    names = [(node["role"]["value"], node.get("name", {}).get("value", "").strip()) for node in nodes]
    found: list[str] = page.evaluate(SMALL_OR_WIDE)
    return [f"{role} without a name" for role, name in names if role in CONTROLS and not name] + found


def test_by_keys_alone(browser: Browser, studio: Running) -> None:
    """From the first page to a label and back, with Tab and Enter; what has the focus can be seen."""
    context, seen = opened(browser, "desktop")
    page = seen.page
    page.goto(f"{studio.url}/?token={studio.token}")
    expect(page.get_by_role("link", name="Label day1")).to_be_visible()
    tab_to(page, "Label day1")
    assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    at(page, 1)
    page.keyboard.press("1")
    at(page, 2)
    tab_to(page, "Save")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("Saved")
    page.keyboard.press("Escape")
    tab_to(page, "Recordings")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Look at day1")).to_be_visible()
    assert seen.complaints == []
    context.close()


def test_classes_get_their_names(browser: Browser, studio: Running) -> None:
    context, seen = opened(browser, "desktop")
    page = seen.page
    page.goto(f"{studio.url}/?token={studio.token}#/look/{studio.recording('day1').rpartition('/')[2]}")
    for names, then in (("door,door", "every class needs a name of its own"), ("window, door", "")):
        page.get_by_role("button", name="Classes …").click()
        page.get_by_label("Names, with commas").fill(names)
        page.get_by_role("dialog").get_by_role("button", name="Label with them").click()
        if then:
            expect(page.get_by_text(then)).to_be_visible()
    at(page, 1)
    page.keyboard.press("1")
    at(page, 2)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog")).to_contain_text("door: 1 frame")
    assert len(list((studio.folder / "day1/door").iterdir())) == 1
    assert len(seen.complaints) == 1 and " 400 " in seen.complaints[0]
    context.close()


def test_a_frame_of_a_part_says_which_it_was_and_how_it_is_labelled_anew(browser: Browser, studio: Running) -> None:
    path = studio.recording("day1")
    names = list(open_recording(studio.folder / "day1").names)
    opening = studio.post(f"{path}/labelling", {"classes": ["none", "door"]})["opening"]
    runs = [{"first": first, "stop": first + 4, "label": first // 4 % 2} for first in range(0, 40, 4)]
    actions = [{"action": "label_run", "seq": seq, **run} for seq, run in enumerate(runs, 1)]
    studio.post(f"{path}/labelling/actions", {"client": "a", "opening": opening, "actions": actions})
    studio.post(f"{path}/labelling/apply")
    studio.post(f"{path}/split", {"val": 0.3, "gap": 0})
    part = open_recording(studio.folder / "val_day1").names[2].rpartition("/")[2]
    context, seen = opened(browser, "desktop")
    page = seen.page
    page.goto(f"{studio.url}/?token={studio.token}")
    expect(page.get_by_role("link", name="Look at val_day1")).to_be_visible()
    page.goto(f"{studio.url}/#/look/{studio.recording('val_day1').rpartition('/')[2]}/2")
    told = page.get_by_role("dialog").get_by_text("To change its label").inner_text()
    match = re.fullmatch(
        r"To change its label: look at day1; press Undo the split, Undo the last Save, Label, Go to …, (\d+)\.", told
    )
    assert match and names[int(match[1]) - 1] == part
    expect(page.get_by_text(f"frame {match[1]} of day1 before the split")).to_be_visible()
    page.get_by_role("button", name="Look at day1").click()
    expect(page.get_by_role("heading", name="day1", exact=True)).to_be_visible()
    page.get_by_role("button", name="To the trash").click()
    expect(page.get_by_text("day1 is split: press Undo the split first")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="Undo the split").click()
    page.get_by_role("button", name="Undo the last Save").click()
    page.get_by_role("link", name="Label", exact=True).click()
    page.get_by_role("button", name="Go to …").click()
    page.get_by_label("Number, 1 to 40").fill(match[1])
    page.get_by_role("button", name="Go", exact=True).click()
    at(page, int(match[1]))
    other = 1 - (int(match[1]) - 1) // 4 % 2
    page.keyboard.press(f"{other}")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="Look at them").click()
    assert (studio.folder / "day1" / ("none", "door")[other] / part).exists() and seen.complaints == []
    context.close()


def test_a_live_label_that_can_not_be_sent_is_told_as_lost(browser: Browser, studio: Running) -> None:
    """The recording goes on meanwhile: later the label would be another moment's."""
    wanted = {"name": "day2", "camera": "demo", "size": "64x64", "fps": 20, "classes": ["none", "door"]}
    recorder = studio.post("/api/recorders", wanted)
    context, seen = opened(browser, "desktop")
    page = seen.page
    page.goto(f"{studio.url}/?token={studio.token}#/recorder/{recorder['id']}")
    expect(page.get_by_role("button", name="door")).to_be_visible()
    context.set_offline(True)
    press_class(page, "door", "desktop")
    lost = page.get_by_role("alert").filter(has_text="'door' was not kept: the studio can't be reached")
    expect(lost).to_be_visible()
    expect(page.get_by_role("button", name="door")).to_have_attribute("aria-pressed", "false")
    context.set_offline(False)
    press_class(page, "door", "desktop")
    expect(lost).to_have_count(0)
    expect(page.get_by_role("button", name="door")).to_have_attribute("aria-pressed", "true")
    studio.post(f"/api/recorders/{recorder['id']}/stop")
    context.close()


def test_one_file_says_why_it_has_no_split(browser: Browser, studio: Running) -> None:
    convert(studio.folder / "day1", studio.folder / "day2.mkv")
    context, seen = opened(browser, "desktop")
    page = seen.page
    page.goto(f"{studio.url}/?token={studio.token}#/look/{studio.recording('day2.mkv').rpartition('/')[2]}")
    expect(page.get_by_text("One file can't be split, and needs no Undo of Save")).to_be_visible()
    page.goto(f"{studio.url}/#/look/{studio.recording('day1').rpartition('/')[2]}")
    expect(page.get_by_role("button", name="Split …")).to_be_visible()
    expect(page.get_by_text("One file can't be split")).to_have_count(0)
    assert seen.complaints == []
    context.close()


def test_names_that_are_hardly_meant_are_asked_about(browser: Browser, studio: Running) -> None:
    context, seen = opened(browser, "phone")
    page = seen.page
    page.goto(f"{studio.url}/?token={studio.token}#/record")
    page.get_by_label("Name").fill("day2")
    page.get_by_label(re.compile("^Camera")).select_option("demo")
    page.get_by_label(re.compile("^Classes")).fill("none door light")
    assert page.get_by_label(re.compile("^Classes")).get_attribute("autocapitalize") == "none"
    page.get_by_role("button", name="Record", exact=True).click()
    page.get_by_role("dialog", name="Is 'none door light' one class?").get_by_role("button", name="Change it").click()
    page.goto(f"{studio.url}/#/look/{studio.recording('day1').rpartition('/')[2]}")
    for answer in ("Change it", "They are"):
        page.get_by_role("button", name="Classes …").click()
        page.get_by_label("Names, with commas").fill("none, door, None")
        page.get_by_role("dialog").get_by_role("button", name="Label with them").click()
        question = page.get_by_role("dialog", name="Are these different classes?")
        expect(question).to_contain_text("'none' and 'None' are two classes")
        question.get_by_role("button", name=answer).click()
    at(page, 1)
    assert not (studio.folder / "day2").exists() and seen.complaints == []
    context.close()


def test_a_name_that_exists_is_asked_about(browser: Browser, studio: Running) -> None:
    context, seen = opened(browser, "desktop")
    page = seen.page
    page.goto(f"{studio.url}/?token={studio.token}#/record")
    page.get_by_label("Name").fill("day1")
    page.get_by_label(re.compile("^Camera")).select_option("demo")
    page.get_by_label("Seconds").fill("0.5")
    page.get_by_label(re.compile("^Classes")).fill("none; door")
    expect(page.locator(".command code")).to_contain_text("none,door")
    for answer in ("Another name", "Add to it"):
        page.get_by_role("button", name="Record for 0.5 s", exact=True).click()
        expect(page.get_by_role("dialog")).to_contain_text("day1 exists already with 40 frames: add to it?")
        page.get_by_role("button", name=answer).click()
    expect(page.get_by_text("Recorded: ")).to_be_visible()
    count = len(list((studio.folder / "day1").glob("*.png")))
    assert count > 40
    expect(page.get_by_text(f"Recorded: day1 has {count} frames")).to_be_visible()
    page.get_by_role("link", name="Record more").click()
    expect(page.get_by_role("button", name="Record for 0.5 s")).to_be_visible()  # as before, and said
    context.close()


@pytest.mark.parametrize("name", ["day2", "day2.mkv"])
def test_a_recording_that_was_cut_off_is_called_so(browser: Browser, studio: Running, name: str) -> None:
    """As a power cut leaves it: the recorder is gone, and what was safe is there."""
    wanted = {"name": name, "camera": "demo", "size": "64x64", "fps": 20}
    recorder = studio.post("/api/recorders", wanted)
    context, seen = opened(browser, "desktop")
    page = seen.page
    page.goto(f"{studio.url}/?token={studio.token}#/recorder/{recorder['id']}")
    wait_for(lambda: recorded(page) > 30)
    (running,) = (studio.place / "run" / "pi-capture").glob("*.sock")
    os.kill(int(running.stem), signal.SIGKILL)
    expect(page.get_by_text("Cut off, as by a power cut; what was safe is kept: ")).to_be_visible()
    count = len(open_recording(studio.folder / name))
    assert count > 0
    expect(page.get_by_text(f"{name} has {count} frames")).to_be_visible()
    page.get_by_role("link", name="Recordings", exact=True).click()
    expect(page.get_by_text(f"{count} to be labelled · cut off")).to_be_visible()
    context.close()


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the element of that name has the focus."""
    named = "() => (document.activeElement.ariaLabel || document.activeElement.innerText || '').trim()"
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate(named) == name:
            return
    raise AssertionError(f"{name} is not reached")


def test_types() -> None:
    """What the modules say about their types in comments holds."""
    assert shutil.which("tsc"), "scripts/test.sh installs node-typescript"
    project = REPOSITORY / "tests" / "pi_capture" / "studio" / "tsconfig.json"
    done = subprocess.run(["tsc", "-p", project], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_everything_is_in_the_wheel() -> None:
    """The pages name no other server: they work in a workshop without the internet."""
    static = REPOSITORY / "pi_capture" / "studio" / "static"
    for path in static.iterdir():
        text = path.read_text()
        assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)[^\s\"'`]+", text), path.name
        assert "innerHTML" not in text, path.name
