"""Pictures made ready in a thread of their own, which nothing may end."""

from __future__ import annotations

import numpy as np

from classify.pictures import Pictures
from storage import Frame


def test_a_frame_that_no_library_understands_is_unreadable_and_holds_nothing_up() -> None:
    def read(position: int) -> Frame:
        if position == 1:
            raise RuntimeError("what is this?")
        return Frame(np.zeros((2, 3, 3), np.uint8), position, position)

    pictures = Pictures(3, read)
    assert [pictures.get(position).error for position in range(3)] == ["", "what is this?", ""]
    assert 1 in pictures.take_unreadable()
    pictures.close()
