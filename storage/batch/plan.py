"""What there is to do: recordings and steps, without what markers say is done; groups that stay as they were dealt out.

A group of recordings is a file in OUT before anybody works on it, made so that only one program can make it: all runs
follow it, and later recordings come into new groups.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from storage.batch.contract import Step
from storage.batch.inputs import Source, fingerprint
from storage.batch.places import OWN, Place
from storage.batch.worker import DONE, FAILED, Work, marker_name, marker_stem, read_marker, work_fingerprint
from storage.errors import OptionError

PLANS = "plans"
INPUTS = f"{OWN}/inputs"


@dataclass(frozen=True)
class Markers:
    """The markers in OUT, by a listing: their names by step and what stands for the key of the work.

    `plans` are the names of what says which groups there are, by step.
    """

    names: dict[tuple[str, str], list[str]]
    plans: dict[str, list[str]]

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
    plans: dict[str, list[str]] = {}
    for entry in out.entries(OWN):
        if entry.key.startswith(f"{OWN}/{PLANS}/"):
            plans.setdefault(entry.key.split("/")[2], []).append(entry.key)
        if entry.key.endswith((f".{DONE}", f".{FAILED}")):
            step, _, rest = entry.key.removeprefix(f"{OWN}/").partition("/")
            names.setdefault((step, rest.rpartition("@")[0]), []).append(entry.key)
    return Markers(names, plans)


def make_plan(
    sources: Sequence[Source], steps: Sequence[Step], out: Place, shard: tuple[int, int], *, retry_failed: bool
) -> Plan:
    """Deal out the work; of all pieces, those that `shard` (i, n) says: every n-th, from number i on.

    Raises
    ------
    OptionError
        OUT has results of other recordings with these names.
    """
    alone = tuple(step.name for step in steps if step.group_bytes is None)
    pieces: list[tuple[str, tuple[Source, ...], tuple[str, ...]]]
    pieces = [(source.key, (source,), alone) for source in sources] if alone else []
    markers = list_markers(out)
    _refuse_others(sources, out, markers)
    for step in steps:
        if step.group_bytes is not None:
            plan = _deal_out(sources, step, out, markers)
            pieces += [
                (key, group, (step.name,))
                for key, group in _groups(sources, plan)
                if len(group) == len(plan[key]) or not _stays(step.name, key, group, out, markers)
            ]
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


def _refuse_others(sources: Sequence[Source], out: Place, markers: Markers) -> None:
    """Raise OptionError if recordings come from a place that OUT was not made from, and would replace its results.

    OUT notes the places that it was made from: what lies there may grow, and may all change. Of any other place, some
    work must be done already, as it is if the same recordings are seen from another machine; or their names be new.
    """
    of_places: dict[str, list[Source]] = {}
    for source in sources:
        of_places.setdefault(source.place.url, []).append(source)
    for place, own in of_places.items():
        called = place if "://" in place else f"{socket.gethostname()}:{Path(place).resolve()}"
        note = f"{INPUTS}/{fingerprint([called])}"
        if out.exists(note):
            continue
        works = _works_of(own, out, markers)
        if works and not any(_is_of(group, key, name, out) for _, key, group, names in works for name in names):
            notes = sorted(out.read(entry.key).decode(errors="replace").strip() for entry in out.entries(INPUTS))
            made = f" ({', '.join(notes[:3])}{' …' if len(notes) > 3 else ''})" if notes else ""
            raise OptionError(
                f"{out.url}/{works[0][0]}/{works[0][1]} was made from another recording{made} than that in {place}, "
                "which would replace it: choose another OUT"
            )
        out.create(note, f"{called}\n".encode(errors="surrogateescape"))


def _works_of(
    sources: Sequence[Source], out: Place, markers: Markers
) -> list[tuple[str, str, tuple[Source, ...], list[str]]]:
    """What any step has done on recordings of these names: the step, the key, those that are here, and the markers."""
    works = list[tuple[str, str, tuple[Source, ...], list[str]]]()
    for step in dict.fromkeys(step for step, _ in markers.names):
        alone = [(source.key, (source,)) for source in sources]
        pieces = _groups(sources, _read_plans(step, out, markers)) if step in markers.plans else alone
        works += [(step, key, group, names) for key, group in pieces if (names := markers.of(step, key))]
    return works


def _is_of(group: Sequence[Source], key: str, name: str, out: Place) -> bool:
    """Whether the work of a marker was done on these recordings as they are now, or on one of them and others."""
    if f"@{work_fingerprint(group)}." in name:
        return True
    if key == group[0].key:  # of one recording: nothing is to be read
        return False
    then = read_marker(out, name).fingerprints
    return any(then.get(source.key) == source.fingerprint for source in group)


def _read_plans(step: str, out: Place, markers: Markers) -> dict[str, list[str]]:
    """The groups of a step, by their numbers: the keys of their recordings."""
    planned: dict[str, list[str]] = {}
    for name in sorted(markers.plans.get(step, ())):
        planned |= json.loads(out.read(name))
    return planned


def _deal_out(sources: Sequence[Source], step: Step, out: Place, markers: Markers) -> dict[str, list[str]]:
    """The groups of a step, with new ones for recordings of no group yet."""
    planned = _read_plans(step.name, out, markers)
    for number in count(len(markers.plans.get(step.name, ()))):
        known = {key for group in planned.values() for key in group}
        fresh = _dealt([source for source in sources if source.key not in known], step.group_bytes or 0, len(planned))
        if not fresh:
            break
        name = f"{OWN}/{PLANS}/{step.name}/{number:06d}.json"
        if not out.create(name, json.dumps(fresh).encode() + b"\n"):  # another run was first: its plan holds
            fresh = json.loads(out.read(name))
        planned |= fresh
    return planned


def _groups(sources: Sequence[Source], planned: dict[str, list[str]]) -> list[tuple[str, tuple[Source, ...]]]:
    """The groups, with those of their recordings that are there."""
    by_key = {source.key: source for source in sources}
    groups = ((key, tuple(by_key[name] for name in names if name in by_key)) for key, names in planned.items())
    return [(key, group) for key, group in groups if group]


def _stays(step: str, key: str, group: Sequence[Source], out: Place, markers: Markers) -> bool:
    """Whether a group that has lost recordings was done when it had them, and the others as they are now.

    Then it stays as it was done; else it is done anew with those that are left.
    """
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
