"""Training frameworks and players themselves read what this project writes. `scripts/reader_tests.sh` runs this."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from storage import open_recording
from storage.cli import main
from tests.commands.test_players import RATE, recorded, recorded_on
from tests.support import REPOSITORY
from tests.support.labelled import record

pytestmark = pytest.mark.readers


def documented(reader: str) -> str:
    """The call that docs/datasets.md gives for a reader."""
    lines = (REPOSITORY / "docs/datasets.md").read_text().splitlines()
    (row,) = [line for line in lines if line.startswith(f"| {reader} |")]
    return row.split("`")[1]


@pytest.fixture
def sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Counter[str]]:
    """In the current directory: day1, split, with frames without a class. How many frames each class has."""
    monkeypatch.chdir(tmp_path)
    record(Path("day1"), [name for name in ["0", "1", "door"] * 4 for _ in range(20)] + [None] * 5, size=(48, 40))
    assert main(["split", "day1", "--val", "0.2", "--gap", "1"]) == 0
    return {side: Counter(path.parent.name for path in Path(side).glob("*/*.png")) for side in ("day1", "val_day1")}


def test_hugging_face(sides: dict[str, Counter[str]]) -> None:
    import datasets

    found = eval(documented("Hugging Face datasets"), vars(datasets))
    classes = {side: Counter(map(rows.features["label"].int2str, rows["label"])) for side, rows in found.items()}
    assert classes == {"train": sides["day1"], "validation": sides["val_day1"]}
    assert "label" not in datasets.load_dataset("imagefolder", data_dir="day1")["train"].features


def test_torchvision(sides: dict[str, Counter[str]]) -> None:
    import torchvision

    found = eval(documented("torchvision"), {"torchvision": torchvision})
    assert Counter(found.classes[number] for number in found.targets) == sides["day1"]
    Path("day1/7").mkdir()
    with pytest.raises(FileNotFoundError, match="7"):
        torchvision.datasets.ImageFolder("day1")


def test_ultralytics(sides: dict[str, Counter[str]]) -> None:
    from ultralytics import YOLO

    subprocess.run(["sh", "-ec", documented("Ultralytics")], check=True)
    model = YOLO("yolo11n-cls.yaml")
    model.train(data="set", epochs=1, imgsz=32, workers=0, device="cpu", plots=False, project="runs")
    assert list(model.names.values()) == sorted(sides["day1"])
    assert len(model.trainer.train_loader.dataset) == sides["day1"].total()
    assert len(model.trainer.test_loader.dataset) == sides["val_day1"].total()


@pytest.mark.parametrize("name", ["day.mkv", "phone.mp4", "day.h5"])
def test_forked_workers_of_pytorch(tmp_path: Path, name: str) -> None:
    """The parent has read a frame before they are forked, and reads on between the epochs."""
    import torch

    path = recorded(tmp_path)
    if name == "phone.mp4":
        subprocess.run(["ffmpeg", "-v", "error", "-i", path, "-pix_fmt", "yuv420p", tmp_path / name], check=True)
    elif name == "day.h5":
        assert main(["convert", str(path), str(tmp_path / name)]) == 0
    with open_recording(tmp_path / name) as recording:

        class Frames(torch.utils.data.Dataset):
            def __len__(self) -> int:
                return len(recording)

            def __getitem__(self, index: int) -> tuple[int, int]:
                return index, int(recording[index].pixels.sum())

        frames = Frames()
        loader = torch.utils.data.DataLoader(
            frames, batch_size=4, shuffle=True, num_workers=2, multiprocessing_context="fork", timeout=60
        )
        wanted = [frames[0]]
        for _ in range(2):
            read = sorted((int(n), int(s)) for numbers, sums in loader for n, s in zip(numbers, sums, strict=True))
            wanted = [frames[index] for index in range(len(frames))]
            assert read == wanted


@pytest.mark.parametrize("make", [recorded, recorded_on])
def test_torchcodec_takes_the_sound(tmp_path: Path, make: object) -> None:
    from torchcodec.decoders import AudioDecoder, VideoDecoder

    assert callable(make)
    path = make(tmp_path)
    assert AudioDecoder(path).metadata.sample_rate == RATE
    with open_recording(path) as recording:
        assert len(VideoDecoder(path)) == len(recording)


@pytest.mark.parametrize("make", [recorded, recorded_on])
def test_vlc_takes_the_sound(tmp_path: Path, make: object) -> None:
    assert callable(make)
    to_wav = ["--no-sout-all", "--no-sout-video", "--sout", "#transcode{acodec=s16l}:std{access=file,mux=wav,dst=-}"]
    with make(tmp_path).open("rb") as file:  # which VLC's user may not open: it refuses to run as root
        done = subprocess.run(
            ["cvlc", "-q", *to_wav, "fd://0", "vlc://quit"], stdin=file, capture_output=True, check=True, timeout=60,
            user=65534 if os.geteuid() == 0 else None, env={**os.environ, "HOME": "/nonexistent"},
        )  # fmt: skip
    assert struct.unpack_from("<HI", done.stdout, 22) == (1, RATE)  # channels and rate in a WAV file's head


def test_octave_loads_the_frames_and_times(tmp_path: Path) -> None:
    import h5py

    command = [sys.executable, "-m", "pi_capture", "day1.h5", "1", "--camera", "demo"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (load,) = [
        code for code in (REPOSITORY / "docs/formats.md").read_text().split("`") if code.startswith("load -hdf5 ")
    ]
    script = (
        f"{load}; disp(unix_ns(1)); disp(unix_ns(end)); disp(label(1)); disp(frames(3, 2, 1, end)); disp(size(frames))"
    )
    done = subprocess.run(
        ["octave-cli", "-qf", "--eval", script], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    with h5py.File(tmp_path / "day1.h5") as file:
        frames, unix_ns = file["frames"], file["unix_ns"]
        wanted = [unix_ns[0], unix_ns[-1], -1, frames[-1, 0, 1, 2], *reversed(frames.shape)]
    assert [int(word) for word in done.stdout.split()] == wanted
