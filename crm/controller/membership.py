"""What a view means for the status section: the `node_state` of every node that is known.

Theory of operation. Pure functions of the document, the view and the time that absent controllers are still given. A member of the group is in
(`in_ccm`, `crmd=online`, `join=member`, `expected=member`); a member whose crm is absent is reported as such once its grace is over; a node
outside the view is out. `expected` of a node that is not in is left alone: it tells the policy engine whether the node said goodbye
(`down`) or was lost (`member`) and must be fenced.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from lxml import etree

from crm.cib import xml
from crm.controller.election import Facts
from crm.controller.status import NodeState, Quorum, Update, node_state, node_state_by_name
from messaging.types import View


def updates_for(
    document: etree._Element, view: View, facts: Mapping[int, Facts], dc: int, patience: Collection[int]
) -> list[Update]:
    """Everything that the status section must say about this view. Nodes in `patience` keep what is written of them."""
    updates: list[Update] = [Quorum(view.quorate, str(dc))]
    present = {str(member.node_id) for member in view.members}
    for member in view.members:
        identity = str(member.node_id)
        if member.node_id in view.group:
            leaving = member.node_id in facts and facts[member.node_id].leaving
            updates.append(NodeState(identity, member.name, True, "online", "member", "down" if leaving else "member"))
        elif member.node_id not in patience:
            updates.append(NodeState(identity, member.name, True, "offline", "down"))
    for state in xml.elements(xml.section(document, xml.STATUS), "node_state"):
        identity = state.get("id", "")
        waited_for = identity.isdigit() and int(identity) in patience
        if identity not in present and not waited_for and not _is_remote(state):
            updates.append(NodeState(identity, state.get("uname", ""), False, "offline", "down"))
    return updates


def may_change(document: etree._Element, view: View, nodes: int) -> bool:
    """Whether the configuration may be changed in this view, whose group may lack the crm of some members.

    What one group has accepted, the next must know. So a group must be the whole view, or more than half of all `nodes`: any
    two of these share a crm, as any two quorate views share a node. A member whose crm is known to be gone (written down as such
    after its grace) is waited for no longer; it has been, or will be, fenced.
    """
    absent = view.member_ids - view.group
    if not absent or (view.quorate and 2 * len(view.group) > nodes):
        return True
    return all(_written_off(document, str(node_id)) for node_id in absent)


def missed(document: etree._Element, view: View, died: Collection[int]) -> frozenset[int]:
    """Nodes that were at work and may be back at once, with their resources running.

    That is a member whose crm is absent, and a node that is gone although it had not been silent for deadtime (`died`): its messaging
    was killed and is being restarted.
    """
    absent = {member.node_id for member in view.members if member.node_id not in view.group}
    vanished = {member.node_id for member in view.left} - view.member_ids - view.graceful - set(died)
    return frozenset(node_id for node_id in absent | vanished if _was_at_work(document, str(node_id)))


def still_missed(
    document: etree._Element, view: View, died: Collection[int], before: Collection[int]
) -> frozenset[int]:
    """Of those who were missed in an earlier view: who has still not been seen, and not been written off."""
    unseen = set(before) - view.member_ids - set(died)
    return frozenset(node_id for node_id in unseen if _was_at_work(document, str(node_id)))


def unknown_to_configuration(document: etree._Element, view: View) -> tuple[tuple[str, str], ...]:
    """Members of the group that have no `<node>` yet: (id, name)."""
    known = list(xml.elements(xml.section(document, "nodes"), "node"))
    ids = {node.get("id") for node in known}
    names = {node.get("uname") for node in known}
    return tuple(
        (str(member.node_id), member.name)
        for member in view.members
        if member.node_id in view.group and str(member.node_id) not in ids and member.name not in names
    )


def configured_nodes(document: etree._Element) -> frozenset[str]:
    """Names of the cluster nodes (not remote ones) that the configuration lists."""
    return frozenset(
        node.get("uname", "")
        for node in xml.elements(xml.section(document, "nodes"), "node")
        if node.get("type", "member") in ("member", "normal")
    )


def awaited(document: etree._Element, view: View, expected: Collection[str]) -> list[str]:
    """Names of the nodes that belong to the cluster and are not in the group."""
    there = {member.name for member in view.members if member.node_id in view.group}
    return sorted((set(expected) | configured_nodes(document)) - there)


def id_of(document: etree._Element, view: View | None, name: str) -> str:
    """The id of a node that the configuration, the status or the view knows; empty when none does."""
    for node in xml.elements(xml.section(document, "nodes"), "node"):
        if node.get("uname") == name:
            return node.get("id", "")
    state = node_state_by_name(document, name)
    if state is not None:
        return state.get("id", "")
    return next((str(member.node_id) for member in view.members if member.name == name), "") if view else ""


def _written_off(document: etree._Element, node_id: str) -> bool:
    state = node_state(document, node_id)
    return state is not None and state.get("crmd") == "offline"


def _was_at_work(document: etree._Element, node_id: str) -> bool:
    state = node_state(document, node_id)
    return state is not None and state.get("expected") == "member" and state.get("crmd") == "online"


def _is_remote(state: etree._Element) -> bool:
    return state.get("remote_node") == "true"
