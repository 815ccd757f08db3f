"""The status section: what the controllers write there, as small updates that every member applies alike.

Theory of operation. The status section is the cluster's common memory of what happened: which nodes are in (`node_state`),
what ran where (`lrm`), and the nodes' transient attributes. It changes only by the updates below. They travel in the total order of the
view, and every member applies the same ones to the same document, so the copies stay equal byte for byte; `apply` is therefore
deterministic and looks at nothing but the document. Elements and attributes are those of Pacemaker, so that the policy
engine and existing tools read them.

A pending operation is recorded as an entry of its own, beside the entries of earlier operations (`pending-KEY`): what was known
before stays known while the operation is under way. Its result replaces it.

`apply` is not given to judge: an update about an unknown node creates that node's `node_state`; removing what is not there is nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any, Final

from lxml import etree

from crm.cib import xml
from crm.cib.digest import digested_parameters, operation_digest
from crm.controller.graph import Action, ResourceDefinition

ORIGIN: Final = "vigil"
PENDING_RC: Final = 193
PENDING_STATUS: Final = -1
LOCK: Final = "shutdown-lock"
DECLARED: Final = "asyncmon"
"""What Pacemaker calls a failure that no operation of the cluster has found: somebody declared it (`crm resource fail`)."""


@dataclass(frozen=True, slots=True)
class NodeState:
    """What is known of a node's membership. A value of None leaves the attribute as it is."""

    node_id: str
    uname: str
    in_ccm: bool | None = None
    crmd: str | None = None
    join: str | None = None
    expected: str | None = None


@dataclass(frozen=True, slots=True)
class EraseNode:
    """Forget the operation history and transient attributes of a node that is known to be off (or was reset)."""

    node_id: str
    uname: str


@dataclass(frozen=True, slots=True)
class History:
    """A node's whole history as its executor knows it: the `<lrm>` element, replacing what was there; None for none."""

    node_id: str
    uname: str
    lrm: str | None


@dataclass(frozen=True, slots=True)
class Operation:
    """One entry of a resource's history: the attributes of the `lrm_rsc_op`, `id` first."""

    node_id: str
    uname: str
    resource: ResourceDefinition
    entry: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ForgetOperation:
    """Drop one entry by its id."""

    node_id: str
    resource_id: str
    entry_id: str


@dataclass(frozen=True, slots=True)
class ForgetResource:
    """Drop a resource's whole history on a node; None: on all nodes."""

    node_id: str | None
    resource_id: str


@dataclass(frozen=True, slots=True)
class Lock:
    """A shutdown lock: the resource, stopped because its node shuts down, waits for this node (since: epoch seconds). None ends it."""

    node_id: str
    resource_id: str
    since: str | None


@dataclass(frozen=True, slots=True)
class Attributes:
    """Transient attributes of a node; a value of None deletes. With `replace`, those not named are deleted too."""

    node_id: str
    uname: str
    values: Mapping[str, str | None]
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Quorum:
    """What the DC says about the partition as a whole, on the root element."""

    have_quorum: bool
    dc_id: str


Update = NodeState | EraseNode | History | Operation | ForgetOperation | ForgetResource | Lock | Attributes | Quorum

_KINDS: Final[dict[str, type[Any]]] = {
    "node": NodeState,
    "erase": EraseNode,
    "history": History,
    "op": Operation,
    "forget-op": ForgetOperation,
    "forget": ForgetResource,
    "lock": Lock,
    "attributes": Attributes,
    "quorum": Quorum,
}
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}


def encode(update: Update) -> list[Any]:
    """A JSON value: the kind, then the fields in order."""
    fields: list[Any] = [getattr(update, name) for name in update.__slots__]
    if isinstance(update, Operation):
        fields[2] = encode_resource(update.resource)
    return [_NAMES[type(update)], *fields]


def decode(data: list[Any]) -> Update:
    """The reverse of `encode`. ValueError when a peer of another version sent something else."""
    try:
        kind = _KINDS[data[0]]
        fields = data[1:]
        if kind is Operation:
            fields = [fields[0], fields[1], decode_resource(fields[2]), fields[3]]
        update: Update = kind(*fields)
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"not a status update: {str(data)[:200]} ({error})") from None
    return update


def encode_resource(resource: ResourceDefinition) -> list[str | None]:
    return [resource.id, resource.long_id, resource.standard, resource.provider, resource.type]


def decode_resource(data: list[Any]) -> ResourceDefinition:
    return ResourceDefinition(*data)


def pending(action: Action, transition_key: str) -> Operation | None:
    """What is recorded before an action is sent; None for actions that leave no history of their own."""
    if action.resource is None or action.node is None or action.task in ("cancel", "delete", "notify"):
        return None
    if action.task == "monitor" and action.interval_ms == 0:
        return None  # a probe that has not answered is the same as a resource that was not probed
    entry = {
        "id": f"pending-{action.history_key}",
        "operation_key": action.history_key,
        "operation": action.task,
        "crm-debug-origin": ORIGIN,
        "transition-key": transition_key,
        "transition-magic": f"{PENDING_STATUS}:{PENDING_RC};{transition_key}",
        "on_node": action.node,
        "call-id": "-1",
        "rc-code": str(PENDING_RC),
        "op-status": str(PENDING_STATUS),
        "interval": str(action.interval_ms),
        # Without it the next DC would take what is under way for something that was started with other parameters.
        "op-digest": operation_digest(digested_parameters(action.parameters, action.interval_ms)),
    }
    for name in ("migrate_source", "migrate_target"):
        value = action.meta(name)
        if value is not None:
            entry[name] = value
    return Operation(action.node_id or action.node, action.node, action.resource, entry)


def lock(document: etree._Element, action: Action) -> list[Update]:
    """The shutdown lock that an action sets (a stop of a node's shutdown) or ends (whatever makes the resource run)."""
    if action.resource is None or action.node_id is None:
        return []
    if action.task == "stop" and action.shutdown_lock is not None:
        return [Lock(action.node_id, action.resource.id, action.shutdown_lock)]
    known = lrm_resource(document, action.node_id, action.resource.id)
    if action.task in ("start", "migrate_from") and known is not None and known.get(LOCK) is not None:
        return [Lock(action.node_id, action.resource.id, None)]
    return []


# --- reading ----------------------------------------------------------------------------------------------------------


def node_state(document: etree._Element, node_id: str) -> etree._Element | None:
    for element in _node_states(document):
        if element.get("id") == node_id:
            return element
    return None


def node_name(document: etree._Element, node_id: str) -> str:
    """As the status section has it; the id itself for a node that was never seen."""
    state = node_state(document, node_id)
    return node_id if state is None else state.get("uname", node_id)


def node_state_by_name(document: etree._Element, uname: str) -> etree._Element | None:
    for element in _node_states(document):
        if element.get("uname") == uname:
            return element
    return None


def transient_attributes(document: etree._Element, node_id: str) -> dict[str, str]:
    state = node_state(document, node_id)
    if state is None:
        return {}
    return {nvpair.get("name", ""): nvpair.get("value", "") for nvpair in _nvpairs(state)}


def permanent_attributes(document: etree._Element, node_id: str) -> dict[str, str]:
    """The instance attributes of a node in the configuration, without rules."""
    for node in xml.elements(xml.section(document, "nodes"), "node"):
        if node.get("id") == node_id:
            pairs = (
                pair for holder in node.iterchildren("instance_attributes") for pair in holder.iterchildren("nvpair")
            )
            return {pair.get("name", ""): pair.get("value", "") for pair in pairs}
    return {}


def history_of(document: etree._Element, node_id: str) -> etree._Element | None:
    """The node's `<lrm>` element."""
    state = node_state(document, node_id)
    return None if state is None else state.find("lrm")


def lrm_resource(document: etree._Element, node_id: str, resource_id: str) -> etree._Element | None:
    lrm = history_of(document, node_id)
    resources = None if lrm is None else lrm.find("lrm_resources")
    return _child(resources, resource_id)


def operation_entry(document: etree._Element, node_id: str, resource_id: str, entry_id: str) -> etree._Element | None:
    return _child(lrm_resource(document, node_id, resource_id), entry_id)


# --- applying ---------------------------------------------------------------------------------------------------------


def apply(document: etree._Element, updates: Iterable[Update]) -> list[Update]:
    """Carry the updates out, in order; those that changed something come back. The version is the caller's matter."""
    return Applier()(document, updates)


class Applier:
    """`apply` with a memory of where each resource's history is, so that a result costs the same with one resource or thousands.

    The memory is a shortcut only: an element is believed when it is still where it was, with the id it had; otherwise it is searched for.
    """

    def __init__(self) -> None:
        self._document: etree._Element | None = None
        self._resources: dict[tuple[str, str], etree._Element] = {}

    def __call__(self, document: etree._Element, updates: Iterable[Update]) -> list[Update]:
        if document is not self._document:
            self._document = document
            self._resources.clear()
        return [update for update in updates if self._apply(document, update)]

    def _apply(self, document: etree._Element, update: Update) -> bool:
        if not isinstance(update, Operation):
            return _apply_one(document, update)
        state, _ = _ensure_state(document, update.node_id, update.uname)
        holder = _lrm_resources(state, update.node_id)
        key = (update.node_id, update.resource.id)
        resource = self._resources.get(key)
        if resource is None or resource.getparent() is not holder or resource.get("id") != update.resource.id:
            resource = _child(holder, update.resource.id)
            if resource is None:
                resource = etree.SubElement(holder, "lrm_resource", {"id": update.resource.id})
            self._resources[key] = resource
        return _record(resource, update)


def _apply_one(document: etree._Element, update: Update) -> bool:
    match update:
        case NodeState():
            return _set_node_state(document, update)
        case EraseNode():
            return _erase(document, update)
        case History():
            return _replace_history(document, update)
        case Operation():
            raise AssertionError("operations are recorded by Applier")
        case ForgetOperation():
            found = lrm_resource(document, update.node_id, update.resource_id)
            return _drop(found, update.entry_id)
        case ForgetResource():
            return _forget(document, update)
        case Lock():
            return _lock(document, update)
        case Attributes():
            return _set_attributes(document, update)
        case Quorum():
            return _set(document, {"have-quorum": "1" if update.have_quorum else "0", "dc-uuid": update.dc_id})


def _set_node_state(document: etree._Element, update: NodeState) -> bool:
    state, created = _ensure_state(document, update.node_id, update.uname)
    values = {"crmd": update.crmd, "join": update.join, "expected": update.expected}
    wanted = {name: value for name, value in values.items() if value is not None}
    if update.in_ccm is not None:
        wanted["in_ccm"] = "true" if update.in_ccm else "false"
    wanted["crm-debug-origin"] = ORIGIN
    return _set(state, wanted) or created


def _erase(document: etree._Element, update: EraseNode) -> bool:
    state = node_state(document, update.node_id)
    if state is None:
        return False
    children = list(state)
    for child in children:
        state.remove(child)
    return bool(children)


def _replace_history(document: etree._Element, update: History) -> bool:
    state, created = _ensure_state(document, update.node_id, update.uname)
    old = state.find("lrm")
    new = None if update.lrm is None else xml.parse_fragment(update.lrm, comments=False)
    new = _with_locks(old, _with_declared(old, new), update.node_id)
    if old is None and new is None:
        return created
    if old is not None and new is not None and xml.to_bytes(old) == xml.to_bytes(new):
        return created
    if old is not None:
        state.remove(old)
    if new is not None:
        state.insert(0, new)
    return True


def unsettled_arrivals(document: etree._Element, updates: Iterable[Update]) -> list[ForgetResource]:
    """To be asked before `updates` are applied: what may have arrived by a live migration of which the source will know nothing more.

    Only the source's history tells that the resource may run at the target, which was found without it before. When the source has
    been restarted, or has left, that finding is not worth anything: the target is probed anew.
    """
    updates = list(updates)
    under_way = {update.entry["id"] for update in updates if isinstance(update, Operation)}
    found: list[ForgetResource] = []
    for told in (update for update in updates if isinstance(update, History)):
        old = history_of(document, told.node_id)
        for resource in () if old is None else old.iter("lrm_resource"):
            moves = [each for each in resource if each.get("operation") == "migrate_to" and _is_newest(each, resource)]
            identity, entry = resource.get("id", ""), moves[0].get("id", "") if moves else ""
            known = entry in under_way or f'"{entry.removeprefix("pending-")}"' in (told.lrm or "")
            target = node_state_by_name(document, moves[0].get("migrate_target", "")) if moves and not known else None
            there = None if target is None else lrm_resource(document, target.get("id", ""), identity)
            if target is not None and there is not None and _found_inactive(there):
                found.append(ForgetResource(target.get("id"), identity))
    return found


def _call(entry: etree._Element) -> int:
    """What is under way is newer than all that has ended."""
    call = entry.get("call-id", "")
    return sys.maxsize if entry.get("op-status") == "-1" else int(call) if call.isdecimal() else -1


def _is_newest(entry: etree._Element, resource: etree._Element) -> bool:
    return all(_call(entry) >= _call(each) for each in resource if each.get("interval", "0") == "0")


def _found_inactive(resource: etree._Element) -> bool:
    last = max((each for each in resource if each.get("interval", "0") == "0"), key=_call, default=None)
    if last is None:
        return False
    return (last.get("operation"), last.get("rc-code")) in (("monitor", "7"), ("stop", "0"))


def _with_locks(old: etree._Element | None, new: etree._Element | None, node_id: str) -> etree._Element | None:
    """A node that comes back does not know which resources wait for it: those entries keep their locks."""
    held = [] if old is None else [each for each in old.iter("lrm_resource") if each.get(LOCK) is not None]
    if not held:
        return new
    lrm = etree.Element("lrm", {"id": node_id}) if new is None else new
    resources = lrm.find("lrm_resources")
    if resources is None:
        resources = etree.SubElement(lrm, "lrm_resources")
    for each in held:
        known = _child(resources, each.get("id", ""))
        if known is None:
            known = etree.SubElement(resources, "lrm_resource")
            for name, value in each.items():
                known.set(name, value)
        known.set(LOCK, each.get(LOCK, ""))
    return lrm


def _with_declared(old: etree._Element | None, new: etree._Element | None) -> etree._Element | None:
    """A failure that somebody declared is no result of the node's own, so the node does not tell of it: it stays until something has run since."""
    if old is None or new is None:
        return new
    for before in old.iterfind("lrm_resources/lrm_resource"):
        resource = _child(new.find("lrm_resources"), before.get("id", ""))
        for entry in before.iterchildren("lrm_rsc_op"):
            if (
                entry.get("operation") != DECLARED
                or resource is None
                or _child(resource, entry.get("id", "")) is not None
            ):
                continue
            known = [_call_id(each) for each in resource.iterchildren("lrm_rsc_op") if each.get("interval", "0") == "0"]
            if known and max(known) <= _call_id(entry):
                resource.append(copy(entry))
    return new


def _call_id(entry: etree._Element) -> int:
    text = entry.get("call-id", "")
    return int(text) if text.isdigit() else 0


def _lrm_resources(state: etree._Element, node_id: str) -> etree._Element:
    lrm = state.find("lrm")
    if lrm is None:
        lrm = etree.Element("lrm", {"id": node_id})
        state.insert(0, lrm)
    resources = lrm.find("lrm_resources")
    return etree.SubElement(lrm, "lrm_resources") if resources is None else resources


def _record(resource: etree._Element, update: Operation) -> bool:
    definition = update.resource
    described = {"type": definition.type, "class": definition.standard, "provider": definition.provider}
    changed = _set(resource, {name: value for name, value in described.items() if value})
    key = update.entry.get("operation_key", "")
    if update.entry.get("op-status") != str(PENDING_STATUS):
        changed |= _drop(resource, f"pending-{key}")
    entry_id = update.entry["id"]
    old = _child(resource, entry_id)
    if old is None:
        etree.SubElement(resource, "lrm_rsc_op", dict(update.entry))
        return True
    if old.items() == list(update.entry.items()):
        return changed
    old.attrib.clear()
    _set(old, update.entry)
    return True


def _forget(document: etree._Element, update: ForgetResource) -> bool:
    changed = False
    for state in _node_states(document):
        if update.node_id is not None and state.get("id") != update.node_id:
            continue
        resources = state.find("lrm/lrm_resources")
        changed |= _drop(resources, update.resource_id)
    return changed


def _lock(document: etree._Element, update: Lock) -> bool:
    found = lrm_resource(document, update.node_id, update.resource_id)
    if found is None or found.get(LOCK) == update.since:
        return False
    if update.since is None:
        del found.attrib[LOCK]
    else:
        found.set(LOCK, update.since)
    return True


def _set_attributes(document: etree._Element, update: Attributes) -> bool:
    wanted = {name: value for name, value in update.values.items() if value is not None}
    state = node_state(document, update.node_id)
    if state is None and not wanted:
        return False
    state, _ = _ensure_state(document, update.node_id, update.uname)
    present = {
        name: nvpair
        for nvpair in _nvpairs(state)
        if (name := nvpair.get("name", "")) in update.values or update.replace
    }
    changed = False
    for name, nvpair in present.items():
        if (name in update.values and update.values[name] is None) or (update.replace and name not in wanted):
            parent = nvpair.getparent()
            assert parent is not None
            parent.remove(nvpair)
            changed = True
    for name, value in wanted.items():
        existing = present.get(name)
        if existing is not None:
            if existing.get("value") != value:
                existing.set("value", value)
                changed = True
            continue
        holder = _attribute_set(state, update.node_id)
        identity = f"status-{update.node_id}-{_id_part(name)}"
        etree.SubElement(holder, "nvpair", {"id": identity, "name": name, "value": value})
        changed = True
    return changed


# --- small parts ------------------------------------------------------------------------------------------------------


def _node_states(document: etree._Element) -> Iterator[etree._Element]:
    return xml.elements(xml.section(document, xml.STATUS), "node_state")


def _nvpairs(state: etree._Element) -> Iterator[etree._Element]:
    for transient in state.iterchildren("transient_attributes"):
        yield from transient.iter("nvpair")


def _ensure_state(document: etree._Element, node_id: str, uname: str) -> tuple[etree._Element, bool]:
    state = node_state(document, node_id)
    if state is not None:
        if uname and state.get("uname") != uname:
            state.set("uname", uname)
        return state, False
    status = xml.ensure_section(document, xml.STATUS)
    return etree.SubElement(status, "node_state", {"id": node_id, "uname": uname}), True


def _attribute_set(state: etree._Element, node_id: str) -> etree._Element:
    transient = state.find("transient_attributes")
    if transient is None:
        transient = etree.SubElement(state, "transient_attributes", {"id": node_id})
    found = transient.find("instance_attributes")
    if found is None:
        found = etree.SubElement(transient, "instance_attributes", {"id": f"status-{node_id}"})
    return found


def _id_part(name: str) -> str:
    """XML ids allow fewer characters than attribute names do (`fail-count-web#monitor_10000`)."""
    return "".join(c if c.isalnum() or c in "-._" else "." for c in name)


def _child(parent: etree._Element | None, identity: str) -> etree._Element | None:
    if parent is None:
        return None
    for element in parent.iterchildren("*"):
        if element.get("id") == identity:
            return element
    return None


def _drop(parent: etree._Element | None, identity: str) -> bool:
    found = _child(parent, identity)
    if parent is None or found is None:
        return False
    parent.remove(found)
    return True


def _set(element: etree._Element, values: Mapping[str, str]) -> bool:
    changed = False
    for name, value in values.items():
        if element.get(name) != value:
            element.set(name, value)
            changed = True
    return changed
