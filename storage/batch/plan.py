"""What there is to do: recordings and steps, without what markers say is done; groups that stay as they were dealt out.

A group of recordings is a file in OUT before anybody works on it, made so that only one program can make it: all runs
follow it, and later recordings come into new groups.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

from storage.batch.contract import Step
from storage.batch.inputs import Source
from storage.batch.places import OWN, Place
from storage.batch.worker import DONE, FAILED, Work, marker_name, marker_stem, read_marker, work_fingerprint

PLANS = "plans"


@dataclass(frozen=True)
class Markers:
    """The markers in OUT, by a listing: their names by step and what stands for the key of the work."""

    names: dict[tuple[str, str], list[str]]

    def of(self, step: str, key: str) -> list[str]:
        return self.names.get((step, marker_stem(key)), [])

    def all(self) -> list[str]:
        return [name for names in self.names.values() for name in names]


@dataclass(frozen=True)
class Plan:
    """All pieces of work of a run, and which are left.

    Attributes
    ----------
    todo : list of Work
    present : list of str
        Markers of what was done before.
    """

    todo: list[Work]
    present: list[str]


def list_markers(out: Place) -> Markers:
    """What OUT says is done, of all steps."""
    names: dict[tuple[str, str], list[str]] = {}
    for entry in out.entries(OWN):
        if entry.key.endswith((f".{DONE}", f".{FAILED}")):
            step, _, rest = entry.key.removeprefix(f"{OWN}/").partition("/")
            names.setdefault((step, rest.rpartition("@")[0]), []).append(entry.key)
    return Markers(names)


def make_plan(
    sources: Sequence[Source], steps: Sequence[Step], out: Place, shard: tuple[int, int], *, retry_failed: bool
) -> Plan:
    """Deal out the work; of all pieces, those that `shard` (i, n) says: every n-th, from number i on."""
    alone = tuple(step.name for step in steps if step.group_bytes is None)
    pieces: list[tuple[str, tuple[Source, ...], tuple[str, ...]]]
    pieces = [(source.key, (source,), alone) for source in sources] if alone else []
    markers = list_markers(out)
    for step in steps:
        if step.group_bytes is not None:
            pieces += [(key, group, (step.name,)) for key, group in _groups(sources, step, out, markers)]
    todo, present = list[Work](), list[str]()
    for key, group, names in pieces[shard[0] :: shard[1]]:
        mark, left, stale = work_fingerprint(group), list[str](), list[str]()
        for step_name in names:
            done, failed = (marker_name(step_name, key, mark, status) for status in (DONE, FAILED))
            there = markers.of(step_name, key)
            if retry_failed:
                again = [name for name in there if name == failed or (name == done and _has_left_out(group, name, out))]
                for name in again:
                    out.remove(name)
                there = [name for name in there if name not in again]
            if done in there or failed in there:
                present.append(done if done in there else failed)
            else:
                left.append(step_name)
                stale += there
        if left:
            todo.append(Work(key, group, tuple(left), tuple(stale)))
    return Plan(todo, present)


def _has_left_out(group: Sequence[Source], marker: str, out: Place) -> bool:
    return len(group) > 1 and bool(read_marker(out, marker).left_out)


def _groups(
    sources: Sequence[Source], step: Step, out: Place, markers: Markers
) -> list[tuple[str, tuple[Source, ...]]]:
    """The groups of a step; recordings of no group yet come into new ones.

    A group that was done and has lost recordings since stays as it was done, and is not among them, unless those that
    are left have changed: then it is done anew with them.
    """
    planned: dict[str, list[str]] = {}
    for number in count():
        name = f"{OWN}/{PLANS}/{step.name}/{number:06d}.json"
        with suppress(FileNotFoundError):
            planned |= json.loads(out.read(name))
            continue
        known = {key for group in planned.values() for key in group}
        fresh = _dealt([source for source in sources if source.key not in known], step.group_bytes or 0, len(planned))
        if not fresh:
            break
        if not out.create(name, json.dumps(fresh).encode() + b"\n"):  # another run was first: its plan holds
            fresh = json.loads(out.read(name))
        planned |= fresh
    by_key = {source.key: source for source in sources}
    groups = ((key, tuple(by_key[name] for name in names if name in by_key)) for key, names in planned.items())
    return [
        (key, group)
        for key, group in groups
        if len(group) == len(planned[key]) or (group and not _stays(step.name, key, group, out, markers))
    ]


def _stays(step: str, key: str, group: Sequence[Source], out: Place, markers: Markers) -> bool:
    """Whether a group was done when it had these recordings, as they are now, and others."""
    done = [read_marker(out, name) for name in markers.of(step, key) if name.endswith(f".{DONE}")]
    return any(
        len(one.recordings) > len(group)
        and all(one.fingerprints.get(source.key) == source.fingerprint for source in group)
        for one in done
    )


def _dealt(sources: Sequence[Source], group_bytes: int, first: int) -> dict[str, list[str]]:
    """Groups by their numbers, which go on from `first`: the keys of whole recordings, in order."""
    groups: list[list[str]] = []
    room = 0
    for source in sources:
        if not groups or source.bytes > room:
            groups.append([])
            room = group_bytes
        groups[-1].append(source.key)
        room -= source.bytes
    return {f"{number:06d}": group for number, group in enumerate(groups, first)}
