"""What a person and a model say to each other: the model asks and proposes, the person answers, the model learns on.

It is what the keys A, Enter, M, L and W do, and digits while something is asked: in the window and in the browser.
`classify.assist` is what is asked, `classify.learner` the thread that learns.
"""

from __future__ import annotations

from collections.abc import Callable

from classify.assist import Asking, Assist
from classify.learner import Learner
from classify.session import NONE, Event, Session
from storage.learn.proposals import LAST, RIGHT


class Dialogue:
    """Asks, takes answers, and has the model learn from them. It waits for nothing: `wait_for` says what goes on later.

    Parameters
    ----------
    session : Session
    assist : Assist
    learner : Learner or None
        Without one, nothing is learnt from the labels.
    keep : callable
        Writes an event down.
    say : callable
        Shows words to the person.
    wait_for : callable
        Calls what it is given once more is known.
    is_known : callable
        Whether it is known, and noted in the session, which frames from one up to another can't be read.
    """

    def __init__(
        self,
        session: Session,
        assist: Assist,
        learner: Learner | None,
        *,
        keep: Callable[[Event], None],
        say: Callable[[str], None],
        wait_for: Callable[[Callable[[], None]], None],
        is_known: Callable[[int, int], bool],
    ) -> None:
        self._session, self._assist, self._learner = session, assist, learner
        self._write, self._say, self._wait_for, self._is_known = keep, say, wait_for, is_known

    def begin(self) -> None:
        """Ask for typical frames; then, or where none can be found, show the doubts that are left, or runs."""
        learner = self._learner
        self._session.hold_on(False)
        if learner is None or not learner.is_ready:
            self._assist.stop()
            if not self._assist.next_doubt():
                self._assist.next_run()
            if learner is not None:
                learner.start()
                told = f"the frames are being described: {learner.progress:.0%}; press A again later"
                self._say(learner.note if learner.has_failed else told)
            return
        learner.questions = None
        learner.ask(bytes(self._session.labels))
        self._await_questions()

    def _await_questions(self) -> None:
        assert self._learner is not None
        if self._learner.has_failed:
            self.begin()  # as without a model
            return
        if self._learner.questions is None:
            self._wait_for(self._await_questions)
            return
        self._assist.ask(self._learner.questions)
        self._say(self._learner.note)
        if self._assist.asking is Asking.RUNS and not self._assist.next_doubt():
            self._learn(then_show=True)

    def _learn(self, *, then_show: bool = False) -> None:
        """Learn from the labels, in the background; what comes of it is for the next run, or shown once it is there."""
        if self._learner is None or not self._learner.is_ready:
            if then_show:
                self._assist.next_run()
            return
        self._learner.proposals = None
        self._learner.learn(bytes(self._session.labels))
        if then_show:
            self._await_proposals()

    def _await_proposals(self) -> None:
        if self._learner is not None and self._learner.is_busy:
            self._wait_for(self._await_proposals)
            return
        self.take_proposals()  # after that: while it is busy, they may come at any moment
        if not self._assist.next_run():
            self._say("every frame has a label")
        if self._learner is not None and self._learner.has_failed:
            self._say(self._learner.note)

    def take_proposals(self) -> None:
        """Let what was learnt meanwhile be proposed from now on."""
        if self._learner is None:
            return
        learnt, self._learner.proposals = self._learner.proposals, None
        if learnt is not None:
            self._assist.learnt(*learnt)

    def answer(self, label: int) -> None:
        """A digit: the class of what is asked."""
        assist, asked = self._assist, self._assist.asking
        if not self._is_readable(lambda: self.answer(label)):
            return
        self.take_proposals()
        self._keep(assist.answer(label))
        if asked is Asking.BORDERS:
            if assist.asking is Asking.NOTHING:
                self._say("every border between labelled frames is found")
            return
        if asked is not Asking.DOUBTS:
            self._learn(then_show=asked is Asking.FRAMES and assist.asking is Asking.RUNS)
        self._tell_done(asked)

    def accept(self) -> None:
        """Enter: the run that is shown has the class that is proposed."""
        if self._assist.run is None or not self._is_readable(self.accept):
            return
        if self._assist.run.label == NONE:
            self._say("which class? press a digit")
            return
        asked = self._assist.asking
        self.take_proposals()
        self._keep(self._assist.accept())
        if asked is not Asking.DOUBTS:
            self._learn()
        self._tell_done(asked)

    def accept_sure(self) -> None:
        """Accept the sure runs unseen, if the model has earned that."""
        gate, before = self._assist.gate, self._session.labelled
        if not gate.is_open:
            self._say(f"not yet: {gate.right} of the last {LAST} proposals shown were right, {RIGHT} have to be")
        elif self._is_readable(self.accept_sure):
            self.take_proposals()
            self._keep(self._assist.accept_sure())
            count = self._session.labelled - before
            self._say(f"{count:,} frames accepted unseen; U takes them back" if count else "nothing accepted")
            self._learn()

    def bisect(self) -> None:
        """Ask where the next border is, or show the first half of a run only."""
        if not self._assist.seek_border():
            self._say("no border is left between labelled frames")

    def turn_order(self) -> None:
        """Show the least certain run first, or again the earliest."""
        self._assist.least_certain_first = not self._assist.least_certain_first
        if self._assist.asking is Asking.RUNS:
            self._assist.next_run()
        first = "the least certain" if self._assist.least_certain_first else "the earliest"
        self._say(f"{first} run is shown first")

    def undone(self) -> None:
        """Labels came back: show the run or the doubt that they belong to, and ask nothing else any more."""
        self._assist.undone()
        if self._assist.asking is Asking.RUNS:
            self._assist.next_run()
            self._learn()
        elif self._assist.asking is not Asking.DOUBTS:
            self._assist.stop()

    def doubt(self) -> None:
        """Show the labels that the model doubts, once they are found."""
        learner = self._learner
        if learner is None or learner.has_failed:
            self._say("" if learner is None else learner.note)
            return
        learner.start()
        if not learner.is_busy and learner.doubts is None:
            learner.doubt(bytes(self._session.labels))
        if learner.doubts is None:
            self._wait_for(self.doubt)
            self._say(f"looking for labels to doubt … {learner.progress:.0%}")
            return
        self._assist.doubt(learner.doubts)
        told = f"{len(learner.doubts):,} runs are doubted: a digit or Enter gives their class"
        self._say(told if learner.doubts else "no label is doubted")

    def _tell_done(self, asked: Asking) -> None:
        if self._assist.asking is Asking.NOTHING:
            self._say("no doubt is left" if asked is Asking.DOUBTS else "every frame has a label")

    def _is_readable(self, go_on: Callable[[], None]) -> bool:
        """Whether it is known which frames of the recording, or of the run that is shown, can't be read; else waits."""
        if self._learner is not None and self._learner.is_ready:
            for position in self._learner.take_damaged():
                self._session.mark_unreadable(position)
            return True
        run = self._assist.run
        if self._is_known(*((run.start, run.stop) if run is not None else (0, 0))):
            return True
        self._wait_for(go_on)
        return False

    def _keep(self, event: Event | None) -> None:
        if event is not None:
            self._write(event)
