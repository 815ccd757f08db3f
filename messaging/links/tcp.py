"""The streams between members: TCP connections that carry authenticated records (`messaging.stream`).

The node with the lower id dials. It tries the links in turn, those first that were heard last, until the stream stands
or is no longer wanted. The first attempt of each link is short, so that several links are tried while the peer still
waits for a stream that broke. A connection whose data is not acknowledged for `deadtime` is given up by the kernel
(TCP_USER_TIMEOUT); the channel above then goes on over the next one.

What is sent while the socket is full waits as messages, not as bytes, so that a message for many exists once.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import socket
from collections import deque
from collections.abc import Callable

from messaging.config import Endpoint, MessagingConfig
from messaging.effects import Event, StreamClosed, StreamOpened, StreamReceived
from messaging.errors import SetupError
from messaging.frame import FrameCodec, Rejection
from messaging.keyring import Keyring
from messaging.links.serial import SerialLink
from messaging.links.udp import IP_FREEBIND, IPV6_FREEBIND, resolve
from messaging.stream import MAX_MESSAGE_BYTES, StreamCodec, StreamRejected

HANDSHAKE_TIMEOUT_S = 3.0
ATTEMPT_PART = 4
"""The first attempt on a link may take this part of deadtime, at least `ATTEMPT_MIN_S`; later ones up to
`HANDSHAKE_TIMEOUT_S`."""

ATTEMPT_MIN_S = 0.2
SERIAL_PATIENCE = 3
"""A slow line takes so many times longer; it is tried when nothing else lives."""

REDIAL_FIRST_S = 0.02
REDIAL_MAX_S = 1.0
BACKLOG = 64
MAX_PENDING_CONNECTIONS = 64
"""Connections that have not yet proved who they are; beyond, the oldest of them is closed."""

RETIRED_S = 1.0
"""How long a stream may outlive its key: the word that the key is retired must itself be answered."""

KEEPALIVE_IDLE_S = 5
"""An idle connection whose other end is gone is noticed by the kernel; who is alive is not its question."""

WRITE_HIGH_BYTES = 1024 * 1024
CONTROL = b"\x80"
"""What begins with this is from daemon to daemon; no message of the core does (`messaging.messages`)."""

log = logging.getLogger("messaging")


class Connection(asyncio.Protocol):
    """One TCP connection, either end."""

    def __init__(self, streams: Streams, codec: StreamCodec, link: int) -> None:
        self.codec = codec
        self.link = link
        self.why = ""
        self.ended = asyncio.get_running_loop().create_future()
        self._streams = streams
        self._transport: asyncio.Transport | None = None
        self._queue: deque[bytes] = deque()
        self._paused = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        made: socket.socket | None = transport.get_extra_info("socket")
        if made is not None:  # else it is a serial line
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._streams.user_timeout_ms)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_IDLE_S)
        self._deadline = asyncio.get_running_loop().call_later(HANDSHAKE_TIMEOUT_S, self.close)
        self._streams.admit(self)
        transport.write(self.codec.start())

    def data_received(self, data: bytes) -> None:
        was_open = self.codec.open
        try:
            messages, reply = self.codec.feed(data)
        except StreamRejected as rejected:
            self._streams.frames.reject(rejected.reason)
            self.close()
            return
        if self._transport is None:
            return
        if reply:
            self._transport.write(reply)
        if self.codec.open and not was_open:
            if self._deadline is not None:
                self._deadline.cancel()
            self._streams.opened(self)
        for message in messages:
            self._streams.received(self, message)

    def send(self, message: bytes) -> None:
        """Send, or queue while the socket is full."""
        self._queue.append(message)
        self._pump()

    def _pump(self) -> None:
        while self._queue and not self._paused and self._transport is not None:
            self._transport.write(self.codec.encode(self._queue.popleft()))

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._pump()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._deadline is not None:
            self._deadline.cancel()
        self._streams.closed(self, self.why or str(exc or ""))
        if not self.ended.done():
            self.ended.set_result(None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Streams:
    """All streams of this node. `emit` takes the events for the core."""

    def __init__(
        self,
        config: MessagingConfig,
        frames: FrameCodec,
        incarnation: int,
        emit: Callable[[Event], None],
        ways: Callable[[int], list[int]],
        on_control: Callable[[int, bytes], None],
    ) -> None:
        self.frames = frames
        self.user_timeout_ms = config.timers.deadtime_ms
        self._config = config
        self._incarnation = incarnation
        self._emit = emit
        self._ways = ways
        self._on_control = on_control
        self._by_peer: dict[int, Connection] = {}
        self._pending: dict[Connection, None] = {}
        self._dialers: dict[int, asyncio.Task[None]] = {}
        self._servers: list[asyncio.Server] = []
        self.lines: dict[int, SerialLink] = {}

    async def start(self) -> None:
        """Listen on this node's endpoint of every link. SetupError when one cannot."""
        loop = asyncio.get_running_loop()
        for number, endpoint in enumerate(self._config.node(self._config.node_id).endpoints):
            if number in self.lines:
                self.lines[number].accept = functools.partial(self._make, number, None)
                continue
            family, address = resolve(endpoint)
            made = socket.socket(family, socket.SOCK_STREAM)
            made.setblocking(False)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
            else:
                made.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
            set_priority(made, family, self._config.links[number].dscp)
            try:
                made.bind(address)
            except OSError as error:
                made.close()
                raise SetupError(
                    f"link {number}: cannot listen on TCP {endpoint.host}:{endpoint.port}: {error.strerror}"
                ) from None
            accept = functools.partial(self._make, number, None)
            server = await loop.create_server(accept, sock=made, backlog=BACKLOG)
            self._servers.append(server)

    def relist(self, config: MessagingConfig) -> None:
        """Who belongs to the cluster from now on. The core ends the streams to those that do not."""
        self._config = config

    def _codec(self, dial_to: int | None) -> StreamCodec:
        return StreamCodec(
            self.frames.keyring,
            self._config.cluster,
            self._config.node_id,
            self._incarnation,
            self.frames.listed,
            os.urandom(16),
            dial_to,
            self._config.encryption,
        )

    def _make(self, link: int, dial_to: int | None) -> Connection:
        return Connection(self, self._codec(dial_to), link)

    # --- what the core asks for

    def open(self, peer: int) -> None:
        """Dial until it stands or `close`."""
        dialer = self._dialers.get(peer)
        if dialer is None or dialer.done():
            self._dialers[peer] = asyncio.get_running_loop().create_task(self._dial(peer))

    def close(self, peer: int) -> None:
        """End the stream and the dialing."""
        dialer = self._dialers.pop(peer, None)
        if dialer is not None:
            dialer.cancel()
        connection = self._by_peer.pop(peer, None)
        if connection is not None:
            connection.close()

    def send(self, peer: int, payload: bytes) -> None:
        connection = self._by_peer.get(peer)
        if connection is not None:
            connection.send(payload)

    def control(self, peer: int, payload: bytes) -> bool:
        """A word to the peer's daemon, outside the channel: it is lost when the stream breaks. False without a stream,
        or when it is larger than a message may be."""
        if len(payload) >= MAX_MESSAGE_BYTES or peer not in self._by_peer:
            return False
        self.send(peer, CONTROL + payload)
        return True

    def use(self, ring: Keyring) -> None:
        """End the streams whose key is no longer in the ring, once what is on its way has arrived; others are dialed."""
        for connection in self._by_peer.values():
            if ring.find(connection.codec.key_id) is None:
                asyncio.get_running_loop().call_later(RETIRED_S, connection.close)

    def link_of(self, peer: int) -> int | None:
        """The link that the stream to a peer uses."""
        connection = self._by_peer.get(peer)
        return connection.link if connection else None

    def move(self, peer: int) -> None:
        """Give up the present connection so that another link is tried."""
        connection = self._by_peer.get(peer)
        if connection is not None:
            connection.why = "the link is silent"
            connection.close()

    async def _dial(self, peer: int) -> None:
        wait_s = REDIAL_FIRST_S
        attempt_s = max(ATTEMPT_MIN_S, self.user_timeout_ms / 1000 / ATTEMPT_PART)
        endpoints = self._config.node(peer).endpoints
        while True:
            for link in self._ways(peer):
                try:
                    async with asyncio.timeout(attempt_s * (SERIAL_PATIENCE if link in self.lines else 1)):
                        await self._attempt(peer, link, endpoints[link])
                except (OSError, TimeoutError, SetupError):  # unreachable, silent, or its name does not resolve now
                    pass
                if self._by_peer.get(peer) is not None:
                    return
                await asyncio.sleep(wait_s)
                wait_s = min(REDIAL_MAX_S, 2 * wait_s)
            attempt_s = min(HANDSHAKE_TIMEOUT_S, 2 * attempt_s)

    async def _attempt(self, peer: int, link: int, endpoint: Endpoint) -> None:
        """One connection over one link, until it ends. `opened` ends the dialing when it stands."""
        dial = functools.partial(self._make, link, peer)
        if link in self.lines:
            await self._hold(peer, self.lines[link].dial(dial))
            return
        family, address = resolve(endpoint)
        loop = asyncio.get_running_loop()
        made = socket.socket(family, socket.SOCK_STREAM)
        try:
            made.setblocking(False)
            set_priority(made, family, self._config.links[link].dscp)
            await loop.sock_connect(made, address)
            _, connection = await loop.create_connection(dial, sock=made)
        except BaseException:
            made.close()
            raise
        await self._hold(peer, connection)

    async def _hold(self, peer: int, connection: asyncio.Protocol) -> None:
        """Until the connection ends, or the attempt does; `opened` ends the dialing first when it stands."""
        assert isinstance(connection, Connection)
        try:
            await asyncio.shield(connection.ended)
        finally:
            if self._by_peer.get(peer) is not connection:
                connection.close()

    # --- what connections report

    def admit(self, connection: Connection) -> None:
        """One more connection that has not proved anything: the oldest makes room."""
        self._pending[connection] = None
        if len(self._pending) > MAX_PENDING_CONNECTIONS:
            next(iter(self._pending)).close()

    def opened(self, connection: Connection) -> None:
        peer = connection.codec.peer
        assert peer is not None
        self._pending.pop(connection, None)
        older = self._by_peer.get(peer)
        if older is not None:
            if connection.codec.peer_incarnation < older.codec.peer_incarnation:
                self.frames.reject(Rejection.OLD_INCARNATION)
                connection.close()
                return
            older.close()
        self._by_peer[peer] = connection
        dialer = self._dialers.pop(peer, None)
        if dialer is not None:
            dialer.cancel()
        self._emit(StreamOpened(peer, connection.codec.peer_incarnation))

    def received(self, connection: Connection, message: bytes) -> None:
        peer = connection.codec.peer
        if peer is None or self._by_peer.get(peer) is not connection:
            return
        if message[:1] == CONTROL:
            self._on_control(peer, message[1:])
        else:
            self._emit(StreamReceived(peer, message))

    def closed(self, connection: Connection, why: str = "") -> None:
        self._pending.pop(connection, None)
        peer = connection.codec.peer
        if peer is not None and self._by_peer.get(peer) is connection:
            del self._by_peer[peer]
            log.info("link %d: the connection to node %d ended: %s", connection.link, peer, why or "closed there")
            self._emit(StreamClosed(peer))

    def shut(self) -> None:
        """End everything."""
        for server in self._servers:
            server.close()
        for dialer in self._dialers.values():
            dialer.cancel()
        self._dialers.clear()
        for connection in [*self._by_peer.values(), *self._pending]:
            connection.close()


def set_priority(made: socket.socket, family: socket.AddressFamily, dscp: int) -> None:
    """The DSCP of what goes over a TCP socket; accepted connections inherit it from the listening one."""
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
    else:
        made.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
