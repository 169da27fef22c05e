"""Writes a data directory: a PNG file a frame (see `storage.formats.png.directory` for the layout).

Frames are written under hidden names, and get their own once a whole batch of them is on the disk.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from storage.durable.files import (
    check_in_place,
    lock_directory,
    rename_free,
    reserve,
    sync_directory,
    sync_filesystem,
    write_new,
)
from storage.errors import StorageError
from storage.formats.png.codec import encode_png
from storage.formats.png.directory import TEMPORARY_NAME, frame_name, locate, next_number
from storage.formats.png.whole import fault
from storage.frame import Frame
from storage.names import check_class_name
from storage.sessions import SESSIONS_NAME, close_interrupted, new_session, read_sessions, write_sessions

TAKEN_UP_AT_ONCE = 64  # frames that a crash left: copying them takes room, and each batch a sync


class PngWriter:
    """Appends to a data directory, or straight to a class directory in it.

    Frames wait in the data directory as ``.NNNNNNNN.part`` (``.CLASS-NNNNNNNN.part`` those of a class) until `sync` has
    them on the disk, all in one go, and only then gives them their names: what has a frame's name is whole, after any
    crash. What a crash left waiting is taken up by the next writer if it is whole, and removed if not.

    Raises
    ------
    StorageError
        The target can't be written to, or another recorder has it.
    """

    def __init__(self, target: Path) -> None:
        self._place = locate(target)
        root = self._place.data_dir
        self._root = str(root)
        self._reserve = root / ".reserve.part"
        self._made_root = not root.exists()
        try:
            root.mkdir(exist_ok=True)
            self._lock = lock_directory(root, f"{root} is being recorded into by another program; choose another name")
        except OSError as error:
            raise StorageError(f"{root}: {error.strerror}; choose a directory that you may write to") from None
        try:
            self._sessions = read_sessions(root)
            self._recover()
            self._first = max([next_number(root), *(_end(session) for session in self._sessions)])
            self._took_up = close_interrupted(self._sessions, self._first)
            reserve(self._reserve)
        except OSError as error:
            self._let_go()
            raise StorageError(f"{root}: {error.strerror}; nothing was recorded into it") from None
        except BaseException:
            self._let_go()
            raise
        self._session: Mapping[str, Any] = new_session(self._first)
        self._waiting: list[tuple[str, str, str]] = []  # temporary, directory and name of each frame
        self._waiting_lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._noted: Mapping[str, Any] | None = None
        self._durable = 0
        self._bytes = 0

    @property
    def next_index(self) -> int:
        return self._first

    @property
    def held(self) -> tuple[Path, int]:
        return self._place.data_dir, self._lock

    @property
    def bytes_written(self) -> int:
        return self._bytes

    def describe(self, facts: Mapping[str, Any]) -> None:
        self._session = {**self._session, **facts}  # not in place: another thread may be storing it

    def encode(self, frame: Frame, label: str | None = None) -> tuple[int, bytes, str | None]:
        if label is not None:
            check_class_name(label)
        texts = {"Index": str(frame.index), "Timestamp": str(frame.timestamp_ns), "Session": self._session["id"]}
        if frame.metadata:
            texts["Metadata"] = json.dumps(frame.metadata, separators=(",", ":"))
        return frame.index, encode_png(frame.pixels, texts), label

    def append(self, encoded: tuple[int, bytes, str | None]) -> None:
        index, data, label = encoded
        class_name = label or self._place.class_name
        temporary = f"{self._root}/.{class_name + '-' if class_name else ''}{index:08d}.part"
        write_new(temporary, data)
        self._bytes += len(data)
        with self._waiting_lock:
            self._waiting.append((temporary, f"{self._root}/{class_name or '.'}", frame_name(index)))

    def sync(self) -> int:
        with self._sync_lock:
            with self._waiting_lock:
                batch, self._waiting = self._waiting, []
            if not batch:
                return self._durable
            check_in_place(*self.held)  # its path may lead to another directory now
            # Failing here means that the disk lost data that it had taken: the batch gets no names. The next start
            # checks what is really there.
            sync_filesystem(self._lock)
            done, directories = 0, set[str]()
            try:
                self.begin()
                for temporary, directory, name in batch:
                    if directory not in directories:
                        self._make_class(Path(directory))
                        directories.add(directory)
                    rename_free(temporary, f"{directory}/{name}")
                    done += 1
            finally:
                with self._waiting_lock:
                    self._waiting[:0] = batch[done:]
            for directory in directories:
                sync_directory(directory)
            self._durable += done
            return self._durable

    def close(self) -> int:
        if self._lock < 0:
            return self._durable
        try:
            check_in_place(*self.held)
            self._reserve.unlink(missing_ok=True)  # room to finish in, should the disk be full
            self.sync()
            if self._durable:
                write_sessions(self._place.data_dir, [*self._sessions, {**self._session, "frames": self._durable}])
            elif self._took_up:  # no frame has come, but the interrupted session has its end now
                write_sessions(self._place.data_dir, self._sessions)
        finally:
            self._let_go()
        return self._durable

    def begin(self) -> None:
        """Note the session before its first frame shows, so that its frames are never without one; `sync` does it.

        What became known since is noted with the next frames.
        """
        session = self._session
        if session is not self._noted:
            write_sessions(self._place.data_dir, [*self._sessions, dict(session)])
            self._noted = session

    def _make_class(self, directory: Path) -> None:
        if not directory.is_dir():
            directory.mkdir()
            sync_directory(self._place.data_dir)

    def _let_go(self) -> None:
        root = self._place.data_dir
        try:
            check_in_place(*self.held)
            self._reserve.unlink(missing_ok=True)
            if self._made_root and not any(root.iterdir()):
                root.rmdir()
        finally:
            os.close(self._lock)
            self._lock = -1

    def _recover(self) -> None:
        """Take up what a crash left waiting: whole frames get their names, the rest goes."""
        root = self._place.data_dir
        (root / f".{SESSIONS_NAME}.part").unlink(missing_ok=True)
        waiting = [match for name in sorted(os.listdir(root)) if (match := TEMPORARY_NAME.fullmatch(name))]
        for at in range(0, len(waiting), TAKEN_UP_AT_ONCE):
            self._take_up(waiting[at : at + TAKEN_UP_AT_ONCE])

    def _take_up(self, waiting: Sequence[re.Match[str]]) -> None:
        root = self._place.data_dir
        whole: list[tuple[Path, re.Match[str]]] = []
        for match in waiting:
            temporary = root / match[0]
            data = temporary.read_bytes()
            if fault(data) is not None:
                temporary.unlink()
                continue
            # Written anew: after a failed sync, what is read back may be in memory only.
            fresh = root / f"{match[0][:-5]}.again.part"
            fresh.unlink(missing_ok=True)
            write_new(fresh, data)
            whole.append((fresh, match))
        sync_filesystem(self._lock)
        directories = set[Path]()
        for fresh, match in whole:
            temporary = fresh.replace(root / match[0])  # there is one of each, whenever this is interrupted
            directory = root / (match["class_name"] or "")
            self._make_class(directory)
            rename_free(temporary, directory / frame_name(int(match["number"])))
            directories.add(directory)
        for directory in directories:
            sync_directory(directory)


def _end(session: Mapping[str, Any]) -> int:
    """The first index after a session, as far as it is known: numbers are not used again when frames move away."""
    return int(session["first_index"]) + int(session.get("frames") or 0)
