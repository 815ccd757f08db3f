"""The packet on a link: a header, a payload, and a proof of who made it and that it is new.

    0   2  magic b"VG"            16  8  incarnation of the sender (grows with every start of its daemon)
    2   1  version                24  8  sequence of the sender on this link (from 1 in every incarnation)
    3   1  link number            32  2  length n of the payload
    4   2  key id                 34  n  payload
    6   2  sender's node id     34+n 32  HMAC-SHA256 over all that precedes
    8   8  cluster tag: the first bytes of SHA-256 over the cluster's name

`FrameCodec` turns payloads into packets and packets into payloads. It knows the key ring, the nodes that are listed
and, for each sender and link, the newest incarnation and the last `WINDOW` sequence numbers seen, so each packet is
accepted once, also when packets overtake one another. A packet that is not accepted changes nothing but a counter
(`Rejection`). It has no opinion about the payload.

What the window cannot know is what was sent before this node itself started: a recording of that passes here until
the first fresh packet. It gains nothing: a node counts as heard only once a stream to it stands, and the stream's
handshake answers a number that the other side has just made up.
"""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from messaging.keyring import MAC_BYTES, Keyring

MAGIC = b"VG"
VERSION = 1
HEADER = struct.Struct(">2sBBHHQQQH")
OVERHEAD = HEADER.size + MAC_BYTES
MAX_DATAGRAM_BYTES = 8192
WINDOW = 1024
"""Sequence numbers remembered behind the newest: more than a link can reorder within one deadtime."""

_WINDOW_MASK = (1 << WINDOW) - 1


class Rejection(StrEnum):
    """Why a packet was dropped. The values are the names of the counters in `query("links")`."""

    TRUNCATED = "truncated"
    OVERSIZED = "oversized"
    FOREIGN = "foreign"
    VERSION = "unknown-version"
    WRONG_CLUSTER = "wrong-cluster"
    UNKNOWN_KEY = "unknown-key"
    BAD_MAC = "bad-mac"
    UNLISTED = "unlisted-node"
    WRONG_LINK = "wrong-link"
    REPLAY = "replay"
    OLD_INCARNATION = "old-incarnation"
    MALFORMED = "malformed"
    OWN = "own"


@dataclass(frozen=True, slots=True)
class Packet:
    """An accepted frame."""

    sender: int
    incarnation: int
    sequence: int
    payload: bytes


class _Window:
    """What was seen of one sender on one link."""

    __slots__ = ("highest", "incarnation", "seen")

    def __init__(self) -> None:
        self.incarnation = 0
        self.highest = 0
        self.seen = 0

    def admit(self, incarnation: int, sequence: int) -> bool:
        """Whether this number is new; if so it is remembered."""
        if incarnation != self.incarnation:
            # What came before the first packet we see counts as seen: it may be a recording.
            self.incarnation, self.highest, self.seen = incarnation, sequence, _WINDOW_MASK
            return True
        ahead = sequence - self.highest
        if ahead > 0:
            self.highest = sequence
            self.seen = ((self.seen << ahead) | 1) & _WINDOW_MASK if ahead < WINDOW else 1
            return True
        bit = 1 << -ahead
        if -ahead >= WINDOW or self.seen & bit:
            return False
        self.seen |= bit
        return True


def cluster_tag(name: str) -> int:
    """The number that tells the packets of one cluster from those of another on the same wire."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


class FrameCodec:
    """Packs and unpacks the frames of one node. See the module's text."""

    def __init__(self, keyring: Keyring, cluster: str, node_id: int, incarnation: int, listed: Iterable[int]) -> None:
        self.keyring = keyring
        self.listed = frozenset(listed)
        self.rejected: Counter[Rejection] = Counter()
        self._tag = cluster_tag(cluster)
        self._node_id = node_id
        self._incarnation = incarnation
        self._sequence: dict[int, int] = {}
        self._incarnations: dict[int, int] = {}
        self._windows: dict[tuple[int, int], _Window] = {}

    def pack(self, link: int, payload: bytes) -> bytes:
        """The packet for one payload on one link; each call uses up a sequence number of that link."""
        sequence = self._sequence.get(link, 0) + 1
        self._sequence[link] = sequence
        key = self.keyring.sending
        head = HEADER.pack(
            MAGIC, VERSION, link, key.key_id, self._node_id, self._tag, self._incarnation, sequence, len(payload)
        )
        body = head + payload
        return body + key.mac(body)

    def unpack(self, link: int, data: bytes) -> Packet | None:
        """The accepted packet, or None after counting why not."""
        outcome = self._judge(link, data)
        if isinstance(outcome, Packet):
            return outcome
        self.rejected[outcome] += 1
        return None

    def reject(self, reason: Rejection) -> None:
        """Count a fault that was found above or below this codec."""
        self.rejected[reason] += 1

    def _judge(self, link: int, data: bytes) -> Packet | Rejection:
        if len(data) < OVERHEAD:
            return Rejection.TRUNCATED
        if len(data) > MAX_DATAGRAM_BYTES:
            return Rejection.OVERSIZED
        magic, version, on_link, key_id, sender, tag, incarnation, sequence, length = HEADER.unpack_from(data)
        if magic != MAGIC:
            return Rejection.FOREIGN
        if version != VERSION:
            return Rejection.VERSION
        if len(data) < OVERHEAD + length:
            return Rejection.TRUNCATED
        if len(data) > OVERHEAD + length:
            return Rejection.OVERSIZED
        if tag != self._tag:
            return Rejection.WRONG_CLUSTER
        key = self.keyring.find(key_id)
        if key is None:
            return Rejection.UNKNOWN_KEY
        body, mac = data[:-MAC_BYTES], data[-MAC_BYTES:]
        if not key.verify(mac, body):
            return Rejection.BAD_MAC
        # From here on the packet is by somebody who has the key.
        if sender == self._node_id:
            return Rejection.OWN
        if sender not in self.listed:
            return Rejection.UNLISTED
        if on_link != link:
            return Rejection.WRONG_LINK
        newest = self._incarnations.get(sender, 0)
        if incarnation < newest:
            return Rejection.OLD_INCARNATION
        self._incarnations[sender] = incarnation
        window = self._windows.get((sender, link))
        if window is None:
            window = self._windows[sender, link] = _Window()
        if not window.admit(incarnation, sequence):
            return Rejection.REPLAY
        return Packet(sender, incarnation, sequence, body[HEADER.size :])
