"""Descriptions: of single pictures and of recordings, which agree; and what the cache keeps of them."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from storage.care.split import split
from storage.convert.convert import convert
from storage.errors import StorageError
from storage.formats.features.extractor import Extractor
from storage.formats.table import open_recording
from storage.learn.describe import KEPT_DAYS, NUMBERS, Describer, Descriptions, concatenated, describe_recording
from tests.support.scenes import record_acts


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pi-capture" / "descriptions"


@pytest.fixture
def day(tmp_path: Path) -> Path:
    record_acts(tmp_path / "day1", ["0", "1", None, "door"], seconds=1)
    return tmp_path / "day1"


def thumbnails(path: Path) -> np.ndarray:
    with open_recording(path) as recording:
        described = describe_recording(recording, None)
    assert described.features is None and described.thumbnails is not None
    return described.thumbnails


def computed(path: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether describing a recording reads all of its frames, and does not take them from the cache."""
    with monkeypatch.context() as patch:
        patch.setattr("storage.learn.describe._compute", lambda *_: pytest.fail("computed"))
        try:
            thumbnails(path)
        except pytest.fail.Exception:
            return True
    return False


def test_a_recording_is_described_as_its_pictures_are(day: Path) -> None:
    described = thumbnails(day)
    describer = Describer("thumbnail")
    with open_recording(day) as recording:
        alone = np.stack([describer.describe(frame.pixels) for frame in recording])
    assert alone.shape == (40, NUMBERS["thumbnail"]) and alone.dtype == np.float32
    assert np.array_equal(alone, described)


def test_features_and_both(day: Path, mobilenet: Path, tmp_path: Path) -> None:
    extractor = Extractor(mobilenet)
    with open_recording(day) as recording:
        described = describe_recording(recording, extractor)
        again = describe_recording(recording, extractor)
        pixels = recording[13].pixels
    assert described.kinds == ("features", "both", "thumbnail")
    for kind in described.kinds:
        alone = Describer(kind, mobilenet.read_bytes()).describe(pixels)
        assert alone.shape == (NUMBERS[kind],)
        np.testing.assert_allclose(described.of(kind)[13], alone, rtol=1e-6)
        assert np.array_equal(described.of(kind), again.of(kind))
    convert(day, tmp_path / "day1.features.h5", weights=mobilenet)
    with open_recording(tmp_path / "day1.features.h5") as features:
        kept = describe_recording(features, None)
    assert kept.kinds == ("features",)
    np.testing.assert_allclose(kept.of("features"), described.of("features"), rtol=1e-6)
    assert concatenated([described, kept]).kinds == ("features",)


def test_a_thumbnail_shows_the_centre_upright() -> None:
    pixels = np.zeros((90, 160, 3), np.uint8)
    pixels[:45, 35:80] = 255  # the left upper quarter of the square in the middle
    small = Describer("thumbnail").describe(pixels).reshape(16, 16)
    assert small[1:7, 1:7].min() > 0.95 and small[9:].max() < 0.05 and small[:, 9:].max() < 0.05


def test_no_kind_but_the_thumbnail_goes_without_a_network() -> None:
    with pytest.raises(StorageError, match="need a network"):
        Describer("both")
    with pytest.raises(StorageError, match="the network is no MobileNet that LiteRT can run"):
        Describer("features", b"nonsense" * 100)


def test_sorting_frames_leaves_the_cache_valid_and_other_frames_do_not(
    day: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = thumbnails(day)
    frame = next((day / "door").iterdir())
    frame.rename(day / "0" / frame.name)
    assert not computed(day, monkeypatch)
    assert np.array_equal(thumbnails(day), before)
    other = next((day / "1").iterdir())
    shutil.copyfile(next((day / "0").iterdir()), other)
    assert computed(day, monkeypatch)
    record_acts(day, ["0"], seconds=1)
    assert computed(day, monkeypatch) and len(thumbnails(day)) == 50


def test_a_recording_in_one_file_is_known_by_its_times_and_pictures(
    day: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(day, tmp_path / "day1.mkv")
    described = thumbnails(tmp_path / "day1.mkv")
    np.testing.assert_allclose(described, thumbnails(day), atol=1e-6)
    (tmp_path / "day1.mkv").rename(tmp_path / "day9.mkv")
    assert not computed(tmp_path / "day9.mkv", monkeypatch)


@pytest.mark.parametrize("damage", [b"", b"no zip", None], ids=["empty", "other", "a flipped bit"])
def test_a_damaged_file_in_the_cache_is_computed_anew(day: Path, cache: Path, damage: bytes | None) -> None:
    before = thumbnails(day)
    (kept,) = cache.iterdir()
    data = bytearray(kept.read_bytes())
    data[len(data) // 2] ^= 1
    kept.write_bytes(data if damage is None else damage)
    assert np.array_equal(thumbnails(day), before)


def test_the_cache_forgets_what_was_not_used_for_long(day: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    old, recent = cache / "a.thumbnail.npz", cache / "b.thumbnail.npz"
    for path, days in ((old, KEPT_DAYS + 1), (recent, KEPT_DAYS - 1)):
        path.touch()
        os.utime(path, (time.time() - days * 86400,) * 2)
    thumbnails(day)
    assert not old.exists() and recent.exists() and len(list(cache.iterdir())) == 2


def test_a_cache_that_can_not_be_written_costs_only_time(day: Path, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"a file")
    assert thumbnails(day).shape == (40, 256)


def test_a_damaged_frame_is_described_by_no_numbers(day: Path) -> None:
    (day / "1" / "00000015.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    described = thumbnails(day)
    assert np.isnan(described[15]).all() and np.isfinite(np.delete(described, 15, axis=0)).all()


def test_what_progress_raises_ends_the_work(day: Path, cache: Path) -> None:
    def enough(done: int, total: int) -> None:
        assert total == 40
        if done == 7:
            raise KeyboardInterrupt

    with open_recording(day) as recording, pytest.raises(KeyboardInterrupt):
        describe_recording(recording, None, progress=enough)
    assert not cache.exists()


def test_what_one_recording_lacks_all_lack() -> None:
    whole = Descriptions(np.zeros((2, 256), np.float32), np.zeros((2, 256), np.float32))
    assert concatenated([whole, Descriptions(None, whole.thumbnails)]).kinds == ("thumbnail",)


def test_what_a_split_leaves_is_another_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    day = tmp_path / "day2"
    record_acts(day, ["0", "1"] * 12)
    thumbnails(day)
    split(day, val=0.25, gap=0.5)
    assert computed(day, monkeypatch) and len(thumbnails(day)) < 720


def test_a_frame_that_can_be_read_again_is_described_again(day: Path, cache: Path) -> None:
    frame = day / "1" / "00000015.png"
    state, aside = frame.stat(), frame.read_bytes()
    frame.write_bytes(b"x" * len(aside))
    os.utime(frame, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert np.isnan(thumbnails(day)[15]).all() and not cache.exists()
    frame.write_bytes(aside)
    os.utime(frame, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert np.isfinite(thumbnails(day)).all() and cache.exists()
