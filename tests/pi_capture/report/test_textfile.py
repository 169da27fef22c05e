"""``--textfile``: a file for node_exporter, whole at any moment, and gone at the end."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pi_capture.report import metrics, textfile
from pi_capture.report.metrics import Meter, as_prometheus
from pi_capture.status import Status
from tests.pi_capture.test_cli import DEMO, run, wait_for_frames
from tests.support import REPOSITORY, wait_for

Start = Callable[..., subprocess.Popen[str]]


def test_a_recording_keeps_its_file(tmp_path: Path, started: Start) -> None:
    file = tmp_path / "corner.prom"
    process = started(tmp_path / "day1", -1, *DEMO, "--textfile", file)
    wait_for_frames(tmp_path / "day1")
    wait_for(file.exists, file, process)
    lines = file.read_text().splitlines()
    label = f'recording="{tmp_path / "day1"}"'
    samples = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert float(samples[f"pi_capture_free_bytes{{{label}}}"]) > 0, "known before the first frame"
    assert f'pi_capture_dropped_frames_total{{{label},cause="queue"}}' in samples
    assert len(samples) == 10 and stat.S_IMODE(file.stat().st_mode) == 0o644
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["day1"], "old numbers would be taken for new ones"


def test_a_reader_sees_whole_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textfile, "SECONDS", 0.0005)
    meter = Meter(10**9)
    file = tmp_path / "corner.prom"
    sizes, until = set(), time.monotonic() + 0.5
    with textfile.written(file, "day1", meter, pytest.fail):
        while time.monotonic() < until or not sizes:
            meter.show(Status(1, 1, 0, 0, 0, 1), 30.0, 10**9)
            if file.exists():
                sizes.add(len(file.read_text().splitlines()))
    assert sizes == {len(as_prometheus(meter.read(), "day1").splitlines())}


def test_names_with_quotes() -> None:
    text = as_prometheus(Meter(1).read(), 'day "1"\\\n')
    assert 'pi_capture_frames_total{recording="day \\"1\\"\\\\\\n"} 0' in text.splitlines()


def test_a_place_that_can_not_be_written_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textfile, "SECONDS", 0.001)
    monkeypatch.setattr(metrics, "END_SECONDS", 60.0)
    attempts = []

    class Counted(Meter):
        def read(self) -> dict[str, float]:
            attempts.append(None)
            return super().read()

    told: list[str] = []
    file = tmp_path / "later" / "corner.prom"
    with textfile.written(file, "day1", Counted(1), told.append):
        wait_for(lambda: len(attempts) >= 5, "five attempts")
        file.parent.mkdir()
        wait_for(file.exists, file)
    assert told == [f"--textfile {file}: No such file or directory; the recording goes on, and it is tried again"]


def test_node_exporter_reads_no_other_name(tmp_path: Path) -> None:
    done = run(tmp_path / "day1", 1, *DEMO, "--textfile", tmp_path / "corner.txt")
    assert done.returncode == 2 and ".prom" in done.stderr and not (tmp_path / "day1").exists()


def test_a_name_that_is_no_utf8_and_a_recording_that_fails(tmp_path: Path) -> None:
    file = tmp_path / "corner.prom"
    with pytest.raises(RuntimeError), textfile.written(file, os.fsdecode(b"d\xe4y1"), Meter(1), pytest.fail):
        until = time.monotonic() + 120
        while not file.exists() and time.monotonic() < until:
            time.sleep(0.01)
        assert 'recording="d?y1"' in file.read_text()
        raise RuntimeError
    assert not file.exists(), "old numbers would be taken for new ones"


def test_of_two_recordings_one_keeps_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textfile, "SECONDS", 0.001)
    monkeypatch.setattr(metrics, "END_SECONDS", 60.0)
    file = tmp_path / "corner.prom"
    told: list[str] = []

    def wait_for_file_of(recording: str) -> None:
        wait_for(lambda: file.exists() and f'recording="{recording}"' in file.read_text(), recording)

    first = textfile.written(file, "day1", Meter(1), pytest.fail)
    with first:
        wait_for_file_of("day1")
        second = textfile.written(file, "day2", Meter(1), told.append)
        second.__enter__()
        wait_for(lambda: told, "a complaint")
        wait_for_file_of("day1")
    wait_for_file_of("day2")  # the first one has ended
    second.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []
    reason = "another recording keeps this file, and each needs one of its own"
    assert told == [f"--textfile {file}: {reason}; the recording goes on, and it is tried again"]


SERIES = """
rule_files: [rules.yml]
evaluation_interval: 15s
tests:
  - interval: 15s
    input_series:
      - series: 'pi_capture_frames_total{instance="pi-01",recording="day1.mkv"}'
        values: '0+150x100'
      - series: 'pi_capture_frames_total{instance="pi-02",recording="day1.mkv"}'
        values: '0+150x20 stale'
      - series: 'pi_capture_seconds_since_durable{instance="pi-01",recording="day1.mkv"}'
        values: '1x80 0+15x20'
      - series: 'node_textfile_mtime_seconds{instance="pi-01",file="/var/day1.prom"}'
        values: '0+15x20 300x80'
    alert_rule_test:
      - {eval_time: 4m, alertname: RecorderGone}
      - {eval_time: 10m, alertname: NothingRecorded}
      - eval_time: 10m
        alertname: RecorderGone
        exp_alerts: [{exp_labels: {instance: pi-02, recording: day1.mkv}}]
      - eval_time: 25m
        alertname: NothingRecorded
        exp_alerts: [{exp_labels: {instance: pi-01, recording: day1.mkv}}]
      - eval_time: 10m
        alertname: RecorderCrashed
        exp_alerts: [{exp_labels: {instance: pi-01, file: /var/day1.prom}}]
"""


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs Prometheus' promtool")
def test_the_rules_of_the_page_miss_one_pi_of_two(tmp_path: Path) -> None:
    page = (REPOSITORY / "docs/fleet.md").read_text()
    (tmp_path / "rules.yml").write_text(page.partition("```yaml\n")[2].partition("```")[0])
    (tmp_path / "series.yml").write_text(SERIES)
    test = ["promtool", "test", "rules", "series.yml"]
    done = subprocess.run(test, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
