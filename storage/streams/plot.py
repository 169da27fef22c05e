"""A picture of a recording's tracks on one time axis: thumbnails, sensor curves, the waveform of sound, labels.

Each track is read once, in order, and kept as what a column of the picture needs of it: memory does not grow with the
recording.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from storage.drawing import FAINT, GRID, INK, MISSING, Canvas, Subject, refuse_existing, write_picture
from storage.errors import StorageError
from storage.formats.video.reader import open_video
from storage.labels.intervals import Interval
from storage.names import natural_key
from storage.streams.labels import labels_of
from storage.tracks.containers import is_media
from storage.tracks.demux import Track, channel_labels, read_tracks, tag_of
from storage.tracks.extents import Extent, read_extents
from storage.tracks.samples_read import decode_samples, measured_rate, scaled, true_rate
from storage.tracks.wall_clock import Stretch, stretches_of, wall_clock

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from storage.recording import Recording

FINE = 2  # drawn so much larger, and made small at the end: smooth lines
WIDTH, LEFT, RIGHT = 1400, 200, 28
TOP, GAP, BOTTOM, LEGEND = 74, 14, 44, 28
HEIGHTS = {"pictures": 92, "sensor": 100, "sound": 68, "labels": 34}
MOST_TRACKS = 24
LEAST_THUMBNAIL = 64  # pixels wide
LEAST_HOLE, HOLE_STEPS = 6, 5  # pixels, and usual steps, without a picture: nothing is drawn there
LEAST_LOUDNESS = 1e-3  # of full scale; what is less is drawn as silence

LEAST_PAUSE_NS = 100_000_000  # between two sessions; a shorter one can't be seen

PANEL = "#f7f8fa"
PAUSE = "#dc2626"
CURVES = ("#2563eb", "#ea580c", "#059669", "#9333ea", "#db2777", "#0891b2")
SOUND = "#475569"
CLASSES = ("#93c5fd", "#fdba74", "#86efac", "#d8b4fe", "#f9a8d4", "#67e8f9", "#fde047", "#cbd5e1", "#fca5a5")
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)


def write_plot(target: Path, path: Path) -> None:
    """Draw the tracks of a media file and write a PNG file, in place of an older one of the same recording.

    Raises
    ------
    StorageError
        Another file has that name, or it can't be written; or there is no media file to draw.
    """
    subject = Subject("picture", [path])
    refuse_existing(target, subject)
    if path.exists() and not (path.is_file() and is_media(path)):
        raise StorageError(f"{path} has no tracks to draw; --plot is for .mkv and other media files")
    write_picture(target, _draw(path), subject)


@dataclass(frozen=True, slots=True)
class _Axis:
    """Where times are in the picture."""

    begin_ns: int
    end_ns: int

    def x(self, time_ns: float) -> float:
        """The place of a time, in pixels from the left."""
        return LEFT + (time_ns - self.begin_ns) / (self.end_ns - self.begin_ns) * (WIDTH - LEFT - RIGHT)

    def column(self, times_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """The same for many, in whole fine pixels of the panel."""
        span = self.end_ns - self.begin_ns
        columns: NDArray[np.int64] = ((times_ns - self.begin_ns) * (_columns() - 1) // span).astype("int64")
        return columns.clip(0, _columns() - 1)


def _columns() -> int:
    return (WIDTH - LEFT - RIGHT) * FINE


def _draw(path: Path) -> Image.Image:
    tracks = read_tracks(path)
    extents = read_extents(path, tracks)
    filled = [track for track in tracks if track.kind != "other" and extents[track.number].end_ns > 0]
    shown = filled[:MOST_TRACKS]
    if not shown:
        raise StorageError(f"{path} holds nothing to draw")
    order = ("pictures", "sensor", "sound", "labels")
    shown.sort(key=lambda track: order.index(track.kind))
    begin = min(0, *(extents[track.number].begin_ns for track in shown)) if len(shown) > 1 else 0
    axis = _Axis(begin, max(*(extents[track.number].end_ns for track in shown), begin + 1_000_000))
    labels = {one.track.number: one.intervals for one in labels_of(path, tracks) if one.track is not None}
    names = sorted({one.label for intervals in labels.values() for one in intervals}, key=natural_key)
    colours = {name: CLASSES[number % len(CLASSES)] for number, name in enumerate(names)}
    height = TOP + sum(HEIGHTS[track.kind] + GAP for track in shown) + BOTTOM - GAP + (LEGEND if names else 0)
    canvas = Canvas(WIDTH, height, fine=FINE)
    pauses = _pauses(path, shown)
    _draw_heading(canvas, path, axis, len(filled) - len(shown), pauses)
    y = TOP
    for track in shown:
        canvas.box((LEFT, y, WIDTH - RIGHT, y + HEIGHTS[track.kind]), PANEL)
        y += HEIGHTS[track.kind] + GAP
    _draw_axis(canvas, axis, y - GAP)
    _draw_legend(canvas, y - GAP + BOTTOM, colours)
    y = TOP
    for track in shown:
        row = _Row(canvas, axis, y, HEIGHTS[track.kind])
        rate = measured_rate(track) or extents[track.number].rate(track)
        if track.kind == "pictures":
            rate = _draw_pictures(row, path, track.number, extents[track.number]) or rate
        elif track.kind == "sensor":
            _draw_curves(row, path, track)
        elif track.kind == "sound":
            _draw_wave(row, path, track)
        else:
            _draw_labels(row, labels[track.number], colours)
        _draw_name(canvas, y, track, rate)
        y += HEIGHTS[track.kind] + GAP
    _draw_pauses(canvas, axis, y - GAP, pauses)
    return canvas.finished()


def _pauses(path: Path, shown: Sequence[Track]) -> list[Stretch]:
    """Where the time of the first track goes on after a pause, which it does not have."""
    known = stretches_of(path).get(shown[0].number, [])
    return [one for one in known if one.pause_ns is None or one.pause_ns >= LEAST_PAUSE_NS]


def _pause_text(pause_ns: int | None) -> str:
    seconds = (pause_ns or 0) / 1e9
    if pause_ns is None or seconds < 60:
        return "a pause" if pause_ns is None else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _draw_pauses(canvas: Canvas, axis: _Axis, bottom: int, pauses: Sequence[Stretch]) -> None:
    """A line where a session ends and the next one begins, and how long nothing was recorded there."""
    free = 0.0
    for one in pauses:
        x = axis.x(one.begins_ns)
        canvas.line([(x, TOP), (x, bottom)], PAUSE, 2)
        text = f"+{_pause_text(one.pause_ns)}" if one.pause_ns is not None else "pause"
        width = canvas.text_width(text, 12)
        if x - width / 2 >= free:
            canvas.text((x, TOP - 15), text, 12, PAUSE, anchor="ma")
            free = x + width / 2 + 6


def _draw_heading(canvas: Canvas, path: Path, axis: _Axis, hidden: int, pauses: Sequence[Stretch]) -> None:
    canvas.text((24, 20), path.name, 20, INK)
    clock = wall_clock(path)
    parts = [f"{(axis.end_ns - max(axis.begin_ns, 0)) / 1e9:.1f} s"]
    if clock is not None:
        begun = datetime.fromtimestamp(clock.zero_ns / 1e9)
        parts.insert(0, f"{'from' if clock.exact else 'about'} {begun:%Y-%m-%d %H:%M:%S}")
    if pauses:
        total = _pause_text(sum(one.pause_ns or 0 for one in pauses))
        count = "a pause" if len(pauses) == 1 else f"{len(pauses)} pauses"
        parts.append(
            f"{count} between its sessions left out" + (f" ({total})" if any(one.pause_ns for one in pauses) else "")
        )
    if hidden:
        parts.append(f"{hidden} more tracks not shown")
    canvas.text((24, 47), ", ".join(parts), 13, FAINT)


def _draw_axis(canvas: Canvas, axis: _Axis, bottom: int) -> None:
    span = (axis.end_ns - axis.begin_ns) / 1e9
    step = next((step for step in STEPS if span / step <= 12), span / 10)
    number = math.ceil(axis.begin_ns / 1e9 / step)
    while (seconds := number * step) <= axis.end_ns / 1e9 + 1e-9:
        x = axis.x(seconds * 1e9)
        canvas.line([(x, TOP), (x, bottom + 6)], GRID, 1)
        canvas.text((x, bottom + 12), _clock_text(seconds, step), 13, FAINT, anchor="ma")
        number += 1


def _draw_legend(canvas: Canvas, y: int, colours: Mapping[str, str]) -> None:
    """Which class has which colour, for those too short to have their name written on them."""
    x = float(LEFT)
    for name, colour in colours.items():
        text = canvas.fitting(name, 13, 160)
        if x + 20 + canvas.text_width(text, 13) > WIDTH - RIGHT:
            canvas.text((x, y), "…", 13, FAINT)
            return
        canvas.bar((x, y + 1, x + 14, y + 15), colour)
        canvas.text((x + 20, y), text, 13, INK)
        x += canvas.text_width(text, 13) + 42


def _draw_name(canvas: Canvas, y: int, track: Track, rate: float | None) -> None:
    canvas.text(
        (24, y + 2),
        canvas.fitting(track.name, 15, LEFT - 76 if track.kind in ("sensor", "sound") else LEFT - 34),
        15,
        INK,
    )
    if track.kind == "labels":
        return
    facts = [f"{rate:.5g} a second" if rate == round(rate) else f"{rate:.1f} a second"] if rate else []
    if track.kind == "pictures" and track.size:
        facts.append(f"{track.size[0]}x{track.size[1]}")
    elif track.channels > 1 and track.kind == "sound":
        facts.append(f"{track.channels} channels")
    canvas.text((24, y + 23), ", ".join(facts), 12, FAINT)
    unit = tag_of(track.tags, "unit")
    if track.kind == "sensor":
        labels = channel_labels(track)[: len(CURVES)]
        x = 24.0
        for number, label in enumerate(labels):
            width = canvas.text_width(label, 12)
            if x + 14 + width > LEFT - 56:
                canvas.text((x, y + 42), "…", 12, FAINT)
                break
            canvas.box((x, y + 48, x + 9, y + 51), CURVES[number])
            canvas.text((x + 13, y + 42), label, 12, INK)
            x += width + 24
        if unit:
            canvas.text((24, y + 62), canvas.fitting(unit, 12, 100), 12, FAINT)


# ----------------------------------------------------------------------------------------------------------- the tracks


@dataclass(frozen=True, slots=True)
class _Row:
    """A track's place in the picture."""

    canvas: Canvas
    axis: _Axis
    y: int
    height: int


def _draw_pictures(row: _Row, path: Path, number: int, extent: Extent) -> float | None:
    """Draw some of the pictures; returns how many there are a second, but for the pauses, if there are pauses."""
    with open_video(path, number) as recording:
        if not len(recording):
            return None
        times = list(recording.shown_ns)
        steps = sorted(after - before for before, after in pairwise(times))
        usual_ns = steps[len(steps) // 2] if steps else extent.end_ns - extent.begin_ns
        least_ns = (row.axis.end_ns - row.axis.begin_ns) * LEAST_HOLE / (WIDTH - LEFT - RIGHT)
        least_ns = max(HOLE_STEPS * usual_ns, least_ns)
        begins = [0, *(at for at in range(1, len(times)) if times[at] - times[at - 1] > least_ns), len(times)]
        height, width, _ = recording.read(0).pixels.shape
        wanted = min(max(row.height * width / height, LEAST_THUMBNAIL), 2.4 * row.height)
        for first, after in pairwise(begins):
            end_ns = times[after - 1] + usual_ns if after < len(times) else extent.end_ns
            _draw_run(row, recording, times[first:after], first, (row.axis.x(end_ns), wanted))
        lasting_ns = sum(times[after - 1] - times[first] for first, after in pairwise(begins))
        without = len(times) - len(begins) + 1
        return without * 1e9 / lasting_ns if len(begins) > 2 and lasting_ns else None


def _draw_run(
    row: _Row, recording: Recording, times: Sequence[int], first: int, end_and_wanted: tuple[float, float]
) -> None:
    """Draw some of the pictures from `first` on, which have these times, up to a place; each about so wide."""
    begin, (end, wanted) = row.axis.x(times[0]), end_and_wanted
    count = max(1, min(len(times), round((end - begin) / wanted)))
    step = (end - begin) / count
    for slot in range(count):
        # The picture that is shown where its middle is.
        wanted_ns = times[0] + (times[-1] - times[0]) * (slot + 0.5) / count
        index = first + min(bisect_left(times, wanted_ns), len(times) - 1)
        left, right = begin + slot * step, begin + (slot + 1) * step
        width = right - left - (1.5 if slot + 1 < count else 0)
        size = max(1, round(width * FINE)), row.height * FINE
        row.canvas.paste((left, row.y), _frame(recording, index, size))


@dataclass(slots=True)
class _Reach:
    """The lowest and the highest value in each column, of each channel; NaN where there is none."""

    low: NDArray[np.float32]
    high: NDArray[np.float32]


def _reach(path: Path, track: Track, axis: _Axis) -> _Reach:
    import numpy as np

    channels = min(track.channels or 1, len(CURVES))
    low = np.full((_columns(), channels), np.inf, np.float32)
    high = np.full((_columns(), channels), -np.inf, np.float32)
    step = 1e9 / true_rate(track)
    for block in decode_samples(path, track):
        if block.padding or not len(block.samples):
            continue
        values = scaled(block.samples[:, :channels]) if track.kind == "sound" else block.samples[:, :channels]
        if not np.isfinite(values).all():
            values = np.where(np.isfinite(values), values, np.nan)
        columns = axis.column(block.begin_ns + np.array([0, (len(values) - 1) * step], np.int64))
        if columns[0] == columns[1]:  # as nearly always, in a long recording
            at, starts = columns[:1], [0]
        else:
            columns = axis.column(block.begin_ns + (np.arange(len(values)) * step).astype(np.int64))
            starts = np.flatnonzero(np.diff(columns, prepend=-1)).tolist()
            at = columns[starts]
        low[at] = np.fmin(low[at], np.fmin.reduceat(values, starts))
        high[at] = np.fmax(high[at], np.fmax.reduceat(values, starts))
    empty = low > high
    low[empty] = high[empty] = np.nan
    return _Reach(low, high)


def _draw_curves(row: _Row, path: Path, track: Track) -> None:
    import numpy as np

    reach = _reach(path, track, row.axis)
    if not np.isfinite(reach.low).any():
        return
    bottom, top = float(np.nanmin(reach.low)), float(np.nanmax(reach.high))
    bottom, top = (bottom - 1, top + 1) if top <= bottom else (bottom, top)
    inner = row.height - 12
    pause = max(2.5, 2.5 * 1e9 / true_rate(track) / (row.axis.end_ns - row.axis.begin_ns) * _columns())
    for channel in range(reach.low.shape[1]):
        used = np.flatnonzero(np.isfinite(reach.low[:, channel]))
        for run in np.split(used, np.flatnonzero(np.diff(used) > pause) + 1):
            points = []
            for column in run.tolist():
                x = LEFT + column / FINE
                for value in (reach.low[column, channel], reach.high[column, channel]):
                    points.append((x, row.y + 6 + (top - float(value)) / (top - bottom) * inner))
            row.canvas.line(points, CURVES[channel], 1.3)
    for value, y in ((top, row.y + 1), (bottom, row.y + row.height - 15)):
        row.canvas.text((LEFT - 8, y), f"{value:.3g}", 11, FAINT, anchor="ra")


def _draw_wave(row: _Row, path: Path, track: Track) -> None:
    import numpy as np

    reach = _reach(path, track, row.axis)
    if not np.isfinite(reach.low).any():
        return
    low, high = np.fmin.reduce(reach.low, axis=1), np.fmax.reduce(reach.high, axis=1)
    peak = float(np.nanmax(np.abs(np.concatenate([low, high]))))
    loudest = max(peak, LEAST_LOUDNESS)
    middle, half = row.y + row.height / 2, row.height / 2 - 4
    for column in np.flatnonzero(np.isfinite(low)).tolist():
        x = LEFT + column / FINE
        up, down = float(high[column]) / loudest * half, float(low[column]) / loudest * half
        row.canvas.line([(x, middle - up - 0.4), (x, middle - down + 0.4)], SOUND, 1 / FINE)
    decibels = f"{20 * math.log10(loudest):.0f} dB" if peak > LEAST_LOUDNESS else "silent"
    row.canvas.text((LEFT - 8, row.y + 1), decibels, 11, FAINT, anchor="ra")


def _draw_labels(row: _Row, intervals: Sequence[Interval], colours: Mapping[str, str]) -> None:
    for one in intervals:
        left, right = row.axis.x(one.start_ns), row.axis.x(one.end_ns)
        right = max(right, left + 1.5)
        row.canvas.bar((left, row.y + 3, right, row.y + row.height - 3), colours[one.label])
        text = row.canvas.fitting(one.label, 13, right - left - 10)
        if text == one.label or len(text) > 4:
            row.canvas.text(((left + right) / 2, row.y + row.height / 2), text, 13, INK, anchor="mm")


def _frame(recording: Recording, index: int, size: tuple[int, int]) -> Image.Image:
    """A frame, cut to fill a size; grey if it can't be read."""
    from PIL import Image, ImageOps

    try:
        image = Image.fromarray(recording.read(index).pixels)
    except StorageError:
        image = Image.new("RGB", (1, 1), MISSING)
    method = Image.Resampling.NEAREST if image.width * 4 < size[0] else Image.Resampling.LANCZOS
    return ImageOps.fit(image, size, method)


def _clock_text(seconds: float, step: float) -> str:
    if step < 1:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
