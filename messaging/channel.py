"""A reliable, ordered channel to one life of one peer, over streams that may break and come back.

Everything sent gets a number and is kept until the peer acknowledges it. When a stream opens, both sides first say what
arrived (`ChannelHello`), and what is missing is sent again. So a TCP connection that breaks (an address removed and
added again, a link that goes down while another takes over) costs a moment, not a view.

The channel lives as long as both incarnations. `forget` gives up what is not acknowledged: for a peer that left the
view nothing old must arrive when it comes back.
"""

from __future__ import annotations

from collections import deque

from messaging.errors import Malformed
from messaging.messages import ChannelAck, ChannelData, ChannelHello, encode

ACK_EVERY_MESSAGES = 64
ACK_EVERY_BYTES = 256 * 1024
HOLD_BYTES = 16 * 1024 * 1024
"""Beyond this, crm must wait before it sends more."""

MAX_UNACKED_BYTES = 512 * 1024 * 1024
"""A peer that takes this much without acknowledging is beyond help; the caller gives it up."""


class Channel:
    """Both directions to one peer. The methods return the payloads to put on the stream, in order."""

    def __init__(self) -> None:
        self.open = False
        self.unacked_bytes = 0
        self._unacked: deque[tuple[int, bytes]] = deque()
        self._next = 1
        self._received = 0
        self._hello_seen = False
        self._since_ack = 0
        self._bytes_since_ack = 0

    @property
    def full(self) -> bool:
        return self.unacked_bytes > HOLD_BYTES

    @property
    def overflowing(self) -> bool:
        return self.unacked_bytes > MAX_UNACKED_BYTES

    def opened(self) -> list[bytes]:
        """A new stream stands."""
        self.open, self._hello_seen = True, False
        first = self._unacked[0][0] if self._unacked else self._next
        return [encode(ChannelHello(self._received, first))]

    def closed(self) -> None:
        """The stream is gone; what is not acknowledged waits for the next."""
        self.open = False

    def forget(self) -> None:
        """Give up everything that is not acknowledged."""
        self._unacked.clear()
        self.unacked_bytes = 0

    def send(self, body: bytes) -> list[bytes]:
        """Number and keep a body; it goes out now, or when the stream stands."""
        sequence = self._next
        self._next += 1
        self._unacked.append((sequence, body))
        self.unacked_bytes += len(body)
        return [encode(ChannelData(sequence, body))] if self.open and self._hello_seen else []

    def hello(self, message: ChannelHello) -> list[bytes]:
        """The peer says what it has: drop that, send the rest."""
        self._hello_seen = True
        self._received = max(self._received, message.first - 1)
        self._drop(message.received)
        return [encode(ChannelData(sequence, body)) for sequence, body in self._unacked]

    def acked(self, message: ChannelAck) -> None:
        self._drop(message.received)

    def received(self, message: ChannelData) -> tuple[bytes | None, list[bytes]]:
        """The body if it is the next one (None for one that came before), and acknowledgements to send.

        Malformed when numbers are missing: the stream is not what its hello promised.
        """
        if message.sequence <= self._received:
            return None, []
        if message.sequence != self._received + 1:
            raise Malformed(f"channel jumps from {self._received} to {message.sequence}")
        self._received += 1
        self._since_ack += 1
        self._bytes_since_ack += len(message.body)
        if self._since_ack < ACK_EVERY_MESSAGES and self._bytes_since_ack < ACK_EVERY_BYTES:
            return message.body, []
        self._since_ack = self._bytes_since_ack = 0
        return message.body, [encode(ChannelAck(self._received))]

    def _drop(self, received: int) -> None:
        while self._unacked and self._unacked[0][0] <= received:
            self.unacked_bytes -= len(self._unacked.popleft()[1])
