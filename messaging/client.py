"""How crm talks to the messaging daemon of its node (asyncio).

    client = await MessagingClient.connect(run_dir / "messaging.sock")
    async for event in client.events():          # View first, then in order what happens in it
        ...

`attach=True` (the default) makes this connection *the* crm of the node: there is one at a time, it is in the group, it
hears events, and it must `vouch()` at least every `vouch_interval_ms`. With `attach=False` the connection can only
`query`. The iterator ends when the connection does; `lost_reason` says why, when the daemon said so.

A multicast belongs to the view that this client has last handed out through `events()`. If the cluster has gone on, the
answer is `Undelivered` and the view that explains it is next in the iterator.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from messaging import ipc
from messaging.errors import Malformed, MessagingError
from messaging.ipc import Kind
from messaging.messages import NO_VIEW
from messaging.types import MessagingEvent, View, ViewId

CONNECT_TIMEOUT_S = 10.0
QUERY_TIMEOUT_S = 10.0


class AttachRefused(MessagingError):
    """The daemon has a crm already, or did not understand this one."""


class QueryFailed(MessagingError):
    """The daemon could not answer a query."""


class MessagingClient:
    """One connection to the daemon. Made by `connect`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, welcome: dict[str, Any]) -> None:
        self.node_id: int = welcome["node_id"]
        self.node_name: str = welcome["name"]
        self.cluster: str = welcome["cluster"]
        self.vouch_interval_ms: int = welcome["vouch_interval_ms"]
        self.lost_reason = ""
        self._reader = reader
        self._writer = writer
        self._events: asyncio.Queue[MessagingEvent | None] = asyncio.Queue()
        self._queries: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._last_token = 0
        self._last_query = 0
        self._view_id: ViewId = NO_VIEW
        self._task = asyncio.create_task(self._read())

    @classmethod
    async def connect(cls, path: Path | str, *, attach: bool = True) -> MessagingClient:
        """Connect. OSError when no daemon listens, AttachRefused when it does not want this client."""
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(str(path))
            try:
                writer.write(ipc.json_frame(Kind.ATTACH, {"attach": attach}))
                size, kind = ipc.head(await reader.readexactly(ipc.HEAD.size))
                document = ipc.read_json(await reader.readexactly(size))
                if kind is not Kind.WELCOME:
                    raise AttachRefused(str(document.get("reason", kind.name)))
            except (asyncio.IncompleteReadError, Malformed) as error:
                writer.close()
                raise ConnectionResetError(f"the messaging daemon closed the connection: {error}") from None
            except BaseException:
                writer.close()
                raise
            return cls(reader, writer, document)

    async def events(self) -> AsyncIterator[MessagingEvent]:
        """What happens, in order, until the connection ends."""
        while True:
            event = await self._events.get()
            if event is None:
                self._events.put_nowait(None)
                return
            if isinstance(event, View):
                self._view_id = event.view_id
            yield event

    def multicast(self, payload: bytes) -> int:
        """Send to the whole group, this node included. Returns the token that `Delivered` or `Undelivered` will carry."""
        self._last_token += 1
        self._writer.write(ipc.multicast_frame(self._last_token, self._view_id, payload))
        return self._last_token

    def send(self, node_id: int, payload: bytes) -> None:
        """Send to the crm of one member. Lost when it is not in the group; views tell."""
        self._writer.write(ipc.send_frame(node_id, payload))

    def vouch(self) -> None:
        """This crm is well. Due every `vouch_interval_ms`."""
        self._writer.write(ipc.frame(Kind.VOUCH))

    async def drain(self) -> None:
        """Wait until the daemon takes more. For those who send a lot."""
        await self._writer.drain()

    async def query(self, name: str, **parameters: Any) -> dict[str, Any]:
        """Ask for `status`, `links` or `quorum`. QueryFailed with the daemon's reason; ConnectionError when it is gone."""
        if self._task.done():
            raise ConnectionResetError("the messaging daemon closed the connection")
        self._last_query += 1
        future = self._queries[self._last_query] = asyncio.get_running_loop().create_future()
        document = {"id": self._last_query, "name": name, "parameters": parameters}
        self._writer.write(ipc.json_frame(Kind.QUERY, document))
        async with asyncio.timeout(QUERY_TIMEOUT_S):
            reply = await future
        if "error" in reply:
            raise QueryFailed(str(reply["error"]))
        result: dict[str, Any] = reply["result"]
        return result

    async def leave(self) -> None:
        """Say goodbye to the group and close. The node stays a member; its crm is known to have gone on purpose."""
        self._writer.write(ipc.frame(Kind.LEAVE))
        await self.close()

    async def close(self) -> None:
        """End the connection. For an attached crm without `leave`, this looks like its death."""
        self._writer.close()
        with contextlib.suppress(OSError):  # the other side was faster
            await self._writer.wait_closed()
        await self._task

    async def _read(self) -> None:
        try:
            while True:
                size, kind = ipc.head(await self._reader.readexactly(ipc.HEAD.size))
                body = await self._reader.readexactly(size)
                if kind is Kind.REPLY:
                    reply = ipc.read_json(body)
                    future = self._queries.pop(int(reply.get("id", 0)), None)
                    if future is not None and not future.done():
                        future.set_result(reply)
                elif kind is Kind.DROPPED:
                    self.lost_reason = str(ipc.read_json(body).get("reason", ""))
                else:
                    self._events.put_nowait(ipc.read_event(kind, body))
        except (asyncio.IncompleteReadError, OSError):
            self.lost_reason = self.lost_reason or "the messaging daemon closed the connection"
        except Malformed as error:
            self.lost_reason = f"the messaging daemon sent nonsense: {error}"
        finally:
            self._writer.close()
            self._events.put_nowait(None)
            for future in self._queries.values():
                if not future.done():
                    future.set_exception(ConnectionResetError(self.lost_reason))
            self._queries.clear()
