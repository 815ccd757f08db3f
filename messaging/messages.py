"""What members say to one another: values, and their bytes.

A heartbeat travels as a datagram, everything else over the streams between members. The first byte of a payload is its
kind; numbers are big-endian. `encode` and `decode` are each other's inverse; `decode` raises `Malformed` for anything
else, and never reads beyond the payload or allocates more than the payload's own size.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from messaging.errors import Malformed
from messaging.quorum import EMPTY_ROLL, Electorate, Roll, Wish
from messaging.types import Member, ViewId

NO_VIEW = ViewId(0, 0)
"""What a node that has not installed a view yet reports."""

MAX_NAME_BYTES = 255
MAX_REASON_BYTES = 1024
DATAGRAMS_KEPT = 64
MAX_NUMBER = (1 << 62) - 1
"""Of a sequence or an incarnation: one that is larger is no honest one, and what follows from it would not fit any more."""


class RowFlag:
    """Bits: what a node says about itself beside whom it hears. Plain numbers, because they are read all the time."""

    LEAVING = 1
    """It is going, politely: leave it out."""
    ATTACHED = 2
    """Its crm is attached and vouches for itself."""
    EVIDENCE = 4
    """Its tie-breaker's evidence holds."""
    SEEN_ALL = 8
    """`wait_for_all` is satisfied for it."""
    READY = 16
    """It may form a view without waiting longer for absent nodes: it has one, or `initdead` has passed."""
    DISTRUSTED = 32
    """It was stopped for longer than deadtime a moment ago, so its verdict alone is not to be trusted."""
    GROUP_LEAVING = 64
    """Its crm said goodbye (rather than vanished)."""
    WISH = 128
    """Its operator asks for a change of the electorate, which its accept will carry."""
    WATCHED = 256
    """A watchdog resets it when it is cut off: who loses it may rely on that (`messaging.watchdog_core`)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One node's line of the connectivity matrix. `hears` maps node ids to the incarnation that is heard."""

    node_id: int
    incarnation: int
    version: int
    flags: int
    view_id: ViewId
    hears: dict[int, int]


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """`received` is how far the order of the present view has arrived; `relayed` are rows of others with their age.

    `late` names nodes the sender is beginning to miss: they are asked to speak up at once. `streamless` names nodes
    that the sender hears but has no stream to, although it is theirs to dial: what they take for one is dead.
    """

    row: Row
    received: int
    relayed: tuple[tuple[Row, int], ...] = ()
    late: tuple[int, ...] = ()
    streamless: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Propose:
    """The leader's suggestion. `ballot` becomes the view's id."""

    ballot: ViewId
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Accept:
    """A member's agreement: the view it comes from, and how far the order of that view has arrived with it.

    `roll` is the electorate it knows of; `wish` is what its operator asks for.
    """

    ballot: ViewId
    previous: ViewId
    received: int
    flags: int
    roll: Roll = EMPTY_ROLL
    wish: Wish | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """Not this ballot; `promised` is the highest this node has answered to."""

    ballot: ViewId
    promised: ViewId


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The leader gives this ballot up: the present view goes on."""

    ballot: ViewId


@dataclass(frozen=True, slots=True)
class FlushRequest:
    """To a holder: send the messages of `view_id` after `after` up to `upto` to `target`."""

    ballot: ViewId
    view_id: ViewId
    target: int
    after: int
    upto: int


@dataclass(frozen=True, slots=True)
class Flushed:
    """To the leader: nothing is missing here any more."""

    ballot: ViewId


@dataclass(frozen=True, slots=True)
class Flush:
    """Per previous view: how far its order goes. What lies behind was delivered by nobody who comes along."""

    view_id: ViewId
    upto: int
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Install:
    """The agreed view, from which previous view each member comes (in `flushes`), and whose votes count from now on."""

    ballot: ViewId
    members: tuple[Member, ...]
    group: tuple[int, ...]
    graceful: tuple[int, ...]
    quorate: bool
    satisfied: bool
    reason: str
    flushes: tuple[Flush, ...]
    roll: Roll = EMPTY_ROLL


@dataclass(frozen=True, slots=True)
class Submit:
    """To the sequencer: give this multicast its place."""

    view_id: ViewId
    token: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Ordered:
    """A multicast with its place in the total order of its view."""

    view_id: ViewId
    sequence: int
    sender: int
    token: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class FlushData:
    """An ordered message, from a holder, in the course of a view change. `upto` is the last one to come."""

    ballot: ViewId
    upto: int
    ordered: Ordered


@dataclass(frozen=True, slots=True)
class DirectMessage:
    """Point to point. `view_id` is the sender's view when it was sent."""

    view_id: ViewId
    payload: bytes


@dataclass(frozen=True, slots=True)
class ChannelHello:
    """First on every stream: what arrived so far, and the first number that can still be sent."""

    received: int
    first: int


@dataclass(frozen=True, slots=True)
class ChannelAck:
    received: int


@dataclass(frozen=True, slots=True)
class ChannelData:
    sequence: int
    body: bytes


Message = (
    Heartbeat
    | Propose
    | Accept
    | Refuse
    | Withdraw
    | FlushRequest
    | Flushed
    | Install
    | Submit
    | Ordered
    | FlushData
    | DirectMessage
    | ChannelHello
    | ChannelAck
    | ChannelData
)

_VIEW = struct.Struct(">QB")
_ROW = struct.Struct(">BQIHQBB")
_HEARD = struct.Struct(">BQ")
_U64 = struct.Struct(">Q")
_U32 = struct.Struct(">I")
_U16 = struct.Struct(">H")
_WISH, _WISH_FORCED = 1, 2


class _Reader:
    """Takes values off the front of a payload."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 1

    def take(self, form: struct.Struct) -> tuple[int, ...]:
        try:
            values: tuple[int, ...] = form.unpack_from(self._data, self._at)
        except struct.error:
            raise Malformed(f"kind {self._data[0]} is cut short") from None
        self._at += form.size
        if max(values) > MAX_NUMBER:
            raise Malformed(f"kind {self._data[0]} has a number that is too large")
        return values

    def u8(self) -> int:
        if self._at >= len(self._data):
            raise Malformed(f"kind {self._data[0]} is cut short")
        self._at += 1
        return self._data[self._at - 1]

    def u16(self) -> int:
        return self.take(_U16)[0]

    def u32(self) -> int:
        return self.take(_U32)[0]

    def u64(self) -> int:
        return self.take(_U64)[0]

    def view_id(self) -> ViewId:
        sequence, leader = self.take(_VIEW)
        return ViewId(sequence, leader)

    def ids(self) -> tuple[int, ...]:
        return tuple(self.u8() for _ in range(self.u8()))

    def text(self, limit: int) -> str:
        size = self.u16()
        if size > limit or self._at + size > len(self._data):
            raise Malformed(f"kind {self._data[0]} has a text of {size} bytes")
        self._at += size
        try:
            return self._data[self._at - size : self._at].decode()
        except UnicodeDecodeError:
            raise Malformed(f"kind {self._data[0]} has a text that is not UTF-8") from None

    def member(self) -> Member:
        node_id, incarnation = self.take(_HEARD)
        return Member(node_id, self.text(MAX_NAME_BYTES), incarnation)

    def members(self) -> tuple[Member, ...]:
        return tuple(self.member() for _ in range(self.u8()))

    def row(self) -> Row:
        node_id, incarnation, version, flags, sequence, leader, count = self.take(_ROW)
        hears = {}
        for _ in range(count):
            heard, heard_incarnation = self.take(_HEARD)
            hears[heard] = heard_incarnation
        return Row(node_id, incarnation, version, flags, ViewId(sequence, leader), hears)

    def electorate(self) -> Electorate:
        return Electorate(self.ids(), self.u16(), self.ids())

    def roll(self) -> Roll:
        since, current = self.view_id(), self.electorate()
        return Roll(since, current, self.electorate() if self.u8() else None)

    def wish(self) -> Wish | None:
        kind = self.u8()
        return Wish(self.electorate(), kind == _WISH_FORCED) if kind else None

    def rest(self) -> bytes:
        data = self._data[self._at :]
        self._at = len(self._data)
        return data

    def end(self) -> None:
        if self._at != len(self._data):
            raise Malformed(f"kind {self._data[0]} has {len(self._data) - self._at} bytes too many")


def _view(view_id: ViewId) -> bytes:
    return _VIEW.pack(view_id.sequence, view_id.leader)


def _text(text: str, limit: int) -> bytes:
    data = text.encode()[:limit].decode(errors="ignore").encode()  # never cut inside a character
    return _U16.pack(len(data)) + data


def _ids(ids: tuple[int, ...]) -> bytes:
    return bytes([len(ids), *ids])


def _members(members: tuple[Member, ...]) -> bytes:
    return bytes([len(members)]) + b"".join(
        _HEARD.pack(member.node_id, member.incarnation) + _text(member.name, MAX_NAME_BYTES) for member in members
    )


def _electorate(electorate: Electorate) -> bytes:
    return _ids(electorate.members) + _U16.pack(electorate.expected) + _ids(electorate.retired)


def _roll(roll: Roll) -> bytes:
    pending = b"\x00" if roll.pending is None else b"\x01" + _electorate(roll.pending)
    return _view(roll.since) + _electorate(roll.current) + pending


def _wish(wish: Wish | None) -> bytes:
    if wish is None:
        return b"\x00"
    return bytes([_WISH_FORCED if wish.force else _WISH]) + _electorate(wish.electorate)


def _row(row: Row) -> bytes:
    head = _ROW.pack(
        row.node_id,
        row.incarnation,
        row.version,
        row.flags,
        row.view_id.sequence,
        row.view_id.leader,
        len(row.hears),
    )
    return head + b"".join(_HEARD.pack(heard, incarnation) for heard, incarnation in row.hears.items())


def encode(message: Message) -> bytes:
    """The payload of one message."""
    match message:
        case ChannelData(sequence, body):
            return b"\x0d" + _U64.pack(sequence) + body
        case Ordered():
            return b"\x09" + _ordered(message)
        case Submit(view_id, token, payload):
            return b"\x08" + _view(view_id) + _U64.pack(token) + payload
        case DirectMessage(view_id, payload):
            return b"\x0b" + _view(view_id) + payload
        case Heartbeat(row, received, relayed, late, streamless):
            tail = b"".join(_U32.pack(age_ms) + _row(other) for other, age_ms in relayed)
            asked = _ids(late) + _ids(streamless)
            return b"\x01" + _U64.pack(received) + _row(row) + asked + bytes([len(relayed)]) + tail
        case ChannelAck(received):
            return b"\x0e" + _U64.pack(received)
        case ChannelHello(received, first):
            return b"\x0c" + _U64.pack(received) + _U64.pack(first)
        case _:
            return _encode_view_change(message)


def _encode_view_change(
    message: Propose | Accept | Refuse | Withdraw | FlushRequest | Flushed | Install | FlushData,
) -> bytes:
    match message:
        case Propose(ballot, members):
            return b"\x02" + _view(ballot) + _members(members)
        case Accept(ballot, previous, received, flags, roll, wish):
            head = b"\x03" + _view(ballot) + _view(previous) + _U64.pack(received) + _U16.pack(flags)
            return head + _roll(roll) + _wish(wish)
        case Refuse(ballot, promised):
            return b"\x04" + _view(ballot) + _view(promised)
        case FlushRequest(ballot, view_id, target, after, upto):
            head = b"\x05" + _view(ballot) + _view(view_id) + bytes([target])
            return head + _U64.pack(after) + _U64.pack(upto)
        case Withdraw(ballot):
            return b"\x0f" + _view(ballot)
        case Flushed(ballot):
            return b"\x06" + _view(ballot)
        case FlushData(ballot, upto, ordered):
            return b"\x0a" + _view(ballot) + _U64.pack(upto) + _ordered(ordered)
        case Install():
            return b"\x07" + _install(message)


def _ordered(message: Ordered) -> bytes:
    head = _view(message.view_id) + _U64.pack(message.sequence) + bytes([message.sender]) + _U64.pack(message.token)
    return head + message.payload


def _install(message: Install) -> bytes:
    flushes = b"".join(_view(each.view_id) + _U64.pack(each.upto) + _ids(each.members) for each in message.flushes)
    return b"".join(
        (
            _view(message.ballot),
            _members(message.members),
            _ids(message.group),
            _ids(message.graceful),
            bytes([message.quorate | message.satisfied << 1]),
            _text(message.reason, MAX_REASON_BYTES),
            bytes([len(message.flushes)]),
            flushes,
            _roll(message.roll),
        )
    )


def _read_heartbeat(reader: _Reader) -> Heartbeat:
    received, row, late, streamless = reader.u64(), reader.row(), reader.ids(), reader.ids()
    relayed = []
    for _ in range(reader.u8()):
        age_ms = reader.u32()
        relayed.append((reader.row(), age_ms))
    return Heartbeat(row, received, tuple(relayed), late, streamless)


def _read_ordered(reader: _Reader) -> Ordered:
    return Ordered(reader.view_id(), reader.u64(), reader.u8(), reader.u64(), reader.rest())


def _read_install(reader: _Reader) -> Install:
    ballot, members, group, graceful, verdict = (
        reader.view_id(),
        reader.members(),
        reader.ids(),
        reader.ids(),
        reader.u8(),
    )
    reason = reader.text(MAX_REASON_BYTES)
    flushes = tuple(Flush(reader.view_id(), reader.u64(), reader.ids()) for _ in range(reader.u8()))
    satisfied = bool(verdict & 2)
    return Install(ballot, members, group, graceful, bool(verdict & 1), satisfied, reason, flushes, reader.roll())


_DECODERS: dict[int, Callable[[_Reader], Message]] = {
    1: _read_heartbeat,
    2: lambda reader: Propose(reader.view_id(), reader.members()),
    3: lambda reader: Accept(
        reader.view_id(), reader.view_id(), reader.u64(), reader.u16(), reader.roll(), reader.wish()
    ),
    4: lambda reader: Refuse(reader.view_id(), reader.view_id()),
    5: lambda reader: FlushRequest(reader.view_id(), reader.view_id(), reader.u8(), reader.u64(), reader.u64()),
    6: lambda reader: Flushed(reader.view_id()),
    7: _read_install,
    8: lambda reader: Submit(reader.view_id(), reader.u64(), reader.rest()),
    9: _read_ordered,
    10: lambda reader: FlushData(reader.view_id(), reader.u64(), _read_ordered(reader)),
    11: lambda reader: DirectMessage(reader.view_id(), reader.rest()),
    12: lambda reader: ChannelHello(reader.u64(), reader.u64()),
    13: lambda reader: ChannelData(reader.u64(), reader.rest()),
    14: lambda reader: ChannelAck(reader.u64()),
    15: lambda reader: Withdraw(reader.view_id()),
}


def decode(payload: bytes) -> Message:
    """The message of a payload. Malformed when it is none."""
    if not payload:
        raise Malformed("an empty payload")
    read = _DECODERS.get(payload[0])
    if read is None:
        raise Malformed(f"unknown kind {payload[0]}")
    reader = _Reader(payload)
    message = read(reader)
    reader.end()
    return message


@lru_cache(maxsize=DATAGRAMS_KEPT)
def decode_datagram(payload: bytes) -> Message:
    """`decode` for what comes on several links, or again, with the same content."""
    return decode(payload)
