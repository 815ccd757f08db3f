"""What controllers say to one another, and its form on the wire.

Theory of operation. Every message is a multicast in the total order of the view; there is no private conversation, so each member can follow
the whole of it and take over at any point. A message is one JSON object, for `CibCopy` followed by a newline and the document's bytes (compressed).
`decode` raises `MessageError` on anything else: a peer of another version, or a fault.

- `Announcement`: my facts, the first thing in every view.
- `CibCopy`: the agreed document, from the agreement's source.
- `MyHistory`: what my executor knows, and my transient attributes; completes the agreed document.
- `Changes`: status updates. `results` are the transition keys of actions that ended by them, with their verdict.
- `Orders`: actions to carry out, each on its node; recording them as pending and handing them to the executor is one event.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Final

from crm.attributes.messages import Word
from crm.attributes.messages import decode as decode_word
from crm.attributes.messages import encode as encode_word
from crm.cib.xml import Version
from crm.controller import status
from crm.controller.election import Facts
from crm.controller.graph import Action, ActionKind
from crm.controller.status import Update, decode_resource, encode_resource
from crm.events.causes import Causes

MAX_CIB_BYTES: Final = 128 * 1024 * 1024
"""Largest document that a copy may unpack to."""


_FACTS: Final = fields(Facts)


class MessageError(ValueError):
    """A payload that is no controller message."""


@dataclass(frozen=True, slots=True)
class Announcement:
    facts: Facts


@dataclass(frozen=True, slots=True)
class CibCopy:
    """`copy` is what the source's replica gave out for the others' replicas."""

    digest: str
    copy: bytes


@dataclass(frozen=True, slots=True)
class MyHistory:
    updates: tuple[Update, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """How an action ended. `ok`: as the transition expected."""

    transition_key: str
    ok: bool
    text: str = ""


@dataclass(frozen=True, slots=True)
class Changes:
    """`reason` is for people; `expected` says that no new decision is due because of these updates.

    `opens`: from here on the configuration may be changed in this view. `causes`: what led to them, for the event log. `words`: about node
    attributes, for the members' tables; what they write is added to the updates.
    """

    updates: tuple[Update, ...] = ()
    results: tuple[Result, ...] = ()
    reason: str = ""
    expected: bool = False
    opens: bool = False
    causes: Causes = ()
    words: tuple[Word, ...] = ()
    load_percent: int = 0
    """How busy the sender's cores are; comes with results."""
    promises: tuple[int, ...] = ()
    """Tickets of clients that are told when it is done (`crm.controller.promises`): sent again if it must be. Known to the sender only."""
    number: int = 0
    """Of a message with tickets: every member tells the sender, by this number, that it has it."""


@dataclass(frozen=True, slots=True)
class Order:
    """One action for the node's executor (or its controller). `cause`: that of the orders it came with."""

    transition_key: str
    action: Action
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Orders:
    transition: int
    orders: tuple[Order, ...]
    updates: tuple[Update, ...] = ()
    cause: str = ""


Message = Announcement | CibCopy | MyHistory | Changes | Orders


def encode(message: Message) -> bytes:
    match message:
        case Announcement(facts):
            return _dump({"t": "facts", **_facts(facts)})
        case CibCopy(digest, copy):
            return _dump({"t": "cib", "digest": digest}) + b"\n" + zlib.compress(copy, 1)
        case MyHistory(updates):
            return _dump({"t": "history", "u": [status.encode(update) for update in updates]})
        case Changes():
            return _dump(
                {
                    "t": "changes",
                    "u": [status.encode(update) for update in message.updates],
                    "r": [[result.transition_key, result.ok, result.text] for result in message.results],
                    "why": message.reason,
                    "expected": message.expected,
                    "opens": message.opens,
                    "causes": message.causes,
                    **({"a": [encode_word(word) for word in message.words]} if message.words else {}),
                    **({"load": message.load_percent} if message.load_percent else {}),
                    **({"number": message.number} if message.number else {}),
                }
            )
        case Orders():
            return _dump(
                {
                    "t": "orders",
                    "n": message.transition,
                    "o": [[order.transition_key, encode_action(order.action)] for order in message.orders],
                    "u": [status.encode(update) for update in message.updates],
                    "cause": message.cause,
                }
            )


def decode(payload: bytes) -> Message:
    head, _, body = payload.partition(b"\n")
    try:
        data = json.loads(head)
        match data["t"]:
            case "facts":
                return Announcement(_read_facts(data))
            case "cib":
                return CibCopy(data["digest"], _inflate(body))
            case "history":
                return MyHistory(tuple(status.decode(item) for item in data["u"]))
            case "changes":
                return Changes(
                    tuple(status.decode(item) for item in data["u"]),
                    tuple(Result(*item) for item in data["r"]),
                    data["why"],
                    data["expected"],
                    data["opens"],
                    tuple(str(cause) for cause in data["causes"]),
                    tuple(decode_word(word) for word in data.get("a", ())),
                    load_percent=int(data.get("load", 0)),
                    number=int(data.get("number", 0)),
                )
            case "orders":
                cause = str(data["cause"])
                return Orders(
                    data["n"],
                    tuple(Order(key, decode_action(action), cause) for key, action in data["o"]),
                    tuple(status.decode(item) for item in data["u"]),
                    cause,
                )
            case other:
                raise MessageError(f"unknown kind of controller message: {other!r}")
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise MessageError(f"not a controller message: {error}") from None


def encode_action(action: Action) -> list[Any]:
    """Fields in order; the parts that only the DC needs are left out."""
    return [
        action.id,
        action.kind.value,
        action.task,
        action.key,
        action.node,
        action.node_id,
        action.router,
        dict(action.parameters),
        None if action.resource is None else encode_resource(action.resource),
        action.timeout_ms,
        action.interval_ms,
        action.target_rc,
    ]


def decode_action(data: list[Any]) -> Action:
    identity, kind, task, key, node, node_id, router, parameters, resource, timeout_ms, interval_ms, target_rc = data
    return Action(
        identity,
        ActionKind(kind),
        task,
        key,
        node,
        node_id,
        router,
        parameters,
        None if resource is None else decode_resource(resource),
        timeout_ms,
        interval_ms,
        target_rc,
    )


def _dump(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()


def _inflate(body: bytes) -> bytes:
    machine = zlib.decompressobj()
    document = machine.decompress(body, MAX_CIB_BYTES)
    if machine.unconsumed_tail or not machine.eof:
        raise MessageError("a copy of the CIB is cut short or larger than allowed")
    return document


def _facts(facts: Facts) -> dict[str, Any]:
    data = {name: getattr(facts, name) for name in Facts.__slots__}
    data["version"] = str(facts.version)
    return data


def _read_facts(data: dict[str, Any]) -> Facts:
    # A member of another version may know less of itself, or more.
    values = {field.name: data[field.name] for field in _FACTS if field.name in data or field.default is MISSING}
    values["version"] = Version.parse(values["version"])
    values["standing"] = tuple(values["standing"])
    return Facts(**values)
