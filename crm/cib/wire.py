"""What CIB replicas say to one another, and its form on the wire.

- `Change`, multicast: an operation to be applied by every member at this place in the total order. `origin` and `number` let the member that asked
  recognise its own.
- `Durable`, direct to the member that asked: everything delivered up to `mark` is applied here and on disk. With it, the version and digest
  of the configuration that was written, so that copies that differ are noticed.
- `Differs`, direct: your configuration of this version is not mine.

One JSON object each. `decode` raises `CibMessageError` on anything else: a peer of another version, or a fault; peers are authenticated
below, so this is about mistakes, not attacks, and still bounded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from crm.cib.operations import Kind, Operation
from crm.cib.xml import MAX_BYTES, Version

FORMAT: Final = 1
"""Raised when the meaning of a message changes; members of different formats do not understand each other."""


class CibMessageError(ValueError):
    """A payload that is no message of a CIB replica."""


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A place in the total order over all views: the view's sequence and leader, the message's sequence in it."""

    view_sequence: int
    view_leader: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Change:
    """`session` names one life of the asking member's crm: numbers start again with each. `automatic`: made by the cluster itself."""

    session: str
    number: int
    operation: Operation
    automatic: bool = False


@dataclass(frozen=True, slots=True)
class Durable:
    mark: Mark
    version: Version
    digest: str


@dataclass(frozen=True, slots=True)
class Differs:
    version: Version
    digest: str


Message = Change | Durable | Differs


def encode(message: Message) -> bytes:
    match message:
        case Change(session, number, operation, automatic):
            body: dict[str, Any] = {"s": session, "n": number, "o": operation_to_json(operation)}
            if automatic:
                body["auto"] = True
            return _dump("change", body)
        case Durable(mark, version, digest):
            place = [mark.view_sequence, mark.view_leader, mark.sequence]
            return _dump("durable", {"m": place, "v": str(version), "d": digest})
        case Differs(version, digest):
            return _dump("differs", {"v": str(version), "d": digest})


def decode(payload: bytes) -> Message:
    if len(payload) > MAX_BYTES:
        raise CibMessageError(f"a message of {len(payload)} bytes is larger than the limit of {MAX_BYTES}")
    try:
        data = json.loads(payload)
        if data["f"] != FORMAT:
            raise CibMessageError(f"a message of format {data['f']!r}, expected {FORMAT}")
        match data["t"]:
            case "change":
                operation = operation_from_json(data["o"])
                return Change(_text(data["s"]), _number(data["n"]), operation, bool(data.get("auto", False)))
            case "durable":
                first, second, third = (_number(part) for part in data["m"])
                return Durable(Mark(first, second, third), Version.parse(data["v"]), _text(data["d"]))
            case "differs":
                return Differs(Version.parse(data["v"]), _text(data["d"]))
            case other:
                raise CibMessageError(f"unknown kind of message: {other!r}")
    except CibMessageError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CibMessageError(f"not a message of a CIB replica: {error}") from None


def operation_to_json(operation: Operation) -> dict[str, Any]:
    """A JSON object; defaults are left out."""
    data: dict[str, Any] = {"kind": operation.kind.value}
    for name in ("xml", "scope", "xpath", "allow_create", "all_matches", "user", "feature_set", "if_configuration"):
        value = getattr(operation, name)
        if value:
            data[name] = value
    if operation.if_version is not None:
        data["if_version"] = str(operation.if_version)
    if operation.steps:
        data["steps"] = [operation_to_json(step) for step in operation.steps]
    if operation.stamp:
        data["stamp"] = [list(pair) for pair in operation.stamp]
    if operation.groups:
        data["groups"] = list(operation.groups)
    return data


def operation_from_json(data: dict[str, Any]) -> Operation:
    """The reverse. ValueError, KeyError or TypeError when it is not one."""
    version = data.get("if_version")
    stamp = tuple((_text(name), _text(value)) for name, value in data.get("stamp", ()))
    return Operation(
        Kind(data["kind"]),
        xml=_text(data.get("xml", "")),
        scope=_text(data.get("scope", "")),
        xpath=_text(data.get("xpath", "")),
        if_version=None if version is None else Version.parse(version),
        allow_create=bool(data.get("allow_create", False)),
        all_matches=bool(data.get("all_matches", False)),
        steps=tuple(operation_from_json(step) for step in data.get("steps", ())),
        stamp=stamp,
        user=_text(data.get("user", "")),
        groups=tuple(_text(group) for group in data.get("groups", ())),
        feature_set=_text(data.get("feature_set", "")),
        if_configuration=_text(data.get("if_configuration", "")),
    )


def _dump(kind: str, body: dict[str, Any]) -> bytes:
    return json.dumps({"f": FORMAT, "t": kind, **body}, separators=(",", ":"), ensure_ascii=False).encode()


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected text, got {value!r}")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"expected a number, got {value!r}")
    return value
