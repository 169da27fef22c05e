"""Commands that are run when a class begins: ``--on door='python lamp.py on'``.

There is no shell between, none of them is waited for, of each there is one at a time, and none outlives this program.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Self

from pi_capture.errors import UsageError
from pi_capture.guarded import start_guarded
from pi_capture.recording.verdicts import Verdict

CLASS, CERTAINTY = "PI_CAPTURE_CLASS", "PI_CAPTURE_CERTAINTY"
"""Environment variables that a command gets."""
STDERR = 2
ENDING_SECONDS = 2.0


class Reaction:
    """A command for a class, from its text form ``CLASS=COMMAND``.

    Raises
    ------
    UsageError
        There is no such class among `classes`, or no such command.
    """

    def __init__(self, text: str, classes: Sequence[str]) -> None:
        self.name, separator, command = text.partition("=")
        if not separator or self.name not in classes:
            known = ", ".join(classes)
            raise UsageError(f"--on {text!r}: give CLASS=COMMAND, with one of the model's classes: {known}")
        try:
            self._command = shlex.split(command)
        except ValueError as error:
            raise UsageError(f"--on {text!r}: {error}") from None
        if not self._command or shutil.which(self._command[0]) is None:
            raise UsageError(f"--on {text!r}: there is no command {' '.join(self._command[:1])!r}")
        self._process: subprocess.Popen[bytes] | None = None
        self.started = self.left_out = 0

    def start(self, verdict: Verdict) -> bool:
        """Start the command, unless it still runs from the last time; returns whether it was started."""
        if self._process is not None and self._process.poll() is None:
            self.left_out += 1
            return False
        self.release()
        self._process = start_guarded(
            self._command, stdout=STDERR, environment={CLASS: self.name, CERTAINTY: f"{verdict.certainty:.4f}"}
        )
        self.started += 1
        return True

    def release(self) -> None:
        """Have what still runs of it end."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def join(self, seconds: float) -> None:
        """Wait until it has ended, no longer than this."""
        if self._process is not None:
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()


class Reactions:
    """The commands of all classes. Within this context they run; at its end they are ended."""

    def __init__(self, texts: Sequence[str], classes: Sequence[str], say: Callable[[str], None]) -> None:
        self._reactions = [Reaction(text, classes) for text in texts]
        self._say = say
        self._present: str | None = None

    def __bool__(self) -> bool:
        return bool(self._reactions)

    def react(self, verdict: Verdict) -> None:
        """Start the commands of a class that begins with this verdict."""
        if verdict.name == self._present:
            return
        self._present = verdict.name
        for reaction in self._reactions:
            if reaction.name == self._present and not reaction.start(verdict) and reaction.left_out == 1:
                self._say(f"--on {reaction.name}: its command still runs, and is not started a second time")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for reaction in self._reactions:
            reaction.release()
        until = time.monotonic() + ENDING_SECONDS
        for reaction in self._reactions:
            reaction.join(max(0.0, until - time.monotonic()))
            if reaction.left_out > 1:
                self._say(f"--on {reaction.name}: {reaction.left_out} times its command still ran")
