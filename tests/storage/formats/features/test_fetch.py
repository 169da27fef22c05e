"""The weights that are fetched, from a server on this machine that stands for the real one."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from email.message import Message
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.response import addinfourl

import numpy as np
import pytest

from storage import StorageError
from storage.formats.features.export import export_model
from storage.formats.features.extractor import Extractor
from storage.formats.features.fetch import MEMBER, URL, fetch
from tests.conftest import picture
from tests.storage.formats.features.test_recording import refusal, run

# As the model garden's: pictures from -1 to 1, 1001 classes of ImageNet; the features are an array on the way.
GARDEN = """
import sys
import keras, numpy as np, tensorflow as tf
keras.utils.set_random_seed(7)
model = keras.applications.MobileNet((128, 128, 3), 0.25, weights=None, classes=1001)
for layer in model.layers:
    if isinstance(layer, keras.layers.BatchNormalization):
        layer.momentum = 0.0
model(np.random.uniform(-1, 1, (8, 1, 1, 3)) * np.random.uniform(0, 1, (8, 128, 128, 3)), training=True)
open(sys.argv[1] + "/garden.tflite", "wb").write(tf.lite.TFLiteConverter.from_keras_model(model).convert())
pooled = keras.Model(model.input, next(one for one in model.layers if "average_pooling" in one.name).output)
pictures = np.load(sys.argv[1] + "/pictures.npy").astype("f4") / 127.5 - 1
np.save(sys.argv[1] + "/features.npy", pooled.predict(pictures, verbose=0).reshape(-1, 256))
"""


@pytest.fixture(scope="module")
def garden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a network like the model garden's, in its archive; pictures, and what Keras makes of them."""
    directory = tmp_path_factory.mktemp("garden")
    np.save(directory / "pictures.npy", np.stack([picture(n, (128, 128)) // (1 + n % 3) for n in range(6)]))
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    program = [sys.executable, "-c", GARDEN, str(directory)]
    subprocess.run(program, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with tarfile.open(directory / "garden.tgz", "w:gz") as archive:
        for name, content in (("info.txt", b"hello"), (MEMBER, (directory / "garden.tflite").read_bytes())):
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return directory


class Server(ThreadingHTTPServer):
    """Serves one archive: by ranges unless `whole`, `breaking` off after so many bytes."""

    daemon_threads = True

    def __init__(self, content: bytes, *, whole: bool = False, breaking: int = 0) -> None:
        self.content, self.whole, self.breaking = content, whole, breaking
        self.asked: list[str | None] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/weights.tgz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        begin = 0 if asked is None or self.server.whole else int(asked.removeprefix("bytes=").rstrip("-"))
        content = self.server.content[begin:]
        if begin == len(self.server.content):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        if begin:
            size = len(self.server.content)
            self.send_header("Content-Range", f"bytes {begin}-{size - 1}/{size}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: self.server.breaking or None])

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def archive(garden: Path) -> bytes:
    return (garden / "garden.tgz").read_bytes()


def test_what_is_fetched_gives_the_features_of_keras(tmp_path: Path, garden: Path, archive: bytes) -> None:
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    with serving(Server(archive)) as server:
        done = run("pi_capture", "export-model", "--weights", server.url, **cache)
        again = run("pi_capture", "export-model", "--weights", server.url, **cache)
        assert len(server.asked) == 1  # once
    made = Path(done.stdout.strip())
    sha256 = hashlib.sha256(made.read_bytes()).hexdigest()
    assert (done.returncode, again.stdout) == (0, done.stdout) and sha256 in done.stderr, done
    assert made.read_bytes() == (garden / "garden.tflite").read_bytes()
    assert sorted(file.name for file in made.parent.iterdir()) == [made.name, f"{made.name}.sha256"]
    extractor = Extractor(made)
    expected = np.load(garden / "features.npy")
    assert expected.std(axis=0).mean() > 0.01, "the network sees no difference between pictures"
    for pixels, features in zip(np.load(garden / "pictures.npy"), expected, strict=True):
        assert np.abs(extractor.extract(pixels) - features).max() < 1e-4
    recorded = run("pi_capture", tmp_path / "day1.features.h5", 1, "--camera", "demo", "--fps", 5, **cache)
    assert recorded.returncode == 0, recorded
    assert extractor.sha256 == sha256


@pytest.mark.parametrize("whole", [False, True], ids=["by ranges", "from the beginning"])
def test_a_fetch_goes_on_where_it_broke_off(tmp_path: Path, archive: bytes, whole: bool) -> None:
    target = tmp_path / "made.tflite"
    seen: list[tuple[int, int]] = []
    with serving(Server(archive, whole=whole, breaking=100_000)) as server:
        with pytest.raises(StorageError, match="the connection broke after 100000 of"):
            fetch(server.url, target)
        assert not target.exists()
        server.breaking = 0
        fetch(f"{server.url}#sha256={hashlib.sha256(archive).hexdigest()}", target, lambda *now: seen.append(now))
        assert server.asked == [None, "bytes=100000-"]
    assert seen[-1] == (len(archive), len(archive)) and (seen[0][0] > 100_000) is not whole
    assert Extractor(target).extract(picture(1)).shape == (256,)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_fetch_that_was_killed_before_its_end_goes_on(tmp_path: Path, archive: bytes) -> None:
    target = tmp_path / "made.tflite"
    with serving(Server(archive)) as server:
        server.breaking = 1
        with pytest.raises(StorageError):
            fetch(server.url, target)
        (partial,) = tmp_path.iterdir()
        partial.write_bytes(archive)  # all of it came, and then it was killed
        fetch(server.url, target)
        assert server.asked == [None, f"bytes={len(archive)}-"]
    assert target.exists()


def test_what_is_not_the_archive_is_not_used(tmp_path: Path, archive: bytes) -> None:
    target = tmp_path / "made.tflite"
    other = bytearray(archive)
    other[-1] ^= 1
    with serving(Server(bytes(other))) as server, pytest.raises(StorageError, match="its SHA-256 is") as told:
        fetch(f"{server.url}#sha256={hashlib.sha256(archive).hexdigest()}", target)
    assert hashlib.sha256(other).hexdigest() in str(told.value)
    empty = io.BytesIO()
    tarfile.open(fileobj=empty, mode="w:gz").close()
    for content, reason in (
        (b"<html>", "is no archive"),
        (archive[:9000], "is no archive"),
        (empty.getvalue(), "has no"),
    ):
        with serving(Server(content)) as server, pytest.raises(StorageError, match=reason):
            fetch(server.url, target)
    assert not list(tmp_path.iterdir())  # and the next fetch begins anew


def test_addresses(tmp_path: Path, archive: bytes) -> None:
    assert URL.startswith("https://") and len(URL.partition("#sha256=")[2]) == 64
    for url in ("http://example.org/weights.tgz", "file:///etc/passwd", "ftp://127.0.0.1/weights.tgz"):
        with pytest.raises(StorageError, match="over https:// only"):
            fetch(url, tmp_path / "made.tflite")
    server = Server(archive)
    server.server_close()
    line = refusal(run("pi_capture", "export-model", "--weights", server.url, XDG_CACHE_HOME=str(tmp_path)))
    assert "can't be fetched" in line and "refused" in line and "--weights FILE" in line


def test_a_network_that_swallows_what_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, begun = tmp_path / "made.tflite", b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nbegun"
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening, ExitStack() as senders:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/weights.tgz"
        for seconds, answer in ((2.0, begun), (0.2, b"")):  # less than was promised, or nothing
            monkeypatch.setattr("storage.formats.features.fetch.SILENT_SECONDS", seconds)
            send = partial(lambda sent: senders.enter_context(listening.accept()[0]).sendall(sent), answer)
            (sender := threading.Thread(target=send)).start()
            with pytest.raises(
                StorageError, match=rf"127.0.0.1: nothing came for {seconds:g} s.*another machine.* --weights"
            ):
                fetch(url, target)
            sender.join()
        assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"begun"]  # for the next time
        senders.enter_context(socket.create_connection(listening.getsockname()))  # the only one that may wait
        with pytest.raises(StorageError, match=r"nothing came for 0\.2 s"):
            fetch(url, target)
    swallowed = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: swallowed.wait(30))
    with pytest.raises(StorageError, match=r"nothing came for 0\.2 s"):
        fetch(url, target)
    swallowed.set()


def test_a_copied_archive_does_as_well(tmp_path: Path, garden: Path) -> None:
    copied = garden / "garden.tgz"
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    done = run("pi_capture", tmp_path / "a.features.h5", 1, "--camera", "demo", "--weights", copied, **cache)
    assert done.returncode == 0, done
    made = export_model(copied, tmp_path / "made.tflite")
    assert made.read_bytes() == (garden / "garden.tflite").read_bytes()


def test_weights_that_changed_after_they_were_fetched_are_refused(tmp_path: Path, garden: Path) -> None:
    made = export_model(garden / "garden.tgz", tmp_path / "made.tflite")
    changed = bytearray(made.read_bytes())
    changed[len(changed) // 2] ^= 1
    made.write_bytes(changed)
    with pytest.raises(StorageError, match="has changed since it was fetched"):
        Extractor(made)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_in_an_archive_is_no_network(tmp_path: Path, kind: bytes) -> None:
    entry = tarfile.TarInfo(MEMBER)
    entry.type, entry.linkname = kind, "elsewhere/missing.tflite"
    with tarfile.open(tmp_path / "links.tgz", "w:gz") as archive:
        archive.addfile(entry)
    with pytest.raises(StorageError, match=f"links.tgz has no {MEMBER} in it"):
        export_model(tmp_path / "links.tgz", tmp_path / "made.tflite")
    assert not (tmp_path / "made.tflite").exists()


def test_a_redirect_leads_to_no_address_that_would_be_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = addinfourl(io.BytesIO(b"anything"), Message(), "http://mirror.example.org/weights.tgz", 200)
    monkeypatch.setattr("storage.formats.features.fetch.urlopen", lambda *_, **__: answer)
    with pytest.raises(StorageError, match=r"http://mirror\.example\.org/weights\.tgz: .*over https:// only"):
        fetch("https://example.org/weights.tgz", tmp_path / "made.tflite")
    assert not list(tmp_path.iterdir())
