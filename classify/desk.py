"""The labelling loop: a key is an action of `classify.actions`; the journal keeps its event, the window shows it.

An event is durable before anything else is shown: the next picture is drawn while the disk works, and shown when it has
finished. Meanwhile, and while pictures are decoded, the window takes keys: OpenCV keeps only one key between two polls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from classify.actions import Actions, Ended
from classify.assist import Asking, Assist
from classify.learner import Learner
from classify.pace import Pace
from classify.pictures import Picture, Pictures
from classify.session import Event
from classify.window.drawing import Drawing
from classify.window.keymap import action_of
from classify.window.layout import cell_at, class_at, frame_at
from classify.window.view import Legend, View, done, title, view
from classify.work import Work

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")

IDLE_MS = 50
MOMENT_SECONDS = 0.01  # most drawings take less, and nobody presses two keys within it
REDRAW_SECONDS = 0.1  # between drawings of what arrives by itself
HANDS_OFF_SECONDS = (
    1.0  # after the last key or click, before something else is shown: the next key would be meant for this frame
)


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
    """What was drawn, how much had arrived by then, the size and the time."""

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
        *,
        tolerance: int = 0,
        learner: Learner | None = None,
        doubting: bool = False,
    ) -> None:
        self._session, self._journal, self._keeper = work.session, work.journal, work.keeper
        self._pictures, self._legend, self._window = pictures, legend, window
        self._clock = clock
        self.assist, self._learner, self._doubting = Assist(self._session, tolerance), learner, doubting
        self._actions = Actions(
            self._session,
            pictures,
            legend,
            clock,
            keep=self._keep,
            load=self._load,
            assist=self.assist,
            learner=learner,
        )
        self._aside = ThreadPoolExecutor(2, "aside")  # for work that takes time; the window is listened to meanwhile
        self._unsynced = False  # whether there are events that are not on their way to the disk
        self._drawing = Drawing()
        self._pace = Pace()
        self._pressed = -HANDS_OFF_SECONDS  # when the last key or click came
        self.shown = _Shown()

    @property
    def waits(self) -> bool:
        """Whether what a key asks for goes on once more is known."""
        return self._actions.waiting is not None

    def run(self) -> Ended:
        """Label until the window is closed or the person wants to save.

        Raises
        ------
        StorageError
            The journal can't be written. What was labelled before is kept.
        """
        try:
            self._mark()
            if self._doubting:
                self._actions.dialogue.doubt()
            self._show()
            while self._actions.ended is None:
                is_open = self._window.is_open
                code = self._window.key(self._patience() if is_open else 0)
                if code is not None:
                    self._press_all(code)
                elif not is_open:  # and all keys are done that were pressed before
                    break
                elif (place := self._window.click()) is not None:
                    self._click(*place[:2], dragged=place[2])
                elif self._actions.player.way and not self._actions.player.waits(self._clock()):
                    self._tick()
                else:
                    self._idle()
            return self._actions.ended or Ended.CLOSED
        finally:
            self._keeper.look(self._session.cursor)
            self._keeper.flush()
            syncing = self._sync()
            self._aside.shutdown()
            if syncing is not None:
                syncing.result()

    # --------------------------------------------------------------------------------------------------------- the keys

    def _press_all(self, code: int | None) -> None:
        """Do what a key and those waiting behind it ask for, with one sync and one drawing for all.

        Else, on a slow disk, a key that is held would go on labelling long after it was let go.
        """
        pressed = False
        while code is not None:
            action = action_of(code)
            if action is not None:
                self._picture()
                self._actions.press(action)
                if self._actions.ended is not None:
                    return
                pressed = True
            code = self._window.key(0)
        self._pressed = self._clock()
        if pressed:
            self._mark()
            self._show()

    def _click(self, x: int, y: int, *, dragged: bool) -> None:
        look, shown = self._actions.look, self.shown
        self._pressed = self._clock()
        if look.help:
            look.help = False
            self._show()
            return
        if shown.view is None:
            return
        label = None if dragged else class_at((x, y), shown.size, shown.view)
        if label is not None:
            look.typed = None
            self._press_all(ord("0") + label)
            return
        cell = None if dragged or shown.view.run is None else cell_at((x, y), shown.size, shown.view)
        if cell is not None:
            self.assist.end_before(cell)
            self._show()
            return
        found = frame_at((x, y), shown.size, shown.view)
        if found is not None and found != self._session.cursor:
            self._actions.go_to(found)
            self._show()

    def _tick(self) -> None:
        frames = self._actions.play_on()
        if not frames:
            self._idle()
            return
        self._mark()
        self._show(frames)

    @property
    def _arrivals(self) -> int:
        """Grows with what becomes known of the frames, and with what is learnt."""
        return self._pictures.arrivals + (0 if self._learner is None else self._learner.arrivals)

    def _mark(self) -> None:
        self._pace.mark(self._clock(), done(self._session, self._legend))

    # ---------------------------------------------------------------------------------------------------------- waiting

    def _patience(self) -> int:
        """Milliseconds to wait for a key."""
        player = self._actions.player
        return max(1, min(IDLE_MS, int(1000 * player.waits(self._clock())))) if player.way else IDLE_MS

    def _idle(self) -> None:
        """Without a key, go on with a waiting action, write down the current frame, show what has arrived."""
        self._show_doubts()
        news = self._arrivals != self.shown.arrivals
        if self._actions.waiting is not None:
            self._actions.go_on()
            if news or self._actions.waiting is None:
                self._mark()
                self._show()
            return
        if not self._actions.player.way:
            self._keeper.flush()
        if self._window.size != self.shown.size or (news and self._clock() - self.shown.when > REDRAW_SECONDS):
            self._show()

    def _show_doubts(self) -> None:
        """Show the first doubt when all are found. A key ends the waiting for them, and not the search."""
        learner, actions = self._learner, self._actions
        if not self._doubting or learner is None or not (learner.has_failed or learner.doubts is not None):
            return
        is_free = self.assist.asking is Asking.NOTHING and actions.waiting in (None, actions.dialogue.doubt)
        is_seen = actions.look.typed is None and not actions.look.help
        if is_free and is_seen and not actions.player.way and self._clock() - self._pressed >= HANDS_OFF_SECONDS:
            self._doubting, actions.waiting = False, None
            actions.dialogue.doubt()
            self._mark()
            self._show()

    def _load(self, positions: Iterable[int]) -> None:
        missing = [n for n in positions if self._pictures.peek(n) is None]
        if missing:
            self._await(self._aside.submit(lambda: [self._pictures.get(n) for n in missing]))

    def _await(self, work: Future[T]) -> T:
        wait([work], MOMENT_SECONDS)
        while not work.done():
            self._window.listen()
        return work.result()

    def _keep(self, event: Event) -> None:
        """Write an event down; `_show` makes it durable first."""
        self._keeper.keep(event, self._session.cursor)
        self._unsynced = True

    def _sync(self) -> Future[None] | None:
        """Begin to make the events durable; None if there are none."""
        unsynced, self._unsynced = self._unsynced, False
        return self._aside.submit(self._journal.sync) if unsynced else None

    # ---------------------------------------------------------------------------------------------------------- showing

    def _show(self, step: int = 1) -> None:
        """Show the current frame, and make ready what comes next in steps of `step` frames."""
        syncing = self._sync()
        session, legend = self._session, self._legend
        self._keeper.look(session.cursor)
        size, arrivals = self._window.size, self._arrivals
        picture = self._picture(step)
        player, look = self._actions.player, self._actions.look
        shown = view(session, self._pictures, player, look, legend, assist=self.assist, width=size[0])
        drawn = self._await(self._aside.submit(self._drawing.draw, shown, size))
        if syncing is not None:
            self._await(syncing)
        self._window.set_title(title(session, picture, self._pace, legend))
        self._window.show(drawn)
        self.shown = _Shown(shown, arrivals, size, self._clock())

    def _picture(self, step: int = 1) -> Picture:
        """Return the current frame's picture; then it is known whether the frame can be labelled."""
        looked_at = min(self._session.cursor, self._session.count - 1)
        self._pictures.look_at(looked_at, step, self.assist.shown()[0])
        picture = self._pictures.peek(looked_at) or self._await(self._aside.submit(self._pictures.get, looked_at))
        self._actions.note_unreadable()
        return picture
