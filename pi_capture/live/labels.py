"""Live labels: a digit begins a class while the recording runs, and each frame gets the class of its timestamp.

A video file stores them with the frames. Whatever the format, each key is also written to a journal at once, so that a
crash keeps them all (`storage.labels.live`). That is done in a thread of its own: no key waits until the disk has taken
the one before. `pi_capture.live.terminal` reads the keys.
"""

from __future__ import annotations

import queue
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pi_capture.errors import UsageError
from storage.errors import StorageError
from storage.labels.journal import MAX_LABEL
from storage.names import check_class_name

if TYPE_CHECKING:
    from pi_capture.recording.recorder import Recorder
    from storage.labels.journal import Classes
    from storage.labels.live import LiveJournal

NO_LABEL_KEYS = ("-", "\x7f", "\b")


class Changes:
    """The times at which labels begin: a class by its number, or none. One thread adds to them, others read."""

    def __init__(self) -> None:
        self.starts: list[int] = []  # ascending
        self.labels: list[int | None] = []

    def start(self, label: int | None, at_ns: int) -> None:
        """Begin a label, no sooner than the one before."""
        if self.starts and at_ns <= self.starts[-1]:  # a frame of a file may get two keys: the last counts
            self.labels[-1] = label
        else:
            self.labels.append(label)  # before the time, by which another thread looks
            self.starts.append(at_ns)

    def at(self, timestamp_ns: int) -> int | None:
        """Return the label of a frame of that time."""
        place = bisect_right(self.starts, timestamp_ns) - 1
        return self.labels[place] if place >= 0 else None

    @property
    def last(self) -> int | None:
        return self.labels[-1] if self.labels else None


class LiveLabels:
    """The live labels of a recording; `names` are its classes, by the digits of their keys."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._changes = Changes()
        self._say: Callable[[str], None] = lambda line: None
        self._clock: Callable[[], int] | None = None
        self._target = Path()
        self._classes: Classes | None = None  # once a recording has begun
        self._first_index = 0
        self._in_frames = False
        self._journal: LiveJournal | None = None  # while a recording runs
        self._unwritten: queue.SimpleQueue[tuple[int, int | None] | None] = queue.SimpleQueue()  # None: the end
        self._writing: threading.Thread | None = None
        self._keeping = threading.Lock()  # never held while the disk is waited for
        self._looked_up_ns = -(1 << 63)  # the latest frame whose label was looked up
        self._came_late = False  # a key, after the label of one of its frames was looked up

    # ------------------------------------------------------------------------------------------------- keys coming in

    def press(self, key: str, now_ns: int) -> None:
        """Take a key: a digit begins its class, ``-`` and Backspace end it; other keys do nothing."""
        if key in NO_LABEL_KEYS:
            label = None
        elif key.isascii() and key.isdigit() and int(key) < len(self.names):
            label = int(key)
        else:
            return
        if label != self._changes.last:
            self.start(label, now_ns if self._clock is None else self._clock())

    def start(self, label: int | None, at_ns: int) -> None:
        """Begin a label with the frame of that time, or the next frame."""
        with self._keeping:
            self._came_late = self._came_late or at_ns <= self._looked_up_ns
            self._changes.start(label, at_ns)
            if self._journal is not None:
                self._unwritten.put((self._changes.starts[-1], label))

    def label_at(self, timestamp_ns: int) -> int | None:
        """Return the class of a frame of that time, as its number."""
        return self._changes.at(timestamp_ns)

    @property
    def label(self) -> int | None:
        """The class of this moment, as its number."""
        return self._changes.last

    @property
    def shown(self) -> str:
        """The class of this moment, as the progress line shows it."""
        label = self.label
        return "[no label]" if label is None else f"[{label} {self.names[label]}]"

    @property
    def legend(self) -> str:
        """What each key means."""
        return ", ".join([*(f"{n} {name}" for n, name in enumerate(self.names)), "- or Backspace: no label"])

    # ----------------------------------------------------------------------------------------------------- a recording

    def begin(self, recorder: Recorder, say: Callable[[str], None], clock: Callable[[], int] | None = None) -> None:
        """Begin to label a recording, before its first frame.

        Parameters
        ----------
        recorder : Recorder
        say : callable
            Called from any thread with a line about a label that may not be kept.
        clock : callable, optional
            Gives the time of a frame that is taken now, where frames have another clock than the monotonic one.

        Raises
        ------
        UsageError
            The recording has other classes, or the target is a class directory.
        StorageError
            The labels can't be kept.
        """
        from storage.formats.png.directory import locate
        from storage.formats.table import find_format
        from storage.labels.live import LiveJournal

        self._target, self._say, self._clock = recorder.target, say, clock
        row = find_format(self._target, recorder.backend)
        self._in_frames = row.takes_labels
        if not row.suffix and (place := locate(self._target)).class_name is not None:
            raise UsageError(f"--live-labels: {self._target} is a class already; record to {place.data_dir}")
        self._first_index = recorder.first_index
        classes = self._choose_classes()
        journal = LiveJournal(self._target, classes, self._first_index)  # without a key, it keeps the names
        with self._keeping:
            self._classes, self._journal = classes, journal
            if clock is not None and self._changes.starts:  # keys that came early had the wrong clock
                early, self._changes = self._changes, Changes()
                self._changes.start(early.last, clock())
            for start, label in zip(self._changes.starts, self._changes.labels, strict=True):
                self._unwritten.put((start, label))
        self._writing = threading.Thread(target=self._write, args=(journal,), name="live labels", daemon=True)
        self._writing.start()
        if self._in_frames:
            recorder.label_by(self._label_at)

    def end(self, *, in_order: bool) -> None:
        """Put the labels of a closed recording where `classify` finds them. Raises StorageError if that fails."""
        from storage.labels.live import adopt

        with self._keeping:
            journal, self._journal, self._classes = self._journal, None, None
        if journal is None or self._writing is None:
            return
        self._unwritten.put(None)
        self._writing.join()
        journal.close()
        adopt(self._target, in_frames=self._in_frames and in_order and not self._came_late)

    def _write(self, journal: LiveJournal) -> None:
        for start_ns, label in iter(self._unwritten.get, None):
            try:
                journal.start(start_ns, label)
            except (OSError, StorageError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                self._say(f"{self._target}: {reason}; this key may be lost if the power fails")

    def _label_at(self, timestamp_ns: int) -> str | None:
        with self._keeping:
            self._looked_up_ns = max(self._looked_up_ns, timestamp_ns)
            label = self._changes.at(timestamp_ns)
        return None if label is None or self._classes is None else self._classes.directories[label]

    def _choose_classes(self) -> Classes:
        """Return these classes, in the directories that they already have."""
        from storage.labels.beside import journal_path
        from storage.labels.classes import choose_classes, known_classes, labels_in_use
        from storage.labels.journal import LabelJournal

        with LabelJournal(journal_path(self._target)) as journal:
            entries = journal.entries
        known = known_classes(entries)
        try:
            return choose_classes(self._target, entries, self.names, in_use=labels_in_use(self._target))
        except StorageError as error:
            raise UsageError(f"{error}; as before: --live-labels {','.join(known.names)}") from None


def class_names(text: str) -> tuple[str, ...]:
    """Return the classes in a text like ``none,door``. Raises ValueError with what is wrong."""
    return checked_names(tuple(name.strip() for name in text.split(",")))


def checked_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names if classes can have them. Raises ValueError with what is wrong."""
    text = ",".join(names)
    if not 1 <= len(names) <= MAX_LABEL + 1:
        raise ValueError(f"{len(names)} classes; give 1 to {MAX_LABEL + 1}, for the keys 0 to {MAX_LABEL}")
    if len(set(names)) < len(names):
        raise ValueError(f"{text!r}: every class needs a name of its own")
    for name in names:
        with suppress(StorageError):
            check_class_name(name)
            continue
        raise ValueError(f"{text!r}: a class can't be named {name!r}")
    return names
