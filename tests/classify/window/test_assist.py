"""The window asks, proposes and takes answers: real keys on a real display, and a look at what is drawn."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from classify.learner import QUESTIONS
from classify.session import NONE, Session
from classify.window.layout import SIZE, lay_out
from classify.window.timeline import CLASS_COLOURS, LANE
from storage import open_recording
from storage.formats.png.writer import PngWriter
from storage.frame import Frame
from storage.labels import PERSON, SEEN
from storage.labels.beside import journal_path
from storage.labels.history import replay
from storage.labels.journal import read_journal
from storage.labels.origins import count_origins
from tests.support import PATIENCE_SECONDS
from tests.support.labeller import Person

pytestmark = pytest.mark.usefixtures("eager")
TRUTH = [0] * 30 + [1] * 40 + [2] * 30 + [0] * 40 + [2] * 30 + [1] * 30


def record_scenes(day: Path, truth: Sequence[int] = TRUTH) -> None:
    """Frames of three classes that differ in where the bright part is, with noise."""
    writer, chance = PngWriter(day), np.random.default_rng(5)
    for number, label in enumerate(truth):
        pixels = chance.integers(0, 90, (48, 48, 3)).astype(np.uint8)
        pixels[:, 16 * label : 16 * label + 16] += 140
        writer.append(writer.encode(Frame(pixels, number, number * 100_000_000)))
    writer.close()


class Helped(Person):
    """A person who answers what the window asks."""

    def frame(self) -> int:
        """The number of the frame that is shown, from 0 on."""
        return int(self.title().split("/")[0]) - 1

    def labels(self) -> list[int]:
        session = Session(len(TRUTH))
        names = [f"{number:08d}.png" for number in range(len(TRUTH))]
        replay(session, names, read_journal(journal_path(self.day)))
        return list(session.labels)

    def looks(self, path: Path) -> np.ndarray:
        """The window as it is on the screen."""
        grab = ["ffmpeg", "-v", "error", "-y", "-f", "x11grab", "-window_id", self.window, "-i", self.display]
        subprocess.run([*grab, "-frames:v", "1", str(path)], check=True, capture_output=True, timeout=PATIENCE_SECONDS)
        return np.asarray(Image.open(path).convert("RGB"))

    def labelled(self) -> int:
        return len(TRUTH) - self.labels().count(NONE)


def test_typical_frames_are_asked_for_and_runs_proposed_until_all_have_a_label(tmp_path: Path, desktop: str) -> None:
    day = tmp_path / "day"
    record_scenes(day)
    person = Helped(day, desktop, "--tolerance", "1", XDG_CACHE_HOME=str(tmp_path / "cache"))
    person.sees("1 / 200 - ")

    def is_asked() -> bool:
        person.press("a")  # as long as the frames are not described, it shows a run that begins at the first one
        time.sleep(0.5)  # the next A would ask anew
        return person.frame() != 0

    person.wait_for(is_asked, "nothing is asked")
    for asked in range(1, QUESTIONS + 1):
        person.press(str(TRUTH[person.frame()]))
        person.wait_for(lambda asked=asked: person.labelled() == asked, "the answer is not kept")
        person.wait_for(lambda: person.labels()[person.frame()] == NONE, "the next frame is not shown")
    person.wait_for(lambda: proposed_in(person.looks(tmp_path / "asked.png")) == {0, 1, 2}, "nothing is proposed")

    def are_accepted() -> bool:
        person.press("Return")
        return person.labelled() == len(TRUTH)

    person.wait_for(are_accepted, "what is proposed does not end")
    person.closes_the_window()
    person.ends()
    borders = [n for n in range(1, 200) if TRUTH[n] != TRUTH[n - 1]]
    excused = {n for border in borders for n in (border - 1, border)}
    assert [n for n, label in enumerate(person.labels()) if label != TRUTH[n] and n not in excused] == []
    with open_recording(day) as recording:
        assert count_origins(recording) == {PERSON: QUESTIONS, SEEN: 200 - QUESTIONS}


def proposed_in(look: np.ndarray) -> set[int]:
    """The classes whose colour, which certainty fades but little, is in the lane over the long timeline."""
    left, top, width, _ = lay_out(*SIZE).whole
    lane = look[top - LANE // 2 - 3, left : left + width].astype(int)
    return {label for label in range(3) if np.abs(lane - CLASS_COLOURS[label]).max(axis=1).min() < 40}


def test_labels_in_doubt_are_walked_through(tmp_path: Path, desktop: str) -> None:
    day = tmp_path / "day"
    record_scenes(day)
    mistaken = range(115, 125)
    given = [1 if number in mistaken else label for number, label in enumerate(TRUTH)]
    for number, label in enumerate(given):
        (day / str(label)).mkdir(exist_ok=True)
        (day / f"{number:08d}.png").rename(day / str(label) / f"{number:08d}.png")
    person = Helped(day, desktop, "--disagreements", XDG_CACHE_HOME=str(tmp_path / "cache"))
    person.sees("1 / 200 - ")
    person.press("space")  # while they are looked for
    person.wait_for(lambda: given[person.frame()] != TRUTH[person.frame()], "nothing is doubted")
    person.looks(tmp_path / "doubted.png")
    person.press("Return")
    person.press("s")
    person.ends()
    assert [number for number in mistaken if (day / "0" / f"{number:08d}.png").exists()] == [*mistaken]
    with open_recording(day) as recording:
        assert count_origins(recording)[SEEN] == len(mistaken)
