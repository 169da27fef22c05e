"""The command batch: steps over very many recordings."""

from __future__ import annotations

import argparse
import re

from storage.commands.console import Command, count, duration_above_0, positive, print_json, print_line, progress_line

BATCH = """\
Do steps on all recordings of directories or buckets (s3://BUCKET/PREFIX), each once: verify, features,
thumbs, dedupe; for training shards, shards-by-host, shards-jpg, parquet, imagefolder, imagefolder-by-host;
and those that other packages install (the entry-point group storage.steps).

Results lie in OUT/STEP/RECORDING/. The same command again goes on: what is done is not done twice, also
if it was killed, or runs several times at once. A recording that kills or blocks its decoder is told.
"""


def batch_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("steps", metavar="STEP[,STEP…]", help="what to do with each recording")
    parser.add_argument("inputs", metavar="IN", nargs="+", help="a recording, or a place with recordings; not changed")
    parser.add_argument("out", metavar="OUT", help="a directory or s3://… for the results; may be there already")
    parser.add_argument(
        "--shard", metavar="i/n", type=_shard, action="append", help="only every n-th piece of work; i from 0 to n - 1"
    )
    parser.add_argument("--jobs", metavar="N", type=count, help="processes on this machine (default: one a core)")
    parser.add_argument("--runner", choices=("here", "ray"), default="here", help="ray: on a Ray cluster")
    parser.add_argument("--address", help="of the Ray cluster, as for ray.init: auto, ray://HOST:10001")
    parser.add_argument(
        "--time-limit",
        metavar="S",
        type=duration_above_0,
        default=3600.0,
        help="seconds a piece of work (default: 3600)",
    )
    parser.add_argument(
        "--memory-limit", metavar="GB", type=positive, default=4.0, help="memory of a piece of work (default: 4)"
    )
    parser.add_argument("--retry-failed", action="store_true", help="try recordings again that failed before")


def batch(args: argparse.Namespace) -> int:
    from storage.batch.child import Limits
    from storage.batch.run import here, run_batch, usable_cores
    from storage.errors import OptionError

    if args.shard and len(args.shard) > 1:
        raise OptionError("--shard is given more than once: each command does one, on whichever machine")
    if args.runner == "ray" and args.jobs is not None:
        raise OptionError("--jobs is for this machine: with --runner ray the cluster says how many there are")
    if args.runner != "ray" and args.address is not None:
        raise OptionError("--address is of a Ray cluster: give --runner ray too")
    limits = Limits(args.time_limit, round(args.memory_limit * 1e9))
    if args.runner == "ray":
        from storage.batch.ray import on_ray

        runner = on_ray(args.address, limits)
    else:
        runner = here(args.jobs or usable_cores(), limits)
    with progress_line(f"batch {args.steps}", " pieces") as progress:
        report = run_batch(
            args.steps.split(","),
            args.inputs,
            args.out,
            runner,
            shard=args.shard[0] if args.shard else (0, 1),
            retry_failed=args.retry_failed,
            progress=progress,
        )
    if args.json:
        print_json({"path": args.out, **report.as_json()})
    else:
        for line in report.as_text().splitlines():
            print_line(line)
    return 3 if report.problems else 0


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    if not match or int(match[1]) >= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} must be i/n with i from 0 to n - 1, such as 0/4")
    return int(match[1]), int(match[2])


COMMANDS = (Command("batch", "steps over very many recordings, here or on a cluster", batch_arguments, batch, BATCH),)
