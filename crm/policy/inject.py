"""Synthetic events: what `crm_simulate` can make of a CIB before the policy engine sees it.

Every function changes the given CIB in place (callers pass a copy) and returns the line that says so, or raises `InjectionError` with a
sentence for people.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lxml.etree import SubElement, _Element

from crm.policy.graph import FEATURE_SET
from crm.policy.values import parse_integer, to_integer, truthy

_NOT_RUNNING = 7
NO_UUID = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
_SPEC = re.compile(
    r"(?P<rsc>.+)_(?P<task>[^_]+(?:_(?:to|from))?)_(?P<interval>[0-9]{1,18})@(?P<node>.+)=(?P<rc>[0-9]{1,9})\Z"
)


class InjectionError(ValueError):
    """An event that cannot be injected; the text is for people."""


@dataclass(slots=True, frozen=True)
class OperationSpec:
    """RESOURCE_TASK_INTERVAL@NODE=RC"""

    resource: str
    task: str
    interval_ms: int
    node: str
    rc: int


def parse_spec(text: str) -> OperationSpec:
    match = _SPEC.match(text)
    if match is None:
        raise InjectionError(f"Invalid operation spec: {text}.  Expected RESOURCE_TASK_INTERVAL@NODE=RC")
    return OperationSpec(match["rsc"], match["task"], int(match["interval"]), match["node"], int(match["rc"]))


def child(parent: _Element, tag: str, **attributes: str) -> _Element:
    """The first child of that tag, created when there is none."""
    found = parent.find(tag)
    return SubElement(parent, tag, attributes) if found is None else found


def node_state(cib: _Element, name: str) -> _Element:
    """The `node_state` of a node; an unknown node is added to the cluster."""
    status = child(cib, "status")
    for element in status.iterchildren("node_state"):
        if element.get("uname") == name:
            return element
    identity = name
    nodes = child(child(cib, "configuration"), "nodes")
    known = next((element for element in nodes.iterchildren("node") if element.get("uname") == name), None)
    if known is not None:
        identity = known.get("id") or name
    else:
        SubElement(nodes, "node", id=name, uname=name)
    return SubElement(status, "node_state", id=identity, uname=name)


def _set_state(element: _Element, in_ccm: str, crmd: str, join: str, expected: str) -> None:
    for name, value in (("in_ccm", in_ccm), ("crmd", crmd), ("join", join), ("expected", expected)):
        element.set(name, value)
    element.set("crm-debug-origin", "crm_simulate")


def node_up(cib: _Element, name: str) -> str:
    _set_state(node_state(cib, name), "true", "online", "member", "member")
    return f"Bringing node {name} online"


def node_down(cib: _Element, name: str) -> str:
    """As after a clean departure: nothing known to run there."""
    element = node_state(cib, name)
    _set_state(element, "false", "offline", "down", "down")
    for tag in ("lrm", "transient_attributes"):
        for block in list(element.iterchildren(tag)):
            element.remove(block)
    return f"Taking node {name} offline"


def node_fail(cib: _Element, name: str) -> str:
    """Membership lost, with everything that ran there."""
    element = node_state(cib, name)
    _set_state(element, "false", element.get("crmd") or "online", "member", "member")
    return f"Failing node {name}"


def quorum(cib: _Element, text: str) -> str:
    cib.set("have-quorum", "1" if text.lower() in ("1", "true", "yes", "on") else "0")
    return f"Setting quorum: {text}"


def watchdog(cib: _Element, text: str) -> str:
    config = child(child(cib, "configuration"), "crm_config")
    block = next(
        (e for e in config.iterchildren("cluster_property_set") if e.get("id") == "cib-bootstrap-options"), None
    )
    if block is None:
        block = SubElement(config, "cluster_property_set", id="cib-bootstrap-options")
    pair = next((e for e in block.iterchildren("nvpair") if e.get("name") == "have-watchdog"), None)
    if pair is None:
        pair = SubElement(block, "nvpair", id="cib-bootstrap-options-have-watchdog", name="have-watchdog")
    pair.set("value", text)
    return f"Setting watchdog: {text}"


def ticket(cib: _Element, name: str, attribute: str, value: str) -> str:
    tickets = child(child(cib, "status"), "tickets")
    element = next((e for e in tickets.iterchildren("ticket_state") if e.get("id") == name), None)
    if element is None:
        element = SubElement(tickets, "ticket_state", id=name)
    element.set(attribute, value)
    if (attribute, value) == ("granted", "true"):
        return f"Granting ticket {name}"
    if attribute == "granted":
        return f"Revoking ticket {name}"
    return f"{'Making' if value == 'true' else 'Activating'} ticket {name}{' standby' if value == 'true' else ''}"


def operation(cib: _Element, text: str, spec: OperationSpec, now: int) -> list[str]:
    """A result for the cluster to react to: entries of the resource's history, and a fail count if it is a failure.

    As in Pacemaker, 0 is what was expected, and what is found not running by anything but a recurring action is no failure to count.
    """
    lines = [f"Injecting {text} into the configuration"]
    element = _definition(cib, spec.resource)
    if element is None:
        raise InjectionError(f"Invalid resource name: {spec.resource}")
    state = node_state(cib, spec.node)
    history = _history(state, spec.resource, element)
    name = str(history.get("id"))
    if spec.rc and not (spec.rc == _NOT_RUNNING and not spec.interval_ms):
        lines += count_failure(state, spec.resource, spec.task, spec.interval_ms, now)
    call = max((parse_integer(e.get("call-id")) or 0 for e in history.iterchildren("lrm_rsc_op")), default=0) + 1
    # In a history written by hand nothing may say where it comes from; entries of different nodes are told apart by time alone.
    nameless = len(history) > 0 and all(entry.get("on_node") is None for entry in history)
    entries = [f"{name}_last_failure_0"] if spec.rc else []
    if not spec.interval_ms:
        entries.append(f"{name}_last_0")
    elif not spec.rc:
        entries.append(f"{name}_{spec.task}_{spec.interval_ms}")
    for entry_id in entries:
        values = _result(entry_id, name, spec, call, now)
        if nameless:
            del values["on_node"]
        old = next((entry for entry in history.iterchildren("lrm_rsc_op") if entry.get("id") == entry_id), None)
        if old is None:
            SubElement(history, "lrm_rsc_op", values)
        else:
            for attribute, value in values.items():  # what else it says stays: its digests, for one
                old.set(attribute, value)
    return lines


def _history(state: _Element, resource: str, definition: _Element) -> _Element:
    """The history of a resource on a node, by the name that it has there already: its own, or that of an anonymous clone's instances."""
    name = str(definition.get("id"))
    block = child(child(state, "lrm", id=str(state.get("id"))), "lrm_resources")
    for history in block.iterchildren("lrm_resource"):
        if history.get("id") in (resource, name):
            return history
    agent = {key: definition.get(key, "") for key in ("class", "provider", "type") if definition.get(key) is not None}
    return SubElement(block, "lrm_resource", {"id": name, **agent})


def _result(entry_id: str, name: str, spec: OperationSpec, call: int, now: int) -> dict[str, str]:
    return {
        "id": entry_id,
        "operation_key": f"{name}_{spec.task}_{spec.interval_ms}",
        "operation": spec.task,
        "crm-debug-origin": "crm_simulate",
        "crm_feature_set": FEATURE_SET,
        "transition-key": f"{call}:-1:0:{NO_UUID}",
        "transition-magic": f"0:{spec.rc};{call}:-1:0:{NO_UUID}",
        "exit-reason": "Simulated action result" if spec.rc else "",
        "on_node": spec.node,
        "call-id": str(call),
        "rc-code": str(spec.rc),
        "op-status": "0",
        "interval": str(spec.interval_ms),
        "last-rc-change": str(now),
        "exec-time": "0",
        "queue-time": "0",
    }


def _definition(cib: _Element, name: str) -> _Element | None:
    base = name.rpartition(":")[0] if name.rpartition(":")[2].isdigit() else name
    for element in cib.iterfind("configuration/resources//primitive"):
        if element.get("id") == name and _is_unique_instance(element):
            raise InjectionError(f"Invalid resource name: {name} (which instance? {name}:0, {name}:1, …)")
        if element.get("id") in (name, base):
            return element
    return None


def _is_unique_instance(element: _Element) -> bool:
    """Is it in a clone whose instances are not all the same?"""
    return any(
        pair.get("name") == "globally-unique" and truthy(pair.get("value"))
        for clone in element.iterancestors("clone", "master")
        for pair in clone.iterfind("meta_attributes/nvpair")
    )


def count_failure(state: _Element, resource: str, task: str, interval_ms: int, now: int) -> list[str]:
    """Fail count and time of the last failure, as the controller would set them."""
    identity = str(state.get("id"))
    attributes = child(state, "transient_attributes", id=identity)
    block = child(attributes, "instance_attributes", id=f"status-{identity}")
    lines = []
    for prefix, value in (("fail-count", "value++"), ("last-failure", str(now))):
        name = f"{prefix}-{resource}#{task}_{interval_ms}"
        lines.append(f"Injecting attribute {name}={value} into /node_state '{identity}'")
        pair = next((e for e in block.iterchildren("nvpair") if e.get("name") == name), None)
        if pair is None:
            pair = SubElement(block, "nvpair", id=f"{identity}-{name.replace('#', '.')}", name=name, value="0")
        old = pair.get("value") or "0"
        pair.set("value", _one_more(old) if value == "value++" else value)
    return lines


def _one_more(count: str) -> str:
    return str(to_integer(count) + 1) if count.isascii() and count.isdigit() else count
