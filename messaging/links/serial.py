"""A serial line between two nodes: heartbeats, and the stream between the two while no other link lives.

Frames (`messaging.frame`) follow each other on the line as in SLIP (RFC 1055): an END byte ends each, and the two bytes
that would be mistaken are escaped. What is not a frame (noise, the middle of one after a restart) ends at the next END
and is dropped by the codec. The first byte of a payload says what it is:

    0  a heartbeat, as on other links     1  a piece of a stream (`messaging.links.pipe`)

Everything is paced to the line's speed, and heartbeats go before pieces, so a long message never delays a heartbeat by
more than one piece. A newer heartbeat replaces one that still waits.

A device that is not there or fails is opened again by `renew`; a node that is not on the line (`-`) does nothing here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import Callable, Iterable
from typing import Any

from messaging.config import LinkConfig, MessagingConfig
from messaging.frame import FIRST_PROBE, LINK_AT, MAX_DATAGRAM_BYTES, OVERHEAD
from messaging.links.pipe import Pipe, read_head
from messaging.links.udp import LinkCounters, OnProbe, ignore

ABSENT = "-"
END, ESCAPE, ESCAPED_END, ESCAPED_ESCAPE = 0xC0, 0xDB, 0xDC, 0xDD
HEARTBEAT, PIECE = b"\x00", b"\x01"
BITS_PER_BYTE = 10
"""Start and stop bit included."""

MAX_FRAME_BYTES = MAX_DATAGRAM_BYTES
HIGH_BYTES = 16 * 1024
"""A stream that has so much to send makes its owner wait."""

READ_BYTES = 4096
BUSY_S = 0.02

OnFrame = Callable[[int, bytes], None]
Pack = Callable[[int, bytes], bytes]
Connect = Callable[[], asyncio.Protocol]


def enclose(frame: bytes) -> bytes:
    """A frame as it goes over the line."""
    body = frame.replace(bytes([ESCAPE]), bytes([ESCAPE, ESCAPED_ESCAPE]))
    return body.replace(bytes([END]), bytes([ESCAPE, ESCAPED_END])) + bytes([END])


class Reader:
    """Finds frames in what comes over the line. Never keeps more than one frame may have."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> list[bytes]:
        frames = []
        *ended, rest = data.split(bytes([END]))
        for part in ended:
            self._keep(part)
            if self._kept and not self._skipping:
                body = bytes(self._kept).replace(bytes([ESCAPE, ESCAPED_END]), bytes([END]))
                frames.append(body.replace(bytes([ESCAPE, ESCAPED_ESCAPE]), bytes([ESCAPE])))
            self._kept.clear()
            self._skipping = False
        self._keep(rest)
        return frames

    def _keep(self, part: bytes) -> None:
        if len(self._kept) + len(part) > 2 * MAX_FRAME_BYTES:
            self._kept.clear()
            self._skipping = True
        elif not self._skipping:
            self._kept += part


class SerialLink:
    """One line. `pack` makes frames of payloads, `on_frame` takes what arrives, `accept` makes the end of a stream."""

    def __init__(self, config: MessagingConfig, link: LinkConfig, pack: Pack, on_frame: OnFrame) -> None:
        self.counters = LinkCounters()
        self.number = link.number
        self.accept: Connect | None = None
        self.on_probe: OnProbe = ignore
        self._device = config.node(config.node_id).endpoints[link.number].host
        self._baud = link.baud
        self._pack = pack
        self._on_frame = on_frame
        self._reader = Reader()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._port: Any = None
        self._beat: bytes | None = None
        self._probe: bytes | None = None
        self._unsent = b""
        self._free_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._transport: PipeTransport | None = None

    # --- the device

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Open the line and begin to receive."""
        self._loop = loop
        self.renew()

    def renew(self) -> None:
        """Open the device when it is not."""
        if self._port is not None or self._device == ABSENT or self._loop is None:
            return
        import serial  # type: ignore[import-untyped]  # loaded only where there is a serial line

        try:
            self._port = serial.Serial(self._device, self._baud, timeout=0, write_timeout=0, exclusive=True)
            os.set_blocking(self._port.fileno(), False)
        except (OSError, ValueError) as error:  # SerialException is an OSError
            self.counters.last_error = str(error)
            return
        self._reader = Reader()
        self._unsent = b""
        self._loop.add_reader(self._port.fileno(), self._readable)

    @property
    def is_open(self) -> bool:
        return self._port is not None

    def _fail(self, error: OSError) -> None:
        self.counters.send_errors += 1
        self.counters.last_error = error.strerror or str(error)
        self._shut_port()

    def _shut_port(self) -> None:
        port, self._port = self._port, None
        if port is not None and self._loop is not None:
            self._loop.remove_reader(port.fileno())
            with contextlib.suppress(OSError):
                port.close()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        self._shut_port()

    def relist(self, config: MessagingConfig) -> None:
        """Other nodes come and go; the two ends of a cable stay."""

    # --- receiving

    def _readable(self) -> None:
        try:
            data = os.read(self._port.fileno(), READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error)
            return
        if not data:
            self._fail(OSError(0, "the line hung up"))
            return
        for frame in self._reader.feed(data):
            self.counters.received += 1
            if len(frame) > LINK_AT and frame[LINK_AT] >= FIRST_PROBE:
                self.on_probe(frame, [])
            else:
                self._on_frame(self.number, frame)
        self._pump()

    def on_piece(self, piece: bytes) -> None:
        """A piece of a stream, authentic. Malformed when it is none."""
        connection = read_head(piece)[0]
        transport = self._transport
        if transport is None or transport.pipe.connection != connection:
            if self.accept is None or read_head(piece)[1:3] != (0, 0) or not piece[13:]:
                return  # not the beginning of one
            if transport is not None:
                transport.abort()
            transport = self._open_pipe(connection, self.accept())
        transport.feed(piece)

    # --- sending

    def send(self, data: bytes, beside: Iterable[int] = ()) -> None:
        """A heartbeat; it goes before everything that waits."""
        if self._device != ABSENT:
            self._beat = data
            self._pump()

    def probe(self, frame: bytes) -> None:
        """A frame of somebody who tries the network: after the heartbeat, before everything else that waits."""
        if self._device != ABSENT:
            self._probe = frame
            self._pump()

    def _pump(self) -> None:
        """Send while the line is free; set a timer for when it will be."""
        if self._loop is None or self._port is None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wait_s: float | None
        while (wait_s := self._free_at - self._loop.time()) <= 0:
            if not self._unsent:
                self._unsent = self._next()
            if not self._unsent:
                wait_s = self._idle_s()
                break
            try:
                sent = os.write(self._port.fileno(), self._unsent)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self._fail(error)
                return
            self._unsent = self._unsent[sent:]
            self._free_at = self._loop.time() + (sent * BITS_PER_BYTE / self._baud if sent else BUSY_S)
        if wait_s is not None:
            self._timer = self._loop.call_later(max(0.001, wait_s), self._pump)

    def _next(self) -> bytes:
        """The next frame for the line, enclosed; empty when there is nothing to say."""
        beat, self._beat = self._beat, None
        if beat is None:
            beat, self._probe = self._probe, None
        if beat is None and self._transport is not None:
            piece = self._transport.next_piece()
            if piece is not None:
                beat = self._pack(self.number, PIECE + piece)
        if beat is None:
            return b""
        self.counters.sent += 1
        return enclose(beat)

    def _idle_s(self) -> float | None:
        """When something must be sent again although nothing new has come."""
        due_ms = self._transport.pipe.due_ms if self._transport is not None else None
        return None if due_ms is None else max(0.0, (due_ms - now_ms()) / 1000)

    # --- streams

    def dial(self, connect: Connect) -> asyncio.Protocol:
        """Begin a stream over this line; an older one ends."""
        if self._transport is not None:
            self._transport.abort()
        protocol = connect()
        self._open_pipe(random.getrandbits(32), protocol)
        return protocol

    def _open_pipe(self, connection: int, protocol: asyncio.Protocol) -> PipeTransport:
        pipe = Pipe(connection, max(1, self._baud // BITS_PER_BYTE), OVERHEAD)
        transport = self._transport = PipeTransport(self, pipe, protocol)
        protocol.connection_made(transport)
        return transport

    def wake(self) -> None:
        """There is something to send."""
        self._pump()


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class PipeTransport(asyncio.Transport):
    """What a stream's end sees of the line: the part of an asyncio transport that it uses."""

    def __init__(self, line: SerialLink, pipe: Pipe, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.pipe = pipe
        self._line = line
        self._protocol = protocol
        self._paused = False
        self._ended = False

    def feed(self, piece: bytes) -> None:
        data = self.pipe.on_piece(piece, now_ms())
        if self._paused and self.pipe.buffered < HIGH_BYTES // 2:
            self._paused = False
            self._protocol.resume_writing()
        if data:
            self._protocol.data_received(data)
        if self.pipe.over:
            self._end()

    def next_piece(self) -> bytes | None:
        return self.pipe.next_piece(now_ms())

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._ended or not data:
            return
        self.pipe.write(bytes(data))
        if not self._paused and self.pipe.buffered > HIGH_BYTES:
            self._paused = True
            self._protocol.pause_writing()
        self._line.wake()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The line's own limits hold."""

    def is_closing(self) -> bool:
        return self._ended

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        self.pipe.close()
        self._line.wake()
        self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)
