"""Readers in forked processes: PyTorch's DataLoader forks its workers from a process that has read frames already."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from storage import open_recording
from storage.formats.video.writer import VideoWriter
from storage.frame import Frame
from storage.recording import Recording
from tests.support import PATIENCE_SECONDS

COUNT = 24
SHAPE = (360, 640, 3)  # large enough for FFmpeg to decode and scale in several threads


def recorded(path: Path, codec: str) -> None:
    draw = np.random.default_rng(5)
    with closing(VideoWriter(path, codec=codec)) as writer:
        for n in range(COUNT):
            pixels = np.full(SHAPE, 9 * n, np.uint8)
            pixels[:64, :64] = draw.integers(0, 256, (64, 64, 3), np.uint8)
            writer.append(writer.encode(Frame(pixels, n, n * 10**8)))


def made_elsewhere(path: Path) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = SHAPE[1], SHAPE[0], "yuv420p"
        for n in range(COUNT):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full(SHAPE, 9 * n, np.uint8))))
        container.mux(stream.encode(None))


def levels(recording: Recording, indices: range) -> list[int]:
    return [round(float(recording[n].pixels[100:].mean())) for n in indices]


@pytest.mark.parametrize("name", ["ffv1.mkv", "mjpeg.mkv", "h264.mkv", "phone.mp4"])
def test_workers_that_were_forked_after_the_first_frame_read_all_others(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".mkv":
        recorded(path, path.stem)
    else:
        made_elsewhere(path)
    with open_recording(path) as recording:
        wanted = levels(recording, range(COUNT))
        levels(recording, range(3))  # the decoder is within the file
        context = multiprocessing.get_context("fork")
        results = context.SimpleQueue()

        def work(first: int) -> None:
            found = levels(recording, range(first, COUNT, 2))
            recording.close()
            results.put((first, found))

        workers = [context.Process(target=work, args=(first,), daemon=True) for first in (0, 1)]
        for worker in workers:
            worker.start()
        assert levels(recording, range(COUNT)) == wanted  # while they read the same file
        for worker in workers:
            worker.join(PATIENCE_SECONDS)
        hung = [worker for worker in workers if worker.is_alive()]
        for worker in hung:
            worker.kill()
        assert not hung, "a worker waits for ever"
        assert dict(results.get() for _ in workers) == {first: wanted[first::2] for first in (0, 1)}


def test_a_fork_while_another_thread_reads(tmp_path: Path) -> None:
    path = tmp_path / "day1.mkv"
    recorded(path, "h264")
    with open_recording(path) as recording:
        wanted, over = levels(recording, range(COUNT)), threading.Event()

        def read_on() -> None:
            while not over.is_set():
                levels(recording, range(COUNT))

        thread = threading.Thread(target=read_on)
        thread.start()
        worker = multiprocessing.get_context("fork").Process(
            target=lambda: levels(recording, range(COUNT)) == wanted or sys.exit(1), daemon=True
        )
        worker.start()
        worker.join(PATIENCE_SECONDS)
        if worker.is_alive():
            worker.kill()
        over.set()
        thread.join()
        assert worker.exitcode == 0
