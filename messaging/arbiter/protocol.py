"""What nodes and arbiter say to each other: JSON objects in frames of four bytes length, inside TLS.

A node says `Hello` once, then one `Report` after the other, each answered by one `Verdict`, in order.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass, fields
from typing import Any

from messaging.errors import Malformed
from messaging.tiebreak.preference import Prefer

VERSION = 1
DEFAULT_PORT = 5413
MAX_FRAME_BYTES = 16_384
MAX_NODE_ID = 255
MAX_TIME_MS = 3_600_000
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Hello:
    """Who speaks. `stale_ms`: for so long after it was given a grant counts; `deadtime_ms`: the node's."""

    version: int
    cluster: str
    node_id: int
    name: str
    incarnation: int
    stale_ms: int
    deadtime_ms: int
    prefer: Prefer
    votes: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Report:
    """`part`: the nodes that would go on together, this one included, should those that are late be dead.

    `needs`: with the arbiter's vote they have quorum, without it they have not (or the installed view rests on it). `view`: its
    members. `leaving`: go on without me. `weight`: what this node runs, see `messaging.tiebreak.preference`.
    """

    sequence: int
    part: tuple[int, ...]
    needs: bool
    view: tuple[int, ...]
    leaving: bool = False
    weight: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to the report `sequence`. `grant` (0: none) is for `part`. `leaving` names nodes that others can go on without.

    `followed`, to a node that leaves: nobody depends on it any more. `weights`: of the nodes that are connected, where they decide.
    """

    sequence: int
    grant: int
    part: tuple[int, ...]
    reason: str
    leaving: tuple[int, ...] = ()
    followed: bool = False
    weights: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """The last word to somebody who may not speak here."""

    reason: str


Message = Hello | Report | Verdict | Refused
_KINDS: dict[str, type[Message]] = {"hello": Hello, "report": Report, "verdict": Verdict, "refused": Refused}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def encode(message: Message) -> bytes:
    """The frame."""
    text = json.dumps({"kind": _NAMES[type(message)], **asdict(message)}, separators=(",", ":")).encode()
    return _LENGTH.pack(len(text)) + text


class Decoder:
    """Bytes in, messages out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete now. Malformed at the first that is none."""
        self._buffer += data
        found: list[Message] = []
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAX_FRAME_BYTES:
                raise Malformed(f"a frame of {length} bytes")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                break
            found.append(decode(bytes(self._buffer[_LENGTH.size : end])))
            del self._buffer[:end]
        return found


def decode(text: bytes) -> Message:
    """One message. Malformed when it is none, or a value is out of its bounds."""
    try:
        document = json.loads(text)
        kind = _KINDS[document.pop("kind")]
        if document.keys() != {field.name for field in fields(kind)}:
            raise Malformed("a message with other fields than ours")
        return kind(**{name: _read(kind, name, value) for name, value in document.items()})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Malformed(f"not a message of this protocol ({type(error).__name__})") from None


def _read(kind: type[Message], name: str, value: Any) -> Any:
    """A field in its type and bounds."""
    match name:
        case "cluster" | "name" | "reason":
            good = isinstance(value, str) and len(value) <= 1000
        case "needs" | "leaving" | "followed" if not (name == "leaving" and kind is Verdict):
            good = isinstance(value, bool)
        case "part" | "view" | "leaving":
            value = tuple(value)
            good = len(value) <= MAX_NODE_ID and all(_number(each, 1, MAX_NODE_ID) for each in value)
        case "votes":
            value = tuple((node_id, votes) for node_id, votes in value)
            good = len(value) <= MAX_NODE_ID and all(
                _number(node_id, 1, MAX_NODE_ID) and _number(votes, 0, 255) for node_id, votes in value
            )
        case "weights":
            value = tuple((node_id, weight) for node_id, weight in value)
            good = len(value) <= MAX_NODE_ID and all(
                _number(node_id, 1, MAX_NODE_ID) and _number(weight, 0, 1 << 62) for node_id, weight in value
            )
        case "prefer":
            return Prefer(value)
        case "node_id":
            good = _number(value, 1, MAX_NODE_ID)
        case "stale_ms" | "deadtime_ms":
            good = _number(value, 1, MAX_TIME_MS)
        case _:
            good = _number(value, 0, 1 << 62)
    if not good:
        raise ValueError(name)
    return value


def _number(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most
