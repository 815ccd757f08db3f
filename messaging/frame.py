"""The packet on a link: a header, a payload, and a proof of who made it and that it is new.

    0   2  magic b"VG"            16  8  incarnation of the sender (grows with every start of its daemon)
    2   1  version                24  8  sequence of the sender on this link (from 1 in every incarnation)
    3   1  link number            32  2  length n of the payload
    4   2  key id                 34  1  flags: 1 = encrypted
    6   2  sender's node id       35  n  payload
    8   8  cluster tag          35+n 32  HMAC-SHA256 over all that precedes

The cluster tag is the first bytes of SHA-256 over the cluster's name. An encrypted frame ends with the 16 bytes of
AES-256-GCM instead, which authenticate the header too; its keys and nonces are those of `messaging.sealing`.

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

from messaging.config import Encryption
from messaging.keyring import MAC_BYTES, Key, Keyring
from messaging.sealing import TAG_BYTES, Sealer

MAGIC = b"VG"
VERSION = 2
HEADER = struct.Struct(">2sBBHHQQQHB")
ENCRYPTED = 1
LINK_AT = 3
FIRST_PROBE = 128
"""Link numbers from here on belong to those who try the network: see `messaging.doctor`."""

OVERHEAD = HEADER.size + MAC_BYTES
MAX_DATAGRAM_BYTES = 8192
WINDOW = 1024
"""Sequence numbers remembered behind the newest: more than a link can reorder within one deadtime."""

LOSS_SPAN = 128
"""Loss is what is missing of this many packets behind the newest."""

_WINDOW_MASK = (1 << WINDOW) - 1
_LOSS_MASK = (1 << LOSS_SPAN) - 1
_DERIVED = struct.Struct(">QHQB")


class Rejection(StrEnum):
    """Why a packet was dropped. The values are the names of the counters in `query("links")`."""

    TRUNCATED = "truncated"
    OVERSIZED = "oversized"
    FOREIGN = "foreign"
    VERSION = "unknown-version"
    WRONG_CLUSTER = "wrong-cluster"
    UNKNOWN_KEY = "unknown-key"
    BAD_MAC = "bad-mac"
    PLAINTEXT = "not-encrypted"
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

    def __init__(
        self,
        keyring: Keyring,
        cluster: str,
        node_id: int,
        incarnation: int,
        listed: Iterable[int],
        encryption: Encryption = Encryption.NONE,
    ) -> None:
        self.encryption = encryption
        self.keyring = keyring
        self.listed = frozenset(listed)
        self.rejected: Counter[Rejection] = Counter()
        self._tag = cluster_tag(cluster)
        self._node_id = node_id
        self._incarnation = incarnation
        self._sequence: dict[int, int] = {}
        self._incarnations: dict[int, int] = {}
        self._windows: dict[tuple[int, int], _Window] = {}
        self._sealers: dict[tuple[int, int], tuple[Key, int, Sealer]] = {}

    def next_sequence(self, link: int) -> int:
        """What the next packet on a link will carry."""
        return self._sequence.get(link, 0) + 1

    def seen(self, sender: int, link: int) -> tuple[int, int]:
        """The newest sequence of a sender on a link (0: none), and how many of the last `LOSS_SPAN` are missing."""
        window = self._windows.get((sender, link))
        if window is None:
            return 0, 0
        return window.highest, LOSS_SPAN - (window.seen & _LOSS_MASK).bit_count()

    def pack(self, link: int, payload: bytes) -> bytes:
        """The packet for one payload on one link; each call uses up a sequence number of that link."""
        sequence = self._sequence.get(link, 0) + 1
        self._sequence[link] = sequence
        key, me, tag, life = self.keyring.sending, self._node_id, self._tag, self._incarnation
        if self.encryption is not Encryption.NONE:
            flags = ENCRYPTED
            head = HEADER.pack(MAGIC, VERSION, link, key.key_id, me, tag, life, sequence, len(payload), flags)
            sealer = self._sealer(key, me, life, link)
            self._sealers[me, link] = (key, life, sealer)
            return head + sealer.seal(sequence, payload, head)
        body = HEADER.pack(MAGIC, VERSION, link, key.key_id, me, tag, life, sequence, len(payload), 0) + payload
        return body + key.mac(body)

    def _sealer(self, key: Key, sender: int, incarnation: int, link: int) -> Sealer:
        """For the frames of one life of a sender on one link."""
        kept = self._sealers.get((sender, link))
        if kept is not None and kept[0] is key and kept[1] == incarnation:
            return kept[2]
        whose = _DERIVED.pack(self._tag, sender, incarnation, link)
        return Sealer(key.derive(b"frames", whose))

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
        if len(data) < HEADER.size + TAG_BYTES:
            return Rejection.TRUNCATED
        if len(data) > MAX_DATAGRAM_BYTES:
            return Rejection.OVERSIZED
        magic, version, on_link, key_id, sender, tag, incarnation, sequence, length, flags = HEADER.unpack_from(data)
        if magic != MAGIC:
            return Rejection.FOREIGN
        if version != VERSION:
            return Rejection.VERSION
        encrypted = bool(flags & ENCRYPTED)
        size = HEADER.size + length + (TAG_BYTES if encrypted else MAC_BYTES)
        if len(data) != size:
            return Rejection.TRUNCATED if len(data) < size else Rejection.OVERSIZED
        if tag != self._tag:
            return Rejection.WRONG_CLUSTER
        key = self.keyring.find(key_id)
        if key is None:
            return Rejection.UNKNOWN_KEY
        sealer: Sealer | None = None
        if encrypted:
            sealer = self._sealer(key, sender, incarnation, on_link)
            payload = sealer.open(sequence, data[HEADER.size :], data[: HEADER.size])
            if payload is None:
                return Rejection.BAD_MAC
        elif not key.verify(data[-MAC_BYTES:], data[:-MAC_BYTES]):
            return Rejection.BAD_MAC
        elif self.encryption is Encryption.REQUIRED:
            return Rejection.PLAINTEXT
        else:
            payload = data[HEADER.size : -MAC_BYTES]
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
        if sealer is not None:
            self._sealers[sender, link] = (key, incarnation, sealer)  # only of what was authentic: bounded by the nodes
        return Packet(sender, incarnation, sequence, payload)
