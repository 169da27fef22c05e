"""What became of a batch: ``batch.jsonl`` in OUT, a line for each step of each recording; and a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from storage.batch.places import Place
from storage.batch.plan import list_markers
from storage.batch.worker import Outcome, outcome_of, read_marker
from storage.durable.log import encode_line, read_lines
from storage.errors import StorageError

NAME = "batch.jsonl"
READERS = 32
SHOWN = 5
KINDS = {
    "damaged": "could not be read",
    "killed": "killed their decoder",
    "time": "took too long",
    "memory": "took too much memory",
    "machine": "not reached, the next run tries again",
}


@dataclass(frozen=True)
class Report:
    """A run: what it did, what markers of earlier runs say of the rest, and how long it took."""

    fresh: list[Outcome]
    before: list[Outcome]
    seconds: float

    @property
    def problems(self) -> bool:
        """Whether something failed, was left out or told, in this run or before."""
        return any(one.kind or one.told or one.left_out for one in [*self.fresh, *self.before])

    def as_json(self) -> dict[str, Any]:
        """Counts by step, for programs."""
        return {"seconds": round(self.seconds, 3), "steps": {name: self._counts(name) for name in self._steps()}}

    def as_text(self) -> str:
        """A table, and the first failures, for people."""
        return "\n".join(self._lines())

    def _steps(self) -> list[str]:
        return list(dict.fromkeys(one.step for one in [*self.fresh, *self.before]))

    def _counts(self, step: str) -> dict[str, Any]:
        fresh = [one for one in self.fresh if one.step == step]
        both = [*fresh, *(one for one in self.before if one.step == step)]
        done = [one for one in fresh if not one.kind]
        frames, core_seconds = sum(one.frames for one in done), sum(one.core_seconds or 0.0 for one in fresh)
        failed = Counter(one.kind for one in both if one.kind)
        return {
            "done": len(done),
            "skipped": len([one for one in self.before if one.step == step and not one.kind]),
            "failed": dict(failed),
            "left_out": sum(len(one.left_out) for one in both if not one.kind),
            "told": sum(len(one.told) for one in both),
            "frames": frames,
            "frames_per_second": round(frames / self.seconds, 1) if self.seconds else 0.0,
            "frames_per_core_second": round(frames / core_seconds, 1) if core_seconds else 0.0,
        }

    def _lines(self) -> Iterator[str]:
        width = max([4, *map(len, self._steps())])
        heads = ("done", "skipped", "failed", "told", "frames", "frames/s", "a core")
        yield f"{'step':{width}}" + "".join(f"  {head:>9}" for head in heads)
        for name in self._steps():
            counts = self._counts(name)
            failed = sum(counts["failed"].values()) + counts["left_out"]
            cells = (counts["done"], counts["skipped"], failed, counts["told"], counts["frames"])
            rates = (counts["frames_per_second"], counts["frames_per_core_second"])
            yield (
                f"{name:{width}}"
                + "".join(f"  {cell:9}" for cell in cells)
                + "".join(f"  {rate:9.1f}" for rate in rates)
            )
        problems = [*self.fresh, *self.before]
        for kind, words in KINDS.items():
            yield from _some(words, [(one, f"{one.key}: {one.reason}") for one in problems if one.kind == kind])
        left_out = [(one, f"{name}: {why}") for one in problems for name, why in one.left_out.items()]
        yield from _some("left out of their groups", left_out)
        yield from _some("told", [(one, f"{one.key}: {line}") for one in problems for line in one.told])


def _some(words: str, found: Sequence[tuple[Outcome, str]]) -> Iterator[str]:
    if found:
        yield f"{len(found)} {words}:"
        yield from (f"  {one.step} {line}" for one, line in found[:SHOWN])
    if more := found[SHOWN:]:
        yield f"  … and {len(more)} more" + (f", in {NAME}" if all(one.is_kept for one, _ in more) else "")


def write_lines(out: Place, fresh: Sequence[Outcome]) -> dict[str, Outcome]:
    """Write ``batch.jsonl``: what all markers in OUT say, in order of their names; returns that, by their names.

    It is written again until a listing shows nothing new, so that the last of several runs writes all of it.
    """
    known = {one.marker: one for one in [*_written(out), *fresh] if one.is_kept}
    written: list[str] | None = None
    while (names := sorted(list_markers(out).all())) != written:
        missing = [name for name in names if name not in known]
        with ThreadPoolExecutor(READERS) as pool:
            known |= {one.marker: one for one in pool.map(partial(_marker, out), missing) if one is not None}
        out.replace(NAME, b"".join(encode_line(known[name].facts()) for name in names if name in known))
        written = names
    return known


def _written(out: Place) -> list[Outcome]:
    try:
        lines, _ = read_lines(Path(NAME), out.read(NAME))
        return [outcome_of(line) for line in lines]
    except (FileNotFoundError, StorageError, KeyError, TypeError):  # the markers say all of it again
        return []


def _marker(out: Place, name: str) -> Outcome | None:
    try:
        return read_marker(out, name)
    except FileNotFoundError:  # another run works on it again
        return None
