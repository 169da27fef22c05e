"""Which recordings IN holds, a directory or a bucket, from the names of its files alone: nothing is opened."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain
from pathlib import Path, PurePosixPath

from storage.batch.places import OWN, Directory, Entry, Place, open_place
from storage.errors import OptionError, StorageError
from storage.formats.png.directory import FRAME_NAME, MOVES_NAME
from storage.formats.table import all_formats
from storage.labels.beside import JOURNAL_NAME
from storage.sessions import SESSIONS_NAME

log = logging.getLogger(__name__)
OF_A_DIRECTORY = (SESSIONS_NAME, JOURNAL_NAME, MOVES_NAME)
FINGERPRINT_DIGITS = 16


@dataclass(frozen=True)
class Source:
    """A recording to work on.

    Attributes
    ----------
    key : str
        Its path in IN, with ``/``.
    place : Place
        Where it is.
    entries : tuple of Entry
        Its files; of a directory all, of a file those beside it too, such as a table of labels.
    """

    key: str
    place: Place
    entries: tuple[Entry, ...]

    @property
    def bytes(self) -> int:
        return sum(entry.size for entry in self.entries)

    @cached_property
    def fingerprint(self) -> str:
        """Another one when a file was added, removed, renamed or changed."""
        return fingerprint(f"{entry.key}\0{entry.size}\0{entry.tag}" for entry in self.entries)


def fingerprint(parts: Iterable[str]) -> str:
    """A short text that stands for some texts and their order."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode(errors="surrogateescape") + b"\n")
    return digest.hexdigest()[:FINGERPRINT_DIGITS]


def list_recordings(inputs: Sequence[str], out: str, steps: Sequence[str] = ()) -> list[Source]:
    """The recordings in some places, in the order of their names.

    Each place is a recording, or a directory with recordings somewhere in it. A data directory is one with
    ``recording.json`` or numbered frames; all else are files with a suffix that a format has. Hidden names are left
    out.

    Raises
    ------
    StorageError
        There is none; two have the same name from their IN on, or one lies in the other by its name; OUT lies in IN, or
        IN where results of `steps` go; or a place can't be read.
    """
    found: dict[str, Source] = {}
    for name in inputs:
        for results in (f"{out.rstrip('/')}/{step}" for step in steps):
            if _is_in(name, results):
                raise OptionError(f"{name} lies in {results}, where results would replace it; choose another OUT")
        here = _recordings_of(name, out)
        if not here:
            raise StorageError(f"{name} holds no recording")
        for source in here:
            if source.key in found:
                other = found[source.key].place.url
                raise OptionError(f"{name} and {other} both hold {source.key}; give the directory that holds both")
            found[source.key] = source
    for key in found:
        for above in map(str, PurePosixPath(key).parents):
            if above in found:
                raise OptionError(f"{key} would lie in the results of {above}; give the directory that holds both")
    return [found[key] for key in sorted(found)]


def _recordings_of(name: str, out: str) -> list[Source]:
    suffixes = tuple(suffix for row in all_formats() for suffix in (row.suffix, *row.also_reads) if suffix)
    if "://" not in name:
        path = Path(name)
        if not path.exists():
            raise StorageError(f"{name}: no such file or directory")
        if "://" not in out and path.is_dir() and Path(out).resolve().is_relative_to(path.resolve()):
            raise OptionError(f"{out} lies in {name}, where its files would be recordings; choose one beside it")
        if path.is_file():
            parent = Directory(path.absolute().parent)
            return _grouped(parent, sorted(parent.beside(path.name), key=lambda one: one.key), suffixes)
    elif out == name.rstrip("/") or out.startswith(f"{name.rstrip('/')}/"):
        raise OptionError(f"{out} lies in {name}, where its files would be recordings; choose one beside it")
    else:
        above, _, own = name.rpartition("/")
        if "://" in above and own.lower().endswith(suffixes):
            beside = sorted(open_place(above).beside(own), key=lambda one: one.key)
            if beside and beside[0].key == own:  # and no directory of such a name
                return _grouped(open_place(above), beside, suffixes)
    place = open_place(name)
    sources = _grouped(place, _visible(place.entries()), suffixes)
    if any(not source.key for source in sources):  # IN is a data directory itself
        parent_name, _, own = (str(Path(name).absolute()) if "://" not in name else place.url).rpartition("/")
        entries = tuple(Entry(f"{own}/{one.key}", one.size, one.tag) for one in sources[0].entries)
        return [Source(own, open_place(parent_name or "/"), entries)]
    return sources


def _is_in(name: str, place: str) -> bool:
    if "://" in name or "://" in place:
        return f"{name.rstrip('/')}/".startswith(f"{place}/")
    return Path(name).resolve().is_relative_to(Path(place).resolve())


def _visible(entries: Iterable[Entry]) -> list[Entry]:
    visible = (one for one in entries if not f"/{one.key}".count("/.") and not one.key.startswith(f"{OWN}/"))
    return sorted(visible, key=lambda one: one.key)


def _grouped(place: Place, entries: Sequence[Entry], suffixes: tuple[str, ...]) -> list[Source]:
    """Recordings from sorted files: each takes its own, and what is left over is of none."""
    homes = {_parent(one.key) for one in entries if _name(one.key) in OF_A_DIRECTORY}
    files = (_parent(one.key) for one in entries if one.key.lower().endswith(suffixes))
    of_others = {above for inner in chain(files, map(_parent, homes - {""})) for above in _with_parents(inner)}
    for directory in {_parent(one.key) for one in entries if FRAME_NAME.fullmatch(_name(one.key))}:
        if not any(above in homes for above in _with_parents(directory)):
            name = _name(directory)
            frames = _parent(directory) if name.isdigit() and len(name) <= 3 else directory  # `locate` says the same
            if frames in of_others:  # a picture that strayed there must not hide them
                log.warning("%s/%s holds recordings; the numbered pictures in it are left out", place.url, frames)
            else:
                homes.add(frames)

    @cache
    def home_of(directory: str) -> str | None:
        return next((above for above in reversed(_with_parents(directory)) if above in homes), None)

    groups: dict[str, list[Entry]] = {}
    for one in entries:
        if (home := home_of(_parent(one.key))) is not None:
            groups.setdefault(home, []).append(one)
        elif one.key.lower().endswith(suffixes):
            groups[one.key] = [one]
    for one in entries:  # a table or a journal of labels lies beside its recording
        stem = one.key
        while one.key not in groups and "." in _name(stem):
            stem = stem.rpartition(".")[0]
            if stem in groups and stem not in homes:
                groups[stem].append(one)
                break
    return [Source(key, place, tuple(groups[key])) for key in sorted(groups)]


def _parent(key: str) -> str:
    return key.rpartition("/")[0]


def _name(key: str) -> str:
    return key.rpartition("/")[2]


def _with_parents(directory: str) -> list[str]:
    """A directory and those above it, itself first; the last one is IN, an empty text."""
    parents = [str(one) for one in PurePosixPath(directory).parents if str(one) != "."] if directory else []
    return [*([directory] if directory else []), *parents, ""]
