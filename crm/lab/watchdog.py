"""The lab's watchdogs: one for each node, in the machine room. A node that does not feed its own is reset, as hardware does it.

A watchdog is a named pipe in the node's folder. A line with a number feeds it: so many milliseconds until the next must come. A line
`V` stops it. It is off until it is fed for the first time, and whenever the node has no power.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

STOP = b"V"
CHUNK = 4096


class Watchdog:
    """`reset` is called once each time the node was not fed in time."""

    def __init__(self, path: Path, reset: Callable[[], None]) -> None:
        self._reset = reset
        self._timer: asyncio.TimerHandle | None = None
        self._rest = b""
        path.unlink(missing_ok=True)
        os.mkfifo(path, 0o600)
        # For reading and writing, so that it does not end when a node closes it.
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        asyncio.get_running_loop().add_reader(self._pipe, self._readable)

    def _readable(self) -> None:
        *lines, self._rest = (self._rest + os.read(self._pipe, CHUNK)).split(b"\n")
        for line in lines:
            if line == STOP:
                self.off()
            elif line.isdigit():
                self._fed(int(line))

    def _fed(self, timeout_ms: int) -> None:
        self.off()
        self._timer = asyncio.get_running_loop().call_later(timeout_ms / 1000, self._expired)

    def _expired(self) -> None:
        self._timer = None
        self._reset()

    def off(self) -> None:
        """Stopped, or without power."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def drain(self) -> None:
        """What a dead node has written does not start it."""
        try:
            while os.read(self._pipe, CHUNK):
                pass
        except BlockingIOError:
            self._rest = b""
        self.off()
