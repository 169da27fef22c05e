"""A batch on a Ray cluster: each piece of work is a task, and Ray starts a task again whose worker or machine died."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from functools import cache

from storage.batch.child import Child, Limits
from storage.batch.places import Place
from storage.batch.run import Runner
from storage.batch.worker import Outcome, Work, do, not_done
from storage.errors import StorageError, first_line

UNDER_WAY = 4  # tasks for each core: the next ones wait on the machines, not here
ATTEMPTS = 10


def on_ray(address: str | None, limits: Limits) -> Runner:
    """A runner on a cluster.

    Parameters
    ----------
    address : str or None
        As ``ray.init(address=…)`` takes it: ``auto``, ``ray://HOST:10001``, or None: ``RAY_ADDRESS``, else a cluster
        that runs here, else one of this machine alone for this run.
    limits : Limits
        Of each piece of work.

    Raises
    ------
    StorageError
        Ray is not installed, or there is no such cluster.
    """
    try:
        import ray
    except ModuleNotFoundError:
        raise StorageError("--runner ray needs Ray: pip install 'pi-capture[ray]'") from None

    def run(works: Sequence[Work], out: Place) -> Generator[list[Outcome], None, None]:
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise StorageError(f"--address {address}: {first_line(error)}") from None
        try:
            task = ray.remote(num_cpus=1, max_retries=ATTEMPTS)(_do)
            most = UNDER_WAY * int(ray.cluster_resources().get("CPU", 1))
            todo, under_way = iter(works), dict[ray.ObjectRef, Work]()
            while True:
                while len(under_way) < most and (work := next(todo, None)) is not None:
                    under_way[task.remote(work, out, limits)] = work
                if not under_way:
                    return
                (done,), _ = ray.wait(list(under_way), num_returns=1)
                work = under_way.pop(done)
                try:
                    yield ray.get(done)
                except ray.exceptions.RayError as error:
                    yield not_done(work, work.steps, f"Ray: {first_line(error)}")
        finally:
            ray.shutdown()

    return run


def _do(work: Work, out: Place, limits: Limits) -> list[Outcome]:
    """On a machine of the cluster."""
    return do(work, out, _child(limits))


@cache
def _child(limits: Limits) -> Child:
    return Child(limits)  # ends with the worker
