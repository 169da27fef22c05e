"""How often a classifier was right, where the true class of frames is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


class Score:
    """Counts true classes beside those that were said; `classes` are the model's."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = classes
        self.counts: Counter[tuple[str, str]] = Counter()  # (true class, said class)

    def add(self, truth: str, said: str | None) -> None:
        """Count a frame with a label; "" is what was said where nothing was."""
        self.counts[truth, said or ""] += 1

    @property
    def frames(self) -> int:
        return self.counts.total()

    @property
    def accuracy(self) -> float:
        """The share of frames of which the right class was said: 0 to 1; 0 without frames."""
        right = sum(count for (truth, said), count in self.counts.items() if truth == said)
        return right / self.frames if self.frames else 0.0

    @property
    def confusion(self) -> dict[str, dict[str, int]]:
        """For each true class, how often each class was said of it."""
        rows: dict[str, dict[str, int]] = {}
        for truth, said in sorted(self.counts):
            rows.setdefault(truth, {})[said] = self.counts[truth, said]
        return rows

    def table(self) -> str:
        """Lines of text: a row for each true class, a column for each said one."""
        said = [*self._classes, *([""] if any(not one for _, one in self.counts) else [])]
        truths = sorted(
            {truth for truth, _ in self.counts},
            key=lambda one: (one not in said, said.index(one) if one in said else one),
        )
        wide = max(len(name) for name in (*said, *truths, "nothing")) + 2
        heading = "is \\ said".ljust(wide) + "".join((name or "nothing").rjust(wide) for name in said)
        rows = [
            truth.ljust(wide) + "".join(str(self.counts[truth, name]).rjust(wide) for name in said) for truth in truths
        ]
        return "\n".join([heading, *rows])
