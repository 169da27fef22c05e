"""How often a classifier is right, where the true class of frames is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from pi_capture.recording.verdicts import Verdict


class Score:
    """Counts verdicts beside true classes; `classes` are the model's."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = classes
        self._counts: Counter[tuple[str, str]] = Counter()  # (true class, the frame's own verdict)
        self._right_as_said = 0

    def add(self, truth: str, verdict: Verdict) -> None:
        """Count a frame with a label."""
        self._counts[truth, verdict.alone] += 1
        self._right_as_said += verdict.name == truth

    @property
    def frames(self) -> int:
        return self._counts.total()

    @property
    def facts(self) -> dict[str, Any]:
        """What a program is told: ``accuracy`` of each frame by itself, ``accuracy_as_said``, smoothed and therefore
        late, both 0 to 1; and ``confusion``: for each true class, how often each class was said.
        """
        confusion: dict[str, dict[str, int]] = {}
        for truth, said in sorted(self._counts):
            confusion.setdefault(truth, {})[said] = self._counts[truth, said]
        return {
            "labelled": self.frames,
            "accuracy": round(self._right / self.frames, 4),
            "accuracy_as_said": round(self._right_as_said / self.frames, 4),
            "confusion": confusion,
        }

    def lines(self) -> list[str]:
        """For people: the accuracy, and a table with a row for each true class, a column for each said one."""
        others = sorted({truth for truth, _ in self._counts} - set(self._classes))
        truths = [name for name in (*self._classes, *others) if any(truth == name for truth, _ in self._counts)]
        wide = max(len(name) for name in (*self._classes, *truths, "is, said:")) + 2
        rows = [[str(self._counts[truth, said]) for said in self._classes] for truth in truths]
        table = [["is, said:", *self._classes], *([truth, *row] for truth, row in zip(truths, rows, strict=True))]
        lines = [row[0].ljust(wide) + "".join(cell.rjust(wide) for cell in row[1:]) for row in table]
        accuracy, as_said = self._right / self.frames, self._right_as_said / self.frames
        head = f"accuracy {accuracy:.3f} of {self.frames} labelled frames, each by itself; {as_said:.3f} as it was said"
        return [*lines, head]

    @property
    def _right(self) -> int:
        return sum(count for (truth, said), count in self._counts.items() if truth == said)
