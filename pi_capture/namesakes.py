"""Modules of others under the names of our packages, which Python may import instead of ours."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("pi_capture", "storage", "classify")
DISTRIBUTION = "pi-capture"
ROOT = Path(__file__).parents[1]


def complaint(names: tuple[str, ...]) -> str | None:
    """Return one line for a user whose Python would import another module than ours; None if all is well."""
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None and _is_foreign(Path(spec.origin), name):
            return f"{spec.origin} hides the package {name} that belongs to {DISTRIBUTION}; rename it, or remove it"
    return None


def in_working_directory() -> Iterator[tuple[str, Path]]:
    """Yield a package of ours, and the user's own file here that ``python -m`` would run instead."""
    for name in PACKAGES:
        for path in (Path.cwd() / f"{name}.py", Path.cwd() / name / "__init__.py"):
            if path.is_file() and _is_foreign(path, name):
                yield name, path


def of_other_distributions() -> Iterator[tuple[str, str]]:
    """Yield a package of ours, and another installed distribution that has one of this name."""
    from importlib.metadata import packages_distributions

    owners = packages_distributions()
    for name in PACKAGES:
        yield from ((name, owner) for owner in sorted(set(owners.get(name, ())) - {DISTRIBUTION}))


def _is_foreign(path: Path, name: str) -> bool:
    return os.path.realpath(path) != os.path.realpath(ROOT / name / "__init__.py")
