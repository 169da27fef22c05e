"""Which class a label means: classes keep their names from one start to the next, whatever number they get.

The last line of classes above a number in a label journal says what the number means. So names may come in another
order later: earlier labels keep their class. A class without a name is called by its number, and so is its directory;
it takes the first name that its key is given.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path

from storage.errors import StorageError
from storage.formats.png.directory import class_directories
from storage.formats.table import open_recording
from storage.labels.beside import journal_path
from storage.labels.journal import MAX_LABEL, Classes, Entry, LabelJournal, Labelled, read_journal
from storage.labels.live import entries_beside, entries_waiting
from storage.names import natural_key
from storage.recording import Recording

DEFAULT = Classes(tuple("01234"), tuple("01234"))
"""The classes when none are named."""

_Class = tuple[str, str]
"""The name and the directory of a class."""


def known_classes(entries: Sequence[Entry]) -> Classes:
    """Every class that a journal knows: those of its last line of classes, then others that labels in it have.

    No two have one name or one directory. There are none where the journal has neither classes nor labels.
    """
    if not any(isinstance(entry, Classes | Labelled) for entry in entries):
        return Classes((), ())
    last = next((entry for entry in reversed(entries) if isinstance(entry, Classes)), DEFAULT)
    known = dict(zip(last.names, last.directories, strict=True))
    for name, directory in _waiting(entries):
        if name not in known:
            known[name] = directory if directory not in known.values() else _free_number(known.values())
    return Classes(tuple(known), tuple(known.values()))


def renumbered(entries: Sequence[Entry], classes: Classes) -> Sequence[Entry]:
    """A journal's entries, with labels renumbered as in `classes`; None for a class that it lacks."""
    numbers = {name: number for number, name in enumerate(classes.names)}
    tables = iter([[numbers.get(name) for name, _ in line] for line in _meanings([*_lines(entries), classes])])
    table = next(tables)
    found: list[Entry] = []
    for entry in entries:
        if isinstance(entry, Classes):
            table = next(tables)
        elif isinstance(entry, Labelled) and entry.label is not None and table[entry.label] != entry.label:
            found.append(replace(entry, label=table[entry.label]))
            continue
        found.append(entry)
    return found


def choose_classes(
    path: Path,
    entries: Sequence[Entry],
    names: Sequence[str],
    *,
    in_use: Collection[str] = (),
    by_name: bool | None = None,
) -> Classes:
    """Match the names that are asked for with the classes that a recording has.

    Parameters
    ----------
    path : path
        The recording, for the error.
    entries : sequence of Entry
        Its label journal.
    names : sequence of str
        The classes of the keys 0, 1 …
    in_use : collection of str
        The labels that frames have already: of a data directory, its class directories.
    by_name : bool, optional
        New classes are to lie in directories of their names, or in numbered ones; by default of their names, unless
        frames or known names have numbered ones already.

    Raises
    ------
    StorageError
        Labels have a class that is not asked for, or frames lie in another directory than `by_name` would give them.
    """
    known = known_classes(entries)
    places = dict(zip(known.names, known.directories, strict=True))
    places |= {label: label for label in in_use if label not in places.values() and label not in places}
    _refuse_missing(path, entries, places, in_use, names)
    numbered = [place for name, place in places.items() if place.isdecimal() and (name != place or place in in_use)]
    named = not numbered if by_name is None else by_name
    directories: list[str] = []
    taken = {directory for name, directory in places.items() if name in names or name != directory}
    for number, name in enumerate(names):
        place, key = places.get(name), str(number)
        if place is None and key in in_use and key in places and key not in names:
            place = key  # frames lie there, and have no name yet
        if place is not None and by_name is not None and (place == name) != by_name and not name.isdecimal():
            if place in in_use:
                raise StorageError(f"{path}: frames of class {name!r} are in {place!r} already; leave --class-dirs out")
            place = None
        if place is None:
            place = name if named or name.isdecimal() else str(number)
            if place in taken or place in directories:
                place = _free_number({*taken, *directories, *in_use, *names, *map(str, range(len(names)))})
        directories.append(place)
    return Classes(tuple(names), tuple(directories))


def _refuse_missing(
    path: Path,
    entries: Sequence[Entry],
    places: dict[str, str],
    in_use: Collection[str],
    names: Sequence[str],
) -> None:
    """Raise StorageError if a class with labels or frames would lose its name or its key."""
    known, waiting = known_classes(entries).names, {name for name, _ in _waiting(entries)}
    for name, directory in places.items():
        is_number = name == directory and name in map(str, range(MAX_LABEL + 1))
        if name in names or (is_number and int(name) < len(names) and names[int(name)] not in places):
            continue
        if name in waiting:
            what = f"has labels of class {name!r}"
        elif directory in in_use and (directory != name or name in known):
            what = f"has frames of class {name!r}" + (f" in {directory!r}" if directory != name else "")
        else:
            continue
        way = (
            f"give {int(name) + 1} classes or more"
            if is_number
            else f"name {name!r} too, and label its frames as another class"
        )
        raise StorageError(f"{path} {what}, and you left it out; no class can be renamed: {way} (nothing was changed)")


def _free_number(taken: Collection[str]) -> str:
    return next(number for number in map(str, count()) if number not in taken)


def _lines(entries: Iterable[Entry]) -> list[Classes]:
    return [DEFAULT, *(entry for entry in entries if isinstance(entry, Classes))]


def _waiting(entries: Sequence[Entry]) -> dict[_Class, None]:
    """The classes of the labels in a journal, in the order of their first labels."""
    meanings = iter(_meanings(_lines(entries)))
    line = next(meanings)
    found: dict[_Class, None] = {}
    for entry in entries:
        if isinstance(entry, Classes):
            line = next(meanings)
        elif isinstance(entry, Labelled) and entry.label is not None:
            found[line[entry.label]] = None
    return found


def _meanings(lines: Sequence[Classes]) -> list[list[_Class]]:
    """What each number means below each line of classes, with the names that numbers got further down."""
    found = [_classes(lines[-1])]
    for line, later in reversed(list(pairwise(lines))):
        below = found[-1]
        names_below = [name for name, _ in _classes(later)]
        meant = _classes(line)
        for number, (name, directory) in enumerate(meant):
            if not name == directory == str(number):
                continue
            if name in names_below:
                meant[number] = below[names_below.index(name)]
            elif names_below[number] not in line.names:
                meant[number] = below[number]
        found.append(meant)
    return found[::-1]


def _classes(line: Classes) -> list[_Class]:
    """A class for each key, also for those that have none."""
    given = list(zip(line.names, line.directories, strict=True))
    return given + [(str(number), str(number)) for number in range(len(given), MAX_LABEL + 1)]


# ------------------------------------------------------------------------------------- from one recording to another


def recorded_classes(recording: Recording) -> Classes:
    """The classes of a recording in their order: those that the journal beside it knows, and others that frames have.

    Raises
    ------
    StorageError
        The journal is damaged, or a window has it open.
    """
    return _with_labels(journal_path(recording.path, recording.of_track), recording.class_names, recording)


def names_of_labels(recording: Recording) -> dict[str, str]:
    """The names to show for labels, as far as the journal can be read; a window may have it open meanwhile."""
    return names_beside(recording.path, recording)


def names_beside(path: Path, recording: Recording | None = None) -> dict[str, str]:
    """As `names_of_labels`, without opening the recording."""
    with suppress(StorageError, OSError):
        known = known_classes(entries_beside(recording) if recording else read_journal(journal_path(path)))
        return dict(zip(known.directories, known.names, strict=True))
    return {}


def classes_of_directory(data_dir: Path) -> Classes:
    """As `recorded_classes`, for a data directory without opening it, or any recording."""
    return _with_labels(journal_path(data_dir), labels_in_use(data_dir))


def _with_labels(path: Path, labels: Sequence[str], recording: Recording | None = None) -> Classes:
    entries: list[Entry] = []
    if path.exists():
        with LabelJournal(path) as journal:
            entries = journal.entries
    if recording is not None:
        entries = [*entries, *entries_waiting(recording, entries)]
    known = known_classes(entries)
    more = tuple(label for label in labels if label not in known.directories)
    return Classes((*known.names, *more), (*known.directories, *more))


def classes_together(recordings: Sequence[Path]) -> Classes:
    """The classes of all recordings by name; each goes where the first of them has it.

    Where that is another class's place already, it gets a number that none has. A directory that is a number, and has
    got no name in its data directory, joins the class that has that number.

    Raises
    ------
    StorageError
        A journal is damaged, or a window has it open.
    """
    found: dict[str, str] = {}
    unnamed: set[str] = set()
    of_each = [classes_of_directory(path) for path in recordings]
    taken = {word for classes in of_each for word in (*classes.names, *classes.directories)}
    for path, classes in zip(recordings, of_each, strict=True):
        for name, place in zip(classes.names, classes.directories, strict=True):
            if name == place and (name.isdecimal() or not journal_path(path).exists()):
                unnamed.add(name)
            elif name not in found:
                found[name] = _free_number(taken) if place in found.values() else place
                taken.add(found[name])
    more = sorted(unnamed - {*found, *found.values()}, key=natural_key)
    return Classes((*found, *more), (*found.values(), *more))


def labels_in_use(path: Path) -> list[str]:
    """The classes that frames of a recording have, journal aside; none if there is no recording yet."""
    if path.is_dir():
        return [directory.name for directory in class_directories(path)]
    if not path.exists():
        return []
    with open_recording(path) as recording:
        recording.lost_labels = []  # of no interest here
        return recording.class_names


def keep_classes(path: Path, classes: Classes) -> None:
    """Store what the labels of a new recording mean, unless their numbers follow from the names; durable on return.

    Raises
    ------
    StorageError
        The journal can't be written.
    """
    if classes.names == classes.directories and list(classes.names) == sorted(classes.names, key=natural_key):
        return
    with LabelJournal(journal_path(path)) as journal:
        if known_classes(journal.entries) != classes:
            journal.append(classes)
            journal.sync()
