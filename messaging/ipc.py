"""What crm and the messaging daemon say to each other over the Unix socket.

Frames: 4 bytes length, 1 byte kind, body. Control bodies are JSON, messages are binary so that large ones cost nothing
extra (a large one of crm's travels in fragments, see `messaging.client`). Both ends are ours and on one machine; a frame that does not decode raises `Malformed` and ends the connection.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from messaging.errors import Malformed
from messaging.ordering import MAX_PAYLOAD_BYTES
from messaging.types import Delivered, Direct, Member, MessagingEvent, PeerLate, Undelivered, View, ViewId

HEAD = struct.Struct(">IB")
MAX_BODY_BYTES = MAX_PAYLOAD_BYTES + 4096

_MULTICAST = struct.Struct(">QQB")
_DELIVERED = struct.Struct(">QBQBQ")
_TOKEN = struct.Struct(">Q")


class Kind(IntEnum):
    """The kinds of frames; requests of the client below 64, words of the daemon above."""

    ATTACH = 1
    VOUCH = 2
    MULTICAST = 3
    SEND = 4
    QUERY = 5
    LEAVE = 6
    WELCOME = 64
    REFUSED = 65
    REPLY = 66
    VIEW = 67
    DELIVERED = 68
    UNDELIVERED = 69
    DIRECT = 70
    PEER_LATE = 71
    DROPPED = 72


@dataclass(frozen=True, slots=True)
class Multicast:
    token: int
    view_id: ViewId
    payload: bytes


def frame(kind: Kind, body: bytes = b"") -> bytes:
    return HEAD.pack(len(body), kind) + body


def json_frame(kind: Kind, document: dict[str, Any]) -> bytes:
    return frame(kind, json.dumps(document, separators=(",", ":")).encode())


def head(data: bytes) -> tuple[int, Kind]:
    """Size of the body and kind. Malformed when either is out of bounds."""
    size, kind = HEAD.unpack(data)
    if size > MAX_BODY_BYTES:
        raise Malformed(f"a frame of {size} bytes")
    try:
        return size, Kind(kind)
    except ValueError:
        raise Malformed(f"unknown kind of frame {kind}") from None


def read_json(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        raise Malformed("a frame that is not JSON") from None
    if not isinstance(document, dict):
        raise Malformed("a frame that is not a JSON object")
    return document


def multicast_frame(token: int, view_id: ViewId, payload: bytes) -> bytes:
    return frame(Kind.MULTICAST, _MULTICAST.pack(token, view_id.sequence, view_id.leader) + payload)


def read_multicast(body: bytes) -> Multicast:
    if len(body) < _MULTICAST.size:
        raise Malformed("a multicast that is cut short")
    token, sequence, leader = _MULTICAST.unpack_from(body)
    return Multicast(token, ViewId(sequence, leader), body[_MULTICAST.size :])


def send_frame(node_id: int, payload: bytes) -> bytes:
    return frame(Kind.SEND, bytes([node_id]) + payload)


def read_send(body: bytes) -> tuple[int, bytes]:
    if not body:
        raise Malformed("a message that is cut short")
    return body[0], body[1:]


def event_frame(event: MessagingEvent) -> bytes:
    """The frame of an event for crm."""
    match event:
        case Delivered(view_id, sequence, sender, payload, token):
            place = _DELIVERED.pack(view_id.sequence, view_id.leader, sequence, sender, token)
            return frame(Kind.DELIVERED, place + payload)
        case Direct(sender, payload):
            return frame(Kind.DIRECT, bytes([sender]) + payload)
        case Undelivered(token):
            return frame(Kind.UNDELIVERED, _TOKEN.pack(token))
        case PeerLate(node_id, silent_ms):
            return json_frame(Kind.PEER_LATE, {"node_id": node_id, "silent_ms": silent_ms})
        case View():
            return json_frame(Kind.VIEW, _view_document(event))


def read_event(kind: Kind, body: bytes) -> MessagingEvent:
    """The event of a frame. Malformed when it is none."""
    try:
        match kind:
            case Kind.DELIVERED:
                sequence, leader, place, sender, token = _DELIVERED.unpack_from(body)
                return Delivered(ViewId(sequence, leader), place, sender, body[_DELIVERED.size :], token)
            case Kind.DIRECT:
                return Direct(body[0], body[1:])
            case Kind.UNDELIVERED:
                return Undelivered(_TOKEN.unpack(body)[0])
            case Kind.PEER_LATE:
                document = read_json(body)
                return PeerLate(document["node_id"], document["silent_ms"])
            case Kind.VIEW:
                return _read_view(read_json(body))
            case _:
                raise Malformed(f"{kind.name} is not an event")
    except (struct.error, IndexError, KeyError, TypeError):
        raise Malformed(f"{kind.name} does not decode") from None


def _view_document(view: View) -> dict[str, Any]:
    return {
        "view_id": [view.view_id.sequence, view.view_id.leader],
        "members": _members(view.members),
        "group": sorted(view.group),
        "quorate": view.quorate,
        "reason": view.reason,
        "joined": _members(view.joined),
        "left": _members(view.left),
        "graceful": sorted(view.graceful),
    }


def _read_view(document: dict[str, Any]) -> View:
    return View(
        view_id=ViewId(*document["view_id"]),
        members=_read_members(document["members"]),
        group=frozenset(document["group"]),
        quorate=document["quorate"],
        reason=document["reason"],
        joined=_read_members(document["joined"]),
        left=_read_members(document["left"]),
        graceful=frozenset(document["graceful"]),
    )


def _members(members: tuple[Member, ...]) -> list[list[Any]]:
    return [[member.node_id, member.name, member.incarnation] for member in members]


def _read_members(entries: list[list[Any]]) -> tuple[Member, ...]:
    return tuple(Member(*entry) for entry in entries)
