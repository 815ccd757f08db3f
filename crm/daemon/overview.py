"""The answer of `status`: one picture of the cluster as this node sees it, JSON values only."""

from __future__ import annotations

from typing import Any

from lxml import etree

from crm.cib import without_fencing, xml
from crm.controller import status
from crm.daemon.access import Visitor
from crm.daemon.node import Node
from messaging.types import View


def overview(node: Node, dc: dict[str, Any] | None, visitor: Visitor) -> dict[str, Any]:
    """`dc` is what the DC says of itself, None when there is none. The visitor gets what it may read."""
    controller = node.controller
    view = controller.view
    document = visitor.readable()
    if not visitor.reads_everything:
        hidden = {"controller": {"state": controller.state}, "transition": None, "cib": {}, "restricted": True}
        return {**_overview(node, dc, view, document), **hidden}
    return _overview(node, dc, view, document)


def _overview(node: Node, dc: dict[str, Any] | None, view: View | None, document: etree._Element) -> dict[str, Any]:
    controller = node.controller
    return {
        "node": node.settings.node_name,
        "cluster": node.settings.cluster,
        "version": str(node.cib.version),
        "dc": None if controller.dc is None else node.name_of(controller.dc),
        "controller": controller.describe(),
        "transition": None if dc is None else dc.get("transition"),
        "busy": dc is None or dc.get("state") != "S_IDLE",
        "pending": sorted(
            f"{entry.get('operation_key')} on {entry.get('on_node')}"
            for entry in document.iter("lrm_rsc_op")
            if entry.get("op-status") == str(status.PENDING_STATUS)
        ),
        "view": None if view is None else _view(view),
        "quorum": {
            "quorate": view is not None and view.quorate,
            "reason": view.reason if view is not None else "messaging is not connected",
        },
        "nodes": [_node(document, identity, name, view) for identity, name in _names(node).items()],
        "fencing": {"pending": controller.describe()["fencing"], "history": node.fencing.history()},
        "cib": {
            "kept_aside": [[str(path), why] for path, why in node.cib.store.kept_aside()],
            "reports": [[str(item.severity), f"{item.element}: {item.message}"] for item in node.cib.reports],
            "without": list(controller.without_cib()),
            "folder": str(node.cib.store.folder),
        },
        "unsafe": without_fencing.danger(node.settings.needs_fencing)
        if node.settings.needs_fencing and without_fencing.is_disabled(document)
        else "",
        "policy_worker": node.policy.pid,
    }


def membership(node: Node) -> dict[str, Any]:
    """This node, the members of its view, and every node that is known."""
    view = node.controller.view
    members = {} if view is None else {str(member.node_id): member.name for member in view.members}
    return {
        "node": node.settings.node_name,
        "id": str(node.settings.node_id),
        "dc": None if node.controller.dc is None else node.name_of(node.controller.dc),
        "quorate": view is not None and view.quorate,
        "members": [{"id": identity, "name": name} for identity, name in members.items()],
        "nodes": [
            {"id": identity, "name": name, "member": identity in members} for identity, name in _names(node).items()
        ],
    }


def _view(view: View) -> dict[str, Any]:
    return {
        "id": str(view.view_id),
        "members": [
            {"id": member.node_id, "name": member.name, "incarnation": member.incarnation} for member in view.members
        ],
        "group": sorted(view.group),
        "quorate": view.quorate,
        "reason": view.reason,
    }


def _names(node: Node) -> dict[str, str]:
    """Every node that is configured, in the CIB or in the view: names by id, in the order of the ids."""
    document = node.cib.document
    names: dict[str, str] = {str(number): name for number, name in node.settings.nodes}
    for element in xml.elements(xml.section(document, "nodes"), "node"):
        names[element.get("id", "")] = element.get("uname", "")
    for element in xml.elements(xml.section(document, xml.STATUS), "node_state"):
        names.setdefault(element.get("id", ""), element.get("uname", ""))
    return dict(sorted(names.items(), key=lambda item: (len(item[0]), item[0])))


def _node(document: etree._Element, identity: str, name: str, view: View | None) -> dict[str, Any]:
    state = status.node_state(document, identity)
    member = view is not None and any(str(each.node_id) == identity for each in view.members)
    in_group = view is not None and any(str(number) == identity for number in view.group)
    attributes = {**status.permanent_attributes(document, identity), **status.transient_attributes(document, identity)}
    return {
        "id": identity,
        "name": name,
        "state": _state(state, member, in_group),
        "member": member,
        "crm": in_group,
        "standby": attributes.get("standby", "").lower() in ("true", "on", "yes", "y", "1"),
        "maintenance": attributes.get("maintenance", "").lower() in ("true", "on", "yes", "y", "1"),
        "shutdown": attributes.get("shutdown", "0") != "0",
        "expected": None if state is None else state.get("expected"),
        "attributes": attributes,
    }


def _state(state: etree._Element | None, member: bool, in_group: bool) -> str:
    """online, pending (here, but not taken in yet), unclean (lost and not fenced) or offline."""
    if member and in_group and state is not None and state.get("join") == "member" and state.get("crmd") == "online":
        return "online"
    if member and in_group:
        return "pending"
    if state is not None and state.get("expected") == "member":
        return "unclean"
    return "pending" if member else "offline"
