"""What there is to do: recordings and steps, without what markers say is done; groups that stay as they were dealt out.

A group of recordings is a file in OUT before anybody works on it, made so that only one program can make it: all runs
follow it, and later recordings come into new groups.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from storage.batch.contract import Step
from storage.batch.inputs import Source
from storage.batch.places import OWN, Place
from storage.batch.worker import (
    DONE,
    FAILED,
    ORIGINS,
    Work,
    marker_name,
    marker_stem,
    note_origin,
    origin_note,
    read_marker,
    work_fingerprint,
)
from storage.errors import OptionError

PLANS = "plans"


@dataclass(frozen=True)
class Markers:
    """The markers in OUT, by a listing: their names by step and what stands for the key of the work.

    `plans` are the names of what says which groups there are, by step; `origins` those of what says from which place
    the recordings came, by place.
    """

    names: dict[tuple[str, str], list[str]]
    plans: dict[str, list[str]]
    origins: dict[str, set[str]]

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
    origins: dict[str, set[str]] = {}
    for entry in out.entries(OWN):
        if entry.key.startswith(f"{OWN}/{PLANS}/"):
            plans.setdefault(entry.key.split("/")[2], []).append(entry.key)
        elif entry.key.startswith(f"{ORIGINS}/"):
            place, name = entry.key.removeprefix(f"{ORIGINS}/").split("/", 1)
            origins.setdefault(place, set()).add(name)
        elif entry.key.endswith((f".{DONE}", f".{FAILED}")):
            step, _, rest = entry.key.removeprefix(f"{OWN}/").partition("/")
            names.setdefault((step, rest.rpartition("@")[0]), []).append(entry.key)
    return Markers(names, plans, origins)


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
    """Raise OptionError if results of a recording would replace those of another with the same name, from elsewhere.

    OUT notes from where each recording came that it has results of, and how it was. Places that had the same recording
    are the same place: moved, or seen from another machine. What lies in a place may grow and change.
    """
    places: dict[str, dict[str, Source]] = {}
    for source in sources:
        place, name = origin_note(source).removeprefix(f"{ORIGINS}/").split("/", 1)
        places.setdefault(place, {})[name] = source
    same: list[Source] = []
    for place, own in places.items():
        before = markers.origins.get(place, set())
        known, taken = set[str](), dict[str, str]()  # keys of this place, and of others with their notes
        for other, there in markers.origins.items():
            if shared := there & (before | own.keys()):
                known |= {name.rpartition("@")[0] for name in there}
                same += [] if shared & before else [own[min(shared)]]
            else:
                taken |= {name.rpartition("@")[0]: f"{ORIGINS}/{other}/{name}" for name in there}
        for source in own.values():
            if (stem := marker_stem(source.key)) in taken and stem not in known:
                origin = out.read(taken[stem]).decode(errors="replace").strip()
                raise OptionError(
                    f"{out.url} has results of {source.key} from {origin}; {source.key} in {source.place.url} is "
                    "another recording and would replace them: rename it, or choose another OUT"
                )
    for source in same:  # so it stays known when all of them have changed
        note_origin(source, out)


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
