"""``--mqtt``: what a real broker is sent, and that no broker touches a recording."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from pi_capture.report.metrics import Meter
from pi_capture.report.mqtt import KEEPALIVE_SECONDS, Broker, MqttStatus
from tests.pi_capture.test_cli import run, wait_for_frames
from tests.support import wait_for
from tests.support.ports import free_port

Start = Callable[..., subprocess.Popen[str]]
DEMO = ["--camera", "demo", "--fps", "10"]
HOST = socket.gethostname()
PASSWORD = "se/cret@1"


@contextmanager
def broker(directory: Path, port: int, *, password: str = "") -> Iterator[None]:
    """Run mosquitto; with a password only the user ``pi`` may connect."""
    lines = [f"listener {port} 127.0.0.1", f"allow_anonymous {'false' if password else 'true'}"]
    if password:
        subprocess.run(["mosquitto_passwd", "-b", "-c", directory / "users", "pi", password], check=True)
        (directory / "users").chmod(0o644)
        lines += [f"password_file {directory / 'users'}", "user root"]
    (directory / "mosquitto.conf").write_text("\n".join(lines) + "\n")
    program = "/usr/sbin/mosquitto" if os.path.exists("/usr/sbin/mosquitto") else "mosquitto"
    with subprocess.Popen([program, "-c", directory / "mosquitto.conf"], stderr=subprocess.DEVNULL) as process:
        try:
            while True:  # until it listens
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    assert process.poll() is None, "mosquitto has ended"
                    time.sleep(0.02)
            yield
        finally:
            process.kill()


class Listener:
    """A client that hears everything that the broker gets."""

    def __init__(self, port: int) -> None:
        self._messages: queue.Queue[tuple[str, str, bool]] = queue.Queue()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _client, _data, message: self._messages.put(
            (message.topic, message.payload.decode(), message.retain)
        )
        subscribed = queue.Queue[None]()
        self._client.on_subscribe = lambda *_: subscribed.put(None)
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("#", qos=1)
        self._client.loop_start()
        subscribed.get(timeout=120)

    def next(self, topic: str) -> tuple[str, bool]:
        """The next message of a topic, and whether it had been retained."""
        while True:
            found, text, retained = self._messages.get(timeout=120)
            if found == topic:
                return text, retained

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    port = free_port()
    with broker(tmp_path, port):
        yield port


def stopped(process: subprocess.Popen[str]) -> str:
    """What a recording that is stopped now says on stderr; it must have lost nothing."""
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=120)
    assert process.returncode == 0 and "full queue" not in text and "could not be stored" not in text, text
    return text


def test_status_discovery_and_the_end(tmp_path: Path, port: int, started: Start) -> None:
    place = f"cameras/hall/{HOST}/day1"
    with Listener(port) as listener:
        process = started(tmp_path / "day1", -1, *DEMO, "--mqtt", f"mqtt://127.0.0.1:{port}/cameras/hall")
        config = json.loads(listener.next(f"homeassistant/device/cameras_hall_{HOST}_day1/config")[0])
        assert listener.next(f"{place}/availability")[0] == "online"
        first = json.loads(listener.next(f"{place}/state")[0])
        wait_for(lambda: len(list((tmp_path / "day1").glob("*.png"))) > first["frames"], "more frames", process)
        text = stopped(process)
        while (last := json.loads(listener.next(f"{place}/state")[0]))["frames"] <= first["frames"]:
            pass  # two may come at the beginning
        assert listener.next(f"{place}/availability")[0] == "offline"
    assert f"/day1: {last['frames']} frames" in text and len(text.splitlines()) == 1
    assert last["frames"] == len(list((tmp_path / "day1").glob("*.png"))) > first["frames"]
    # What Home Assistant's device discovery asks for.
    assert config["device"]["identifiers"] and config["origin"]["name"]
    assert config["state_topic"] == f"{place}/state" and config["availability_topic"] == f"{place}/availability"
    components = config["components"]
    assert len({one["unique_id"] for one in components.values()}) == len(components)
    assert {one["value_template"] for one in components.values()} == {f"{{{{ value_json.{key} }}}}" for key in last}
    assert components["frames"]["platform"] == "sensor"
    assert (
        components["frames"]["state_class"] == "total_increasing" and components["fps"]["state_class"] == "measurement"
    )
    with Listener(port) as late:  # Home Assistant was restarted
        assert late.next(f"homeassistant/device/cameras_hall_{HOST}_day1/config")[1]
        assert late.next(f"{place}/availability") == ("offline", True)


def test_the_last_state_is_the_final_one(tmp_path: Path, port: int) -> None:
    """What the end makes durable is in it."""
    with Listener(port) as listener:
        run(tmp_path / "day1", 1, *DEMO, "--sync-interval", 60, "--mqtt", f"mqtt://127.0.0.1:{port}/cameras")
        while (state := json.loads(listener.next(f"cameras/{HOST}/day1/state")[0]))["frames"] < 10:
            pass
    assert state["durable"] == state["frames"] == 10


def test_the_last_will_of_one_that_was_killed(tmp_path: Path, port: int, started: Start) -> None:
    topic = f"cameras/{HOST}/day1.mkv/availability"
    with Listener(port) as listener:
        process = started(tmp_path / "day1.mkv", -1, *DEMO, "--mqtt", f"mqtt://127.0.0.1:{port}/cameras")
        assert listener.next(topic)[0] == "online"
        process.kill()
        assert listener.next(topic)[0] == "offline"


def test_a_broker_that_refuses_is_told_once_without_the_password(tmp_path: Path, started: Start) -> None:
    port = free_port()
    with broker(tmp_path, port, password=PASSWORD):
        url = f"mqtt://pi:{PASSWORD[:-1]}@127.0.0.1:{port}/cameras".replace("se/cret@", "se%2Fcret%40")
        process = started(tmp_path / "day1", -1, *DEMO, "--mqtt", url)
        assert process.stderr is not None
        told = process.stderr.readline()
        assert told.startswith(f"--mqtt mqtt://127.0.0.1:{port}/cameras: the broker refuses the connection (")
        assert "the recording goes on" in told and "cret" not in told
        wait_for_frames(tmp_path / "day1")
        time.sleep(1.5)  # it tries again after one second
        assert len(stopped(process).splitlines()) == 1
        right = url.replace("%40@", "%401@")
        done = run(tmp_path / "day2", 1, *DEMO, "--mqtt", right)
        assert done.returncode == 0 and len(done.stderr.splitlines()) == 1


def test_a_broker_that_is_away_is_told_once_and_found_later(tmp_path: Path, started: Start) -> None:
    port = free_port()
    process = started(tmp_path / "day1", -1, *DEMO, "--mqtt", f"mqtt://127.0.0.1:{port}/cameras")
    assert process.stderr is not None
    assert "the broker can't be reached; the recording goes on" in process.stderr.readline()
    wait_for_frames(tmp_path / "day1")
    topic = f"cameras/{HOST}/day1/availability"
    for _ in range(2):
        with broker(tmp_path, port), Listener(port) as listener:
            assert listener.next(topic)[0] == "online"
    with broker(tmp_path, port):
        assert process.stderr.readline() == f"--mqtt mqtt://127.0.0.1:{port}/cameras: connected again\n"
    assert process.stderr.readline().endswith(
        ": the connection is lost; the recording goes on, and it is tried again\n"
    )
    assert len(stopped(process).splitlines()) == 1


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-nothing of MQTT\r\n", b"\x20\x02\x00\x00"])
def test_a_broker_that_does_not_go_on_costs_nothing(tmp_path: Path, started: Start, greeting: bytes) -> None:
    """One that says nothing, one that speaks something else, and one that is connected and then reads nothing."""
    with ExitStack() as connections, socket.create_server(("127.0.0.1", 0)) as server:
        url = f"mqtt://127.0.0.1:{server.getsockname()[1]}/cameras"
        process = started(tmp_path / "day1", -1, *DEMO, "--mqtt", url)
        connection, _ = server.accept()
        connections.enter_context(connection)
        connection.sendall(greeting)
        wait_for_frames(tmp_path / "day1")
        before = time.monotonic()
        stopped(process)
        assert time.monotonic() - before < KEEPALIVE_SECONDS, "the broker was waited for"


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1/cameras",
        "http://127.0.0.1/x",
        "mqtt://127.0.0.1",
        "mqtt:///x",
        "mqtt://pi:se@cret@h/a/#",
        "mqtt://h:x/a",
    ],
)
def test_wrong_addresses(tmp_path: Path, url: str) -> None:
    done = run(tmp_path / "day1", 1, *DEMO, "--mqtt", url)
    assert done.returncode == 2 and "mqtt://HOST/TOPIC" in done.stderr and len(done.stderr.splitlines()) == 1
    assert "cret" not in done.stderr and not (tmp_path / "day1").exists()


def test_without_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pi_capture.cli import main

    monkeypatch.setitem(sys.modules, "paho", None)
    for name in [name for name in sys.modules if name.startswith("paho.")]:
        monkeypatch.delitem(sys.modules, name)
    assert main([str(tmp_path / "day1"), "1", *DEMO, "--mqtt", "mqtt://127.0.0.1/cameras"]) == 1
    assert "pip install 'pi-capture[mqtt]'" in capsys.readouterr().err and not (tmp_path / "day1").exists()


def test_the_settings_that_are_printed_are_said_to_be_secret(tmp_path: Path) -> None:
    done: Any = run("--print-config", "--mqtt", "mqtt://pi:secret@desk/cameras")
    assert "chmod 600" in done.stderr


def test_recordings_of_one_name_are_two_clients_and_each_keeps_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker ends the connection of a client when another of its name comes. A name may be no UTF-8."""
    seen = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"mqtt://127.0.0.1:{server.getsockname()[1]}/cameras"
        for host, place in ((HOST, "hall"), (HOST, "hall"), (HOST, "attic"), ("a-copied-card", "hall")):
            monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
            target = tmp_path / place / os.fsdecode(b"d\xe4y1")
            with MqttStatus(Broker.parse(address), target, Meter(1), lambda _: None):
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(120)
                    packet = connection.recv(4096)
            begin = packet.index(b"pi-capture ")
            seen.append(packet[begin : begin + packet[begin - 1]])
            assert b"/d?y1/availability" in packet
    assert seen[0] == seen[1] and len(set(seen)) == 3
