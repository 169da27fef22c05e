#!/usr/bin/env python3
"""Make the pictures of the window and of the studio in docs/images, with the demo scene.

    PYTHONPATH=. python scripts/screenshots.py

Needs what the tests need (scripts/test.sh installs it). Look at each before you commit it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageGrab
from playwright.sync_api import Browser, Page, expect

from storage.formats.table import label_writer
from tests.pi_capture.studio.browser import chromium, opened
from tests.support.labeller import Person, desktop_of
from tests.support.studio import Running

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
NAMES = ["none", "door", "light", "music", "stop"]


def main() -> int:
    with tempfile.TemporaryDirectory() as place, Running(Path(place)) as studio:
        for seed in (0, 3):
            draw(studio.folder / f"room{seed}.mkv", seed)
        subprocess.run([sys.executable, "-m", "pi_capture", *half_a_minute(studio.folder / "day1")], check=True)
        digits = true_digits(studio.folder / "day1")
        window(studio.folder / "day1", digits[:75])
        with chromium() as browser:
            pages(browser, f"{studio.url}/?token={studio.token}", digits[75:240])
    return 0


def half_a_minute(target: Path) -> list[str]:
    return [str(target), "20", "--camera", "demo:7", "--size", "320x240", "--fps", "20", "--quiet"]


def true_digits(recording: Path) -> list[str]:
    """The key of each frame's true class."""
    from storage import open_recording

    return [str(frame.metadata["label"]) for frame in open_recording(recording)]


def draw(target: Path, seed: int) -> None:
    """A labelled recording of a minute."""
    from pi_capture import Recorder
    from pi_capture.sources.demo import draw

    labels = []
    with Recorder(target, fps=10) as recorder:
        for number in range(600):
            pixels, label = draw(seed=seed, number=number, fps=10, size=(160, 120))
            recorder.write(pixels)
            labels.append(NAMES[label])
    label_writer(target)(labels, NAMES)


def pages(browser: Browser, address: str, digits: list[str]) -> None:
    context, seen = opened(browser, "desktop", dark=True)
    page = seen.page
    page.goto(address)
    label(page, digits)
    shot(page, "studio-laptop")
    train_and_watch(page)
    record(page)
    context.close()
    context, seen = opened(browser, "phone", dark=True)
    seen.page.goto(address)
    seen.page.get_by_role("link", name="Label day1").click()
    expect(seen.page.locator("canvas[data-frame]")).to_be_visible()
    time.sleep(2)  # for the pictures of the strip
    shot(seen.page, "studio-phone")
    context.close()


def label(page: Page, digits: list[str]) -> None:
    page.get_by_role("link", name="Label day1").click()
    expect(page.locator("canvas[data-frame]")).to_be_visible()
    for digit in digits:
        page.keyboard.press(f"Digit{digit}")
    time.sleep(2)


def train_and_watch(page: Page) -> None:
    page.get_by_role("link", name="Train", exact=True).click()
    page.get_by_label("Name of the model").fill("gestures")
    for room in ("room0.mkv", "room3.mkv"):
        page.get_by_label(room).check()
    page.get_by_role("button", name="Train").click()
    report = page.get_by_role("region", name="How good gestures.model is")
    expect(report).to_contain_text("of the frames are right")
    report.scroll_into_view_if_needed()
    time.sleep(2)
    keep(Image.open(BytesIO(report.screenshot())), "studio-train")
    page.get_by_role("link", name="All models").click()
    page.get_by_role("link", name="Watch with gestures.model").click()
    page.get_by_label(re.compile("^Camera")).select_option("demo")
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".chip")).to_have_text(re.compile("^door"))
    shot(page, "studio-watch")
    page.get_by_role("button", name="Stop", exact=True).click()


def record(page: Page) -> None:
    page.get_by_role("link", name="Recordings", exact=True).click()
    page.get_by_role("link", name="New recording").click()
    page.get_by_label("Name").fill("day2")
    page.get_by_label(re.compile("^Camera")).select_option("demo")
    page.get_by_label(re.compile("^Classes")).fill(", ".join(NAMES))
    page.get_by_role("button", name="Record").click()
    expect(page.get_by_role("img", name="What is being recorded")).to_have_attribute("data-frame", re.compile(r"\d+"))
    page.keyboard.press("Digit1")
    expect(page.get_by_role("button", name="door")).to_have_attribute("aria-pressed", "true")
    time.sleep(2)
    shot(page, "studio-record")
    page.get_by_role("link", name="Recordings", exact=True).click()
    expect(page.get_by_text("day2").first).to_be_visible()
    time.sleep(2)
    shot(page, "studio-home")
    page.get_by_role("link", name="Watch, label and stop").click()
    page.get_by_role("button", name="Stop recording").click()
    expect(page.get_by_role("link", name="Label it")).to_be_visible()


def shot(page: Page, name: str) -> None:
    keep(Image.open(BytesIO(page.screenshot())), name)


def keep(picture: Image.Image, name: str) -> None:
    """With 256 colours it is a third as large."""
    picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(IMAGES / f"{name}.png", optimize=True)


def window(day: Path, digits: list[str]) -> None:
    with desktop_of("1024x800") as display:
        person = Person(day, display, "--classes", ",".join(NAMES))
        person.press(*digits)
        told = subprocess.run(
            ["xwininfo", "-display", display, "-id", person.window], capture_output=True, text=True, check=True
        ).stdout
        left, top = (int(found) for found in re.findall(r"Absolute upper-left [XY]: +(-?\d+)", told))
        width, height = (int(found) for found in re.findall(r"(?:Width|Height): (\d+)", told))
        picture = ImageGrab.grab((left, top, left + width, top + height), xdisplay=display)
        picture.save((IMAGES / "classify").with_suffix(".png"), optimize=True)
        person.process.terminate()
        person.process.wait()


if __name__ == "__main__":
    sys.exit(main())
