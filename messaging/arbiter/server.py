"""The arbiter at the edge: TLS connections, the core, and its records. One asyncio loop; a record that is written blocks it on purpose.

A cluster's certificate decides for which cluster a connection speaks, not what it says. Connections that do not greet in time, send what
is no message, or more than they may, are closed. When a record cannot be written, the arbiter ends: no answer is better than one that
it could forget.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import ssl
import time
from pathlib import Path

from messaging.arbiter import certificates
from messaging.arbiter.core import Answer, Arbiter, Close, Effect, Persist, Say
from messaging.arbiter.protocol import Decoder, Hello, Message, Refused, Report, encode
from messaging.arbiter.records import Records
from messaging.errors import Malformed, SetupError

HELLO_LIMIT_S = 10.0
HANDSHAKE_LIMIT_S = 10.0
MAX_CONNECTIONS = 4096
MAX_UNREAD_BYTES = 65_536
CHUNK = 65_536

log = logging.getLogger("vigil-arbiter")


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class Server:
    """See the module's text. `run` until SIGTERM; SIGHUP reads again which clusters may speak."""

    def __init__(self, folder: Path, host: str, port: int) -> None:
        self._folder = folder
        self._host = host
        self._port = port
        self._records = Records(folder / "records")
        self._context = certificates.server_context(folder)
        self._clusters = certificates.clusters(folder)
        self._core = Arbiter(self._records.load(), now_ms())
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self._speaks_for: dict[int, str] = {}
        self._last = 0
        self._done: asyncio.Future[int] | None = None

    async def run(self) -> int:
        """The exit code."""
        loop = asyncio.get_running_loop()
        self._done = loop.create_future()
        for note in self._records.notes:
            log.warning(note)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, 0)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        try:
            server = await asyncio.start_server(
                self._serve,
                self._host or None,
                self._port,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_LIMIT_S,
            )
        except OSError as error:
            raise SetupError(f"cannot listen on {self._host}:{self._port}: {error.strerror or error}") from None
        status = await self._serve_status()
        log.info("arbiter of %d clusters, on port %d", len(self._clusters), self._port)
        try:
            return await self._done
        finally:
            server.close()
            status.close()
            (self._folder / "status.sock").unlink(missing_ok=True)
            for writer in list(self._writers.values()):
                writer.transport.abort()

    def _end(self, code: int) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(code)

    def _reload(self) -> None:
        before, self._clusters = self._clusters, certificates.clusters(self._folder)
        for der, name in before.items():
            if der not in self._clusters:
                log.info("%s: its certificate is not valid any more", name)
                self._perform(self._core.drop_cluster(name))
        log.info("arbiter of %d clusters", len(self._clusters))

    # --- connections

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._last += 1
        connection = self._last
        try:
            cluster = self._cluster_of(writer)
            if cluster is None or len(self._writers) >= MAX_CONNECTIONS:
                return
            _no_delay(writer)
            self._writers[connection] = writer
            self._speaks_for[connection] = cluster
            await self._listen(connection, reader)
        except (OSError, TimeoutError, ssl.SSLError):
            pass  # the connection ended, one way or the other
        except Malformed as error:
            log.warning("%s: %s: closed", self._speaks_for.get(connection), error)
        finally:
            self._perform(self._core.on_closed(connection))
            self._writers.pop(connection, None)
            self._speaks_for.pop(connection, None)
            writer.close()

    def _cluster_of(self, writer: asyncio.StreamWriter) -> str | None:
        made: ssl.SSLObject = writer.get_extra_info("ssl_object")
        der = made.getpeercert(binary_form=True) or b""
        name = self._clusters.get(der)
        if name is None:
            self._clusters = certificates.clusters(self._folder)  # it may have been added a moment ago
            name = self._clusters.get(der)
        if name is None:
            log.warning("%s shows a certificate that is not valid any more: refused", writer.get_extra_info("peername"))
            writer.write(encode(Refused("this certificate is not valid any more: see vigil-arbiter list")))
        return name

    async def _listen(self, connection: int, reader: asyncio.StreamReader) -> None:
        decoder = Decoder()
        greeted = False
        while connection in self._writers:
            async with asyncio.timeout(None if greeted else HELLO_LIMIT_S):
                data = await reader.read(CHUNK)
            if not data:
                return
            for message in decoder.feed(data):
                greeted = True
                self._take(connection, message)

    def _take(self, connection: int, message: Message) -> None:
        match message:
            case Hello() if message.cluster != self._speaks_for[connection]:
                reason = f"this certificate is for cluster {self._speaks_for[connection]}, not for {message.cluster}"
                self._perform([Answer(connection, Refused(reason)), Close(connection)])
            case Hello():
                self._perform(self._core.on_hello(connection, message, now_ms()))
            case Report():
                self._perform(self._core.on_report(connection, message, now_ms()))
            case _:
                raise Malformed("a word that only an arbiter says")

    # --- effects

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Persist(cluster, record):
                    try:
                        self._records.save(cluster, record)
                    except OSError as error:
                        log.critical("the arbiter ends: its record cannot be written: %s", error)
                        self._end(1)
                        return  # what follows relies on it
                case Answer(connection, message):
                    self._send(connection, message)
                case Close(connection):
                    writer = self._writers.pop(connection, None)
                    if writer is not None:
                        writer.close()
                case Say(text):
                    log.info(text)

    def _send(self, connection: int, message: Message) -> None:
        writer = self._writers.get(connection)
        if writer is None or writer.is_closing():
            return
        writer.write(encode(message))
        if writer.transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            writer.transport.abort()

    # --- for people

    async def _serve_status(self) -> asyncio.Server:
        path = self._folder / "status.sock"
        path.unlink(missing_ok=True)

        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(json.dumps(self._core.status(now_ms())).encode() + b"\n")
            with contextlib.suppress(OSError):
                await writer.drain()
            writer.close()

        old_mask = os.umask(0o177)
        try:
            return await asyncio.start_unix_server(answer, str(path))
        finally:
            os.umask(old_mask)


def _no_delay(writer: asyncio.StreamWriter) -> None:
    made: socket.socket = writer.get_extra_info("socket")
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
