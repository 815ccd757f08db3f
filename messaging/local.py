"""The Unix socket towards this node's crm: one attached crm, any number of clients that only ask.

Connections are accepted from root and from the daemon's own user. A crm that does not read what it is sent is dropped
when `MAX_UNREAD_BYTES` wait for it. What comes from it is trusted to be well-meant but not to be right: a frame that
does not decode ends the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from messaging import ipc
from messaging.effects import CrmAttached, CrmDetached, CrmMulticast, CrmSend, CrmVouched, Event
from messaging.errors import Malformed, SetupError
from messaging.ipc import Kind
from messaging.types import MessagingEvent

MAX_UNREAD_BYTES = 256 * 1024 * 1024
MAX_CLIENTS = 64
_CREDENTIALS = struct.Struct("@iII")


class LocalClient(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: LocalServer) -> None:
        self._server = server
        self._buffer = bytearray()
        self._greeted = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if not self._server.admit(self):
            transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            self._consume()
        except Malformed as error:
            self._server.note(f"a client of {self._server.path} sent nonsense ({error}): closed")
            self.close()

    def _consume(self) -> None:
        at = 0
        while len(self._buffer) - at >= ipc.HEAD.size and self.transport is not None:
            size, kind = ipc.head(bytes(self._buffer[at : at + ipc.HEAD.size]))
            end = at + ipc.HEAD.size + size
            if len(self._buffer) < end:
                break
            body = bytes(self._buffer[at + ipc.HEAD.size : end])
            at = end
            self._on_frame(kind, body)
        del self._buffer[:at]

    def _on_frame(self, kind: Kind, body: bytes) -> None:
        if not self._greeted:
            if kind is not Kind.ATTACH:
                raise Malformed(f"{kind.name} before ATTACH")
            self._greeted = True
            self._server.greet(self, bool(ipc.read_json(body).get("attach", True)))
        elif kind is Kind.QUERY:
            self._server.answer(self, ipc.read_json(body))
        elif self._server.crm is self:
            self._server.on_crm_frame(kind, body)
        else:
            raise Malformed(f"{kind.name} from a client that is not attached")

    def write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._server.gone(self)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()


class LocalServer:
    """See the module's text. `emit` takes events for the core, `ask` answers queries."""

    def __init__(
        self,
        path: Path,
        welcome: dict[str, Any],
        emit: Callable[[Event], None],
        ask: Callable[[str, dict[str, Any]], dict[str, Any]],
        note: Callable[[str], None],
    ) -> None:
        self.path = path
        self.crm: LocalClient | None = None
        self.note = note
        self._welcome = welcome
        self._emit = emit
        self._ask = ask
        self._clients: set[LocalClient] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. SetupError when another daemon of this node does, or the folder refuses."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            if _answers(self.path):
                raise SetupError(f"another messaging daemon of this node listens on {self.path}")
            self.path.unlink()
        try:
            old_mask = os.umask(0o177)
            try:
                loop = asyncio.get_running_loop()
                self._server = await loop.create_unix_server(lambda: LocalClient(self), str(self.path))
            finally:
                os.umask(old_mask)
        except OSError as error:
            raise SetupError(f"cannot listen on {self.path}: {error.strerror or error}") from None

    def admit(self, client: LocalClient) -> bool:
        """Whether the peer may talk to us at all."""
        assert client.transport is not None
        made: socket.socket = client.transport.get_extra_info("socket")
        credentials = made.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        uid = _CREDENTIALS.unpack(credentials)[1]
        if uid not in (0, os.geteuid()):
            self.note(f"user {uid} tried to connect to {self.path}: refused")
            return False
        if len(self._clients) >= MAX_CLIENTS:
            return False
        self._clients.add(client)
        return True

    def greet(self, client: LocalClient, attach: bool) -> None:
        """The first word of a client."""
        if attach and self.crm is not None:
            client.write(ipc.json_frame(Kind.REFUSED, {"reason": "a crm is attached already"}))
            client.close()
            return
        client.write(ipc.json_frame(Kind.WELCOME, self._welcome))
        if attach:
            self.crm = client
            self._emit(CrmAttached())

    def on_crm_frame(self, kind: Kind, body: bytes) -> None:
        match kind:
            case Kind.VOUCH:
                self._emit(CrmVouched())
            case Kind.MULTICAST:
                message = ipc.read_multicast(body)
                self._emit(CrmMulticast(message.token, message.view_id, message.payload))
            case Kind.SEND:
                node_id, payload = ipc.read_send(body)
                self._emit(CrmSend(node_id, payload))
            case Kind.LEAVE:
                client, self.crm = self.crm, None
                self._emit(CrmDetached(graceful=True))
                if client is not None:
                    client.close()
            case _:
                raise Malformed(f"{kind.name} from a client")

    def answer(self, client: LocalClient, request: dict[str, Any]) -> None:
        reply: dict[str, Any] = {"id": request.get("id", 0)}
        try:
            reply["result"] = self._ask(str(request.get("name", "")), dict(request.get("parameters", {})))
        except (ValueError, TypeError) as error:
            reply["error"] = str(error)
        client.write(ipc.json_frame(Kind.REPLY, reply))

    def gone(self, client: LocalClient) -> None:
        """A connection ended."""
        self._clients.discard(client)
        if self.crm is client:
            self.crm = None
            self._emit(CrmDetached(graceful=False))

    # --- what the core asks for

    def notify(self, event: MessagingEvent) -> None:
        """To the attached crm."""
        client = self.crm
        if client is None or client.transport is None:
            return
        client.write(ipc.event_frame(event))
        if client.transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            self.note("crm does not read what it is sent: closed")
            client.transport.abort()

    def drop(self, reason: str) -> None:
        """End the connection of the attached crm."""
        client, self.crm = self.crm, None
        if client is not None and client.transport is not None:
            client.write(ipc.json_frame(Kind.DROPPED, {"reason": reason}))
            client.close()

    def hold(self, hold: bool) -> None:
        """Stop reading from crm, or go on."""
        if self.crm is None or self.crm.transport is None:
            return
        with contextlib.suppress(RuntimeError):  # already so
            if hold:
                self.crm.transport.pause_reading()
            else:
                self.crm.transport.resume_reading()

    def shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self.path.unlink(missing_ok=True)
        for client in list(self._clients):
            client.close()


def _answers(path: Path) -> bool:
    probe = socket.socket(socket.AF_UNIX)
    try:
        probe.connect(str(path))
    except OSError:
        return False
    finally:
        probe.close()
    return True
