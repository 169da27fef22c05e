"""A batch from beginning to end: what there is to do, done by processes here or by a cluster, and reported.

Runs share nothing but OUT: several at once, or one after another that was killed, need not know of each other.
"""

from __future__ import annotations

import os
import queue
import random
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing

from storage.batch.child import Child, Limits
from storage.batch.inputs import list_recordings
from storage.batch.places import OWN, Place, open_place
from storage.batch.plan import make_plan
from storage.batch.report import Report, write_lines
from storage.batch.steps import find_step
from storage.batch.worker import Outcome, Work, do
from storage.errors import OptionError, StorageError

CLAIM = f"{OWN}/README"
Progress = Callable[[int, int], None]
Runner = Callable[[Sequence[Work], Place], Generator[list[Outcome], None, None]]
"""Does pieces of work in any order and gives their outcomes as they come; to close it ends what is under way."""


def run_batch(
    steps: Sequence[str],
    inputs: Sequence[str],
    out: str,
    runner: Runner,
    *,
    shard: tuple[int, int] = (0, 1),
    retry_failed: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Do steps on all recordings of some places, each once.

    Parameters
    ----------
    steps : sequence of str
        Their names.
    inputs, out : str
        Directories, or URLs such as ``s3://bucket/prefix``. Results lie in ``OUT/STEP/RECORDING/``.
    runner : Runner
        `here`, or `storage.batch.ray.on_ray`.
    shard : (int, int)
        i and n: of all pieces of work every n-th, from number i on, where the first is 0.
    retry_failed : bool
        Work again on recordings that failed before.
    progress : callable, optional
        Told how many of how many pieces are done.

    Raises
    ------
    StorageError
        There is no such step or recording; OUT has files that no batch made where results would go, was made from
        other recordings of the same names, or can't be written; or this machine lacks what a step needs.
    """
    found = [find_step(name) for name in dict.fromkeys(steps)]
    sources = list_recordings(inputs, out, [step.name for step in found])
    place = open_place(out)
    _claim(place, [step.name for step in found])
    begun = time.monotonic()
    plan = make_plan(sources, found, place, shard, retry_failed=retry_failed)
    fresh, before = list[Outcome](), list[Outcome]()
    late = {step.name for step in found if step.with_features}
    if progress is not None:
        progress(0, len(plan.todo))
    with closing(_outcomes(plan.todo, late, runner, place)) as outcomes:
        for done, some in enumerate(outcomes, 1):
            for outcome in some:
                if outcome.kind == "not ready":
                    raise StorageError(f"{outcome.step}: {outcome.reason}")
                (before if outcome.core_seconds is None and outcome.is_kept else fresh).append(outcome)
            if progress is not None:
                progress(done, len(plan.todo))
    seconds = time.monotonic() - begun
    kept = write_lines(place, fresh)
    return Report(fresh, [*before, *(kept[name] for name in plan.present if name in kept)], seconds)


def _outcomes(
    works: Sequence[Work], late: set[str], runner: Runner, out: Place
) -> Generator[list[Outcome], None, None]:
    """What becomes of pieces of work; those of the steps `late` begin when all others are done."""
    for is_late in (False, True):
        some = [work for work in works if late.isdisjoint(work.steps) is not is_late]
        turn = random.randrange(len(some) or 1)  # so that runs on one OUT seldom work on the same
        if some:
            with closing(runner([*some[turn:], *some[:turn]], out)) as outcomes:
                yield from outcomes


def _claim(out: Place, steps: Sequence[str]) -> None:
    """Mark OUT as one of batches. Results replace what lies in ``OUT/STEP``: a batch must have made it."""
    if out.exists(CLAIM):
        return
    for step in steps:
        if next(out.entries(step), None) is not None:
            raise OptionError(f"{out.url}/{step} has files, and no batch made it; choose another OUT")
    out.create(CLAIM, b"Results of python -m storage batch lie here.\n")


def here(jobs: int, limits: Limits) -> Runner:
    """A runner with so many processes on this machine."""

    def run(works: Sequence[Work], out: Place) -> Generator[list[Outcome], None, None]:
        waiting = queue.SimpleQueue[Work]()
        outcomes = queue.SimpleQueue[list[Outcome] | BaseException]()
        children = [Child(limits) for _ in range(min(jobs, len(works)))]
        for work in works:
            waiting.put(work)

        def work_on(child: Child) -> None:
            try:
                while not child.stopped:
                    outcomes.put(do(waiting.get_nowait(), out, child))
            except queue.Empty:
                pass
            except BaseException as error:  # a mistake of ours: the main thread has to hear of it
                outcomes.put(error)
            finally:
                child.close()

        threads = [threading.Thread(target=work_on, args=[child], daemon=True) for child in children]
        for thread in threads:
            thread.start()
        try:
            for _ in works:
                outcome = outcomes.get()
                if isinstance(outcome, BaseException):
                    raise outcome
                yield outcome
        finally:
            for child in children:
                child.stop()
            for thread in threads:
                thread.join()

    return run


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
