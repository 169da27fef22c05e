"""The frames of a recording as samples: an encoded picture each, and what is known of it; the same bytes each time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storage.convert.transfer import about_left_out, by_session, in_order
from storage.errors import StorageError
from storage.formats.contract import FramesAreFiles
from storage.labels.classes import names_of_labels
from storage.labels.current import replay
from storage.labels.live import entries_beside
from storage.recording import Recording
from storage.sessions import wall_offset_ns

GROUP_BYTES = 512_000_000  # of recordings in a piece of work of a batch
JPG_NAMES = (".jpg", ".jpeg")


@dataclass(frozen=True, slots=True)
class Sample:
    """A frame for training.

    Attributes
    ----------
    facts : dict
        As `facts_of` gives them, with the ``metadata`` that the camera reported.
    suffix : str
        ``png`` or ``jpg``.
    picture : bytes
        A file of that kind.
    """

    facts: dict[str, Any]
    suffix: str
    picture: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """Its name without a suffix, unique among recordings: ``pi3/day1.h5/00000042``."""
        return f"{name_of(self.facts['recording'])}/{self.facts['index']:08d}"


def name_of(path: Path | str) -> str:
    """What a recording's directory is called among others: its path, which leads nowhere else."""
    return "/".join(part for part in Path(path).parts if part not in ("/", ".."))


def check_names(recordings: Sequence[Path]) -> None:
    """Raise `StorageError` if two recordings would have frames of the same names."""
    counts = Counter(map(name_of, recordings))
    if twice := [path for path in recordings if counts[name_of(path)] > 1]:
        raise StorageError(f"{twice[0]} and {twice[1]} would have the same names; give each once")


def facts_of(recording: Recording, path: Path) -> list[dict[str, Any]]:
    """What is known of each frame without its picture.

    ``recording`` (its name), ``index``, ``label`` (its class, as it is called; None without one), ``timestamp_ns`` (of
    the session's own clock), ``wall_ns`` (since 1970, UTC), ``session``, ``host`` and ``camera``; None where something
    is not known.
    """
    of_sessions: list[dict[str, Any]] = [{}] * len(recording)
    for part in by_session(recording):
        known = {"session": part.facts.get("id"), "host": part.facts.get("host"), "camera": part.facts.get("camera")}
        for index in part.indices:
            of_sessions[index] = {**known, "offset": wall_offset_ns(part.facts)}
    facts = []
    name = path.as_posix().encode(errors="replace").decode()  # it may be no UTF-8
    labels, called = replay(recording, entries_beside(recording)), names_of_labels(recording)
    timestamps_ns = recording.timestamps_ns
    for index, of_session in enumerate(of_sessions):
        offset = of_session.get("offset")
        facts.append(
            {
                "recording": name,
                "index": index,
                "label": called.get(label, label) if (label := labels[index]) is not None else None,
                "timestamp_ns": int(timestamps_ns[index]),
                "wall_ns": None if offset is None else int(timestamps_ns[index]) + offset,
                **{name: of_session.get(name) for name in ("session", "host", "camera")},
            }
        )
    return facts


def samples(
    recording: Recording, path: Path, told: list[str], *, jpg_quality: int | None = None, threads: int = 1
) -> Iterator[Sample]:
    """All frames of a recording, in order. Files of the wanted kind, and JPEG, stay as they are.

    Parameters
    ----------
    recording : Recording
    path : path
        The recording's name.
    told : list of str
        Gets a line about frames that are left out, because they can't be read.
    jpg_quality : int, optional
        Write JPEG of this quality, 1 to 95; by default PNG.
    threads : int

    Raises
    ------
    StorageError
        None of its frames can be read.
    """
    facts = facts_of(recording, path)
    reasons: dict[int, str] = {}

    def read(index: int) -> Sample | None:
        try:
            return _sample(recording, facts[index], jpg_quality)
        except StorageError as error:
            reasons[index] = str(error)
            return None

    found = in_order(read, range(len(recording)), threads if recording.independent else 1)
    yield from (sample for sample in found if sample is not None)
    if not reasons:
        return
    if len(reasons) == len(recording):
        raise StorageError(f"{path}: none of its frames can be read: {reasons[min(reasons)]}")
    told.append(about_left_out(path, reasons))


def _sample(recording: Recording, facts: dict[str, Any], jpg_quality: int | None) -> Sample:
    from storage.formats.png.codec import encode_png

    index = int(facts["index"])
    if isinstance(recording, FramesAreFiles):
        file = recording.file(index)
        suffix = "jpg" if file.suffix.lower() in JPG_NAMES else file.suffix.lower().removeprefix(".")
        if suffix == "jpg" or (suffix == "png" and jpg_quality is None):
            recording.check(index)  # as strictly as the strictest loader
            frame = recording.read(index)
            return Sample({**facts, "metadata": dict(frame.metadata)}, suffix, file.read_bytes())
    frame = recording.read(index)
    facts = {**facts, "metadata": dict(frame.metadata)}
    if jpg_quality is None:
        return Sample(facts, "png", encode_png(frame.pixels, {}))
    from io import BytesIO

    from PIL import Image

    data = BytesIO()
    Image.fromarray(frame.pixels).save(data, "JPEG", quality=jpg_quality)
    return Sample(facts, "jpg", data.getvalue())


def as_json(facts: dict[str, Any]) -> bytes:
    """Facts in one line, always in the same bytes."""
    text = json.dumps(facts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode(errors="replace")  # a name may be no UTF-8
