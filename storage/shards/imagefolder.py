"""A folder of pictures for Hugging Face datasets (``imagefolder``): ``metadata.jsonl`` for each side, and a card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO

from storage.batch.contract import Result, Step
from storage.durable.files import appearing, create_file, write_new
from storage.formats.table import open_recording
from storage.names import printable
from storage.shards.choose import TRAIN, VAL, VAL_SHARE, By, choose_side
from storage.shards.samples import GROUP_BYTES, as_json, check_names, samples

SPLITS = {TRAIN: "train", VAL: "validation"}
"""What Hugging Face calls the sides."""

CARD = """\
---
task_categories:
- image-classification
configs:
- config_name: default
  data_files:
{data_files}
---

# Frames of {recordings} recording{s}

{frames} pictures, from {hosts}. For each file, `metadata.jsonl` has its recording, its number there, its class
(`label`, null without one), its times (`timestamp_ns` of the camera's clock, `wall_ns` since 1970, UTC), its session,
host and camera, and what the camera reported.

Pictures that follow each other are near copies: each side has whole recordings.

| class | {sides} |
|---|{rules}|
{rows}
"""


def write_imagefolder(
    recordings: Sequence[Path],
    out: Path,
    *,
    by: By = "recording",
    val_share: float = VAL_SHARE,
    jpg_quality: int | None = None,
    threads: int = 1,
) -> Result:
    """Write recordings into a directory: ``train/`` and ``validation/`` with pictures, and ``README.md``, the card.

    The same recordings give the same bytes. Frames that can't be read are left out and told. ``metadata.jsonl`` comes
    last, and the card after it.

    Parameters
    ----------
    recordings : sequence of path
        Their paths become directories.
    out : path
        An empty directory.
    by, val_share
        Which recordings are held out: as for `storage.shards.choose.choose_side`.
    jpg_quality : int, optional
        As for `storage.shards.samples.samples`.
    threads : int

    Raises
    ------
    StorageError
        A recording can't be read, or is of hosts on both sides; or a file is there already.
    """
    check_names(recordings)
    told: list[str] = []
    counts: dict[str, Counter[str]] = {}
    hosts: set[str] = set()
    with ExitStack() as stack:
        metadata: dict[str, IO[bytes]] = {}
        for path in recordings:
            with open_recording(path) as recording:
                split = SPLITS[choose_side(recording, path, by, val_share)]
                for sample in samples(recording, path, told, jpg_quality=jpg_quality, threads=threads):
                    name = f"{sample.name}.{sample.suffix}"
                    file = out / split / name
                    file.parent.mkdir(parents=True, exist_ok=True)
                    write_new(file, sample.picture)
                    if split not in metadata:
                        lines = stack.enter_context(appearing(out / split / "metadata.jsonl"))
                        metadata[split] = stack.enter_context(lines.open("wb"))
                    facts = {**sample.facts, "metadata": as_json(sample.facts["metadata"]).decode()}  # one type for all
                    metadata[split].write(as_json({"file_name": name, **facts}) + b"\n")
                    counts.setdefault(split, Counter())[sample.facts["label"] or ""] += 1
                    hosts.add(sample.facts["host"] or "")
    create_file(out / "README.md", _card(len(recordings), counts, sorted(hosts - {""})).encode(errors="replace"))
    return Result(sum(counter.total() for counter in counts.values()), tuple(told))


def _card(recordings: int, counts: dict[str, Counter[str]], hosts: Sequence[str]) -> str:
    splits = [split for split in SPLITS.values() if split in counts]
    names = sorted({name for counter in counts.values() for name in counter})
    rows = [
        f"| {printable(name) or 'none'} | {' | '.join(str(counts[split][name]) for split in splits)} |"
        for name in names
    ]
    return CARD.format(
        data_files="\n".join(f"  - split: {split}\n    path: {split}/**" for split in splits),
        recordings=recordings,
        s="s" * (recordings != 1),
        frames=sum(counter.total() for counter in counts.values()),
        hosts=", ".join(map(printable, hosts)) or "hosts that are not known",
        sides=" | ".join(splits),
        rules="|".join("---:" for _ in splits),
        rows="\n".join(rows),
    )


IMAGEFOLDER = Step("imagefolder", write_imagefolder, GROUP_BYTES)
IMAGEFOLDER_BY_HOST = Step("imagefolder-by-host", partial(write_imagefolder, by="host"), GROUP_BYTES)
