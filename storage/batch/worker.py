"""One piece of work from beginning to end: fetched, processed in a child, published, and marked, in this order.

The marker in OUT says that a step is done with a recording, or that the recording is at fault. Its name has the
recording's fingerprint, so that a listing alone tells what is left to do. It is written last: without it the work is
done again, and gives the same bytes.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from storage.batch.child import Answer, Child
from storage.batch.inputs import FINGERPRINT_DIGITS, Source, fingerprint
from storage.batch.places import OWN, Entry, Place
from storage.batch.steps import FEATURES, find_step
from storage.durable.checked import check
from storage.durable.log import encode_line
from storage.durable.untrusted import parse_object
from storage.errors import StorageError

DONE, FAILED = "done", "failed"
ORIGINS = f"{OWN}/origins"
MOST_NAME_BYTES = 255 - len(f"@.{FAILED}") - FINGERPRINT_DIGITS
OF_THE_RECORDING = ("damaged", "killed", "time", "memory")
"""Kinds of failure (`storage.batch.child.Answer`) that the same recording would show again."""


@dataclass(frozen=True)
class Work:
    """Steps to do on one recording, or one step on several.

    Attributes
    ----------
    key : str
        Of the recording, or the group's number: the directory of the results.
    sources : tuple of Source
        All in one place.
    steps : tuple of str
    stale : tuple of str
        Markers in OUT of the same key and another fingerprint.
    """

    key: str
    sources: tuple[Source, ...]
    steps: tuple[str, ...]
    stale: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        return work_fingerprint(self.sources)


def work_fingerprint(sources: Sequence[Source]) -> str:
    """One recording's fingerprint, or that of several."""
    return sources[0].fingerprint if len(sources) == 1 else fingerprint(source.fingerprint for source in sources)


@dataclass(frozen=True)
class Outcome:
    """What became of a step on a piece of work. `kind` and `reason` are those of `storage.batch.child.Answer`.

    Attributes
    ----------
    step, key : str
    recordings : tuple of str
    frames : int
    told : tuple of str
    left_out : mapping of str to str
        Recordings of a group that it is done without, and why.
    bytes : int
        Of the results.
    fingerprint : str
        Of the recordings.
    fingerprints : mapping of str to str
        Of the recordings of a group, by their keys.
    core_seconds : float or None
        Processor time of this run; None if it was done before.
    """

    step: str
    key: str
    recordings: tuple[str, ...]
    fingerprint: str
    frames: int = 0
    told: tuple[str, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)
    bytes: int = 0
    kind: str = ""
    reason: str = ""
    fingerprints: dict[str, str] = field(default_factory=dict)
    core_seconds: float | None = None

    @property
    def marker(self) -> str:
        """The key of its marker in OUT."""
        return marker_name(self.step, self.key, self.fingerprint, FAILED if self.kind else DONE)

    @property
    def is_kept(self) -> bool:
        """Whether a marker says it."""
        return not self.kind or self.kind in OF_THE_RECORDING

    def facts(self) -> dict[str, Any]:
        """What is kept of it: the same for the same recordings, wherever and however often they are worked on."""
        facts = asdict(self)
        del facts["core_seconds"]
        return {"version": 1, "status": FAILED if self.kind else DONE, **facts}


def marker_name(step: str, key: str, mark: str, status: str) -> str:
    """The key of a marker in OUT."""
    return f"{OWN}/{step}/{marker_stem(key)}@{mark}.{status}"


def marker_stem(key: str) -> str:
    """What stands for a key in its markers' names: the key, or a fingerprint where the name would be too long."""
    above, slash, name = key.rpartition("/")
    return key if len(os.fsencode(name)) <= MOST_NAME_BYTES else f"{above}{slash}{fingerprint([name])}"


def origin_note(source: Source) -> str:
    """The key of what says in OUT that it has results of a recording, as it is now, from its place."""
    return f"{ORIGINS}/{fingerprint([source.place.origin])}/{marker_stem(source.key)}@{source.fingerprint}"


def read_marker(out: Place, name: str) -> Outcome:
    """What a marker says.

    Raises
    ------
    StorageError
        It is damaged.
    """
    content = out.read(name)
    if check(content.rstrip(b"\n")) is not True:
        raise StorageError(f"{out.url}/{name} is damaged; remove it, and the work is done again")
    return outcome_of(parse_object(content))


def outcome_of(facts: dict[str, Any]) -> Outcome:
    known = {name: facts[name] for name in Outcome.__dataclass_fields__ if name in facts}
    return Outcome(**{**known, "recordings": tuple(facts["recordings"]), "told": tuple(facts["told"])})


def do(work: Work, out: Place, child: Child) -> list[Outcome]:
    """Do the steps of a piece of work that nobody has done meanwhile; returns what became of each.

    What is in the way of the places themselves becomes an outcome of the kind "machine".
    """
    mark = work.fingerprint
    names = {step: [marker_name(step, work.key, mark, status) for status in (DONE, FAILED)] for step in work.steps}
    outcomes: list[Outcome] = []
    try:
        present = {step: next((name for name in both if out.exists(name)), None) for step, both in names.items()}
        outcomes += [read_marker(out, name) for name in present.values() if name]
        todo = [step for step, name in present.items() if not name]
        if not todo:
            return outcomes
        with _lent(work.sources, out) as base:
            for step in todo:
                outcomes.append(_do_step(step, work, base, out, child))
    except (StorageError, OSError) as error:
        reason = str(error) if isinstance(error, StorageError) else f"{error.filename}: {error.strerror or error}"
        reached = {outcome.step for outcome in outcomes}
        outcomes += not_done(work, [step for step in work.steps if step not in reached], reason)
    return outcomes


def note_origin(source: Source, out: Place) -> None:
    """Say in OUT that it has results of a recording, as it is now, from its place."""
    if not out.exists(name := origin_note(source)):
        out.create(name, f"{source.place.origin}\n".encode(errors="surrogateescape"))


def not_done(work: Work, steps: Sequence[str], reason: str) -> list[Outcome]:
    """Outcomes that no marker keeps, for steps that the next run does."""
    recordings = tuple(source.key for source in work.sources)
    return [Outcome(step, work.key, recordings, work.fingerprint, kind="machine", reason=reason) for step in steps]


@contextmanager
def _lent(sources: Sequence[Source], out: Place) -> Iterator[Path]:
    """A local directory in which recordings lie at their keys: links to them, if they are from several places."""
    places = {source.place.url: source.place for source in sources}
    with ExitStack() as stack:
        bases = {
            url: stack.enter_context(
                place.lent([entry for source in sources if source.place.url == url for entry in source.entries])
            )
            for url, place in places.items()
        }
        if len(bases) == 1:
            yield bases.popitem()[1]
            return
        together = stack.enter_context(out.making())
        for source in sources:
            inside = f"{source.key}/"
            for key in {source.key if one.key.startswith(inside) else one.key for one in source.entries}:
                (together / key).parent.mkdir(parents=True, exist_ok=True)
                (together / key).symlink_to(bases[source.place.url] / key)
        yield together


def _do_step(step: str, work: Work, base: Path, out: Place, child: Child) -> Outcome:
    recordings = [source.key for source in work.sources]
    left_out: dict[str, str] = {}
    spent = 0.0
    features = _features_in(out, work.sources) if find_step(step).with_features else {}
    with out.making() as scratch, out.lent(list(features.values())) as lent:
        places = {key: str(lent / entry.key) for key, entry in features.items()}

        def attempt(some: Sequence[str], name: str) -> Answer:
            nonlocal spent
            answer = _attempt(partial(child.run, step, base, some, scratch / name, places), scratch / name)
            spent += answer.core_seconds
            return answer

        made = scratch / "made"
        answer = attempt(recordings, "made")
        if answer.kind in OF_THE_RECORDING and len(recordings) > 1:  # which of them is it?
            alone = {name: attempt([name], f"alone{number}") for number, name in enumerate(recordings)}
            left_out = {name: one.reason for name, one in alone.items() if one.kind in OF_THE_RECORDING}
            rest = [name for name in recordings if name not in left_out]
            if left_out and rest:
                made = scratch / "rest"
                answer = attempt(rest, "rest")
        size = sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
        told = answer.told
        if answer.kind and next(out.entries(f"{step}/{work.key}"), None) is not None:
            told += ("its results in OUT are of an earlier content",)
        outcome = Outcome(
            *(step, work.key, tuple(recordings), work.fingerprint, answer.frames, told, left_out),
            *(0 if answer.kind else size, answer.kind, answer.reason),
            fingerprints={source.key: source.fingerprint for source in work.sources} if len(recordings) > 1 else {},
            core_seconds=round(spent, 3),
        )
        if outcome.is_kept:
            for source in work.sources:
                note_origin(source, out)
            for name in work.stale:
                if name.startswith(f"{OWN}/{step}/"):
                    out.remove(name)
            if not outcome.kind:
                out.publish(made, f"{step}/{work.key}")
            out.create(outcome.marker, encode_line(outcome.facts()))
    return outcome


def _features_in(out: Place, sources: Sequence[Source]) -> dict[str, Entry]:
    """Where OUT has the features of these recordings: as they are now, of all their frames."""
    found: dict[str, Entry] = {}
    for source in sources:
        marker = marker_name(FEATURES.name, source.key, source.fingerprint, DONE)
        if out.exists(marker) and not read_marker(out, marker).told:
            found.update((source.key, entry) for entry in out.entries(f"{FEATURES.name}/{source.key}"))
    return found


def _attempt(run: Callable[[], Answer], out: Path) -> Answer:
    """Have the child do it; once more if something from outside ended it, such as the kernel when memory was short."""
    out.mkdir()
    answer = run()
    if answer.kind == "machine" or f"signal {int(signal.SIGKILL)} " in answer.reason:
        for path in sorted(out.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        answer = run()
    return answer
