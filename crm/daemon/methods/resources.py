"""Resources: forgetting what is known of them, and declaring them failed."""

from __future__ import annotations

import time
from typing import Any, Final

from lxml import etree

from crm.api import errors
from crm.api.errors import ApiError
from crm.api.server import Call
from crm.cib import xml
from crm.controller import failures, status
from crm.controller.graph import ResourceDefinition
from crm.controller.messages import Changes
from crm.controller.status import Attributes, ForgetResource, Operation, Update
from crm.daemon.methods.parts import NodeMethods

_COLLECTIVES: Final = ("group", "clone", "master", "bundle")


class ResourceMethods(NodeMethods):
    async def cleanup(self, call: Call) -> dict[str, Any]:
        """Where there are failures (of this operation and interval, if given)."""
        call.only("resource", "node", "operation", "interval_ms", "alone")
        return await self._clear(call, only_failed=True)

    async def refresh(self, call: Call) -> dict[str, Any]:
        call.only("resource", "node", "alone")
        return await self._clear(call, only_failed=False)

    async def _clear(self, call: Call, *, only_failed: bool) -> dict[str, Any]:
        """A member stands for its whole group or clone, unless it is to be cleared `alone`."""
        resource, node_name = call.text("resource"), call.text("node")
        task, interval_ms = call.text("operation"), call.integer("interval_ms")
        await self.synchronised()
        wanted = None if resource is None else self._leaves(resource, alone=call.boolean("alone"))
        document, visitor = self.node.cib.document, self.visitor(call)
        if node_name is not None and not _is_node(document, node_name):
            raise ApiError(errors.NOT_FOUND, f"Node '{node_name}' not found")
        updates: list[Update] = []
        cleared: list[list[str]] = []
        for state in xml.elements(xml.section(document, xml.STATUS), "node_state"):
            name, identity = state.get("uname", ""), state.get("id", "")
            if node_name is not None and node_name not in (name, identity):
                continue
            attributes = status.transient_attributes(document, identity)
            for history in state.iterfind("lrm/lrm_resources/lrm_resource"):
                rsc = history.get("id", "")
                if wanted is not None and _base(rsc) not in wanted:
                    continue
                counts = failures.cleared_attributes(attributes, rsc, task, interval_ms)
                if only_failed and not counts and not _has_failure(history, task, interval_ms):
                    continue
                visitor.need_write(history, *_pairs(state, counts))
                cleared.append([rsc, name])
                if counts:
                    updates.append(Attributes(identity, name, counts))
                updates.append(ForgetResource(identity, rsc))
        if updates:
            what = resource or "all resources"
            verb = "cleaned up" if only_failed else "refreshed"
            await self.publish(Changes(tuple(updates), (), f"{what} {verb}"))
        return {"cleared": len(cleared), "histories": cleared}

    async def fail(self, call: Call) -> dict[str, Any]:
        """As if a monitor had just found the resource failed: it is recovered as its configuration says."""
        call.only("resource", "node")
        resource, node_name = call.need_text("resource"), call.text("node")
        await self.synchronised()
        document = self.node.cib.document
        found = [
            (state, history)
            for state in xml.elements(xml.section(document, xml.STATUS), "node_state")
            if node_name is None or node_name in (state.get("uname"), state.get("id"))
            for history in state.iterfind("lrm/lrm_resources/lrm_resource")
            if history.get("id") == resource and _ran(history)
        ]
        where = f" on {node_name}" if node_name else ""
        if not found:
            raise ApiError(errors.NOT_FOUND, f"nothing is known of a primitive {resource} having run{where}")
        if len(found) > 1:
            names = ", ".join(state.get("uname", "") for state, _ in found)
            raise ApiError(errors.BAD_REQUEST, f"{resource} has run on {names}: name the node")
        state, history = found[0]
        self.visitor(call).need_write(history)
        identity, name = state.get("id", ""), state.get("uname", "")
        now = int(time.time())
        entry = _failure(history, name, now, self.node.crm_id)
        definition = ResourceDefinition(
            resource, None, history.get("class", ""), history.get("provider"), history.get("type", "")
        )
        counts = failures.failure_attributes(
            status.transient_attributes(document, identity),
            resource,
            status.DECLARED,
            0,
            start_is_fatal=False,
            epoch_s=now,
        )
        updates = (Operation(identity, name, definition, entry), Attributes(identity, name, counts))
        await self.publish(Changes(updates, (), f"{resource} on {name} was declared failed"))
        return {"resource": resource, "node": name}

    def _leaves(self, resource: str, *, alone: bool) -> set[str]:
        """Ids of the primitives in a resource of the configuration (or of what is only known from history)."""
        section = xml.section(self.node.cib.document, "resources")
        found: set[str] = set()
        for element in () if section is None else section.iter("primitive", *_COLLECTIVES):
            if element.get("id") == _base(resource):
                top = element
                while not alone and (parent := top.getparent()) is not None and parent.tag in _COLLECTIVES:
                    top = parent
                found |= {primitive.get("id", "") for primitive in top.iter("primitive")}
        return found or {_base(resource)}


def _is_node(document: etree._Element, name: str) -> bool:
    """By name or id, in the configuration or in the status section."""
    known = [*xml.elements(xml.section(document, "nodes"), "node")]
    known += xml.elements(xml.section(document, xml.STATUS), "node_state")
    return any(name in (each.get("uname"), each.get("id")) for each in known)


def _pairs(state: etree._Element, names: dict[str, str | None]) -> list[etree._Element]:
    return [pair for pair in state.iterfind("transient_attributes//nvpair") if pair.get("name") in names]


def _has_failure(history: etree._Element, task: str | None, interval_ms: int | None) -> bool:
    for entry in history.iterchildren("lrm_rsc_op"):
        if task is not None and (entry.get("operation"), entry.get("interval", "0")) != (task, str(interval_ms or 0)):
            continue
        if entry.get("id", "").endswith("_last_failure_0"):
            return True
        target = (entry.get("transition-key") or "").split(":")
        expected = target[2] if len(target) == 4 else "0"
        if entry.get("op-status") not in ("0", "-1") or (
            entry.get("rc-code") != expected and entry.get("interval") != "0"
        ):
            return True
    return False


def _ran(history: etree._Element) -> bool:
    """A probe that found nothing is no life to end."""
    return any(
        (entry.get("operation"), entry.get("rc-code")) != ("monitor", "7") and entry.get("op-status") != "-1"
        for entry in history.iterchildren("lrm_rsc_op")
    )


def _failure(history: etree._Element, node: str, now: int, crm_id: str) -> dict[str, str]:
    """An entry that is newer than all others and older than whatever the node will do next."""
    resource = history.get("id", "")
    entries = list(history.iterchildren("lrm_rsc_op"))
    call_id = max((int(entry.get("call-id") or 0) for entry in entries), default=0)
    changed = max((int(entry.get("last-rc-change") or 0) for entry in entries), default=0)
    key = f"0:0:0:{crm_id}"
    return {
        "id": f"{resource}_last_failure_0",
        "operation_key": f"{resource}_{status.DECLARED}_0",
        "operation": status.DECLARED,
        "crm-debug-origin": status.ORIGIN,
        "crm_feature_set": xml.FEATURE_SET,
        "transition-key": key,
        "transition-magic": f"0:1;{key}",
        "exit-reason": "declared failed",
        "on_node": node,
        "call-id": str(call_id),
        "rc-code": "1",
        "op-status": "0",
        "interval": "0",
        "last-rc-change": str(max(now, changed + 1)),
    }


def _base(resource: str) -> str:
    head, colon, tail = resource.rpartition(":")
    return head if colon and tail.isdigit() else resource
