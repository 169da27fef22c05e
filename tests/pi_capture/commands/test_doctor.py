"""``python -m pi_capture doctor``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from storage.formats.table import FORMATS
from tests.pi_capture.test_cli import run
from tests.support import REPOSITORY


def findings(done: subprocess.CompletedProcess[str]) -> dict[str, list[dict[str, Any]]]:
    """Check → what it found."""
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in json.loads(done.stdout)["findings"]:
        found.setdefault(finding["check"], []).append(finding)
    return found


def test_a_machine_that_will_record(tmp_path: Path) -> None:
    done = run("doctor", tmp_path / "days/day1", "--camera", "demo", "--size", "64x48", "--json")
    assert done.returncode == 0, done.stdout
    assert done.stderr == "" and json.loads(done.stdout)["ok"] is True
    found = findings(done)
    assert found["camera"][0]["state"] == "ok" and "demo:0" in found["camera"][0]["found"]
    speeds = [finding["found"] for finding in found["speed"]]
    assert [text.split()[0] for text in speeds] == [row.name for row in FORMATS if row.keeps_pictures]
    assert all(int(text.split(": ")[1].split()[0]) > 0 and "64x48" in text for text in speeds)
    assert {"libraries", "space", "disk", "clock", "window", "features"} <= set(found)
    assert all(finding["advice"] for rows in found.values() for finding in rows if finding["state"] == "fail")
    assert not list(tmp_path.rglob("*"))  # nothing stays, and nothing was made


def test_what_would_stop_a_recording_is_the_exit_status(tmp_path: Path) -> None:
    """A target that can't be written, a camera that isn't there; and libraries that don't go together."""
    (tmp_path / "picamera2.py").write_text("raise ValueError('numpy.dtype size changed, may indicate …')\n")
    (tmp_path / "cv2.py").write_text("def getBuildInformation(): return 'Media:\\n  GUI:     NONE\\n'\n")
    done = run("doctor", "/proc/self/day1", "--camera", "v4l2:/dev/video99", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "checking; this takes about 10 seconds\n"
    lines = done.stdout.splitlines()
    states = {line.split()[1]: line.split()[0] for line in lines if not line.startswith(" ")}
    assert states["camera"] == "fail" and states["disk"] == "fail"
    assert states["picamera2"] == "warn" and states["window"] == "warn"
    text = done.stdout
    assert "/dev/video99" in text and "--upgrade simplejpeg" in text and "opencv-python" in text
    failed = [n for n, line in enumerate(lines) if line.startswith("fail")]
    assert all("→" in lines[n + 1] for n in failed)


def test_a_library_that_the_window_lacks(tmp_path: Path) -> None:
    """Qt would end the program at its first window."""
    (tmp_path / "cv2.py").write_text("def getBuildInformation(): return 'Media:\\n  GUI:     QT5\\n'\n")
    (tmp_path / "qt/plugins/platforms").mkdir(parents=True)
    (tmp_path / "qt/plugins/platforms/libqxcb.so").write_bytes(b"")
    done = run("doctor", tmp_path / "day1", "--camera", "demo", "--size", "64x48", "--json", cwd=tmp_path)
    (finding,) = findings(done)["window"]
    assert finding["state"] == "warn" and "libqxcb.so" in finding["found"]
    assert finding["advice"] == "sudo apt install libgl1 libglib2.0-0 libsm6"


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "pi_capture", "doctor", ".", "--camera", "demo", "--size", "64x48", "--json"]
    mounted = [
        "unshare",
        "-rm",
        "sh",
        "-c",
        'mount -t tmpfs -o size=3M tmpfs . && cd "$PWD" && exec "$@"',
        "sh",
        *words,
    ]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(mounted, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 1 and done.stderr == ""
    assert findings(done)["space"][0]["state"] == "fail"


def test_files_and_distributions_with_the_names_of_our_packages(tmp_path: Path) -> None:
    (tmp_path / "classify.py").write_text("print('my own')\n")
    (tmp_path / "disk_arrays-1.0.dist-info").mkdir()
    (tmp_path / "disk_arrays-1.0.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: disk-arrays\nVersion: 1\n"
    )
    (tmp_path / "disk_arrays-1.0.dist-info/top_level.txt").write_text("storage\n")
    done = run(
        "doctor", "/proc/self/day1", "--camera", "v4l2:/dev/video99", "--json", cwd=tmp_path
    )  # nothing to measure
    (file, advice), (distribution, other_advice) = ((row["found"], row["advice"]) for row in findings(done)["names"])
    assert str(tmp_path / "classify.py") in file and "pi-classify" in advice
    assert "disk-arrays has a package storage" in distribution and "pip uninstall disk-arrays" in other_advice
