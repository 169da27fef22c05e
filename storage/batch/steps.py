"""The table of steps, and those that need little code.

Other distributions add theirs through the entry-point group ``storage.steps``: each entry is a
`storage.batch.contract.Step`. Steps are named as ``module:name``; nothing is imported before it is used.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from storage.batch.contract import NotReadyError, Result, Step
from storage.entry_points import entry_points
from storage.errors import OptionError, StorageError

STEPS = {
    "verify": "storage.batch.steps:VERIFY",
    "features": "storage.batch.steps:FEATURES",
    "thumbs": "storage.batch.steps:THUMBS",
    "dedupe": "storage.batch.dedupe:DEDUPE",
    "shards": "storage.shards.tar:SHARDS",
    "shards-by-host": "storage.shards.tar:SHARDS_BY_HOST",
    "shards-jpg": "storage.shards.tar:SHARDS_JPG",
    "parquet": "storage.shards.parquet:PARQUET",
    "imagefolder": "storage.shards.imagefolder:IMAGEFOLDER",
    "imagefolder-by-host": "storage.shards.imagefolder:IMAGEFOLDER_BY_HOST",
}
"""Of this distribution."""


def find_step(name: str) -> Step:
    """The step of that name.

    Raises
    ------
    OptionError
        There is none, or what is installed by that name is no step.
    """
    from pkgutil import resolve_name

    table = STEPS if name in STEPS else STEPS | _steps_of_others()
    if name not in table:
        raise OptionError(f"unknown step {name!r}; known are {', '.join(table)}")
    try:
        step = resolve_name(table[name])
    except (ImportError, AttributeError, ValueError) as error:
        raise OptionError(f"the step {name} can't be loaded from {table[name]}: {error}") from None
    if not isinstance(step, Step) or step.name != name:
        raise OptionError(f"{table[name]} is not the step {name}: it must be a storage.batch.contract.Step")
    return step


def _steps_of_others() -> dict[str, str]:
    return {point.name: point.value for point in entry_points("storage.steps")}


def _verify(recordings: Sequence[Path], out: Path) -> Result:
    """Read every frame; what is broken, and whether the recording has an end, goes into ``verify.json``."""
    from storage.care.manifest import why_unfinished
    from storage.care.verify import find_broken

    (path,) = recordings
    frames, broken = find_broken(path, threads=1)
    interrupted = why_unfinished(path)
    found = [{"frame": one.index, "file": str(one.path), "reason": one.reason} for one in broken]
    content = {"version": 1, "frames": frames, "interrupted": interrupted, "broken": found}
    (out / "verify.json").write_text(json.dumps(content, indent=1) + "\n")
    told = [f"{path} {interrupted}"] if interrupted else []
    return Result(frames, (*told, *(f"{one['file']}: {one['reason']}" for one in found)))


def _features(recordings: Sequence[Path], out: Path) -> Result:
    """``NAME.features.h5``, as ``python -m storage features`` makes it."""
    from storage.convert.convert import convert
    from storage.formats.features.extractor import find_model, need_litert

    try:
        need_litert()
        find_model("imagenet")
    except StorageError as error:
        raise NotReadyError(str(error)) from None
    (path,) = recordings
    return Result(convert(path, out / f"{path.name.partition('.')[0]}.features.h5", threads=1))


def _thumbs(recordings: Sequence[Path], out: Path) -> Result:
    """A contact sheet, ``thumbs.png``."""
    from storage.care.sheet import write_sheet
    from storage.formats.table import open_recording

    (path,) = recordings
    empty = write_sheet(out / "thumbs.png", [path])
    with open_recording(path) as recording:
        return Result(len(recording), (f"{path}: {empty} frames are too large for the sheet",) if empty else ())


VERIFY = Step("verify", _verify)
FEATURES = Step("features", _features)
THUMBS = Step("thumbs", _thumbs)
