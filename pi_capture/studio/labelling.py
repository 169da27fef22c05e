"""Labelling in browsers: `classify` behind requests, each durable before it is answered, and done once.

One `Labelling` is one recording that is open; it holds the lock that a window would hold. One thread at a time changes
it. The pages that look at it are told of each change.
What each action does to the labels is in `pi_capture.studio.deeds`.
"""

from __future__ import annotations

import hashlib
import threading
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

from classify.changes import BLOCK
from classify.commit import save, take_back
from classify.session import FIRST_FOREIGN, NONE, Session, Undo
from classify.work import Work, check, open_work
from pi_capture.studio.actions import Action, check_action
from pi_capture.studio.answers import RefusedError
from pi_capture.studio.deeds import Deeds
from pi_capture.studio.frames import Frames
from pi_capture.studio.givers import Givers, now
from pi_capture.studio.helping import Help
from pi_capture.studio.listeners import Listener
from pi_capture.studio.recordings import state_of
from pi_capture.studio.runs import Run, changed_runs, runs_of
from storage.care.split import is_split, places_before
from storage.errors import StorageError
from storage.labels.beside import journal_path
from storage.labels.journal import LabelJournal
from storage.names import natural_key, printable
from storage.recording import Recording

LEARNER_WAITS_SECONDS = 0.05  # for its turn, before it looks whether it is being ended


class Labelling:
    """A recording that is open for labelling.

    Parameters
    ----------
    path : path
    classes, by_name, relabel : optional
        As in `classify.work.open_work`.
    givers : Givers, optional
        Those of the same recording, when it was open before.

    Raises
    ------
    StorageError
        As `classify.work.open_work`.
    """

    def __init__(
        self,
        path: Path,
        *,
        classes: Sequence[str] = (),
        by_name: bool | None = None,
        relabel: bool = False,
        givers: Givers | None = None,
    ) -> None:
        self.path = path
        self._how = (list(classes), by_name, relabel)
        self._work: Work = open_work(path, classes=classes, by_name=by_name, relabel=relabel)
        opened = self._work.opened
        self.frames = Frames(opened.recording)
        session = self._work.session
        self._deeds = Deeds(session, self.frames, opened.indices)
        self._session_id, self._revision = uuid4().hex, 0
        self._told_known = 0  # blocks of changes that the pages know of
        self._requests: dict[str, int] = {}
        for entry in self._work.journal.entries:
            if (by := getattr(entry, "by", None)) is not None:
                self._requests[by[0]] = max(by[1], self._requests.get(by[0], 0))
        self._work.journal.entries.clear()  # they are in the session now, and may be a hundred thousand
        self._lock = threading.Lock()
        self._listeners: set[Listener] = set()
        self._help = Help(
            session,
            path,
            opened.indices,
            len(opened.classes.names),
            look_into=self._deeds.look_into,
            on_arrival=self._take_news,
        )
        self._told_help, self._told_model = self._help.state, ""
        self._left_at = time.monotonic()
        self.closed = False
        self._prefixes: dict[int, str] = {}
        opening = self._opening(session.count)
        same = givers is not None and givers.frames == opening  # pages may still have labels older than some given then
        self.givers = givers if givers is not None and same else Givers(opening, session.count)
        self.givers.forget_order()

    def is_opened_as(self, classes: Sequence[str], by_name: bool | None, relabel: bool | None) -> bool:
        """Whether it is what somebody wants to open, who may leave all that to whoever opened it."""
        same_classes = not classes or list(classes) == self._how[0]
        return not self.closed and same_classes and by_name in (None, self._how[1]) and relabel in (None, self._how[2])

    @property
    def session(self) -> Session:
        return self._work.session

    @property
    def recording(self) -> Recording:
        return self._work.opened.recording

    @property
    def indices(self) -> Sequence[int]:
        """The index in the recording of each frame."""
        return self._work.opened.indices

    def position_of(self, index: int) -> int:
        """Where a frame is shown that has an index in the recording. Raises RefusedError if it is not."""
        position = bisect_left(self.indices, index)
        if position < len(self.indices) and self.indices[position] == index:
            return position
        way = "press Look, then Undo the last Save"
        if (before := places_before(self.path)) and index < len(before[1]):
            of, place = printable(before[0].name), before[1][index] + 1
            way = f"look at {of}; press Undo the split, Undo the last Save, Label, Go to …, {place:,} there"
        raise RefusedError(f"frame {index + 1:,} is saved in its class: {way}", 409)

    # ---------------------------------------------------------------------------------------------------------- looking

    def listen(self) -> Listener:
        """A page that is told the state first, and then what happens. From the server's thread."""
        listener = Listener()
        self._listeners.add(listener)
        self._tell_pages()
        return listener

    def leave(self, listener: Listener) -> None:
        self._listeners.discard(listener)
        self._left_at = time.monotonic()
        self._tell_pages()

    def _tell_pages(self) -> None:
        self._tell("pages", {"pages": len(self._listeners)})

    @property
    def deserted_seconds(self) -> float:
        """How long no page has listened, or asked how it stands."""
        return 0.0 if self._listeners else time.monotonic() - self._left_at

    def state(self) -> dict[str, Any]:
        """All that a page needs to begin."""
        with self._lock:
            self._check_open()
            self._left_at = time.monotonic()
            session, opened = self.session, self._work.opened
            return {
                **self._facts(),
                "session": self._session_id,
                "opening": self._opening(session.count),
                "count": session.count,
                "labels": runs_of(session.labels),
                "unreadable": session.unreadable,
                "classes": [
                    {"label": label, "name": printable(name), "sorted": opened.sorted[directory]}
                    for label, name, directory in self._classes()
                ],
                "keys": len(opened.classes.names),
                "fps": self._deeds.fps,
                "changes": self._changes(),
                "clients": dict(self._requests),
                "help": self._help.state,
                "proposals": self._help.proposals,
                "saving": "saves the labels" if opened.directory is None else "saves them, a directory for each class",
                "told": self._told(),
                "now": now(),
            }

    def label_facts(self) -> dict[str, Any]:
        """How many frames have which label, and what that makes of the recording, for its facts."""
        import numpy as np

        with self._lock:
            opened = self._work.opened
            now, before = (np.frombuffer(bytes(labels), np.uint8) for labels in (self.session.labels, opened.labels))
            stored = np.bincount(before, minlength=256)
            waiting = np.bincount(now[now != before], minlength=256)
            unlabelled = self.session.counted(NONE)
            shown = self._classes()
            others = sorted({*opened.sorted} - {directory for _, _, directory in shown}, key=natural_key)
            return {
                "classes": [
                    {
                        "name": printable(name),
                        "directory": printable(directory),
                        "frames": (int(stored[label]) if label != NONE else 0) + opened.sorted[directory],
                        "waiting": int(waiting[label]) if label != NONE else 0,
                    }
                    for label, name, directory in [*shown, *((NONE, name, name) for name in others)]
                ],
                "unlabelled": unlabelled,
                "waiting": int(waiting[:NONE].sum()),
                "state": state_of(self.recording, unlabelled),
            }

    def _classes(self) -> list[tuple[int, str, str]]:
        """The label, the name and the directory of each class, those without a key last."""
        opened = self._work.opened
        keyed = zip(range(FIRST_FOREIGN), opened.classes.names, opened.classes.directories, strict=False)
        return [*keyed, *((FIRST_FOREIGN + number, name, name) for number, name in enumerate(opened.foreign))]

    def look_around(self) -> None:
        """Tell the pages which changes were found meanwhile; called now and then."""
        changes = self._deeds.changes
        if changes is None or not self._listeners:
            return
        with self._lock:
            unreadable = self._note_unreadable()
            known = sum(map(changes.is_known, range(changes.blocks)))
            if known != self._told_known:
                self._told_known = known
                self._tell("changes", self._changes())
            if unreadable:
                self._tell("change", self._change([], None, unreadable))

    def _facts(self) -> dict[str, Any]:
        session = self.session
        return {
            "revision": self._revision,
            "cursor": session.cursor,
            "can_undo": session.can_undo(),
            "can_redo": session.can_redo(),
            "hold": session.hold,
            "held": session.held,
        }

    def _changes(self) -> dict[str, Any]:
        changes = self._deeds.changes
        if changes is None:
            return {"known": 0, "at": []}
        blocks = sum(map(changes.is_known, range(changes.blocks)))
        return {"known": min(blocks * BLOCK, self.session.count), "at": changes.between(0, self.session.count)}

    def _told(self) -> list[str]:
        told = []
        if self._work.adopted:
            told.append(f"{self._work.adopted:,} frames have labels from the recording, which had been interrupted")
        if self._work.finished:
            told.append("what was interrupted last time is complete now")
        return told

    def _opening(self, count: int) -> str:
        """What stands for the first `count` frames: frames that came later change nothing about them."""
        if count not in self._prefixes:
            names = "\n".join(self._work.opened.names[:count])
            self._prefixes[count] = f"{count}-{hashlib.sha256(names.encode(errors='replace')).hexdigest()[:16]}"
        return self._prefixes[count]

    def _check_open(self) -> None:
        if self.closed:
            raise RefusedError("it is closed; open it again", 409, reload=True)

    # ------------------------------------------------------------------------------------------------------------ doing

    def act(self, client: str, opening: str, actions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Do what a page asks for; it is durable on return. Actions that were done before are left out.

        Raises
        ------
        RefusedError
            Nothing was done: an action is none, or it is for other frames than there are.
        StorageError
            The disk takes no labels. The labelling is closed; what was answered before is kept.
        """
        for action in actions:
            check_action(action, len(self._work.opened.classes.names))
        with self._lock:
            self._check_open()
            self._check_frames(opening)
            last, told, overtaken = self._requests.get(client, 0), "", 0
            changes: list[dict[str, Any]] = []
            try:
                for action in actions:
                    if action["seq"] > last:
                        last = action["seq"]
                        told, change, newer = self._do(action, (client, last))
                        overtaken += newer
                        changes.append(change)
                        self._requests[client] = last
                self._work.keeper.look(self.session.cursor)
                self._work.journal.sync()
            except (StorageError, OSError) as error:
                self._close(str(error))
                raise
            for change in changes:
                self._tell("change", change)
            self._tell_help()
            done = {"done": last, "revision": self._revision, "changes": changes, "told": told}
            return {**done, "overtaken": overtaken, "help": self._told_help}

    def _check_frames(self, opening: str) -> None:
        count = opening.partition("-")[0]
        known = count.isascii() and count.isdigit() and len(count) < 10 and int(count) <= self.session.count
        if not known or self._opening(int(count)) != opening:
            raise RefusedError("the frames have changed since; look at them again", 409, reload=True)

    def _do(self, action: Mapping[str, Any], by: tuple[str, int]) -> tuple[str, dict[str, Any], int]:
        """Do one thing, and write it down; what there is to tell, what has changed, and how many frames were overtaken.

        Those keep what another client gave them after this was done, on a page that was away from the network.
        """
        session, givers, (client, _) = self.session, self.givers, by
        before, others = bytes(session.labels), ""
        given = min(action.get("given", now()), now())
        unreadable = self._note_unreadable()
        if action["action"] == "undo":
            if not givers.may_undo(client, given):
                return "nothing of yours to undo: others have labelled since", self._change([], by, unreadable), 0
            others = givers.undoes_others(client)
        session.spared, session.left_out = givers.newer(client, given), []
        done = self._help.deeds.get(action["action"], self._deeds.do)(action)
        if action["action"] in ("undo", "redo"):
            self._help.undone()
        left_out, label = {*session.left_out}, _label_of(action)
        session.spared = ()
        unreadable += self._note_unreadable()
        told, runs = done if isinstance(done, str) else "", changed_runs(before, session.labels)
        if done is not None and not isinstance(done, str):
            self._work.keeper.keep(done, session.cursor, by)
            givers.note(done, runs, client, given)
            if isinstance(done, Undo) and others and runs:
                told = f"that took back another page's labels: {_frames_words(runs)} as before; Redo gives them again"
        elif left_out:
            givers.left_out(client)
        change = {**self._change(runs, by, unreadable), "taken_from": others if told else ""}
        return told, change, sum(session.labels[frame] != label for frame in left_out)

    def _note_unreadable(self) -> list[int]:
        return self._deeds.note_unreadable(self._help.learner.take_damaged())

    def _change(self, runs: list[Run], by: tuple[str, int] | None, unreadable: list[int]) -> dict[str, Any]:
        """What pages are told of; its number lets them do it once, and in order."""
        self._revision += 1
        client, seq = by or ("", 0)
        told = {"labels": runs, "by": client, "seq": seq, "unreadable": unreadable}
        return {**self._facts(), **told}

    def _take_news(self) -> None:
        """Tell the pages what was learnt. The learner's thread must not wait here while it is being ended."""
        while not self.closed:
            if self._lock.acquire(timeout=LEARNER_WAITS_SECONDS):
                try:
                    if not self.closed:
                        if unreadable := self._note_unreadable():
                            self._tell("change", self._change([], None, unreadable))
                        self._help.go_on()
                        self._tell_help()
                finally:
                    self._lock.release()
                return

    def _tell_help(self) -> None:
        """Tell what is asked and proposed, if that is new."""
        if self._help.model != self._told_model:
            self._told_model = self._help.model
            self._tell("proposals", {"proposals": self._help.proposals})
        state = self._help.state
        if state != self._told_help:
            self._told_help = state
            self._tell("help", state)

    def _tell(self, name: str, value: Mapping[str, Any]) -> None:
        for listener in list(self._listeners):
            listener.tell(name, value)

    # ----------------------------------------------------------------------------------------- applying, and closing

    def apply(self) -> dict[str, Any]:
        """S: apply the labels, and close. Raises StorageError if they can't be; they are kept."""
        with self._lock:
            self._check_open()
            self._note_unreadable()
            try:
                applied = save(self._work.opened, self.session, self._work.journal)
            except (StorageError, OSError) as error:  # some may have moved: opening it again completes that
                self._close(str(error))
                raise
            left = self.session.labels.count(NONE)
            self._close("another page pressed Save")
            table = None if applied.table is None else applied.table.name
            return {**asdict(applied), "counts": dict(applied.counts), "table": table, "left": left}

    def close(self, reason: str) -> None:
        """Let others have it; nothing is lost. May be called again."""
        with self._lock:
            if not self.closed:
                with suppress(StorageError, OSError):
                    self._work.keeper.flush()
                self._close(reason)

    def _close(self, reason: str) -> None:
        self.closed = True
        self._help.close()
        self._deeds.close()
        self._work.close()
        self._tell("closed", {"reason": reason})


def _label_of(action: Action) -> int | None:
    """The label that an action gives; None if it tells of none."""
    return {"batch": 0, "clear": NONE}.get(action["action"], action.get("label"))


def _frames_words(runs: Sequence[Run]) -> str:
    """Which frames differ, from the first to the last, as a page counts them."""
    first, last = runs[0][0] + 1, runs[-1][1]
    return f"frame {first:,} is" if first == last else f"frames {first:,} to {last:,} are"


def undo_of_apply(path: Path) -> tuple[int, list[str], dict[str, str]]:
    """Undo the last S of a recording; as `classify.commit.take_back`, of which see what is raised.

    Raises RefusedError if frames are held out.
    """
    check(path)
    if is_split(path):
        raise RefusedError(f"{printable(path.name)} is split: press Look at the frames, and Undo the split, first", 409)
    with LabelJournal(journal_path(path)) as journal:
        count, missing, renamed = take_back(path, journal)
    return count, [*map(printable, missing)], {printable(name): printable(now) for name, now in renamed.items()}
