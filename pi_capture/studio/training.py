"""Models: one in training, by ``python -m storage train`` in a process of its own; and those that there are."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pi_capture.studio.answers import RefusedError, identifier, in_pages
from pi_capture.studio.recorders import last_line
from storage.errors import StorageError
from storage.names import printable

MOST_LINE = 1 << 24  # bytes: the last line names each mistake
MOST_MISTAKES = 24  # that a page shows
SUFFIX = ".model"
SUFFIXES = (SUFFIX, ".tflite")
NOTHING: dict[str, Any] = {
    **{"state": "none", "name": "", "command": "", "what": "", "done": 0, "total": 0},
    **{"report": None, "problem": None},
}


class Training:
    """The training that goes on, or went on last; there is one at a time. It ends with the studio.

    Attributes
    ----------
    status : dict
        As pages know it (`pi_capture.studio.routes.training.training_events`). A new one after each change.
    """

    def __init__(self, folder: Path) -> None:
        self.status = NOTHING
        self._folder, self._name = folder, ""
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()

    async def start(self, words: Sequence[str], name: str) -> None:
        """Start ``python -m storage`` with these words. Raises RefusedError if a training goes on."""
        async with self._starting:
            if self._task is not None and not self._task.done():
                raise RefusedError(f"{self.status['name']} is being trained; wait for it, or cancel it", 409)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "storage", *words, "--json-lines"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=MOST_LINE,
                start_new_session=True,  # Ctrl-C in the studio's terminal is for the studio, which ends it in order
            )
            self._process, self._name = process, name
            self.status = {**NOTHING, "state": "training", "name": printable(name), "command": shown_training(words)}
            self._task = asyncio.create_task(self._follow(process))

    @property
    def shown(self) -> dict[str, Any]:
        """The status; nothing once the model that came of it is gone."""
        is_gone = self.status["state"] == "done" and not (self._folder / self._name).exists()
        return NOTHING if is_gone else self.status

    async def cancel(self) -> None:
        """End it; no model is written, unless it was there already."""
        if self._process is None or self._task is None:
            return
        if self._process.returncode is None:
            self.status = {**self.status, "state": "cancelled"}
            with suppress(ProcessLookupError):
                self._process.terminate()
        await asyncio.wait([self._task])

    async def _follow(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None and process.stderr is not None
        said = asyncio.create_task(process.stderr.read())
        report = None
        async for line in process.stdout:
            if not line.startswith(b"{"):  # what a library prints
                continue
            told = json.loads(line)
            if told.pop("event", None) == "progress":
                self.status = {**self.status, **told, "what": self._without_folder(told["what"])}
            else:
                report = self._as_shown(told)
        problem = self._without_folder(last_line(await said).removeprefix("storage: "))
        if await process.wait() == 0:
            self.status = {**self.status, "state": "done", "report": report}
        elif self.status["state"] != "cancelled":
            self.status = {**self.status, "state": "failed", "problem": problem}

    def _as_shown(self, report: dict[str, Any]) -> dict[str, Any]:
        """What ``train`` reports, with identifiers instead of paths."""
        mistakes = [
            {
                **{name: one[name] for name in ("index", "label", "guess", "certainty")},
                "frame": self._without_folder(one["frame"]),
                "recording": identifier(Path(one["recording"]).name),
                "name": printable(Path(one["recording"]).name),
            }
            for one in report["mistakes"][:MOST_MISTAKES]
        ]
        lines = {name: [self._without_folder(line) for line in report[name]] for name in ("advice", "notes")}
        return {
            **{name: report[name] for name in ("classes", "frames", "stretches", "accuracy", "smoothed", "chance")},
            **{name: report[name] for name in ("confusion", "kind", "seconds")},
            **lines,
            "tested_on": self._without_folder(report["tested_on"]),
            "mistakes": mistakes,
            "all_mistakes": len(report["mistakes"]),
            "model": identifier(Path(report["path"]).name),
        }

    def _without_folder(self, text: str) -> str:
        return printable(in_pages(text.replace(f"{self._folder}/", "")))


def training_words(recordings: Sequence[Path], target: Path, *, replace: bool) -> list[str]:
    """The words after ``python -m storage`` that train a model."""
    return ["train", *map(str, recordings), "-o", str(target), *(["--replace"] if replace else [])]


def shown_training(words: Sequence[str]) -> str:
    """The command, to be copied."""
    return shlex.join(["python", "-m", "storage", *words])


# ------------------------------------------------------------------------------------------------- the folder's models


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model file of the folder; ``id`` stands for its name, as that of a recording does."""

    id: str
    path: Path


def models_in(folder: Path) -> list[ModelEntry]:
    """The model files, the newest first. Links are none."""
    files = []
    with os.scandir(folder) as entries:
        for one in entries:
            if one.name.endswith(SUFFIXES) and not one.name.startswith(".") and one.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):  # it has gone meanwhile
                    files.append((-one.stat(follow_symlinks=False).st_mtime, one.name))
    return [ModelEntry(identifier(name), folder / name) for _, name in sorted(files)]


def find_model(folder: Path, id: str) -> Path:
    """A model by its identifier. Raises RefusedError if there is none (any more)."""
    for entry in models_in(folder):
        if entry.id == id:
            return entry.path
    raise RefusedError("there is no such model any more", 404)


def model_facts(entry: ModelEntry) -> dict[str, Any]:
    """What pages show of a model; what is wrong with it is told."""
    from storage.learn.model import load_model

    facts: dict[str, Any] = {"id": entry.id, "name": printable(entry.path.name), "classes": [], "accuracy": None}
    try:
        about = entry.path.stat()
        facts |= {"bytes": about.st_size, "changed": about.st_mtime, "problem": None}
        if entry.path.suffix == SUFFIX:
            model = load_model(entry.path)
            accuracy = model.origin.get("accuracy")
            facts["classes"] = [printable(name) for name in model.classes]
            facts["accuracy"] = accuracy if isinstance(accuracy, float) else None
    except (StorageError, OSError) as error:
        reason = str(error).replace(f"{entry.path.parent}/", "")
        facts = {"bytes": 0, "changed": 0.0, **facts, "problem": printable(reason)}
    return facts
