"""`crm resource trace` and `untrace` as edits of a configuration: the parameter `trace_ra` of operations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lxml import etree

from crm.policy.dates import parse_interval_ms
from crm.shell import verbs
from crm.shell.configuration import Configuration, ConfigurationError

ALWAYS: Final = ("start", "stop")
OF_PROMOTABLE: Final = ("promote", "demote")
_PARAMETERS: Final = ("trace_ra", "trace_dir", "trace_file")


def trace(
    configuration: Configuration, identity: str, operation: str | None, interval: str | None, folder: str
) -> list[str]:
    """Sets the parameter in the operations meant; those that are not configured are added as they run anyway. Returns their names."""
    done: list[str] = []
    for primitive in _primitives(configuration, identity):
        operations = [
            *_configured(primitive, operation, interval),
            *_added(configuration, primitive, operation, interval),
        ]
        if not operations:
            every = "" if interval is None else f" with interval {interval}"
            raise ConfigurationError([f"{primitive.get('id')} has no operation {operation}{every}"])
        for op in operations:
            verbs.set_attribute(configuration, op, "param", "trace_ra", "1")
            if folder:
                verbs.set_attribute(configuration, op, "param", "trace_dir", folder)
            done.append(_name(op))
    return list(dict.fromkeys(done))


def untrace(configuration: Configuration, identity: str, operation: str | None, interval: str | None) -> list[str]:
    """Takes it out again, and operations that are there for the sake of tracing only. Returns their names."""
    done: list[str] = []
    for primitive in _primitives(configuration, identity):
        for op in list(_configured(primitive, operation, interval)):
            found = [name for name in _PARAMETERS if verbs.unset_attribute(op, "param", name)]
            if found:
                done.append(_name(op))
                _drop_if_plain(op)
    return list(dict.fromkeys(done))


def _primitives(configuration: Configuration, identity: str) -> list[etree._Element]:
    found = list(verbs.resource_of(configuration, identity).iter("primitive"))
    wrong = [each.get("id", "") for each in found if each.get("class") not in ("ocf", None)]
    if wrong:
        raise ConfigurationError([f"{name} has no OCF agent; only those can be traced" for name in wrong])
    return found


def _configured(primitive: etree._Element, operation: str | None, interval: str | None) -> Iterator[etree._Element]:
    name, interval_ms = _meant(operation, interval)
    for op in primitive.iterfind("operations/op"):
        if name not in (None, op.get("name")):
            continue
        if interval_ms is None or parse_interval_ms(op.get("interval", "0")) == interval_ms:
            yield op


def _added(
    configuration: Configuration, primitive: etree._Element, operation: str | None, interval: str | None
) -> Iterator[etree._Element]:
    """Operations that run without being configured."""
    name, interval_ms = _meant(operation, interval)
    parent = primitive.getparent()
    promotable = parent is not None and verbs.is_promotable(parent)
    usual = (*ALWAYS, *(OF_PROMOTABLE if promotable else ()))
    wanted = usual if name is None else (name,) if name in usual or interval_ms == 0 else ()
    for each in wanted:
        if any(True for _ in _configured(primitive, each, "0")):
            continue
        holder = primitive.find("operations")
        if holder is None:
            holder = etree.SubElement(primitive, "operations")
        fresh = verbs.free_id(configuration, f"{primitive.get('id')}-{each}-0s")
        yield etree.SubElement(holder, "op", id=fresh, name=each, interval="0s")


def _meant(operation: str | None, interval: str | None) -> tuple[str | None, int | None]:
    if operation == "probe":
        return "monitor", 0
    if interval is None:
        return operation, None
    interval_ms = parse_interval_ms(interval)
    if interval_ms is None:
        raise ConfigurationError([f"{interval!r} is no interval; expected 10s, 1min or 0"])
    return operation, interval_ms


def _drop_if_plain(op: etree._Element) -> None:
    plain = set(op.attrib) <= {"id", "name", "interval"} and not len(op)
    parent = op.getparent()
    if parent is None or not plain or parse_interval_ms(op.get("interval", "0")) != 0:
        return
    parent.remove(op)
    holder = parent.getparent()
    if holder is not None and not len(parent) and not parent.attrib:
        holder.remove(parent)


def _name(op: etree._Element) -> str:
    interval = op.get("interval", "0")
    return f"{op.get('name')} every {interval}" if parse_interval_ms(interval) else str(op.get("name"))
