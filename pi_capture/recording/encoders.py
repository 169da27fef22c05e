"""A pool of threads that encode frames, and hand them on in the order in which they came.

The number of frames inside is bounded. While frames come slowly, each is encoded at once. While they come faster than
that, a thread takes several at a time, to save hand-overs. The libraries that encode release the GIL.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from storage.frame import Frame

Encoded = TypeVar("Encoded")
MOST_AT_ONCE = 16


class EncoderPool(Generic[Encoded]):
    """Frames go in with `put`; encoded ones come out with `next_batch`; `done` makes room for new ones.

    `encode` is called from `threads` threads. `capacity` bounds the frames inside: waiting, being encoded, or out and
    not `done`.
    """

    def __init__(self, encode: Callable[[Frame], Encoded], capacity: int, threads: int) -> None:
        self._encode = encode
        self._capacity = capacity
        self._inside = 0
        self._waiting: deque[Frame] = deque()
        self._finished: dict[int, list[Encoded | Exception]] = {}
        self._next_batch = self._next_out = 0
        self._closed = False
        lock = threading.Lock()
        self._room = threading.Condition(lock)
        self._work = threading.Condition(lock)
        self._ready = threading.Condition(lock)
        self._threads = [threading.Thread(target=self._run, name=f"encode-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    @property
    def fill(self) -> float:
        """How full it is, from 0 to 1."""
        return self._inside / self._capacity

    def put(self, frame: Frame, *, wait: bool) -> bool:
        """Add a frame. Without room, wait, or return False; False too once the pool is closed."""
        with self._room:
            while self._inside >= self._capacity and not self._closed:
                if not wait:
                    return False
                self._room.wait()
            if self._closed:  # the encoders have ended
                return False
            self._inside += 1
            self._waiting.append(frame)
            self._work.notify()
            return True

    def next_batch(self) -> list[Encoded | Exception] | None:
        """Wait for the next frames, each encoded or the error instead. None when the pool is closed and empty."""
        with self._ready:
            while self._next_out not in self._finished:
                if self._closed and not self._waiting and self._next_out == self._next_batch:
                    return None
                self._ready.wait()
            encoded = self._finished.pop(self._next_out)
            self._next_out += 1
            return encoded

    def done(self, frames: int) -> None:
        """Free the room of so many frames that came out."""
        with self._room:
            self._inside -= frames
            self._room.notify(frames)

    def close(self) -> None:
        """Accept no more frames; those inside are still encoded."""
        with self._work:
            self._closed = True
            self._room.notify_all()
            self._work.notify_all()
            self._ready.notify_all()

    def _run(self) -> None:
        while True:
            with self._work:
                while not self._waiting:
                    if self._closed:
                        return
                    self._work.wait()
                # No more than this thread's share, so that the others have work too.
                count = min(MOST_AT_ONCE, -(-len(self._waiting) // len(self._threads)))
                frames = [self._waiting.popleft() for _ in range(count)]
                batch, self._next_batch = self._next_batch, self._next_batch + 1
            encoded = [self._try(frame) for frame in frames]
            del frames
            with self._ready:
                self._finished[batch] = encoded
                if batch == self._next_out or self._closed:
                    self._ready.notify_all()

    def _try(self, frame: Frame) -> Encoded | Exception:
        try:
            return self._encode(frame)
        except Exception as error:  # any error of a format goes to the writer's thread
            return error
