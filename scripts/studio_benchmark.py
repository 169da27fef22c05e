"""Measure the studio's labelling page in a real browser: keys, scrubbing, memory, and a recording of many frames.

    python scripts/studio_benchmark.py [--frames 100000] [--steps 5000]
    python scripts/studio_benchmark.py --viewers

The second measures what it costs to look at a recording, and at a camera before: processor time with no, one and three
viewers, in turn.

It needs Chromium, as `scripts/test.sh` installs it. One line a measurement, with the machine's load beside it. The
browser is steered by its own protocol alone: Playwright has it keep all that it received, and the tab seems to grow.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import pi_capture
from storage import open_recording
from storage.formats.png.directory import frame_name
from tests.support.studio import Running, records

CHROMIUM = "chromium"
VIEWED_SECONDS = 4.0
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=1440,900")

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

HOME = """async () => {
    document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "Home", code: "Home", bubbles: true }));
    await new Promise((resolve) => setTimeout(resolve, 1000));
}"""

SCRUB = """async (steps) => {
    const canvas = document.querySelector("canvas[data-frame]");
    const key = "ArrowRight";
    const begun = performance.now();
    for (let n = 0; n < steps; n += 1) {
        const before = canvas.dataset.frame;
        const stepped = performance.now();
        document.body.dispatchEvent(new KeyboardEvent("keydown", { key, code: key, bubbles: true }));
        while (canvas.dataset.frame === before) {
            await new Promise(requestAnimationFrame);
            if (performance.now() - stepped > 10000) throw new Error(`no picture after ${before}`);
        }
    }
    return (1000 * steps) / (performance.now() - begun);
}"""


OPEN = """async (place) => {
    location.hash = "#/";
    while (document.body.className !== "home" || !document.querySelector("main h1"))
        await new Promise(requestAnimationFrame);
    const begun = performance.now();
    location.hash = place;
    while (!document.querySelector("canvas[data-frame]")) {
        await new Promise(requestAnimationFrame);
        if (performance.now() - begun > 60000) throw new Error(document.body.innerText);
    }
    return (performance.now() - begun) / 1000;
}"""


class Tab:
    """A page of a browser, by the DevTools protocol over a pipe: messages of JSON, each with a zero byte at its end."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = os.fdopen(to_browser, "wb", 0), os.fdopen(from_browser, "rb", 0)
        self._received = b""
        self._number = 0
        self._session: dict[str, str] = {}
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a command; what the browser tells meanwhile is left aside."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters, **self._session}
        self._to.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._received:
            more = self._from.read(1 << 16)
            assert more, "the browser has ended"
            self._received += more
        message, _, self._received = self._received.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def run(self, function: str, *arguments: object) -> Any:
        """What a JavaScript function gives, once it is done."""
        call = f"({function})({', '.join(map(json.dumps, arguments))})"
        answer = self.ask("Runtime.evaluate", expression=call, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")


@contextmanager
def tab() -> Iterator[Tab]:
    """A browser with one page; it ends with this context."""
    for_browser, to_browser = os.pipe()
    from_browser, of_browser = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        words = [CHROMIUM, *OPTIONS, "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        process = subprocess.Popen(
            ["sh", "-c", f'exec "$@" 3<&{for_browser} 4>&{of_browser}', "sh", *words],
            pass_fds=(for_browser, of_browser),
            stderr=subprocess.DEVNULL,
        )
        os.close(for_browser)
        os.close(of_browser)
        try:
            yield Tab(to_browser, from_browser)
        finally:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the studio's labelling page in a real browser.")
    parser.add_argument("--frames", type=int, default=100_000, help="of the long recording")
    parser.add_argument("--steps", type=int, default=5_000, help="over which memory shall stay flat")
    parser.add_argument("--viewers", action="store_true", help="measure only what viewers cost")
    args = parser.parse_args()
    if args.viewers:
        with tempfile.TemporaryDirectory() as place, Running(Path(place)) as running:
            viewers(running)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "recordings"
        folder.mkdir()
        pi_capture.record(folder / "small", 20, camera="demo", size=(128, 128), fps=30, jitter=False)
        pi_capture.record(folder / "large", 20, camera="demo", size=(640, 480), fps=30, jitter=False)
        make_long(folder / "long", args.frames, folder / "small")
        with Running(Path(place)) as running, tab() as page:
            page.ask("Page.navigate", url=f"{running.url}/?token={running.token}")
            page.run("""async () => {
                while (!document.querySelector("main h1")) await new Promise((resolve) => setTimeout(resolve, 50));
            }""")
            for name in ("small", "large"):
                page.run(OPEN, place_of(running, name))
                keys = sorted(page.run(KEY_TO_PICTURE, [200, "Digit1"]))
                percentile = keys[int(0.99 * len(keys))]
                say(f"{name}: key to picture {statistics.median(keys):.1f} ms median, {percentile:.1f} ms 99 %")
                page.run(HOME)
                say(f"{name}: scrubbing {page.run(SCRUB, 200):.0f} pictures/s")
            seconds = page.run(OPEN, place_of(running, "long"))
            say(f"long: {args.frames:,} frames open in {seconds:.2f} s, first picture included")
            before = memory(page, running)
            page.run(SCRUB, args.steps // 2)
            middle = memory(page, running)
            page.run(SCRUB, args.steps - args.steps // 2)
            after = memory(page, running)
            for what, *values in zip(("tab's JavaScript", "tab", "server"), before, middle, after, strict=True):
                shown = " → ".join(f"{value:.1f}" for value in values)
                say(f"long: {what} {shown} MB over {args.steps:,} steps")


def viewers(running: Running) -> None:
    """Processor time of what takes the pictures, and of the server: of a recording, then of a camera that is shown."""
    wanted = {"camera": "demo", "size": "640x480", "fps": 30}
    recorder = running.post("/api/recorders", {"name": "day", "seconds": -1, **wanted})
    used("recording", running, f"/api/recorders/{recorder['id']}/live", (0, 1, 3) * 3)
    running.post(f"/api/recorders/{recorder['id']}/stop")
    while running.get("/api/recorders")["recorders"]:
        time.sleep(0.1)
    with open_recording(running.folder / "day") as recording:
        say(f"recording: {sum(one['dropped_queue'] for one in recording.sessions)} frames dropped by the queue")
    preview = running.post("/api/preview", wanted)
    used("preview", running, f"/api/preview/{preview['id']}/live", (1, 3) * 3)


def used(what: str, running: Running, path: str, rounds: Sequence[int]) -> None:
    """Say how much of a processor was used with each number of viewers, in the median of the rounds."""
    found: dict[int, list[tuple[float, float, int]]] = {}
    for count in rounds:
        with ThreadPoolExecutor(3) as pool:
            over = threading.Event()
            looking = [pool.submit(look, running, path, over) for _ in range(count)]
            time.sleep(1)
            (child,) = set(children(running.process.pid))
            before = processor(child), processor(running.process.pid)
            time.sleep(VIEWED_SECONDS)
            shares = [
                (now - then) / VIEWED_SECONDS
                for now, then in zip((processor(child), processor(running.process.pid)), before, strict=True)
            ]
            over.set()
            seen = min((one.result() for one in looking), default=0)
        found.setdefault(count, []).append((shares[0], shares[1], seen))
    for count, times in sorted(found.items()):
        own, server, seen = (statistics.median(column) for column in zip(*times, strict=True))
        say(f"{what}: {count} viewers: {own:.3f} of a processor, server {server:.3f}; each saw {seen:.0f} pictures")


def look(running: Running, path: str, over: threading.Event) -> int:
    """Take pictures until it is over; how many."""
    count = 0
    with running.new_browser() as browser:
        browser.cookies = running.browser.cookies
        with browser.stream("GET", path) as answer:
            for _, body in records(answer.iter_raw()):
                count += bool(body)
                if over.is_set():
                    break
    return count


def processor(process: int) -> float:
    """Seconds of a processor that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children(process: int) -> list[int]:
    """The processes that it has started: here the one that takes the pictures."""
    found: list[int] = []
    for task in Path(f"/proc/{process}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


def say(line: str) -> None:
    print(f"{line} (load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors)", flush=True)


def make_long(path: Path, frames: int, source: Path) -> None:
    """A recording of many frames: those of a short one, again and again, under further names."""
    shutil.copytree(source, path)
    pictures = sorted(path.glob("*.png"))
    for number in range(len(pictures), frames):
        os.link(pictures[number % len(pictures)], path / frame_name(number))


def place_of(running: Running, name: str) -> str:
    """Where in the pages a recording is labelled."""
    return f"#/label/{running.recording(name).rpartition('/')[2]}"


def memory(page: Tab, running: Running) -> tuple[float, float, float]:
    """MB that the tab's JavaScript holds once its garbage is collected, and of main memory, tab and server."""
    page.ask("HeapProfiler.collectGarbage")
    heap = float(page.ask("Runtime.getHeapUsage")["usedSize"]) / 1e6
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
