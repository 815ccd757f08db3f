"""The asyncio server of the local API. It knows frames, requests and clients; what a method does is its handler's matter.

Theory of operation. A connection is accepted when the kernel says (SO_PEERCRED, SO_PEERGROUPS) that its peer runs as an allowed user, or belongs to
the allowed group; otherwise it gets one error and is closed. What such a user may do then is the matter of `guard`, which sees every request first. A reader task takes requests, each runs as a task of its own, so a slow one holds up
nothing; a writer task is the only one that writes. Everything a client can make us keep is bounded:

- a frame by `wire.MAX_REQUEST_BYTES`;
- unanswered requests by `MAX_PENDING` (the server then stops reading: the client waits, nothing is lost);
- events of a subscription by `MAX_QUEUED_EVENTS`, answers by `MAX_PENDING`: a subscriber that does not read is dropped with the reason
  `slow-client`, since events that are silently left out would be worse.

A handler answers with a JSON value or raises `ApiError`. Any other exception is a fault of ours: it is logged with its traceback, the
client gets `internal`, and the daemon goes on; this is the daemon's edge, so the broad `except` has its place here.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import logging
import os
import pwd
import re
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from crm.api import errors, wire
from crm.api.errors import ApiError, ErrorItem

MAX_CLIENTS: Final = 256
MAX_PENDING: Final = 64
"""Requests of one client that may be unanswered; the server reads no further meanwhile."""
MAX_QUEUED_EVENTS: Final = 1024
"""Events of one subscription that may be unsent before the client counts as slow."""
MAX_SUBSCRIPTIONS: Final = 16
"""Subscriptions of one client; fewer than MAX_PENDING, so that they can never use up the room for requests."""
SLOW_GRACE_S: Final = 2.0
"""How long a slow client has to take its last frame before the connection is cut."""
_CHUNK = 256 * 1024
_BACKLOG = 64
_CREDENTIALS = struct.Struct("3i")
_GROUP = struct.Struct("I")
_SO_PEERGROUPS = 59  # of <asm-generic/socket.h>; the socket module does not name it
_MAX_GROUPS = 1024
_IMPOSSIBLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 does not have (section 2.2), and halves of surrogate pairs."""

_log = logging.getLogger("vigil.api")


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, as the kernel knows it. `groups`: those that the process had when it connected, and those that its user is a member of."""

    pid: int
    uid: int
    gid: int
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """One request. The accessors check a parameter's type; `ApiError` (bad-request) names the parameter."""

    method: str
    params: Mapping[str, Any]
    peer: Peer

    def text(self, name: str, default: str | None = None, *, choices: tuple[str, ...] = ()) -> str | None:
        """A string, `default` when absent; with `choices`, one of them."""
        value = self.params.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self._wrong(name, "a string", value)
        if choices and value not in choices:
            raise self._wrong(name, f"one of {', '.join(choices)}", value)
        return value

    def need_text(self, name: str, *, choices: tuple[str, ...] = ()) -> str:
        value = self.text(name, choices=choices)
        if value is None:
            raise self._wrong(name, f"one of {', '.join(choices)}" if choices else "a string", None)
        return value

    def integer(self, name: str, default: int | None = None) -> int | None:
        value = self.params.get(name)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(name, "an integer", value)
        return value

    def boolean(self, name: str, default: bool = False) -> bool:
        value = self.params.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false", value)
        return value

    def only(self, *names: str) -> None:
        """Refuses parameters that the method does not have, all at once: a misspelt one must not be ignored."""
        unknown = sorted(set(self.params) - set(names))
        if unknown:
            expected = f"expected {', '.join(names)}" if names else "it takes none"
            items = [
                ErrorItem("error", "unknown-parameter", name, f"no such parameter; {expected}") for name in unknown
            ]
            raise ApiError(
                errors.BAD_REQUEST, f"{self.method} has no parameter {', '.join(unknown)}; {expected}", items
            )

    def _wrong(self, name: str, expected: str, value: object) -> ApiError:
        got = "it is missing" if value is None else f"got {value!r}"
        item = ErrorItem("error", "wrong-parameter", name, f"expected {expected}, {got}")
        return ApiError(errors.BAD_REQUEST, f"{self.method}: parameter {name}: expected {expected}, {got}", [item])


Handler = Callable[[Call], Awaitable[Any]]
Guard = Callable[[Call], None]
"""Sees every request before its handler; ApiError refuses it."""
SubscriptionHandler = Callable[[Call, "Feed"], Awaitable[Any]]


class Feed:
    """The events of one subscription on their way to its client."""

    def __init__(self, connection: _Connection, request: int) -> None:
        self._connection = connection
        self._request = request
        self._queued = 0
        self._closed = asyncio.Event()

    @property
    def open(self) -> bool:
        return not self._closed.is_set()

    def push(self, event: Any) -> bool:
        """Queues one event (a JSON value). False when the subscription is over, also because this one was too many."""
        if self._closed.is_set():
            return False
        if self._queued >= MAX_QUEUED_EVENTS:
            self._connection.drop_slow(self._request, self._queued)
            return False
        self._queued += 1
        self._connection.put({"id": self._request, "event": event}, self)
        return True

    async def closed(self) -> None:
        """Returns when the subscription is over: what a handler waits for that only registers the feed somewhere."""
        await self._closed.wait()

    def _sent(self) -> None:
        self._queued -= 1

    def _close(self) -> None:
        self._closed.set()


class Hub:
    """Sends events to all who have subscribed. `hub.serve` is a subscription handler."""

    def __init__(self) -> None:
        self._feeds: set[Feed] = set()

    @property
    def subscribers(self) -> int:
        return len(self._feeds)

    def publish(self, event: Any) -> None:
        for feed in tuple(self._feeds):
            if not feed.push(event):
                self._feeds.discard(feed)

    async def serve(self, call: Call, feed: Feed) -> None:
        self._feeds.add(feed)
        try:
            await feed.closed()
        finally:
            self._feeds.discard(feed)


@dataclass(slots=True)
class Counters:
    """What the server has seen since its start, for `status` and metrics."""

    clients: int = 0
    accepted: int = 0
    refused: int = 0
    requests: int = 0
    errors: int = 0
    wire_errors: int = 0
    slow_clients: int = 0


@dataclass(slots=True)
class _Methods:
    calls: dict[str, Handler] = field(default_factory=dict)
    subscriptions: dict[str, SubscriptionHandler] = field(default_factory=dict)
    guard: Guard = lambda call: None

    def names(self) -> list[str]:
        return sorted([*self.calls, *self.subscriptions])


class ApiServer:
    """Listens on a Unix socket. Root and the daemon's own user may call, those in `allowed_uids`, and the members of the group `allowed_gid`.

    server = ApiServer(RUN_DIR / "crm.sock")
    server.method("cib.query", handler)           # async def handler(call: Call) -> JSON value
    server.subscription("events", hub.serve)      # async def handler(call: Call, feed: Feed)
    await server.start()
    """

    def __init__(
        self, path: str | Path, *, allowed_uids: frozenset[int] = frozenset(), allowed_gid: int | None = None
    ) -> None:
        self.path = Path(path)
        self.allowed_uids = allowed_uids | {0, os.geteuid()}
        self.allowed_gid = allowed_gid
        self.counters = Counters()
        self._methods = _Methods()
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    def guard(self, guard: Guard) -> None:
        """Asked before each request of any method, also of those that are registered later."""
        self._methods.guard = guard

    def method(self, name: str, handler: Handler) -> None:
        """Registers a method; the handler runs as a task and is cancelled when its client goes away."""
        self._add(name)
        self._methods.calls[name] = handler

    def subscription(self, name: str, handler: SubscriptionHandler) -> None:
        """Registers a subscription; it ends when the handler returns, raises, or its client goes away."""
        self._add(name)
        self._methods.subscriptions[name] = handler

    def _add(self, name: str) -> None:
        if name in self._methods.names() or name == "cancel":
            raise ValueError(f"the method {name} is registered already")

    async def start(self) -> None:
        """Binds the socket and accepts. Its mode is 0600; 0666 when others are allowed, since the check is by credentials."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            listener.bind(str(self.path))
            others = self.allowed_gid is not None or self.allowed_uids - {0, os.geteuid()}
            self.path.chmod(0o666 if others else 0o600)
            self._server = await asyncio.start_unix_server(self._accepted, sock=listener, backlog=_BACKLOG)
        except BaseException:
            listener.close()
            raise

    async def close(self) -> None:
        """Stops accepting, tells every client `shutting-down`, and cancels what is running."""
        if self._server is not None:
            self._server.close()
        goodbye = ApiError(errors.SHUTTING_DOWN, "the daemon is shutting down")
        await asyncio.gather(*(connection.end(goodbye) for connection in tuple(self._connections)))
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = _peer(writer)
        if peer.uid not in (0, os.geteuid()):
            # In a thread: the user database may be on another machine.
            peer = replace(peer, groups=(*peer.groups, *await asyncio.to_thread(_memberships, peer.uid)))
        refusal: ApiError | None = None
        if peer.uid not in self.allowed_uids and self.allowed_gid not in (peer.gid, *peer.groups):
            group = "" if self.allowed_gid is None else f"; members of group {_group_name(self.allowed_gid)} may"
            refusal = ApiError(errors.PERMISSION_DENIED, f"user {peer.uid} may not talk to this daemon{group}")
        elif len(self._connections) >= MAX_CLIENTS:
            refusal = ApiError(errors.UNAVAILABLE, f"more than {MAX_CLIENTS} clients are connected")
        if refusal is not None:
            self.counters.refused += 1
            _log.warning("refused a client: pid %d: %s", peer.pid, refusal.message)
            with contextlib.suppress(OSError):
                writer.write(wire.encode({"id": None, "error": refusal.to_json()}))
                await writer.drain()
            writer.close()
            return
        connection = _Connection(reader, writer, peer, self._methods, self.counters)
        self._connections.add(connection)
        self.counters.accepted += 1
        self.counters.clients = len(self._connections)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            self.counters.clients = len(self._connections)


class _Connection:
    """One client: a reader (this task), a writer task, and a task for each request."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        peer: Peer,
        methods: _Methods,
        counters: Counters,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._peer = peer
        self._methods = methods
        self._counters = counters
        self._outgoing: deque[tuple[dict[str, Any], Feed | None]] = deque()
        self._wake = asyncio.Event()
        self._ending = False
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._feeds: dict[int, Feed] = {}
        self._room = asyncio.Event()
        self._room.set()
        self._sender: asyncio.Task[None] | None = None
        self._done = asyncio.Event()

    async def run(self) -> None:
        self._sender = asyncio.create_task(self._send(), name="api writer")
        try:
            await self._receive()
        except OSError:
            pass
        finally:
            await self._finish()

    async def end(self, reason: ApiError) -> None:
        """Last frame, then the end; returns when the connection is gone."""
        self._last(None, reason)
        await self._done.wait()

    def put(self, frame: dict[str, Any], feed: Feed | None = None) -> None:
        if not self._ending:
            self._outgoing.append((frame, feed))
            self._wake.set()

    def drop_slow(self, request: int, queued: int) -> None:
        self._counters.slow_clients += 1
        _log.warning("dropped a slow client: pid %d left %d events unread", self._peer.pid, queued)
        self._outgoing.clear()
        self._last(request, ApiError(errors.SLOW_CLIENT, f"{queued} events were left unread; the subscription is over"))

    def _last(self, request: int | None, reason: ApiError) -> None:
        """Queues the final frame; the connection is closed when it is sent, or cut after a grace."""
        if self._ending:
            return
        self.put({"id": request, "error": reason.to_json()})
        self._ending = True
        self._room.set()
        for feed in self._feeds.values():
            feed._close()
        asyncio.get_running_loop().call_later(SLOW_GRACE_S, self._cut)

    def _cut(self) -> None:
        if not self._done.is_set():
            self._writer.transport.abort()

    async def _receive(self) -> None:
        decoder = wire.Decoder(wire.MAX_REQUEST_BYTES)
        while data := await self._reader.read(_CHUNK):
            try:
                for frame in decoder.feed(data):
                    await self._room.wait()
                    self._request(frame)
            except wire.WireError as error:
                self._counters.wire_errors += 1
                self._last(None, ApiError(errors.BAD_REQUEST, str(error)))
                if self._sender is not None:
                    await self._sender
                return
            if self._ending:
                return

    def _request(self, frame: dict[str, Any]) -> None:
        identity, method, params = frame.get("id"), frame.get("method"), frame.get("params", {})
        problem = ""
        if not isinstance(identity, int) or isinstance(identity, bool):
            problem, identity = "a request needs an integer id", None
        elif identity in self._tasks:
            problem = f"the id {identity} belongs to a request that is not answered yet"
        elif not isinstance(method, str):
            problem = "a request needs a method"
        elif not isinstance(params, dict):
            problem = "params is not an object"
        elif (where := _not_text(params)) is not None:
            problem = f"parameter {where}: expected text that XML can hold, got control characters or broken UTF-8"
        if problem or identity is None or not isinstance(method, str) or not isinstance(params, dict):
            self._counters.errors += 1
            # Without an id of its own the answer would be taken for one to another request.
            known = identity if identity is not None and identity not in self._tasks else None
            self.put({"id": known, "error": ApiError(errors.BAD_REQUEST, problem).to_json()})
            return
        self._counters.requests += 1
        if method == "cancel":
            self._cancel(identity, params)
            return
        call = Call(method, params, self._peer)
        task = asyncio.create_task(self._serve(identity, call), name=f"api {method}")
        self._tasks[identity] = task
        if len(self._tasks) >= MAX_PENDING:
            self._room.clear()

    def _cancel(self, identity: int, params: dict[str, Any]) -> None:
        """Ends a request or subscription of this client: `{"method": "cancel", "params": {"id": 7}}`."""
        target = params.get("id")
        task = self._tasks.get(target) if isinstance(target, int) else None
        if task is not None:
            task.cancel()
        self.put({"id": identity, "result": task is not None})

    async def _serve(self, identity: int, call: Call) -> None:
        frame: dict[str, Any]
        try:
            frame = {"id": identity, "result": await self._handle(identity, call)}
        except ApiError as error:
            self._counters.errors += 1
            frame = {"id": identity, "error": error.to_json()}
        except asyncio.CancelledError:
            frame = {"id": identity, "error": ApiError(errors.CANCELLED, f"{call.method} was cancelled").to_json()}
        except Exception:
            self._counters.errors += 1
            _log.exception("the handler of %s failed", call.method)
            text = f"{call.method} failed inside the daemon; its log has the details"
            frame = {"id": identity, "error": ApiError(errors.INTERNAL, text).to_json()}
        finally:
            self._tasks.pop(identity, None)
            feed = self._feeds.pop(identity, None)
            if feed is not None:
                feed._close()
            self._room.set()
        self.put(frame)

    async def _handle(self, identity: int, call: Call) -> Any:
        handler = self._methods.calls.get(call.method)
        if handler is not None or call.method in self._methods.subscriptions:
            self._methods.guard(call)
        if handler is not None:
            return await handler(call)
        subscription = self._methods.subscriptions.get(call.method)
        if subscription is None:
            known = ", ".join(self._methods.names())
            raise ApiError(errors.UNKNOWN_METHOD, f"there is no method {call.method!r}; known are {known}")
        if len(self._feeds) >= MAX_SUBSCRIPTIONS:
            raise ApiError(errors.BAD_REQUEST, f"a client may have {MAX_SUBSCRIPTIONS} subscriptions at once")
        feed = Feed(self, identity)
        self._feeds[identity] = feed
        return await subscription(call, feed)

    async def _send(self) -> None:
        try:
            while True:
                while self._outgoing:
                    frame, feed = self._outgoing.popleft()
                    self._writer.write(_encode(frame))
                    await self._writer.drain()
                    if feed is not None:
                        feed._sent()
                if self._ending:
                    break
                self._wake.clear()
                await self._wake.wait()
        except OSError:
            pass
        # Wakes the reader, which ends the connection.
        self._writer.close()

    async def _finish(self) -> None:
        for feed in self._feeds.values():
            feed._close()
        tasks = [*self._tasks.values()]
        if self._sender is not None:
            if self._ending and not self._sender.done():
                with contextlib.suppress(OSError):
                    await self._sender
            tasks.append(self._sender)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        self._done.set()


def _not_text(value: Any) -> str | None:
    """The name of the first parameter with characters that no XML document can hold.

    They are refused here, once for all methods: what is said to all members, and only then found to be impossible, would end every one of them.
    """
    if isinstance(value, str):
        return "" if _IMPOSSIBLE.search(value) else None
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in items:
        inner = _not_text(name) if isinstance(name, str) else None
        if inner is None:
            inner = _not_text(each)
        if inner is not None:
            return f"{name!r}"
    return None


def _encode(frame: dict[str, Any]) -> bytes:
    try:
        return wire.encode(frame)
    except (TypeError, ValueError) as error:
        _log.error("an answer is not JSON: %s", error)
        fault = ApiError(errors.INTERNAL, "the answer could not be written as JSON; the daemon's log has the details")
        return wire.encode({"id": frame.get("id"), "error": fault.to_json()})


def _peer(writer: asyncio.StreamWriter) -> Peer:
    connection: socket.socket = writer.get_extra_info("socket")
    pid, uid, gid = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return Peer(pid, uid, gid, _groups(connection))


def _groups(connection: socket.socket) -> tuple[int, ...]:
    """None where the kernel does not tell; the user database does then."""
    try:
        data = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MAX_GROUPS * _GROUP.size)
    except OSError:
        return ()
    return tuple(number for (number,) in _GROUP.iter_unpack(data))


def _memberships(uid: int) -> tuple[int, ...]:
    try:
        user = pwd.getpwuid(uid)
        return tuple(os.getgrouplist(user.pw_name, user.pw_gid))
    except (KeyError, OSError):
        return ()


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
