"""Learns from the labels while a person gives them: in a thread, and in a process of its own where it takes long.

Describing the frames takes both processors for as long as it lasts. So a process does it, at the lowest priority: keys
do not wait for it. Learning from the labels takes a fraction of a second, and goes on in a thread.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from storage.learn.proposals import Proposal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

QUESTIONS = 10  # typical frames that are asked for at a time
MOST_LESSONS = 2000  # frames that a head learns from
MOST_KNOWN = 200  # labelled frames that new questions are kept apart from
QUIET_SECONDS = 0.03  # after labels came, nothing is learnt yet: the next frame is being drawn
LOWEST_PRIORITY = 19
SWITCH_SECONDS = 0.0005  # a key waits no longer than this for the interpreter, and a few times while it is done
NO_NETWORK = "!"  # begins the line that says why there is no network


class Learner:
    """Describes a recording's frames, and learns from labels what to ask and to propose.

    Parameters
    ----------
    path : path
        The recording.
    indices : sequence of int
        The index in the recording of each frame, by position.
    classes : int
        How many classes have a key.
    track : str, optional
        As in `storage.open_recording`.
    weights : str
        As in `storage.formats.features.extractor.Extractor`; without them, thumbnails describe the frames.
    on_arrival : callable, optional
        Called from the thread whenever `arrivals` has grown. It must not wait for `close`.

    Attributes
    ----------
    is_ready, has_failed : bool
        Whether the frames are described and can be learnt from, or can't be. What is wanted after that gets no answer.
    progress : float
        How much of them is, 0 to 1.
    note : str
        What a person should know: that there is no network, or why nothing can be learnt.
    damaged : list of int
        The positions of frames that could not be read.
    questions : list of int or None
        The answer to `ask`, until it is taken.
    proposals : tuple of (list of Proposal, str) or None
        The answer to `learn`, and the hash of the model; until it is taken.
    doubts : list of Proposal or None
        The answer to `doubt`, until it is taken.
    arrivals : int
        Grows whenever one of these changes.
    """

    def __init__(
        self,
        path: Path,
        indices: Sequence[int],
        classes: int,
        *,
        track: str | None = None,
        weights: str = "imagenet",
        on_arrival: Callable[[], None] = lambda: None,
    ) -> None:
        self._path, self._track, self._weights = path, track, weights
        self._on_arrival = on_arrival
        self._indices, self._classes = indices, classes
        self.is_ready = self.has_failed = False
        self.progress = 0.0
        self.note = ""
        self.damaged: list[int] = []
        self.questions: list[int] | None = None
        self.proposals: tuple[list[Proposal], str] | None = None
        self.doubts: list[Proposal] | None = None
        self.arrivals = 0
        self._wanted: dict[str, bytes] = {}
        self._closed = False
        self._changed = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="learner", daemon=True)

    def start(self) -> None:
        """Begin to describe the frames, unless that was done."""
        if self._thread.ident is None:
            sys.setswitchinterval(SWITCH_SECONDS)
            self._thread.start()

    def ask(self, labels: bytes) -> None:
        """Find typical frames that have no label; `questions` has them later."""
        self._want("ask", labels)

    def learn(self, labels: bytes) -> None:
        """Learn from labels; `proposals` has what comes of it later. Only the labels given last are learnt."""
        self._want("learn", labels)

    def doubt(self, labels: bytes) -> None:
        """Find labels that a model doubts which has not learnt from them; `doubts` has them later."""
        self._want("doubt", labels)

    @property
    def is_busy(self) -> bool:
        with self._changed:
            return bool(self._wanted)

    def take_damaged(self) -> list[int]:
        """The positions of frames that could not be read, once."""
        found, self.damaged = self.damaged, []
        return found

    def close(self) -> None:
        """End the thread and the process. It waits for one fit at most: numpy must not compute while Python ends."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            if self._process is not None:
                self._process.kill()
        if self._thread.ident is not None:
            self._thread.join()

    def _want(self, what: str, labels: bytes) -> None:
        with self._changed:
            if not self.has_failed:
                self._wanted[what] = labels
                self._changed.notify_all()

    # ------------------------------------------------------------------------------------------------------- the thread

    def _run(self) -> None:
        failed = "the frames can't be described"
        try:
            descriptions = self._describe()
            failed = "nothing more can be learnt from the labels"
            self._answer_all(descriptions)
        except Exception as error:  # labelling goes on as without a model
            with self._changed:
                self.note = f"{failed}: {str(error) or type(error).__name__}"
                self.has_failed, self.is_ready = True, False
                self._wanted.clear()
            self._arrive()

    def _answer_all(self, descriptions: Floats) -> None:
        """Answer what is wanted until `close`."""
        while True:
            with self._changed:
                while not self._wanted and not self._closed:
                    self._changed.wait()
                self._changed.wait_for(lambda: self._closed, QUIET_SECONDS)
                if self._closed:
                    return
                what, labels = next(iter(self._wanted.items()))
            self._answer(what, labels, descriptions)
            with self._changed:
                if self._wanted.get(what) is labels:  # else newer labels came meanwhile
                    del self._wanted[what]
            self._arrive()

    def _arrive(self) -> None:
        self.arrivals += 1
        self._on_arrival()

    def _go_on(self) -> None:
        """Raise, and so end what takes more than one fit, once `close` waits for it."""
        if self._closed:
            raise InterruptedError("closed")

    def _describe(self) -> Floats:
        import numpy as np

        package = str(Path(__file__).parents[1])
        paths = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-m", "classify.learner", str(self._path), self._track or "", self._weights]
        with self._changed:
            self._go_on()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": paths},
            )
        assert self._process.stdout is not None and self._process.stderr is not None
        last = ""
        for line in io.TextIOWrapper(self._process.stderr, errors="replace"):
            if line.startswith(NO_NETWORK):
                self.note = line.removeprefix(NO_NETWORK).strip()
            elif (done := line.split()) and all(map(str.isdigit, done)) and len(done) == 2:
                self.progress = int(done[0]) / int(done[1])
                self._arrive()
            else:
                last = line.strip() or last
        data = self._process.stdout.read()
        code = self._process.wait()
        if code < 0:
            raise RuntimeError(f"the process was ended by signal {-code}")
        if code or not data:
            raise RuntimeError(last or f"the process ended with code {code}")
        of_all = np.load(io.BytesIO(data), allow_pickle=False)
        del data  # of a long recording, a hundred megabytes
        described: Floats = of_all[np.asarray(self._indices, np.int64)]
        self.damaged = np.flatnonzero(~np.isfinite(described).all(axis=1)).tolist()
        self.is_ready = True
        self._arrive()
        return described

    def _answer(self, what: str, given: bytes, descriptions: Floats) -> None:
        import numpy as np

        from storage.learn.ask import typical
        from storage.learn.proposals import lessons

        labels = np.frombuffer(given, np.uint8)
        whole = np.asarray(np.isfinite(descriptions).all(axis=1))
        taught = lessons(labels, self._classes, MOST_LESSONS)
        taught = taught[whole[taught]]
        if what == "ask":
            known = taught[np.linspace(0, len(taught) - 1, min(MOST_KNOWN, len(taught))).astype(np.int64)]
            self.questions = typical(descriptions, QUESTIONS, known.tolist())
        elif what == "learn":
            self.proposals = self._propose(descriptions, labels, taught)
        else:
            self.doubts = self._doubted(descriptions, labels, whole & (labels < self._classes))

    def _propose(
        self, descriptions: Floats, labels: NDArray[np.uint8], taught: NDArray[np.int64]
    ) -> tuple[list[Proposal], str]:
        from storage.learn.head import fit_head
        from storage.learn.proposals import propose

        if len({*labels[taught].tolist()}) < 2:  # nothing to tell apart yet
            return [], ""
        head = fit_head(descriptions[taught], labels[taught].astype("int64"), self._classes)
        model = hashlib.sha256(b"".join(part.tobytes() for part in (head.mean, head.scale, head.weights, head.bias)))
        return propose(head.certainties(descriptions), labels), model.hexdigest()[:12]

    def _doubted(self, descriptions: Floats, labels: NDArray[np.uint8], judged: NDArray[np.bool_]) -> list[Proposal]:
        import numpy as np

        from storage.formats.table import open_recording
        from storage.learn.folds import common_seconds, held_out_certainties, make_folds
        from storage.learn.proposals import doubted

        with open_recording(self._path, track=self._track) as recording:
            seconds = common_seconds([recording])[np.asarray(self._indices, np.int64)][judged]
        known = labels[judged].astype(np.int64)
        if len({*known.tolist()}) < 2:
            return []
        certainties = np.full((len(labels), self._classes), np.nan, np.float32)
        of_fold = make_folds(seconds, known)
        certainties[judged] = held_out_certainties(
            descriptions[judged], seconds, known, self._classes, of_fold, done=self._go_on
        )
        return doubted(certainties, labels)


# ------------------------------------------------------------------------------------------------------ in the process


def _main(path: str, track: str, weights: str) -> None:
    """Write the descriptions of a recording to stdout, as a ``.npy`` file, and before that how far it is to stderr."""
    os.nice(LOWEST_PRIORITY)
    import numpy as np

    from storage.errors import StorageError
    from storage.formats.features.extractor import Extractor
    from storage.formats.table import open_recording
    from storage.learn.describe import describe_recording

    try:
        extractor = Extractor(weights)
    except StorageError as error:
        extractor = None
        print(f"{NO_NETWORK}proposals are made from small grey pictures: {error}", file=sys.stderr, flush=True)

    def tell(done: int, count: int) -> None:
        if done % max(1, count // 100) == 0:
            print(done, count, file=sys.stderr, flush=True)  # fails once the window is gone, and so ends this

    try:
        with open_recording(Path(path), track=track or None) as recording:
            described = describe_recording(recording, extractor, progress=tell)
    except StorageError as error:
        sys.exit(str(error))
    os.close(2)
    np.save(sys.stdout.buffer, described.of(described.kinds[0]))


if __name__ == "__main__":
    _main(*sys.argv[1:])
