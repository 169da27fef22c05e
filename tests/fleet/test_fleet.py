"""A batch over 2,000 recordings gives the same OUT however it runs and whatever is killed; `scripts/fleet_tests.sh`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.recordings import CRASH, ENDLESS, is_broken, make
from tests.support import ELSEWHERE, children
from tests.support.labelled import everything

pytestmark = pytest.mark.fleet

COUNT = int(os.environ.get("FLEET_RECORDINGS", "2000"))
STEPS = "verify,count-in-groups"
PATIENCE_SECONDS = 3600
LIMIT_SECONDS = 10


@pytest.fixture(scope="module", autouse=True)
def elsewhere() -> Iterator[None]:
    """The steps and the format of another distribution are installed, for the processes that this one starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{ELSEWHERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        patch.setenv("RAY_AUTH_MODE", "disabled")  # else a token that lies in the home directory decides
        yield


def start(*arguments: object, steps: str = STEPS, limit: int = LIMIT_SECONDS) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "storage", "batch", steps, *map(str, arguments), "--time-limit", str(limit)]
    return subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result(run: subprocess.Popen[str]) -> dict[str, Any]:
    out, said = run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode == 3, said
    steps: dict[str, Any] = json.loads(out)["steps"]
    return steps


def when(happened: Callable[[], bool], run: subprocess.Popen[str]) -> None:
    while not happened():
        assert run.poll() is None, run.communicate()
        time.sleep(0.05)


def marked(out: Path) -> int:
    return sum("@" in name for _, _, names in os.walk(out / ".batch") for name in names)


def check_accounts(lines: list[bytes]) -> None:
    """Each recording once in each step: done, or failed by the right reason."""
    facts = [json.loads(line) for line in lines]
    verified = [one for one in facts if one["step"] == "verify"]
    broken = sum(map(is_broken, range(COUNT - 2)))
    assert Counter(one["kind"] for one in verified) == {
        "": COUNT - 2 - broken,
        "damaged": broken,
        "killed": 1,
        "time": 1,
    }
    assert {one["key"]: one["kind"] for one in verified if one["kind"] in ("killed", "time")} == {
        CRASH: "killed",
        ENDLESS: "time",
    }
    groups = [one for one in facts if one["step"] == "count-in-groups"]
    assert sum(len(one["recordings"]) for one in groups) == COUNT
    assert sum(len(one["left_out"]) for one in groups) == broken + 2


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("fleet") / "in"
    make(directory, COUNT)
    return directory


@pytest.fixture(scope="module")
def whole(recordings: Path) -> Path:
    """OUT of one run that nothing disturbs."""
    out = recordings.with_name("whole")
    steps = result(start(recordings, out, "--jobs", 2))
    assert sum(one["skipped"] for one in steps.values()) == 0
    check_accounts((out / "batch.jsonl").read_bytes().splitlines())
    return out


def check_same(out: Path, whole: Path, again: dict[str, Any]) -> None:
    assert not any(one["done"] for one in again.values())
    found, wanted = everything(out), everything(whole)
    assert {name for name in wanted if found.get(name) != wanted[name]} == set()
    assert set(found) == set(wanted)


def test_killed_here(recordings: Path, whole: Path) -> None:
    out = recordings.with_name("killed")
    for share in (5, 3, 2):
        run = start(recordings, out, "--jobs", 2)
        when(lambda share=share: marked(out) > COUNT // share // 2, run)
        os.kill(children(run.pid)[0], signal.SIGKILL)  # a process that forks
        when(lambda share=share: marked(out) > COUNT // share // 2 + COUNT // 50, run)
        run.kill()
        run.communicate()
    result(start(recordings, out, "--jobs", 2))
    check_same(out, whole, result(start(recordings, out)))


def test_shards_at_once(recordings: Path, whole: Path) -> None:
    out = recordings.with_name("shards")
    runs = [start(recordings, out, "--jobs", 1, "--shard", f"{number}/2") for number in range(2)]
    when(lambda: marked(out) > COUNT // 3, runs[0])
    runs[0].kill()
    runs[0].communicate()
    result(runs[1])
    result(start(recordings, out, "--jobs", 1, "--shard", "0/2"))
    check_same(out, whole, result(start(recordings, out)))


def test_two_runs_at_once(recordings: Path, whole: Path) -> None:
    out = recordings.with_name("both")
    for run in [start(recordings, out, "--jobs", 1) for _ in range(2)]:
        result(run)
    check_same(out, whole, result(start(recordings, out)))


# ------------------------------------------------------------------------------------------------------------------ Ray


@pytest.fixture(scope="module")
def cluster(mobilenet: Path) -> Iterator[tuple[str, Path]]:
    """A cluster of two workers on this machine, which find the weights; its address and its directory.

    The directory's name is short: it goes into that of a socket.
    """
    directory, port = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp")), free_port()
    command = [
        *(Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--num-cpus", "2", "--port", str(port)),
        *("--include-dashboard", "false", "--disable-usage-stats", "--temp-dir", directory),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout
    while "Ray runtime started" not in (line := process.stdout.readline()):
        assert line, "Ray did not start"
    yield f"127.0.0.1:{port}", directory
    process.terminate()
    process.communicate()
    shutil.rmtree(directory, ignore_errors=True)


def workers(directory: Path) -> list[int]:
    """The processes of a cluster that work on a task."""
    raylets = [
        pid
        for pid in all_processes()
        if command_of(pid).split("\0")[0].endswith("raylet") and str(directory) in command_of(pid)
    ]
    return [pid for raylet in raylets for pid in children(raylet) if command_of(pid).startswith("ray::_do")]


def test_ray(recordings: Path, whole: Path, cluster: tuple[str, Path]) -> None:
    address, directory = cluster
    out = recordings.with_name("ray")
    arguments = (recordings, out, "--runner", "ray", "--address", address)
    run = start(*arguments)
    when(lambda: marked(out) > COUNT // 5 and bool(workers(directory)), run)
    os.kill(workers(directory)[0], signal.SIGKILL)
    when(lambda: marked(out) > COUNT // 2, run)
    run.kill()
    run.communicate()
    result(start(*arguments))
    check_same(out, whole, result(start(*arguments)))


def test_features_and_shards_on_ray(recordings: Path, cluster: tuple[str, Path]) -> None:
    sane, here, there = (recordings.with_name(name) for name in ("sane", "trained-here", "trained-on-ray"))
    shutil.copytree(recordings, sane, ignore=shutil.ignore_patterns("*.hostile"), copy_function=os.link)
    address, _ = cluster
    steps = "features,shards,shards-by-host"
    done = result(start(sane, here, "--jobs", 2, steps=steps, limit=PATIENCE_SECONDS))
    broken = sum(map(is_broken, range(COUNT - 2)))
    assert {name: one["done"] for name, one in done.items()} == {
        "features": COUNT - 2 - broken,
        "shards": 1,
        "shards-by-host": 1,
    }
    arguments = (sane, there, "--runner", "ray", "--address", address)
    result(start(*arguments, steps=steps, limit=PATIENCE_SECONDS))
    check_same(there, here, result(start(*arguments, steps=steps, limit=PATIENCE_SECONDS)))


# --------------------------------------------------------------------------------------------------------- object store


@contextmanager
def object_store(*faults: str) -> Iterator[str]:
    """An object store, found by the environment, with the bucket ``s3://fleet``; gives the bucket's URL for HTTP."""
    port = free_port()
    command = [sys.executable, "-m", "tests.fleet.faulty_s3", str(port), *faults]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    environment = {
        **{"AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"},
        **{"AWS_ACCESS_KEY_ID": "fleet", "AWS_SECRET_ACCESS_KEY": "fleet"},
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        while True:
            try:
                urllib.request.urlopen(urllib.request.Request(f"{url}/fleet", method="PUT"))
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.2)
        yield f"{url}/fleet"
    process.kill()
    process.wait()


def copy_to(url: str, root: Path) -> None:
    import obstore
    from obstore.store import from_url

    bucket = from_url(url)
    for path in sorted(root.rglob("*")):
        if path.is_file():
            obstore.put(bucket, path.relative_to(root).as_posix(), path, use_multipart=False)


def objects(url: str) -> dict[str, bytes]:
    import obstore
    from obstore.store import from_url

    bucket = from_url(url)
    names = [one["path"] for some in obstore.list(bucket) for one in some]
    return {name: bytes(obstore.get(bucket, name).bytes()) for name in names}


def count_objects(url: str) -> int:
    import obstore
    from obstore.store import from_url

    return sum(len(some) for some in obstore.list(from_url(url)))


def test_names_that_are_no_path_are_told() -> None:
    with object_store() as url:
        for name in ("day1.mkv", "more//day2.mkv"):
            urllib.request.urlopen(urllib.request.Request(f"{url}/in/{name}", data=b"", method="PUT"))
        run = start("s3://fleet/in", "s3://fleet/out")
        _, said = run.communicate(timeout=PATIENCE_SECONDS)
        assert run.returncode == 1
        assert said == (
            "storage: s3://fleet/in has an object whose name is no path (// or a part of dots): in/more//day2.mkv; "
            "rename it, or give places without it\n"
        )
        run = start("s3://fleet/in/day1.mkv", "s3://fleet/out")
        out, _ = run.communicate(timeout=PATIENCE_SECONDS)
        assert run.returncode == 3 and json.loads(out)["steps"]["verify"]["failed"] == {"damaged": 1}


@pytest.mark.parametrize("faults", [(), ("faults",)], ids=["sound", "faulty"])
def test_object_store(recordings: Path, whole: Path, faults: tuple[str, ...]) -> None:
    with object_store(*faults):
        copy_to("s3://fleet/in", recordings)
        check_object_store(whole)


def check_object_store(whole: Path) -> None:
    arguments = ("s3://fleet/in", "s3://fleet/out", "--jobs", 2)
    run = start(*arguments)
    when(lambda: count_objects("s3://fleet/out") > COUNT // 3, run)
    os.kill(children(run.pid)[0], signal.SIGKILL)
    when(lambda: count_objects("s3://fleet/out") > COUNT // 2, run)
    run.kill()
    run.communicate()
    result(start(*arguments))
    found = objects("s3://fleet/out")
    again = result(start(*arguments))
    assert [one["done"] for one in again.values()] == [0, 0]
    assert objects("s3://fleet/out") == found
    check_accounts(found["batch.jsonl"].splitlines())
    wanted = {name: content for name, content in everything(whole).items() if not name.endswith("/")}
    results = {name for name in wanted if not name.startswith(".batch/") and name != "batch.jsonl"}
    assert {name for name in found if not name.startswith(".batch/") and name != "batch.jsonl"} == results
    assert {name for name in results if found[name] != wanted[name]} == set()


# ------------------------------------------------------------------------------------------------------------ processes


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def all_processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
