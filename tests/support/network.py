"""Two machines with a bad line between them: network namespaces, and packets that come late or not at all."""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time
from types import TracebackType
from typing import Self

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


class Line:
    """The network between two machines, called by `names`, with the addresses 10.77.0.1 and 10.77.0.2.

    Parameters
    ----------
    delay : float
        Seconds that a packet takes from one to the other.
    loss : float
        The share of packets that get lost.
    """

    def __init__(self, delay: float, loss: float) -> None:
        tag = f"{os.getpid() % 10000}"
        self.names = (f"pc-a{tag}", f"pc-b{tag}")
        self.addresses = ("10.77.0.1", "10.77.0.2")
        self._delay, self._loss = delay, loss
        self._dice = random.Random(0)
        self.cut = False
        self._over = False
        self._ends = [self._plug_in(*machine) for machine in zip(self.names, self.addresses, strict=True)]
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    def run(self, machine: int, *command: str) -> list[str]:
        """A command as it runs on a machine, 0 or 1."""
        return ["ip", "netns", "exec", self.names[machine], *command]

    def _plug_in(self, name: str, address: str) -> int:
        subprocess.run(["ip", "netns", "add", name], check=True)
        end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
        subprocess.run(["ip", "link", "set", name, "netns", name], check=True)
        for words in (f"addr add {address}/24 dev {name}", f"link set {name} up", "link set lo up"):
            subprocess.run(["ip", "-n", name, *words.split()], check=True)
        return end

    def _carry(self) -> None:
        under_way: list[tuple[float, int, int, bytes]] = []
        count = 0
        while not self._over:
            ready, _, _ = select.select(self._ends, [], [], 0.002)
            now = time.monotonic()
            for end in ready:
                data = os.read(end, 65536)
                if not self.cut and self._dice.random() >= self._loss:
                    heapq.heappush(under_way, (now + self._delay, count, self._ends[end == self._ends[0]], data))
                    count += 1
            while under_way and under_way[0][0] <= now:
                *_, other, data = heapq.heappop(under_way)
                os.write(other, data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        self._thread.join()
        for end, name in zip(self._ends, self.names, strict=True):
            os.close(end)
            subprocess.run(["ip", "netns", "del", name], check=True)
