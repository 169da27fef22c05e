"""The labelling loop: a key is an action, which changes the session; the journal keeps it, and the window shows it.

What was done is durable before anything else is shown: the next picture is drawn while the disk works, and shown when
it has finished. Meanwhile, and while pictures are decoded, the window goes on taking keys: OpenCV keeps only one key
between two polls.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol, TypeVar

from classify.changes import UNKNOWN
from classify.pace import Pace
from classify.pictures import AROUND, Picture, Pictures
from classify.player import Player
from classify.session import BATCH, Event
from classify.window.drawing import Drawing, View, class_at, frame_at, speed_text
from classify.window.keymap import Action, Do, action_of
from classify.window.view import Legend, Look, done, title, view
from classify.work import Work

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")

IDLE_MS = 50
LEAST_ZOOMED = 10  # frames
REDRAW_SECONDS = 0.1  # between drawings of what arrives by itself


class Ended(Enum):
    """Why labelling ended."""

    SAVE = auto()
    CLOSED = auto()
    REFRESH = auto()


class WindowLike(Protocol):
    """What labelling needs of a window; `classify.window.window` has the real one."""

    @property
    def is_open(self) -> bool: ...
    @property
    def size(self) -> tuple[int, int]: ...
    def key(self, milliseconds: int) -> int | None: ...
    def listen(self) -> None: ...
    def click(self) -> tuple[int, int, bool] | None: ...
    def show(self, picture: NDArray[np.uint8]) -> None: ...
    def set_title(self, title: str) -> None: ...


@dataclass(frozen=True, slots=True)
class _Shown:
    """What was drawn, when, how large, and how much had arrived by then."""

    view: View | None = None
    arrivals: int = -1
    size: tuple[int, int] = (0, 0)
    when: float = 0.0


class Labelling:
    """Labelling in a window, until the person saves or closes it."""

    def __init__(
        self,
        work: Work,
        pictures: Pictures,
        legend: Legend,
        window: WindowLike,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session, self._journal, self._keeper = work.session, work.journal, work.keeper
        self._pictures, self._legend, self._window = pictures, legend, window
        self._clock = clock
        self._aside = ThreadPoolExecutor(2, "aside")  # what takes time, while the window is listened to
        self._unsynced = False  # whether something was done that is not on its way to the disk yet
        self._drawing = Drawing()
        self._player = Player()
        self._pace = Pace()
        self._look = Look()
        self._shown = _Shown()
        self._ended: Ended | None = None
        self._waiting: Callable[[], None] | None = None  # what goes on when more is known
        self._nudged_from = 0  # where the border was that is being moved back
        session = self._session
        self._deeds: dict[Do, Callable[[int], None]] = {
            Do.LABEL: self._label,
            Do.LABEL_STRETCH: self._label_stretch,
            Do.BATCH: self._label_batch,
            Do.BACK: lambda _: self._go(session.cursor - 1),
            Do.STEP: lambda frames: self._go(session.cursor + frames),
            Do.BEGINNING: lambda _: self._go(0),
            Do.END: lambda _: self._go(session.count - 1),
            Do.BORDER: lambda way: self._go(session.next_border() if way > 0 else session.previous_border()),
            Do.ALIKE: lambda way: self._find(
                session.next_alike() if way > 0 else session.previous_alike(), "no further frame has this class"
            ),
            Do.UNLABELLED: lambda _: self._find(session.next_unlabelled(), "every frame has a label"),
            Do.UNREADABLE: lambda _: self._find(session.next_unreadable(), "no frame is known to be unreadable"),
            Do.CHANGE: self._to_change,
            Do.NUDGE: self._nudge,
            Do.CLEAR: lambda _: self._keep(session.clear()),
            Do.UNDO: lambda _: self._keep(session.undo(), "nothing to undo"),
            Do.ERASE: lambda _: self._keep(session.undo(), "nothing to undo"),
            Do.REDO: lambda _: self._keep(session.redo(), "nothing to redo"),
            Do.PLAY: self._play,
            Do.SPEED: self._change_speed,
            Do.HOLD: self._toggle_hold,
            Do.STRETCHES: self._toggle_stretches,
            Do.BRIGHTNESS: self._toggle_brightness,
            Do.GO_TO: self._ask,
            Do.ZOOM: self._zoom,
            Do.HELP: self._toggle_help,
            Do.SAVE: lambda _: self._end(Ended.SAVE),
            Do.REFRESH: lambda _: self._end(Ended.REFRESH),
        }

    def run(self) -> Ended:
        """Label until the window is closed or the person wants to save.

        Raises
        ------
        StorageError
            The journal can't be written. What was labelled before is kept.
        """
        try:
            self._pace.mark(self._clock(), done(self._session, self._legend))
            self._show()
            while self._ended is None and self._window.is_open:
                code = self._window.key(self._patience())
                if code is not None:
                    self._press_all(code)
                elif (place := self._window.click()) is not None:
                    self._click(*place[:2], dragged=place[2])
                elif self._player.way and not self._player.waits(self._clock()):
                    self._tick()
                else:
                    self._idle()
            return self._ended or Ended.CLOSED
        finally:
            self._keeper.look(self._session.cursor)
            self._keeper.flush()
            syncing = self._sync()
            self._aside.shutdown()
            if syncing is not None:
                syncing.result()

    # --------------------------------------------------------------------------------------------------------- the keys

    def _press_all(self, code: int | None) -> None:
        """Do what a key asks for, and the keys that wait behind it: all of them take one sync, and one drawing.

        Else a key that is held would go on labelling on a slow disk, long after it was let go.
        """
        pressed = False
        while code is not None:
            action = action_of(code)
            if action is not None:
                self._picture()
                self._press(action)
                if self._ended is not None:
                    return
                pressed = True
            code = self._window.key(0)
        if pressed:
            self._pace.mark(self._clock(), done(self._session, self._legend))
            self._show()

    def _press(self, action: Action) -> None:
        self._look.message = ""
        self._waiting = None
        self._look.help = self._look.help and action.do is Do.HELP
        if self._look.typed is not None and self._type(action):
            return
        if action.do not in (Do.LABEL, Do.PLAY, Do.SPEED, Do.BRIGHTNESS, Do.HELP):  # the rest ends playing
            self._pause()
        if action.do not in (Do.LABEL, Do.LABEL_STRETCH, Do.NUDGE, Do.BRIGHTNESS, Do.HELP):
            self._nudged_from = 0
        if deed := self._deeds.get(action.do):
            deed(action.number)

    def _end(self, ended: Ended) -> None:
        self._ended = ended

    def _label(self, label: int) -> None:
        if not self._has_class(label):
            return
        if self._player.way:
            self._switch(label)
        elif self._look.stretches:
            self._label_stretch(label)
        else:
            self._keep(self._session.label(label), "" if self._session.at_end else "skipped: it can't be read")

    def _label_stretch(self, label: int) -> None:
        """Label from here up to the next visible change, and go there.

        The change whose border was just moved back is not the next one: it is where this stretch was seen to begin.
        """
        if not self._has_class(label) or self._session.at_end:
            return
        target = self._pictures.changes.after(max(self._session.cursor, self._nudged_from))
        if target == UNKNOWN:
            self._wait_for(lambda: self._label_stretch(label))
        else:
            self._note_unreadable()
            self._keep(self._session.label_until(target, label))

    def _nudge(self, by: int) -> None:
        event = self._session.nudge(by)
        if event is not None and by < 0:
            self._nudged_from = max(self._nudged_from, event.stretches[-1][1])
        self._keep(event, "there is no border before this frame")

    def _label_batch(self, _: int) -> None:
        stop = min(self._session.cursor + BATCH, self._session.count)
        missing = [n for n in range(self._session.cursor, stop) if self._pictures.peek(n) is None]
        if missing:
            self._await(self._aside.submit(lambda: [self._pictures.get(n) for n in missing]))
        self._note_unreadable()
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
        """Jump; with a label held, only once every frame on the way is known to be readable or not."""
        if self._session.held is not None and not self._is_known(target):
            self._wait_for(lambda: self._pass_to(target))
            return
        self._note_unreadable()
        self._session.pause()
        self._keep(self._session.pass_to(target))
        self._session.pause()

    def _go(self, position: int) -> None:
        self._session.go(position)

    def _find(self, position: int | None, otherwise: str) -> None:
        if position is None:
            self._look.message = otherwise
        else:
            self._go(position)

    def _toggle_hold(self, _: int) -> None:
        self._session.hold_on(not self._session.hold)
        self._look.stretches = False

    def _toggle_stretches(self, _: int) -> None:
        self._look.stretches = not self._look.stretches
        self._session.hold_on(False)

    def _toggle_brightness(self, _: int) -> None:
        self._look.bright = not self._look.bright

    def _toggle_help(self, _: int) -> None:
        self._look.help = not self._look.help

    def _zoom(self, _: int) -> None:
        """Show a quarter of what the long timeline shows; after the last step all of it again."""
        zoom = self._look.zoom * 4
        self._look.zoom = 1 if self._session.count // zoom < LEAST_ZOOMED else zoom

    def _ask(self, _: int) -> None:
        self._look.typed = ""

    def _type(self, action: Action) -> bool:
        """A key while a frame's number or a time is asked for. False if it is none for that."""
        typed, self._look.typed = self._look.typed or "", None
        match action.do:
            case Do.LABEL | Do.BATCH:
                self._look.typed = (typed + str(9 if action.do is Do.BATCH else action.number))[:9]
            case Do.ERASE:
                self._look.typed = typed[:-1]
            case Do.COLON | Do.NUDGE:  # a comma or a point will do
                self._look.typed = (typed + ":")[:9]
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
            self._look.message = "it is not known when these frames were taken"
        else:
            self._pass_to(max(0, bisect_right(times, seconds * 10**9) - 1))

    def _click(self, x: int, y: int, *, dragged: bool) -> None:
        if self._look.help:
            self._look.help = False
            self._show()
            return
        shown = self._shown
        if shown.view is None:
            return
        label = None if dragged else class_at((x, y), shown.size, shown.view)
        if label is not None:
            self._look.typed = None
            self._press_all(ord("0") + label)
            return
        found = frame_at((x, y), shown.size, shown.view)
        if found is not None and found != self._session.cursor:
            self._waiting, self._look.message = None, ""
            self._pause()
            self._go(found)
            self._show()

    def _has_class(self, label: int) -> bool:
        if label < self._legend.keys:
            return True
        self._look.message = f"there is no class {label}; --classes makes more"
        return False

    # ---------------------------------------------------------------------------------------------------------- playing

    def _play(self, way: int) -> None:
        playing = self._player.way
        self._pause()
        if playing == way:
            return
        if (self._session.at_end and way > 0) or (self._session.cursor == 0 and way < 0):
            self._look.message = "that way there is nothing more"
        else:
            self._player.start(way, self._session.cursor, self._clock())

    def _change_speed(self, by: int) -> None:
        self._player.change_speed(by)
        self._look.message = "" if self._player.way else f"plays at {speed_text(self._player.speed)}"

    def _switch(self, label: int) -> None:
        """A label while playing: hold it from now on, and since the change that it is meant for."""
        held, cursor = self._session.held, self._session.cursor
        since = self._player.meant_since(
            cursor, self._pictures.fps, self._pictures.changes.strongest, first=held is None, again=held == label
        )
        self._look.stretches = False
        if self._is_known(since):
            self._note_unreadable()
        else:
            since = cursor
        self._keep(self._session.switch(label, since))

    def _tick(self) -> None:
        now = self._clock()
        frames = self._player.advance(self._pictures.fps, now)
        target = max(0, min(self._session.cursor + frames, self._session.count))
        if self._session.held is not None and not self._is_known(target):
            self._look.message = "reading ahead …"
            self._idle()
            return
        self._look.message = ""
        self._note_unreadable()
        self._keep(self._session.pass_to(target))
        if target in (0, self._session.count):
            self._pause()
        self._pace.mark(now, done(self._session, self._legend))
        self._show(frames)

    def _pause(self) -> None:
        self._player.stop()
        self._session.pause()

    # ---------------------------------------------------------------------------------------------------------- waiting

    def _patience(self) -> int:
        """Milliseconds to wait for a key."""
        return min(IDLE_MS, int(1000 * self._player.waits(self._clock()))) if self._player.way else IDLE_MS

    def _idle(self) -> None:
        """No key came: go on with what had to wait, write down the frame looked at, show what has arrived."""
        news = self._pictures.arrivals != self._shown.arrivals
        if news and self._waiting is not None:
            go_on, self._waiting, self._look.message = self._waiting, None, ""
            go_on()
            self._show()
            return
        if not self._player.way:
            self._keeper.flush()
        if self._window.size != self._shown.size or (news and self._clock() - self._shown.when > REDRAW_SECONDS):
            self._show()

    def _wait_for(self, go_on: Callable[[], None]) -> None:
        self._waiting = go_on
        self._look.message = "looking ahead …"

    def _is_known(self, target: int) -> bool:
        """Whether every frame from the current one to another is known to be readable or not."""
        first, last = sorted((self._session.cursor, target))
        last = min(last, self._session.count - 1)
        if last - first <= AROUND and all(self._pictures.peek(n) is not None for n in range(first, last + 1)):
            return True
        return self._pictures.changes.known_until(first) > last

    def _note_unreadable(self) -> None:
        for position in self._pictures.take_unreadable():
            self._session.mark_unreadable(position)

    def _await(self, work: Future[T]) -> T:
        while not work.done():
            self._window.listen()
        return work.result()

    def _keep(self, event: Event | None, otherwise: str = "") -> None:
        """Write an event down, to be durable before anything else is shown; say something else if there is none."""
        if event is None:
            self._look.message = otherwise
            return
        self._keeper.keep(event, self._session.cursor)
        self._unsynced = True

    def _sync(self) -> Future[None] | None:
        """Begin to make durable what was done; None if nothing was."""
        unsynced, self._unsynced = self._unsynced, False
        return self._aside.submit(self._journal.sync) if unsynced else None

    # ---------------------------------------------------------------------------------------------------------- showing

    def _show(self, step: int = 1) -> None:
        """Show the frame looked at, and make ready what comes next in steps of `step` frames."""
        syncing = self._sync()
        session, legend = self._session, self._legend
        self._keeper.look(session.cursor)
        size, arrivals = self._window.size, self._pictures.arrivals
        picture = self._picture(step)
        shown = view(session, self._pictures, self._player, self._look, legend, width=size[0])
        drawn = self._await(self._aside.submit(self._drawing.draw, shown, size))
        if syncing is not None:
            self._await(syncing)
        self._window.set_title(title(session, picture, self._pace, legend))
        self._window.show(drawn)
        self._shown = _Shown(shown, arrivals, size, self._clock())

    def _picture(self, step: int = 1) -> Picture:
        """The picture of the frame looked at; with it, it is known whether the frame can be labelled."""
        looked_at = min(self._session.cursor, self._session.count - 1)
        self._pictures.look_at(looked_at, step)
        picture = self._pictures.peek(looked_at) or self._await(self._aside.submit(self._pictures.get, looked_at))
        self._note_unreadable()
        return picture
