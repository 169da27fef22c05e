"""What each key does: to the session, to playing, and to what is shown. `classify.desk` reads the keys.

An action that needs frames which have not been examined yet waits for them; another key ends the waiting.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from enum import Enum, auto

from classify.assist import Asking, Assist
from classify.changes import UNKNOWN
from classify.dialogue import Dialogue
from classify.learner import Learner
from classify.pictures import AROUND, Pictures
from classify.player import Player
from classify.session import BATCH, Event, Session
from classify.window.keymap import Action, Do
from classify.window.view import Legend, Look, speed_text

LEAST_ZOOMED = 10  # frames
_WHILE_ASKING = {
    *(Do.LABEL, Do.ENTER, Do.NUDGE, Do.ASSIST, Do.BISECT, Do.LEAST_CERTAIN, Do.ACCEPT_SURE),
    *(Do.UNDO, Do.ERASE, Do.REDO, Do.BRIGHTNESS, Do.ZOOM, Do.HELP),
}
"""What goes on with what is asked; other keys end it."""


class Ended(Enum):
    """Why labelling ended."""

    SAVE = auto()
    CLOSED = auto()
    REFRESH = auto()


class Actions:
    """Does what keys ask for.

    Parameters
    ----------
    session : Session
    pictures : Pictures
    legend : Legend
    clock : callable
        The time in seconds.
    keep : callable
        Writes an event down.
    load : callable
        Waits until the pictures of some frames are there.
    assist : Assist
    learner : Learner, optional
        Without one, nothing is learnt from the labels.

    Attributes
    ----------
    dialogue : Dialogue
    player : Player
    look : Look
    ended : Ended or None
        Why labelling is to end, if it is.
    waiting : callable or None
        What goes on when more frames have been examined.
    """

    def __init__(
        self,
        session: Session,
        pictures: Pictures,
        legend: Legend,
        clock: Callable[[], float],
        *,
        keep: Callable[[Event], None],
        load: Callable[[Iterable[int]], None],
        assist: Assist,
        learner: Learner | None = None,
    ) -> None:
        self._session, self._pictures, self._legend = session, pictures, legend
        self._clock, self._write, self._load = clock, keep, load
        self.assist = assist
        self.dialogue = Dialogue(
            session,
            assist,
            learner,
            keep=keep,
            say=self._say,
            wait_for=self._wait_for,
            is_known=self._is_examined,
        )
        self.player = Player()
        self.look = Look()
        self.ended: Ended | None = None
        self.waiting: Callable[[], None] | None = None
        self._nudged_from = 0  # where the border was before it was moved back
        self._deeds: dict[Do, Callable[[int], None]] = {
            Do.LABEL: self._label,
            Do.LABEL_STRETCH: self._label_stretch,
            Do.BATCH: self._label_batch,
            Do.BACK: lambda _: session.go(session.cursor - 1),
            Do.STEP: lambda frames: session.go(session.cursor + frames),
            Do.BEGINNING: lambda _: session.go(0),
            Do.END: lambda _: session.go(session.count - 1),
            Do.BORDER: lambda way: session.go(session.next_border() if way > 0 else session.previous_border()),
            Do.ALIKE: lambda way: self._find(
                session.next_alike() if way > 0 else session.previous_alike(), "no further frame has this class"
            ),
            Do.UNLABELLED: lambda _: self._find(session.next_unlabelled(), "every frame has a label"),
            Do.UNREADABLE: lambda _: self._find(session.next_unreadable(), "no frame is known to be unreadable"),
            Do.CHANGE: self._to_change,
            Do.NUDGE: self._nudge,
            Do.CLEAR: lambda _: self._keep(session.clear()),
            Do.UNDO: lambda _: self._take_back(session.undo(), "nothing to undo"),
            Do.ERASE: lambda _: self._take_back(session.undo(), "nothing to undo"),
            Do.REDO: lambda _: self._take_back(session.redo(), "nothing to redo"),
            Do.PLAY: self._play,
            Do.SPEED: self._change_speed,
            Do.HOLD: self._toggle_hold,
            Do.STRETCHES: self._toggle_stretches,
            Do.BRIGHTNESS: self._toggle_brightness,
            Do.GO_TO: self._ask,
            Do.ZOOM: self._zoom,
            Do.HELP: self._toggle_help,
            Do.ASSIST: self._assist,
            Do.BISECT: lambda _: self.dialogue.bisect(),
            Do.ENTER: lambda _: self.dialogue.accept(),
            Do.LEAST_CERTAIN: lambda _: self.dialogue.turn_order(),
            Do.ACCEPT_SURE: lambda _: self.dialogue.accept_sure(),
            Do.SAVE: lambda _: self._end(Ended.SAVE),
            Do.REFRESH: lambda _: self._end(Ended.REFRESH),
        }

    def press(self, action: Action) -> None:
        self.look.message = ""
        self.waiting = None
        self.look.help = self.look.help and action.do is Do.HELP
        if self.look.typed is not None and self._type(action):
            return
        if action.do not in (Do.LABEL, Do.PLAY, Do.SPEED, Do.BRIGHTNESS, Do.HELP):  # the rest ends playing
            self._pause()
        if action.do not in (Do.LABEL, Do.LABEL_STRETCH, Do.NUDGE, Do.BRIGHTNESS, Do.HELP):
            self._nudged_from = 0
        if self.assist.asking is not Asking.NOTHING and action.do not in _WHILE_ASKING:
            self.assist.stop()
            if action.do is Do.BACK:
                return
        if deed := self._deeds.get(action.do):
            deed(action.number)

    def _end(self, ended: Ended) -> None:
        self.ended = ended

    def _label(self, label: int) -> None:
        if not self._has_class(label):
            return
        if self.assist.asking is not Asking.NOTHING:
            self.dialogue.answer(label)
        elif self.player.way:
            self._switch(label)
        elif self.look.stretches:
            self._label_stretch(label)
        else:
            self._keep(self._session.label(label), "" if self._session.at_end else "skipped: it can't be read")

    def _label_stretch(self, label: int) -> None:
        """Label from here up to the next visible change, and go there.

        The change whose border was just moved back does not count: this stretch begins there.
        """
        if not self._has_class(label) or self._session.at_end:
            return
        target = self._pictures.changes.after(max(self._session.cursor, self._nudged_from))
        if target == UNKNOWN:
            self._wait_for(lambda: self._label_stretch(label))
        else:
            self.note_unreadable()
            self._keep(self._session.label_until(target, label))

    def _nudge(self, by: int) -> None:
        if self.assist.run is not None:
            self.assist.nudge(by)
            return
        event = self._session.nudge(by)
        if event is not None and by < 0:
            self._nudged_from = max(self._nudged_from, event.stretches[-1][1])
        self._keep(event, "there is no border before this frame")

    def _label_batch(self, _: int) -> None:
        stop = min(self._session.cursor + BATCH, self._session.count)
        self._load(range(self._session.cursor, stop))
        self.note_unreadable()
        self._keep(self._session.label_until(stop, 0))

    def _to_change(self, way: int) -> None:
        changes, cursor = self._pictures.changes, self._session.cursor
        if way > 0 and self._session.at_end:
            return
        target = changes.after(cursor) if way > 0 else changes.before(cursor)
        if target == UNKNOWN:
            self._wait_for(lambda: self._to_change(way))
        else:
            self._pass_to(target)

    def _pass_to(self, target: int) -> None:
        """Jump; with a label held, not before each frame on the way has been found readable or unreadable."""
        if self._session.held is not None and not self._is_known(target):
            self._wait_for(lambda: self._pass_to(target))
            return
        self.note_unreadable()
        self._session.pause()
        self._keep(self._session.pass_to(target))
        self._session.pause()

    def _find(self, position: int | None, otherwise: str) -> None:
        if position is None:
            self.look.message = otherwise
        else:
            self._session.go(position)

    def _toggle_hold(self, _: int) -> None:
        self._session.hold_on(not self._session.hold)
        self.look.stretches = False

    def _toggle_stretches(self, _: int) -> None:
        self.look.stretches = not self.look.stretches
        self._session.hold_on(False)

    def _toggle_brightness(self, _: int) -> None:
        self.look.bright = not self.look.bright

    def _toggle_help(self, _: int) -> None:
        self.look.help = not self.look.help

    def _zoom(self, _: int) -> None:
        """Show a quarter of what the long timeline shows; after the last step all of it again."""
        zoom = self.look.zoom * 4
        self.look.zoom = 1 if self._session.count // zoom < LEAST_ZOOMED else zoom

    def _ask(self, _: int) -> None:
        self.look.typed = ""

    def _type(self, action: Action) -> bool:
        """Take a key while a frame's number or a time is typed. Returns False if it has no use there."""
        typed, self.look.typed = self.look.typed or "", None
        match action.do:
            case Do.LABEL | Do.BATCH:
                self.look.typed = (typed + str(9 if action.do is Do.BATCH else action.number))[:9]
            case Do.ERASE:
                self.look.typed = typed[:-1]
            case Do.COLON | Do.NUDGE:  # a comma or a point will do
                self.look.typed = (typed + ":")[:9]
            case Do.ENTER if ":" in typed:
                self._go_to_time(typed)
            case Do.ENTER if typed:
                self._pass_to(max(1, min(int(typed), self._session.count)) - 1)
            case Do.ENTER | Do.BACK:
                pass
            case _:
                return False
        return True

    def _go_to_time(self, typed: str) -> None:
        """Go to the frame that is shown at a time: ``1:23`` or ``1:02:03``."""
        seconds = 0
        for part in typed.split(":"):
            seconds = 60 * seconds + int(part or 0)
        times = self._pictures.times
        if not self._pictures.knows_times:
            self._wait_for(lambda: self._go_to_time(typed))
        elif not times:
            self.look.message = "it is not known when these frames were taken"
        else:
            self._pass_to(max(0, bisect_right(times, seconds * 10**9) - 1))

    def go_to(self, position: int) -> None:
        """Go to a frame that was clicked on."""
        self.waiting, self.look.message = None, ""
        self.assist.stop()
        self._pause()
        self._session.go(position)

    def _has_class(self, label: int) -> bool:
        if label < self._legend.keys:
            return True
        self.look.message = f"there is no class {label}; --classes makes more"
        return False

    # --------------------------------------------------------------------------------------------------------- assisted

    def _assist(self, _: int) -> None:
        self.look.stretches = False
        self.dialogue.begin()

    def _take_back(self, event: Event | None, otherwise: str) -> None:
        self._keep(event, otherwise)
        self.dialogue.undone()

    def _say(self, words: str) -> None:
        self.look.message = words

    def _is_examined(self, start: int, stop: int) -> bool:
        """Whether it is known, and noted, which frames from one up to another can't be read."""
        examined = start == stop or self._pictures.changes.known_until(start) >= stop
        self.note_unreadable()  # after that: what comes in between is noted, too
        return examined

    # ---------------------------------------------------------------------------------------------------------- playing

    def _play(self, way: int) -> None:
        playing = self.player.way
        self._pause()
        if playing == way:
            return
        if (self._session.at_end and way > 0) or (self._session.cursor == 0 and way < 0):
            self.look.message = "that way there is nothing more"
        else:
            self.player.start(way, self._session.cursor, self._clock())

    def _change_speed(self, by: int) -> None:
        self.player.change_speed(by)
        self.look.message = "" if self.player.way else f"plays at {speed_text(self.player.speed)}"

    def _switch(self, label: int) -> None:
        """Label while playing: hold the label from now on, beginning at the change that it is meant for."""
        held, cursor = self._session.held, self._session.cursor
        since = self.player.meant_since(
            cursor, self._pictures.fps, self._pictures.changes.strongest, first=held is None, again=held == label
        )
        self.look.stretches = False
        if self._is_known(since):
            self.note_unreadable()
        else:
            since = cursor
        self._keep(self._session.switch(label, since))

    def play_on(self) -> int:
        """Show the frames that are due. Returns how many, negative back; 0 if some have not been examined yet."""
        frames = self.player.advance(self._pictures.fps, self._clock())
        target = max(0, min(self._session.cursor + frames, self._session.count))
        if self._session.held is not None and not self._is_known(target):
            self.look.message = "reading ahead …"
            return 0
        self.look.message = ""
        self.note_unreadable()
        self._keep(self._session.pass_to(target))
        if target in (0, self._session.count):
            self._pause()
        return frames

    def _pause(self) -> None:
        self.player.stop()
        self._session.pause()

    # ---------------------------------------------------------------------------------------------------------- waiting

    def go_on(self) -> None:
        """Do what waited for more frames to be examined."""
        go_on, self.waiting = self.waiting, None
        if go_on is not None:
            self.look.message = ""
            go_on()

    def _wait_for(self, go_on: Callable[[], None]) -> None:
        self.waiting = go_on
        self.look.message = "looking ahead …"

    def _is_known(self, target: int) -> bool:
        """Whether each frame from the current one to another has been found readable or unreadable."""
        first, last = sorted((self._session.cursor, target))
        last = min(last, self._session.count - 1)
        if last - first <= AROUND and all(self._pictures.peek(n) is not None for n in range(first, last + 1)):
            return True
        return self._pictures.changes.known_until(first) > last

    def note_unreadable(self) -> None:
        for position in self._pictures.take_unreadable():
            self._session.mark_unreadable(position)

    def _keep(self, event: Event | None, otherwise: str = "") -> None:
        """Write an event down; without one, show `otherwise`."""
        if event is None:
            self.look.message = otherwise
        else:
            self._write(event)
