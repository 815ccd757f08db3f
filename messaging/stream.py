"""The stream between two members: who is at the other end, and records that cannot be forged, replayed or reordered.

    dialer                                       listener
    HELLO   (its nonce)               ------>
                                      <------    ANSWER  (its nonce, the dialer's nonce)
    CONFIRM (the listener's nonce)    ------>

Each handshake message carries cluster, sender, target, incarnation and key id, and an HMAC over all of it. Both sides
have then proved that they hold a key *now*. Every later record has an HMAC over the session (the hash of both nonces),
the direction and a counter, so a record is good in one place only:

    4  length of the body
    n  body: one message
    32 HMAC-SHA256

Where either side wants encryption (the handshake says so, and nobody can change what it says), the body is encrypted
and the 16 bytes of AES-256-GCM take the place of the HMAC: see `messaging.sealing`.

`StreamCodec` turns bytes into messages and messages into bytes. A fault raises `StreamRejected` with the counter to
raise; the connection is of no more use then.
"""

from __future__ import annotations

import hashlib
import struct

from messaging.config import Encryption
from messaging.errors import MessagingError, invariant
from messaging.frame import Rejection, cluster_tag
from messaging.keyring import MAC_BYTES, Key, Keyring
from messaging.sealing import TAG_BYTES, Sealer

MAGIC = b"VS"
VERSION = 2
ENCRYPTS = 1
NONCE_BYTES = 16
HANDSHAKE = struct.Struct(">2sBBBHHHQQ16s16s")
HANDSHAKE_BYTES = HANDSHAKE.size + MAC_BYTES
MAX_MESSAGE_BYTES = 64 * 1024
"""The largest message between members. What crm sends beyond goes in fragments (`messaging.client`), so that handling
one message never keeps a heartbeat waiting."""

_HELLO, _ANSWER, _CONFIRM = 1, 2, 3
_LENGTH = struct.Struct(">I")
_PLACE = struct.Struct(">BQ")
_NO_NONCE = bytes(NONCE_BYTES)


class StreamRejected(MessagingError):
    """What came over the stream is not acceptable."""

    def __init__(self, reason: Rejection) -> None:
        super().__init__(str(reason))
        self.reason = reason


class StreamCodec:
    """One end of one connection. `dial_to` is the peer for the end that dials, None for the one that listens."""

    def __init__(
        self,
        keyring: Keyring,
        cluster: str,
        node_id: int,
        incarnation: int,
        listed: frozenset[int],
        nonce: bytes,
        dial_to: int | None = None,
        encryption: Encryption = Encryption.NONE,
    ) -> None:
        self.peer = dial_to
        self.peer_incarnation = 0
        self.open = False
        self._keyring = keyring
        self._tag = cluster_tag(cluster)
        self._me = node_id
        self._incarnation = incarnation
        self._listed = listed
        self._nonce = nonce
        self._peer_nonce = _NO_NONCE
        self._dials = dial_to is not None
        self._key: Key = keyring.sending
        self._session = b""
        self._encrypts = encryption is not Encryption.NONE
        self._sealers: tuple[Sealer, Sealer] | None = None  # what is sent, what is taken
        self._buffer = bytearray()
        self._sent = 0
        self._taken = 0

    @property
    def encrypted(self) -> bool:
        return self._sealers is not None

    @property
    def key_id(self) -> int:
        """The key that this session uses."""
        return self._key.key_id

    def start(self) -> bytes:
        """What the dialer sends first; empty for the listener."""
        return self._handshake(_HELLO) if self._dials else b""

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Take bytes. Returns complete messages, and bytes to send back. StreamRejected ends the connection."""
        self._buffer += data
        reply = b""
        while not self.open and len(self._buffer) >= HANDSHAKE_BYTES:
            head = bytes(self._buffer[:HANDSHAKE_BYTES])
            del self._buffer[:HANDSHAKE_BYTES]
            reply += self._on_handshake(head)
        return (self._records() if self.open else []), reply

    def encode(self, message: bytes) -> bytes:
        """The record of one message. Records must be sent in the order in which they were made."""
        invariant(len(message) <= MAX_MESSAGE_BYTES, f"a message of {len(message)} bytes")
        head = _LENGTH.pack(len(message))
        place = _PLACE.pack(self._dials, self._sent)
        self._sent += 1
        if self._sealers is not None:
            return head + self._sealers[0].seal(self._sent, message, head)
        return b"".join((head, message, self._key.mac(self._session, place, head, message)))

    # --- handshake

    def _handshake(self, kind: int) -> bytes:
        assert self.peer is not None
        head = HANDSHAKE.pack(
            MAGIC,
            VERSION,
            kind,
            ENCRYPTS if self._encrypts else 0,
            self._key.key_id,
            self._me,
            self.peer,
            self._tag,
            self._incarnation,
            self._nonce,
            self._peer_nonce,
        )
        return head + self._key.mac(head)

    def _on_handshake(self, data: bytes) -> bytes:
        body, mac = data[:-MAC_BYTES], data[-MAC_BYTES:]
        magic, version, kind, flags, key_id, sender, target, tag, incarnation, nonce, echo = HANDSHAKE.unpack(body)
        if magic != MAGIC:
            raise StreamRejected(Rejection.FOREIGN)
        if version != VERSION:
            raise StreamRejected(Rejection.VERSION)
        if tag != self._tag:
            raise StreamRejected(Rejection.WRONG_CLUSTER)
        key = self._keyring.find(key_id)
        if key is None:
            raise StreamRejected(Rejection.UNKNOWN_KEY)
        if not key.verify(mac, body):
            raise StreamRejected(Rejection.BAD_MAC)
        if sender not in self._listed or sender == self._me or target != self._me:
            raise StreamRejected(Rejection.UNLISTED)
        expected = _ANSWER if self._dials else _CONFIRM if self._peer_nonce != _NO_NONCE else _HELLO
        if kind != expected or (self.peer is not None and sender != self.peer):
            raise StreamRejected(Rejection.MALFORMED)
        if kind != _HELLO and echo != self._nonce:
            raise StreamRejected(Rejection.REPLAY)
        if kind == _CONFIRM and (nonce, incarnation) != (self._peer_nonce, self.peer_incarnation):
            raise StreamRejected(Rejection.REPLAY)
        self.peer, self.peer_incarnation, self._peer_nonce = sender, incarnation, nonce
        if kind == _HELLO:
            self._encrypts = self._encrypts or bool(flags & ENCRYPTS)
            self._key = key  # answer with the key the other end surely has
            return self._handshake(_ANSWER)
        if kind == _ANSWER:
            self._encrypts = self._encrypts or bool(flags & ENCRYPTS)
            reply = self._handshake(_CONFIRM)
            self._key = key
        else:
            reply = b""
        nonces = self._nonce + nonce if self._dials else nonce + self._nonce
        self._session = hashlib.sha256(nonces).digest()
        if self._encrypts:
            mine, theirs = (b"dialer", b"listener") if self._dials else (b"listener", b"dialer")
            self._sealers = (
                Sealer(self._key.derive(b"stream", self._session, mine)),
                Sealer(self._key.derive(b"stream", self._session, theirs)),
            )
        self.open = True
        return reply

    # --- records

    def _records(self) -> list[bytes]:
        messages: list[bytes] = []
        at = 0
        while len(self._buffer) - at >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._buffer, at)
            if size > MAX_MESSAGE_BYTES:
                raise StreamRejected(Rejection.OVERSIZED)
            end = at + _LENGTH.size + size + (MAC_BYTES if self._sealers is None else TAG_BYTES)
            if len(self._buffer) < end:
                break
            head = bytes(self._buffer[at : at + _LENGTH.size])
            messages.append(self._take(head, bytes(self._buffer[at + _LENGTH.size : end])))
            at = end
        del self._buffer[:at]
        return messages

    def _take(self, head: bytes, record: bytes) -> bytes:
        """The body of the next record."""
        place = self._taken
        self._taken += 1
        if self._sealers is not None:
            opened = self._sealers[1].open(self._taken, record, head)
            if opened is None:
                raise StreamRejected(Rejection.BAD_MAC)
            return opened
        body, mac = record[:-MAC_BYTES], record[-MAC_BYTES:]
        if not self._key.verify(mac, self._session, _PLACE.pack(not self._dials, place), head, body):
            raise StreamRejected(Rejection.BAD_MAC)
        return body
