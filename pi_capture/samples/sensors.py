"""Sensors: commands that print numbers.

Their text form is parsed here, the command is run and ended, and its output becomes arrays. For the time of a sample
see `pi_capture.samples.clock`; for how it is stored see `pi_capture.samples.track`.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pi_capture.errors import CameraError, UsageError
from pi_capture.guarded import start_guarded
from pi_capture.redact import program_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storage.tracks.sample_track import SampleTrack

FORMATS = {"f32le": "f32", "s16le": "s16", "text": "f32"}
KEYS = ("rate", "channels", "format", "unit", "labels")
READ_BYTES = 1 << 16
IDLE_SECONDS = 0.5
PATIENCE_SECONDS = 2.0  # for a command to end after SIGTERM
LONGEST_LINE = 65536
SAID_LINES = 10  # of what a command complains
LARGEST = (2 - 2**-24) * 2.0**127  # from here on the nearest 32-bit float is infinite
LEAST_TEXT = 64  # bytes by which text is told from numbers


@dataclass(frozen=True, slots=True)
class Sensor:
    """A sensor to record.

    Its command prints numbers in one of these forms: ``f32le`` and ``s16le``, numbers of all channels in turn, little
    endian; ``text``, a line of numbers for each sample.
    """

    track: SampleTrack
    command: str  # for the shell; ``-`` for standard input
    form: str = "f32le"
    title: str = ""  # its name in messages
    device_rate: bool = False  # whether its rate was asked for of a device, not only stated


def parse_sensor(text: str) -> Sensor:
    """Parse the text form of a sensor, ``NAME,rate=50,channels=2=COMMAND``.

    Raises
    ------
    UsageError
        The text form is wrong.
    """
    from storage.tracks.sample_track import SampleTrack

    known = rf"([^,=]+)((?:,(?:{'|'.join(KEYS)})=[^,=]*)*)"
    match = re.match(rf"{known}=(.+)$", text, re.DOTALL)
    if match is None:
        shown = re.split("[ =]", text)[0]
        if (unknown := re.match(rf"{known},([^,= ]*)", text)) and unknown[3] not in KEYS:
            shown = f"{unknown[1]}: {unknown[3]!r} is not understood"
        raise UsageError(f"--sensor {shown}: give NAME,rate=HZ[,channels=N][,format=…][,unit=…][,labels=x|y]=COMMAND")
    name, options, command = match.groups()
    pairs = [option.split("=", 1) for option in options.split(",")[1:]]
    given = dict(pairs)
    if len(given) < len(pairs):
        raise UsageError(f"--sensor {name}: {','.join(key for key, _ in pairs)}: give each once")
    form = given.get("format", "f32le")
    if form not in FORMATS:
        raise UsageError(f"--sensor {name}: unknown format {form!r}; known are {', '.join(FORMATS)}")
    if "rate" not in given:
        raise UsageError(f"--sensor {name}: give the samples a second, as in rate=50")
    labels = tuple(given["labels"].split("|")) if given.get("labels") else ()
    if len({*labels, ""}) <= len(labels):
        raise UsageError(f"--sensor {name}: labels={given['labels']}: each channel needs a name of its own")
    try:
        rate, channels = float(given["rate"]), int(given.get("channels") or len(labels) or 1)
    except ValueError as error:
        wrong = str(error).rpartition(": ")[2]
        raise UsageError(f"--sensor {name}: rate and channels are numbers, and {wrong} is none") from None
    try:
        unit = given.get("unit", "")
        track = SampleTrack(name, rate, channels, FORMATS[form], unit, labels, program_of(command))
    except ValueError as error:
        raise UsageError(f"--sensor {error}") from None
    return Sensor(track, command, form, title=f"sensor {name}")


class SampleSource(Protocol):
    """A sensor or a microphone."""

    @property
    def track(self) -> SampleTrack: ...

    @property
    def device_rate(self) -> bool:
        """Whether the rate of the track was asked for of a device: see `pi_capture.samples.clock.SampleClock`."""

    def start(self) -> None:
        """Begin. Raises CameraError if it can't."""

    def chunks(self) -> Iterator[NDArray[Any] | None]:
        """Yield samples as `storage.tracks.sample_track.check_samples` returns them, as they come; None in a silence.

        Raises CameraError if it fails.
        """

    def stop(self) -> None:
        """End it; `chunks` ends soon. May be called from any thread, and more than once."""

    @property
    def problems(self) -> list[str]:
        """The problems so far, for the end of the recording."""


class Command:
    """Runs a sensor's command and reads what it prints. `say` gets what it complains, and lines that are no numbers."""

    def __init__(self, sensor: Sensor, say: Callable[[str], None]) -> None:
        self.track, self.device_rate = sensor.track, sensor.device_rate
        self._sensor = sensor
        self._say = say
        self._parser = _Text(sensor, say) if sensor.form == "text" else _Numbers(sensor)
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = threading.Event()
        self._complaints = 0
        self._last_complaint = ""
        self._begun = b""  # a complaint whose line has no end yet
        self._end: list[str] = []  # problems

    @property
    def reads_standard_input(self) -> bool:
        """Whether it reads standard input, which may have begun long before."""
        return self._sensor.command == "-"

    def start(self) -> None:
        if self.reads_standard_input:
            return
        try:
            shell = ["/bin/sh", "-c", self._sensor.command]
            self._process = start_guarded(shell, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        except OSError as error:
            raise CameraError(f"{self._sensor.title}: {error.strerror}") from None

    def chunks(self) -> Iterator[NDArray[Any] | None]:
        output = 0 if self._process is None else _fileno(self._process.stdout)
        with selectors.DefaultSelector() as selector:
            try:
                selector.register(output, selectors.EVENT_READ)
            except PermissionError:  # a regular file, always ready
                yield from self._all_of(output)
                return
            if self._process is not None:
                selector.register(_fileno(self._process.stderr), selectors.EVENT_READ)
            idle_at = time.monotonic() + IDLE_SECONDS
            stop_at: float | None = None
            while True:
                stopped = self._stopped.is_set()  # before the last look: what stands in the pipe by then is read
                for key, _ in selector.select(0.1):
                    data = os.read(key.fd, READ_BYTES)
                    if key.fd != output:
                        self._complain(data)
                        if not data:
                            selector.unregister(key.fd)
                    elif not data:
                        self._ended()
                        return
                    else:
                        idle_at = time.monotonic() + IDLE_SECONDS
                        yield from self._parser.feed(data)
                if time.monotonic() > idle_at:
                    idle_at = time.monotonic() + IDLE_SECONDS
                    yield None
                if stopped:
                    stop_at = stop_at or time.monotonic() + PATIENCE_SECONDS
                    if self._process is None or time.monotonic() > stop_at:
                        self._kill()
                        self._complain(b"")
                        return

    def _all_of(self, output: int) -> Iterator[NDArray[Any] | None]:
        while not self._stopped.is_set() and (data := os.read(output, READ_BYTES)):
            yield from self._parser.feed(data)
        self._ended()

    def _ended(self) -> None:
        """Wait for the command, whose output is closed. Raises CameraError if it failed without being stopped."""
        was_stopped = self._stopped.is_set()
        if (left := self._parser.left()) and not was_stopped:
            self._end.append(f"{self._sensor.title} {left}")
        if self._process is None:
            return
        try:
            status: int | None = self._process.wait(PATIENCE_SECONDS)
            self._signal_group(signal.SIGTERM)  # to what it left running; no other group can have the number yet
        except subprocess.TimeoutExpired:  # it closed its output and goes on
            status = None
            self._kill()
        assert self._process.stderr is not None
        os.set_blocking(_fileno(self._process.stderr), False)
        with suppress(OSError):
            self._complain(os.read(_fileno(self._process.stderr), READ_BYTES))
        self._complain(b"")
        if status and not self._stopped.is_set():
            how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            raise CameraError(f"{self._sensor.title} {how}" + (f": {self._last_complaint}" if self._complaints else ""))
        if status != 0 and not was_stopped and self._stopped.is_set():  # it went on until the recording ended
            self._end.append(f"{self._sensor.title} closed its output too early; the recording went on without it")

    def _complain(self, data: bytes) -> None:
        """Say the lines that are whole; without more data also the last one, which has no end."""
        *lines, rest = re.split(rb"[\r\n]", self._begun + data)
        self._begun = rest[:READ_BYTES] if data else b""
        for line in lines if data else [*lines, rest]:
            if line.strip():
                self._last_complaint = line.decode("utf-8", "replace").strip()[:500]
                self._complaints += 1
                if self._complaints <= SAID_LINES:
                    self._say(f"{self._sensor.title}: {self._last_complaint}")

    def stop(self) -> None:
        self._stopped.set()
        self._signal(signal.SIGTERM)

    def _kill(self) -> None:
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        """Signal the group, unless the command was waited for already: another may have its number by now."""
        if self._process is not None and self._process.returncode is None:
            self._signal_group(number)

    def _signal_group(self, number: signal.Signals) -> None:
        """Signal the whole group: a shell may have started other processes."""
        assert self._process is not None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    @property
    def problems(self) -> list[str]:
        return self._parser.problems + self._end


def _fileno(file: Any) -> int:
    return int(file.fileno())


# ---------------------------------------------------------------------------------------------------------- what comes


class _Numbers:
    """Parses binary numbers, all channels in turn."""

    def __init__(self, sensor: Sensor) -> None:
        self._title, self._form, self._channels = sensor.title, sensor.form, sensor.track.channels
        self._size = self._channels * (4 if self._form == "f32le" else 2)
        self._rest = b""
        self._beginning: bytes | None = b""

    def feed(self, data: bytes) -> Iterator[NDArray[Any]]:
        import numpy as np

        if self._beginning is not None:
            self._beginning += data
            if len(self._beginning) >= LEAST_TEXT:
                wrong, self._beginning = self.problems, None
                if wrong:
                    raise CameraError(wrong[0])
        data = self._rest + data
        whole = len(data) // self._size * self._size
        self._rest = data[whole:]
        if whole:
            yield np.frombuffer(data[:whole], "<f4" if self._form == "f32le" else "<i2").reshape(-1, self._channels)

    def left(self) -> str | None:
        if not self._rest:
            return None
        return f"ended within a sample ({len(self._rest)} of {self._size} bytes); check channels and format"

    @property
    def problems(self) -> list[str]:
        """What is wrong with the beginning, if it is text: also if a slow sensor has printed a line or two in all."""
        begun = (self._beginning or b"")[:LEAST_TEXT]
        is_text = all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in begun)
        if not is_text or not (len(begun) == LEAST_TEXT or {*b"\n\r"} & {*begun}):
            return []
        return [f"{self._title} prints text ({begun[:20].decode()!r} …), not {self._form}: say format=text"]


def _fault(word: bytes) -> str | None:
    """Return why a word can't be kept as a number; None if it can."""
    try:
        number = float(word)
    except ValueError:
        return "is no number"
    if b"_" in word:  # Python reads 1_0 as 10
        return "is no number"
    infinite = re.fullmatch(rb"[+-]?inf(inity)?", word, re.IGNORECASE)  # as said, not as 1e400 is read
    return "is too large for a 32-bit float" if abs(number) >= LARGEST and not infinite else None


def _shown(line: bytes) -> str:
    return line[:60].decode("utf-8", "replace").strip()


class _Text:
    """Parses lines, one for each sample, of numbers with blanks, commas or semicolons between them."""

    def __init__(self, sensor: Sensor, say: Callable[[str], None]) -> None:
        self._title, self._channels = sensor.title, sensor.track.channels
        self._say = say
        self._rest = b""
        self._first = True
        self._bad = 0

    def feed(self, data: bytes) -> Iterator[NDArray[Any]]:
        import numpy as np

        *lines, self._rest = re.split(rb"[\r\n]", self._rest + data)
        if len(self._rest) > LONGEST_LINE:
            lines, self._rest = [*lines, self._rest], b""
        rows = [row for line in lines if (row := self._row(line)) is not None]
        if rows:
            yield np.array(rows, "<f4")

    def _row(self, line: bytes) -> list[float] | None:
        endless = len(line) > LONGEST_LINE
        words = [b"an endless line"] if endless else re.split(rb"[\s,;]+", line.strip(b" \t\r,;"))
        first, self._first = self._first and not endless, False
        if words == [b""]:
            return None
        strange = any(map(_fault, words))
        if not strange and len(words) == self._channels:
            return [float(word) for word in words]
        shown = _shown(line)
        if first and strange:
            self._say(f"{self._title}: {shown!r} is taken for a heading")
            return None
        self._bad += 1
        if self._bad == 1:
            self._say(
                f"{self._title} prints {shown!r}: {self._found(words, line)}, channels={self._channels}; kept as NaN"
            )
        return [float("nan")] * self._channels

    def _found(self, words: list[bytes], line: bytes) -> str:
        """Describe a line that is no sample."""
        strange = [(word, fault) for word in words if (fault := _fault(word))]
        if [fault for _, fault in strange] == ["is no number"] * len(words):
            return "no numbers"
        if strange:
            word, fault = strange[0]
            return f"{word[:20].decode('utf-8', 'replace')!r} {fault}"
        pointed = re.split(rb"[\s;]+", line.strip().replace(b",", b"."))
        if b"," in line and len(pointed) == self._channels and not any(map(_fault, pointed)):
            return f"{len(words)} numbers, or decimal commas: have it print decimal points"
        return f"{len(words)} numbers"

    @property
    def problems(self) -> list[str]:
        if self._first and self._rest.strip():
            return [f"{self._title} prints {_shown(self._rest)!r} without a line break; end each sample with one"]
        if not self._bad:
            return []
        numbers = "one number" if self._channels == 1 else f"{self._channels} numbers"
        return [f"{self._title}: {self._bad} lines were not {numbers}; they are kept as NaN"]

    def left(self) -> str | None:
        if not self._rest.strip():
            return None
        return f"ended within a line ({_shown(self._rest)!r}), which is not kept; end each line with a line break"
