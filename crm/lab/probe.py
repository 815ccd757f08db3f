"""A client of the lab's service: fetches the page again and again, and remembers when it answered and who did.

One short connection a fetch, as a load balancer or a browser would; `Connection: close`. A fetch that takes longer than its limit counts as no
answer. The figures are wall-clock seconds, so that they can be laid beside the daemons' events.
"""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass, field

INTERVAL_S = 0.01
FETCH_LIMIT_S = 0.25
MAX_ANSWERS = 200_000


@dataclass(frozen=True, slots=True)
class Answer:
    at: float  # when it came
    node: str  # who answered: the first word of the page's X-Vigil-Node header, or ""


@dataclass(slots=True)
class Probe:
    """Fetches http://address:port/ every INTERVAL_S. `device` binds the sockets to one network interface."""

    address: str
    port: int
    device: str | None = None
    answers: list[Answer] = field(default_factory=list)
    failures: int = 0
    _task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            began = time.monotonic()
            node = await self.fetch()
            if node is None:
                self.failures += 1
            elif len(self.answers) < MAX_ANSWERS:
                self.answers.append(Answer(time.time(), node))
            await asyncio.sleep(max(0.0, INTERVAL_S - (time.monotonic() - began)))

    async def fetch(self) -> str | None:
        """The node that answered, or None."""
        try:
            # Not wait_for: that can lose a cancellation which comes together with the result (Python 3.11).
            async with asyncio.timeout(FETCH_LIMIT_S):
                return await self._fetch()
        except (OSError, TimeoutError, ValueError):
            return None

    async def _fetch(self) -> str:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        if self.device is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.device.encode() + b"\0")
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(sock, (self.address, self.port))
            await loop.sock_sendall(sock, b"GET / HTTP/1.0\r\nHost: lab\r\nConnection: close\r\n\r\n")
            page = b""
            while data := await loop.sock_recv(sock, 65536):
                page += data
        finally:
            sock.close()
        head, _, _ = page.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        if " 200" not in lines[0]:
            raise ValueError(f"not a page: {lines[0]!r}")
        for line in lines[1:]:
            name, _, value = line.partition(":")
            if name.lower() == "x-vigil-node":
                return value.strip()
        return ""
