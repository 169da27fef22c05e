"""The commands for recordings that travel: manifest, and verify --against, which the command verify calls."""

from __future__ import annotations

import argparse
from pathlib import Path

from storage.commands.console import Command, fail, print_json, print_line, progress_line, report_done

MANIFEST = """\
Write down which recordings DIR holds: of each the SHA-256, the host and the time span. What is being
recorded, or has no end, is left out. The next time only what has changed is read. 'verify --against'
compares a copy with it; made where a copy arrives, and copied back as receipt.json, it lets a recorder
with --keep uploaded remove what it names.
"""


def manifest_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", type=Path, help="a directory of recordings")
    parser.add_argument("--out", metavar="FILE", type=Path, help="where to write it (default: DIR/manifest.json)")
    parser.add_argument("--anew", action="store_true", help="read everything, also what has not changed")


def manifest(args: argparse.Namespace) -> int:
    from storage.care.listing import MANIFEST_NAME
    from storage.care.manifest import make_manifest, read_manifest, write_manifest

    out = args.out or args.directory / MANIFEST_NAME
    known = read_manifest(out) if out.exists() else {}
    with progress_line(f"reading {args.directory}", " recordings") as progress:
        made = make_manifest(args.directory, {} if args.anew else known, progress=progress)
    write_manifest(out, made.entries)
    total = sum(entry.bytes for entry in made.entries.values())
    if not args.json:
        for path, reason in (made.unfinished | made.unreadable).items():
            print_line(f"{path} is left out: it {reason}")
    content = {
        "path": str(out),
        "recordings": len(made.entries),
        "bytes": total,
        "read": made.hashed,
        "unfinished": {str(path): reason for path, reason in made.unfinished.items()},
        "unreadable": {str(path): reason for path, reason in made.unreadable.items()},
    }
    report_done(args, content, f"{out}: {len(made.entries)} recordings, {total / 1e6:.1f} MB, {made.hashed} read now")
    return 3 if made.unreadable else 0


def verify_against(args: argparse.Namespace) -> int:
    from storage.care.listing import recordings_in
    from storage.care.manifest import find_differences, read_manifest

    if len(args.paths) != 1 or args.repair or args.quarantine is not None:
        return fail("--against compares one directory, and changes nothing", 2)
    (directory,) = args.paths
    entries = read_manifest(args.against)
    with progress_line(f"comparing {directory}", " recordings") as progress:
        differences = find_differences(directory, entries, progress=progress)
    whole = len(entries) - len(differences)
    there = recordings_in(directory) if directory.is_dir() else ()
    others = sum(path.relative_to(directory).as_posix() not in entries for path in there)
    if args.json:
        found = [{"path": one.path, "what": one.what, "reason": one.reason} for one in differences]
        compared = {"path": str(directory), "against": str(args.against), "whole": whole, "different": found}
        print_json({**compared, "not_named": others})
        return 3 if differences else 0
    for one in differences:
        print_line(f"{directory / one.path} {one.reason}")
    missing = sum(one.what == "missing" for one in differences)
    print_line(
        f"{directory}: {whole} of {len(entries)} recordings are whole, {missing or 'none'} missing, "
        f"{len(differences) - missing or 'none'} different"
        + (f"; of {others} more there the manifest says nothing" if others else "")
    )
    return 3 if differences else 0


COMMANDS = (
    Command("manifest", "which recordings are there, with their SHA-256", manifest_arguments, manifest, MANIFEST),
)
