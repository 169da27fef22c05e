"""Measure the studio's labelling page in a real browser: keys, scrubbing, memory, and a recording of many frames.

    python scripts/studio_benchmark.py [--frames 100000] [--steps 5000]

It needs Chromium and playwright, as `scripts/test.sh` installs them. One line a measurement; each says what it took.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from playwright.sync_api import CDPSession, Page

import pi_capture
from storage.formats.png.directory import frame_name
from tests.pi_capture.studio.browser import chromium, opened
from tests.support.studio import Running

KEY_TO_PICTURE = """async ([keys, code]) => {
    const canvas = document.querySelector("canvas[data-frame]");
    const times = [];
    for (let n = 0; n < keys; n += 1) {
        const before = canvas.dataset.frame;
        const begun = performance.now();
        document.body.dispatchEvent(new KeyboardEvent("keydown", { code, key: "1", bubbles: true }));
        while (canvas.dataset.frame === before) {
            await new Promise(requestAnimationFrame);
            if (performance.now() - begun > 5000) throw new Error(`no picture after ${before}`);
        }
        times.push(performance.now() - begun);
        await new Promise((resolve) => setTimeout(resolve, 60)); // a fast person
    }
    return times;
}"""

SCRUB = """async (steps) => {
    const canvas = document.querySelector("canvas[data-frame]");
    const key = "ArrowRight";
    const begun = performance.now();
    for (let n = 0; n < steps; n += 1) {
        const before = canvas.dataset.frame;
        document.body.dispatchEvent(new KeyboardEvent("keydown", { key, code: key, bubbles: true }));
        while (canvas.dataset.frame === before) {
            await new Promise(requestAnimationFrame);
            if (performance.now() - begun > 120000) throw new Error(`no picture after ${before}`);
        }
    }
    return (1000 * steps) / (performance.now() - begun);
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the studio's labelling page in a real browser.")
    parser.add_argument("--frames", type=int, default=100_000, help="of the long recording")
    parser.add_argument("--steps", type=int, default=5_000, help="over which memory shall stay flat")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "recordings"
        folder.mkdir()
        pi_capture.record(folder / "small", 20, camera="demo", size=(128, 128), fps=30, jitter=False)
        pi_capture.record(folder / "large", 20, camera="demo", size=(640, 480), fps=30, jitter=False)
        make_long(folder / "long", args.frames, folder / "small")
        with Running(Path(place)) as running, chromium("--js-flags=--expose-gc") as browser:
            context, seen = opened(browser, "desktop")
            page = seen.page
            page.goto(f"{running.url}/?token={running.token}")
            for name in ("small", "large"):
                open_labelling(page, running, name)
                keys = sorted(page.evaluate(KEY_TO_PICTURE, [200, "Digit1"]))
                percentile = keys[int(0.99 * len(keys))]
                print(f"{name}: key to picture {statistics.median(keys):.1f} ms median, {percentile:.1f} ms 99 %")
                page.keyboard.press("Home")
                page.wait_for_timeout(1000)
                print(f"{name}: scrubbing {page.evaluate(SCRUB, 200):.0f} pictures/s")
            seconds = open_labelling(page, running, "long")
            print(f"long: {args.frames:,} frames open in {seconds:.2f} s, first picture included")
            devtools = context.new_cdp_session(page)
            before = memory(devtools, running)
            page.evaluate(SCRUB, args.steps // 2)
            middle = memory(devtools, running)
            page.evaluate(SCRUB, args.steps - args.steps // 2)
            after = memory(devtools, running)
            for what, *values in zip(("tab's JavaScript", "tab", "server"), before, middle, after, strict=True):
                shown = " → ".join(f"{value:.1f}" for value in values)
                print(f"long: {what} {shown} MB over {args.steps:,} steps")
            context.close()


def make_long(path: Path, frames: int, source: Path) -> None:
    """A recording of many frames: those of a short one, again and again, under further names."""
    shutil.copytree(source, path)
    pictures = sorted(path.glob("*.png"))
    for number in range(len(pictures), frames):
        os.link(pictures[number % len(pictures)], path / frame_name(number))


def open_labelling(page: Page, running: Running, name: str) -> float:
    """Open a recording for labelling; seconds until its first picture is there."""
    identifier = running.recording(name).rpartition("/")[2]
    page.goto(f"{running.url}/#/")
    page.get_by_role("heading", level=1).wait_for()
    begun = time.perf_counter()
    page.goto(f"{running.url}/#/label/{identifier}")
    page.locator("canvas[data-frame]").wait_for()
    return time.perf_counter() - begun


def memory(devtools: CDPSession, running: Running) -> tuple[float, float, float]:
    """MB that the tab's JavaScript holds once its garbage is collected, and of main memory, tab and server."""
    devtools.send("HeapProfiler.collectGarbage")
    heap = float(devtools.send("Runtime.getHeapUsage")["usedSize"]) / 1e6
    return heap, max(map(resident, renderers())), resident(running.process.pid)


def resident(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1000


def renderers() -> list[int]:
    """The processes in which this program's browser draws pages; the largest is that of the page."""
    found = []
    for words in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"--type=renderer" in words.read_bytes() and os.getpid() in ancestors(int(words.parent.name)):
                found.append(int(words.parent.name))
        except OSError:  # it has just ended
            continue
    return found


def ancestors(process: int) -> list[int]:
    found = []
    while process > 1:
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(process)
    return found


if __name__ == "__main__":
    main()
