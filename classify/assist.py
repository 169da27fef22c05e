"""Help with labelling: what is asked next, what is proposed, and what an answer comes to. It knows no window or file.

A *question* is one frame that a digit answers. A *run* is what is proposed: frames in a row with one class. Few of its
frames are shown, chosen so that a person sees whether its end is right to the tolerance. Methods that change labels
return an event, as those of `classify.session.Session` do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum, auto

from classify.session import NONE, Change, Event, Group, Session
from storage.labels.journal import Proposed
from storage.learn.proposals import Gate, Proposal, unseen

INSIDE, BEHIND = 9, 3  # frames of a run that are shown, and frames behind its end
HELD_OUT = "held out"  # in place of a model's hash: those that doubt labels are one for each stretch
LEAST_APART = 5  # frames; of a run that is not sure, the frames shown are no farther apart than this or the tolerance


class Asking(Enum):
    """What digits and Enter are for."""

    NOTHING = auto()
    FRAMES = auto()  # typical ones
    RUNS = auto()
    BORDERS = auto()  # frames between two known ones
    DOUBTS = auto()  # labels that the model doubts


class Assist:
    """What a person is asked.

    Parameters
    ----------
    session : Session
    tolerance : int
        Borders between labels need not be more exact, in frames.

    Attributes
    ----------
    asking : Asking
    frame : int or None
        The frame that is asked for, while one is.
    run : Proposal or None
        The run that is shown; its end may have been moved.
    run_model : str
        The hash of the model that proposed it, which may have learnt on since.
    proposals : list of Proposal
        What the model proposed last, perhaps for fewer labels than there are by now.
    model : str
        The hash of that model; "" as long as there is none.
    least_certain_first : bool
        The order of runs; else it is that of time.
    gate : Gate
    """

    def __init__(self, session: Session, tolerance: int = 0) -> None:
        self._session = session
        self.tolerance = tolerance
        self.asking = Asking.NOTHING
        self.frame: int | None = None
        self.run: Proposal | None = None
        self.run_model = ""
        self.proposals: list[Proposal] = []
        self.model = ""
        self.least_certain_first = False
        self.gate = Gate()
        self._questions: list[int] = []
        self._is_whole = False  # whether the run is shown as the model proposed it
        self._is_moved = False  # whether its end was moved
        self._taken: tuple[int, int] | None = None  # the end and the label of the run that was accepted as it was
        self._doubts: list[Proposal] = []  # those that are left
        self._judged: list[tuple[int, Proposal]] = []  # the session's depth with each doubt that was answered
        self._noted: list[int] = []  # the session's depth with each run that the gate has noted
        self._sure_ones = 0  # so many were taken unseen, or left out to be shown

    def stop(self) -> None:
        """Ask nothing any more. The doubt that is shown stays one."""
        if self.asking is Asking.DOUBTS and self.run is not None:
            self._doubts.insert(0, self.run)
        self.asking, self.frame, self.run, self._questions = Asking.NOTHING, None, None, []

    def answer(self, label: int) -> Event | None:
        """A digit: the class of the frame that is asked for, or of the run that is shown."""
        at = self.frame
        if at is None:
            return self._take(label, by_model=False)
        if self.asking is Asking.BORDERS:
            event = self._answer_border(at, label)
            self.seek_border()
        else:
            event = self._session.give([(at, at + 1, label)], at, anew=True)
            self._next_question()
        return event

    # ---------------------------------------------------------------------------------------------------------- frames

    def ask(self, questions: Sequence[int]) -> None:
        """Ask for the classes of some frames, one by one; then runs are shown."""
        self.stop()
        self._questions = list(questions)
        self._next_question()

    @property
    def questions(self) -> int:
        """How many frames are asked for, the present one included."""
        return len(self._questions) + (self.asking is Asking.FRAMES)

    def _next_question(self) -> None:
        while self._questions:
            position = self._questions.pop(0)
            if self._session.labels[position] == NONE and not self._session.is_unreadable(position):
                self.asking, self.frame = Asking.FRAMES, position
                self._session.go(position)
                return
        self.asking, self.frame = Asking.RUNS, None

    # --------------------------------------------------------------------------------------------------------- borders

    def seek_border(self) -> bool:
        """Ask for the middle frame between two known ones with different labels; or show the first half of a run only.

        Returns whether there is anything to ask.
        """
        if self.asking is Asking.RUNS and self.run is not None:
            self.run = replace(self.run, stop=max(self.run.start + 1, (self.run.start + self.run.stop) // 2))
            self._is_moved = True
            return True
        self.stop()
        span = self._session.unsettled_border(self._session.cursor)
        if span is None:
            return False
        self.asking, self.frame = Asking.BORDERS, sum(span) // 2
        self._session.go(self.frame)
        return True

    def _answer_border(self, at: int, label: int) -> Change | Group | None:
        """Fill in what is known then: between two frames of one class all, between others what the tolerance allows."""
        labels = self._session.labels
        before = len(labels[:at].rstrip(bytes([NONE]))) - 1
        after = self._session.count - len(labels[at + 1 :].lstrip(bytes([NONE])))
        parts = [(at, at + 1, label)]
        for low, high, one, other in ((before, at, labels[before], label), (at, after, label, labels[after])):
            if one == other or high - low - 1 <= 2 * self.tolerance:
                border = _middle(low, high) if one != other else high
                parts += [(low + 1, border, one), (border, high, other)]
        return self._session.give(_joined(parts), at)

    # ------------------------------------------------------------------------------------------------------------ runs

    def learnt(self, proposals: Sequence[Proposal], model: str) -> None:
        """A model has learnt, and proposes this. The run that is shown stays until it is answered."""
        self.proposals, self.model = list(proposals), model

    def doubt(self, proposals: Sequence[Proposal]) -> None:
        """Show runs with labels that the model doubts; a digit or Enter gives them their label anew."""
        self.stop()
        self._doubts, self._judged = list(proposals), []
        self.next_doubt()

    def next_doubt(self) -> bool:
        """Show the next of the doubts that are left; returns whether there is one."""
        if not self._doubts:
            return False
        self.asking, self.run, self.run_model = Asking.DOUBTS, self._doubts.pop(0), HELD_OUT
        self._session.go(self.run.start)
        return True

    def next_run(self, position: int | None = None) -> bool:
        """Show the next run from a position on, by default the cursor; returns whether there is one."""
        self.stop()
        self.asking, self._is_moved = Asking.RUNS, False
        runs = self._open_runs()
        if not runs and (run := self._without_model()) is not None:
            runs = [run]
        if not runs:
            self.stop()
            return False
        at = self._session.cursor if position is None else position
        runs = self._without_rests(runs)
        if self.least_certain_first:
            run = min(runs, key=lambda one: one.certainty)
        else:
            run = next((one for one in runs if one.stop > at), runs[0])
        self._is_whole = run.is_likely or run.stop - run.start <= self._reach
        self.run_model = self.model
        self.run = run if self._is_whole else replace(run, stop=run.start + self._reach)
        self._session.go(run.start)
        return True

    def accept(self) -> Event | None:
        """Enter: the run that is shown has the class that is proposed."""
        if self.run is None or self.run.label == NONE:
            return None
        return self._take(self.run.label, by_model=self.run.certainty > 0)

    def accept_sure(self) -> Event | None:
        """Accept all sure runs unseen, but for one of five, as one change. None if the gate is not open."""
        if not self.gate.is_open:
            return None
        parts = [(run.start, run.stop, run.label) for run in self.sure()]
        self._sure_ones += sum(run.is_sure for run in self._open_runs())
        event = self._session.give(parts, self._session.cursor, Proposed(self.model, seen=False))
        self.next_run()
        return event

    def shown(self) -> tuple[list[int], int]:
        """The frames of the run that are shown small, and how many of them are in it: the others are behind its end.

        Those beside its borders are as far from them as the tolerance allows.
        """
        if self.run is None:
            return [], 0
        start = self.run.start + (self.tolerance if self.run.start else 0)
        last = max(self.run.start, self.run.stop - 1 - self.tolerance)
        first = min(start, last)
        inside = sorted({first + round((last - first) * n / (INSIDE - 1)) for n in range(INSIDE)})
        behind = [self.run.stop + self.tolerance + n * self._step for n in range(BEHIND)]
        return inside + [position for position in behind if position < self._session.count], len(inside)

    def end_before(self, cell: int) -> None:
        """Have the run end between two of the frames shown: the one of that number has another class."""
        cells, _ = self.shown()
        if self.run is not None and 0 < cell < len(cells):
            self.run = replace(self.run, stop=_middle(cells[cell - 1], cells[cell]))
            self._is_moved = True

    def nudge(self, by: int) -> None:
        """Have the run end one of the frames shown earlier (-1) or later (1)."""
        self.end_before(self.shown()[1] + by)

    @property
    def _step(self) -> int:
        return 2 * self.tolerance + 1

    @property
    def _reach(self) -> int:
        """How far a run goes that the model is not sure of: little is hidden between the frames shown."""
        return INSIDE * max(LEAST_APART, self._step)

    def sure(self) -> list[Proposal]:
        """What `accept_sure` would accept."""
        return unseen(self._open_runs(), self._sure_ones)

    def _open_runs(self) -> list[Proposal]:
        return [run for proposal in self.proposals if (run := self._open_part(proposal)) is not None]

    def _open_part(self, run: Proposal) -> Proposal | None:
        """What of a run has no label yet."""
        labels = self._session.labels
        first, last = labels.find(NONE, run.start, run.stop), labels.rfind(NONE, run.start, run.stop)
        return None if first < 0 else replace(run, start=first, stop=last + 1)

    def _without_rests(self, runs: Sequence[Proposal]) -> list[Proposal]:
        """The runs, without the rest of one that a person has just ended a little earlier: it belongs to the next."""
        found: list[Proposal] = []
        for run in runs:
            last = found[-1] if found else None
            if last is not None and last.stop == run.start and self._is_rest(last):
                found[-1] = replace(run, start=last.start)
            else:
                found.append(run)
        return found

    def _is_rest(self, run: Proposal) -> bool:
        short = run.stop - run.start <= self.tolerance
        return short and run.start > 0 and run.label == self._session.labels[run.start - 1]

    def _without_model(self) -> Proposal | None:
        """Where no model proposes anything: what has no label may go on as the frame before it, or as the one after."""
        labels, start = self._session.labels, self._session.next_unlabelled()
        if start is None:
            return None
        start = len(labels[: start + 1].rstrip(bytes([NONE])))
        stop = self._session.count - len(labels[start:].lstrip(bytes([NONE])))
        label = labels[start - 1] if start else labels[stop] if stop < self._session.count else NONE
        return Proposal(start, stop, label, 0.0)

    def undone(self) -> None:
        """An undo took labels back: what was said with them about the model does not count, and doubts return."""
        self._taken = None
        depth, returned = self._session.depth, False
        while self._judged and self._judged[-1][0] > depth:
            self.stop()
            self._doubts.insert(0, self._judged.pop()[1])
            returned = True
        while self._noted and self._noted[-1] > depth:
            self._noted.pop()
            self.gate.forget()
        if returned or self.asking is Asking.DOUBTS:
            self.stop()
            self.next_doubt()

    def _take(self, label: int, *, by_model: bool) -> Event | None:
        run = self.run
        if run is None:
            return None
        proposed = Proposed(self.run_model, seen=True) if by_model else None
        if self.asking is Asking.DOUBTS:
            event = self._session.give([(run.start, run.stop, label)], run.start, proposed, anew=True)
            self._judged.append((self._session.depth, run))
            self.run = None
            if not self.next_doubt():
                self.stop()
            return event
        if self._taken == (run.start, label):
            self.gate.correct()
        if run.certainty > 0:
            wrong = label != run.label or self._is_moved
            if wrong or self._is_whole:  # of one that was cut, the end is not known to be right
                self.gate.note(right=not wrong)
                self._noted.append(self._session.depth + 1)
        self._taken = (run.stop, label)
        event = self._session.give([(run.start, run.stop, label)], run.stop, proposed)
        self.next_run(run.stop)
        return event


def _middle(low: int, high: int) -> int:
    """Where the border is taken to be between two frames of different classes: the first frame of the second class."""
    return low + 1 + (high - low - 1) // 2


def _joined(parts: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Parts in order, those of one class that meet as one, and none that are empty."""
    found: list[tuple[int, int, int]] = []
    for start, stop, label in sorted(part for part in parts if part[0] < part[1]):
        if found and found[-1][1:] == (start, label):
            found[-1] = found[-1][0], stop, label
        else:
            found.append((start, stop, label))
    return found
