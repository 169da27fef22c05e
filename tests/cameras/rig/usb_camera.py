"""A USB camera in software, which the kernel's own uvcvideo driver takes for a webcam.

The kernel's virtual USB controller (vhci_hcd) takes devices over a socket, in USB/IP, which is meant for those that are
plugged into another machine. This one is a USB Video Class 1.1 device with one bulk endpoint. Sources:
docs.kernel.org/usb/usbip_protocol.html; USB 2.0, chapter 9; USB Device Class Definition for Video Devices 1.1.

Each picture shows its number (numbered.py): MJPEG ones count to 255, YUYV ones to 65,535, and then from 0 again.

    python -m tests.cameras.rig.usb_camera [CONTROLLER]

plugs one in, prints its node, and unplugs it at the end of input.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

from tests.cameras.rig import numbered

CONTROLLER = Path("/sys/devices/platform/vhci_hcd.0")
SIZES = [(640, 360), (320, 240), (1280, 720)]
INTERVALS = [333_333, 500_000, 1_000_000]  # in 100 ns: 30, 20 and 10 pictures a second
MJPEG, YUYV = 1, 2  # the formats, as they are numbered in the descriptors
PAYLOAD = 16_384  # bytes in a transfer
CATCH_UP = 0.2  # s by which it may lag behind before it leaves pictures out
MANUFACTURER, PRODUCT, SERIAL = 1, 2, 3  # strings, as they are numbered in the descriptors
STRINGS = {MANUFACTURER: "Camera tests", PRODUCT: "Soft UVC camera", SERIAL: "SOFT0001"}


def load_modules() -> None:
    subprocess.run(["modprobe", "-a", "vhci_hcd", "uvcvideo"], check=True)


def name_controller() -> Path:
    """Give the controller a name in the firmware, and return the directory to plug cameras into from now on.

    libcamera names a camera after its controller's firmware node, and passes over cameras whose controller has none, as
    this one. So a file system with such a node is laid over the controller's directory. libudev has to be told that it
    may read there.
    """
    firmware, controller = Path("/run/firmware"), Path("/run/vhci")
    node = firmware / "firmware_node"
    node.mkdir(parents=True)
    (node / "path").write_text("\\_SB_.VHCI\n")
    controller.mkdir()
    subprocess.run(["mount", "--bind", CONTROLLER, controller], check=True)  # what is laid over it can't be written to
    layers = f"lowerdir={firmware}:{CONTROLLER}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, CONTROLLER], check=True)
    os.environ["SYSTEMD_DEVICE_VERIFY_SYSFS"] = "0"
    return controller


# ---------------------------------------------------------------------------------------------------------- descriptors


def _descriptor(*fields: int | bytes) -> bytes:
    """Put the length before the fields: bytes as they are, numbers as one byte."""
    body = b"".join(field if isinstance(field, bytes) else bytes([field]) for field in fields)
    return bytes([len(body) + 1]) + body


def _u16(number: int) -> bytes:
    return struct.pack("<H", number)


def _u32(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}I", *numbers)


def _format(number: int, *fields: int | bytes) -> bytes:
    """A format's descriptor, those of its sizes, and its colours (of BT.709, coded as in BT.601)."""
    subtype, frame_subtype = {MJPEG: (0x06, 0x07), YUYV: (0x04, 0x05)}[number]
    sizes = b""
    for index, (width, height) in enumerate(SIZES, 1):
        rates = _u32(width * height * 16 * 10, width * height * 16 * 30)  # bits a second: least, most
        intervals = [INTERVALS[0], *INTERVALS]  # the usual one first
        sizes += _descriptor(
            *(0x24, frame_subtype, index, 0, _u16(width), _u16(height), rates, _u32(width * height * 2)),
            *(_u32(intervals[0]), len(INTERVALS), _u32(*intervals[1:])),
        )
    return _descriptor(0x24, subtype, number, len(SIZES), *fields) + sizes + _descriptor(0x24, 0x0D, 1, 1, 4)


DEVICE = _descriptor(
    *(0x01, _u16(0x0200), 0xEF, 2, 1, 64, _u16(0x1209), _u16(0x0001), _u16(0x0100)),
    *(MANUFACTURER, PRODUCT, SERIAL, 1),
)


def configuration(jpeg_only: bool) -> bytes:
    """The descriptors of an interface for control, and of one for the stream."""
    sensor, output = 1, 2
    units = _descriptor(0x24, 0x02, sensor, _u16(0x0201), 0, 0, bytes(6), 3, bytes(3))
    units += _descriptor(0x24, 0x03, output, _u16(0x0101), 0, sensor, 0)
    control = _descriptor(0x04, 0, 0, 0, 14, 1, 0, PRODUCT)
    control += _descriptor(0x24, 0x01, _u16(0x0110), _u16(13 + len(units)), _u32(48_000_000), 1, 1) + units

    formats = [_format(MJPEG, 1, 1, 0, 0, 0, 0)]
    if not jpeg_only:
        guid = b"YUY2" + bytes.fromhex("0000 1000 8000 00aa 0038 9b71")
        formats.append(_format(YUYV, guid, 16, 1, 0, 0, 0, 0))
    length = 13 + len(formats) + len(b"".join(formats))
    endpoint = 0x81
    stream = _descriptor(0x04, 1, 0, 1, 14, 2, 0, 0)
    stream += _descriptor(
        *(0x24, 0x01, len(formats), _u16(length), endpoint, 0, output, 0, 0, 0, 1, bytes(len(formats)))
    )
    stream += b"".join(formats) + _descriptor(0x05, endpoint, 2, _u16(512), 0)

    together = _descriptor(0x0B, 0, 2, 14, 3, 0, PRODUCT)
    body = together + control + stream
    return _descriptor(0x02, _u16(9 + len(body)), 2, 1, 0, 0x80, 250) + body


# --------------------------------------------------------------------------------------------------------------- camera


class UsbCamera:
    """It is plugged in and out with `plug` and `unplug`; `stalled` while it delivers nothing.

    The end of each JPEG whose number is a multiple of `torn_every` was lost on the way.
    """

    def __init__(self, *, jpeg_only: bool = False, torn_every: int = 0, controller: Path = CONTROLLER) -> None:
        self.path = ""  # of the node, while it is plugged in
        self.stalled = False
        self._torn_every = torn_every
        self._controller = controller
        self._formats = [MJPEG] if jpeg_only else [MJPEG, YUYV]
        self._configuration = configuration(jpeg_only)
        self._nodes: list[Path] = []
        self._sent = 0
        self._thread = threading.Thread()

    def plug(self) -> None:
        """Plug it in and wait for its node.

        Raises:
            TimeoutError: the kernel made no node within 15 s.
        """
        before = set(Path("/dev").glob("video*"))
        self.stalled = False
        wire, kernels = socket.socketpair()
        port, device, high_speed = 0, 0x10002, 3
        with kernels:
            (self._controller / "attach").write_text(f"{port} {kernels.fileno()} {device} {high_speed}\n")
        self._thread = threading.Thread(target=self._serve, args=(wire,), daemon=True)
        self._thread.start()
        until = time.monotonic() + 15
        while len(self._nodes) < 2:  # the second one is for data about the pictures
            if time.monotonic() > until:
                raise TimeoutError("the USB camera was plugged in, but got no nodes")
            time.sleep(0.05)
            self._nodes = sorted(set(Path("/dev").glob("video*")) - before)
        self.path = str(self._nodes[0])

    def unplug(self) -> None:
        """Unplug it and wait until its nodes are gone: those of the next plug are told by being new."""
        if not self._thread.is_alive():
            return
        (self._controller / "detach").write_text("0\n")
        self._thread.join()
        while any(node.exists() for node in self._nodes):
            time.sleep(0.05)
        self._nodes = []

    def _serve(self, wire: socket.socket) -> None:
        with wire, suppress(ConnectionError):
            _Connection(wire, self).serve()

    # For the connection.

    def next_picture(self, kind: int, size: numbered.Size) -> bytes:
        number = self._sent
        self._sent += 1
        if kind == YUYV:
            return numbered.yuyv(number % 65_536, size)
        picture = numbered.jpeg(number % 256, size)
        if self._torn_every and number % self._torn_every == 0:
            return picture[: len(picture) // 2]
        return picture

    def describe(self, kind: int, index: int) -> bytes | None:
        if kind == 0x01:
            return DEVICE
        if kind == 0x02:
            return self._configuration
        if kind == 0x03 and index == 0:
            return _descriptor(0x03, _u16(0x0409))  # the strings are in English
        if kind == 0x03 and index in STRINGS:
            return _descriptor(0x03, STRINGS[index].encode("utf-16-le"))
        return None

    def negotiate(self, kind: int, size: int, interval: int) -> bytes:
        """What comes nearest to a format, a size and an interval, as the answer to a probe."""
        kind = kind if kind in self._formats else MJPEG
        size = size if 1 <= size <= len(SIZES) else 1
        interval = min(INTERVALS, key=lambda offered: abs(offered - interval))
        width, height = SIZES[size - 1]
        limits = _u32(width * height * 2, PAYLOAD, 48_000_000)
        return struct.pack("<HBBI", 1, kind, size, interval) + bytes(10) + limits + bytes(4)


class _Connection:
    """A plugged-in camera's talk with the kernel: answers to requests, and between them the pictures that are due."""

    def __init__(self, wire: socket.socket, camera: UsbCamera) -> None:
        self._wire = wire
        self._camera = camera
        self._probe = camera.negotiate(MJPEG, 1, INTERVALS[0])
        self._streaming = False
        self._wanted: deque[tuple[int, int]] = deque()  # transfers that wait for data: sequence number, bytes
        self._picture = b""  # what is left to send of it
        self._due = 0.0  # the next picture
        self._toggle = 0  # tells two pictures apart that follow each other

    def serve(self) -> None:
        """Return never: unplugging ends it with a ConnectionError."""
        while True:
            if select.select([self._wire], [], [], self._patience())[0]:
                self._take_message()
            else:
                self._send_data()

    def _patience(self) -> float | None:
        if not self._streaming or not self._wanted or self._camera.stalled:
            return None
        return 0 if self._picture else max(0.0, self._due - time.monotonic())

    def _take_message(self) -> None:
        header = self._receive(48)
        command, sequence, _, incoming, endpoint = struct.unpack_from(">5I", header)
        if command == 2:
            self._cancel(sequence, *struct.unpack_from(">I", header, 20))
            return
        (length,) = struct.unpack_from(">I", header, 24)
        if endpoint:
            self._wanted.append((sequence, length))
            return
        data = b"" if incoming else self._receive(length)
        answer = self._control(header[40:], data)
        if answer is None:
            self._reply(sequence, -errno.EPIPE)  # how USB says no
        elif incoming:
            self._reply(sequence, 0, answer[:length])
        else:
            self._reply(sequence, 0, taken=length)

    def _cancel(self, sequence: int, victim: int) -> None:
        kept = deque(transfer for transfer in self._wanted if transfer[0] != victim)
        status = 0 if len(kept) == len(self._wanted) else -errno.ECONNRESET
        self._wanted = kept
        self._wire.sendall(struct.pack(">5Ii24x", 4, sequence, 0, 0, 0, status))

    def _send_data(self) -> None:
        if not self._picture:
            kind, size, interval = struct.unpack_from("<BBI", self._probe, 2)
            self._picture = self._camera.next_picture(kind, SIZES[size - 1])
            self._due = max(self._due, time.monotonic() - CATCH_UP) + interval / 1e7
        sequence, length = self._wanted.popleft()
        room = min(length, PAYLOAD) - 2
        data, self._picture = self._picture[:room], self._picture[room:]
        end_of_header = 0x80
        end_of_picture = 0 if self._picture else 0x02
        self._reply(sequence, 0, bytes([2, end_of_header | end_of_picture | self._toggle]) + data)
        if end_of_picture:
            self._toggle ^= 1

    def _control(self, setup: bytes, data: bytes) -> bytes | None:
        """Answer a control request; None refuses it."""
        kind, request, value, index, _ = struct.unpack("<BBHHH", setup)
        if kind & 0x60 == 0:
            return self._standard_request(kind, request, value)
        entity, interface, selector = index >> 8, index & 0xFF, value >> 8
        if interface == 1 and selector in (1, 2):
            return self._stream_request(request, selector == 2, data)
        if (interface, entity, selector) == (0, 0, 2):
            return b"\x06"  # why the last one was refused: there is no such control
        return None

    def _standard_request(self, kind: int, request: int, value: int) -> bytes | None:
        get_status, clear_feature, get_descriptor, of_endpoint = 0, 1, 6, 2
        if request == get_descriptor:
            return self._camera.describe(value >> 8, value & 0xFF)
        if request == clear_feature and kind == of_endpoint:
            self._streaming = False  # so the driver says it for a bulk endpoint
        return bytes(2) if request == get_status else b""

    def _stream_request(self, request: int, commit: bool, data: bytes) -> bytes:
        set_current, get_resolution, get_length, get_info = 0x01, 0x84, 0x85, 0x86
        if request == set_current:
            self._probe = self._camera.negotiate(*struct.unpack_from("<BBI", data, 2))
            if commit and not self._streaming:
                self._streaming, self._picture, self._due = True, b"", time.monotonic()
            return b""
        answers = {get_resolution: bytes(len(self._probe)), get_length: _u16(len(self._probe)), get_info: b"\x03"}
        return answers.get(request, self._probe)

    def _receive(self, size: int) -> bytes:
        data = self._wire.recv(size, socket.MSG_WAITALL) if size else b""
        if len(data) < size:
            raise ConnectionError("unplugged")
        return data

    def _reply(self, sequence: int, status: int, data: bytes = b"", taken: int = 0) -> None:
        header = struct.pack(">5Iii3I8x", 3, sequence, 0, 0, 0, status, len(data) or taken, 0, 0, 0)
        self._wire.sendall(header + data)


class UsbCameraProcess:
    """The camera in a process of its own.

    For code that keeps the interpreter to itself while it waits for the device, as libcamera's binding does: a camera
    in the same process could never answer.
    """

    def __init__(self, controller: Path) -> None:
        command = [sys.executable, "-m", "tests.cameras.rig.usb_camera", str(controller)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.path = self._process.stdout.readline().strip()
        assert self.path, "the USB camera did not start"

    def unplug(self) -> None:
        """Begin to unplug it; frames are still asked for and taken when it goes."""
        assert self._process.stdin is not None
        self._process.stdin.close()


def main(controller: str = str(CONTROLLER)) -> None:
    load_modules()
    camera = UsbCamera(controller=Path(controller))
    camera.plug()
    print(camera.path, flush=True)
    sys.stdin.read()
    camera.unplug()


if __name__ == "__main__":
    main(*sys.argv[1:])
