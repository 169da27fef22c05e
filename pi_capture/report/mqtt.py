"""The status of a recording on an MQTT broker, in which Home Assistant finds it by itself.

``TOPIC/HOST/RECORDING/state`` has the numbers of a `Meter` as JSON every few seconds, ``…/availability`` is ``online``
or, by the client's last will too, ``offline``. A retained message tells Home Assistant what is there (device discovery,
Home Assistant 2024.11 or newer).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urlsplit
from uuid import getnode

from pi_capture import __version__
from pi_capture.errors import UsageError
from pi_capture.redact import without_secrets
from pi_capture.report.metrics import METRICS, Meter, repeated

if TYPE_CHECKING:
    from paho.mqtt.client import Client

SECONDS = 10.0
KEEPALIVE_SECONDS = 30  # after one and a half of these the broker says that the recording is offline
LONGEST_PAUSE_SECONDS = 120  # between two attempts to reach the broker
END_SECONDS = 2.0  # that the end of a recording waits for the broker at most
PORTS = {"mqtt": 1883, "mqtts": 8883}
DISCOVERY = "homeassistant/device/{id}/config"
UNITS: Mapping[str, Mapping[str, str]] = {
    "bytes": {"unit_of_measurement": "B", "device_class": "data_size"},
    "free_bytes": {"unit_of_measurement": "B", "device_class": "data_size"},
    "seconds_since_durable": {"unit_of_measurement": "s", "device_class": "duration"},
    "fps": {"unit_of_measurement": "fps"},
}


@dataclass(frozen=True, slots=True)
class Broker:
    """Where a status goes: ``mqtt://[USER:PASSWORD@]HOST[:PORT]/TOPIC``, encrypted with ``mqtts://``."""

    host: str
    port: int
    encrypted: bool
    user: str | None
    password: str | None
    topic: str
    shown: str  # the address without its secrets

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address. Raises UsageError."""
        shown = without_secrets(text)
        form = f"--mqtt {shown}: give mqtt://HOST/TOPIC, or mqtt://USER:PASSWORD@HOST:PORT/TOPIC"
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise UsageError(form) from None
        topic = unquote(parts.path).strip("/")
        if parts.scheme not in PORTS or not parts.hostname:
            raise UsageError(form)
        if not re.fullmatch(r"[^+#\0]+", topic) or set("?#") & set(text):
            raise UsageError(f"{form}; TOPIC is a name without +, # and ?")
        user = None if parts.username is None else unquote(parts.username)
        password = None if parts.password is None else unquote(parts.password)
        encrypted = parts.scheme == "mqtts"
        return cls(parts.hostname, port or PORTS[parts.scheme], encrypted, user, password, topic, shown)


class MqttStatus:
    """Sends the numbers of a meter to a broker within this context. All is done in threads of its own.

    A broker that is away, slow, or refuses is told once, by `say`, and tried again; so is its return. The recording
    never waits for it.

    Raises
    ------
    ModuleNotFoundError
        paho-mqtt is not installed.
    """

    def __init__(self, broker: Broker, target: Path, meter: Meter, say: Callable[[str], None]) -> None:
        self._broker, self._meter, self._say = broker, meter, say
        names = (name.encode(errors="replace").decode() for name in (socket.gethostname(), target.absolute().name))
        host, recording = (re.sub(r"[/+#\0]", "_", name) for name in names)
        self._target = target
        self._topic = f"{broker.topic}/{host}/{recording}"
        self._name = f"{host} {recording}"
        self._told = self._steady = False
        self._client = self._new_client()
        self._repeated: AbstractContextManager[None] = repeated(self._look, SECONDS, "mqtt")

    def _new_client(self) -> Client:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        # The same name after a power cut: so the broker ends the old connection, with its will, before the new begins.
        # It is no other recording's: two of one name would end each other's connections for ever.
        client = Client(CallbackAPIVersion.VERSION2, client_id=f"pi-capture {_identity(self._target)}")
        client.will_set(f"{self._topic}/availability", "offline", qos=1, retain=True)
        client.reconnect_delay_set(1, LONGEST_PAUSE_SECONDS)
        if self._broker.user is not None:
            client.username_pw_set(self._broker.user, self._broker.password)
        if self._broker.encrypted:
            client.tls_set()

        def connected(_client: object, _data: object, _flags: object, reason: Any, _properties: object) -> None:
            if reason.is_failure:
                self._tell(f"the broker refuses the connection ({reason})")
                return
            discovery = DISCOVERY.format(id=re.sub(r"[^A-Za-z0-9_-]", "_", self._topic))
            client.publish(discovery, json.dumps(self._discovery()), qos=1, retain=True)
            client.publish(f"{self._topic}/availability", "online", qos=1, retain=True)
            self._send_state()

        def disconnected(_client: object, _data: object, _flags: object, reason: Any, _properties: object) -> None:
            if reason.is_failure:
                said = str(reason)
                self._tell("the connection is lost" + (f" ({said})" if said != "Unspecified error" else ""))

        client.on_connect = connected
        client.on_connect_fail = lambda *_: self._tell("the broker can't be reached")
        client.on_disconnect = disconnected
        return client

    def __enter__(self) -> Self:
        self._client.connect_async(self._broker.host, self._broker.port, KEEPALIVE_SECONDS)
        self._client.loop_start()
        self._repeated.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._repeated.__exit__(None, None, None)
        if self._client.is_connected():
            self._send_state()
            goodbye = self._client.publish(f"{self._topic}/availability", "offline", qos=1, retain=True)
            goodbye.wait_for_publish(END_SECONDS)
        self._client.disconnect()  # its thread ends by itself: it may be in the middle of a name's resolution

    def _look(self) -> None:
        """Send the state; a broker that was away has come back when it is there twice in a row."""
        connected = self._client.is_connected()
        if connected and self._steady and self._told:
            self._told = False
            self._say(f"--mqtt {self._broker.shown}: connected again")
        self._steady = connected
        self._send_state()

    def _send_state(self) -> None:
        if self._client.is_connected():  # what is sent later would be out of date
            self._client.publish(f"{self._topic}/state", json.dumps(self._meter.read()))

    def _tell(self, what: str) -> None:
        if not self._told:
            self._told = True
            self._say(f"--mqtt {self._broker.shown}: {what}; the recording goes on, and it is tried again")

    def _discovery(self) -> dict[str, Any]:
        """Return what Home Assistant reads: a device, and a sensor for each number."""
        kinds = {number: kind for number, _, kind, _ in METRICS}
        return {
            "device": {
                "identifiers": [self._topic],
                "name": self._name,
                "manufacturer": "pi-capture",
                "sw_version": __version__,
            },
            "origin": {"name": "pi-capture", "sw_version": __version__},
            "state_topic": f"{self._topic}/state",
            "availability_topic": f"{self._topic}/availability",
            "components": {
                number: {
                    "platform": "sensor",
                    "unique_id": f"{self._topic}/{number}",
                    "name": number.replace("_", " ").capitalize(),
                    "value_template": f"{{{{ value_json.{number} }}}}",
                    "state_class": "measurement" if kinds.get(number) == "gauge" else "total_increasing",
                    **UNITS.get(number, {}),
                }
                for number in self._meter.read()
            },
        }


def _identity(target: Path) -> str:
    """What is the same whenever this machine records to this target, and of no other: hashed.

    With its name, as cards that were copied may share the identity.
    """
    try:
        machine = Path("/etc/machine-id").read_bytes()
    except OSError:  # not Linux
        machine = f"{getnode()}".encode()
    host = os.fsencode(socket.gethostname())
    return hashlib.sha256(b"\0".join((machine, host, os.fsencode(os.path.realpath(target))))).hexdigest()[:32]
