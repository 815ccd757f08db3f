"""Bytes in order and without loss over a line that loses pieces: what a stream between members needs of a serial line.

    4  connection (chosen by the end that dials)     4  number of this piece, from 0
    1  flags: 1 = the connection is over             4  number of the piece that is expected from the other end
    n  bytes

A serial line does not reorder, so the receiver takes only the piece it expects, and the sender goes back to what was
not acknowledged when nothing has come for a while. What is on its way at once is bounded by what the line carries in
`WINDOW_MS`, so that acknowledgements (and the heartbeats between them) never wait long.

The line asks for pieces when it is free (`next_piece`) and so sets the pace; acknowledgements ride on the pieces of the
other direction, or go alone. No I/O and no clock in here.
"""

from __future__ import annotations

import struct
from collections import deque

from messaging.errors import Malformed

HEAD = struct.Struct(">IBII")
OVER = 1
PIECE_BYTES = 256
WINDOW_MS = 400
MIN_WINDOW = 2
MAX_WINDOW = 64
RETRY_MS = 300
"""Beyond what the window needs on the line in both directions."""


class Pipe:
    """One end of one connection."""

    def __init__(self, connection: int, bytes_per_second: int, overhead: int) -> None:
        self.connection = connection
        self.over = False
        piece_ms = max(1, (PIECE_BYTES + overhead) * 1000 // bytes_per_second)
        self._window = max(MIN_WINDOW, min(MAX_WINDOW, WINDOW_MS // piece_ms))
        self._retry_ms = RETRY_MS + 2 * self._window * piece_ms
        self._waiting = bytearray()
        self._flying: deque[bytes] = deque()
        self._first = 0  # the number of the first of those
        self._again = 0  # how many of those must go out (again)
        self._expected = 0
        self._must_answer = False
        self._told_over = False
        self.due_ms: int | None = None

    @property
    def buffered(self) -> int:
        """Bytes that were written and are not acknowledged."""
        return len(self._waiting) + sum(map(len, self._flying))

    def write(self, data: bytes) -> None:
        self._waiting += data

    def close(self) -> None:
        """Say that it is over, with the next piece."""
        self.over = True

    def next_piece(self, now_ms: int) -> bytes | None:
        """What should go out now, if anything."""
        if self.over:
            if self._told_over:
                return None
            self._told_over = True
            return HEAD.pack(self.connection, OVER, self._first, self._expected)
        if self.due_ms is not None and now_ms >= self.due_ms:
            self._again = len(self._flying)
            self.due_ms = None
        if not self._again and self._waiting and len(self._flying) < self._window:
            self._flying.append(bytes(self._waiting[:PIECE_BYTES]))
            del self._waiting[:PIECE_BYTES]
            self._again = 1
        if self._again:
            place = len(self._flying) - self._again
            self._again -= 1
            self._must_answer = False
            if self.due_ms is None:
                self.due_ms = now_ms + self._retry_ms
            return HEAD.pack(self.connection, 0, self._first + place, self._expected) + self._flying[place]
        if self._must_answer:
            self._must_answer = False
            return HEAD.pack(self.connection, 0, self._first + len(self._flying), self._expected)
        return None

    def on_piece(self, piece: bytes, now_ms: int) -> bytes:
        """The bytes that a piece of this connection brings, in order. Malformed when it is none."""
        _, flags, number, expected = read_head(piece)
        if self.over:
            return b""
        if flags & OVER:
            self.over = self._told_over = True
            return b""
        acknowledged = expected - self._first
        if 0 < acknowledged <= len(self._flying):
            for _ in range(acknowledged):
                self._flying.popleft()
            self._first = expected
            self._again = min(self._again, len(self._flying))
            self.due_ms = now_ms + self._retry_ms if self._flying else None
        body = piece[HEAD.size :]
        if not body:
            return b""
        self._must_answer = True
        if number != self._expected:
            return b""
        self._expected += 1
        return body


def read_head(piece: bytes) -> tuple[int, int, int, int]:
    """Connection, flags, number, expected. Malformed when it is no piece."""
    if not HEAD.size <= len(piece) <= HEAD.size + PIECE_BYTES:
        raise Malformed(f"a piece of {len(piece)} bytes")
    connection, flags, number, expected = HEAD.unpack_from(piece)
    return connection, flags, number, expected
