"""Files of labelled intervals: subtitles (SRT, WebVTT, ASS) and tables (CSV, and as ELAN and Audacity write them).

Text in, intervals out, and back; each interval knows the line that it comes from, and an error gives
the line of what can't be understood. `storage.labels.exchange` knows which frames an interval holds.
"""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A label from `start_ns` up to `end_ns`, in nanoseconds of the recording's time; `line` is its place in a file."""

    start_ns: int
    end_ns: int
    label: str
    line: int = 0


class IntervalError(Exception):
    """A fault in a file of labels, with its line."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")


@dataclass(frozen=True, slots=True)
class Notation:
    """A kind of file: how it is read and written, and the steps of its times in nanoseconds."""

    parse: Callable[[str], list[Interval]]
    write: Callable[[Sequence[Interval]], str]
    step_ns: int


# ----------------------------------------------------------------------------------------------------------- subtitles

_CLOCK = r"(?:(\d{1,4}):)?([0-5]?\d):([0-5]?\d)[.,](\d{1,9})"
_ARROW = re.compile(rf"\s*{_CLOCK}\s*-->\s*{_CLOCK}(?:\s.*)?")
MARKUP = re.compile(
    r"</?(?:[bius]|font|c|v|lang|ruby|rt)(?:[ .][^>]*)?>"
    r"|<[\d:.]+>"  # WebVTT: when the rest of a cue is shown
    r"|\{\\[^}]*\}",  # SubRip, as SubStation Alpha: where a cue stands on the screen
    re.IGNORECASE,
)
"""What a subtitle has beside its text."""
_ASS_FIELDS = ["layer", "start", "end", "style", "name", "marginl", "marginr", "marginv", "effect", "text"]
_ASS_OTHER_EVENTS = ("", "comment", "picture", "sound", "movie", "command")


def parse_srt(text: str) -> list[Interval]:
    """Read SubRip subtitles. Raises `IntervalError`."""
    return [_cue(number, lines) for number, lines in _blocks(text)]


def parse_vtt(text: str) -> list[Interval]:
    """Read WebVTT subtitles; notes, styles and regions are passed over. Raises `IntervalError`."""
    (first, head), *blocks = _blocks(text) or [(1, [""])]
    if not re.match(r"WEBVTT(\s|$)", head[0]):
        raise IntervalError(1, "a WebVTT file begins with WEBVTT")
    for number, line in enumerate(head, first):
        if "-->" in line:
            raise IntervalError(number, "an empty line is missing between WEBVTT and the first interval")
        if line.startswith("X-TIMESTAMP-MAP"):
            raise IntervalError(number, "X-TIMESTAMP-MAP moves all times; write those of the recording, without it")
    return [_cue(number, lines, unescape=True) for number, lines in blocks if not _is_note(lines)]


def _is_note(lines: Sequence[str]) -> bool:
    """Whether a block of a WebVTT file is no interval: one may be named as a note is, with its times in line two."""
    times = len(lines) > 1 and _ARROW.fullmatch(lines[1])
    return not times and re.match(r"(NOTE|STYLE|REGION)(\s|$)", lines[0]) is not None


def _blocks(text: str) -> list[tuple[int, list[str]]]:
    """The lines between empty lines, with the number of the first."""
    found: list[tuple[int, list[str]]] = []
    block: list[str] = []
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if line.strip():
            block.append(line)
        elif block:
            found.append((number - len(block), block))
            block = []
    return found


def _cue(number: int, lines: Sequence[str], *, unescape: bool = False) -> Interval:
    """A block: perhaps a counter or a name, then the times, then the text."""
    at = 0 if "-->" in lines[0] else 1
    match = _ARROW.fullmatch(lines[at]) if at < len(lines) else None
    if match is None:
        wrong = lines[at] if at < len(lines) else lines[0]
        raise IntervalError(number + min(at, len(lines) - 1), f"{_short(wrong)} is no time like 00:00:01,000 --> …")
    if len(lines) != at + 2:
        what = "has no label" if len(lines) < at + 2 else "has several lines of text; a label is one"
        raise IntervalError(number + at, f"this interval {what}")
    label = MARKUP.sub("", lines[at + 1])
    label = html.unescape(label) if unescape else label
    times = match.groups()
    return Interval(_clock_ns(times[:4]), _clock_ns(times[4:]), label.strip(), number + at)


def _clock_ns(parts: Sequence[str | None]) -> int:
    hours, minutes, seconds, fraction = parts
    whole = (int(hours or 0) * 60 + int(minutes or 0)) * 60 + int(seconds or 0)
    return whole * SECOND_NS + int((fraction or "0").ljust(9, "0"))


def parse_ass(text: str) -> list[Interval]:
    """Read SubStation Alpha subtitles: the dialogue lines, without their formatting. Raises `IntervalError`."""
    fields, section, found = _ASS_FIELDS, "", list[Interval]()
    for number, line in enumerate(map(str.strip, text.split("\n")), 1):
        kind, _, rest = line.partition(":")
        kind = kind.lower()
        if line.startswith("["):
            section = line.lower()
        elif section != "[events]" or kind in _ASS_OTHER_EVENTS or line.startswith((";", "!")):
            continue
        elif kind == "format":
            fields = [field.strip().lower() for field in rest.split(",")]
            if not {"start", "end", "text"} <= set(fields):
                raise IntervalError(number, "the format names no Start, End and Text")
        elif kind != "dialogue":
            raise IntervalError(number, f"{_short(line)} is no dialogue; begin a line with ; to leave it out")
        else:
            cells = dict(zip(fields, rest.split(",", len(fields) - 1), strict=False))
            times = [re.fullmatch(rf"\s*{_CLOCK}\s*", cells.get(name, "")) for name in ("start", "end")]
            if times[0] is None or times[1] is None or "text" not in cells:
                raise IntervalError(number, f"{_short(line)} is no dialogue with a start, an end and a text")
            label = re.sub(r"\\[Nnh]", " ", re.sub(r"\{[^}]*\}", "", cells["text"]))
            found.append(Interval(_clock_ns(times[0].groups()), _clock_ns(times[1].groups()), label.strip(), number))
    if not found and "[events]" not in text.lower():
        raise IntervalError(1, "a SubStation Alpha file has a part [Events]")
    return found


def write_srt(intervals: Sequence[Interval]) -> str:
    return "".join(
        f"{number}\n{_clock(each.start_ns, ',')} --> {_clock(each.end_ns, ',')}\n{each.label}\n\n"
        for number, each in enumerate(intervals, 1)
    )


def write_vtt(intervals: Sequence[Interval]) -> str:
    cues = (
        f"\n{_clock(each.start_ns, '.')} --> {_clock(each.end_ns, '.')}\n{html.escape(each.label, quote=False)}\n"
        for each in intervals
    )
    return "WEBVTT\n" + "".join(cues)


def write_ass(intervals: Sequence[Interval]) -> str:
    times = [[_clock(time, ".", 2).removeprefix("0") for time in (each.start_ns, each.end_ns)] for each in intervals]
    lines = (
        f"Dialogue: 0,{start},{end},Default,,0,0,0,,{each.label}\n"
        for (start, end), each in zip(times, intervals, strict=True)
    )
    return (
        "[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize\n"
        "Style: Default,Sans,20\n\n[Events]\n"
        "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n" + "".join(lines)
    )


def _clock(time_ns: int, point: str, digits: int = 3) -> str:
    seconds, rest = divmod(time_ns, SECOND_NS)
    fraction = f"{rest:09d}"[:digits]
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{point}{fraction}"


# -------------------------------------------------------------------------------------------------------------- tables

_CLOCK_CELL = re.compile(_CLOCK)
_NUMBER_CELL = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+")  # 1,234 ms is one and a bit, or more than a thousand
LONGEST_TIME = 30  # characters; a longer number is no time
_LABEL_COLUMNS = ("class", "label", "annotation", "text", "value", "name", "behavior", "behaviour")
_UNITS_NS = {
    "s": SECOND_NS, "sec": SECOND_NS, "secs": SECOND_NS, "second": SECOND_NS, "seconds": SECOND_NS,
    "ss.msec": SECOND_NS, "ss.ms": SECOND_NS, "hh:mm:ss.ms": SECOND_NS, "hh:mm:ss.msec": SECOND_NS,
    "hh:mm:ss": SECOND_NS, "hh:mm:ss.sss": SECOND_NS, "min": 60 * SECOND_NS, "mins": 60 * SECOND_NS,
    "minute": 60 * SECOND_NS, "minutes": 60 * SECOND_NS, "ms": 1_000_000, "msec": 1_000_000, "msecs": 1_000_000,
    "millisecond": 1_000_000, "milliseconds": 1_000_000, "us": 1000, "µs": 1000, "ns": 1, "": SECOND_NS,
}  # fmt: skip
_TIME_COLUMN = re.compile(
    r"(?:(?P<start>begin|start|from|onset)|(?P<end>end|to|stop|offset)|(?P<length>duration)|(?P<offset>time offset))"
    rf"(?:[ _]?time)?[ :_-]*[\[(]?(?P<unit>{'|'.join(map(re.escape, _UNITS_NS))})[\])]?"
)
_TIMES = ("start", "end", "length", "offset")
_FRAMES_COLUMN = re.compile(r"(?:(?:begin|start|first|from|end|stop|last|to)[ _]?)frames?(?:[ _]?(?:number|no\.?))?")
_ABOUT_A_LABEL = re.compile(
    r"|id|index|no\.?|#|tier|participant|annotator|subject|source|notes?|comments?(?: start| stop)?|observation .*"
    r"|description|total length|fps.*|(?:coding|media) duration.*|behaviou?ral category|behaviou?r type|modifiers?"
    r"|image (?:index|file path) (?:start|stop)"
)
"""Columns of ELAN, BORIS and people that say neither when nor which class, and are passed over."""
_WHOSE_COLUMN = re.compile(
    r"(?:media |audio |video )?file(?:[ _]?(?:name|path))?|(?:video|recording|observation)[ _]?id"
)
"""Columns that say of which recording a row is; all rows have to be of one."""


def parse_table(text: str) -> list[Interval]:
    """Read a table: with a header that names its columns, or as ELAN and Audacity write theirs without one.

    Times are seconds, or like 00:00:01.500, or what the header says that they are: ``Start (ms)``, ``begin_min``. Each
    column and each number is accounted for, or the table is refused: `IntervalError`.
    """
    first = text.split("\n", 1)[0]
    delimiter = next((mark for mark in "\t;" if mark in first), ",")
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        strict=delimiter == ",",
        skipinitialspace=True,
        quoting=csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL,
    )
    rows: list[tuple[int, list[str]]] = []
    try:
        before = 1
        for row in reader:
            if any(cell.strip() for cell in row) and row[0] != "\\":  # Audacity's frequencies of a label
                rows.append((before, row))
            before = reader.line_num + 1
    except csv.Error as error:
        raise IntervalError(reader.line_num, f"is no row of a table: {error}") from None
    if not rows:
        return []
    for number, row in rows if delimiter == "\t" else ():
        if quoted := next((cell for cell in row if re.fullmatch(r'".*"\s*', cell)), None):
            raise IntervalError(number, f"{_short(quoted)} is in quotation marks; save the table without, or as .csv")
    if sum(map(_looks_like_a_time, rows[0][1])) >= 2:
        return [_interval(number, row, _shape(number, row)) for number, row in rows]
    columns = _named_columns(*rows[0])
    for at in columns.whose:
        _refuse_others(at, rows[1:])
    return [_interval(number, row, columns) for number, row in rows[1:]]


def _refuse_others(at: int, rows: Sequence[tuple[int, list[str]]]) -> None:
    """Raise `IntervalError` if a column names several recordings."""
    named = [(number, row[at].strip()) for number, row in rows if at < len(row) and row[at].strip()]
    for number, name in named:
        if name != named[0][1]:
            one = f"of {_short(name)}, and line {named[0][0]} of {_short(named[0][1])}"
            raise IntervalError(number, f"this interval is {one}; keep the lines of one recording")


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where a row has its start, its end and its label, which may be in one of several columns (ELAN's tiers).

    `repeated` has the columns that say the start, the end or the length once more, with their units; `whose` those of
    the recording's name; `width` is how many columns have a name.
    """

    start: int
    end: int
    labels: tuple[int, ...]
    start_unit_ns: int = SECOND_NS
    end_unit_ns: int = SECOND_NS
    repeated: tuple[tuple[int, str, int], ...] = ()
    whose: tuple[int, ...] = ()
    width: int | None = None


def _named_columns(number: int, header: Sequence[str]) -> _Columns:
    names = [" ".join(cell.split()).lower() for cell in header]
    times = {at: match for at, name in enumerate(names) if (match := _TIME_COLUMN.fullmatch(name))}
    begins, ends = ([at for at, match in times.items() if match[kind]] for kind in ("start", "end"))
    for at, name in enumerate(names):
        if _FRAMES_COLUMN.fullmatch(name):
            raise IntervalError(number, f"{_short(header[at])} has numbers of frames; write times, in seconds")
    if not begins or not ends:
        what = f"{_short(', '.join(header))} names no start and end, and is no interval either"
        raise IntervalError(number, f"{what}; name the columns start, end and class")
    start, end = begins[0], ends[0]
    units = {at: _UNITS_NS[match["unit"]] for at, match in times.items()}
    if units[start] != units[end] and not (times[start]["unit"] and times[end]["unit"]):
        raise IntervalError(number, f"only one of {_short(header[start])} and {_short(header[end])} has a unit")
    labels = [at for at, name in enumerate(names) if name in _LABEL_COLUMNS][:1]
    whose = tuple(at for at, name in enumerate(names) if _WHOSE_COLUMN.fullmatch(name))
    passed = {*times, *whose, *(at for at, name in enumerate(names) if _ABOUT_A_LABEL.fullmatch(name))}
    others = [at for at in range(len(names)) if at not in passed]
    if labels and others != labels:
        unknown = next(at for at in others if at not in labels)
        raise IntervalError(number, f"what column {_short(header[unknown])} is for is not known; take it out")
    repeated = tuple(at for at in times if at not in (start, end))
    again = tuple((at, next(kind for kind in _TIMES if times[at][kind]), units[at]) for at in repeated)
    return _Columns(start, end, tuple(others), units[start], units[end], again, whose, len(names))


def _shape(number: int, row: Sequence[str]) -> _Columns:
    """Columns without names: the first times of one kind are start and end, the last cell that is none is the label."""
    clocks = [at for at, cell in enumerate(row) if _CLOCK_CELL.fullmatch(cell.strip())]
    times = clocks if len(clocks) >= 2 else [at for at, cell in enumerate(row) if at not in clocks and _is_time(cell)]
    if len(times) < 2:
        raise IntervalError(number, f"{_short(' '.join(row))} has no start and end")
    label = len(row) - 1  # a label may look like a number
    if label in times[:2]:
        raise IntervalError(number, "this interval has no label")
    _account_for(number, row, times[0], times[1])
    return _Columns(times[0], times[1], (label,))


def _account_for(number: int, row: Sequence[str], start: int, end: int) -> None:
    """Raise `IntervalError` if a row without names of columns has a cell that can't be interpreted.

    Other times before the label are the start, the end or what lies between, as ELAN repeats them in several units;
    names stand before the start.
    """
    begin_ns, end_ns = _time_ns(row[start], SECOND_NS), _time_ns(row[end], SECOND_NS)
    for at, cell in enumerate(row[:-1]):
        if at in (start, end) or not cell.strip():
            continue
        if not _is_time(cell):
            known = at < start
        else:
            found = [_time_ns(cell, unit_ns) for unit_ns in (SECOND_NS, SECOND_NS // 1000)]
            known = any(
                abs(one - time) <= SECOND_NS // 1000 for one in found for time in (begin_ns, end_ns, end_ns - begin_ns)
            )
        if not known:
            raise IntervalError(number, f"what {_short(cell)} is for is not known; name the columns in the first line")


def _interval(number: int, row: Sequence[str], columns: _Columns) -> Interval:
    if columns.width is not None and any(cell.strip() for cell in row[columns.width :]):
        raise IntervalError(number, f"{_short(', '.join(row))} has more cells than the first line has names")
    try:
        start = _time_ns(row[columns.start], columns.start_unit_ns)
        end = _time_ns(row[columns.end], columns.end_unit_ns)
        cells = [row[at] for at in columns.labels if at < len(row) and row[at].strip()]
    except (ValueError, IndexError):
        what = f"{_short(' '.join(row))} has no start and end like 1.5 or 00:00:01.500"
        raise IntervalError(number, what) from None
    if len(cells) != 1:
        raise IntervalError(number, "this interval has no label" if not cells else "this interval has several labels")
    rounded = _step_ns(row[columns.start], columns.start_unit_ns) + _step_ns(row[columns.end], columns.end_unit_ns)
    for at, kind, unit_ns in columns.repeated:
        cell = row[at].strip() if at < len(row) else ""
        known = {"start": start, "end": end, "length": end - start, "offset": 0}[kind]
        if cell and not (_is_time(cell) and abs(_time_ns(cell, unit_ns) - known) <= rounded + _step_ns(cell, unit_ns)):
            raise IntervalError(number, f"{_short(cell)} is not the {kind}, {known / 1e9:g} s, of the other columns")
    return Interval(start, end, cells[0].strip(), number)


def _step_ns(cell: str, unit_ns: int) -> int:
    """The last digit of a time: what may have been rounded off."""
    parts: int = 10 ** len(cell.strip().replace(",", ".").partition(".")[2])
    return (SECOND_NS if ":" in cell else unit_ns) // parts


def _is_time(cell: str) -> bool:
    return len(cell.strip()) <= LONGEST_TIME and _looks_like_a_time(cell)


def _looks_like_a_time(cell: str) -> bool:
    return bool(_CLOCK_CELL.fullmatch(cell.strip()) or _NUMBER_CELL.fullmatch(cell.strip()))


def _time_ns(cell: str, unit_ns: int) -> int:
    cell = cell.strip()
    if not _is_time(cell):
        raise ValueError(cell)
    if match := _CLOCK_CELL.fullmatch(cell):
        return _clock_ns(match.groups())
    if unit_ns < SECOND_NS and _THOUSANDS.fullmatch(cell):
        raise ValueError(cell)
    return round(Decimal(cell.replace(",", ".")) * unit_ns)


def write_csv(intervals: Sequence[Interval]) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("start", "end", "class"))
    rows.writerows((_seconds(each.start_ns), _seconds(each.end_ns), each.label) for each in intervals)
    return text.getvalue()


def write_tsv(intervals: Sequence[Interval]) -> str:
    return "".join(f"{_seconds(each.start_ns)}\t{_seconds(each.end_ns)}\t{each.label}\n" for each in intervals)


def _seconds(time_ns: int) -> str:
    return f"{time_ns // SECOND_NS}.{time_ns % SECOND_NS:09d}"


def _short(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 60 else f"{text[:60]}…")


NOTATIONS = {
    ".srt": Notation(parse_srt, write_srt, 1_000_000),
    ".vtt": Notation(parse_vtt, write_vtt, 1_000_000),
    ".ass": Notation(parse_ass, write_ass, 10_000_000),
    ".csv": Notation(parse_table, write_csv, 1),
    ".tsv": Notation(parse_table, write_tsv, 1),
    ".txt": Notation(parse_table, write_tsv, 1),  # what Audacity calls its label tracks
}
"""Kinds of files by the ends of their names."""
