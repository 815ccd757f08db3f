"""What is written on a quorum disk, byte by byte.

    block 0              the label: whose disk this is; written once, by `crm cluster mkqdisk`
    block ID             the state of node ID; only that node ever writes it
    block 255 + ID       the mark against node ID; the master writes it when it goes on without that node

Every block has 4096 bytes and lies at a multiple of that, which is aligned for every disk there is. A block is a magic,
the length of its text, the CRC-32 of its text, and the text: JSON, so that `strings` shows what a disk says. The
text stays within the first 512 bytes, the smallest unit that disks write at once; a block that is torn nevertheless
does not pass its checksum.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

BLOCK_SIZE = 4096
MAX_NODE_ID = 255
BLOCKS = 1 + 2 * MAX_NODE_ID
DISK_SIZE = BLOCKS * BLOCK_SIZE
VERSION = 1
EMPTY = bytes(BLOCK_SIZE)
_HEADER = struct.Struct(">8sHI")
_MAGIC = b"VIGILQD1"


class Claim(StrEnum):
    """What a node says of the mastership. A bid is a claim that has not been compared with the others' yet."""

    NONE = "none"
    BID = "bid"
    MASTER = "master"


@dataclass(frozen=True, slots=True)
class Label:
    cluster: str
    uuid: str
    label: str
    block_size: int = BLOCK_SIZE
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class State:
    """`counter` grows with every write: that is all there is to see of being alive. No clock is compared with another.

    `able`: it would bid if there were no master. `uuid` is the label's: what an earlier use of the same disk left is no state.
    """

    uuid: str
    node_id: int
    name: str
    incarnation: int
    counter: int
    claim: Claim
    able: bool
    view: int
    members: tuple[int, ...]
    quorate: bool


@dataclass(frozen=True, slots=True)
class Mark:
    """The master `by` went on, from view `view` on, without this life of the node."""

    uuid: str
    node_id: int
    incarnation: int
    by: int
    by_name: str
    by_incarnation: int
    view: int


def state_block(node_id: int) -> int:
    return node_id


def mark_block(node_id: int) -> int:
    return MAX_NODE_ID + node_id


def pack(content: Label | State | Mark) -> bytes:
    """The block."""
    text = json.dumps(asdict(content), separators=(",", ":")).encode()
    return (_HEADER.pack(_MAGIC, len(text), zlib.crc32(text)) + text).ljust(BLOCK_SIZE, b"\0")


def _unpack(block: bytes) -> dict[str, Any] | None:
    magic, length, checksum = _HEADER.unpack_from(block)
    text = block[_HEADER.size : _HEADER.size + length]
    if magic != _MAGIC or len(text) != length or zlib.crc32(text) != checksum:
        return None
    document = json.loads(text)
    return document if isinstance(document, dict) else None


def unpack_label(block: bytes) -> Label | None:
    """None when this is no label."""
    try:
        document = _unpack(block)
        return Label(**document) if document else None
    except (TypeError, ValueError):
        return None


def unpack_state(block: bytes, uuid: str, node_id: int) -> State | None:
    """None when this is not a state of that node on that disk."""
    try:
        document = _unpack(block)
        if not document or document.get("uuid") != uuid or document.get("node_id") != node_id:
            return None
        members = tuple(document.pop("members"))
        return State(**{**document, "claim": Claim(document["claim"])}, members=members)
    except (KeyError, TypeError, ValueError):
        return None


def unpack_mark(block: bytes, uuid: str, node_id: int) -> Mark | None:
    """None when there is no mark against that node."""
    try:
        document = _unpack(block)
        if not document or document.get("uuid") != uuid or document.get("node_id") != node_id:
            return None
        return Mark(**document)
    except (TypeError, ValueError):
        return None
