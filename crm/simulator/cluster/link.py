"""The Unix socket between crm and messaging: messaging's own client at one end, the world at the other.

Bytes that were written are read, even when their writer is gone; an end that closes is noticed by the other after them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from crm.simulator.clock import Clock
from messaging import ipc
from messaging.client import MessagingClient
from messaging.ipc import Kind
from messaging.types import MessagingEvent


class Link:
    """The world's end. `frame(kind, body)` gets what crm writes, `closed()` is called when crm's end closes."""

    def __init__(
        self,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        frame: Callable[[Link, Kind, bytes], None],
        closed: Callable[[Link], None],
    ) -> None:
        self.open = True
        self._clock = clock
        self._frame = frame
        self._closed = closed
        self._buffer = bytearray()
        self._reader = asyncio.StreamReader(limit=1 << 30, loop=loop)

    def client(self, welcome: dict[str, Any]) -> MessagingClient:
        """crm's end. To be called in the context of its process."""
        return MessagingClient(self._reader, cast("asyncio.StreamWriter", self), welcome)

    # --- what the client does with its writer

    def write(self, data: bytes) -> None:
        if not self.open:
            return
        self._buffer += data
        while len(self._buffer) >= ipc.HEAD.size:
            size, kind = ipc.head(bytes(self._buffer[: ipc.HEAD.size]))
            end = ipc.HEAD.size + size
            if len(self._buffer) < end:
                break
            body = bytes(self._buffer[ipc.HEAD.size : end])
            del self._buffer[:end]
            self._clock.at(self._clock.now, partial(self._frame, self, kind, body))

    async def drain(self) -> None:
        pass

    def close(self) -> None:
        if self.open:
            self.open = False
            self._clock.at(self._clock.now, partial(self._closed, self))

    async def wait_closed(self) -> None:
        pass

    # --- what the world does

    def tell(self, event: MessagingEvent) -> None:
        self._reader.feed_data(ipc.event_frame(event))

    def answer(self, reply: dict[str, Any]) -> None:
        self._reader.feed_data(ipc.json_frame(Kind.REPLY, reply))

    def drop(self, reason: str) -> None:
        self._reader.feed_data(ipc.json_frame(Kind.DROPPED, {"reason": reason}))
        self.hang_up()

    def hang_up(self) -> None:
        """The end of what the client can read."""
        self.open = False
        if not self._reader.at_eof() and self._reader.exception() is None:
            self._reader.feed_eof()
