"""How crm talks to the messaging daemon of its node (asyncio).

    client = await MessagingClient.connect(run_dir / "messaging.sock")
    async for event in client.events():          # View first, then in order what happens in it
        ...

`attach=True` (the default) makes this connection *the* crm of the node: there is one at a time, it is in the group, it
hears events, and it must `vouch()` at least every `vouch_interval_ms`. With `attach=False` the connection can only
`query`. The iterator ends when the connection does; `lost_reason` says why, when the daemon said so.

Messages of any size up to `MAX_MESSAGE_BYTES` may be sent. Beyond `FRAGMENT_BYTES` they travel in fragments, so that the
daemons handle small pieces only; this side takes them apart and puts them together. A message stands in the order where
its last fragment does. As all members see the same fragments in the same order, they still see the same messages in the
same order, and a message whose last fragment missed its view is delivered nowhere.

A multicast belongs to the view that this client has last handed out through `events()`. If the cluster has gone on, the
answer is `Undelivered` and the view that explains it is next in the iterator.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from messaging import ipc
from messaging.errors import Malformed, MessagingError
from messaging.ipc import Kind
from messaging.messages import NO_VIEW
from messaging.ordering import MAX_PAYLOAD_BYTES
from messaging.types import Delivered, Direct, MessagingEvent, Undelivered, View, ViewId

CONNECT_TIMEOUT_S = 10.0
QUERY_TIMEOUT_S = 10.0
FRAGMENT_BYTES = MAX_PAYLOAD_BYTES - 1
MAX_MESSAGE_BYTES = 64 * 1024 * 1024

_FIRST, _LAST = 1, 2
"""Bits of the byte before each fragment."""


class AttachRefused(MessagingError):
    """The daemon has a crm already, or did not understand this one."""


class QueryFailed(MessagingError):
    """The daemon could not answer a query."""


class _Puzzle:
    """Puts fragments together, sender by sender."""

    def __init__(self) -> None:
        self._parts: dict[int, list[bytes]] = {}

    def add(self, sender: int, fragment: bytes) -> bytes | None:
        """The whole message when this was its last fragment."""
        if not fragment:
            raise Malformed("a fragment without a head")
        flags, body = fragment[0], fragment[1:]
        if flags == _FIRST | _LAST:
            return body
        if flags & _FIRST:
            self._parts[sender] = []
        parts = self._parts.get(sender)
        if parts is None:
            return None  # the beginning was before our time
        parts.append(body)
        if not flags & _LAST:
            return None
        del self._parts[sender]
        return b"".join(parts)

    def drop(self, senders: Iterable[int] | None = None) -> None:
        """Forget what is not whole: of these senders, or of all."""
        for sender in list(self._parts) if senders is None else senders:
            self._parts.pop(sender, None)


def _fragments(payload: bytes) -> Iterator[bytes]:
    if len(payload) > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message of {len(payload)} bytes; at most {MAX_MESSAGE_BYTES} can be sent")
    for start in range(0, max(1, len(payload)), FRAGMENT_BYTES):
        flags = (_FIRST if start == 0 else 0) | (_LAST if start + FRAGMENT_BYTES >= len(payload) else 0)
        yield bytes([flags]) + payload[start : start + FRAGMENT_BYTES]


class MessagingClient:
    """One connection to the daemon. Made by `connect`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, welcome: dict[str, Any]) -> None:
        self.node_id: int = welcome["node_id"]
        self.node_name: str = welcome["name"]
        self.cluster: str = welcome["cluster"]
        self.vouch_interval_ms: int = welcome["vouch_interval_ms"]
        self.weighs: bool = bool(welcome.get("weighs"))
        """Whether the tie-breaker wants to know what this node runs (`weight.set`)."""
        self.lost_reason = ""
        self._reader = reader
        self._writer = writer
        self._events: asyncio.Queue[MessagingEvent | None] = asyncio.Queue()
        self._queries: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._last_token = 0
        self._on_the_way: deque[tuple[int, int]] = deque()  # first and last token of each multicast
        self._multicasts = _Puzzle()
        self._directs = _Puzzle()
        self._place = 0
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
        """Send to the whole group, this node included. Returns the token that `Delivered` or `Undelivered` will carry.

        ValueError when the payload is larger than `MAX_MESSAGE_BYTES`.
        """
        first = self._last_token + 1
        for fragment in _fragments(payload):
            self._last_token += 1
            self._writer.write(ipc.multicast_frame(self._last_token, self._view_id, fragment))
        self._on_the_way.append((first, self._last_token))
        return self._last_token

    def send(self, node_id: int, payload: bytes) -> None:
        """Send to the crm of one member. Lost when it is not in the group; views tell. ValueError as for `multicast`."""
        for fragment in _fragments(payload):
            self._writer.write(ipc.send_frame(node_id, fragment))

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

    def _whole(self, event: MessagingEvent) -> MessagingEvent | None:
        """The event as crm knows it: whole messages, each with its place and one fate."""
        match event:
            case Delivered(sender=sender, payload=payload, token=token):
                whole = self._multicasts.add(sender, payload)
                if whole is None:
                    return None
                self._place += 1
                if sender == self.node_id:
                    self._settle(token)
                return replace(event, payload=whole, sequence=self._place)
            case Direct(sender, payload):
                whole = self._directs.add(sender, payload)
                return None if whole is None else Direct(sender, whole)
            case Undelivered(token):
                last = self._settle(token)
                return None if last is None else Undelivered(last)
            case View():
                self._place = 0
                self._multicasts.drop()
                self._directs.drop([member.node_id for member in event.left])
        return event

    def _settle(self, token: int) -> int | None:
        """The multicast that this token is part of has its fate: its own token, or None when it had it before."""
        for place, (first, last) in enumerate(self._on_the_way):
            if first <= token <= last:
                del self._on_the_way[place]
                return last
            if token < first:
                break
        return None

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
                    event = self._whole(ipc.read_event(kind, body))
                    if event is not None:
                        self._events.put_nowait(event)
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
