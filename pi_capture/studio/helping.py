"""A model's help with labelling, behind requests: what is asked is asked on each page that wants help.

An answer says what it answers. So it counts for the frames that its person saw, also if another page was faster, or the
studio was started anew meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from classify.assist import Asking, Assist
from classify.dialogue import Dialogue
from classify.learner import Learner
from classify.session import NONE, Event, Session
from pi_capture.studio.actions import Action
from pi_capture.studio.answers import in_pages
from storage.labels.journal import Proposed


class Help:
    """The help with one recording. It is no more thread-safe than its session.

    Parameters
    ----------
    session : Session
    path : path
        The recording.
    indices : sequence of int
        The index in the recording of each frame, by position.
    classes : int
        How many classes have a key.
    look_into : callable
        Reads the frames from one up to another, and notes in the session which can't be read.
    on_arrival : callable
        As in `classify.learner.Learner`: then it is time for `go_on`.
    """

    def __init__(
        self,
        session: Session,
        path: Path,
        indices: Sequence[int],
        classes: int,
        *,
        look_into: Callable[[int, int], None],
        on_arrival: Callable[[], None],
    ) -> None:
        self._session, self._look_into = session, look_into
        self._assist = Assist(session)
        self.learner = Learner(path, indices, classes, on_arrival=on_arrival)
        self._dialogue = Dialogue(
            session,
            self._assist,
            self.learner,
            keep=self._keep,
            say=self._say,
            wait_for=self._wait_for,
            is_known=self._is_known,
        )
        self._event: Event | None = None
        self._said = ""
        self._waiting: Callable[[], None] | None = None
        self._has_begun = False
        self._has_come = False  # whether it was told that the frames are described, or can't be
        self._number, self._told = 0, self._now()
        self.deeds: dict[str, Callable[[Action], Event | None]] = {
            "assist": self._at_frame(self._begin),
            "answer": self._answer,
            "end_run": self._end_run,
            "bisect": self._at_frame(self._dialogue.bisect),
            "least_certain": self._at_frame(self._dialogue.turn_order),
            "accept_sure": self._at_frame(self._dialogue.accept_sure),
            "stop_asking": self._stop,
        }

    @property
    def state(self) -> dict[str, Any]:
        """What is asked, as pages know it; its number grows whenever it becomes something else."""
        now = self._now()
        if now != self._told:
            self._number, self._told = self._number + 1, now
        return {"number": self._number, **now}

    @property
    def proposals(self) -> list[tuple[int, int, int, float]]:
        """What the model proposed last: start, stop, label and certainty of each run."""
        return [(run.start, run.stop, run.label, round(run.certainty, 3)) for run in self._assist.proposals]

    @property
    def model(self) -> str:
        """The hash of that model."""
        return self._assist.model

    def undone(self) -> None:
        """An undo or redo changed labels: ask for them again."""
        self._said, self._waiting = "", None
        self._dialogue.undone()

    def go_on(self) -> None:
        """Go on with what has arrived from the learner. It changes no label."""
        self._dialogue.take_proposals()
        if (go_on := self._waiting) is not None:
            self._said, self._waiting = "", None
            go_on()
        if (self.learner.is_ready or self.learner.has_failed) and not self._has_come:
            self._has_come = True
            if not self._said and self._assist.asking is not Asking.FRAMES:
                ready = "The Pi has looked at all pictures: press Ask."
                small = " The trained network is missing; tell your teacher." if self.learner.note else ""
                self._say(self.learner.note if self.learner.has_failed else ready + small)

    def close(self) -> None:
        """End the learner."""
        self.learner.close()

    # -------------------------------------------------------------------------------------------------------- the deeds

    def _at_frame(self, deed: Callable[[], None]) -> Callable[[Action], Event | None]:
        def done(action: Action) -> Event | None:
            if action["frame"] != self._session.cursor:
                self._session.go(action["frame"])
            return self._do(deed)

        return done

    def _begin(self) -> None:
        self._has_begun = True
        self._dialogue.begin()
        if not self._has_come:
            self._said = ""  # `described` tells how far it is

    def _do(self, deed: Callable[[], None]) -> Event | None:
        self._event, self._said, self._waiting = None, "", None
        deed()
        return self._event

    def _answer(self, action: Action) -> Event | None:
        """A digit, or with a model Enter; for the frames that the page has shown."""
        first, stop = action["first"], min(action["stop"], self._session.count)
        label, model = action["label"], action["model"]
        run = self._assist.run
        if self._asked != (first, stop) or (model and (run is None or run.label != label)):
            return self._do(lambda: self._give(first, stop, label, model))
        return self._do(self._dialogue.accept if model else lambda: self._dialogue.answer(label))

    def _give(self, first: int, stop: int, label: int, model: str) -> None:
        """An answer to what is not asked any more: frames that have no label yet take it."""
        self._look_into(first, stop)
        self._event = self._session.give([(first, stop, label)], stop, Proposed(model, seen=True) if model else None)
        if self._event is None:
            self._say("another page has answered it")

    def _end_run(self, action: Action) -> Event | None:
        """Something else begins at one of the frames shown."""

        def end() -> None:
            if self._assist.run is not None and self._asked == (action["first"], action["stop"]):
                self._assist.end_before(action["cell"])

        return self._do(end)

    def _stop(self, _: Action) -> Event | None:
        return self._do(self._assist.stop)

    # ---------------------------------------------------------------------------------------------------- what is asked

    @property
    def _asked(self) -> tuple[int, int]:
        """The frames that an answer is for; none if they are as many."""
        if self._assist.run is not None:
            return self._assist.run.start, self._assist.run.stop
        frame = self._assist.frame
        return (0, 0) if frame is None else (frame, frame + 1)

    def _now(self) -> dict[str, Any]:
        assist, run = self._assist, self._assist.run
        first, stop = self._asked
        shown, inside = assist.shown()
        described = 1.0 if self.learner.is_ready else min(round(self.learner.progress, 2), 0.99)
        return {
            "asking": assist.asking.name.lower(),
            "first": first,
            "stop": stop,
            "label": NONE if run is None else run.label,
            "certainty": 0.0 if run is None else round(run.certainty, 3),
            "model": assist.run_model if run is not None and run.certainty > 0 else "",
            "shown": shown,
            "inside": inside,
            "questions": assist.questions,
            "least_certain_first": assist.least_certain_first,
            "described": described if self._has_begun and not self.learner.has_failed else None,
            "said": self._said,
        }

    # ------------------------------------------------------------------------------------------------- for the dialogue

    def _keep(self, event: Event) -> None:
        self._event = event

    def _say(self, words: str) -> None:
        self._said = in_pages(words)

    def _wait_for(self, go_on: Callable[[], None]) -> None:
        self._waiting = go_on
        self._said = "looking ahead …"

    def _is_known(self, start: int, stop: int) -> bool:
        self._look_into(start, stop)
        return True
