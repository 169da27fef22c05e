"""From the state of labelling to the window's title and its view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from classify.assist import Asking, Assist
from classify.pace import Pace
from classify.pictures import AROUND, Picture, Pictures
from classify.player import Player
from classify.session import NONE, Session
from classify.window.timeline import Near, near_stretch
from storage.learn.proposals import Proposal
from storage.names import printable


@dataclass(frozen=True, slots=True)
class Legend:
    """The texts beside the frames.

    Attributes
    ----------
    title : str
        The recording's name.
    names : sequence of (int, str, int)
        Each label, its name, and how many of its frames are sorted already and not shown.
    keys : int
        How many of them have a key.
    reviewing : bool
        Whether frames with labels are looked through: then those after the cursor remain.
    saving : str
        What S does.
    """

    title: str
    names: Sequence[tuple[int, str, int]]
    keys: int
    reviewing: bool = False
    saving: str = "sorts them into class directories"

    def name(self, label: int) -> str:
        return next(name for number, name, _ in self.names if number == label)


@dataclass(slots=True)
class Look:
    """The modes and texts that the session does not have."""

    bright: bool = False
    help: bool = False
    stretches: bool = False  # whether digits label up to the next change
    zoom: int = 1  # the long timeline shows this part of the recording: all, a quarter, a sixteenth …
    typed: str | None = None  # the place typed so far, while one is asked for
    message: str = ""  # in one line


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A class in the list: the label's number, its name, its frames, and how many more are in its directory."""

    label: int
    name: str
    frames: int
    sorted: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """All that is shown.

    Attributes
    ----------
    legend : Legend
    look : Look
    timecode : str
        When the frame is shown; "" if that is not known.
    near : Near
        The cursor, the labels, and what is known about the frames. At the end, the cursor is their number.
    revision : int
        Changes whenever the labels do.
    remaining : int
        How many frames have no label, without those known to be unreadable.
    picture : Picture or None
        The frame's; None if it is not there yet. At the end, the last frame's.
    around : sequence of (int, Picture or None) or None
        The frames shown small, by position; None where the recording has none.
    classes : sequence of ClassRow
    mode : str
        What digits do, if not the usual; else "".
    mode_label : int
        The label that this mode gives, for its colour; `NONE` for none.
    speed : float
        How many times it plays, negative backwards; 0 while it does not.
    proposals : sequence of Proposal
        What is proposed for frames without a label.
    run : Proposal or None
        The run that is shown: then the small frames are spread over it.
    inside : int
        How many of them are in the run; the others are behind its end.
    """

    legend: Legend
    look: Look
    timecode: str
    near: Near
    revision: int
    remaining: int
    picture: Picture | None
    around: Sequence[tuple[int, Picture | None] | None]
    classes: Sequence[ClassRow]
    mode: str = ""
    mode_label: int = NONE
    speed: float = 0
    proposals: Sequence[Proposal] = ()
    run: Proposal | None = None
    inside: int = 0

    @property
    def cursor(self) -> int:
        return self.near.cursor

    @property
    def labels(self) -> bytearray:
        return self.near.labels

    @property
    def count(self) -> int:
        return len(self.near.labels)

    @property
    def current(self) -> int:
        """The current frame's label; `NONE` at the end."""
        return self.labels[self.cursor] if self.cursor < self.count else NONE


def title(session: Session, picture: Picture, pace: Pace, legend: Legend) -> str:
    """Return the window's title: position, total, per cent and time remaining; or what can't be read."""
    place = min(session.cursor + 1, session.count)
    start = f"{place:4d} / {session.count:4d} - "
    if picture.error and not session.at_end:
        return f"{start}error reading {printable(picture.error)}"
    minutes = pace.minutes(session.count - session.cursor if legend.reviewing else session.remaining)
    return f"{start}{100 * place / session.count:.0f}%, {_duration(minutes)} remaining"


def _proposed(run: Proposal, legend: Legend) -> str:
    if run.label == NONE:
        return "which class?"
    certainty = f" {100 * run.certainty:.0f} %" if run.certainty else ""
    return f"{legend.name(run.label)}?{certainty}"


def _duration(minutes: float | None) -> str:
    if minutes is None:
        return "? mins"
    hours, rest = divmod(round(minutes), 60)
    return f"{hours} h {rest} mins" if hours else f"{rest} mins"


def timecode(time_ns: int) -> str:
    """Return a time as it is typed after G: ``1:23.45``, ``1:02:03.45``."""
    minutes, rest = divmod(time_ns // 10**7, 6000)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02d}" if hours else f"{minutes}") + f":{rest // 100:02d}.{rest % 100:02d}"


def speed_text(speed: float) -> str:
    return {0.25: "¼", 0.5: "½"}.get(speed, f"{speed:g}") + " ×"


def done(session: Session, legend: Legend) -> int:
    """Return how many frames are done, for the pace."""
    return session.cursor if legend.reviewing else session.labelled


def view(
    session: Session, pictures: Pictures, player: Player, look: Look, legend: Legend, *, assist: Assist, width: int
) -> View:
    """What to draw in a window of a width."""
    cursor = session.cursor
    spread, inside = assist.shown()
    around = spread or range(cursor - AROUND, cursor + AROUND + 1)
    changes = pictures.changes
    nearby = changes.between(*near_stretch(width, cursor, session.count))
    at = min(cursor, session.count - 1)
    return View(
        legend=legend,
        look=look,
        timecode=timecode(pictures.times[at]) if at < len(pictures.times) else "",
        near=Near(cursor, session.labels, session.unreadable, nearby, changes.scores),
        revision=session.revision,
        remaining=session.remaining,
        picture=pictures.peek(at),
        around=[(n, pictures.peek(n)) if 0 <= n < session.count else None for n in around],
        classes=[ClassRow(label, name, session.counted(label), before) for label, name, before in legend.names],
        mode=_mode(session, look, legend, assist),
        mode_label=_mode_label(session, assist),
        speed=player.way * player.speed,
        proposals=assist.proposals if assist.asking is Asking.RUNS else (),
        run=assist.run,
        inside=inside,
    )


def _mode_label(session: Session, assist: Assist) -> int:
    if assist.run is not None:
        return assist.run.label
    return NONE if session.held is None else session.held


def _mode(session: Session, look: Look, legend: Legend, assist: Assist) -> str:
    match assist.asking:
        case Asking.FRAMES:
            return f"which class? {assist.questions} to go"
        case Asking.BORDERS:
            return "which class is this frame?"
        case Asking.RUNS | Asking.DOUBTS if assist.run is not None:
            return _proposed(assist.run, legend)
    if look.stretches:
        return "digits label stretches"
    if not session.hold:
        return ""
    return "hold: which class?" if session.held is None else f"holding {legend.name(session.held)}"
